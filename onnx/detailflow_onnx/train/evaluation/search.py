"""Encoding with a search, as `Model::encode_with` of the library does it.

Codes near the encoder's latents are tried at one position after the other and decoded; the best one stays if it lowers the sum
over the levels of the error relative to that of the tokens so far. The library resizes the picture to a level with
another filter, so that single tokens may differ.
"""

from typing import Any

import torch

from detailflow_onnx.numbers import ladder
from detailflow_onnx.train.evaluation import metrics
from detailflow_onnx.train.evaluation.pictures import decoded, device_of, encoded
from detailflow_onnx.train.losses import resized
from detailflow_onnx.train.models.tokenizer import Tokenizer

# By effort: codes tried at each position, most rounds over all positions.
EFFORTS = {1: (2, 1), 2: (4, 1), 3: (8, 2), 4: (16, 3)}
FINEST = 4.0  # how much more the error of the finest level counts
FLOOR = 1e-5  # added to mean squared errors of 0..1
LEAST_GAIN = 1e-6  # relative to all errors
PIXELS = 1 << 16  # of the pictures that are searched at once


@torch.no_grad()
def searched(tokenizer: Tokenizer, images: torch.Tensor, effort: int) -> torch.Tensor:
    """Ids [n, N] of pictures in 0..1, with an effort of 0 (the encoder alone) to 4."""
    if not effort:
        return encoded(tokenizer, images)
    together = max(1, PIXELS // tokenizer.numbers.size**2)
    return torch.cat([_searched(tokenizer, part, *EFFORTS[effort]) for part in images.split(together)])


def _searched(tokenizer: Tokenizer, images: torch.Tensor, count: int, rounds: int) -> torch.Tensor:
    numbers, home = tokenizer.numbers, device_of(tokenizer)
    images = images.to(home)
    latents, ids = tokenizer.encode(2 * images - 1)
    near = tokenizer.quantize.nearest(latents, min(count, numbers.codes)).view(*ids.shape, -1)
    rows = ladder.table_of(numbers)
    levels = [(size, tokens) for size, tokens in ladder.levels(rows, numbers.causal).items()]
    wanted = {size: resized(images, size) for size, _ in levels}
    weights = {size: FINEST if tokens == numbers.count else 1.0 for size, tokens in levels}

    def error(tokens: torch.Tensor, size: int) -> torch.Tensor:
        """Errors [n, k] of a level with tokens [n, k, t]."""
        n, k, _ = tokens.shape
        made = decoded(tokenizer, tokens.flatten(0, 1), size).unflatten(0, (n, k))
        return (made - wanted[size][:, None]).pow(2).mean((2, 3, 4)).double() + FLOOR

    errors = {size: error(ids[:, None, :tokens], size)[:, 0] for size, tokens in levels}
    for _ in range(rounds):
        changed = False
        for at in range(numbers.count):
            some = ids[:, None].repeat(1, near.shape[-1], 1)
            some[:, :, at] = near[:, at]
            own = [(size, tokens) for size, tokens in levels if tokens > at]
            found = {size: error(some[:, :, :tokens], size) for size, tokens in own}
            ratios = [weights[size] * found[size] / errors[size][:, None] for size, _ in own]
            best = torch.stack(ratios).sum(0).min(1)
            better = best.values < sum(weights[size] for size, _ in own) * (1 - LEAST_GAIN)
            each = torch.arange(len(ids), device=home)
            ids = torch.where(better[:, None], some[each, best.indices], ids)
            for size, _ in own:
                errors[size] = torch.where(better, found[size][each, best.indices], errors[size])
            changed |= bool(better.any())
        if not changed:
            break
    return ids.cpu()


def search_figures(tokenizer: Tokenizer, images: torch.Tensor, effort: int) -> dict[str, Any]:
    """PSNR of each level, coarse to fine, of pictures encoded with a search."""
    ids, numbers = searched(tokenizer, images, effort), tokenizer.numbers
    levels = []
    for size, tokens in ladder.levels(ladder.table_of(numbers), numbers.causal).items():
        psnr = metrics.psnr(resized(images, size), decoded(tokenizer, ids[:, :tokens], size))
        levels.append({"size": size, "tokens": tokens, "psnr": float(psnr.mean())})
    return {"effort": effort, "pictures": len(images), "psnr": levels[-1]["psnr"], "levels": levels}

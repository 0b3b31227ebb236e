"""Encoding with a search, as `Model::encode_with` of the library does it.

Codes near the encoder's latents are tried at one position after the other and decoded; the best one stays if it lowers
the sum over the levels of the error relative to that of the tokens so far. The library resizes the picture to a level
with another filter, so that single tokens may differ.
"""

import torch

from detailflow_onnx.numbers import ladder
from detailflow_onnx.train.losses import resized
from detailflow_onnx.train.models.tokenizer import Tokenizer

# By effort: codes tried at each position, most rounds over all positions.
EFFORTS = {1: (2, 1), 2: (4, 1), 3: (8, 2), 4: (16, 3)}
FINEST = 4 / 3  # how much more the error of the finest level counts than those of the others together
FLOOR = 1e-5  # added to mean squared errors of 0..1
LEAST_GAIN = 1e-6  # relative to all errors
PIXELS = 1 << 16  # of the pictures that are searched at once
DECODED = 1 << 18  # pixels that are decoded at once


@torch.no_grad()
def searched(tokenizer: Tokenizer, images: torch.Tensor, effort: int) -> torch.Tensor:
    """Ids [n, N] of pictures in 0..1, on their device, with an effort of 1 to 4."""
    together = max(1, PIXELS // tokenizer.numbers.size**2)
    return torch.cat([_searched(tokenizer, part, *EFFORTS[effort]) for part in images.split(together)])


def _searched(tokenizer: Tokenizer, images: torch.Tensor, count: int, rounds: int) -> torch.Tensor:
    numbers, home, device = tokenizer.numbers, tokenizer.quantize.embedding.weight.device, images.device
    images = images.to(home)
    latents, ids = tokenizer.encode(2 * images - 1)
    near = tokenizer.quantize.nearest(latents, min(count, numbers.codes)).view(*ids.shape, -1)
    rows = ladder.table_of(numbers)
    levels = [(size, tokens) for size, tokens in ladder.levels(rows, numbers.causal).items()]
    wanted = {size: resized(images, size) for size, _ in levels}
    finest = FINEST * max(1, len(levels) - 1)
    weights = {size: finest if tokens == numbers.count else 1.0 for size, tokens in levels}

    def error(tokens: torch.Tensor, size: int) -> torch.Tensor:
        """Errors [n, k] of a level with tokens [n, k, t]."""
        n, k, _ = tokens.shape
        parts = tokens.flatten(0, 1).split(max(1, DECODED // size**2))
        made = torch.cat([tokenizer.decode(part, size).float() for part in parts]).unflatten(0, (n, k))
        made = ((made + 1) / 2).clamp(0, 1)
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
    return ids.to(device)

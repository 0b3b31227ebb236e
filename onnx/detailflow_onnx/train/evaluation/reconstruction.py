"""Figures of a tokenizer: reconstruction at every level and prefix, and self-correction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from detailflow_onnx.numbers import ladder
from detailflow_onnx.train.evaluation import metrics
from detailflow_onnx.train.evaluation.pictures import decoded, device_of, encoded, in_batches
from detailflow_onnx.train.losses import resized
from detailflow_onnx.train.models.search import searched
from detailflow_onnx.train.models.tokenizer import Tokenizer

NEAR = 50  # nearest codes that replace a code: the noise of training


def mean(values: np.ndarray | Sequence[float]) -> float:
    """The mean as a float."""
    return float(np.mean(values))


def _pair(want: torch.Tensor, got: torch.Tensor) -> dict[str, float]:
    return {"psnr": mean(metrics.psnr(want, got)), "ssim": mean(metrics.ssim(want, got))}


def reconstruction(tokenizer: Tokenizer, images: torch.Tensor, seed: int) -> dict[str, Any]:
    """Figures of pictures decoded from their own tokens.

    `levels`: at each size, compared with the picture resized to it; `shuffled_psnr` uses the same number of the
    picture's tokens in random order. `prefixes`: each prefix, resized up to S and compared with the full picture.
    """
    numbers, ids = tokenizer.numbers, encoded(tokenizer, images)
    rows = ladder.table_of(numbers)
    best = ladder.levels(rows, numbers.causal)
    order = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)).argsort(1)
    shuffled = ids.gather(1, order)
    by_level: list[dict[str, Any]] = []
    by_prefix: list[dict[str, Any]] = []
    before = 0
    for row in rows:
        side, tokens = row["size"], row["tokens"]
        got = decoded(tokenizer, ids[:, :tokens], side)
        by_prefix.append(dict(row) | _pair(images, resized(got, numbers.size)))
        if best.get(side) != tokens:
            continue
        want, other = resized(images, side), decoded(tokenizer, shuffled[:, :tokens], side)
        entry: dict[str, Any] = {"size": side, "tokens": tokens} | _pair(want, got)
        entry["shuffled_psnr"] = mean(metrics.psnr(want, other))
        by_level.append(entry | {"codes": metrics.code_use(ids[:, before:tokens])})
        before = tokens
    by_position = [metrics.code_use(column) for column in ids.T]
    return {
        "pictures": len(images),
        "psnr": by_level[-1]["psnr"],
        "ssim": by_level[-1]["ssim"],
        "levels": by_level,
        "prefixes": by_prefix,
        "codes": metrics.code_use(ids) | {"of": numbers.codes, "by_position": by_position},
    }


def search_figures(tokenizer: Tokenizer, images: torch.Tensor, effort: int) -> dict[str, Any]:
    """PSNR of each level, coarse to fine, of pictures encoded with a search."""
    ids, numbers = searched(tokenizer, images, effort), tokenizer.numbers
    levels = []
    for size, tokens in ladder.levels(ladder.table_of(numbers), numbers.causal).items():
        psnr = metrics.psnr(resized(images, size), decoded(tokenizer, ids[:, :tokens], size))
        levels.append({"size": size, "tokens": tokens, "psnr": mean(psnr)})
    return {"effort": effort, "pictures": len(images), "psnr": levels[-1]["psnr"], "levels": levels}


def replaced(
    tokenizer: Tokenizer, ids: torch.Tensor, start: int, end: int, kind: str, generator: torch.Generator
) -> torch.Tensor:
    """Ids with random codes at start..end-1: `near`, one of the 50 nearest other codes; `any`, one of all."""
    out, part, codes = ids.clone(), ids[:, start:end], tokenizer.numbers.codes
    if kind == "any":
        out[:, start:end] = torch.randint(codes, part.shape, generator=generator)
        return out
    near = tokenizer.quantize.nearest(tokenizer.quantize.rows()[part.to(device_of(tokenizer))], min(NEAR + 1, codes))
    near = near.to(part.device)
    choice = torch.zeros(*part.shape, 1, dtype=torch.int64)
    if codes > 1:
        choice = torch.randint(1, near.shape[-1], (*part.shape, 1), generator=generator)
    out[:, start:end] = near.gather(-1, choice).squeeze(-1)
    return out


def is_corrective(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer was trained with self-correction: its weights for given codes are not zero."""
    return bool(tokenizer.refine_conv.weight.any())


@torch.no_grad()
def correction(tokenizer: Tokenizer, images: torch.Tensor, seed: int) -> dict[str, Any]:
    """What later tokens correct when one group is replaced by noise, for every group but the last.

    PSNR of the full picture without noise, with noise and the old later tokens, and with noise and the later tokens
    that the encoder gives after the noisy prefix.
    """
    numbers, ids = tokenizer.numbers, encoded(tokenizer, images)
    size = numbers.size
    clean = mean(metrics.psnr(images, decoded(tokenizer, ids, size)))
    noise: dict[str, Any] = {}
    for kind in ("near", "any"):
        generator = torch.Generator().manual_seed(seed)
        rows: list[dict[str, Any]] = []
        for start in range(0, numbers.count - numbers.group, numbers.group):
            end = start + numbers.group
            noisy = replaced(tokenizer, ids, start, end, kind, generator)
            corrected = _corrected(tokenizer, images, noisy, end)
            old, new = (mean(metrics.psnr(images, decoded(tokenizer, i, size))) for i in (noisy, corrected))
            rows.append({"tokens": [start, end - 1], "noisy": old, "repaired": new})
        if rows:
            means = {key: mean([row[key] for row in rows]) for key in ("noisy", "repaired")}
            noise[kind] = means | {"gain": means["repaired"] - means["noisy"], "groups": rows}
    return {"trained": is_corrective(tokenizer), "pictures": len(images), "clean": clean, "noise": noise}


def _corrected(tokenizer: Tokenizer, images: torch.Tensor, noisy: torch.Tensor, first: int) -> torch.Tensor:
    home = device_of(tokenizer)
    return in_batches(lambda x, i: tokenizer.correct(2 * x.to(home) - 1, i.to(home), first).cpu(), images, noisy)

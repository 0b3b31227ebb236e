"""Variety of samples: how many differ clearly, what changes when the coarsest level is kept, and whether tiles wrap.

Samples are finished as the library finishes sprites: alpha cut at a threshold, colours reduced in OKLab.
"""

from typing import Any

import numpy as np
import torch

from detailflow_onnx.numbers import ladder
from detailflow_onnx.train.evaluation.classifier import Classifier, accuracy
from detailflow_onnx.train.evaluation.pictures import decoded
from detailflow_onnx.train.models.tokenizer import Tokenizer
from detailflow_onnx.train.models.transformer import Transformer

ALPHA_CUT, COLOURS = 110, 16
CLEARLY = 0.04  # root mean squared difference over premultiplied pixels in 0..1
SOURCES, VARIATIONS = 4, 12  # of each class
PIXEL = 1 / 32  # a pixel changed if a channel differs by more
TILING = ("floor", "wall", "water")
ROUNDS = 8  # of the k-means of colours

# OKLab: linear sRGB to cone responses, and their cube roots to lightness and two colour axes.
_CONES = torch.tensor(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ],
    dtype=torch.float64,
)
_LAB = torch.tensor(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ],
    dtype=torch.float64,
)


def oklab(rgb: torch.Tensor) -> torch.Tensor:
    """sRGB [..., 3] in 0..1 as OKLab."""
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055).clamp(min=0) ** 2.4)
    return (linear @ _CONES.T.to(rgb)).clamp(min=0).pow(1 / 3) @ _LAB.T.to(rgb)


def from_oklab(lab: torch.Tensor) -> torch.Tensor:
    """OKLab [..., 3] as sRGB in 0..1."""
    linear = (lab @ torch.linalg.inv(_LAB).T.to(lab)) ** 3 @ torch.linalg.inv(_CONES).T.to(lab)
    linear = linear.clamp(0, 1)
    return torch.where(linear <= 0.0031308, linear * 12.92, 1.055 * linear.clamp(min=1e-9) ** (1 / 2.4) - 0.055)


@torch.no_grad()
def finished(images: torch.Tensor, home: torch.device | None = None, batch: int = 256) -> torch.Tensor:
    """Pictures [n, C, S, S] in 0..1, premultiplied if C is 4, with at most COLOURS colours and no soft alpha.

    Computed on `home` (default: where they are); the result is there too.
    """
    parts = [_finished(part if home is None else part.to(home)) for part in images.split(batch)]
    return torch.cat(parts) if parts else images


def _finished(images: torch.Tensor) -> torch.Tensor:
    n, channels, side = images.shape[:3]
    rgb = images[:, :3]
    visible = torch.ones(n, side * side, dtype=torch.bool, device=images.device)
    if channels == 4:
        alpha = images[:, 3:]
        visible = (alpha * 255 >= ALPHA_CUT).flatten(1)
        rgb = (rgb / alpha.clamp(min=1e-6)).clamp(0, 1)
    lab = oklab(rgb.flatten(2).mT)  # [n, pixels, 3]
    which, centres = _clustered(lab, visible)
    rgb = from_oklab(centres).gather(1, which[..., None].expand(-1, -1, 3)) * visible[..., None]
    out = rgb.mT.reshape(n, 3, side, side)
    return torch.cat([out, visible.view(n, 1, side, side).to(out)], 1) if channels == 4 else out


def _clustered(lab: torch.Tensor, visible: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(the colour of each pixel [n, pixels], colours [n, COLOURS, 3]): k-means from the farthest points."""
    n, weight = len(lab), visible.to(lab)[..., None]
    rows = torch.arange(n, device=lab.device)
    mean = (lab * weight).sum(1) / weight.sum(1).clamp(min=1)
    away = (lab - mean[:, None]).square().sum(-1).masked_fill(~visible, -1)
    chosen: list[torch.Tensor] = []
    for _ in range(COLOURS):
        point = lab[rows, away.argmax(1)]
        apart = (lab - point[:, None]).square().sum(-1)
        away = apart.masked_fill(~visible, -1) if not chosen else torch.minimum(away, apart)
        chosen.append(point)
    centres = torch.stack(chosen, 1)
    for _ in range(ROUNDS):
        which = torch.cdist(lab, centres).argmin(-1)
        index = which[..., None].expand(-1, -1, 3)
        total = torch.zeros_like(centres).scatter_add_(1, index, lab * weight)
        count = torch.zeros_like(centres[..., :1]).scatter_add_(1, which[..., None], weight)
        centres = torch.where(count > 0, total / count.clamp(min=1), centres)
    return torch.cdist(lab, centres).argmin(-1), centres


def distinct(images: torch.Tensor) -> int:
    """How many finished pictures differ clearly from all counted before."""
    rows = images.flatten(1)
    apart = (torch.cdist(rows, rows) / rows.shape[1] ** 0.5).cpu().numpy()
    kept: list[int] = []
    for i in range(len(rows)):
        if not kept or apart[i, kept].min() > CLEARLY:
            kept.append(i)
    return len(kept)


def wrap_step(images: torch.Tensor) -> float:
    """The median over pictures of the mean step across the edges divided by the mean inner step."""
    x = images[:, :3]
    inner = (x.diff(dim=2).abs().mean((1, 2, 3)) + x.diff(dim=3).abs().mean((1, 2, 3))) / 2
    edge = (x[:, :, 0] - x[:, :, -1]).abs().mean((1, 2)) + (x[..., 0] - x[..., -1]).abs().mean((1, 2))
    return float((edge / 2 / inner.clamp(min=1e-6)).median())


def of_set(
    images: torch.Tensor, labels: np.ndarray, names: list[str], home: torch.device | None = None, most: int = 100
) -> dict[str, Any]:
    """{class: {pictures, distinct, share, exact}} of finished pictures, and the wrap step of classes that tile.

    The first `most` pictures of each class are compared; `exact`: how many are equal to an earlier one.
    """
    out: dict[str, Any] = {}
    for k in np.unique(labels):
        raw = images[torch.from_numpy(np.flatnonzero(labels == k)[:most])]
        done = finished(raw, home)
        count = distinct(done)
        entry = {"pictures": len(done), "distinct": count, "share": count / len(done)}
        entry["exact"] = len(done) - len(torch.unique((done * 255).round().to(torch.uint8).flatten(1), dim=0))
        if names[k] in TILING:
            entry["wrap_step"] = wrap_step(raw)
        out[names[k]] = entry
    return out


@torch.no_grad()
def variation(
    tokenizer: Tokenizer,
    ar: Transformer,
    eye: Classifier,
    names: list[str],
    to_data: np.ndarray,
    sampling: dict[str, Any],
    seed: int,
) -> dict[str, Any]:
    """What changes when the tokens of the coarsest level are kept and the later ones are sampled again.

    {class: {tokens, pixels, accuracy}}: the mean share of later tokens and of pixels (finished) that differ from the
    source, and how often the classifier sees the class in the variations. `VARIATIONS` of each of `SOURCES` samples.
    """
    numbers, device = tokenizer.numbers, ar.output.weight.device
    _, keep = ladder.coarsest(numbers)
    classes = torch.arange(ar.numbers.classes, device=device).repeat_interleave(SOURCES)
    source = ar.generate(classes, seed=seed, **sampling)
    again = classes.repeat_interleave(VARIATIONS)
    given = source.repeat_interleave(VARIATIONS, 0)
    ids = torch.cat(
        [
            ar.generate(c, seed=seed + 1 + i, given=t[:, :keep], **sampling)
            for i, (c, t) in enumerate(zip(again.split(2048), given.split(2048)))
        ]
    )
    tokens = (ids[:, keep:] != given[:, keep:]).float().mean(1).cpu().numpy()
    images = decoded(tokenizer, ids, numbers.size)  # where the ids are
    before = finished(decoded(tokenizer, source, numbers.size)).repeat_interleave(VARIATIONS, 0)
    pixels = ((finished(images) - before).abs().amax(1) > PIXEL).float().mean((1, 2)).cpu().numpy()
    labels = to_data[again.cpu().numpy()]
    hits = accuracy(eye.look(images)[1], labels)
    by_class = {
        names[k]: {
            "tokens": float(tokens[labels == k].mean()),
            "pixels": float(pixels[labels == k].mean()),
            "accuracy": float(hits[labels == k].mean()),
        }
        for k in np.unique(labels)
    }
    means = {key: float(np.mean([e[key] for e in by_class.values()])) for key in ("tokens", "pixels", "accuracy")}
    return {"kept": keep, "sources": SOURCES, "variations": VARIATIONS, **means, "by_class": by_class}

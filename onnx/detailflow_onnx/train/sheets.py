"""Sheets: many small pictures in one, enlarged without smoothing, over a checkerboard, with names beside the rows.

Pictures are bytes [n, H, W, C], premultiplied if C is 4, as a decoder gives them. `to_bytes` converts the output of a
model, `premultiplied` converts straight RGBA.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from detailflow_onnx.errors import need
from detailflow_onnx.numbers import ladder
from detailflow_onnx.train.models.tokenizer import Tokenizer

PAPER, INK, GAP = (32, 32, 36), (230, 230, 230), 2
BACKGROUNDS = {"checker": ((112, 112, 112), (144, 144, 144)), "grey": ((128, 128, 128),) * 2}
SQUARE = 8  # pixels of a square of the checkerboard


def to_bytes(images: torch.Tensor) -> np.ndarray:
    """Pixels of a model [n, C, S, S], about -1..1, as bytes [n, S, S, C]: truncated, as in the library."""
    x = torch.clamp(127.5 * images.float() + 128, 0, 255).to(torch.uint8)
    array: np.ndarray = x.permute(0, 2, 3, 1).contiguous().cpu().numpy()
    return array


def premultiplied(images: np.ndarray) -> np.ndarray:
    """Straight bytes [n, H, W, C] with colours multiplied by alpha if C is 4."""
    if images.shape[-1] != 4:
        return images
    colours = images[..., :3].astype(np.uint16) * images[..., 3:]
    return np.concatenate([((colours + 127) // 255).astype(np.uint8), images[..., 3:]], -1)


def enlarged(images: np.ndarray, size: int) -> np.ndarray:
    """Bytes [n, H, H, C] as [n, size, size, C], by nearest neighbour."""
    at = np.arange(size) * images.shape[1] // size
    return images[:, at][:, :, at]


def _composited(images: np.ndarray, background: str) -> np.ndarray:
    """Bytes [n, H, W, C] over the background: [n, H, W, 3]."""
    if images.shape[-1] == 3:
        return images
    h, w = images.shape[1:3]
    odd = (np.arange(h)[:, None] // SQUARE + np.arange(w) // SQUARE) % 2
    behind = np.array(BACKGROUNDS[background], np.uint16)[odd]
    alpha = images[..., 3:].astype(np.uint16)
    return np.minimum(images[..., :3] + (behind * (255 - alpha) + 127) // 255, 255).astype(np.uint8)


def grid(
    images: np.ndarray,
    columns: int,
    scale: int = 3,
    background: str = "checker",
    *,
    rows: Sequence[str] | None = None,
    heads: Sequence[str] | None = None,
) -> Image.Image:
    """A picture of `images`, bytes [n, H, W, 3 or 4] of one size, `columns` per row, each pixel `scale` pixels wide.

    `rows`: names left of the rows; `heads`: names above the columns. Either may be shorter than the grid.
    """
    valid = images.ndim == 4 and len(images) and images.shape[-1] in (3, 4)
    need(valid, f"a sheet of pictures of shape {images.shape}; [n, H, W, 3 or 4] with n >= 1 is needed")
    large = images.repeat(scale, 1).repeat(scale, 2)
    large = _composited(large, background)
    h, w = large.shape[1:3]
    lines = -(-len(large) // columns)
    text = max(11, min(16, h // 5))
    font = ImageFont.load_default(text)
    left = max((int(font.getlength(name)) for name in rows), default=0) + 10 if rows else GAP
    wide = max([w] + [int(font.getlength(name)) + 4 for name in heads]) if heads else w
    top = text + 8 if heads else GAP
    sheet = Image.new("RGB", (left + columns * (wide + GAP), top + lines * (h + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, picture in enumerate(large):
        x, y = left + i % columns * (wide + GAP) + (wide - w) // 2, top + i // columns * (h + GAP)
        sheet.paste(Image.fromarray(picture), (x, y))
    for i, name in enumerate((rows or [])[:lines]):
        pen.text((5, top + i * (h + GAP) + h // 2), name, INK, font, anchor="lm")
    for i, name in enumerate((heads or [])[:columns]):
        pen.text((left + i * (wide + GAP) + wide // 2, top // 2), name, INK, font, anchor="mm")
    return sheet


def scale_of(size: int) -> int:
    """The scale at which a sheet shows pictures of this size: about 72 pixels."""
    return max(1, 72 // size)


@torch.no_grad()
def levels(tokenizer: Tokenizer, images: torch.Tensor, names: Sequence[str] | None = None) -> Image.Image:
    """Pictures [n, C, S, S] in -1..1 beside what their tokens show at every level, two pictures per row.

    `names` [n] are written beside the rows.
    """
    numbers, (_, ids) = tokenizer.numbers, tokenizer.encode(images)
    size, best = numbers.size, ladder.levels(ladder.table_of(numbers), numbers.causal)
    decoded = [enlarged(to_bytes(tokenizer.decode(ids[:, :t], side)), size) for side, t in best.items()]
    cells, lines = np.stack([to_bytes(images), *decoded], 1), -(-len(images) // 2)
    cells = np.concatenate([cells, np.zeros_like(cells[: 2 * lines - len(cells)])])
    cells = np.concatenate([cells[:lines], cells[lines:]], 1)
    heads = (["file"] + [f"{side} px, {t}" for side, t in best.items()]) * 2
    rows = [" | ".join(names[i::lines]) for i in range(lines)] if names else None
    return grid(cells.reshape(-1, *cells.shape[2:]), cells.shape[1], scale_of(size), rows=rows, heads=heads)

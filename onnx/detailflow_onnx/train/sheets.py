"""Sheets: many small pictures on one, enlarged without smoothing, transparency before a checkerboard, names beside the rows.

Pictures are bytes [n, H, W, C], premultiplied where C is 4, as a decoder gives them; `to_bytes` makes them of a model's
output, `premultiplied` of straight RGBA."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from detailflow_onnx.errors import need
from detailflow_onnx.train.models.tokenizer import levels_of

PAPER, INK, GAP = (32, 32, 36), (230, 230, 230), 2
BACKGROUNDS = {"checker": ((112, 112, 112), (144, 144, 144)), "grey": ((128, 128, 128),) * 2}
SQUARE = 8  # of the checkerboard, pixels of the sheet


def to_bytes(images):
    """Model pixels [n, C, S, S], about -1..1, as bytes [n, S, S, C]: cut off, not rounded, as the library does."""
    return torch.clamp(127.5 * images.float() + 128, 0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def premultiplied(images):
    """Straight bytes [n, H, W, C] with their colours multiplied by alpha where C is 4."""
    if images.shape[-1] != 4:
        return images
    colours = images[..., :3].astype(np.uint16) * images[..., 3:]
    return np.concatenate([((colours + 127) // 255).astype(np.uint8), images[..., 3:]], -1)


def enlarged(images, size):
    """Bytes [n, H, H, C] as [n, size, size, C] by repeating pixels, `size` any number."""
    at = np.arange(size) * images.shape[1] // size
    return images[:, at][:, :, at]


def _before(images, background):
    """Bytes [n, H, W, C] -> [n, H, W, 3] before the background."""
    if images.shape[-1] == 3:
        return images
    h, w = images.shape[1:3]
    odd = (np.arange(h)[:, None] // SQUARE + np.arange(w) // SQUARE) % 2
    behind = np.array(BACKGROUNDS[background], np.uint16)[odd]
    alpha = images[..., 3:].astype(np.uint16)
    return np.minimum(images[..., :3] + (behind * (255 - alpha) + 127) // 255, 255).astype(np.uint8)


def grid(images, columns, scale=3, background="checker", *, rows=None, heads=None):
    """A PIL picture of `images`, bytes [n, H, W, 3 or 4] of one size, row by row, `columns` in a row, each pixel `scale` pixels
    wide. `rows`: names at the left of the rows; `heads`: names above the columns, either perhaps shorter than there are."""
    need(images.ndim == 4 and len(images) and images.shape[-1] in (3, 4), f"a sheet of pictures {images.shape}: [n, H, W, 3 or 4] is needed, n at least 1")
    large = images.repeat(scale, 1).repeat(scale, 2)
    large = _before(large, background)
    h, w = large.shape[1:3]
    lines = -(-len(large) // columns)
    font = ImageFont.load_default(max(11, min(16, h // 5)))
    left = max((int(font.getlength(name)) for name in rows), default=0) + 10 if rows else GAP
    wide = max([w] + [int(font.getlength(name)) + 4 for name in heads]) if heads else w
    top = font.size + 8 if heads else GAP
    sheet = Image.new("RGB", (left + columns * (wide + GAP), top + lines * (h + GAP)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for i, picture in enumerate(large):
        sheet.paste(Image.fromarray(picture), (left + i % columns * (wide + GAP) + (wide - w) // 2, top + i // columns * (h + GAP)))
    for i, name in enumerate((rows or [])[:lines]):
        pen.text((5, top + i * (h + GAP) + h // 2), name, INK, font, anchor="lm")
    for i, name in enumerate((heads or [])[:columns]):
        pen.text((left + i * (wide + GAP) + wide // 2, top // 2), name, INK, font, anchor="mm")
    return sheet


def scale_of(size):
    """How large a sheet shows pictures of this size: about 72 pixels."""
    return max(1, 72 // size)


@torch.no_grad()
def levels(tok, images, names=None):
    """Pictures [n, C, S, S] as the tokenizer takes them, each beside what its tokens give at every level, two pictures in a row.
    `names` [n]: what to call them."""
    size, (_, ids), best = tok.numbers.size, tok.encode(images), levels_of(tok.numbers)
    shown = [to_bytes(images)] + [enlarged(to_bytes(tok.decode(ids[:, :t], side)), size) for side, t in best.items()]
    cells, lines = np.stack(shown, 1), -(-len(images) // 2)
    cells = np.concatenate([cells, np.zeros_like(cells[: 2 * lines - len(cells)])])
    cells = np.concatenate([cells[:lines], cells[lines:]], 1)
    heads = (["file"] + [f"{side} px, {t}" for side, t in best.items()]) * 2
    rows = [" | ".join(names[i::lines]) for i in range(lines)] if names else None
    return grid(cells.reshape(-1, *cells.shape[2:]), cells.shape[1], scale_of(size), rows=rows, heads=heads)

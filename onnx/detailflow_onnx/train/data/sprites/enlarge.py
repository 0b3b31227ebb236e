"""Pixel-art filters that enlarge tiles."""

import numpy as np

from detailflow_onnx.train.data.sprites.tiles import SIDE


def enlarged(tile: np.ndarray) -> np.ndarray:
    """A tile [16, 16, 4] as a sprite [32, 32, 4]: two, three or four times as large, whichever fits, and centred.

    Scale2x and Scale3x keep the colours and make diagonals finer than squares of pixels would.
    """
    rows, columns = np.flatnonzero(tile[..., 3].any(1)), np.flatnonzero(tile[..., 3].any(0))
    if not len(rows):
        return np.zeros((SIDE, SIDE, 4), np.uint8)
    part = tile[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    largest = max(part.shape[:2])
    if largest * 4 <= SIDE:
        part = scale2x(scale2x(part))
    elif largest * 3 <= SIDE:
        part = scale3x(part)
    else:
        part = scale2x(part)
    h, w = part.shape[:2]
    out = np.zeros((SIDE, SIDE, 4), np.uint8)
    top, left = (SIDE - h) // 2, (SIDE - w) // 2
    out[top : top + h, left : left + w] = part
    return out


def _around(pixels: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """The eight neighbours of each pixel as numbers of colours, and the pixel itself; edges repeat."""
    codes = pixels.astype(np.uint32) @ np.array([1 << 24, 1 << 16, 1 << 8, 1], np.uint32)
    wide, (h, w) = np.pad(codes, 1, mode="edge"), codes.shape
    return {(y, x): wide[1 + y : 1 + y + h, 1 + x : 1 + x + w] for y in (-1, 0, 1) for x in (-1, 0, 1)}


def _colours(codes: np.ndarray) -> np.ndarray:
    return np.stack([(codes >> shift & 0xFF).astype(np.uint8) for shift in (24, 16, 8, 0)], -1)


def scale2x(pixels: np.ndarray) -> np.ndarray:
    """The Scale2x filter: uint8 [h, w, 4] -> [2h, 2w, 4]."""
    n = _around(pixels)
    up, left, right, down, own = n[-1, 0], n[0, -1], n[0, 1], n[1, 0], n[0, 0]
    edge = (up != down) & (left != right)
    out = np.empty((2 * own.shape[0], 2 * own.shape[1]), np.uint32)
    out[0::2, 0::2] = np.where(edge & (left == up), left, own)
    out[0::2, 1::2] = np.where(edge & (up == right), right, own)
    out[1::2, 0::2] = np.where(edge & (left == down), left, own)
    out[1::2, 1::2] = np.where(edge & (down == right), right, own)
    return _colours(out)


def scale3x(pixels: np.ndarray) -> np.ndarray:
    """The Scale3x filter: uint8 [h, w, 4] -> [3h, 3w, 4]."""
    n = _around(pixels)
    a, b, c, d, e, f, g, h, i = (n[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1))
    edge = (b != h) & (d != f)
    out = np.empty((3 * e.shape[0], 3 * e.shape[1]), np.uint32)
    out[0::3, 0::3] = np.where(edge & (d == b), d, e)
    out[0::3, 1::3] = np.where(edge & (((d == b) & (e != c)) | ((b == f) & (e != a))), b, e)
    out[0::3, 2::3] = np.where(edge & (b == f), f, e)
    out[1::3, 0::3] = np.where(edge & (((d == b) & (e != g)) | ((d == h) & (e != a))), d, e)
    out[1::3, 1::3] = e
    out[1::3, 2::3] = np.where(edge & (((b == f) & (e != i)) | ((h == f) & (e != c))), f, e)
    out[2::3, 0::3] = np.where(edge & (d == h), d, e)
    out[2::3, 1::3] = np.where(edge & (((d == h) & (e != i)) | ((h == f) & (e != g))), h, e)
    out[2::3, 2::3] = np.where(edge & (h == f), f, e)
    return _colours(out)

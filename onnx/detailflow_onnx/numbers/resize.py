"""Resize a square position table like PyTorch: bilinear, antialiased, half-pixel centres (`align_corners=False`)."""

import numpy as np


def matrix(size_in: int, size_out: int) -> np.ndarray:
    """One axis as a matrix [size_out, size_in]. When shrinking, the triangle widens so that no input is skipped."""
    scale = size_in / size_out
    reach = max(scale, 1.0)
    rows = np.zeros((size_out, size_in))
    for i in range(size_out):
        centre = scale * (i + 0.5)
        first = max(int(centre - reach + 0.5), 0)
        last = min(int(centre + reach + 0.5), size_in)
        taps = np.maximum(0.0, 1.0 - np.abs((np.arange(first, last) - centre + 0.5) / reach))
        rows[i, first:last] = taps / taps.sum()
    return rows.astype(np.float32)


def positions(table: np.ndarray, side: int) -> np.ndarray:
    """Resize a table [n*n, width] to [side*side, width]."""
    n = round(len(table) ** 0.5)
    m = matrix(n, side)
    grid = np.einsum("bj,ijd->ibd", m, table.reshape(n, n, -1), optimize=True)
    grid = np.einsum("ai,ibd->abd", m, grid, optimize=True)
    return grid.reshape(side * side, -1).astype(np.float32)

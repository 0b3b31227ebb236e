"""Which pictures of a class are one drawing in other colours, and which are tiles that repeat."""

import numpy as np
import torch

SIDE = 16  # pixels per side at which drawings are compared
OUTLINE = 0.08  # largest root mean squared difference of alpha within one drawing
SHADING = 0.85  # least correlation of luma within one drawing
STEP = 1.5  # a tile repeats along an axis if the step across its edge is at most this many times an inner one
OPAQUE = 0.98  # least painted share of a tile that repeats
LUMA = (0.299, 0.587, 0.114)
CHUNK = 512


def drawings(pixels: torch.Tensor, labels: np.ndarray) -> np.ndarray:
    """The number of the drawing of each picture, int64 [n]: uint8 [n, C, S, S] with straight alpha, classes [n].

    A picture belongs to the first earlier drawing of its class with the same outline and shading, else it is a new one.
    """
    outlines, shadings = [], []
    for part in pixels.split(CHUNK):
        x = part.float() / 255
        small = torch.nn.functional.interpolate(x, size=(SIDE, SIDE), mode="area")
        alpha = small[:, 3] if x.shape[1] == 4 else torch.ones_like(small[:, 0])
        luma = sum(w * small[:, c] for c, w in enumerate(LUMA)) * alpha
        mean = luma.sum((1, 2)) / alpha.sum((1, 2)).clamp(min=1e-6)
        apart = ((luma - mean[:, None, None]) * alpha).flatten(1)
        outlines.append(alpha.flatten(1))
        shadings.append(torch.nn.functional.normalize(apart, dim=1))
    outline, shading = torch.cat(outlines), torch.cat(shadings)
    out = np.zeros(len(labels), np.int64)
    count = 0
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        a, b = outline[members], shading[members]
        far = torch.cdist(a, a) / SIDE > OUTLINE
        same = (~far & (b @ b.T > SHADING)).numpy()
        heads: list[int] = []
        for i, member in enumerate(members):
            found = next((k for k, head in enumerate(heads) if same[i, head]), None)
            if found is None:
                found = len(heads)
                heads.append(i)
            out[member] = count + found
        count += len(heads)
    return out


def repeats(pixels: torch.Tensor) -> torch.Tensor:
    """Bool [n, 2]: whether pictures repeat down and across, of uint8 [n, C, S, S] with straight alpha."""
    found = []
    for part in pixels.split(CHUNK):
        x = part.float()
        painted = (x[:, 3] > 0).float().mean((1, 2)) if x.shape[1] == 4 else torch.ones(len(x))
        axes = []
        for axis in (2, 3):
            last = x.shape[axis] - 1
            inner = x.diff(dim=axis).abs().mean((1, 2, 3))
            edge = (x.select(axis, 0) - x.select(axis, last)).abs().mean((1, 2))
            axes.append((edge <= STEP * inner + 1e-3) & (painted >= OPAQUE))
        found.append(torch.stack(axes, 1))
    return torch.cat(found) if found else torch.zeros(0, 2, dtype=torch.bool)

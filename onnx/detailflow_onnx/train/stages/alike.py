"""Rows of codes that look alike at the coarsest level and are of different drawings.

The tokens of a coarsest level mostly belong to one training picture, and an AR model learns which. If it also meets
them before the later tokens of similar pictures, it learns that a composition can be continued in several ways.
Decoded, such a sequence is nearly the picture of its later tokens (29 dB for the dragons of the sprites).
"""

import numpy as np
import torch

from detailflow_onnx.errors import exit_if_signalled
from detailflow_onnx.numbers import ladder
from detailflow_onnx.train.models.tokenizer import Tokenizer

DRAWINGS = 4  # whose rows are kept
FARTHEST = 0.1  # root mean squared difference at the coarsest level, of premultiplied values in 0..1
SIDE = 8  # pixels per side at which a larger coarsest level is compared
CHUNK = 512  # pictures decoded at once
DISTANCES = 1 << 24  # computed at once
NONE = -1


@torch.no_grad()
def rows_alike(tokenizer: Tokenizer, clean: np.ndarray, labels: np.ndarray, drawings: np.ndarray) -> np.ndarray:
    """int32 [M, DRAWINGS] of tokens [M, N], classes [M] and drawings [M] of rows.

    For each row the most similar rows of the class, one of each of the nearest other drawings, nearest first; `NONE`
    where there are fewer, or none within `FARTHEST`.
    """
    out = np.full((len(labels), DRAWINGS), NONE, np.int32)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        _, of = np.unique(drawings[members], return_inverse=True)
        if of.max() > 0:
            found = _nearest(_coarsest(tokenizer, clean[members]), torch.from_numpy(of.reshape(-1)))
            out[members] = np.where(found == NONE, NONE, members[found])
    return out


def _coarsest(tokenizer: Tokenizer, ids: np.ndarray) -> torch.Tensor:
    """Pictures of the coarsest level in 0..1, a row each."""
    device = tokenizer.quantize.embedding.weight.device
    size, count = ladder.coarsest(tokenizer.numbers)
    rows = []
    for part in torch.from_numpy(ids[:, :count].astype(np.int64)).split(CHUNK):
        x = ((tokenizer.decode(part.to(device), size).float() + 1) / 2).clamp(0, 1)
        if size > SIDE:
            x = torch.nn.functional.interpolate(x, size=(SIDE, SIDE), mode="area")
        rows.append(x.flatten(1))
    return torch.cat(rows)


def _nearest(pictures: torch.Tensor, of: torch.Tensor) -> np.ndarray:
    """[n, DRAWINGS]: of each picture [n, values] the nearest one of each of the nearest other drawings (`of` [n])."""
    of = of.to(pictures.device)
    count = int(of.max()) + 1
    out = np.full((len(of), DRAWINGS), NONE, np.int64)
    chunk = max(1, DISTANCES // len(of))
    for begin in range(0, len(of), chunk):
        exit_if_signalled()
        own = of[begin : begin + chunk]
        apart = torch.cdist(pictures[begin : begin + chunk], pictures) / pictures.shape[1] ** 0.5
        least = torch.full((len(own), count), torch.inf, device=apart.device)
        least.scatter_reduce_(1, of.expand_as(apart), apart, "amin")
        least.scatter_(1, own[:, None], torch.inf)
        distances, chosen = least.topk(min(DRAWINGS, count - 1), 1, largest=False)
        for k in range(chosen.shape[1]):
            nearest = apart.masked_fill(of != chosen[:, k : k + 1], torch.inf).argmin(1)
            column = torch.where(distances[:, k] <= FARTHEST, nearest, NONE)
            out[begin : begin + chunk, k] = column.cpu().numpy()
    return out

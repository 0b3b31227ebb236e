"""Figures as arithmetic on arrays: distances of pictures, distances of sets, use of a codebook.

Pictures are float tensors [n, C, H, W] in 0..1, premultiplied if C is 4. Features are float arrays [n, d]. Weights of a
set (`wa`, `wb`) say how much each row counts, so that classes of different sizes can count the same; without them all
rows count the same.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

LEAST_ERROR = 1e-10  # smallest mean squared error in a PSNR: 100 dB
WINDOW, SPREAD = 7, 1.5  # of SSIM, in pixels

Weights = np.ndarray | None


# ---------------------------------------------------------------- pairs of pictures
def psnr(want: torch.Tensor, got: torch.Tensor) -> np.ndarray:
    """PSNR of each picture [n], in dB: over all pixels and channels, with an error of at least 1e-10."""
    error = (want.double() - got.double()).square().flatten(1).mean(1)
    out: np.ndarray = (-10 * error.clamp(min=LEAST_ERROR).log10()).numpy()
    return out


def ssim(want: torch.Tensor, got: torch.Tensor) -> np.ndarray:
    """Structural similarity of each picture [n], -1..1.

    Gaussian window of 7 pixels (deviation 1.5; smaller pictures use a smaller one), only where it fits completely; mean
    over positions and channels; constants 0.01^2 and 0.03^2.
    """

    def window_means(side: int) -> torch.Tensor:
        """[positions, side]: the weighted mean over the window at each position of one axis."""
        width = min(WINDOW, *want.shape[2:])
        line = torch.exp(-((torch.arange(width, dtype=torch.float64) - (width - 1) / 2) ** 2) / (2 * SPREAD**2))
        out = torch.zeros(side - width + 1, side, dtype=torch.float64)
        for i in range(len(out)):
            out[i, i : i + width] = line / line.sum()
        return out

    down, across = window_means(want.shape[2]), window_means(want.shape[3]).T

    def mean(x: torch.Tensor) -> torch.Tensor:
        return down @ x @ across

    a, b = want.double(), got.double()
    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    out = (2 * ma * mb + 1e-4) * (2 * both + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4))
    means: np.ndarray = out.flatten(1).mean(1).numpy()
    return means


# ---------------------------------------------------------------- codes
def code_use(ids: Any) -> dict[str, Any]:
    """How many codes occur in `ids`, and the perplexity of their frequencies."""
    counts = np.unique(np.asarray(ids), return_counts=True)[1]
    p = counts / counts.sum()
    return {"distinct": len(counts), "perplexity": float(np.exp(-(p * np.log(p)).sum()))}


# ---------------------------------------------------------------- pairs of sets
def balanced(labels: Any) -> np.ndarray:
    """Weights [n] with sum 1 under which each class that occurs counts the same."""
    labels = np.asarray(labels)
    counts = np.bincount(labels)
    weights: np.ndarray = 1 / counts[labels] / (counts > 0).sum()
    return weights


def _weights(n: int, given: Weights) -> np.ndarray:
    w = np.full(n, 1 / n) if given is None else np.asarray(given, np.float64)
    return w / w.sum()


def _moments(x: Any, given: Weights) -> tuple[np.ndarray, np.ndarray]:
    x, w = np.asarray(x, np.float64), _weights(len(x), given)
    mean = w @ x
    apart = x - mean
    return mean, (apart * w[:, None]).T @ apart / (1 - (w**2).sum())


def _root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh(matrix)
    root: np.ndarray = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    return root


def frechet_of(mean_a: np.ndarray, cov_a: np.ndarray, mean_b: np.ndarray, cov_b: np.ndarray) -> float:
    """The squared Fréchet distance of two normal distributions."""
    half = _root(cov_a)
    values = np.linalg.eigvalsh(half @ cov_b @ half)
    traces = np.trace(cov_a) + np.trace(cov_b)
    return float(((mean_a - mean_b) ** 2).sum() + traces - 2 * np.sqrt(values.clip(0)).sum())


def frechet(a: Any, b: Any, wa: Weights = None, wb: Weights = None) -> float:
    """The Fréchet distance of the normal distributions fitted to two sets of features, of two rows each at least.

    It is biased upwards for small sets: compare only figures of equal counts.
    """
    return frechet_of(*_moments(a, wa), *_moments(b, wb))


def _off_diagonal(kernel: np.ndarray, w: np.ndarray) -> float:
    """Mean over pairs of different rows."""
    apart = 1 - (w**2).sum()
    return float((w @ kernel @ w - (w**2 * np.diag(kernel)).sum()) / apart)


def kernel_distance(
    a: Any, b: Any, wa: Weights = None, wb: Weights = None, *, subset: int = 200, subsets: int = 50, seed: int = 0
) -> dict[str, float]:
    """{mean, deviation} of the unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3.

    Over random subsets of at most `subset` rows of each side, and at most half of its rows (but two at least), so that
    subsets differ.
    """
    rng = np.random.default_rng(seed)
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    wa, wb = _weights(len(a), wa), _weights(len(b), wb)
    found = []
    for _ in range(subsets):
        i, j = (rng.permutation(len(x))[: max(2, min(subset, len(x) // 2))] for x in (a, b))
        x, y, u, v = a[i], b[j], wa[i] / wa[i].sum(), wb[j] / wb[j].sum()
        kxx, kyy, kxy = ((p @ q.T / a.shape[1] + 1) ** 3 for p, q in ((x, x), (y, y), (x, y)))
        found.append(_off_diagonal(kxx, u) + _off_diagonal(kyy, v) - 2 * float(u @ kxy @ v))
    return {"mean": float(np.mean(found)), "deviation": float(np.std(found))}


@contextlib.contextmanager
def _tf32() -> Iterator[None]:
    """A context in which CUDA may round the factors of fp32 products to 10 bits: exact enough for centred rows."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before


def distances(a: Any, b: Any) -> np.ndarray:
    """Euclidean distances [n, m] of the rows of two arrays; computed where b is, if it is a tensor."""
    if isinstance(b, torch.Tensor):
        mean = b.mean(0)  # small numbers, so that products lose little
        x, y = torch.from_numpy(np.asarray(a, np.float32)).to(b.device) - mean, b - mean
        sums = x.double().square().sum(1)[:, None] + y.double().square().sum(1)[None]
        with _tf32():
            products = x @ y.T
        there: np.ndarray = (sums - 2 * products.double()).clamp(min=0).sqrt().cpu().numpy()
        return there
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    squares = (a.astype(np.float64) ** 2).sum(1)[:, None] + (b.astype(np.float64) ** 2).sum(1)[None]
    out: np.ndarray = np.sqrt((squares - 2.0 * (a @ b.T)).clip(0))
    return out


def _radii(x: Any, k: int) -> np.ndarray:
    d = distances(x, x)
    np.fill_diagonal(d, np.inf)
    return np.partition(d, k - 1, axis=1)[:, k - 1]


def precision_recall(
    real: Any, made: Any, wr: Weights = None, wm: Weights = None, *, k: int = 3
) -> tuple[float | None, float | None]:
    """(precision, recall), each 0..1, of k-nearest-neighbour manifolds.

    Precision is the share of made rows no farther from some real row than its k-th nearest real row; recall exchanges
    the sides. Either is None if its set has no k others.
    """
    d = distances(real, made)
    precision = recall = None
    if len(real) > k:
        inside = (d <= _radii(real, k)[:, None]).any(0)
        precision = float(_weights(len(made), wm) @ inside)
    if len(made) > k:
        inside = (d <= _radii(made, k)[None]).any(1)
        recall = float(_weights(len(real), wr) @ inside)
    return precision, recall


# ---------------------------------------------------------------- near-copies
@dataclass(frozen=True)
class Nearest:
    """For each of n queries: the nearest file, and the nearest when each file's distance is divided by its `own`.

    `distance`, `file` [n]: the least distance and its file. `ratio`, `copied` [n]: the least distance / own and its
    file.
    """

    distance: np.ndarray
    file: np.ndarray
    ratio: np.ndarray
    copied: np.ndarray

    def __len__(self) -> int:
        return len(self.distance)


def nearest(
    queries: torch.Tensor,
    files: np.ndarray | torch.Tensor,
    own: Any,
    variants: Sequence[Callable[[torch.Tensor], torch.Tensor]],
    embed: Callable[[torch.Tensor], np.ndarray],
    *,
    chunk: int = 256,
) -> Nearest:
    """The nearest of the embedded `files` [m, d] for each query.

    Every query is compared in all `variants` (functions of a batch of pictures, including the identity), embedded by
    `embed`. `own` [m] divides the distances for the ratio.
    """
    own = np.asarray(own, np.float64).clip(1e-6)
    found = []
    for start in range(0, len(queries), chunk):
        some = queries[start : start + chunk]
        d = np.full((len(some), len(files)), np.inf)
        for variant in variants:
            d = np.minimum(d, distances(embed(variant(some)), files))
        r = d / own
        found.append((d.min(1), d.argmin(1), r.min(1), r.argmin(1)))
    return Nearest(*(np.concatenate(column) for column in zip(*found)))


def as_rows(images: torch.Tensor) -> np.ndarray:
    """Pictures as rows whose Euclidean distance is the root mean squared difference over pixels and channels, 0..1."""
    flat = images.flatten(1)
    rows: np.ndarray = (flat / math.sqrt(flat.shape[1])).cpu().numpy()
    return rows


def spread(values: Any) -> dict[str, float]:
    """Quantiles of a list of numbers, for a report."""
    at = {"least": 0, "5 %": 5, "25 %": 25, "median": 50, "75 %": 75, "95 %": 95, "most": 100}
    return {name: float(np.percentile(values, q)) for name, q in at.items()}

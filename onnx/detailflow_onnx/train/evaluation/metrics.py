"""The figures of an evaluation, as arithmetic on arrays: how near pictures are to others, how near sets of pictures are to
sets, how much of a codebook is used. It knows neither models nor files.

Pictures are float tensors [n, C, H, W] in 0..1, premultiplied where C is 4. Features are float arrays [n, d]. Weights of
a set (`wa`, `wb`) say how much each of its rows counts, so that classes of different sizes can count the same; without them
all rows count alike."""

import math

import numpy as np
import torch
from torch.nn import functional

LEAST_ERROR = 1e-10  # stands for a mean squared error of nothing: 100 dB
WINDOW, SPREAD = 7, 1.5  # of SSIM, pixels


# ---------------------------------------------------------------- a picture beside a picture
def psnr(want, got):
    """Of each picture, dB [n]: 10 log10(1 / mean squared error over all pixels and channels), the error at least 1e-10."""
    error = (want.double() - got.double()).square().flatten(1).mean(1)
    return (-10 * error.clamp(min=LEAST_ERROR).log10()).numpy()


def ssim(want, got):
    """Structural similarity of each picture [n], -1..1: a Gaussian window of 7 pixels (deviation 1.5; smaller pictures: as many
    as they have) wherever it fits wholly, the mean over places and channels, constants 0.01^2 and 0.03^2."""

    def means(side):
        """One axis: [places, side], the weighted means over a window at each place."""
        width = min(WINDOW, *want.shape[2:])
        line = torch.exp(-((torch.arange(width, dtype=torch.float64) - (width - 1) / 2) ** 2) / (2 * SPREAD**2))
        out = torch.zeros(side - width + 1, side, dtype=torch.float64)
        for i in range(len(out)):
            out[i, i : i + width] = line / line.sum()
        return out

    down, across = means(want.shape[2]), means(want.shape[3]).T

    def mean(x):
        return down @ x @ across

    a, b = want.double(), got.double()
    ma, mb = mean(a), mean(b)
    va, vb, both = mean(a * a) - ma * ma, mean(b * b) - mb * mb, mean(a * b) - ma * mb
    out = (2 * ma * mb + 1e-4) * (2 * both + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4))
    return out.flatten(1).mean(1).numpy()


def resized(images, size):
    """Bilinear, antialiased, half-pixel centres: as pictures are degraded in training."""
    if images.shape[-1] == size:
        return images
    return functional.interpolate(images, (size, size), mode="bilinear", antialias=True, align_corners=False)


# ---------------------------------------------------------------- codes
def code_use(ids):
    """Of ids of any shape: how many codes occur, and the perplexity of their frequencies (as many equally frequent codes would
    have it)."""
    counts = np.unique(np.asarray(ids), return_counts=True)[1]
    p = counts / counts.sum()
    return {"distinct": len(counts), "perplexity": float(np.exp(-(p * np.log(p)).sum()))}


# ---------------------------------------------------------------- a set beside a set
def balanced(labels):
    """Weights [n], their sum 1, under which each class that occurs counts the same."""
    labels = np.asarray(labels)
    counts = np.bincount(labels)
    return 1 / counts[labels] / (counts > 0).sum()


def _weights(n, given):
    w = np.full(n, 1 / n) if given is None else np.asarray(given, np.float64)
    return w / w.sum()


def _moments(x, given):
    x, w = np.asarray(x, np.float64), _weights(len(x), given)
    mean = w @ x
    apart = x - mean
    return mean, (apart * w[:, None]).T @ apart / (1 - (w**2).sum())


def _root(matrix):
    values, vectors = np.linalg.eigh(matrix)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def frechet_of(mean_a, cov_a, mean_b, cov_b):
    """The squared Fréchet distance of two normal distributions."""
    half = _root(cov_a)
    values = np.linalg.eigvalsh(half @ cov_b @ half)
    return float(((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * np.sqrt(values.clip(0)).sum())


def frechet(a, b, wa=None, wb=None):
    """That of the normal distributions with the means and covariances of two sets of features, two rows each at least. It
    is biased upwards for small sets: compare only figures of equal counts."""
    return frechet_of(*_moments(a, wa), *_moments(b, wb))


def _off_diagonal(kernel, w):
    """Mean over pairs of different rows."""
    apart = 1 - (w**2).sum()
    return float((w @ kernel @ w - (w**2 * np.diag(kernel)).sum()) / apart)


def kernel_distance(a, b, wa=None, wb=None, *, subset=200, subsets=50, seed=0):
    """{mean, deviation} of the unbiased squared maximum mean discrepancy under the kernel (x.y / d + 1)^3, over random subsets of
    at most `subset` rows of each side (at most half of its rows, and two at least, so that subsets differ)."""
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


def distances(a, b):
    """Euclidean, [n, m], of the rows of two arrays."""
    a, b = np.asarray(a, np.float32), np.asarray(b, np.float32)
    squares = (a.astype(np.float64) ** 2).sum(1)[:, None] + (b.astype(np.float64) ** 2).sum(1)[None]
    return np.sqrt((squares - 2.0 * (a @ b.T)).clip(0))


def _radii(x, k):
    d = distances(x, x)
    np.fill_diagonal(d, np.inf)
    return np.partition(d, k - 1, axis=1)[:, k - 1]


def precision_recall(real, made, wr=None, wm=None, *, k=3):
    """(precision, recall), each 0..1, of k-nearest-neighbour manifolds: the share of made rows no farther from some real row than
    its k-th nearest real row is, and the same with the sides exchanged. Either is None where a set has no k others."""
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
class Nearest:
    """For each of n queries: the nearest file of m, and the nearest when each file's distance is divided by its `own`.

    `distance`, `file` [n]: the least distance and which file has it. `ratio`, `copied` [n]: the least of distance / own,
    and which file has that."""

    def __init__(self, distance, file, ratio, copied):
        self.distance, self.file, self.ratio, self.copied = distance, file, ratio, copied

    def __len__(self):
        return len(self.distance)


def nearest(queries, files, own, variants, embed, *, chunk=256):
    """Nearest files [m, d] (already embedded) of pictures `queries`, each taken in all `variants` (functions of a batch of
    pictures, the identity among them) before `embed` turns it into rows [n, d]. `own` [m]: what distances are divided by."""
    own, found = np.asarray(own, np.float64).clip(1e-6), []
    for start in range(0, len(queries), chunk):
        some, d = queries[start : start + chunk], None
        for variant in variants:
            here = distances(embed(variant(some)), files)
            d = here if d is None else np.minimum(d, here)
        r = d / own
        found.append((d.min(1), d.argmin(1), r.min(1), r.argmin(1)))
    return Nearest(*(np.concatenate(column) for column in zip(*found)))


def as_rows(images):
    """Pictures as rows whose Euclidean distance is the root of the mean squared difference over pixels and channels, 0..1."""
    flat = images.flatten(1)
    return (flat / math.sqrt(flat.shape[1])).numpy()


def spread(values):
    """Quantiles of a list of numbers, for a report."""
    at = {"least": 0, "5 %": 5, "25 %": 25, "median": 50, "75 %": 75, "95 %": 95, "most": 100}
    return {name: float(np.percentile(values, q)) for name, q in at.items()}

"""Figures that compare logits and pixels, and their tolerances."""

import numpy as np

EXACT = 1e-20  # smallest squared error in a PSNR: 206 dB

Bounds = dict[str, tuple[str, float]]  # figure -> ("most" or "least", bound)


def log_softmax(x: np.ndarray) -> np.ndarray:
    """Log-probabilities of logits, in float64."""
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def kl_of(want: np.ndarray, got: np.ndarray) -> np.ndarray:
    """KL(want || got) of each row of two arrays of logits, in nats."""
    p, q = log_softmax(want), log_softmax(got)
    return (np.exp(p) * (p - q)).sum(-1)


def psnr(want: np.ndarray, got: np.ndarray) -> float:
    """PSNR of pixels in -1..1, in dB."""
    error = float(((want - got).astype(np.float64) ** 2).mean())
    return float(10 * np.log10(4 / max(error, EXACT)))


def within(bounds: Bounds, name: str, value: float) -> bool | None:
    """Whether a figure is within its tolerance; None if it has none. NaN is within no tolerance."""
    if name not in bounds:
        return None
    kind, bound = bounds[name]
    return bool(value <= bound) if kind == "most" else bool(value >= bound)

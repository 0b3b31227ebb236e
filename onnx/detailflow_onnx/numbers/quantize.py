"""Weights of 8 and 4 bits.

int8: one scale for each output channel. The product of the integers is exact in int32 on every CPU. On x86 without
VNNI, two neighbouring products are first added in int16, so a channel's scale is chosen such that this sum cannot
overflow: 255 x 128 < 32768.

int4: each block of 32 inputs of an output channel has an integer factor of -15..15, and the channel a scale. A weight
is (n - 8) * factor * scale with n of 0..15, so (n - 8) * factor is an int8 of -120..120: kernels for int8 compute int4
layers, with sums that are exact in int32.
"""

from dataclasses import dataclass

import numpy as np

LARGEST = 127
PANEL, DEPTH = 16, 64  # layout of packed int8 weights
BLOCK = 32  # int4 weights that share one factor
LARGEST_FACTOR = 15
ZERO = 8  # the nibble of zero
CHANNELS_AT_ONCE = 64  # output channels quantized together, so that the candidates fit in the CPU cache
SHRINK_FACTORS = np.linspace(0.72, 1.0, 8)  # candidates, relative to the scale of a block that clips nothing
DAMPING = 0.01  # of the second moments, relative to their mean


def quantize_int8(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize a weight [in, out]: (int8 [in, out], scale [out])."""
    rows = weight if len(weight) % 2 == 0 else np.concatenate([weight, np.zeros_like(weight[:1])])
    top = np.abs(weight).max(0)
    for sign in (1, -1):
        half = np.maximum(sign * rows, 0)
        top = np.maximum(top, (half[0::2] + half[1::2]).max(0))
    scale = np.where(top == 0, 1, top / LARGEST).astype(np.float32)
    return np.rint(weight / scale).clip(-LARGEST, LARGEST).astype(np.int8), scale


def pack_int8(integers: np.ndarray) -> np.ndarray:
    """Pack int8 [in, out] as [out / 16, in / 4, 16, 4], zero-padded: `in` to a multiple of 64, `out` of 16.

    A panel holds 16 columns in which four neighbouring values of a column are adjacent: the order in which the vector
    and tile instructions of CPUs read them, so that the library can use the mapped file as it is.
    """
    inputs, outputs = integers.shape
    integers = np.pad(integers, ((0, -inputs % DEPTH), (0, -outputs % PANEL)))
    return integers.reshape(len(integers) // 4, 4, -1, PANEL).transpose(2, 0, 3, 1)


def unpack_int8(packed: np.ndarray, inputs: int, outputs: int) -> np.ndarray:
    """The int8 [in, out] that `pack_int8` packed."""
    return packed.transpose(1, 3, 0, 2).reshape(packed.shape[1] * 4, -1)[:inputs, :outputs]


@dataclass(frozen=True)
class Int4:
    """A quantized weight: element [n, k] is (nibbles[n, k] - 8) * factors[n, k / 32] * scale[n]."""

    nibbles: np.ndarray  # uint8 [out, in], 0..15
    factors: np.ndarray  # int8 [out, blocks], -15..15
    scale: np.ndarray  # float32 [out]

    def weight(self) -> np.ndarray:
        """The weight [in, out] that it stands for."""
        inputs = self.nibbles.shape[1]
        factors = np.repeat(self.factors.astype(np.float32), BLOCK, 1)[:, :inputs]
        return ((self.nibbles.astype(np.float32) - ZERO) * factors * self.scale[:, None]).T


def pack_int4(integers: Int4) -> tuple[np.ndarray, np.ndarray]:
    """(nibbles uint8 [out / 16, in / 8, 16, 4], factors int8 [out / 16, in / 32, 16]), padded as int8 is.

    A byte holds two neighbouring inputs of a column, the first in its lower half. Four bytes of a column are adjacent,
    so that the lower halves of a vector are one step of an int8 panel, and the upper halves another.
    """
    outputs, inputs = integers.nibbles.shape
    nibbles = np.pad(integers.nibbles, ((0, -outputs % PANEL), (0, -inputs % DEPTH)), constant_values=ZERO)
    blocks = nibbles.shape[1] // BLOCK
    factors = np.pad(integers.factors, ((0, -outputs % PANEL), (0, blocks - integers.factors.shape[1])))
    packed = nibbles[:, 0::2] | nibbles[:, 1::2] << 4
    packed = packed.reshape(-1, PANEL, packed.shape[1] // 4, 4).transpose(0, 2, 1, 3)
    return packed, factors.reshape(-1, PANEL, blocks).transpose(0, 2, 1)


def quantize_int4(weight: np.ndarray, moments: np.ndarray | None = None) -> Int4:
    """Quantize a weight [in, out].

    Every weight is rounded to the nearest value unless `moments` [in, in] are given: the mean products of two inputs of
    the layer. Then the rounding error of an input is made up for by the inputs after it (error feedback, the method of
    GPTQ), such that the error of the layer's output is small, and factors are chosen by the weighted error.
    """
    inputs, outputs = weight.shape
    blocks = -(-inputs // BLOCK)
    nibbles = np.empty((outputs, blocks * BLOCK), np.uint8)
    factors = np.empty((outputs, blocks), np.int8)
    scale = np.empty(outputs, np.float32)
    padded = np.zeros((outputs, blocks * BLOCK), np.float32)
    padded[:, :inputs] = weight.T
    importance = np.ones(blocks * BLOCK, np.float32)
    if moments is not None:
        importance[:inputs] = np.maximum(np.diag(moments), DAMPING * max(float(np.diag(moments).mean()), 1e-30))
    for first in range(0, outputs, CHANNELS_AT_ONCE):
        part = slice(first, min(first + CHANNELS_AT_ONCE, outputs))
        values = padded[part].reshape(-1, blocks, BLOCK)
        scale[part] = _channel_scales(values, importance.reshape(blocks, BLOCK))
        factors[part] = _factors(values, scale[part], importance.reshape(blocks, BLOCK))
        steps = factors[part, :, None] * scale[part, None, None]
        nibbles[part] = _round(values, steps).reshape(len(values), -1)
    if moments is not None:
        _feed_back(padded, moments, nibbles, factors, scale, importance)
    return Int4(nibbles[:, :inputs], factors, scale)


def _round(values: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Nibbles of values with these steps. A step of 0 gives zero."""
    return (np.rint(values / np.where(steps == 0, np.float32(np.inf), steps)).clip(-ZERO, ZERO - 1) + ZERO).astype(
        np.uint8
    )


def _ends(values: np.ndarray) -> np.ndarray:
    """The step of each block [out, blocks, 1] with which the extreme value becomes -8, the longer end of the range."""
    return np.take_along_axis(values, np.abs(values).argmax(-1)[..., None], -1) / -ZERO


def _errors(values: np.ndarray, steps: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """The weighted squared error [out, blocks] of rounding with these steps, none of which is 0."""
    rounded = np.rint(values / steps).clip(-ZERO, ZERO - 1)
    return ((rounded * steps - values) ** 2 * importance).sum(-1)


def _channel_scales(values: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """Scales [out] such that the best step of no block is beyond the largest factor. `values` are [out, blocks, 32]."""
    end = _ends(values)
    end[end == 0] = 1e-30
    best, least = end[..., 0].copy(), np.full(end.shape[:2], np.inf, np.float32)
    for factor in SHRINK_FACTORS:
        candidate = end * np.float32(factor)
        error = _errors(values, candidate, importance)
        better = error < least
        np.copyto(best, candidate[..., 0], where=better)
        np.copyto(least, error, where=better)
    return np.abs(best).max(-1) / np.float32(LARGEST_FACTOR)


def _factors(values: np.ndarray, scale: np.ndarray, importance: np.ndarray) -> np.ndarray:
    """The factors [out, blocks] with the least weighted squared error."""
    end = _ends(values)[..., 0]
    sign = np.where(end < 0, -1, 1).astype(np.float32)
    # Beyond the step that clips nothing the error grows, and below half of it too.
    most = np.ceil(np.abs(end) / scale[:, None]).clip(1, LARGEST_FACTOR)
    best, least = most.copy(), np.full(end.shape, np.inf, np.float32)
    for less in range(LARGEST_FACTOR // 2 + 1):
        candidate = np.maximum(most - less, 1)
        error = _errors(values, (sign * candidate * scale[:, None])[..., None], importance)
        better = error < least
        np.copyto(best, candidate, where=better)
        np.copyto(least, error, where=better)
    return np.where(end == 0, 0, sign * best).astype(np.int8)


def _feed_back(
    values: np.ndarray,
    moments: np.ndarray,
    nibbles: np.ndarray,
    factors: np.ndarray,
    scale: np.ndarray,
    importance: np.ndarray,
) -> None:
    """Round `values` [out, in], which change, input by input: each error is made up for by the inputs after it."""
    inputs = len(moments)
    damped = moments.astype(np.float64) + np.diag(np.full(inputs, DAMPING * max(float(np.diag(moments).mean()), 1e-30)))
    upper = np.ascontiguousarray(np.linalg.cholesky(np.linalg.inv(damped)).T.astype(np.float32))
    for first in range(0, inputs, BLOCK):
        last = min(first + BLOCK, inputs)
        block = np.s_[:, first // BLOCK : first // BLOCK + 1]
        whole = np.s_[:, first : first + BLOCK]
        factors[block] = _factors(values[whole][:, None], scale, importance[None, first : first + BLOCK])
        steps = factors[:, first // BLOCK] * scale
        columns = np.ascontiguousarray(values[:, first:last].T)  # [in, out]
        errors = np.empty_like(columns)
        for k in range(last - first):
            rounded = _round(columns[k], steps)
            nibbles[:, first + k] = rounded
            at = first + k
            errors[k] = (columns[k] - (rounded.astype(np.float32) - ZERO) * steps) / upper[at, at]
            columns[k + 1 :] -= upper[at, at + 1 : last, None] * errors[k]
        values[:, last:inputs] -= errors.T @ upper[first:last, last:]

"""Weights of 8 and 4 bits.

int8: one scale for each output channel. The product of the integers is exact in int32 on every CPU. On x86 without
VNNI, two neighbouring products are first added in int16, so a channel's scale is chosen such that this sum cannot
overflow: 255 x 128 < 32768.

int4: one scale for each block of 32 inputs of an output channel.
"""

import numpy as np

LARGEST = 127
PANEL, DEPTH = 16, 64  # layout of packed int8 weights
BLOCK = 32  # int4 weights that share one scale
CHANNELS_AT_ONCE = 64  # output channels quantized together, so that the candidates fit in the CPU cache
SHRINK_FACTORS = np.linspace(0.72, 1.0, 8)  # candidates, relative to the int4 scale that clips nothing


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


def quantize_int4(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Quantize a weight [in, out]: (nibbles [out, blocks, BLOCK/2], scales [out, blocks]).

    A nibble n of 0..15 stands for (n - 8) * scale. The extreme value of a block maps to -8, the longer end of the
    range. Of several smaller scales the one with the least squared error is used.
    """
    inputs, outputs = weight.shape
    blocks = -(-inputs // BLOCK)
    packed = np.empty((outputs, blocks, BLOCK // 2), np.uint8)
    scales = np.empty((outputs, blocks), np.float32)
    for first in range(0, outputs, CHANNELS_AT_ONCE):
        part = slice(first, min(first + CHANNELS_AT_ONCE, outputs))
        padded = np.zeros((part.stop - first, blocks * BLOCK), np.float32)
        padded[:, :inputs] = weight.T[part]
        packed[part], scales[part] = _quantize_blocks(padded.reshape(-1, blocks, BLOCK))
    return packed, scales


def _quantize_blocks(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(nibbles, scales) of blocks [out, blocks, BLOCK]."""
    end = np.take_along_axis(values, np.abs(values).argmax(-1)[..., None], -1) / -8
    end[end == 0] = 1
    scale = end * np.float32(SHRINK_FACTORS[0])
    integers = np.rint(values / scale).clip(-8, 7)
    least = ((integers * scale - values) ** 2).sum(-1, keepdims=True)
    for factor in SHRINK_FACTORS[1:]:
        candidate = end * np.float32(factor)
        rounded = np.rint(values / candidate).clip(-8, 7)
        error = ((rounded * candidate - values) ** 2).sum(-1, keepdims=True)
        better = error < least
        np.copyto(integers, rounded, where=better)
        np.copyto(scale, candidate, where=better)
        np.copyto(least, error, where=better)
    nibbles = (integers + 8).astype(np.uint8)
    return nibbles[..., 0::2] | nibbles[..., 1::2] << 4, scale[..., 0]

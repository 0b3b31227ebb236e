# SPDX-License-Identifier: MIT OR Apache-2.0
"""Numpy arrays as images of the library, without copies."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from ._structs import Image
from ._types import Format

Pixels: TypeAlias = npt.NDArray[Any]
Tokens: TypeAlias = npt.NDArray[np.uint32]
TokensLike: TypeAlias = npt.NDArray[np.unsignedinteger[Any]] | Sequence[int]

_LAYOUTS: dict[Format, tuple[int, type[np.generic]]] = {
    Format.RGB8: (3, np.uint8),
    Format.RGBA8: (4, np.uint8),
    Format.RGBA32F: (4, np.float32),
    Format.BGRA8: (4, np.uint8),
    Format.RGBA8_PREMULTIPLIED: (4, np.uint8),
    Format.BGRA8_PREMULTIPLIED: (4, np.uint8),
    Format.RGBA16F_LINEAR: (4, np.float16),
    Format.RGBA16F_LINEAR_PREMULTIPLIED: (4, np.float16),
}
# The format of an array, when none is named.
_DEFAULTS = {
    (3, "uint8"): Format.RGB8,
    (4, "uint8"): Format.RGBA8,
    (4, "float32"): Format.RGBA32F,
    (4, "float16"): Format.RGBA16F_LINEAR,
}


def empty(side: int, format: Format | None) -> tuple[Pixels, Image]:
    """A new array of side x side pixels, RGBA8 when no format is named, and the struct that describes it."""
    channels, kind = _LAYOUTS[format or Format.RGBA8]
    array: Pixels = np.empty((side, side, channels), kind)
    return array, describe(array, format or Format.RGBA8)


def target(array: Pixels, format: Format | None) -> Image:
    """Describes an array that receives pixels; rows may lie apart, such as in a part of a larger array."""
    if not array.flags.writeable:
        raise ValueError("the array is read-only")
    return describe(array, format)


def source(array: Pixels, format: Format | None) -> tuple[Pixels, Image]:
    """Describes an array that is read. Copies it only when its rows are not contiguous pixels."""
    try:
        return array, describe(array, format)
    except _Strides:
        array = np.ascontiguousarray(array)
        return array, describe(array, format)


class _Strides(ValueError):
    """The array has the right type and shape, and does not lie in memory as the library needs it."""


def describe(array: Pixels, format: Format | None) -> Image:
    """Describes an array of the shape (height, width, channels)."""
    if not isinstance(array, np.ndarray) or array.ndim != 3 or array.size == 0:
        raise ValueError("pixels are a numpy array of the shape (height, width, channels)")
    height, width, channels = array.shape
    if max(height, width) > 0xFFFFFFFF:
        raise ValueError(f"{width} x {height} pixels are too many")
    if format is None:
        format = _DEFAULTS.get((channels, array.dtype.name))
        if format is None:
            raise ValueError(
                f"no pixel format has {channels} channels of {array.dtype}: uint8 takes 3 or 4, float32 and float16 4"
            )
    if _LAYOUTS[format] != (channels, array.dtype.type) or not array.dtype.isnative:
        wanted, kind = _LAYOUTS[format]
        raise ValueError(f"{format.name} takes {wanted} channels of {np.dtype(kind)}, not {channels} of {array.dtype}")
    row, pixel, channel = array.strides
    size = array.itemsize
    if channel != size or (width > 1 and pixel != channels * size) or (height > 1 and row < width * channels * size):
        raise _Strides(
            f"strides {array.strides}: channels and pixels must be contiguous, and rows run from top to bottom"
        )
    length = width * channels * size
    stride = row if height > 1 else length
    return Image.new(
        format=format,
        width=width,
        height=height,
        stride=stride,
        pixels=array.ctypes.data,
        capacity=stride * (height - 1) + length,
    )


def tokens_array(tokens: TokensLike) -> Tokens:
    """Tokens as the library takes them; copied only when they are no contiguous uint32."""
    array = np.asarray(tokens)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError("tokens are a sequence of integers")
    if array.size and (array.min() < 0 or array.max() > 0xFFFFFFFF):
        raise ValueError("a token is 0 to codebook_size - 1")
    return np.ascontiguousarray(array, np.uint32)

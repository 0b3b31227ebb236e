"""Named tensors, read one at a time as float32: from a `.pt` file, a `.safetensors` file, or random.

Files are memory-mapped. The pages of a tensor are released after it was copied, so that memory holds one tensor and not
the whole model.
"""

import hashlib
import math
import mmap
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detailflow_onnx.checkpoint import torch_file
from detailflow_onnx.checkpoint.unpickler import TensorLocation
from detailflow_onnx.errors import Refused, brief, need, shown
from detailflow_onnx.files import check_name, decoded, open_regular, parsed_json
from detailflow_onnx.numbers.sizes import Shapes

# Element type -> NumPy type. BF16 is read as integers and widened.
NUMPY = {
    "F32": "<f4",
    "F64": "<f8",
    "F16": "<f2",
    "BF16": "<u2",
    "I64": "<i8",
    "I32": "<i4",
    "I16": "<i2",
    "I8": "i1",
    "U8": "u1",
    "BOOL": "?",
}
MAX_HEADER = 16 << 20  # bytes of the header of a safetensors file
MAX_NAME = 512
PREFIXES = ("module.", "_orig_mod.")  # left by distributed and compiled training


class Weights:
    """Named tensors: `shapes`, `shape(name)`, `read(name)`. `origin` names the file in messages."""

    def __init__(self, origin: str, shapes: Shapes, fetch: Callable[[str], np.ndarray]) -> None:
        self.origin = origin
        self.shapes = shapes
        self._fetch = fetch
        self.on_read: Callable[[int], None] | None = None  # told the bytes of each tensor read

    def __contains__(self, name: str) -> bool:
        return name in self.shapes

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor; refused if there is none of this name."""
        need(name in self.shapes, f"{self.origin}: the tensor {name} is missing")
        return self.shapes[name]

    def read(self, name: str) -> np.ndarray:
        """The tensor as a new float32 array; refused if it holds NaN or infinite values."""
        self.shape(name)
        value = self._fetch(name)
        need(np.isfinite(value).all(), f"{self.origin}: the tensor {name} holds NaN or infinite values")
        if self.on_read:
            self.on_read(value.nbytes)
        return value


def _without_prefixes(names: dict[str, TensorLocation], origin: str) -> dict[str, str]:
    """{name without PREFIXES: original name}."""
    out: dict[str, str] = {}
    for original in names:
        need(len(original) <= MAX_NAME, f"{origin}: a tensor has a name of {len(original)} characters")
        check_name(original, f"{origin}: the tensor name")
        name = original
        while name.startswith(PREFIXES):
            name = name.split(".", 1)[1]
        need(name not in out, f"{origin}: the tensor {name} occurs twice, as {out.get(name)} and {original}")
        out[name] = original
    return out


def _copy(mapped: mmap.mmap, location: TensorLocation) -> np.ndarray:
    """The tensor at `location` as float32. Its pages are released."""
    if location.span == 0:
        return np.zeros(location.shape, np.float32)
    kind = np.dtype(NUMPY[location.dtype])
    flat = np.frombuffer(mapped, kind, location.span // kind.itemsize, location.offset)
    strides = [s * kind.itemsize for s in location.stride]
    view = np.lib.stride_tricks.as_strided(flat, location.shape, strides, writeable=False)
    if location.dtype == "BF16":
        value = (view.astype(np.uint32) << 16).view(np.float32)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            value = view.astype(np.float32)
    del flat, view
    if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        first = location.offset // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, first, location.offset + location.span - first)
    return value


def _from_locations(path: Path, locations: dict[str, TensorLocation]) -> Weights:
    try:
        with open_regular(path) as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise Refused(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    last = max((place.offset + place.span for place in locations.values()), default=0)
    need(last <= len(mapped), f"{path}: the file became shorter while it was read")
    names = _without_prefixes(locations, str(path))
    shapes = {name: tuple(locations[original].shape) for name, original in names.items()}
    return Weights(str(path), shapes, lambda name: _copy(mapped, locations[names[name]]))


def _contiguous(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _header(path: Path) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file, and the offset of the data."""
    import safetensors

    damaged = f"{path}: the file is not a safetensors file or is damaged"
    try:
        with open_regular(path) as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
            need(length <= MAX_HEADER, f"{damaged} (its header has {length} bytes; at most {MAX_HEADER} are read)")
            raw = file.read(length)
        with safetensors.safe_open(path, framework="np"):
            pass  # checks the header, the offsets and the length
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or brief(error)}") from None
    except safetensors.SafetensorError as error:
        raise Refused(f"{damaged} ({brief(error)})") from None
    header = parsed_json(decoded(raw, path), path)
    need(isinstance(header, dict), f"{damaged} (its header is not an object)")
    return header, 8 + length


def _location(item: Any, start: int, subject: str) -> TensorLocation | None:
    """The location of one tensor; None if its element type is none of NUMPY."""
    need(isinstance(item, dict), f"{subject} is not described by an object")
    dtype, shape, offsets = item.get("dtype"), item.get("shape"), item.get("data_offsets")
    if not isinstance(dtype, str) or dtype not in NUMPY:
        return None
    lists = isinstance(shape, list) and isinstance(offsets, list) and len(shape) <= 8 and len(offsets) == 2
    sizes = lists and all(type(n) is int and 0 <= n < 1 << 48 for n in (*shape, *offsets))
    need(sizes, f"{subject} has no shape of up to 8 sizes, or no two offsets")
    need(math.prod(n or 1 for n in shape) < 1 << 48, f"{subject} has a shape with 2^48 elements or more")
    first, last = offsets
    fits = last - first == math.prod(shape) * np.dtype(NUMPY[dtype]).itemsize
    need(fits, f"{subject} has {last - first} bytes, which its shape does not need")
    return TensorLocation(dtype, tuple(shape), start + first, _contiguous(shape), last - first)


def _safetensors(path: Path, key: str) -> Weights:
    header, start = _header(path)
    header.pop("__metadata__", None)
    inner = {name[len(key) + 1 :]: item for name, item in header.items() if name.startswith(key + ".")}
    locations = {}
    for name, item in (inner or header).items():
        location = _location(item, start, f"{path}: the tensor {shown(name)}")
        if location:
            locations[name] = location
    return _from_locations(path, locations)


def open_file(path: Path, key: str) -> Weights:
    """The tensors of a `.pt` file under `key`, or of a `.safetensors` file (those that start with `key.`, else all)."""
    if path.suffix == ".safetensors":
        return _safetensors(path, key)
    state = torch_file.load(path)
    need(isinstance(state, dict), f"{path}: the file holds no dictionary")
    tensors = state.get(key)
    if not isinstance(tensors, dict):
        have = ", ".join(sorted(name for name in state if isinstance(name, str))[:20]) or "no names"
        raise Refused(f"{path}: the key {key!r} is missing; the file has {brief(have)}")
    found = {name: v for name, v in tensors.items() if isinstance(name, str) and isinstance(v, TensorLocation)}
    return _from_locations(path, found)


def random(shapes: Shapes, seed: int, spread: Callable[[str, tuple[int, ...]], tuple[float, float]]) -> Weights:
    """Random tensors that depend on (seed, name) only and are generated at each read.

    `spread(name, shape)` gives (mean, standard deviation).
    """

    def fetch(name: str) -> np.ndarray:
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
        mean, deviation = spread(name, shapes[name])
        value = rng.standard_normal(shapes[name], dtype=np.float32)
        value *= np.float32(deviation)
        value += np.float32(mean)
        return value

    return Weights(f"random, seed {seed}", shapes, fetch)

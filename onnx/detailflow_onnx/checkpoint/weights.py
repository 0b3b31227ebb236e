"""Named tensors, read one at a time as float32: from a `.pt`, from a `.safetensors`, or random.

A file is mapped; a tensor's pages are given back to the system once it was copied out, so that memory holds one
tensor and not one model.
"""

import hashlib
import json
import math
import mmap
import struct

import numpy as np

from detailflow_onnx.checkpoint import torch_file as pickled
from detailflow_onnx.errors import Refused, need

NUMPY = {"F32": "<f4", "F64": "<f8", "F16": "<f2", "BF16": "<u2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}
PREFIXES = ("module.", "_orig_mod.")


class Weights:
    """What a graph is built from: `names`, `shape(name)`, `read(name)`."""

    def __init__(self, origin, shapes, fetch, on_read=None):
        self.origin = origin
        self.shapes = shapes
        self._fetch = fetch
        self.on_read = on_read

    def __contains__(self, name):
        return name in self.shapes

    def shape(self, name):
        need(name in self.shapes, f"{self.origin}: the tensor {name} is missing")
        return self.shapes[name]

    def read(self, name):
        """The tensor as a float32 array of its own."""
        self.shape(name)
        value = self._fetch(name)
        need(np.isfinite(value).all(), f"{self.origin}: the tensor {name} holds values that are not finite")
        if self.on_read:
            self.on_read(value.nbytes)
        return value


def _stripped(names, origin):
    """Names without what distributed or compiled training leaves in front: {stripped: original}."""
    out = {}
    for original in names:
        name = original
        while name.startswith(PREFIXES):
            name = name.split(".", 1)[1]
        need(name not in out, f"{origin}: the tensor {name} is there twice, as {out.get(name)} and {original}")
        out[name] = original
    return out


def _copy(mapped, place):
    """The tensor at `place` as float32; its pages are released."""
    if place.span == 0:
        return np.zeros(place.shape, np.float32)
    kind = np.dtype(NUMPY[place.dtype])
    flat = np.frombuffer(mapped, kind, place.span // kind.itemsize, place.offset)
    view = np.lib.stride_tricks.as_strided(flat, place.shape, [s * kind.itemsize for s in place.stride], writeable=False)
    if place.dtype == "BF16":
        value = (view.astype(np.uint32) << 16).view(np.float32)
    else:
        with np.errstate(over="ignore"):
            value = view.astype(np.float32)
    del flat, view
    if hasattr(mapped, "madvise") and hasattr(mmap, "MADV_DONTNEED"):
        first = place.offset // mmap.PAGESIZE * mmap.PAGESIZE
        mapped.madvise(mmap.MADV_DONTNEED, first, place.offset + place.span - first)
    return value


def _from_places(path, places):
    with open(path, "rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    names = _stripped(places, path)
    shapes = {name: tuple(places[original].shape) for name, original in names.items()}
    return Weights(str(path), shapes, lambda name: _copy(mapped, places[names[name]]))


def _contiguous(shape):
    return tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))


def _safetensors(path, key):
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np"):
            pass  # checks the header, the offsets and the length
        with open(path, "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            header = json.loads(file.read(length))
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise Refused(f"{path}: the file is not a safetensors file or is damaged ({error})") from None
    header.pop("__metadata__", None)
    inner = {name[len(key) + 1 :]: item for name, item in header.items() if name.startswith(key + ".")}
    places = {}
    for name, item in (inner or header).items():
        if item["dtype"] in NUMPY:
            first, last = item["data_offsets"]
            shape = tuple(item["shape"])
            places[name] = pickled.Place(item["dtype"], shape, 8 + length + first, _contiguous(shape), last - first)
    return _from_places(path, places)


def open_file(path, key):
    """The tensors of a `.pt` (under `key`) or a `.safetensors` (all, or those that begin with `key.`)."""
    if path.suffix == ".safetensors":
        return _safetensors(path, key)
    state = pickled.load(path)
    need(isinstance(state, dict), f"{path}: the file holds no dictionary")
    if not isinstance(state.get(key), dict):
        raise Refused(f"{path}: the key {key!r} is missing; the file has {', '.join(sorted(map(str, state))) or 'no keys'}")
    places = {name: value for name, value in state[key].items() if isinstance(name, str) and isinstance(value, pickled.Place)}
    return _from_places(path, places)


def random(shapes, seed, spread):
    """Tensors drawn from (seed, name): the same on every machine, none kept. `spread(name, shape)` gives (mean, deviation)."""

    def fetch(name):
        digest = hashlib.sha256(f"{seed}/{name}".encode()).digest()
        rng = np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))
        mean, deviation = spread(name, shapes[name])
        value = rng.standard_normal(shapes[name], dtype=np.float32)
        value *= np.float32(deviation)
        value += np.float32(mean)
        return value

    return Weights(f"random, seed {seed}", shapes, fetch)

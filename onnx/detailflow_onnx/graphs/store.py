"""The weight file of one precision: tensors appended in order of first use, each written once and found by key."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from onnx import TensorProto, helper

Moments = Callable[[str], np.ndarray | None]

INLINE = 1024  # bytes; smaller tensors stay in the graph, where ONNX Runtime can fold them
PAGE = 4096


class Store:
    """Writes `weights.PRECISION.bin`. Graphs that ask for the same key share one tensor."""

    def __init__(self, folder: Path, precision: str, moments: Moments | None = None) -> None:
        self._moments = moments
        self.name = f"weights.{precision}.bin"
        self._file = open(folder / self.name, "wb")  # noqa: SIM115  (`close` closes it)
        self._hash = hashlib.sha256()
        self.length = 0
        self._tensors: dict[str, TensorProto] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    def tensor(self, key: str, make: Callable[[], np.ndarray]) -> TensorProto:
        """The initializer for `key`. `make()` gives its array on first use."""
        if key not in self._tensors:
            self._tensors[key] = self._add(key, np.ascontiguousarray(make()))
        return self._tensors[key]

    def shape(self, key: str, make: Callable[[], tuple[int, ...]]) -> tuple[int, ...]:
        """The source shape of the weight `key`. `make()` is called on first use."""
        if key not in self._shapes:
            self._shapes[key] = make()
        return self._shapes[key]

    def moments(self, key: str) -> np.ndarray | None:
        """The second moments [in, in] of the input of the layer with the weight `key`; None without calibration."""
        return self._moments(key) if self._moments else None

    def _write(self, data: bytes | memoryview) -> None:
        self._file.write(data)
        self._hash.update(data)
        self.length += len(data)

    def _add(self, key: str, array: np.ndarray) -> TensorProto:
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = TensorProto(name=key, data_type=kind, dims=array.shape)
        if array.nbytes < INLINE:
            tensor.raw_data = array.tobytes()
            return tensor
        align = PAGE if array.nbytes >= PAGE else 64
        self._write(bytes(-self.length % align))
        offset = self.length
        self._write(array.data.cast("B"))
        tensor.data_location = TensorProto.EXTERNAL
        for name, value in (("location", self.name), ("offset", offset), ("length", array.nbytes)):
            tensor.external_data.add(key=name, value=str(value))
        return tensor

    def close(self) -> tuple[int, str]:
        """Close the file and return (length, SHA-256)."""
        self._file.close()
        return self.length, self._hash.hexdigest()

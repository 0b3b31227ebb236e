"""The weight file of one precision: tensors appended as they come, each once, found again by key."""

import hashlib

import numpy as np
from onnx import TensorProto, helper

INLINE = 1024  # smaller tensors stay in the graph, where ONNX Runtime can fold them
PAGE = 4096


class Store:
    """Writes `weights.PRECISION.bin`. Two graphs that ask for one key share one tensor."""

    def __init__(self, folder, precision):
        self.name = f"weights.{precision}.bin"
        self._file = open(folder / self.name, "wb")
        self._hash = hashlib.sha256()
        self.length = 0
        self._tensors, self._notes = {}, {}

    def tensor(self, key, make):
        """The initializer for `key`; `make()` gives its array when it is not there yet."""
        if key not in self._tensors:
            self._tensors[key] = self._add(key, np.ascontiguousarray(make()))
        return self._tensors[key]

    def note(self, key, make):
        """What `make()` says of the tensor `key`, asked for once."""
        if key not in self._notes:
            self._notes[key] = make()
        return self._notes[key]

    def _write(self, data):
        self._file.write(data)
        self._hash.update(data)
        self.length += len(data)

    def _add(self, key, array):
        kind = helper.np_dtype_to_tensor_dtype(array.dtype)
        tensor = TensorProto(name=key, data_type=kind, dims=array.shape)
        if array.nbytes < INLINE:
            tensor.raw_data = array.tobytes()
            return tensor
        align = PAGE if array.nbytes >= PAGE else 64
        self._write(bytes(-self.length % align))
        offset = self.length
        self._write(memoryview(array).cast("B"))
        tensor.data_location = TensorProto.EXTERNAL
        for name, value in (("location", self.name), ("offset", offset), ("length", array.nbytes)):
            tensor.external_data.add(key=name, value=str(value))
        return tensor

    def close(self):
        """(length, sha256) of the finished file."""
        self._file.close()
        return self.length, self._hash.hexdigest()


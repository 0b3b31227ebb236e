"""Nodes, constants, weights and shapes: the base of every graph."""

from collections.abc import Callable
from typing import Any

import numpy as np

import onnx
from detailflow_onnx import __version__
from detailflow_onnx.errors import need
from detailflow_onnx.graphs.store import Store
from onnx import TensorProto, helper

OPSET, IR = 21, 10
FUSED, NATIVE = "com.microsoft", "detailflow"
FLOAT, FLOAT16 = TensorProto.FLOAT, TensorProto.FLOAT16
INT32, INT64 = TensorProto.INT32, TensorProto.INT64
MAX_KEY = 80  # characters of the name of a constant

Make = Callable[[], np.ndarray]
Dims = list[int | str]


def to_float16(key: str, array: np.ndarray) -> np.ndarray:
    """A float32 array as float16; values beyond its range are refused. Other types are returned unchanged."""
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if not np.isfinite(half).all():
        text = f"the tensor {key} holds {np.abs(array).max():g}, beyond the fp16 range of 65504"
        need(False, f"{text}: export another precision")
    return half


class NodeBuilder:
    """A graph under construction. Every method returns the name of the value that it adds."""

    def __init__(self, name: str, store: Store | None, form: str, precision: str) -> None:
        self.name = name
        self._store = store
        self.native, self.fused, self.fixed = form == "native", form in ("native", "mha"), form == "fixed"
        self.precision = precision
        self.half = precision == "fp16"  # activations and KV cache are float16
        self.cache_type = FLOAT16 if self.half else FLOAT
        self.nodes: list[onnx.NodeProto] = []
        self.shapes: dict[tuple[int | str, ...], str] = {}  # shape constants and nodes by their parts
        self._inputs: list[onnx.ValueInfoProto] = []
        self._outputs: list[onnx.ValueInfoProto] = []
        self._initializers: dict[str, TensorProto] = {}
        self._number = 0

    @property
    def store(self) -> Store:
        """The weight file."""
        if self._store is None:
            raise AssertionError(f"the graph {self.name} has no weight file")
        return self._store

    # ------------------------------------------------------------ nodes and constants
    def ops(
        self,
        kind: str,
        *inputs: str | None,
        out: list[str | None] | None = None,
        count: int = 1,
        domain: str = "",
        **attributes: Any,
    ) -> list[str]:
        """Add a node and return its `count` outputs. A None in `inputs` or `out` omits an optional value."""
        self._number += 1
        single = f"{kind}_{self._number}"
        names = out or [single + (f"_{i}" if count > 1 else "") for i in range(count)]
        have, named = [i or "" for i in inputs], [n or "" for n in names]
        self.nodes.append(helper.make_node(kind, have, named, single, domain=domain, **attributes))
        return named

    def op(self, kind: str, *inputs: str | None, out: str | None = None, domain: str = "", **attributes: Any) -> str:
        """Add a node with one output and return it."""
        return self.ops(kind, *inputs, out=[out] if out else None, domain=domain, **attributes)[0]

    def fused_op(self, kind: str, *inputs: str | None, out: str | None = None, **attributes: Any) -> str:
        """Add an operator of ONNX Runtime."""
        return self.op(kind, *inputs, out=out, domain=FUSED, **attributes)

    def native_op(self, kind: str, *inputs: str | None, out: str | None = None, **attributes: Any) -> str:
        """Add an operator of the library."""
        return self.op(kind, *inputs, out=out, domain=NATIVE, **attributes)

    def const(self, value: Any, kind: Any = np.int64) -> str:
        """A small constant inside the graph. Equal constants are shared."""
        array = np.array(value, kind)
        key = f"const_{array.dtype}_{'x'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        if len(key) > MAX_KEY:
            key = f"const_{len(self._initializers)}"
        if key not in self._initializers:
            self._initializers[key] = onnx.numpy_helper.from_array(array, key)
        return key

    def weight(self, key: str, make: Make, *, exact: bool = False) -> str:
        """A tensor of the shared weight file. In fp16 it is stored as float16 unless it must stay `exact`."""
        if key not in self._initializers:
            convert = self.half and not exact
            self._initializers[key] = self.store.tensor(key, (lambda: to_float16(key, make())) if convert else make)
        return key

    def to_float(self, x: str) -> str:
        """`x` as float32: for long sums, and for outputs of the graph."""
        return self.op("Cast", x, to=FLOAT) if self.half else x

    def to_compute(self, x: str) -> str:
        """`x` in the type of the activations."""
        return self.op("Cast", x, to=FLOAT16) if self.half else x

    # ------------------------------------------------------------ inputs and outputs
    def input(self, name: str, kind: int, shape: Dims) -> str:
        """Declare an input."""
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name: str, kind: int, shape: Dims, index: int | None = None) -> str:
        """Declare an output, at `index` of the outputs declared so far (default: last)."""
        at = len(self._outputs) if index is None else index
        self._outputs.insert(at, helper.make_tensor_value_info(name, kind, shape))
        return name

    # ------------------------------------------------------------ shapes
    def shape(self, *parts: int | str) -> str:
        """A shape from numbers and names of shape tensors. Equal shapes are shared."""
        if parts not in self.shapes:
            if all(isinstance(p, int) for p in parts):
                self.shapes[parts] = self.const(parts)
            else:
                names = [p if isinstance(p, str) else self.const([p]) for p in parts]
                self.shapes[parts] = self.op("Concat", *names, axis=0)
        return self.shapes[parts]

    def reshape(self, x: str, *parts: int | str, out: str | None = None) -> str:
        """Reshape. 0 keeps a dimension, -1 is inferred, a string names a shape tensor."""
        return self.op("Reshape", x, self.shape(*parts), out=out)

    def flat(self, x: str, width: int) -> str:
        """[batch, q, width] -> [rows, width]: linear layers compute row by row."""
        return self.reshape(x, -1, width)

    def split(self, x: str, *widths: int) -> list[str]:
        """Split the last axis."""
        return self.ops("Split", x, self.const(widths), axis=-1, count=len(widths))

    def slice(self, x: str, axis: int, first: str, end: str) -> str:
        """x[first:end] along an axis; bounds are names of one-element tensors."""
        return self.op("Slice", x, first, end, self.const([axis]))

    def dim(self, x: str, axis: int) -> str:
        """One dimension of `x` as a shape tensor."""
        return self.op("Shape", x, start=axis, end=axis + 1)

    def repeat(self, x: str, batch: str) -> str:
        """A constant [1, rows, width] expanded over the batch."""
        return self.op("Expand", x, self.shape(batch, 1, 1))

    def model(self) -> onnx.ModelProto:
        """The finished graph."""
        initializers = list(self._initializers.values())
        graph = helper.make_graph(self.nodes, self.name, self._inputs, self._outputs, initializers)
        opsets = [helper.make_opsetid("", OPSET)]
        for domain in (FUSED, NATIVE):
            if any(node.domain == domain for node in self.nodes):
                opsets.append(helper.make_opsetid(domain, 1))
        return helper.make_model(
            graph,
            opset_imports=opsets,
            ir_version=IR,
            producer_name="detailflow_onnx",
            producer_version=__version__,
        )

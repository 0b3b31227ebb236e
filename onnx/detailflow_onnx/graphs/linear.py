"""Linear layers of every precision, and attention in standard operators.

int8 matmuls quantize each input row with its own scale (per-row dynamic quantization), so that a row's result does not
depend on the other rows of the batch. int4 matmuls do the same in form `native`; in the other forms they quantize the
input in the same blocks of 32 as the weights: with larger blocks the kernels of ONNX Runtime give a row different last
bits in another batch.
"""

import numpy as np

from detailflow_onnx.graphs.builder import FLOAT, FUSED, Make, NodeBuilder
from detailflow_onnx.graphs.store import Store
from detailflow_onnx.numbers.quantize import (
    BLOCK,
    DEPTH,
    LARGEST,
    PANEL,
    Int4,
    pack_int4,
    pack_int8,
    quantize_int4,
    quantize_int8,
)
from onnx import TensorProto

ZERO_POINT = 128  # of the uint8 input
SMALLEST = 1e-30  # stands for the largest value of a row of zeros


class Builder(NodeBuilder):
    """A `NodeBuilder` that adds linear layers."""

    def __init__(self, name: str, store: Store | None, form: str, precision: str) -> None:
        super().__init__(name, store, form, precision)
        self.zero_points: str | None = None  # int8: one per row; reset when the number of rows changes

    @property
    def fused_layers(self) -> bool:
        """Whether linear layers are the library's own operator."""
        return self.native and self.precision in ("int8", "int4")

    def linear(self, x: str, key: str, make: Make, bias: str | None = None) -> str:
        """x [rows, in] times the weight [in, out] that `make()` gives, plus `bias`, the name of a tensor [out]."""
        if self.fused_layers:
            return self.layer(x, key, make, bias=bias)
        if self.precision == "int8" and not self.fixed:
            return self._add(self._int8(x, key, make), bias)
        if self.precision == "int4":
            return self._add(self._int4(x, key, make), bias)
        weight = self._dequantized(key, make) if self.precision == "int8" else self.weight(key, make)
        return self.op("Gemm", x, weight, bias) if bias else self.op("MatMul", x, weight)

    def _add(self, x: str, bias: str | None) -> str:
        return self.op("Add", x, bias) if bias else x

    def layer(
        self,
        x: str,
        key: str,
        make: Make,
        *,
        before: str = "plain",
        gain: str | None = None,
        shift: str | None = None,
        epsilon: float = 0.0,
        bias: str | None = None,
        added: str | None = None,
        out: str | None = None,
    ) -> str:
        """The library's linear layer: prologue (norm or activation), GEMM, epilogue (bias and residual sum)."""
        kind, packed = ("Linear4", self._packed_int4) if self.precision == "int4" else ("Linear", self._packed)
        *weight, (inputs, outputs) = packed(key, make)
        flags = {"has_bias": int(bias is not None), "has_added": int(added is not None)}
        extra = {"epsilon": float(epsilon)} if gain else {}
        operands = [x, *weight, gain, shift, bias, added]
        while operands[-1] is None:
            operands.pop()
        return self.native_op(
            kind, *operands, before=before, in_width=inputs, out_width=outputs, out=out, **flags, **extra
        )

    # ------------------------------------------------------------ int8
    def _packed(self, key: str, make: Make) -> tuple[str, str, tuple[int, ...]]:
        """The names of a packed weight and of its scales, and the shape [in, out]."""
        made: dict[str, np.ndarray] = {}

        def part(name: str) -> np.ndarray:
            if not made:
                made["int8"], made["scale"] = quantize_int8(make())
            return made[name]

        shape = self.store.shape(key, lambda: part("int8").shape)
        weight = self.weight(key + ".int8", lambda: pack_int8(part("int8")))
        return weight, self.weight(key + ".scale", lambda: part("scale")), shape

    def _unpacked(self, weight: str, shape: tuple[int, ...]) -> str:
        """A packed weight as [in, out]. It depends on constants only, so ONNX Runtime folds it at load time."""
        inputs, outputs = shape
        y = self.op("Transpose", weight, perm=[1, 3, 0, 2])
        y = self.reshape(y, -inputs % DEPTH + inputs, -outputs % PANEL + outputs)
        if inputs % DEPTH or outputs % PANEL:
            y = self.op("Slice", y, self.const([0, 0]), self.const([inputs, outputs]), self.const([0, 1]))
        return y

    def _dequantized(self, key: str, make: Make) -> str:
        """An int8 weight [in, out] as floats, folded at load time.

        For form `fixed`: most execution providers would run an integer matmul on the CPU, and it would round its input.
        """
        weight, columns, shape = self._packed(key, make)
        return self.op("Mul", self.op("Cast", self._unpacked(weight, shape), to=FLOAT), columns)

    def _int8(self, x: str, key: str, make: Make) -> str:
        """x [rows, in] times an int8 weight."""
        weight, columns, shape = self._packed(key, make)
        weight = self._unpacked(weight, shape)
        top = self.op("ReduceMax", self.op("Abs", x), self.const([1]), keepdims=0)
        top = self.op("Max", top, self.const(SMALLEST, np.float32))
        scale = self.op("Mul", top, self.const(1 / LARGEST, np.float32))
        if self.fused:
            if self.zero_points is None:
                shape_of_scale = self.const([ZERO_POINT], np.uint8), self.op("Shape", scale)
                self.zero_points = self.op("Expand", *shape_of_scale)
            integers = self.op("QuantizeLinear", x, scale, self.zero_points, axis=0)
        else:
            # QuantizeLinear written out, bit for bit: OpenVINO reads per-row scales as one scale. Sums stay in 1..255.
            integers = self.op("Round", self.op("Div", x, self.op("Unsqueeze", scale, self.const([1]))))
            integers = self.op("Add", integers, self.const(ZERO_POINT, np.float32))
            integers = self.op("Cast", integers, to=TensorProto.UINT8)
        zero = self.const(ZERO_POINT, np.uint8)
        if self.fused:
            one = self.const(1, np.float32)
            y = self.fused_op("MatMulIntegerToFloat", integers, weight, one, columns, zero)
        else:
            product = self.op("MatMulInteger", integers, weight, zero)
            y = self.op("Mul", self.op("Cast", product, to=TensorProto.FLOAT), columns)
        return self.op("Mul", y, self.op("Unsqueeze", scale, self.const([1])))

    # ------------------------------------------------------------ int4
    def _packed_int4(self, key: str, make: Make) -> tuple[str, str, str, tuple[int, ...]]:
        """The names of a packed weight, of its factors and of its scales, and the shape [in, out]."""
        made: list[tuple[Int4, tuple[np.ndarray, np.ndarray]]] = []

        def part() -> tuple[Int4, tuple[np.ndarray, np.ndarray]]:
            if not made:
                integers = quantize_int4(make(), self.store.moments(key))
                made.append((integers, pack_int4(integers)))
            return made[0]

        shape = self.store.shape(key, lambda: part()[0].nibbles.shape[::-1])
        weight = self.weight(f"{key}.int4", lambda: part()[1][0])
        factors = self.weight(f"{key}.int4.factors", lambda: part()[1][1])
        return weight, factors, self.weight(f"{key}.int4.scale", lambda: part()[0].scale), shape

    def _int4(self, x: str, key: str, make: Make) -> str:
        """x [rows, in] times an int4 weight, whose layout depends on constants only: it is folded at load time."""
        weight, factors, scale, (inputs, outputs) = self._packed_int4(key, make)
        deep, wide, blocks = -inputs % DEPTH + inputs, -outputs % PANEL + outputs, -(-inputs // BLOCK)
        nibbles = self.op("Transpose", weight, perm=[0, 2, 1, 3])
        nibbles = self.reshape(nibbles, wide, deep // BLOCK, BLOCK // 2)
        factors = self.reshape(self.op("Transpose", factors, perm=[0, 2, 1]), wide, deep // BLOCK)
        if (blocks, outputs) != (deep // BLOCK, wide):
            cut = self.const([0, 0]), self.const([outputs, blocks]), self.const([0, 1])
            nibbles, factors = self.op("Slice", nibbles, *cut), self.op("Slice", factors, *cut)
        column = self.op("Unsqueeze", scale, self.const([1]))
        return self.op(
            "MatMulNBits",
            x,
            nibbles,
            self.op("Mul", self.op("Cast", factors, to=FLOAT), column),
            domain=FUSED,
            K=inputs,
            N=outputs,
            bits=4,
            block_size=BLOCK,
            accuracy_level=4,
        )

    # ------------------------------------------------------------ attention in standard operators
    def heads_first(self, x: str, batch: str, heads: int, head_dim: int) -> str:
        """[rows, heads*head_dim] -> [batch, heads, q, head_dim]."""
        return self.op("Transpose", self.reshape(x, batch, -1, heads, head_dim), perm=[0, 2, 1, 3])

    def heads_last(self, x: str, width: int) -> str:
        """[batch, heads, q, head_dim] -> [rows, width]."""
        return self.flat(self.op("Transpose", x, perm=[0, 2, 1, 3]), width)

    def softmax_attention(self, q: str, k: str, v: str, head_dim: int, mask: str | None = None) -> str:
        """softmax(q k / sqrt(head_dim) + mask) v; all are [batch, heads, positions, head_dim]."""
        scores = self.to_float(self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2])))
        scores = self.op("Mul", scores, self.const(head_dim**-0.5, np.float32))
        if mask:
            scores = self.op("Add", scores, mask)
        return self.op("MatMul", self.to_compute(self.op("Softmax", scores, axis=-1)), v)

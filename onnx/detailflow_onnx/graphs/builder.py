"""What every graph is built with: nodes, constants, weights and the parts that all graphs share.

A graph comes in four forms. `native` uses the library's own operators for the CPU (domain detailflow) beside the fused ones;
`mha` uses ONNX Runtime's fused operators (domain com.microsoft); `plain` and `fixed` use the standard operators only, but for
the product of 4 bits. `fixed` is for what computes apart from the processor: nothing in it depends on a shape, and products
are of floats, those of 8-bit weights too. All read the same weights.
"""

import numpy as np
import onnx
from onnx import TensorProto, helper

from detailflow_onnx import __version__
from detailflow_onnx.errors import need
from detailflow_onnx.numbers.quantize import int4_product, int8_product, packed, unpacked

OPSET, IR = 21, 10
FUSED, NATIVE = "com.microsoft", "detailflow"
FLOAT, FLOAT16, INT32, INT64 = TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.INT32, TensorProto.INT64


def halved(key, array):
    """A float32 array as float16; what is too large for that is refused."""
    if array.dtype != np.float32:
        return array
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    need(np.isfinite(half).all(), f"the tensor {key} holds {np.abs(array).max():g}, and fp16 ends at 65504: export another precision")
    return half


class Builder:
    """One graph on its way. Every method returns the name of what it computes."""

    def __init__(self, name, store, form, precision):
        self.name, self.store = name, store
        self.native, self.fused, self.fixed = form == "native", form in ("native", "mha"), form == "fixed"
        self.precision = precision
        self.half = precision == "fp16"  # what is between the products; `kept` is how keys and values are kept
        self.kept = FLOAT16 if self.half else FLOAT
        self._nodes, self._inputs, self._outputs = [], [], []
        self._initializers, self._shapes = {}, {}
        self._number = 0
        self.zero_points = None  # int8: one for each row; forgotten when the number of rows changes

    # ------------------------------------------------------------ nodes and constants
    def op(self, kind, *inputs, out=None, count=1, domain="", **attributes):
        """Add a node. Returns its output, or a list of `count` outputs. An output of None in `out` is left out."""
        self._number += 1
        names = [out] if isinstance(out, str) else out or [f"{kind}_{self._number}" + (f"_{i}" if count > 1 else "") for i in range(count)]
        node = helper.make_node(kind, [i or "" for i in inputs], [n or "" for n in names], f"{kind}_{self._number}", domain=domain, **attributes)
        self._nodes.append(node)
        return names[0] if len(names) == 1 else names

    def fusedop(self, kind, *inputs, **rest):
        return self.op(kind, *inputs, domain=FUSED, **rest)

    def nativeop(self, kind, *inputs, **rest):
        return self.op(kind, *inputs, domain=NATIVE, **rest)

    def const(self, value, kind=np.int64):
        """A small constant inside the graph; equal constants are one."""
        array = np.array(value, kind)
        key = f"const_{array.dtype}_{'x'.join(map(str, array.shape))}_{array.tobytes().hex()}"
        if len(key) > 80:
            key = f"const_{len(self._initializers)}"
        if key not in self._initializers:
            self._initializers[key] = onnx.numpy_helper.from_array(array, key)
        return key

    def weight(self, key, make, exact=False):
        """A tensor of the shared weight file; in fp16 it is halved, unless it is to stay `exact`."""
        if key not in self._initializers:
            self._initializers[key] = self.store.tensor(key, make if exact or not self.half else lambda: halved(key, make()))
        return key

    def wide(self, x):
        """x as float32: for sums over many places, and for what leaves the graph."""
        return self.op("Cast", x, to=FLOAT) if self.half else x

    def narrow(self, x):
        """x as the graph computes."""
        return self.op("Cast", x, to=FLOAT16) if self.half else x

    # ------------------------------------------------------------ inputs and outputs
    def input(self, name, kind, shape):
        self._inputs.append(helper.make_tensor_value_info(name, kind, shape))
        return name

    def output(self, name, kind, shape, place=None):
        """Declare an output; `place` puts it before those declared earlier."""
        at = len(self._outputs) if place is None else place
        self._outputs.insert(at, helper.make_tensor_value_info(name, kind, shape))
        return name

    # ------------------------------------------------------------ arithmetic
    def linear(self, x, key, make, bias=None):
        """x [rows, in] times the weight [in, out] that `make()` gives, plus `bias`, the name of a tensor [out]."""
        if self.layers:
            return self.layer(x, key, make, bias=bias)
        if self.fixed and self.precision == "int8":
            weight = self.widened(key, make)
            return self.op("Gemm", x, weight, bias) if bias else self.op("MatMul", x, weight)
        if self.precision in ("int8", "int4"):
            y = (int8_product if self.precision == "int8" else int4_product)(self, x, key, make)
            return self.op("Add", y, bias) if bias else y
        return self.op("Gemm", x, self.weight(key, make), bias) if bias else self.op("MatMul", x, self.weight(key, make))

    def widened(self, key, make):
        """A weight of 8 bits [in, out] as floats: of constants alone, so that ONNX Runtime does it once, when it loads the
        graph. A product of integers would fall to the processor nearly everywhere, and its input would be rounded."""
        weight, columns, shape = packed(self, key, make)
        return self.op("Mul", self.op("Cast", unpacked(self, weight, shape), to=FLOAT), columns)

    @property
    def layers(self):
        """Whether linear layers are the library's own."""
        return self.native and self.precision == "int8"

    def layer(self, x, key, make, *, before="plain", gain=None, shift=None, epsilon=0.0, bias=None, added=None, out=None):
        """A linear layer of the library's own: norm or activation before, bias and sum after, in one operator."""
        weight, scale, (inputs, outputs) = packed(self, key, make)
        flags = {"has_bias": int(bias is not None), "has_added": int(added is not None)}
        inner = {"epsilon": float(epsilon)} if gain else {}
        operands = [x, weight, scale, gain, shift, bias, added]
        while operands[-1] is None:
            operands.pop()
        return self.nativeop("Linear", *operands, before=before, in_width=inputs, out_width=outputs, out=out, **flags, **inner)

    # ------------------------------------------------------------ shapes
    def shape(self, *parts):
        """A shape from numbers and from names of shape tensors. Equal shapes are one node."""
        if parts not in self._shapes:
            if all(isinstance(p, int) for p in parts):
                self._shapes[parts] = self.const(parts)
            else:
                self._shapes[parts] = self.op("Concat", *[p if isinstance(p, str) else self.const([p]) for p in parts], axis=0)
        return self._shapes[parts]

    def reshape(self, x, *parts, out=None):
        """Reshape; 0 keeps a dimension, -1 is what remains, a name stands for a shape tensor."""
        return self.op("Reshape", x, self.shape(*parts), out=out)

    def flat(self, x, width):
        """[batch, q, width] -> [rows, width]: how layers compute, so that a row is a row."""
        return self.reshape(x, -1, width)

    def split(self, x, *widths):
        return self.op("Split", x, self.const(widths), axis=-1, count=len(widths))

    def rows_of(self, x, axis, first, end):
        """x[first:end] along an axis; bounds are names of tensors of one number."""
        return self.op("Slice", x, first, end, self.const([axis]))

    def dim(self, x, axis):
        return self.op("Shape", x, start=axis, end=axis + 1)

    def repeat(self, x, batch):
        """A constant [1, rows, width] once for each member of the batch."""
        return self.op("Expand", x, self.shape(batch, 1, 1))

    def heads_first(self, x, batch, heads, width):
        """[rows, heads*width] -> [batch, heads, q, width]."""
        return self.op("Transpose", self.reshape(x, batch, -1, heads, width), perm=[0, 2, 1, 3])

    def heads_last(self, x, width):
        """[batch, heads, q, head width] -> [rows, width]."""
        return self.flat(self.op("Transpose", x, perm=[0, 2, 1, 3]), width)

    def softmax_attention(self, q, k, v, width, mask=None):
        """Standard operators: softmax(q k / sqrt(width) + mask) v, all [batch, heads, rows, width]."""
        scores = self.wide(self.op("MatMul", q, self.op("Transpose", k, perm=[0, 1, 3, 2])))
        scores = self.op("Mul", scores, self.const(width**-0.5, np.float32))
        if mask:
            scores = self.op("Add", scores, mask)
        return self.op("MatMul", self.narrow(self.op("Softmax", scores, axis=-1)), v)

    def model(self):
        graph = helper.make_graph(self._nodes, self.name, self._inputs, self._outputs, list(self._initializers.values()))
        opsets = [helper.make_opsetid("", OPSET)]
        opsets += [helper.make_opsetid(domain, 1) for domain in (FUSED, NATIVE) if any(node.domain == domain for node in self._nodes)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR, producer_name="detailflow_onnx", producer_version=__version__)

"""Products with weights of 8 and 4 bits.

int8: a scale for each output channel, and for each row of the input a scale of its own.

A row is scaled by its own largest value, so what becomes of it does not depend on the rows beside it. The product of
the integers is exact in int32 on every processor. On x86 without VNNI two neighbouring products are added in int16
first, so a channel's scale is chosen such that this sum cannot overflow either: 255 x 128 < 32768.

int4: a scale for each block of 32 inputs of an output channel; the input is quantised to 8 bits in the same blocks, each by
its own largest value, so here too a row stands alone (ONNX Runtime's kernels for larger blocks give a row other last bits
among others than alone).
"""

import numpy as np
from onnx import TensorProto

LARGEST = 127
ZERO = 128  # of the unsigned input
PANEL, DEPTH = 16, 64  # how weights are packed
SMALLEST = 1e-30  # stands for the largest value of a row of zeros


def quantized(weight):
    """A weight [in, out] as (int8 [in, out], scale [out])."""
    rows = weight if len(weight) % 2 == 0 else np.concatenate([weight, np.zeros_like(weight[:1])])
    top = np.abs(weight).max(0)
    for sign in (1, -1):
        half = np.maximum(sign * rows, 0)
        top = np.maximum(top, (half[0::2] + half[1::2]).max(0))
    scale = np.where(top == 0, 1, top / LARGEST).astype(np.float32)
    return np.rint(weight / scale).clip(-LARGEST, LARGEST).astype(np.int8), scale


def pack(whole):
    """int8 [in, out] as it is stored: [out / 16, in / 4, 16, 4], `in` filled up to a multiple of 64 and `out` of 16 by zeros.
    Panels of 16 columns, in which four neighbouring numbers of a column lie together: what the vectors and tiles of
    processors multiply, as it is mapped."""
    inputs, outputs = whole.shape
    whole = np.pad(whole, ((0, -inputs % DEPTH), (0, -outputs % PANEL)))
    return whole.reshape(len(whole) // 4, 4, -1, PANEL).transpose(2, 0, 3, 1)


def packed(b, key, make):
    """The names of a packed weight and of its scales, and the shape [in, out]."""
    made = {}

    def part(name):
        if not made:
            made["int8"], made["scale"] = quantized(make())
        return made[name]

    shape = b.store.note(key, lambda: part("int8").shape)
    return b.weight(key + ".int8", lambda: pack(part("int8"))), b.weight(key + ".scale", lambda: part("scale")), shape


def unpacked(b, weight, shape):
    """A packed weight as [in, out]: of constants alone, so that ONNX Runtime does it once, when it loads the graph."""
    inputs, outputs = shape
    y = b.op("Transpose", weight, perm=[1, 3, 0, 2])
    y = b.reshape(y, -inputs % DEPTH + inputs, -outputs % PANEL + outputs)
    if inputs % DEPTH or outputs % PANEL:
        y = b.op("Slice", y, b.const([0, 0]), b.const([inputs, outputs]), b.const([0, 1]))
    return y


def int8_product(b, x, key, make):
    """Nodes for x [rows, in] times the weight `key`, added to builder `b`."""
    weight, columns, shape = packed(b, key, make)
    weight = unpacked(b, weight, shape)
    top = b.op("ReduceMax", b.op("Abs", x), b.const([1]), keepdims=0)
    scale = b.op("Mul", b.op("Max", top, b.const(SMALLEST, np.float32)), b.const(1 / LARGEST, np.float32))
    if b.fused:
        if b.zero_points is None:
            b.zero_points = b.op("Expand", b.const([ZERO], np.uint8), b.op("Shape", scale))
        whole = b.op("QuantizeLinear", x, scale, b.zero_points, axis=0)
    else:
        # QuantizeLinear written out, bit for bit: OpenVINO takes the rows' scales for one of the whole. No sum leaves 1 to 255.
        whole = b.op("Round", b.op("Div", x, b.op("Unsqueeze", scale, b.const([1]))))
        whole = b.op("Cast", b.op("Add", whole, b.const(ZERO, np.float32)), to=TensorProto.UINT8)
    zero = b.const(ZERO, np.uint8)
    if b.fused:
        y = b.fusedop("MatMulIntegerToFloat", whole, weight, b.const(1, np.float32), columns, zero)
    else:
        y = b.op("Mul", b.op("Cast", b.op("MatMulInteger", whole, weight, zero), to=TensorProto.FLOAT), columns)
    return b.op("Mul", y, b.op("Unsqueeze", scale, b.const([1])))


BLOCK = 32  # weights of one scale
AT_ONCE = 64  # output channels: so that what is tried fits into the processor's cache
SHRUNK = np.linspace(0.72, 1.0, 8)  # of the scale that loses nothing at the ends: where its error may be least


def blocked(weight):
    """A weight [in, out] as (4-bit numbers two in a byte [out, blocks, BLOCK/2], scales [out, blocks]).

    A number n of 0..15 stands for (n - 8) scale. The end that is farther from zero gets -8, of which there is one more; of
    some smaller scales the one with the least squared error is taken."""
    inputs, outputs = weight.shape
    blocks = -(-inputs // BLOCK)
    packed = np.empty((outputs, blocks, BLOCK // 2), np.uint8)
    scales = np.empty((outputs, blocks), np.float32)
    for first in range(0, outputs, AT_ONCE):
        part = slice(first, min(first + AT_ONCE, outputs))
        padded = np.zeros((part.stop - first, blocks * BLOCK), np.float32)
        padded[:, :inputs] = weight.T[part]
        packed[part], scales[part] = _blocked(padded.reshape(-1, blocks, BLOCK))
    return packed, scales


def _blocked(values):
    """Blocks [out, blocks, BLOCK] as (numbers, scales)."""
    end = np.take_along_axis(values, np.abs(values).argmax(-1)[..., None], -1) / -8
    end[end == 0] = 1
    numbers, scale, least = None, None, None
    for shrunk in SHRUNK:
        some = end * np.float32(shrunk)
        whole = np.rint(values / some).clip(-8, 7)
        error = ((whole * some - values) ** 2).sum(-1, keepdims=True)
        if least is None:
            numbers, scale, least = whole, some, error
            continue
        better = error < least
        np.copyto(numbers, whole, where=better)
        np.copyto(scale, some, where=better)
        np.copyto(least, error, where=better)
    numbers = (numbers + 8).astype(np.uint8)
    return numbers[..., 0::2] | numbers[..., 1::2] << 4, scale[..., 0]


def int4_product(b, x, key, make):
    """One node for x [rows, in] times the weight `key`, added to builder `b`."""
    made = {}

    def part(i):
        if not made:
            weight = make()
            made.update(enumerate((*blocked(weight), weight.shape)))
        return made[i]

    shape = b.store.note(key, lambda: part(2))
    names = [b.weight(f"{key}.int4", lambda: part(0)), b.weight(f"{key}.int4.scale", lambda: part(1))]
    return b.fusedop("MatMulNBits", x, *names, K=shape[0], N=shape[1], bits=4, block_size=BLOCK, accuracy_level=4)

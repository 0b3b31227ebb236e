"""The graph `draw`: samples token ids from the logits of a step on the device.

It is the library's `src/sample` in operators that every execution provider has: guidance, temperature, top-k (ties
stay), top-p (most likely first), and the code at which the cumulative sum exceeds a given uniform number. Operators
that some providers lack (TopK, CumSum) are replaced by a search over thresholds and a matmul with a triangle of ones.
Sums are float32 in the order of the device, so a token can differ from the CPU's if its uniform number or a top-k or
top-p threshold lies within rounding error.
"""

from collections.abc import Callable

import numpy as np

import onnx
from detailflow_onnx.graphs.builder import FLOAT, INT64
from detailflow_onnx.graphs.linear import Builder
from onnx import TensorProto, helper

NAME = "draw.onnx"
SETTINGS = (
    "scale",
    "warmth",
    "top_k",
    "top_p",
    "random",
    "given",
)  # the columns of `settings`; warmth is 1/temperature
LOWEST, FAR = -1e30, 1e30
LARGEST = float(np.finfo(np.float32).max)
THRESHOLDS, ROUNDS = (
    16,
    7,
)  # thresholds tried at once, and rounds: 2^28 intervals between the largest logit and the least
LAST = 3  # logits in one such interval that are still told apart


class _Sampler:
    def __init__(self, codes: int) -> None:
        self.codes = codes
        self.b = Builder("draw", None, "fixed", "fp32")
        # Codes in blocks, so that a cumulative sum is two small matmuls.
        self.block = 1 << (max(codes - 1, 1).bit_length() + 1) // 2
        self.blocks = -(-codes // self.block)

    # ------------------------------------------------------------ shorthands
    def real(self, x: object) -> str:
        return self.b.const(x, np.float32)

    def sum(self, x: str, axis: int = 1, keep: int = 1) -> str:
        return self.b.op("ReduceSum", x, self.b.const([axis]), keepdims=keep)

    def max_of(self, x: str) -> str:
        return self.b.op("ReduceMax", x, self.b.const([1]), keepdims=1)

    def min_of(self, x: str) -> str:
        return self.b.op("ReduceMin", x, self.b.const([1]), keepdims=1)

    def where(self, condition: str, x: str, y: str) -> str:
        return self.b.op("Where", condition, x, y)

    def larger(self, x: str, y: str) -> str:
        """The elementwise maximum. WebGPU lacks the operators Max and Min."""
        return self.where(self.b.op("Greater", x, y), x, y)

    def masked(self, condition: str, x: str) -> str:
        """x where the condition holds, else 0."""
        return self.where(condition, x, self.real(0))

    def count(self, length: int) -> str:
        return self.real(np.arange(length))

    def triangle(self, length: int) -> str:
        """Ones where row <= column: a matmul with it is a cumulative sum."""
        b, at = self.b, self.count(length)
        return b.op("Cast", b.op("LessOrEqual", b.op("Unsqueeze", at, b.const([1])), at), to=FLOAT)

    def blocked(self, x: str) -> str:
        """[positions, codes] as [positions, blocks, block], zero-padded."""
        b, missing = self.b, self.blocks * self.block - self.codes
        if missing:
            x = b.op("Pad", x, b.const([0, 0, 0, missing]), self.real(0))
        return b.reshape(x, -1, self.blocks, self.block)

    # ------------------------------------------------------------ the parts
    def threshold(self, z: str, mass: str, target: str) -> str:
        """The largest z for which the mass of all z' >= z exceeds the target [positions, 1]; else the least z."""
        b = self.b
        # The threshold is in [low, high).
        low, high = self.min_of(z), self.real([[1.0]])
        wide, heavy = b.op("Unsqueeze", z, b.const([1])), b.op("Unsqueeze", mass, b.const([1]))
        parts = self.real(np.arange(THRESHOLDS)[None] / THRESHOLDS)
        for _ in range(ROUNDS):
            tried = b.op("Add", low, b.op("Mul", b.op("Sub", high, low), parts))
            above = b.op("GreaterOrEqual", wide, b.op("Unsqueeze", tried, b.const([2])))
            enough = b.op("Greater", self.sum(self.masked(above, heavy), 2, 0), target)
            low = self.larger(low, self.max_of(self.where(enough, tried, self.real(LOWEST))))
            high = self.min_of(self.where(enough, high, tried))
        # The logits left in the interval, one by one, largest first.
        for _ in range(LAST):
            largest = self.max_of(self.where(b.op("Less", z, high), z, self.real(LOWEST)))
            enough = b.op("Greater", self.sum(self.masked(b.op("GreaterOrEqual", z, largest), mass)), target)
            high = self.where(enough, high, largest)
        return self.where(enough, largest, low)

    def cut(self, z: str, weight: str, warmth: str, top_k: str, top_p: str) -> str:
        """The weights [positions, codes] with zeros for what top-k and top-p exclude."""
        b = self.b
        one = b.op("Cast", b.op("LessOrEqual", z, self.real(1)), to=FLOAT)
        kth = self.threshold(z, one, b.op("Sub", top_k, self.real(0.5)))
        weight = self.masked(b.op("GreaterOrEqual", z, kth), weight)
        wanted = b.op("Mul", top_p, self.sum(weight))
        last = self.threshold(z, weight, wanted)
        heavier = b.op("Greater", z, last)
        # Of the codes that tie with the last one, the first few stay.
        missing = b.op("Sub", wanted, self.sum(self.masked(heavier, weight)))
        room = b.op("Div", missing, b.op("Exp", b.op("Mul", last, warmth)))
        room = b.op("Add", b.op("Floor", room), self.real(1))
        tied = b.op("Cast", b.op("Equal", z, last), to=FLOAT)
        blocks = self.blocked(tied)
        sums = b.op("MatMul", self.sum(blocks, 2, 0), self.triangle(self.blocks))
        before = b.op("Sub", sums, self.sum(blocks, 2, 0))
        inside = b.op("MatMul", blocks, self.triangle(self.block))
        number = b.op("Add", inside, b.op("Unsqueeze", before, b.const([2])))
        number = b.reshape(number, -1, self.blocks * self.block)
        if self.blocks * self.block > self.codes:
            number = b.op("Slice", number, b.const([0]), b.const([self.codes]), b.const([1]))
        first = b.op("Mul", tied, b.op("Cast", b.op("LessOrEqual", number, room), to=FLOAT))
        stays = b.op("Add", first, b.op("Cast", heavier, to=FLOAT))
        stays = b.op("Add", stays, b.op("Cast", b.op("GreaterOrEqual", top_p, self.real(1)), to=FLOAT))
        return self.masked(b.op("Greater", stays, self.real(0.5)), weight)

    def first_above(self, x: str, mark: str, length: int) -> str:
        """The first index at which the cumulative sum of x [positions, length] exceeds `mark`, among the x > 0.

        The last of these if rounding lets none exceed it.
        """
        b = self.b
        sums, at = b.op("MatMul", x, self.triangle(length)), self.count(length)
        has = b.op("Greater", x, self.real(0))
        first = self.where(b.op("Greater", sums, mark), at, self.real(FAR))
        first = self.min_of(self.where(has, first, self.real(FAR)))
        last = self.max_of(self.where(has, at, self.real(0)))
        return self.where(b.op("Less", first, last), first, last)

    def pick(self, weight: str, random: str) -> str:
        """The code [positions, 1] at which the cumulative weight exceeds the share `random` of the sum."""
        b, at = self.b, self.count(self.blocks)
        blocks = self.blocked(weight)
        sums = self.sum(blocks, 2, 0)
        mark = b.op("Mul", random, self.sum(sums))
        block = self.first_above(sums, mark, self.blocks)
        rest = b.op("Sub", mark, self.sum(self.masked(b.op("Less", at, block), sums)))
        own = b.op("Cast", b.op("Equal", at, block), to=FLOAT)
        inside = self.sum(b.op("Mul", blocks, b.op("Unsqueeze", own, b.const([2]))), 1, 0)
        index = self.first_above(inside, rest, self.block)
        return b.op("Add", b.op("Mul", block, self.real(self.block)), index)

    def branches(self, condition: str, make: Callable[[], str], other: str) -> str:
        """`make()` if the condition holds, else `other`; only one of them is computed."""
        b, outer = self.b, self.b.nodes
        graphs = []
        for name, branch in (("cut", make), ("whole", lambda: b.op("Identity", other))):
            b.nodes, shapes, b.shapes = [], b.shapes, dict(b.shapes)
            result = branch()
            info = helper.make_tensor_value_info(result, FLOAT, ["places", self.codes])
            graphs.append(helper.make_graph(b.nodes, name, [], [info]))
            b.nodes, b.shapes = outer, shapes
        return b.op("If", condition, then_branch=graphs[0], else_branch=graphs[1])

    def graph(self) -> onnx.ModelProto:
        b = self.b
        logits = b.input("logits", FLOAT, ["batch", "q", self.codes])
        rows = [b.input(name, INT64, ["places"]) for name in ("cond", "uncond")]
        settings = b.input("settings", FLOAT, ["places", len(SETTINGS)])
        cut = b.input("cut", TensorProto.BOOL, [1])
        scale, warmth, top_k, top_p, random, given = b.split(settings, *[1] * len(SETTINGS))
        flat = b.flat(logits, self.codes)
        cond, uncond = (b.op("Gather", flat, row, axis=0) for row in rows)
        mixed = b.op("Add", uncond, b.op("Mul", b.op("Sub", cond, uncond), scale))
        # Comparisons with NaN are false.
        finite = b.op("LessOrEqual", b.op("Abs", mixed), self.real(LARGEST))
        valid = self.min_of(b.op("Cast", finite, to=FLOAT))
        z = self.larger(b.op("Sub", mixed, self.max_of(mixed)), self.real(LOWEST))
        weight = b.op("Exp", b.op("Mul", z, warmth))
        uncut = weight
        weight = self.branches(cut, lambda: self.cut(z, uncut, warmth, top_k, top_p), uncut)
        is_given = b.op("GreaterOrEqual", given, self.real(0))
        token = self.where(is_given, given, self.pick(weight, random))
        start = b.op("Mul", b.op("Unsqueeze", self.count(self.blocks), b.const([1])), self.real(self.block))
        codes = b.op("Add", start, self.count(self.block))
        codes = b.reshape(codes, self.blocks * self.block)
        if self.blocks * self.block > self.codes:
            codes = b.op("Slice", codes, b.const([0]), b.const([self.codes]), b.const([0]))
        high = self.max_of(cond)
        drawn = self.sum(self.masked(b.op("Equal", codes, token), cond))
        total = b.op("Log", self.sum(b.op("Exp", b.op("Sub", cond, high))))
        likely = b.op("Sub", b.op("Sub", drawn, high), total)
        token = self.where(b.op("Greater", valid, self.real(0.5)), token, self.real(-1))
        b.op("Concat", token, likely, axis=1, out=b.output("drawn", FLOAT, ["places", 2]))
        return b.model()


def build(codes: int) -> onnx.ModelProto:
    """Build the graph `draw` for a codebook of `codes` codes."""
    return _Sampler(codes).graph()

"""The graph `draw`: from the logits of a step to token ids, for what computes apart from the processor.

It is the library's `src/sample` in operators that every provider has: guidance, temperature, top-k with ties kept, top-p by
the heaviest first, and the code at which the sum passes a uniform number that is given. Where ONNX has an operator that some
provider lacks (TopK, CumSum), a search over thresholds and a product with a triangle of ones stand for it. Sums are of
float32 in whatever order the device adds, so a token may be another where its uniform number, or a border, lies within
rounding.
"""

import numpy as np
from onnx import TensorProto, helper

from detailflow_onnx.graphs.builder import FLOAT, INT64, Builder

NAME = "draw.onnx"
SETTINGS = ("scale", "warmth", "top_k", "top_p", "random", "given")  # the columns of `settings`
LEAST, FAR = -1e30, 1e30
LARGEST = float(np.finfo(np.float32).max)
WAYS, ROUNDS = 16, 7  # thresholds tried at once, and how often: 2^28 places between the largest logit and the least
LAST = 3  # how many logits may lie in one such place and still be told apart


class _Draw:
    def __init__(self, codes):
        self.codes = codes
        self.b = Builder("draw", None, "fixed", "fp32")
        # Codes in blocks, so that sums up to each of them are two small products.
        self.block = 1 << (max(codes - 1, 1).bit_length() + 1) // 2
        self.blocks = -(-codes // self.block)

    # ------------------------------------------------------------ small words
    def real(self, x):
        return self.b.const(x, np.float32)

    def sum(self, x, axis=1, keep=1):
        return self.b.op("ReduceSum", x, self.b.const([axis]), keepdims=keep)

    def most(self, x):
        return self.b.op("ReduceMax", x, self.b.const([1]), keepdims=1)

    def least(self, x):
        return self.b.op("ReduceMin", x, self.b.const([1]), keepdims=1)

    def where(self, condition, x, y):
        return self.b.op("Where", condition, x, y)

    def larger(self, x, y):
        """Max and Min as operators are not to be had on WebGPU."""
        return self.where(self.b.op("Greater", x, y), x, y)

    def kept(self, condition, x):
        return self.where(condition, x, self.real(0))

    def count(self, length):
        return self.real(np.arange(length))

    def triangle(self, length):
        """Ones where the row is not behind the column: what stands before or at each place is summed by it."""
        b, at = self.b, self.count(length)
        return b.op("Cast", b.op("LessOrEqual", b.op("Unsqueeze", at, b.const([1])), at), to=FLOAT)

    def blocked(self, x):
        """[places, codes] as [places, blocks, block], filled up with zeros."""
        b, missing = self.b, self.blocks * self.block - self.codes
        if missing:
            x = b.op("Pad", x, b.const([0, 0, 0, missing]), self.real(0))
        return b.reshape(x, -1, self.blocks, self.block)

    # ------------------------------------------------------------ the parts
    def border(self, z, mass, target):
        """The largest z such that the mass of all that are no smaller is more than the target [places, 1]; the least where
        there is none."""
        b = self.b
        # Between two thresholds lies what is searched: it is in [low, high).
        low, high = self.least(z), self.real([[1.0]])
        wide, heavy = b.op("Unsqueeze", z, b.const([1])), b.op("Unsqueeze", mass, b.const([1]))
        parts = self.real(np.arange(WAYS)[None] / WAYS)
        for _ in range(ROUNDS):
            tried = b.op("Add", low, b.op("Mul", b.op("Sub", high, low), parts))
            above = b.op("GreaterOrEqual", wide, b.op("Unsqueeze", tried, b.const([2])))
            enough = b.op("Greater", self.sum(self.kept(above, heavy), 2, 0), target)
            low, high = self.larger(low, self.most(self.where(enough, tried, self.real(LEAST)))), self.least(self.where(enough, high, tried))
        # What is left is told apart one by one, from the largest on.
        for _ in range(LAST):
            largest = self.most(self.where(b.op("Less", z, high), z, self.real(LEAST)))
            enough = b.op("Greater", self.sum(self.kept(b.op("GreaterOrEqual", z, largest), mass)), target)
            high = self.where(enough, high, largest)
        return self.where(enough, largest, low)

    def cut(self, z, weight, warmth, top_k, top_p):
        """The weights [places, codes], with zeros for what top-k and top-p cut."""
        b = self.b
        one = b.op("Cast", b.op("LessOrEqual", z, self.real(1)), to=FLOAT)
        kth = self.border(z, one, b.op("Sub", top_k, self.real(0.5)))
        weight = self.kept(b.op("GreaterOrEqual", z, kth), weight)
        wanted = b.op("Mul", top_p, self.sum(weight))
        last = self.border(z, weight, wanted)
        heavier = b.op("Greater", z, last)
        # Of those that are as heavy as the last one the first few stay.
        room = b.op("Div", b.op("Sub", wanted, self.sum(self.kept(heavier, weight))), b.op("Exp", b.op("Mul", last, warmth)))
        room = b.op("Add", b.op("Floor", room), self.real(1))
        alike = b.op("Cast", b.op("Equal", z, last), to=FLOAT)
        blocks = self.blocked(alike)
        before = b.op("Sub", b.op("MatMul", self.sum(blocks, 2, 0), self.triangle(self.blocks)), self.sum(blocks, 2, 0))
        number = b.op("Add", b.op("MatMul", blocks, self.triangle(self.block)), b.op("Unsqueeze", before, b.const([2])))
        number = b.reshape(number, -1, self.blocks * self.block)
        if self.blocks * self.block > self.codes:
            number = b.op("Slice", number, b.const([0]), b.const([self.codes]), b.const([1]))
        first = b.op("Mul", alike, b.op("Cast", b.op("LessOrEqual", number, room), to=FLOAT))
        stays = b.op("Add", b.op("Add", first, b.op("Cast", heavier, to=FLOAT)), b.op("Cast", b.op("GreaterOrEqual", top_p, self.real(1)), to=FLOAT))
        return self.kept(b.op("Greater", stays, self.real(0.5)), weight)

    def passes(self, x, mark, length):
        """The first place at which the sum of x [places, length] passes the mark, among those that are more than 0; the last
        of these where rounding lets none."""
        b = self.b
        sums, at = b.op("MatMul", x, self.triangle(length)), self.count(length)
        has = b.op("Greater", x, self.real(0))
        first = self.where(b.op("Greater", sums, mark), at, self.real(FAR))
        first = self.least(self.where(has, first, self.real(FAR)))
        last = self.most(self.where(has, at, self.real(0)))
        return self.where(b.op("Less", first, last), first, last)

    def pick(self, weight, random):
        """The code [places, 1] at which the sum of weights passes its part `random`."""
        b, at = self.b, self.count(self.blocks)
        blocks = self.blocked(weight)
        sums = self.sum(blocks, 2, 0)
        mark = b.op("Mul", random, self.sum(sums))
        block = self.passes(sums, mark, self.blocks)
        rest = b.op("Sub", mark, self.sum(self.kept(b.op("Less", at, block), sums)))
        own = b.op("Cast", b.op("Equal", at, block), to=FLOAT)
        inside = self.sum(b.op("Mul", blocks, b.op("Unsqueeze", own, b.const([2]))), 1, 0)
        place = self.passes(inside, rest, self.block)
        return b.op("Add", b.op("Mul", block, self.real(self.block)), place)

    def branches(self, condition, make, other):
        """`make()` where the condition holds, else `other`: only one of them is computed."""
        b, outer = self.b, self.b._nodes
        graphs = []
        for name, branch in (("cut", make), ("whole", lambda: b.op("Identity", other))):
            b._nodes, shapes, b._shapes = [], b._shapes, dict(b._shapes)
            result = branch()
            graphs.append(helper.make_graph(b._nodes, name, [], [helper.make_tensor_value_info(result, FLOAT, ["places", self.codes])]))
            b._nodes, b._shapes = outer, shapes
        return b.op("If", condition, then_branch=graphs[0], else_branch=graphs[1])

    def graph(self):
        b = self.b
        logits = b.input("logits", FLOAT, ["batch", "q", self.codes])
        cond, uncond = (b.input(name, INT64, ["places"]) for name in ("cond", "uncond"))
        settings, cut = b.input("settings", FLOAT, ["places", len(SETTINGS)]), b.input("cut", TensorProto.BOOL, [1])
        scale, warmth, top_k, top_p, random, given = b.split(settings, *[1] * len(SETTINGS))
        flat = b.flat(logits, self.codes)
        cond, uncond = (b.op("Gather", flat, row, axis=0) for row in (cond, uncond))
        mixed = b.op("Add", uncond, b.op("Mul", b.op("Sub", cond, uncond), scale))
        # A comparison with what is no number does not hold.
        sound = self.least(b.op("Cast", b.op("LessOrEqual", b.op("Abs", mixed), self.real(LARGEST)), to=FLOAT))
        z = self.larger(b.op("Sub", mixed, self.most(mixed)), self.real(LEAST))
        weight = b.op("Exp", b.op("Mul", z, warmth))
        weight = self.branches(cut, lambda: self.cut(z, weight, warmth, top_k, top_p), weight)
        token = self.where(b.op("GreaterOrEqual", given, self.real(0)), given, self.pick(weight, random))
        codes = b.op("Add", b.op("Mul", b.op("Unsqueeze", self.count(self.blocks), b.const([1])), self.real(self.block)), self.count(self.block))
        codes = b.reshape(codes, self.blocks * self.block)
        if self.blocks * self.block > self.codes:
            codes = b.op("Slice", codes, b.const([0]), b.const([self.codes]), b.const([0]))
        high = self.most(cond)
        drawn = self.sum(self.kept(b.op("Equal", codes, token), cond))
        total = b.op("Log", self.sum(b.op("Exp", b.op("Sub", cond, high))))
        likely = b.op("Sub", b.op("Sub", drawn, high), total)
        token = self.where(b.op("Greater", sound, self.real(0.5)), token, self.real(-1))
        b.op("Concat", token, likely, axis=1, out=b.output("drawn", FLOAT, ["places", 2]))
        return b.model()


def build(codes):
    return _Draw(codes).graph()

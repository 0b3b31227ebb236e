"""The graph `ar`: one step of the autoregressive model with kept keys and values.

Rotary pairs are interleaved in the checkpoint. The rows of wq and wk are reordered so that they are split in halves,
which both forms rotate without a gather and which leaves every product of q and k as it was.
"""

import numpy as np

from detailflow_onnx.graphs.builder import FLOAT, INT32, INT64, Builder
from detailflow_onnx.numbers.schedule import last_place, rotary

UNSEEN = -1e30  # added to the score of what is not seen: its weight is 0, whatever stands there, if it is a number


def _embeddings(model):
    read = model.ar_weights.read
    parts = [read("tok_embeddings.weight"), read("cls_embedding.embedding_table.weight")]
    if model.group > 1:
        parts.append(read("spe_tok_embeddings.special_embeddings.weight"))
    return np.concatenate(parts)


def _qkv(model, name):
    """wqkv [in, out] with the channels of each q and k head reordered: even ones, then odd ones."""
    ar, w = model.ar, model.ar_weights.read(name)
    order = np.arange(len(w))
    turned = (ar.heads + ar.kv_heads) * ar.head_width
    pairs = order[:turned].reshape(-1, ar.head_width // 2, 2)
    order[:turned] = pairs.transpose(0, 2, 1).reshape(-1)
    return np.ascontiguousarray(w[order].T)


class _Ar:
    def __init__(self, model, store, form, precision):
        self.model, self.ar = model, model.ar
        self.b = Builder("ar", store, form, precision)
        self.read = model.ar_weights.read

    def weight(self, name):
        return self.b.weight("ar." + name, lambda: self.read(name))

    def linear(self, x, name):
        return self.b.linear(x, "ar." + name, lambda: np.ascontiguousarray(self.read(name).T))

    def norm(self, x, added, name):
        """(x + added, its RMS norm). `added` may be None."""
        b, eps, gain = self.b, self.ar.eps, self.weight(name + ".weight")
        if b.fused and added:
            y, total = b.fusedop("SkipSimplifiedLayerNormalization", x, added, gain, epsilon=eps, out=[f"{name}.y", None, None, f"{name}.x"])[::3]
            return total, y
        if added:
            x = b.op("Add", x, added)
        if b.fused:
            return x, b.op("SimplifiedLayerNormalization", x, gain, axis=-1, epsilon=eps)
        wide = b.wide(x)
        square = b.op("ReduceMean", b.op("Mul", wide, wide), b.const([-1]), keepdims=1)
        scale = b.op("Sqrt", b.op("Add", square, b.const(eps, np.float32)))
        return x, b.op("Mul", b.narrow(b.op("Div", wide, scale)), gain)

    def start(self):
        """Inputs, the embedded ids, and where the rotary rows come from."""
        b, model = self.b, self.model
        if b.native:
            return self.start_native()
        if b.fixed:
            return self.start_fixed()
        ids, start = b.input("ids", INT64, ["batch", "q"]), b.input("start", INT64, [1])
        self.batch, self.lead = b.dim(ids, 0), b.op("Shape", ids)
        cos, sin = rotary(model)
        self.cos, self.sin = b.weight("ar.cos", lambda: cos), b.weight("ar.sin", lambda: sin)
        if b.fused:
            self.place, self.past = start, b.op("Cast", start, to=INT32)
        else:
            end = b.op("Add", start, b.dim(ids, 1))
            self.cos, self.sin = (b.rows_of(t, 0, start, end) for t in (self.cos, self.sin))
        return b.flat(self.embedded(ids), self.ar.width)

    def embedded(self, ids):
        return self.b.op("Gather", self.b.weight("ar.embeddings", lambda: _embeddings(self.model)), ids, axis=0)

    def start_native(self):
        """Form `native`: any tokens of any rows. Where each stands is [row, place, how many places it sees]."""
        b = self.b
        ids, self.at = b.input("ids", INT64, ["tokens"]), b.input("at", INT64, ["tokens", 3])
        cos, sin = rotary(self.model)
        # Constants of an operator, so never in the graph's own file: it is read where it is mapped.
        self.cos, self.sin = b.weight("ar.cos", lambda: cos), b.weight("ar.sin", lambda: sin)
        return self.embedded(ids)

    def start_fixed(self):
        """Form `fixed`: each token says its place, and where its keys are written. All else is looked up by the place."""
        b, ar, model = self.b, self.ar, self.model
        ids, places = b.input("ids", INT64, ["batch", "q"]), b.input("places", INT64, ["batch", "q"])
        self.slots = b.input("slots", INT64, ["slots", 1])
        heads = b.const([1])
        rows = (b.op("Gather", b.weight("ar." + name, lambda t=table: t), places, axis=0) for name, table in zip(("cos", "sin"), rotary(model)))
        self.cos, self.sin = (b.op("Unsqueeze", t, heads) for t in rows)
        last = b.op("Gather", b.const(last_place(model), np.float32), places, axis=0)
        hidden = b.op("Greater", b.const(np.arange(model.count), np.float32), b.op("Unsqueeze", last, b.const([1, 3])))
        self.mask = b.op("Mul", b.op("Cast", hidden, to=FLOAT), b.const(UNSEEN, np.float32))
        return self.embedded(ids)

    def past_and_present(self, i):
        b, ar = self.b, self.ar
        if b.fixed:
            return [[make(f"{time}_{n}_{i}", b.kept, ["kept", ar.head_width]) for n in ("key", "value")] for time, make in (("past", b.input), ("present", b.output))]
        kept = ["batch", ar.heads, self.model.count] if b.fused else ["batch", ar.kv_heads, "past"]
        grown = kept if b.fused else kept[:2] + ["present"]
        pasts = [b.input(f"past_{n}_{i}", b.kept, [*kept, ar.head_width]) for n in ("key", "value")]
        return pasts, [b.output(f"present_{n}_{i}", b.kept, [*grown, ar.head_width]) for n in ("key", "value")]

    def attention(self, qkv, i):
        if self.b.native:
            return self.native_attention(qkv, i)
        if self.b.fixed:
            return self.fixed_attention(qkv, i)
        return self.fused_attention(qkv, i) if self.b.fused else self.plain_attention(qkv, i)

    def native_attention(self, qkv, i):
        ar = self.ar
        return self.b.nativeop(
            "Attention", qkv, self.at, self.cos, self.sin, layer=i, layers=ar.depth, heads=ar.heads, kv_heads=ar.kv_heads,
            head_width=ar.head_width, positions=self.model.count,
        )  # fmt: skip

    def fused_attention(self, qkv, i):
        b, ar = self.b, self.ar
        w = ar.head_width
        qkv = b.reshape(qkv, self.lead, -1)
        qk, v = b.split(qkv, (ar.heads + ar.kv_heads) * w, ar.kv_heads * w)
        qk = b.fusedop("RotaryEmbedding", qk, self.place, self.cos, self.sin, interleaved=0)
        q, k = b.split(qk, ar.width, ar.kv_heads * w)
        k, v = (self.all_heads(t) for t in (k, v))
        pasts, presents = self.past_and_present(i)
        y = b.fusedop(
            "MultiHeadAttention", q, k, v, None, None, None, *pasts, self.past,
            num_heads=ar.heads, scale=w**-0.5, out=[f"layers.{i}.attended", *presents],
        )[0]  # fmt: skip
        return b.flat(y, ar.width)

    def all_heads(self, x):
        """Grouped keys repeated for every head; MultiHeadAttention knows no groups."""
        b, ar = self.b, self.ar
        if ar.kv_heads == ar.heads:
            return x
        x = b.reshape(x, 0, 0, ar.kv_heads, 1, ar.head_width)
        x = b.op("Expand", x, b.const([1, 1, 1, ar.heads // ar.kv_heads, 1]))
        return b.reshape(x, 0, 0, ar.width)

    def heads_first(self, x, heads):
        """[batch, heads, q, head width] of what a linear layer gives."""
        b, w = self.b, self.ar.head_width
        if b.fixed:
            return b.op("Transpose", b.reshape(x, 0, 0, heads, w), perm=[0, 2, 1, 3])
        return b.heads_first(x, self.batch, heads, w)

    def turned(self, x, heads):
        b = self.b
        first, second = b.split(self.heads_first(x, heads), *[self.ar.head_width // 2] * 2)
        left = b.op("Sub", b.op("Mul", first, self.cos), b.op("Mul", second, self.sin))
        right = b.op("Add", b.op("Mul", second, self.cos), b.op("Mul", first, self.sin))
        return b.op("Concat", left, right, axis=-1)

    def plain_attention(self, qkv, i):
        b, ar = self.b, self.ar
        w = ar.head_width
        q, k, v = b.split(qkv, ar.width, ar.kv_heads * w, ar.kv_heads * w)
        pasts, presents = self.past_and_present(i)
        new = self.turned(k, ar.kv_heads), b.heads_first(v, self.batch, ar.kv_heads, w)
        keys, values = (b.op("Concat", past, x, axis=2, out=out) for past, x, out in zip(pasts, new, presents))
        q = self.turned(q, ar.heads)
        if ar.kv_heads != ar.heads:  # the heads of one group side by side as rows: no key is repeated
            q = b.reshape(q, 0, ar.kv_heads, -1, w)
        y = b.softmax_attention(q, keys, values, w)
        if ar.kv_heads != ar.heads:
            y = b.reshape(y, 0, ar.heads, -1, w)
        return b.heads_last(y, ar.width)

    def fixed_attention(self, qkv, i):
        """Keys and values are [batch * kv_heads * N, head width], so that nothing lies between the graph's input, the
        operator that writes, and the graph's output: bound to one memory, they are written in place."""
        b, ar = self.b, self.ar
        w, grouped = ar.head_width, ar.kv_heads != ar.heads
        q, k, v = b.split(qkv, ar.width, ar.kv_heads * w, ar.kv_heads * w)
        new = self.turned(k, ar.kv_heads), self.heads_first(v, ar.kv_heads)
        written = [b.op("ScatterND", past, self.slots, b.flat(x, w), out=out) for x, past, out in zip(new, *self.past_and_present(i))]
        keys, values = (b.reshape(x, -1, ar.kv_heads, self.model.count, w) for x in written)
        q = b.op("Mul", self.turned(q, ar.heads), b.const(w**-0.5, np.float16 if b.half else np.float32))
        if grouped:  # the heads of one group side by side as rows: no key is repeated
            q = b.reshape(q, 0, ar.kv_heads, -1, w)
        scores = b.wide(b.op("MatMul", q, b.op("Transpose", keys, perm=[0, 1, 3, 2])))
        if grouped:
            scores = b.reshape(scores, 0, ar.heads, -1, self.model.count)
        weights = b.narrow(b.op("Softmax", b.op("Add", scores, self.mask), axis=-1))
        if grouped:
            weights = b.reshape(weights, 0, ar.kv_heads, -1, self.model.count)
        y = b.op("MatMul", weights, values)
        if grouped:
            y = b.reshape(y, 0, ar.heads, -1, w)
        return b.reshape(b.op("Transpose", y, perm=[0, 2, 1, 3]), 0, 0, ar.width)

    def w13(self, p):
        return lambda: np.concatenate([self.read(p + n).T for n in ("w1.weight", "w3.weight")], 1)

    def gated(self, x, i):
        """w2(silu(w1 x) * w3 x), with w1 and w3 as one product."""
        b, p = self.b, f"layers.{i}.feed_forward."
        both = b.linear(x, f"ar.{p}w13", self.w13(p))
        gate, value = b.split(both, self.ar.hidden, self.ar.hidden)
        gate = b.fusedop("QuickGelu", gate, alpha=1.0) if b.fused else b.op("Mul", gate, b.op("Sigmoid", gate))
        return self.linear(b.op("Mul", gate, value), p + "w2.weight")

    def normed(self, x, norm, key, make, **rest):
        """The product of x's norm, in one operator."""
        gain = self.weight(norm + ".weight")
        return self.b.layer(x, "ar." + key, make, before="rms_norm", gain=gain, epsilon=self.ar.eps, **rest)

    def added(self, x, y, name, before="plain"):
        """x plus the product of y, in one operator."""
        return self.b.layer(y, "ar." + name, lambda: np.ascontiguousarray(self.read(name).T), before=before, added=x)

    def layers_graph(self):
        """The layers in operators of the library's own, five each."""
        x = self.start()
        for i in range(self.ar.depth):
            p = f"layers.{i}."
            qkv = self.normed(x, p + "attention_norm", p + "wqkv", lambda p=p: _qkv(self.model, p + "attention.wqkv.weight"))
            x = self.added(x, self.attention(qkv, i), p + "attention.wo.weight")
            both = self.normed(x, p + "ffn_norm", p + "feed_forward.w13", self.w13(p + "feed_forward."))
            x = self.added(x, both, p + "feed_forward.w2.weight", before="swiglu")
        make = lambda: np.ascontiguousarray(self.read("output.weight").T)  # noqa: E731
        return self.normed(x, "norm", "output.weight", make, out=self.logits())

    def graph(self):
        b = self.b
        if b.layers:
            self.layers_graph()
        elif b.native or b.fixed:
            b.op("Identity", self.products_graph(), out=self.logits())
        else:
            b.reshape(self.products_graph(), self.lead, self.model.codes, out=self.logits())
        return b.model()

    def logits(self):
        """The output, before all others."""
        rows = ["tokens"] if self.b.native else ["batch", "q"]
        return self.b.output("logits", FLOAT, [*rows, self.model.codes], place=0)

    def products_graph(self):
        b, x, added = self.b, self.start(), None
        for i in range(self.ar.depth):
            p = f"layers.{i}."
            x, h = self.norm(x, added, p + "attention_norm")
            qkv = b.linear(h, f"ar.{p}wqkv", lambda p=p: _qkv(self.model, p + "attention.wqkv.weight"))
            added = self.linear(self.attention(qkv, i), p + "attention.wo.weight")
            x, h = self.norm(x, added, p + "ffn_norm")
            added = self.gated(h, i)
        return b.wide(self.linear(self.norm(x, added, "norm")[1], "output.weight"))


def build(model, store, form, precision):
    return _Ar(model, store, form, precision).graph()

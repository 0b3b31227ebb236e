"""The graph `ar`: one step of the autoregressive model with kept keys and values.

Rotary pairs are interleaved in the checkpoint. The rows of wq and wk are reordered so that they are split in halves,
which both forms rotate without a gather and which leaves every product of q and k as it was.
"""

import numpy as np

from .builder import FLOAT, INT32, INT64, Builder
from .schedule import rotary


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

    def past_and_present(self, i):
        b, ar = self.b, self.ar
        kept = ["batch", ar.heads, self.model.count] if b.fused else ["batch", ar.kv_heads, "past"]
        grown = kept if b.fused else kept[:2] + ["present"]
        pasts = [b.input(f"past_{n}_{i}", b.kept, [*kept, ar.head_width]) for n in ("key", "value")]
        return pasts, [b.output(f"present_{n}_{i}", b.kept, [*grown, ar.head_width]) for n in ("key", "value")]

    def attention(self, qkv, i):
        if self.b.native:
            return self.native_attention(qkv, i)
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

    def turned(self, x, heads):
        b = self.b
        first, second = b.split(b.heads_first(x, self.batch, heads, self.ar.head_width), *[self.ar.head_width // 2] * 2)
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
        elif b.native:
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

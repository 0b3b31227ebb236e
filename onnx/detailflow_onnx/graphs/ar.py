"""The graph `ar`: one step of the autoregressive model with a KV cache.

RoPE pairs are interleaved in the checkpoint. The rows of wq and wk are reordered so that a pair is split into the two
halves of a head, which every form rotates without a gather. Products of q and k are unchanged by that.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

import onnx
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.graphs.builder import FLOAT, FUSED, INT32, INT64, Dims
from detailflow_onnx.graphs.linear import Builder
from detailflow_onnx.graphs.store import Store
from detailflow_onnx.numbers.schedule import last_visible, rotary

# Added to the score of an invisible position: its weight is 0 whatever finite value the cache holds.
INVISIBLE, INVISIBLE_HALF = -1e30, -3e4

KeyValue = tuple[str, str]


class _ArGraph:
    """The parts that all forms share. A form says what its inputs are and how it attends."""

    def __init__(self, model: Model, store: Store, form: str, precision: str) -> None:
        self.ar, self.weights = model.autoregressive
        self.model = model
        self.b = Builder("ar", store, form, precision)
        self.read = self.weights.read
        self.cos_sin = rotary(self.ar, model)
        # Operators of ONNX Runtime for norms and activation, which its CPU, CUDA and WebGPU providers have. A GPU takes
        # as long to start an operator as to compute a small one.
        self.fused = self.b.fused or self.b.fixed

    # ------------------------------------------------------------ what a form implements
    def start(self) -> str:
        """Declare the inputs and return the embedded ids."""
        raise NotImplementedError

    def attention(self, qkv: str, i: int) -> str:
        """Attention of layer i."""
        raise NotImplementedError

    def finish(self, logits: str) -> None:
        """Write the logits to the output."""
        self.b.op("Identity", logits, out=self.logits(["batch", "q"]))

    # ------------------------------------------------------------ weights
    def weight(self, name: str) -> str:
        """A tensor of the AR model."""
        return self.b.weight("ar." + name, lambda: self.read(name))

    def _transposed(self, name: str) -> Callable[[], np.ndarray]:
        return lambda: np.ascontiguousarray(self.read(name).T)

    def linear(self, x: str, name: str) -> str:
        """A linear layer; the AR model has no biases."""
        return self.b.linear(x, "ar." + name, self._transposed(name))

    def rotary_tables(self) -> tuple[str, str]:
        """The names of the cosine and sine tables."""
        cos, sin = self.cos_sin
        return self.table("cos", cos), self.table("sin", sin)

    def table(self, name: str, values: np.ndarray) -> str:
        """A table that is computed, not read from the checkpoint."""
        return self.b.weight("ar." + name, lambda: values)

    def _embeddings(self) -> np.ndarray:
        parts = [self.read("tok_embeddings.weight"), self.read("cls_embedding.embedding_table.weight")]
        if self.model.group > 1:
            parts.append(self.read("spe_tok_embeddings.special_embeddings.weight"))
        return np.concatenate(parts)

    def embedded(self, ids: str) -> str:
        """Rows of the embedding table."""
        return self.b.op("Gather", self.b.weight("ar.embeddings", self._embeddings), ids, axis=0)

    def _qkv(self, p: str) -> Callable[[], np.ndarray]:
        """The weight wqkv [in, out] with the channels of each q and k head reordered: even ones, then odd ones."""

        def make() -> np.ndarray:
            ar, w = self.ar, self.read(p + "attention.wqkv.weight")
            order = np.arange(len(w))
            rotated = (ar.heads + ar.kv_heads) * ar.head_dim
            pairs = order[:rotated].reshape(-1, ar.head_dim // 2, 2)
            order[:rotated] = pairs.transpose(0, 2, 1).reshape(-1)
            return np.ascontiguousarray(w[order].T)

        return make

    def _w13(self, p: str) -> Callable[[], np.ndarray]:
        return lambda: np.concatenate([self.read(p + n).T for n in ("w1.weight", "w3.weight")], 1)

    # ------------------------------------------------------------ layers
    def norm(self, x: str, added: str | None, name: str) -> tuple[str, str]:
        """(x + added, its RMS norm). `added` may be None."""
        b, eps, gain = self.b, self.ar.eps, self.weight(name + ".weight")
        if self.fused and added:
            out = [f"{name}.y", None, None, f"{name}.x"]
            y, _, _, total = b.ops(
                "SkipSimplifiedLayerNormalization", x, added, gain, domain=FUSED, epsilon=eps, out=out
            )
            return total, y
        if added:
            x = b.op("Add", x, added)
        if self.fused:
            return x, b.op("SimplifiedLayerNormalization", x, gain, axis=-1, epsilon=eps)
        wide = b.to_float(x)
        square = b.op("ReduceMean", b.op("Mul", wide, wide), b.const([-1]), keepdims=1)
        scale = b.op("Sqrt", b.op("Add", square, b.const(eps, np.float32)))
        return x, b.op("Mul", b.to_compute(b.op("Div", wide, scale)), gain)

    def feed_forward(self, x: str, i: int) -> str:
        """w2(silu(w1 x) * w3 x), with w1 and w3 as one matmul."""
        b, p = self.b, f"layers.{i}.feed_forward."
        both = b.linear(x, f"ar.{p}w13", self._w13(p))
        gate, value = b.split(both, self.ar.hidden, self.ar.hidden)
        gate = b.fused_op("QuickGelu", gate, alpha=1.0) if self.fused else b.op("Mul", gate, b.op("Sigmoid", gate))
        return self.linear(b.op("Mul", gate, value), p + "w2.weight")

    def logits(self, rows: Dims) -> str:
        """Declare the output, before all others."""
        return self.b.output("logits", FLOAT, [*rows, self.model.codes], index=0)

    def graph(self) -> onnx.ModelProto:
        """Build the graph."""
        b, added = self.b, None
        x = self.start()
        for i in range(self.ar.depth):
            p = f"layers.{i}."
            x, h = self.norm(x, added, p + "attention_norm")
            qkv = b.linear(h, f"ar.{p}wqkv", self._qkv(p))
            added = self.linear(self.attention(qkv, i), p + "attention.wo.weight")
            x, h = self.norm(x, added, p + "ffn_norm")
            added = self.feed_forward(h, i)
        self.finish(b.to_float(self.linear(self.norm(x, added, "norm")[1], "output.weight")))
        return b.model()


class _CachedGraph(_ArGraph):
    """A form whose KV cache are inputs and outputs of the graph."""

    past_shape: Dims
    present_shape: Dims

    def past_and_present(self, i: int) -> tuple[KeyValue, KeyValue]:
        """Declare the cache inputs and outputs of layer i: ((past key, value), (present key, value))."""
        b, d = self.b, self.ar.head_dim
        pasts = [b.input(f"past_{n}_{i}", b.cache_type, [*self.past_shape, d]) for n in ("key", "value")]
        presents = [b.output(f"present_{n}_{i}", b.cache_type, [*self.present_shape, d]) for n in ("key", "value")]
        return (pasts[0], pasts[1]), (presents[0], presents[1])

    cos: str
    sin: str


class _Native(_ArGraph):
    """Form `native`: any tokens of any sequences. Input `at` is [sequence, position, visible length] of each."""

    def start(self) -> str:
        b = self.b
        ids, self.at = b.input("ids", INT64, ["tokens"]), b.input("at", INT64, ["tokens", 3])
        # Operands of an operator, so ONNX Runtime reads them from the mapped weight file.
        self.tables = self.rotary_tables()
        return self.embedded(ids)

    def attention(self, qkv: str, i: int) -> str:
        ar = self.ar
        return self.b.native_op(
            "Attention",
            qkv,
            self.at,
            *self.tables,
            layer=i,
            layers=ar.depth,
            heads=ar.heads,
            kv_heads=ar.kv_heads,
            head_width=ar.head_dim,
            positions=self.model.count,
        )

    def finish(self, logits: str) -> None:
        self.b.op("Identity", logits, out=self.logits(["tokens"]))

    def _norm_and(self, x: str, norm: str, key: str, make: Callable[[], np.ndarray], **rest: Any) -> str:
        """A linear layer of the norm of x, in one operator."""
        gain = self.weight(norm + ".weight")
        return self.b.layer(x, "ar." + key, make, before="rms_norm", gain=gain, epsilon=self.ar.eps, **rest)

    def _plus(self, x: str, y: str, name: str, before: str = "plain") -> str:
        """x plus a linear layer of y, in one operator."""
        return self.b.layer(y, "ar." + name, self._transposed(name), before=before, added=x)

    def graph(self) -> onnx.ModelProto:
        if not self.b.fused_layers:
            return super().graph()
        x = self.start()
        for i in range(self.ar.depth):
            p = f"layers.{i}."
            qkv = self._norm_and(x, p + "attention_norm", p + "wqkv", self._qkv(p))
            x = self._plus(x, self.attention(qkv, i), p + "attention.wo.weight")
            both = self._norm_and(x, p + "ffn_norm", p + "feed_forward.w13", self._w13(p + "feed_forward."))
            x = self._plus(x, both, p + "feed_forward.w2.weight", before="swiglu")
        output = self._transposed("output.weight")
        self._norm_and(x, "norm", "output.weight", output, out=self.logits(["tokens"]))
        return self.b.model()


class _Mha(_CachedGraph):
    """Form `mha`: MultiHeadAttention of ONNX Runtime, past and present in one buffer."""

    def start(self) -> str:
        b, ar = self.b, self.ar
        ids, self.position = b.input("ids", INT64, ["batch", "q"]), b.input("start", INT64, [1])
        b.dim(ids, 0)  # unused, but part of the files written so far
        self.lead = b.op("Shape", ids)
        self.cos, self.sin = self.rotary_tables()
        self.past_length = b.op("Cast", self.position, to=INT32)
        self.past_shape = self.present_shape = ["batch", ar.heads, self.model.count]
        return b.flat(self.embedded(ids), ar.width)

    def attention(self, qkv: str, i: int) -> str:
        b, ar = self.b, self.ar
        d = ar.head_dim
        qk, v = b.split(b.reshape(qkv, self.lead, -1), (ar.heads + ar.kv_heads) * d, ar.kv_heads * d)
        qk = b.fused_op("RotaryEmbedding", qk, self.position, self.cos, self.sin, interleaved=0)
        q, k = b.split(qk, ar.width, ar.kv_heads * d)
        k, v = (self._all_heads(t) for t in (k, v))
        past, present = self.past_and_present(i)
        y = b.ops(
            "MultiHeadAttention",
            q,
            k,
            v,
            None,
            None,
            None,
            *past,
            self.past_length,
            domain=FUSED,
            num_heads=ar.heads,
            scale=d**-0.5,
            out=[f"layers.{i}.attended", *present],
        )[0]
        return b.flat(y, ar.width)

    def _all_heads(self, x: str) -> str:
        """Grouped keys or values repeated for every head; MultiHeadAttention does not support groups."""
        b, ar = self.b, self.ar
        if ar.kv_heads == ar.heads:
            return x
        x = b.reshape(x, 0, 0, ar.kv_heads, 1, ar.head_dim)
        x = b.op("Expand", x, b.const([1, 1, 1, ar.heads // ar.kv_heads, 1]))
        return b.reshape(x, 0, 0, ar.width)

    def finish(self, logits: str) -> None:
        self.b.reshape(logits, self.lead, self.model.codes, out=self.logits(["batch", "q"]))


class _Plain(_CachedGraph):
    """Form `plain`: standard operators; the cache grows by concatenation."""

    def start(self) -> str:
        b, ar = self.b, self.ar
        ids, position = b.input("ids", INT64, ["batch", "q"]), b.input("start", INT64, [1])
        self.batch, self.lead = b.dim(ids, 0), b.op("Shape", ids)
        tables = self.rotary_tables()
        end = b.op("Add", position, b.dim(ids, 1))
        self.cos, self.sin = (b.slice(t, 0, position, end) for t in tables)
        self.past_shape = ["batch", ar.kv_heads, "past"]
        self.present_shape = ["batch", ar.kv_heads, "present"]
        return b.flat(self.embedded(ids), ar.width)

    def heads_first(self, x: str, heads: int) -> str:
        """The output of a linear layer as [batch, heads, q, head_dim]."""
        return self.b.heads_first(x, self.batch, heads, self.ar.head_dim)

    def rotate(self, x: str, heads: int) -> str:
        """RoPE on the two halves of each head."""
        b = self.b
        first, second = b.split(self.heads_first(x, heads), *[self.ar.head_dim // 2] * 2)
        left = b.op("Sub", b.op("Mul", first, self.cos), b.op("Mul", second, self.sin))
        right = b.op("Add", b.op("Mul", second, self.cos), b.op("Mul", first, self.sin))
        return b.op("Concat", left, right, axis=-1)

    def attention(self, qkv: str, i: int) -> str:
        b, ar = self.b, self.ar
        d, grouped = ar.head_dim, ar.kv_heads != ar.heads
        q, k, v = b.split(qkv, ar.width, ar.kv_heads * d, ar.kv_heads * d)
        past, present = self.past_and_present(i)
        new = self.rotate(k, ar.kv_heads), self.heads_first(v, ar.kv_heads)
        keys, values = (b.op("Concat", old, x, axis=2, out=out) for old, x, out in zip(past, new, present))
        q = self.rotate(q, ar.heads)
        if grouped:  # the heads of one group become rows side by side, so that no key is repeated
            q = b.reshape(q, 0, ar.kv_heads, -1, d)
        y = b.softmax_attention(q, keys, values, d)
        if grouped:
            y = b.reshape(y, 0, ar.heads, -1, d)
        return b.heads_last(y, ar.width)

    def finish(self, logits: str) -> None:
        self.b.reshape(logits, self.lead, self.model.codes, out=self.logits(["batch", "q"]))


class _Fixed(_CachedGraph):
    """Form `fixed`: every token gives its position and its cache slot; the rest is looked up by position.

    The cache is [batch * kv_heads * N, head_dim]: nothing lies between the graph's input, the operator that writes and
    the graph's output, so that a cache bound as both is written in place.
    """

    def start(self) -> str:
        b, model = self.b, self.model
        ids, self.positions = b.input("ids", INT64, ["batch", "q"]), b.input("places", INT64, ["batch", "q"])
        self.slots = b.input("slots", INT64, ["slots", 1])
        self.cos, self.sin = self.rotary_tables()
        last = b.op("Gather", b.const(last_visible(model), np.float32), self.positions, axis=0)
        every = b.const(np.arange(model.count), np.float32)
        hidden = b.op("Greater", every, b.op("Unsqueeze", last, b.const([1, 3])))
        kind, invisible = (np.float16, INVISIBLE_HALF) if b.half else (np.float32, INVISIBLE)
        hidden = b.op("Cast", hidden, to=b.cache_type)
        self.mask = b.op("Mul", hidden, b.const(invisible, kind))
        self.past_shape = self.present_shape = ["kept"]
        return self.embedded(ids)

    def heads_first(self, x: str, heads: int) -> str:
        """The output of a linear layer as [batch, heads, q, head_dim]."""
        return self.b.op("Transpose", self.b.reshape(x, 0, 0, heads, self.ar.head_dim), perm=[0, 2, 1, 3])

    def attention(self, qkv: str, i: int) -> str:
        b, ar = self.b, self.ar
        d, n, grouped = ar.head_dim, self.model.count, ar.kv_heads != ar.heads
        qk, v = b.split(qkv, (ar.heads + ar.kv_heads) * d, ar.kv_heads * d)
        qk = b.fused_op("RotaryEmbedding", qk, self.positions, self.cos, self.sin, interleaved=0)
        qk = self.heads_first(qk, ar.heads + ar.kv_heads)
        q, k = b.ops("Split", qk, b.const([ar.heads, ar.kv_heads]), axis=1, count=2)
        written = [
            b.op("ScatterND", past, self.slots, b.flat(x, d), out=out)
            for x, past, out in zip((k, self.heads_first(v, ar.kv_heads)), *self.past_and_present(i))
        ]
        keys, values = (b.reshape(x, -1, ar.kv_heads, n, d) for x in written)
        q = b.op("Mul", q, b.const(d**-0.5, np.float16 if b.half else np.float32))
        if grouped:  # the heads of one group become rows side by side, so that no key is repeated
            q = b.reshape(q, 0, ar.kv_heads, -1, d)
        scores = b.op("MatMul", q, b.op("Transpose", keys, perm=[0, 1, 3, 2]))
        if grouped:
            scores = b.reshape(scores, 0, ar.heads, -1, n)
        weights = b.op("Softmax", b.op("Add", scores, self.mask), axis=-1)
        if grouped:
            weights = b.reshape(weights, 0, ar.kv_heads, -1, n)
        y = b.op("MatMul", weights, values)
        if grouped:
            y = b.reshape(y, 0, ar.heads, -1, d)
        return b.reshape(b.op("Transpose", y, perm=[0, 2, 1, 3]), 0, 0, ar.width)


FORMS: dict[str, type[_ArGraph]] = {"native": _Native, "mha": _Mha, "plain": _Plain, "fixed": _Fixed}


def build(model: Model, store: Store, form: str, precision: str) -> onnx.ModelProto:
    """Build the graph `ar` in one form and precision."""
    return FORMS[form](model, store, form, precision).graph()

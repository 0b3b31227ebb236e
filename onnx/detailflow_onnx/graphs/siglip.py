"""SigLIP2 layers, shared by the decoder and the encoder: pre-norm attention and MLP, all with biases."""

import numpy as np

from detailflow_onnx.graphs.builder import Builder

BLOCKED = -1e9  # added to a score, it leaves exactly nothing after the softmax


class Layers:
    """The layers of one side, added to a builder. `batch` names the shape tensor of the batch."""

    def __init__(self, builder: Builder, side, read, batch):
        self.b, self.side, self.read, self.batch = builder, side, read, batch
        self.root = side.prefix + ".visual_model."

    def weight(self, name):
        return self.b.weight(name, lambda: self.read(name))

    def product(self, x, name):
        """Without the bias, where another operator adds it."""
        return self.b.linear(x, name, lambda: np.ascontiguousarray(self.read(name + ".weight").T))

    def linear(self, x, name):
        return self.b.linear(x, name, lambda: np.ascontiguousarray(self.read(name + ".weight").T), self.weight(name + ".bias"))

    def norm(self, x, added, name):
        """(x + added, its layer norm). `added` is None or the name of the linear part and its input."""
        b, eps = self.b, self.side.eps
        gain, bias = self.weight(name + ".weight"), self.weight(name + ".bias")
        if b.fused and added:
            part, inner = added
            out = [f"{name}.y", None, None, f"{name}.x"]
            y, total = b.fusedop(
                "SkipLayerNormalization", x, self.product(inner, part), gain, bias, self.weight(part + ".bias"), epsilon=eps, out=out
            )[::3]  # fmt: skip
            return total, y
        if added:
            x = b.op("Add", x, self.linear(added[1], added[0]))
        return x, b.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=eps)

    def attention(self, x, p, mask):
        """One product for q, k and v; the fused operator adds their bias. `mask` is what `seen` gave."""
        b, side = self.b, self.side
        names, width = [f"{p}self_attn.{n}_proj" for n in "qkv"], side.width // side.heads
        key, make = p + "self_attn.qkv", lambda: np.concatenate([self.read(n + ".weight").T for n in names], 1)
        bias = b.weight(key + ".bias", lambda: np.concatenate([self.read(n + ".bias") for n in names]))
        if b.layers:
            qkv = b.layer(x, key, make, bias=bias, **self.norm_of(p + "layer_norm1"))
            operands = [qkv, self.batch, *([mask] if mask else [])]
            return b.nativeop("PlacesAttention", *operands, heads=side.heads, head_width=width, has_seen=int(bool(mask)))
        if b.fused:
            q, k, v = b.split(b.reshape(b.linear(x, key, make), self.batch, -1, 3 * side.width), *[side.width] * 3)
            return b.fusedop("MultiHeadAttention", q, k, v, bias, None, mask, num_heads=side.heads, scale=width**-0.5)
        q, k, v = (b.heads_first(t, self.batch, side.heads, width) for t in b.split(b.linear(x, key, make, bias), *[side.width] * 3))
        y = b.op("Transpose", b.softmax_attention(q, k, v, width, mask), perm=[0, 2, 1, 3])
        return b.reshape(y, 0, 0, side.width)

    def mlp(self, x, p):
        """Up to the last product, which the next norm takes in."""
        b = self.b
        if b.fused:
            return b.fusedop("FastGelu", self.product(x, p + "mlp.fc1"), self.weight(p + "mlp.fc1.bias"))
        return b.op("Gelu", self.linear(x, p + "mlp.fc1"), approximate="tanh")

    def norm_of(self, name):
        """The norm before a layer of the library's own."""
        gain, shift = self.weight(name + ".weight"), self.weight(name + ".bias")
        return {"before": "layer_norm", "gain": gain, "shift": shift, "epsilon": self.side.eps}

    def layer(self, x, name, **rest):
        make = lambda: np.ascontiguousarray(self.read(name + ".weight").T)  # noqa: E731
        return self.b.layer(x, name, make, bias=self.weight(name + ".bias"), **rest)

    def seen(self, last):
        """What attention takes where place i sees the places up to `last[i]`, a constant."""
        b = self.b
        if b.layers:
            return b.const(last + 1)
        seen = b.op("LessOrEqual", b.const(np.arange(len(last))[None]), b.const(last[:, None]))
        # Added to the scores: [1, 1, places, places]. ONNX Runtime computes it once, when it loads the graph.
        return b.op("Unsqueeze", b.op("Where", seen, b.const(0, np.float32), b.const(BLOCKED, np.float32)), b.const([0, 1]))

    def run_layers(self, x, keep, mask):
        """As `run`, in operators of the library's own."""
        b, width = self.b, self.side.width
        x = b.flat(x, width)
        for i in range(self.side.depth):
            p = f"{self.root}encoder.layers.{i}."
            y = self.attention(x, p, mask)
            if i == self.side.depth - 1:
                x, y = (b.flat(keep(b.reshape(t, self.batch, -1, width)), width) for t in (x, y))
            x = self.layer(y, p + "self_attn.out_proj", added=x)
            x = self.layer(self.layer(x, p + "mlp.fc1", **self.norm_of(p + "layer_norm2")), p + "mlp.fc2", before="gelu", added=x)
        return self.norm(x, None, self.root + "post_layernorm")[1]

    def run(self, x, keep, mask=None):
        """All layers and the last norm, for x [batch, places, width]; gives rows. `keep` takes the places that are wanted
        in the end: the others stop at the last attention."""
        b, width, added = self.b, self.side.width, None
        if b.layers:
            return self.run_layers(x, keep, mask)
        x = b.flat(x, width)
        for i in range(self.side.depth):
            p = f"{self.root}encoder.layers.{i}."
            x, h = self.norm(x, added, p + "layer_norm1")
            y = self.attention(h, p, mask)
            if i == self.side.depth - 1:
                x, y = keep(b.reshape(x, self.batch, -1, width)), keep(y)
                x, b.zero_points = b.flat(x, width), None
            x, h = self.norm(x, (p + "self_attn.out_proj", b.flat(y, width)), p + "layer_norm2")
            added = p + "mlp.fc2", self.mlp(h, p)
        return self.norm(x, added, self.root + "post_layernorm")[1]

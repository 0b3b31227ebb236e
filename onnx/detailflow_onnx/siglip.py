"""SigLIP2 layers, shared by the decoder and the encoder: pre-norm attention and MLP, all with biases."""

import numpy as np

from .builder import Builder


class Layers:
    """The layers of one side, added to a builder."""

    def __init__(self, builder: Builder, side, read):
        self.b, self.side, self.read = builder, side, read
        self.root = side.prefix + ".visual_model."

    def weight(self, name):
        return self.b.weight(name, lambda: self.read(name))

    def linear(self, x, name, bias=True):
        return self.b.linear(
            x, name, lambda: np.ascontiguousarray(self.read(name + ".weight").T), (lambda: self.read(name + ".bias")) if bias else None
        )

    def norm(self, x, added, name):
        """(x + added, its layer norm). `added` may be None."""
        b, eps = self.b, self.side.eps
        gain, bias = self.weight(name + ".weight"), self.weight(name + ".bias")
        if b.fused and added:
            y, total = b.fusedop("SkipLayerNormalization", x, added, gain, bias, epsilon=eps, out=[f"{name}.y", None, None, f"{name}.x"])[::3]
            return total, y
        if added:
            x = b.op("Add", x, added)
        return x, b.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=eps)

    def qkv(self, x, p):
        """One product for q, k and v; their bias apart, so that the fused attention can add it."""
        names = [f"{p}self_attn.{n}_proj" for n in "qkv"]
        y = self.b.linear(x, p + "self_attn.qkv", lambda: np.concatenate([self.read(n + ".weight").T for n in names], 1))
        bias = self.b.weight(p + "self_attn.qkv.bias", lambda: np.concatenate([self.read(n + ".bias") for n in names]))
        return y, bias

    def attention(self, x, p, mask):
        b, side = self.b, self.side
        y, bias = self.qkv(x, p)
        width = side.width // side.heads
        if b.fused:
            q, k, v = b.split(y, *[side.width] * 3)
            return b.fusedop("MultiHeadAttention", q, k, v, bias, None, mask, num_heads=side.heads, scale=width**-0.5)
        q, k, v = (b.heads_first(t, side.heads, width) for t in b.split(b.op("Add", y, bias), *[side.width] * 3))
        y = b.softmax_attention(q, k, v, width, mask)
        return b.reshape(b.op("Transpose", y, perm=[0, 2, 1, 3]), 0, 0, side.width)

    def mlp(self, x, p):
        b = self.b
        if not b.fused:
            return self.linear(b.op("Gelu", self.linear(x, p + "mlp.fc1"), approximate="tanh"), p + "mlp.fc2")
        y = self.linear(x, p + "mlp.fc1", bias=False)
        bias = b.weight(p + "mlp.fc1.bias", lambda: self.read(p + "mlp.fc1.bias"))
        return self.linear(b.fusedop("FastGelu", y, bias), p + "mlp.fc2")

    def run(self, x, keep, mask=None):
        """All layers and the last norm. `keep` takes the rows that are wanted in the end; the others stop at the last attention."""
        b, added = self.b, None
        for i in range(self.side.depth):
            p = f"{self.root}encoder.layers.{i}."
            x, h = self.norm(x, added, p + "layer_norm1")
            y = self.attention(h, p, mask)
            if i == self.side.depth - 1:
                x, y = keep(x), keep(y)
            x, h = self.norm(x, self.linear(y, p + "self_attn.out_proj"), p + "layer_norm2")
            added = self.mlp(h, p)
        return self.norm(x, added, self.root + "post_layernorm")[1]

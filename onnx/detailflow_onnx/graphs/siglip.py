"""SigLIP2 layers of the decoder and the encoder: pre-norm attention and MLP, all with biases."""

from collections.abc import Callable
from typing import Any

import numpy as np

from detailflow_onnx.graphs.builder import FUSED
from detailflow_onnx.graphs.linear import Builder
from detailflow_onnx.numbers.sizes import Side

BLOCKED = -1e9  # added to a score, it gives exactly 0 after the softmax

Read = Callable[[str], np.ndarray]


class Layers:
    """The layers of one side, added to a builder. `batch` names the shape tensor of the batch size."""

    def __init__(self, builder: Builder, side: Side, read: Read, batch: str) -> None:
        if side.heads is None:
            raise AssertionError(f"the head count of the {side.prefix} is unknown")
        self.b, self.side, self.read, self.batch = builder, side, read, batch
        self.heads, self.head_dim = side.heads, side.width // side.heads
        self.root = side.prefix + ".visual_model."

    def weight(self, name: str) -> str:
        """A tensor of the side."""
        return self.b.weight(name, lambda: self.read(name))

    def _transposed(self, name: str) -> Callable[[], np.ndarray]:
        return lambda: np.ascontiguousarray(self.read(name + ".weight").T)

    def matmul(self, x: str, name: str) -> str:
        """A linear layer without its bias, which another operator adds."""
        return self.b.linear(x, name, self._transposed(name))

    def linear(self, x: str, name: str) -> str:
        """A linear layer with its bias."""
        return self.b.linear(x, name, self._transposed(name), self.weight(name + ".bias"))

    def norm(self, x: str, added: tuple[str, str] | None, name: str) -> tuple[str, str]:
        """(x + added, its layer norm). `added` is (name, input) of a linear layer, or None."""
        b, eps = self.b, self.side.eps
        gain, bias = self.weight(name + ".weight"), self.weight(name + ".bias")
        if b.fused and added:
            layer, inner = added
            y, _, _, total = b.ops(
                "SkipLayerNormalization",
                x,
                self.matmul(inner, layer),
                gain,
                bias,
                self.weight(layer + ".bias"),
                domain=FUSED,
                epsilon=eps,
                out=[f"{name}.y", None, None, f"{name}.x"],
            )
            return total, y
        if added:
            x = b.op("Add", x, self.linear(added[1], added[0]))
        return x, b.op("LayerNormalization", x, gain, bias, axis=-1, epsilon=eps)

    def attention(self, x: str, p: str, mask: str | None) -> str:
        """Attention with one matmul for q, k and v. `mask` is what `mask` returned."""
        b, width, head_dim = self.b, self.side.width, self.head_dim
        names = [f"{p}self_attn.{n}_proj" for n in "qkv"]
        key = p + "self_attn.qkv"

        def make() -> np.ndarray:
            return np.concatenate([self.read(n + ".weight").T for n in names], 1)

        bias = b.weight(key + ".bias", lambda: np.concatenate([self.read(n + ".bias") for n in names]))
        if b.fused_layers:
            qkv = b.layer(x, key, make, bias=bias, **self._norm_of(p + "layer_norm1"))
            operands = [qkv, self.batch, *([mask] if mask else [])]
            flags: dict[str, Any] = {"heads": self.heads, "head_width": head_dim, "has_seen": int(bool(mask))}
            return b.native_op("PlacesAttention", *operands, **flags)
        if b.fused:
            q, k, v = b.split(b.reshape(b.linear(x, key, make), self.batch, -1, 3 * width), *[width] * 3)
            flags = {"num_heads": self.heads, "scale": head_dim**-0.5}
            return b.fused_op("MultiHeadAttention", q, k, v, bias, None, mask, **flags)
        parts = b.split(b.linear(x, key, make, bias), *[width] * 3)
        q, k, v = (b.heads_first(t, self.batch, self.heads, head_dim) for t in parts)
        y = b.op("Transpose", b.softmax_attention(q, k, v, head_dim, mask), perm=[0, 2, 1, 3])
        return b.reshape(y, 0, 0, width)

    def mlp(self, x: str, p: str) -> str:
        """The MLP without its second linear layer, which the next norm adds."""
        b = self.b
        if b.fused:
            return b.fused_op("FastGelu", self.matmul(x, p + "mlp.fc1"), self.weight(p + "mlp.fc1.bias"))
        return b.op("Gelu", self.linear(x, p + "mlp.fc1"), approximate="tanh")

    def _norm_of(self, name: str) -> dict[str, Any]:
        """The prologue of a layer of the library that applies the layer norm `name`."""
        gain, shift = self.weight(name + ".weight"), self.weight(name + ".bias")
        return {"before": "layer_norm", "gain": gain, "shift": shift, "epsilon": self.side.eps}

    def _layer(self, x: str, name: str, **rest: Any) -> str:
        return self.b.layer(x, name, self._transposed(name), bias=self.weight(name + ".bias"), **rest)

    def mask(self, last: np.ndarray) -> str:
        """The mask operand of `attention` if position i attends to the positions up to `last[i]`."""
        b = self.b
        if b.fused_layers:
            return b.const(last + 1)
        visible = b.op("LessOrEqual", b.const(np.arange(len(last))[None]), b.const(last[:, None]))
        # Added to the scores: [1, 1, positions, positions]. ONNX Runtime folds it at load time.
        scores = b.op("Where", visible, b.const(0, np.float32), b.const(BLOCKED, np.float32))
        return b.op("Unsqueeze", scores, b.const([0, 1]))

    def _run_fused_layers(self, x: str, keep: Callable[[str], str], mask: str | None) -> str:
        """`run` with the library's own layers."""
        b, width = self.b, self.side.width
        x = b.flat(x, width)
        for i in range(self.side.depth):
            p = f"{self.root}encoder.layers.{i}."
            y = self.attention(x, p, mask)
            if i == self.side.depth - 1:
                x, y = (b.flat(keep(b.reshape(t, self.batch, -1, width)), width) for t in (x, y))
            x = self._layer(y, p + "self_attn.out_proj", added=x)
            hidden = self._layer(x, p + "mlp.fc1", **self._norm_of(p + "layer_norm2"))
            x = self._layer(hidden, p + "mlp.fc2", before="gelu", added=x)
        return self.norm(x, None, self.root + "post_layernorm")[1]

    def run(self, x: str, keep: Callable[[str], str], mask: str | None = None) -> str:
        """All layers and the last norm, for x [batch, positions, width]; returns rows [rows, width].

        `keep` selects the positions whose result is wanted; the others end at the last attention.
        """
        b, width = self.b, self.side.width
        added: tuple[str, str] | None = None
        if b.fused_layers:
            return self._run_fused_layers(x, keep, mask)
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

"""The inputs of the autoregressive model's layers: their second moments over pictures that the model draws, in NumPy.

Error feedback of int4 weights needs them. Pictures are drawn first, with the weights in memory. Then all of them pass
through the model once, a layer at a time and only as far as the layer that is asked for: a writer asks in the order of
the graph, so that the inputs of one layer are in memory.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from detailflow_onnx.bundle.reference import attend
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.numbers.schedule import rotary, visible

TOKENS = 8192  # of all pictures, about
FEWEST = 8  # pictures
MOST_CACHE = 512 << 20  # bytes of the KV cache of all pictures
SEED = 17

Read = Callable[[str], np.ndarray]
Saw = Callable[[str, np.ndarray], None]


class _Steps:
    """The autoregressive model over rows of some pictures."""

    def __init__(self, model: Model, read: Read) -> None:
        self.model, (self.ar, _), self.read = model, model.autoregressive, read
        self.cos, self.sin = rotary(self.ar, model)

    def embedded(self, classes: np.ndarray, tokens: np.ndarray, first: int, last: int) -> np.ndarray:
        """The inputs [pictures, last - first, width] of positions. `tokens` has those before them; class -1 is none."""
        model, rows = self.model, []
        for position in range(first, last):
            if position == 0:
                table = self.read("cls_embedding.embedding_table.weight")
                rows.append(table[classes % (len(model.classes) + 1)])
            elif model.causal < position < model.causal + model.group:
                special = self.read("spe_tok_embeddings.special_embeddings.weight")[position - model.causal - 1]
                rows.append(np.repeat(special[None], len(classes), 0))
            else:
                back = 1 if position <= model.causal else model.group
                rows.append(self.read("tok_embeddings.weight")[tokens[:, position - back]])
        return np.stack(rows, 1)

    def _norm(self, x: np.ndarray, name: str) -> np.ndarray:
        scale = np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(self.ar.eps))
        return x / scale * self.read(name + ".weight")

    def _rotate(self, x: np.ndarray, heads: int, first: int) -> np.ndarray:
        b, length, width = x.shape
        pairs = x.reshape(b, length, heads, width // heads // 2, 2)
        cos, sin = (table[first : first + length, None] for table in (self.cos, self.sin))
        even, odd = pairs[..., 0], pairs[..., 1]
        return np.stack([even * cos - odd * sin, odd * cos + even * sin], -1).reshape(x.shape)

    def layer(
        self,
        i: int,
        x: np.ndarray,
        past: list[np.ndarray],
        saw: Saw,
        blocked: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """Layer i. It yields `x` after each part, once the input of the part's weights was given to `saw`.

        `past` holds the keys and values [pictures, positions, width] before those of `x`, which are appended.
        """
        ar, p = self.ar, f"layers.{i}."
        h = self._norm(x, p + "attention_norm")
        saw(p + "wqkv", h)
        yield x
        qkv = h @ self.read(p + "attention.wqkv.weight").T
        q, k, v = np.split(qkv, [ar.width, ar.width + ar.kv_heads * ar.head_dim], -1)
        first = past[0].shape[1] if past else 0
        k = self._rotate(k, ar.kv_heads, first)
        past[:] = [np.concatenate([old, new], 1) for old, new in zip(past, (k, v))] if past else [k, v]
        y = attend(self._rotate(q, ar.heads, first), past[0], past[1], ar.heads, ar.kv_heads, blocked)
        saw(p + "attention.wo.weight", y)
        yield x
        x = x + y @ self.read(p + "attention.wo.weight").T
        h = self._norm(x, p + "ffn_norm")
        saw(p + "feed_forward.w13", h)
        yield x
        gate = h @ self.read(p + "feed_forward.w1.weight").T
        h = gate / (1 + np.exp(-gate)) * (h @ self.read(p + "feed_forward.w3.weight").T)
        saw(p + "feed_forward.w2.weight", h)
        yield x
        yield x + h @ self.read(p + "feed_forward.w2.weight").T

    def passes(
        self,
        x: np.ndarray,
        pasts: list[list[np.ndarray]] | None,
        saw: Saw,
        blocked: np.ndarray | None = None,
    ) -> Iterator[np.ndarray]:
        """All layers: yields `x` after each part of each, and last the input of the weight of the output.

        `pasts` are those of the layers; None where `x` has all positions.
        """
        for i in range(self.ar.depth):
            for y in self.layer(i, x, pasts[i] if pasts else [], saw, blocked):
                x = y
                yield x
        h = self._norm(x, "norm")
        saw("output.weight", h)
        yield h


def _ignore(_name: str, _x: np.ndarray) -> None:
    pass


def draw(model: Model) -> tuple[np.ndarray, np.ndarray]:
    """(classes, tokens [pictures, N]): pictures that the model draws without guidance at temperature 1.

    Classes are spread evenly; every fourth picture has none, as in the unconditional half of guidance.
    """
    _, weights = model.autoregressive
    known: dict[str, np.ndarray] = {}

    def read(name: str) -> np.ndarray:
        if name not in known:
            known[name] = weights.read(name)
        return known[name]

    steps, rng = _Steps(model, read), np.random.default_rng(SEED)
    ar = steps.ar
    cache = model.count * ar.depth * 2 * ar.kv_heads * ar.head_dim * 4
    count = max(min(TOKENS // model.count, MOST_CACHE // cache), FEWEST)
    classes = np.arange(count) * len(model.classes) // count
    classes[3::4] = -1
    tokens = np.zeros((count, 0), np.int64)
    pasts: list[list[np.ndarray]] = [[] for _ in range(steps.ar.depth)]
    while (first := tokens.shape[1]) < model.count:
        last = first + (1 if first < model.causal else model.group)
        *_, h = steps.passes(steps.embedded(classes, tokens, first, last), pasts, _ignore)
        logits = (h @ read("output.weight").T).astype(np.float64)
        drawn = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
        tokens = np.concatenate([tokens, drawn], 1)
    return classes, tokens


class Moments:
    """The second moments of the input of every layer, by the key of its weight, in the order of the graph."""

    def __init__(self, model: Model) -> None:
        self._model, self._weights = model, model.autoregressive[1]
        self._saw: dict[str, np.ndarray] = {}
        self._passes: Iterator[np.ndarray] | None = None

    def __call__(self, key: str) -> np.ndarray | None:
        """The mean products [in, in] of two inputs of the layer `key`; None for a layer of another graph."""
        name = key.removeprefix("ar.")
        if name == key:
            return None
        with self._unseen():
            if self._passes is None:
                self._passes = self._begin()
            while name not in self._saw:
                self._saw.clear()
                if next(self._passes, None) is None:
                    raise AssertionError(f"{key} was asked for after a layer that follows it")
        x = self._saw[name].reshape(-1, self._saw[name].shape[-1])
        return x.T @ x / np.float32(len(x))

    def _begin(self) -> Iterator[np.ndarray]:
        classes, tokens = draw(self._model)
        steps = _Steps(self._model, self._weights.read)
        x = steps.embedded(classes, tokens, 0, self._model.count)
        return steps.passes(x, None, self._saw.__setitem__, ~visible(self._model))

    @contextmanager
    def _unseen(self) -> Iterator[None]:
        """What is read here is no progress of the export."""
        on_read, self._weights.on_read = self._weights.on_read, None
        try:
            yield
        finally:
            self._weights.on_read = on_read

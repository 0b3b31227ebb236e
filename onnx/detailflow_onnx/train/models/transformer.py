"""The autoregressive model (section 3.3 of the paper): Llama layers over the class and the tokens."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.checkpoint import published
from detailflow_onnx.checkpoint.config import Config
from detailflow_onnx.numbers import schedule
from detailflow_onnx.numbers.sizes import Ar, ArSizes
from detailflow_onnx.train.models.attention import Attend, LayerCache, attend
from detailflow_onnx.train.models.tokenizer import load

Rotation = tuple[torch.Tensor, torch.Tensor]  # cosines and sines [L, pairs]


class Norm(nn.Module):
    """RMS norm."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalize the last axis."""
        return functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class Attention(nn.Module):
    """Grouped-query attention with RoPE. `attend` can be replaced by another implementation."""

    def __init__(self, ar: Ar) -> None:
        super().__init__()
        kv_width = ar.kv_heads * ar.head_dim
        self.heads, self.kv_heads, self.widths = ar.heads, ar.kv_heads, [ar.width, kv_width, kv_width]
        self.wqkv = nn.Linear(ar.width, ar.width + 2 * kv_width, bias=False)
        self.wo = nn.Linear(ar.width, ar.width, bias=False)
        self.attend: Attend = attend

    def forward(
        self,
        x: torch.Tensor,
        rotation: Rotation,
        mask: torch.Tensor | None,
        cache: LayerCache | None = None,
        position: int | torch.Tensor = 0,
    ) -> torch.Tensor:
        """Attend over x [B, L, width], or over `cache`, to which x at `position` is added."""
        parts = zip(self.wqkv(x).split(self.widths, -1), (self.heads, self.kv_heads, self.kv_heads))
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part, heads in parts)
        q, k = rotate(q, rotation), rotate(k, rotation)
        if cache is not None:
            k, v = cache.update(k, v, position)
        if self.kv_heads != self.heads:
            k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
        y: torch.Tensor = self.wo(self.attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return y


def rotate(x: torch.Tensor, rotation: Rotation) -> torch.Tensor:
    """RoPE on interleaved pairs of [B, heads, L, head_dim]."""
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = rotation
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class FeedForward(nn.Module):
    """SwiGLU."""

    def __init__(self, ar: Ar) -> None:
        super().__init__()
        self.w1, self.w3 = (nn.Linear(ar.width, ar.hidden, bias=False) for _ in range(2))
        self.w2 = nn.Linear(ar.hidden, ar.width, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """w2(silu(w1 x) * w3 x)."""
        y: torch.Tensor = self.w2(functional.silu(self.w1(x)) * self.w3(x))
        return y


class Layer(nn.Module):
    """A pre-norm Llama layer."""

    def __init__(self, ar: Ar, dropout: float) -> None:
        super().__init__()
        self.attention, self.feed_forward = Attention(ar), FeedForward(ar)
        self.attention_norm, self.ffn_norm = Norm(ar.width, ar.eps), Norm(ar.width, ar.eps)
        self.drop = nn.Dropout(dropout)

    def forward(
        self,
        x: torch.Tensor,
        rotation: Rotation,
        mask: torch.Tensor | None,
        cache: LayerCache | None = None,
        position: int | torch.Tensor = 0,
    ) -> torch.Tensor:
        """See `Attention.forward`."""
        x = x + self.drop(self.attention(self.attention_norm(x), rotation, mask, cache, position))
        y: torch.Tensor = x + self.drop(self.feed_forward(self.ffn_norm(x)))
        return y


class ClassEmbedding(nn.Module):
    """Embeddings of the classes; the last row is "no class"."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.embedding_table = nn.Embedding(count + 1, width)


class SpecialEmbedding(nn.Module):
    """Embeddings of the special tokens, the input of the first group."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.special_embeddings = nn.Embedding(count, width)


class Transformer(nn.Module):
    """The autoregressive model."""

    cos: torch.Tensor
    sin: torch.Tensor
    mask: torch.Tensor

    def __init__(self, numbers: ArSizes, *, dropout: float = 0.0, token_dropout: float = 0.0) -> None:
        super().__init__()
        self.numbers, ar = numbers, numbers.ar
        self.cls_embedding = ClassEmbedding(numbers.classes, ar.width)
        self.tok_embeddings = nn.Embedding(numbers.codes, ar.width)
        if numbers.group > 1:
            self.spe_tok_embeddings = SpecialEmbedding(numbers.group - 1, ar.width)
        self.tok_dropout = nn.Dropout(token_dropout)
        self.layers = nn.ModuleList(Layer(ar, dropout) for _ in range(ar.depth))
        self.norm, self.output = Norm(ar.width, ar.eps), nn.Linear(ar.width, numbers.codes, bias=False)
        cos, sin = schedule.rotary(ar, numbers)
        mask = np.where(schedule.visible(numbers), np.float32(0), np.float32(-np.inf))
        for name, value in (("cos", cos), ("sin", sin), ("mask", mask)):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """Initialize for training as the published code does: normal weights of 0.02, the output layer zero."""
        for value in self.parameters():
            if value.ndim > 1:
                value.normal_(0, 0.02)
        self.output.weight.zero_()

    def set_attention(self, attend: Attend) -> None:
        """Replace the attention implementation of every layer."""
        for module in self.modules():
            if isinstance(module, Attention):
                module.attend = attend

    def inputs(self, classes: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Embeddings [B, L, width] of the sequence: L = n + 1 for n < c tokens, else n + 1 + (g - 1)."""
        c = self.numbers.causal
        x = torch.cat([self.cls_embedding.embedding_table(classes)[:, None], self.tok_embeddings(tokens)], 1)
        if tokens.shape[1] >= c and self.numbers.group > 1:
            special = self.spe_tok_embeddings.special_embeddings.weight.expand(len(x), -1, -1)
            x = torch.cat([x[:, : c + 1], special, x[:, c + 1 :]], 1)
        return x

    def forward(self, classes: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """Logits [B, N, V] with teacher forcing.

        `tokens` [B, N]; `classes` [B], where the number of classes stands for "no class".
        """
        n = self.numbers.count
        return self.run(self.tok_dropout(self.inputs(classes, tokens[:, : n - 1])[:, :n]))

    def run(self, x: torch.Tensor, wanted: int = 0) -> torch.Tensor:
        """Logits of embeddings [B, L, width] from position 0 on, of the last `wanted` positions (0: of all)."""
        length = x.shape[1]
        rotation, mask = (self.cos[:length], self.sin[:length]), self.mask[:length, :length]
        for layer in self.layers:
            x = layer(x, rotation, mask)
        logits: torch.Tensor = self.output(self.norm(x[:, -wanted:]))
        return logits

    def step(self, x: torch.Tensor, position: int | torch.Tensor, cache: Sequence[LayerCache]) -> torch.Tensor:
        """Logits of embeddings [B, q, width] at `position`, which are added to the cache. See `LayerCache.update`."""
        if isinstance(position, int):
            end = position + x.shape[1]
            rotation, mask = (self.cos[position:end], self.sin[position:end]), None
        else:
            rotation, mask = (self.cos[position], self.sin[position]), self.mask[position]
        for layer, layer_cache in zip(self.layers, cache):
            x = layer(x, rotation, mask, layer_cache, position)
        logits: torch.Tensor = self.output(self.norm(x))
        return logits

    def new_cache(self, batch: int, dtype: torch.dtype = torch.float32) -> list[LayerCache]:
        """An empty KV cache for `batch` sequences."""
        ar, device = self.numbers.ar, self.output.weight.device
        shape = (batch, ar.kv_heads, self.numbers.count, ar.head_dim)

        def zeros() -> torch.Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        return [LayerCache(zeros(), zeros()) for _ in range(ar.depth)]

    @torch.no_grad()
    def generate(
        self,
        classes: torch.Tensor,
        *,
        guidance: float,
        temperature: float = 1.0,
        top_k: int = 0,
        top_p: float = 1.0,
        gradual: bool = False,
        seed: int = 0,
        given: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Tokens [B, N] of `classes` [B], sampled step by step with a KV cache.

        `given` [B, t]: the first tokens, t up to a step; they are not sampled.
        """
        n, g, c, b = self.numbers.count, self.numbers.group, self.numbers.causal, len(classes)
        generator = torch.Generator(classes.device).manual_seed(seed)
        guided = guidance != 1
        rows = torch.cat([classes, torch.full_like(classes, self.numbers.classes)]) if guided else classes
        cache = self.new_cache(len(rows))
        out = torch.empty(b, 0, dtype=torch.int64, device=classes.device)
        x = self.cls_embedding.embedding_table(rows)[:, None]
        position = 0
        while True:
            logits = self.step(x, position, cache)
            position += x.shape[1]
            if guided:
                scale = guidance
                if gradual and out.shape[1] >= c:
                    scale = guidance * (n // g - out.shape[1] // g + 1) / (n // g + 1)
                cond, uncond = logits.chunk(2)
                logits = uncond + (cond - uncond) * scale
            sampled = sample(logits, temperature, top_k, top_p, generator)
            if given is not None and out.shape[1] < given.shape[1]:
                sampled = given[:, out.shape[1] : out.shape[1] + sampled.shape[1]]
            out = torch.cat([out, sampled], 1)
            if out.shape[1] == n:
                return out
            x = self.tok_embeddings(torch.cat([sampled, sampled]) if guided else sampled)
            if out.shape[1] == c and g > 1:
                # Only the last causal token precedes the special tokens; the others are in the cache.
                special = self.spe_tok_embeddings.special_embeddings.weight.expand(len(x), -1, -1)
                x = torch.cat([x[:, -1:], special], 1)


def sample(
    logits: torch.Tensor, temperature: float, top_k: int, top_p: float, generator: torch.Generator
) -> torch.Tensor:
    """A token for each row of logits [B, q, V]: [B, q]. Temperature 0 is greedy."""
    x = logits / max(temperature, 1e-5)
    if top_k:
        x = x.masked_fill(x < x.topk(min(top_k, x.shape[-1]), -1).values[..., -1:], -torch.inf)
    if top_p < 1:
        value, order = x.sort(dim=-1, descending=True, stable=True)
        p = value.softmax(-1)
        drop = p.cumsum(-1) - p > top_p
        x = x.masked_fill(torch.zeros_like(drop).scatter(-1, order, drop), -torch.inf)
    if temperature == 0:
        return logits.argmax(-1)
    return torch.multinomial(x.softmax(-1).flatten(0, 1), 1, generator=generator).view(x.shape[:2])


def open_transformer(folder: Path | str) -> Transformer:
    """An autoregressive checkpoint in the published layout, ready for inference."""
    ar, classes, values = published.open_ar(Path(folder))
    config = Config(Path(folder))
    group = config.get("group_size", int)
    numbers = ArSizes(
        count=config.get("block_size", int),
        group=group,
        causal=config.get("causal_num", int, group),
        codes=config.get("vocab_size", int),
        classes=classes,
        ar=ar,
    )
    module = Transformer(numbers)
    load(module, values)
    return module.eval()

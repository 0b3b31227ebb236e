"""The autoregressive model as a PyTorch module whose `state_dict` is the published layout (section 3.3 of the paper): Llama
layers over the class, the causal tokens one by one, and then group by group."""

from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.checkpoint import published as checkpoint
from detailflow_onnx.numbers import schedule
from detailflow_onnx.train.models.tokenizer import attend, load


class Norm(nn.Module):
    def __init__(self, width, eps):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(width)), eps

    def forward(self, x):
        return functional.rms_norm(x, x.shape[-1:], self.weight, self.eps)


class Attention(nn.Module):
    def __init__(self, ar):
        super().__init__()
        self.heads, self.kv_heads, self.width, self.kept = ar.heads, ar.kv_heads, ar.width, ar.kv_heads * ar.head_width
        self.wqkv = nn.Linear(ar.width, ar.width + 2 * self.kept, bias=False)
        self.wo = nn.Linear(ar.width, ar.width, bias=False)

    def forward(self, x, turns, mask, kept=None):
        """`kept`: (keys, values, start) to write to from `start` on and to look at up to there."""
        split = [x.unflatten(-1, (heads, -1)).transpose(1, 2) for x, heads in
                 zip(self.wqkv(x).split([self.width, self.kept, self.kept], -1), (self.heads, self.kv_heads, self.kv_heads))]  # fmt: skip
        q, k, v = turned(split[0], turns), turned(split[1], turns), split[2]
        if kept is not None:
            keys, values, start = kept
            end = start + x.shape[1]
            keys[:, :, start:end], values[:, :, start:end] = k, v
            k, v = keys[:, :, :end], values[:, :, :end]
        if self.kv_heads != self.heads:
            k, v = (y.repeat_interleave(self.heads // self.kv_heads, 1) for y in (k, v))
        return self.wo(attend(q, k, v, mask).transpose(1, 2).flatten(2))


def turned(x, turns):
    """Rotary embedding of interleaved pairs [B, heads, L, width]; `turns` [L, pairs] are cosines and sines."""
    a, b = x[..., 0::2], x[..., 1::2]
    cos, sin = turns
    return torch.stack([a * cos - b * sin, a * sin + b * cos], -1).flatten(-2)


class FeedForward(nn.Module):
    def __init__(self, ar):
        super().__init__()
        self.w1, self.w3 = (nn.Linear(ar.width, ar.hidden, bias=False) for _ in range(2))
        self.w2 = nn.Linear(ar.hidden, ar.width, bias=False)

    def forward(self, x):
        return self.w2(functional.silu(self.w1(x)) * self.w3(x))


class Layer(nn.Module):
    def __init__(self, ar, dropout):
        super().__init__()
        self.attention, self.feed_forward = Attention(ar), FeedForward(ar)
        self.attention_norm, self.ffn_norm = Norm(ar.width, ar.eps), Norm(ar.width, ar.eps)
        self.drop = nn.Dropout(dropout)

    def forward(self, x, turns, mask, kept=None):
        x = x + self.drop(self.attention(self.attention_norm(x), turns, mask, kept))
        return x + self.drop(self.feed_forward(self.ffn_norm(x)))


class Classes(nn.Module):
    def __init__(self, count, width):
        super().__init__()
        self.embedding_table = nn.Embedding(count + 1, width)  # the last is "no class"


class Special(nn.Module):
    def __init__(self, count, width):
        super().__init__()
        self.special_embeddings = nn.Embedding(count, width)


class Numbers:
    """What the module is built from: a `model.Ar` and the numbers that it shares with the tokenizer."""

    def __init__(self, ar, *, classes, count, group, causal, codes):
        self.ar, self.classes, self.count, self.group, self.causal, self.codes = ar, classes, count, group, causal, codes


class Transformer(nn.Module):
    def __init__(self, numbers, *, dropout=0.0, token_dropout=0.0):
        super().__init__()
        self.numbers, ar = numbers, numbers.ar
        self.cls_embedding = Classes(numbers.classes, ar.width)
        self.tok_embeddings = nn.Embedding(numbers.codes, ar.width)
        if numbers.group > 1:
            self.spe_tok_embeddings = Special(numbers.group - 1, ar.width)
        self.tok_dropout = nn.Dropout(token_dropout)
        self.layers = nn.ModuleList(Layer(ar, dropout) for _ in range(ar.depth))
        self.norm, self.output = Norm(ar.width, ar.eps), nn.Linear(ar.width, numbers.codes, bias=False)
        cos, sin = schedule.rotary(numbers)
        mask = np.where(schedule.seen(numbers), np.float32(0), np.float32(-np.inf))
        for name, value in (("cos", cos), ("sin", sin), ("mask", mask)):
            self.register_buffer(name, torch.from_numpy(value), persistent=False)
        self.start()

    @torch.no_grad()
    def start(self):
        """Before training: normal weights of 0.02, the output layer at zero, as the published code has it."""
        for name, value in self.named_parameters():
            if value.ndim > 1:
                value.normal_(0, 0.02)
        self.output.weight.zero_()

    def inputs(self, classes, tokens):
        """The sequence's embeddings [B, L, width], L = tokens + 1 + (g-1), or tokens + 1 while causal."""
        c = self.numbers.causal
        x = torch.cat([self.cls_embedding.embedding_table(classes)[:, None], self.tok_embeddings(tokens)], 1)
        if tokens.shape[1] >= c and self.numbers.group > 1:
            special = self.spe_tok_embeddings.special_embeddings.weight.expand(len(x), -1, -1)
            x = torch.cat([x[:, : c + 1], special, x[:, c + 1 :]], 1)
        return x

    def forward(self, classes, tokens):
        """Logits [B, N, V] of every position, each given the tokens before its step. `tokens` [B, N]; `classes` [B], where
        the number of classes stands for "no class"."""
        x = self.tok_dropout(self.inputs(classes, tokens[:, : self.numbers.count - 1])[:, : self.numbers.count])
        turns = self.cos, self.sin
        for layer in self.layers:
            x = layer(x, turns, self.mask)
        return self.output(self.norm(x))

    def _fed(self, x, start, kept):
        turns = self.cos[start : start + x.shape[1]], self.sin[start : start + x.shape[1]]
        for layer, (keys, values) in zip(self.layers, kept):
            x = layer(x, turns, None, (keys, values, start))
        return self.output(self.norm(x))

    @torch.no_grad()
    def generate(self, classes, *, guidance, temperature=1.0, top_k=0, top_p=1.0, gradual=False, seed=0):
        """Tokens [B, N], drawn step by step with keys and values kept (DETAILFLOW section 5)."""
        n, g, c, b = self.numbers.count, self.numbers.group, self.numbers.causal, len(classes)
        generator = torch.Generator(classes.device).manual_seed(seed)
        guided = guidance != 1
        rows = torch.cat([classes, torch.full_like(classes, self.numbers.classes)]) if guided else classes
        shape, ar = (len(rows), self.numbers.ar.kv_heads, n, self.numbers.ar.head_width), self.numbers.ar
        kept = [(torch.zeros(shape, device=classes.device), torch.zeros(shape, device=classes.device)) for _ in range(ar.depth)]
        out = torch.empty(b, 0, dtype=torch.int64, device=classes.device)
        x = self.cls_embedding.embedding_table(rows)[:, None]
        start = 0
        while True:
            logits = self._fed(x, start, kept)
            start += x.shape[1]
            if guided:
                scale = guidance * (n // g - out.shape[1] // g + 1) / (n // g + 1) if gradual and out.shape[1] >= c else guidance
                cond, none = logits.chunk(2)
                logits = none + (cond - none) * scale
            drawn = draw(logits, temperature, top_k, top_p, generator)
            out = torch.cat([out, drawn], 1)
            if out.shape[1] == n:
                return out
            x = self.tok_embeddings(torch.cat([drawn, drawn]) if guided else drawn)
            if out.shape[1] == c and g > 1:
                # In front of the special tokens stands the last causal one alone.
                special = self.spe_tok_embeddings.special_embeddings.weight.expand(len(x), -1, -1)
                x = torch.cat([x[:, -1:], special], 1)


def draw(logits, temperature, top_k, top_p, generator):
    """A token for each row of logits [B, q, V]: [B, q]."""
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


def open_transformer(folder):
    """An autoregressive checkpoint in the published layout, ready to use."""
    ar, classes, values = checkpoint.open_ar(Path(folder))
    config = checkpoint.Config(Path(folder))
    group = config.get("group_size", int)
    numbers = Numbers(ar, classes=classes, count=config.get("block_size", int), group=group,
                      causal=config.get("causal_num", int, group), codes=config.get("vocab_size", int))  # fmt: skip
    module = Transformer(numbers)
    load(module, values)
    return module.eval()

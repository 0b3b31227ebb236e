"""DetailFlow in plain NumPy, computed from the source weights: what a new bundle is compared with.

It shares nothing with the graphs except the sizes of the model: no KV cache, no reordered channels, no folded tables.
Each weight is read once for all inputs of a call, one layer at a time, so that large models fit in memory.
"""

from collections.abc import Callable

import numpy as np

from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.numbers.sizes import Side

Read = Callable[[str], np.ndarray]


def linear(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
    """A linear layer with the weight [out, in]."""
    return x @ w.T if b is None else x @ w.T + b


def softmax(x: np.ndarray) -> np.ndarray:
    """Softmax over the last axis."""
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(
    q: np.ndarray, k: np.ndarray, v: np.ndarray, heads: int, kv_heads: int, blocked: np.ndarray | None = None
) -> np.ndarray:
    """Attention over [B, L, heads*head_dim]. `blocked[i, j]`: i does not attend to j."""

    def split(x: np.ndarray, n: int) -> np.ndarray:
        return x.reshape(*x.shape[:2], n, -1).transpose(0, 2, 1, 3)

    q, k, v = split(q, heads), split(k, kv_heads), split(v, kv_heads)
    k, v = (np.repeat(x, heads // kv_heads, 1) for x in (k, v))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(np.float32(q.shape[-1]))
    if blocked is not None:
        scores = np.where(blocked, np.float32(-np.inf), scores)
    y = (softmax(scores) @ v).transpose(0, 2, 1, 3)
    return y.reshape(*y.shape[:2], -1)


# ---------------------------------------------------------------- autoregressive model
def _rotate(x: np.ndarray, heads: int, group: int, rope_base: float) -> np.ndarray:
    """RoPE of positions 0.. on interleaved pairs, as complex numbers."""
    b, length, width = x.shape
    pairs = width // heads // 2
    rotation = np.zeros((length, pairs), np.complex64)
    for s in range(1, length):
        for i in range(pairs):
            position = ((s - 1) // group, (s - 1) % group)[i >= pairs // 2]
            rotation[s, i] = np.exp(1j * position * rope_base ** (-2 * (i % (pairs // 2)) / pairs))
    z = x.reshape(b, length, heads, pairs, 2)
    z = (z[..., 0] + 1j * z[..., 1]) * rotation[:, None]
    return np.stack([z.real, z.imag], -1).reshape(x.shape).astype(np.float32)


def _rms_norm(x: np.ndarray, w: np.ndarray, eps: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * w


def ar_logits(model: Model, classes: list[int], tokens: np.ndarray) -> np.ndarray:
    """Logits [B, L, V] of positions 0..L-1 in one masked pass. L must end a step.

    `tokens` [B, L] are the sampled tokens; class -1 is "no class".
    """
    ar, weights = model.autoregressive
    read, length, c, g = weights.read, tokens.shape[1], model.causal, model.group
    rows = read("cls_embedding.embedding_table.weight")[np.array(classes) % (len(model.classes) + 1)]
    x = np.concatenate([rows[:, None], read("tok_embeddings.weight")[tokens]], 1)
    if g > 1 and length > c:
        special = np.repeat(read("spe_tok_embeddings.special_embeddings.weight")[None], len(x), 0)
        x = np.concatenate([x[:, : c + 1], special, x[:, c + 1 :]], 1)
    x = x[:, :length]
    position = np.arange(length)
    block = np.where(position < c, position, c + position // g)
    blocked = block[None] > block[:, None]
    cuts = [ar.width, ar.width + ar.kv_heads * ar.head_dim]
    for i in range(ar.depth):
        p = f"layers.{i}."
        h = _rms_norm(x, read(p + "attention_norm.weight"), ar.eps)
        q, k, v = np.split(linear(h, read(p + "attention.wqkv.weight")), cuts, -1)
        q, k = _rotate(q, ar.heads, g, ar.rope_base), _rotate(k, ar.kv_heads, g, ar.rope_base)
        y = attend(q, k, v, ar.heads, ar.kv_heads, blocked)
        x = x + linear(y, read(p + "attention.wo.weight"))
        h = _rms_norm(x, read(p + "ffn_norm.weight"), ar.eps)
        a = linear(h, read(p + "feed_forward.w1.weight"))
        h = a / (1 + np.exp(-a)) * linear(h, read(p + "feed_forward.w3.weight"))
        x = x + linear(h, read(p + "feed_forward.w2.weight"))
    return linear(_rms_norm(x, read("norm.weight"), ar.eps), read("output.weight"))


# ---------------------------------------------------------------- tokenizer
def _layer_norm(x: np.ndarray, w: np.ndarray, b: np.ndarray, eps: float) -> np.ndarray:
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + np.float32(eps)) * w + b


def _gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


def _layers(side: Side, read: Read, xs: list[np.ndarray], blocked: np.ndarray | None = None) -> list[np.ndarray]:
    """The SigLIP2 layers over several inputs at once."""
    assert side.heads is not None

    def both(name: str) -> tuple[np.ndarray, np.ndarray]:
        return read(name + ".weight"), read(name + ".bias")

    parts = [
        "layer_norm1",
        "layer_norm2",
        "mlp.fc1",
        "mlp.fc2",
        *(f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")),
    ]
    for i in range(side.depth):
        p = f"{side.prefix}.visual_model.encoder.layers.{i}."
        w = {n: both(p + n) for n in parts}
        for j, x in enumerate(xs):
            h = _layer_norm(x, *w["layer_norm1"], side.eps)
            q, k, v = (linear(h, *w[f"self_attn.{n}_proj"]) for n in "qkv")
            x = x + linear(attend(q, k, v, side.heads, side.heads, blocked), *w["self_attn.out_proj"])
            h = linear(_layer_norm(x, *w["layer_norm2"], side.eps), *w["mlp.fc1"])
            xs[j] = x + linear(_gelu(h), *w["mlp.fc2"])
    norm = both(f"{side.prefix}.visual_model.post_layernorm")
    return [_layer_norm(x, *norm, side.eps) for x in xs]


def _positions(side: Side, read: Read, across: int) -> np.ndarray:
    """The position table resized to across x across: a triangle filter that widens when shrinking."""
    table = read(f"{side.prefix}.visual_model.embeddings.position_embedding.weight")
    table = table.reshape(side.grid, side.grid, -1)
    for axis in (0, 1):
        scale = side.grid / across
        centre = (np.arange(across)[:, None] + 0.5) * scale
        taps = np.clip(1 - np.abs(np.arange(side.grid)[None] + 0.5 - centre) / max(scale, 1), 0, None)
        taps = (taps / taps.sum(1, keepdims=True)).astype(np.float32)
        table = np.moveaxis(np.tensordot(taps, table, (1, axis)), 0, axis)
    return table.reshape(across * across, -1)


def _codebook(model: Model) -> np.ndarray:
    book = model.tokenizer.read("quantize.embedding.weight")
    return book / np.maximum(np.linalg.norm(book, axis=-1, keepdims=True), 1e-12) if model.l2_norm else book


def decode(model: Model, requests: list[tuple[np.ndarray, int]]) -> list[np.ndarray]:
    """[(tokens [B, t], size), ...] -> [pixels [B, C, size, size], ...]."""
    read, side, book, xs = model.tokenizer.read, model.decoder, _codebook(model), []
    w, bias = read("post_quant_conv.weight"), read("post_quant_conv.bias")
    positions, mask = read("decoder.latent_pos_embed"), read("decoder.mask_token")
    for tokens, size in requests:
        z = linear(book[tokens], w, bias) + positions[:, : tokens.shape[1]]
        patches = mask + _positions(side, read, size // side.patch)[None]
        xs.append(np.concatenate([np.repeat(patches, len(tokens), 0), z], 1))
    pixel, out = (read("decoder.to_pixel.model.weight"), read("decoder.to_pixel.model.bias")), []
    for x, (tokens, size) in zip(_layers(side, read, xs), requests):
        n = size // side.patch
        y = linear(x[:, : n * n], *pixel).reshape(len(tokens), n, n, side.patch, side.patch, model.channels)
        out.append(y.transpose(0, 5, 1, 3, 2, 4).reshape(len(tokens), model.channels, size, size))
    return out


def encode(model: Model, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float images [B, C, S, S] -> (latents [B, N, code width], ids [B, N])."""
    read, side, n, p = model.tokenizer.read, model.encoder, model.count, model.encoder.patch
    across, b = model.size // p, len(images)
    x = images.reshape(b, model.channels, across, p, across, p)
    x = x.transpose(0, 2, 4, 3, 5, 1).reshape(b, across * across, -1)
    e = "encoder.visual_model.embeddings.patch_embedding."
    x = linear(x, read(e + "weight"), read(e + "bias")) + _positions(side, read, across)
    latents = read("encoder.latent_tokens") + read("encoder.latent_pos_embed")
    x = np.concatenate([x, np.repeat(latents, b, 0)], 1)
    m = across * across
    blocked = np.zeros((m + n, m + n), bool)
    blocked[:m, m:] = True
    for i in range(n):
        last = i if i < model.causal else i // model.group * model.group + model.group - 1
        blocked[m + i, m + last + 1 :] = True
    z = linear(_layers(side, read, [x], blocked)[0][:, m:], read("quant_conv.weight"), read("quant_conv.bias"))
    u = z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12) if model.l2_norm else z
    book = _codebook(model)
    return z, ((u**2).sum(-1, keepdims=True) + (book**2).sum(-1) - 2 * u @ book.T).argmin(-1)

"""DetailFlow in plain numpy, straight from the source weights: what a bundle is compared with when it is made.

It shares nothing with the graphs but the model's numbers: no kept keys, no reordered channels, no folded tables. It
reads each weight once for all the inputs of a call, one layer at a time, so that large models fit.
"""

import numpy as np


def linear(x, w, b=None):
    return x @ w.T if b is None else x @ w.T + b


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def attend(q, k, v, heads, kv_heads, blocked=None):
    """[B, L, heads*width] each. `blocked[i, j]`: i does not see j."""
    def split(x, n):
        return x.reshape(*x.shape[:2], n, -1).transpose(0, 2, 1, 3)

    q, k, v = split(q, heads), split(k, kv_heads), split(v, kv_heads)
    k, v = (np.repeat(x, heads // kv_heads, 1) for x in (k, v))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(np.float32(q.shape[-1]))
    if blocked is not None:
        scores = np.where(blocked, np.float32(-np.inf), scores)
    y = (softmax(scores) @ v).transpose(0, 2, 1, 3)
    return y.reshape(*y.shape[:2], -1)


# ---------------------------------------------------------------- autoregressive model
def _turn(x, heads, model):
    """Rotary embedding of positions 0.. on interleaved pairs, as complex numbers."""
    b, length, width = x.shape
    pairs = width // heads // 2
    turn = np.zeros((length, pairs), np.complex64)
    for s in range(1, length):
        for i in range(pairs):
            place = ((s - 1) // model.group, (s - 1) % model.group)[i >= pairs // 2]
            turn[s, i] = np.exp(1j * place * model.ar.rope_base ** (-2 * (i % (pairs // 2)) / pairs))
    z = x.reshape(b, length, heads, pairs, 2)
    z = (z[..., 0] + 1j * z[..., 1]) * turn[:, None]
    return np.stack([z.real, z.imag], -1).reshape(x.shape).astype(np.float32)


def _rms(x, w, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + np.float32(eps)) * w


def ar_logits(model, classes, tokens):
    """Logits [B, L, V] of positions 0..L-1 for a whole number of steps, in one pass with a mask.

    `tokens` [B, L]: those drawn; -1 as a class is "no class"."""
    ar, read = model.ar, model.ar_weights.read
    length, c, g = tokens.shape[1], model.causal, model.group
    rows = read("cls_embedding.embedding_table.weight")[np.array(classes) % (len(model.classes) + 1)]
    x = np.concatenate([rows[:, None], read("tok_embeddings.weight")[tokens]], 1)
    if g > 1 and length > c:
        special = np.repeat(read("spe_tok_embeddings.special_embeddings.weight")[None], len(x), 0)
        x = np.concatenate([x[:, : c + 1], special, x[:, c + 1 :]], 1)
    x = x[:, :length]
    place = np.arange(length)
    block = np.where(place < c, place, c + place // g)
    blocked = block[None] > block[:, None]
    kept = ar.kv_heads * ar.head_width
    for i in range(ar.depth):
        p = f"layers.{i}."
        q, k, v = np.split(linear(_rms(x, read(p + "attention_norm.weight"), ar.eps), read(p + "attention.wqkv.weight")), [ar.width, ar.width + kept], -1)
        y = attend(_turn(q, ar.heads, model), _turn(k, ar.kv_heads, model), v, ar.heads, ar.kv_heads, blocked)
        x = x + linear(y, read(p + "attention.wo.weight"))
        h = _rms(x, read(p + "ffn_norm.weight"), ar.eps)
        a = linear(h, read(p + "feed_forward.w1.weight"))
        x = x + linear(a / (1 + np.exp(-a)) * linear(h, read(p + "feed_forward.w3.weight")), read(p + "feed_forward.w2.weight"))
    return linear(_rms(x, read("norm.weight"), ar.eps), read("output.weight"))


# ---------------------------------------------------------------- tokenizer
def _norm(x, w, b, eps):
    mean = x.mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(((x - mean) ** 2).mean(-1, keepdims=True) + np.float32(eps)) * w + b


def _gelu(x):
    return 0.5 * x * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + np.float32(0.044715) * x**3)))


def _layers(side, read, xs, blocked=None):
    """The SigLIP2 layers over several inputs at once."""
    def both(name):
        return read(name + ".weight"), read(name + ".bias")

    for i in range(side.depth):
        p = f"{side.prefix}.visual_model.encoder.layers.{i}."
        w = {n: both(p + n) for n in ("layer_norm1", "layer_norm2", "mlp.fc1", "mlp.fc2", *(f"self_attn.{n}_proj" for n in ("q", "k", "v", "out")))}
        for j, x in enumerate(xs):
            h = _norm(x, *w["layer_norm1"], side.eps)
            q, k, v = (linear(h, *w[f"self_attn.{n}_proj"]) for n in "qkv")
            x = x + linear(attend(q, k, v, side.heads, side.heads, blocked), *w["self_attn.out_proj"])
            h = linear(_norm(x, *w["layer_norm2"], side.eps), *w["mlp.fc1"])
            xs[j] = x + linear(_gelu(h), *w["mlp.fc2"])
    w = both(f"{side.prefix}.visual_model.post_layernorm")
    return [_norm(x, *w, side.eps) for x in xs]


def _places(side, read, across):
    """Positions at across x across, one tap at a time: a triangle filter that widens when shrinking."""
    table = read(f"{side.prefix}.visual_model.embeddings.position_embedding.weight").reshape(side.grid, side.grid, -1)
    for axis in (0, 1):
        scale = side.grid / across
        centre = (np.arange(across)[:, None] + 0.5) * scale
        taps = np.clip(1 - np.abs(np.arange(side.grid)[None] + 0.5 - centre) / max(scale, 1), 0, None)
        taps = (taps / taps.sum(1, keepdims=True)).astype(np.float32)
        table = np.moveaxis(np.tensordot(taps, table, (1, axis)), 0, axis)
    return table.reshape(across * across, -1)


def _book(model):
    book = model.tokenizer.read("quantize.embedding.weight")
    return book / np.maximum(np.linalg.norm(book, axis=-1, keepdims=True), 1e-12) if model.l2_norm else book


def decode(model, requests):
    """[(tokens [B, t], size), ...] -> [pixels [B, C, size, size], ...]."""
    read, side, book, xs = model.tokenizer.read, model.decoder, _book(model), []
    w, bias, places, mask = (read(n) for n in ("post_quant_conv.weight", "post_quant_conv.bias", "decoder.latent_pos_embed", "decoder.mask_token"))
    for tokens, size in requests:
        z = linear(book[tokens], w, bias) + places[:, : tokens.shape[1]]
        patches = mask + _places(side, read, size // side.patch)[None]
        xs.append(np.concatenate([np.repeat(patches, len(tokens), 0), z], 1))
    pixel, out = (read("decoder.to_pixel.model.weight"), read("decoder.to_pixel.model.bias")), []
    for x, (tokens, size) in zip(_layers(side, read, xs), requests):
        n = size // side.patch
        y = linear(x[:, : n * n], *pixel).reshape(len(tokens), n, n, side.patch, side.patch, model.channels)
        out.append(y.transpose(0, 5, 1, 3, 2, 4).reshape(len(tokens), model.channels, size, size))
    return out


def encode(model, images):
    """Float images [B, C, S, S] -> (latents [B, N, code width], ids [B, N])."""
    read, side, n, p = model.tokenizer.read, model.encoder, model.count, model.encoder.patch
    across, b = model.size // p, len(images)
    x = images.reshape(b, model.channels, across, p, across, p).transpose(0, 2, 4, 3, 5, 1).reshape(b, across * across, -1)
    e = "encoder.visual_model.embeddings.patch_embedding."
    x = linear(x, read(e + "weight"), read(e + "bias")) + _places(side, read, across)
    x = np.concatenate([x, np.repeat(read("encoder.latent_tokens") + read("encoder.latent_pos_embed"), b, 0)], 1)
    m = across * across
    blocked = np.zeros((m + n, m + n), bool)
    blocked[:m, m:] = True
    for i in range(n):
        blocked[m + i, m + (i if i < model.causal else i // model.group * model.group + model.group - 1) + 1 :] = True
    z = linear(_layers(side, read, [x], blocked)[0][:, m:], read("quant_conv.weight"), read("quant_conv.bias"))
    u = z / np.maximum(np.linalg.norm(z, axis=-1, keepdims=True), 1e-12) if model.l2_norm else z
    book = _book(model)
    return z, ((u**2).sum(-1, keepdims=True) + (book**2).sum(-1) - 2 * u @ book.T).argmin(-1)

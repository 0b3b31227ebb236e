"""The tokenizer as a PyTorch module whose `state_dict` is the published layout: SigLIP2 layers on both sides, and a codebook
between them (section 3.1 of the paper)."""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.checkpoint import published as checkpoint
from detailflow_onnx.numbers import ladder
from detailflow_onnx.numbers import resize
from detailflow_onnx.numbers import schedule


def attend(q, k, v, mask=None):
    """[B, heads, L, width] each; `mask[i, j]` is added to the score of i with j. On a CPU by plain products: there the backward
    pass of the fused attention takes longer for so few places."""
    if q.is_cuda:
        return functional.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(q.dtype))
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (scores if mask is None else scores + mask).softmax(-1) @ v


class SelfAttention(nn.Module):
    def __init__(self, width, heads):
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x, mask):
        parts = self.q_proj, self.k_proj, self.v_proj
        qkv = functional.linear(x, torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        return self.out_proj(attend(q, k, v, mask).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        return self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))


class Layer(nn.Module):
    def __init__(self, side):
        super().__init__()
        self.layer_norm1, self.self_attn = nn.LayerNorm(side.width, side.eps), SelfAttention(side.width, side.heads)
        self.layer_norm2, self.mlp = nn.LayerNorm(side.width, side.eps), Mlp(side.width, side.hidden)

    def forward(self, x, mask):
        x = x + self.self_attn(self.layer_norm1(x), mask)
        return x + self.mlp(self.layer_norm2(x))


class VisualModel(nn.Module):
    """A SigLIP2 backbone without its head. `embeds`: whether pictures go in (the decoder has positions only)."""

    def __init__(self, side, channels, embeds):
        super().__init__()
        self.embeddings, self.encoder = nn.Module(), nn.Module()
        if embeds:
            self.embeddings.patch_embedding = nn.Linear(side.patch**2 * channels, side.width)
        self.embeddings.position_embedding = nn.Embedding(side.grid**2, side.width)
        self.encoder.layers = nn.ModuleList(Layer(side) for _ in range(side.depth))
        self.post_layernorm = nn.LayerNorm(side.width, side.eps)
        self._resized = {}

    def positions(self, across):
        """[across^2, width]: the table resized as when it is exported; not at all at its own size."""
        table = self.embeddings.position_embedding.weight
        grid = math.isqrt(len(table))
        if across == grid:
            return table
        if across not in self._resized:
            self._resized[across] = torch.from_numpy(resize.matrix(grid, across))
        m = self._resized[across] = self._resized[across].to(table)
        return torch.einsum("ai,bj,ijd->abd", m, m, table.view(grid, grid, -1)).flatten(0, 1)

    def forward(self, x, mask=None):
        for layer in self.encoder.layers:
            x = layer(x, mask)
        return self.post_layernorm(x)


def patches(images, patch):
    """[B, C, S, S] -> [B, (S/patch)^2, patch*patch*C]; inside a patch: row, column, channel."""
    b, c, s, _ = images.shape
    return images.view(b, c, s // patch, patch, s // patch, patch).permute(0, 2, 4, 3, 5, 1).reshape(b, (s // patch) ** 2, -1)


def unpatched(rows, patch, channels):
    """The way back."""
    b, n, _ = rows.shape
    across = math.isqrt(n)
    return rows.view(b, across, across, patch, patch, channels).permute(0, 5, 1, 3, 2, 4).reshape(b, channels, across * patch, across * patch)


class Encoder(nn.Module):
    """Patches see patches; latent i sees all patches and the latents up to the end of its group (up to itself below c)."""

    def __init__(self, numbers):
        super().__init__()
        side, self.patch, n = numbers.encoder, numbers.encoder.patch, numbers.count
        self.latent_pos_embed, self.latent_tokens, self.refined_tokens = (nn.Parameter(torch.empty(1, n, side.width)) for _ in range(3))
        self.visual_model = VisualModel(side, numbers.channels, embeds=True)
        last = schedule.last_seen(numbers)
        mask = np.where(np.arange(len(last))[None] <= last[:, None], np.float32(0), np.float32(-np.inf))
        self.register_buffer("mask", torch.from_numpy(mask), persistent=False)

    def forward(self, images, refined=None, first=None):
        """[B, C, S, S] -> [B, N, width]. With `refined` [B, N, width] and `first` [B]: the latents before `first` are not
        asked for but given, and those from there on see them so."""
        x = patches(images, self.patch)
        embeddings = self.visual_model.embeddings
        x = embeddings.patch_embedding(x) + self.visual_model.positions(math.isqrt(x.shape[1]))
        latents = self.latent_tokens.expand(len(x), -1, -1)
        if refined is not None:
            given = torch.arange(latents.shape[1], device=x.device)[None, :, None] < first[:, None, None]
            latents = torch.where(given, self.refined_tokens + refined, latents)
        x = torch.cat([x, latents + self.latent_pos_embed], 1)
        return self.visual_model(x, self.mask)[:, -latents.shape[1] :]


class Decoder(nn.Module):
    def __init__(self, numbers):
        super().__init__()
        side, self.patch, self.channels = numbers.decoder, numbers.decoder.patch, numbers.channels
        self.latent_pos_embed, self.mask_token = nn.Parameter(torch.empty(1, numbers.count, side.width)), nn.Parameter(torch.empty(1, 1, side.width))
        self.visual_model = VisualModel(side, numbers.channels, embeds=False)
        self.to_pixel = nn.Module()
        self.to_pixel.model = nn.Linear(side.width, side.patch**2 * numbers.channels)

    def forward(self, latents, size):
        """[B, t, width] -> [B, C, size, size]."""
        across = size // self.patch
        places = (self.mask_token + self.visual_model.positions(across)).expand(len(latents), -1, -1)
        x = torch.cat([places, latents + self.latent_pos_embed[:, : latents.shape[1]]], 1)
        return unpatched(self.to_pixel.model(self.visual_model(x)[:, : across**2]), self.patch, self.channels)


class Codebook(nn.Module):
    """V codes, normalised where the model says so."""

    def __init__(self, numbers):
        super().__init__()
        self.l2_norm = numbers.l2_norm
        self.embedding = nn.Embedding(numbers.codes, numbers.code_width)

    def normal(self, z):
        return functional.normalize(z, dim=-1) if self.l2_norm else z

    def rows(self):
        return self.normal(self.embedding.weight)

    def nearest(self, z, k=1):
        """The k nearest codes of each latent, nearest first: [..., k]."""
        with torch.autocast(z.device.type, enabled=False):  # in bf16 neighbours would change places
            book = self.rows().float()
            score = self.normal(z.float()) @ book.T
            if not self.l2_norm:
                score = score - 0.5 * (book**2).sum(-1)
        return score.argmax(-1, keepdim=True) if k == 1 else score.topk(k, -1).indices


class Tokenizer(nn.Module):
    """`numbers` is a `detailflow_onnx.model.Model`, or what has its numbers."""

    def __init__(self, numbers):
        super().__init__()
        self.numbers = numbers
        self.encoder, self.decoder, self.quantize = Encoder(numbers), Decoder(numbers), Codebook(numbers)
        self.quant_conv = nn.Linear(numbers.encoder.width, numbers.code_width)
        self.post_quant_conv = nn.Linear(numbers.code_width, numbers.decoder.width)
        self.refine_conv = nn.Linear(numbers.code_width, numbers.encoder.width)
        self.start()

    @torch.no_grad()
    def start(self):
        """Before training: small normal weights; those that end a branch start smaller, the deeper the model."""
        for name, value in self.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            elif value.ndim == 1:
                value.fill_(1)
            else:
                value.normal_(0, 0.02)
        for side, half in ((self.numbers.encoder, self.encoder), (self.numbers.decoder, self.decoder)):
            for layer in half.visual_model.encoder.layers:
                for part in (layer.self_attn.out_proj, layer.mlp.fc2):
                    part.weight.mul_((2 * side.depth) ** -0.5)
        self.quantize.embedding.weight.normal_()
        self.quantize.embedding.weight.copy_(functional.normalize(self.quantize.embedding.weight, dim=-1))

    def latents(self, images, noisy=None, first=None):
        """Pictures [B, C, S, S] -> [B, N, code width], before normalising and quantising. `noisy` [B, N, code width]: codes
        that stand before `first` [B] and are not to be changed."""
        refined = None if noisy is None else self.refine_conv(noisy)
        return self.quant_conv(self.encoder(images, refined, first))

    def pixels(self, codes, size):
        """Rows of the codebook, or latents in their place, [B, t, code width] -> [B, C, size, size]."""
        return self.decoder(self.post_quant_conv(codes), size)

    @torch.no_grad()
    def encode(self, images):
        """[B, C, S, S] in -1..1, premultiplied -> (latents [B, N, code width], ids [B, N])."""
        z = self.latents(images)
        return z, self.quantize.nearest(z).squeeze(-1)

    @torch.no_grad()
    def correct(self, images, noisy, first):
        """The ids that repair: `noisy` [B, N] up to `first`, and from there on what the encoder answers to that prefix."""
        first = torch.as_tensor(first, device=noisy.device).expand(len(images))
        z = self.latents(images, self.quantize.rows()[noisy], first)
        given = torch.arange(noisy.shape[1], device=noisy.device) < first[:, None]
        return torch.where(given, noisy, self.quantize.nearest(z).squeeze(-1))

    @torch.no_grad()
    def decode(self, ids, size):
        """The first t ids [B, t] -> [B, C, size, size], about -1..1."""
        return self.pixels(self.quantize.rows()[ids], size)


def ladder_of(numbers):
    """The manifest's `ladder.prefixes`."""
    return ladder.table(
        size=numbers.size, patch=numbers.decoder.patch, count=numbers.count, group=numbers.group, causal=numbers.causal, power=numbers.power
    )  # fmt: skip


def levels_of(numbers):
    """{size: tokens} of the levels, ascending: the decode sizes at t >= c, each with the largest t that has it."""
    return dict(sorted({row["size"]: row["tokens"] for row in ladder_of(numbers) if row["tokens"] >= numbers.causal}.items()))


NOTHING = dict.fromkeys(("ar", "tokenizer_weights", "ar_weights", "siglip_config", "encoder_heads", "decoder_heads", "labels", "name", "only"))


def open_tokenizer(folder):
    """A tokenizer checkpoint in the published layout, ready to use. Names that only training has may be missing."""
    numbers = checkpoint.open_model(argparse.Namespace(**NOTHING | {"tokenizer": str(Path(folder))}))
    module = Tokenizer(numbers)
    load(module, numbers.tokenizer, may_miss=("refine_conv.weight", "refine_conv.bias", "encoder.refined_tokens"))
    return module.eval()


@torch.no_grad()
def load(module, weights, may_miss=()):
    """Copy `weights` (names, shapes and values of a checkpoint) into `module`."""
    for name, value in module.state_dict().items():
        if name not in weights and name in may_miss:
            value.zero_()
            continue
        value.copy_(torch.from_numpy(weights.read(name)).view_as(value))

"""The tokenizer (section 3.1 of the paper): SigLIP2 layers on both sides and a codebook between them."""

import math
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.checkpoint import published
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.checkpoint.weights import Weights
from detailflow_onnx.numbers import resize, schedule
from detailflow_onnx.numbers.sizes import Side, TokenizerSizes
from detailflow_onnx.train.models.attention import Attend, attend

# Tensors that only training with self-correction has.
REFINEMENT = ("refine_conv.weight", "refine_conv.bias", "encoder.refined_tokens")


class SelfAttention(nn.Module):
    """Full attention with biases. `attend` can be replaced by another implementation."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.k_proj, self.v_proj, self.q_proj, self.out_proj = (nn.Linear(width, width) for _ in range(4))
        self.attend: Attend = attend

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """Attend over x [B, L, width]."""
        parts = self.q_proj, self.k_proj, self.v_proj
        weight, bias = torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts])
        q, k, v = functional.linear(x, weight, bias).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        y: torch.Tensor = self.out_proj(self.attend(q, k, v, mask).transpose(1, 2).flatten(2))
        return y


class Mlp(nn.Module):
    """Two linear layers with GELU."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """fc2(gelu(fc1 x))."""
        y: torch.Tensor = self.fc2(functional.gelu(self.fc1(x), approximate="tanh"))
        return y


class Layer(nn.Module):
    """A pre-norm SigLIP2 layer."""

    def __init__(self, side: Side) -> None:
        super().__init__()
        assert side.heads is not None
        self.layer_norm1 = nn.LayerNorm(side.width, side.eps)
        self.self_attn = SelfAttention(side.width, side.heads)
        self.layer_norm2 = nn.LayerNorm(side.width, side.eps)
        self.mlp = Mlp(side.width, side.hidden)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
        """One layer."""
        x = x + self.self_attn(self.layer_norm1(x), mask)
        y: torch.Tensor = x + self.mlp(self.layer_norm2(x))
        return y


class Embeddings(nn.Module):
    """Positions, and the patch embedding of a side that takes pictures."""

    def __init__(self, side: Side, channels: int, embeds: bool) -> None:
        super().__init__()
        if embeds:
            self.patch_embedding = nn.Linear(side.patch**2 * channels, side.width)
        self.position_embedding = nn.Embedding(side.grid**2, side.width)


class LayerStack(nn.Module):
    """The layers, under their published name."""

    def __init__(self, side: Side) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(side) for _ in range(side.depth))


class VisualModel(nn.Module):
    """A SigLIP2 backbone without its head. `embeds`: whether it takes pictures; the decoder has positions only."""

    def __init__(self, side: Side, channels: int, embeds: bool) -> None:
        super().__init__()
        self.embeddings, self.encoder = Embeddings(side, channels, embeds), LayerStack(side)
        self.post_layernorm = nn.LayerNorm(side.width, side.eps)
        self._resized: dict[int, torch.Tensor] = {}

    def positions(self, across: int) -> torch.Tensor:
        """[across^2, width]: the position table, resized as in an export; unchanged at its own size."""
        table = self.embeddings.position_embedding.weight
        grid = math.isqrt(len(table))
        if across == grid:
            return table
        if across not in self._resized:
            self._resized[across] = torch.from_numpy(resize.matrix(grid, across))
        m = self._resized[across] = self._resized[across].to(table)
        return torch.einsum("ai,bj,ijd->abd", m, m, table.view(grid, grid, -1)).flatten(0, 1)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """All layers and the last norm."""
        for layer in self.encoder.layers:
            x = layer(x, mask)
        y: torch.Tensor = self.post_layernorm(x)
        return y


def patches(images: torch.Tensor, patch: int) -> torch.Tensor:
    """[B, C, S, S] -> [B, (S/patch)^2, patch*patch*C]; inside a patch: row, column, channel."""
    b, c, s, _ = images.shape
    grid = images.view(b, c, s // patch, patch, s // patch, patch)
    return grid.permute(0, 2, 4, 3, 5, 1).reshape(b, (s // patch) ** 2, -1)


def unpatched(rows: torch.Tensor, patch: int, channels: int) -> torch.Tensor:
    """The inverse of `patches`."""
    b, n, _ = rows.shape
    across = math.isqrt(n)
    size = across * patch
    grid = rows.view(b, across, across, patch, patch, channels)
    return grid.permute(0, 5, 1, 3, 2, 4).reshape(b, channels, size, size)


class Encoder(nn.Module):
    """Patches attend to patches; latent i to all patches and to the latents up to the end of its group.

    Below c, a latent attends to the latents up to itself.
    """

    mask: torch.Tensor

    def __init__(self, numbers: TokenizerSizes) -> None:
        super().__init__()
        side, self.patch, n = numbers.encoder, numbers.encoder.patch, numbers.count
        self.latent_pos_embed, self.latent_tokens, self.refined_tokens = (
            nn.Parameter(torch.empty(1, n, side.width)) for _ in range(3)
        )
        self.visual_model = VisualModel(side, numbers.channels, embeds=True)
        last = schedule.encoder_last_visible(numbers)
        mask = np.where(np.arange(len(last))[None] <= last[:, None], np.float32(0), np.float32(-np.inf))
        self.register_buffer("mask", torch.from_numpy(mask), persistent=False)

    def forward(
        self, images: torch.Tensor, refined: torch.Tensor | None = None, first: torch.Tensor | None = None
    ) -> torch.Tensor:
        """[B, C, S, S] -> [B, N, width].

        With `refined` [B, N, width] and `first` [B], the latents before `first` are given, not computed, and the later
        ones attend to them.
        """
        x = patches(images, self.patch)
        x = self.visual_model.embeddings.patch_embedding(x) + self.visual_model.positions(math.isqrt(x.shape[1]))
        latents = self.latent_tokens.expand(len(x), -1, -1)
        if refined is not None and first is not None:
            given = torch.arange(latents.shape[1], device=x.device)[None, :, None] < first[:, None, None]
            latents = torch.where(given, self.refined_tokens + refined, latents)
        x = torch.cat([x, latents + self.latent_pos_embed], 1)
        y: torch.Tensor = self.visual_model(x, self.mask)[:, -latents.shape[1] :]
        return y


class ToPixel(nn.Module):
    """The output layer, under its published name."""

    def __init__(self, side: Side, channels: int) -> None:
        super().__init__()
        self.model = nn.Linear(side.width, side.patch**2 * channels)


class Decoder(nn.Module):
    """Latents to pixels, with full attention."""

    def __init__(self, numbers: TokenizerSizes) -> None:
        super().__init__()
        side, self.patch, self.channels = numbers.decoder, numbers.decoder.patch, numbers.channels
        self.latent_pos_embed = nn.Parameter(torch.empty(1, numbers.count, side.width))
        self.mask_token = nn.Parameter(torch.empty(1, 1, side.width))
        self.visual_model = VisualModel(side, numbers.channels, embeds=False)
        self.to_pixel = ToPixel(side, numbers.channels)

    def forward(self, latents: torch.Tensor, size: int) -> torch.Tensor:
        """[B, t, width] -> [B, C, size, size]."""
        across = size // self.patch
        x = (self.mask_token + self.visual_model.positions(across)).expand(len(latents), -1, -1)
        x = torch.cat([x, latents + self.latent_pos_embed[:, : latents.shape[1]]], 1)
        return unpatched(self.to_pixel.model(self.visual_model(x)[:, : across**2]), self.patch, self.channels)


class Codebook(nn.Module):
    """V codes, normalized if the model says so."""

    def __init__(self, numbers: TokenizerSizes) -> None:
        super().__init__()
        self.l2_norm = numbers.l2_norm
        self.embedding = nn.Embedding(numbers.codes, numbers.code_width)

    def normal(self, z: torch.Tensor) -> torch.Tensor:
        """z as it is compared with codes."""
        return functional.normalize(z, dim=-1) if self.l2_norm else z

    def rows(self) -> torch.Tensor:
        """All codes [V, code width]."""
        return self.normal(self.embedding.weight)

    def nearest(self, z: torch.Tensor, k: int = 1) -> torch.Tensor:
        """The k nearest codes of each latent, nearest first: [..., k]."""
        with torch.autocast(z.device.type, enabled=False):  # bf16 would swap neighbours
            book = self.rows().float()
            score = self.normal(z.float()) @ book.T
            if not self.l2_norm:
                score = score - 0.5 * (book**2).sum(-1)
        return score.argmax(-1, keepdim=True) if k == 1 else score.topk(k, -1).indices


class Tokenizer(nn.Module):
    """The tokenizer; with `decode_only`, the part of it that decodes."""

    def __init__(self, numbers: TokenizerSizes, *, decode_only: bool = False) -> None:
        super().__init__()
        self.numbers = numbers
        if not decode_only:
            self.encoder = Encoder(numbers)
        self.decoder, self.quantize = Decoder(numbers), Codebook(numbers)
        if not decode_only:
            self.quant_conv = nn.Linear(numbers.encoder.width, numbers.code_width)
        self.post_quant_conv = nn.Linear(numbers.code_width, numbers.decoder.width)
        if not decode_only:
            self.refine_conv = nn.Linear(numbers.code_width, numbers.encoder.width)
        self.initialize()

    @torch.no_grad()
    def initialize(self) -> None:
        """Initialize for training: small normal weights; the last layer of each branch smaller in deeper models."""
        for name, value in self.named_parameters():
            if name.endswith("bias"):
                value.zero_()
            elif value.ndim == 1:
                value.fill_(1)
            else:
                value.normal_(0, 0.02)
        for name, layer in self.named_modules():
            if isinstance(layer, Layer):
                side = self.numbers.encoder if name.startswith("encoder.") else self.numbers.decoder
                for part in (layer.self_attn.out_proj, layer.mlp.fc2):
                    part.weight.mul_((2 * side.depth) ** -0.5)
        self.quantize.embedding.weight.normal_()
        self.quantize.embedding.weight.copy_(functional.normalize(self.quantize.embedding.weight, dim=-1))

    def set_attention(self, attend: Attend) -> None:
        """Replace the attention implementation of every layer."""
        for module in self.modules():
            if isinstance(module, SelfAttention):
                module.attend = attend

    def latents(
        self, images: torch.Tensor, noisy: torch.Tensor | None = None, first: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Pictures [B, C, S, S] -> [B, N, code width], before normalization and quantization.

        `noisy` [B, N, code width]: codes that are given before `first` [B].
        """
        refined = None if noisy is None else self.refine_conv(noisy)
        z: torch.Tensor = self.quant_conv(self.encoder(images, refined, first))
        return z

    def pixels(self, codes: torch.Tensor, size: int) -> torch.Tensor:
        """Codebook rows (or latents instead) [B, t, code width] -> [B, C, size, size]."""
        y: torch.Tensor = self.decoder(self.post_quant_conv(codes), size)
        return y

    @torch.no_grad()
    def encode(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[B, C, S, S] in -1..1, premultiplied -> (latents [B, N, code width], ids [B, N])."""
        z = self.latents(images)
        return z, self.quantize.nearest(z).squeeze(-1)

    @torch.no_grad()
    def correct(self, images: torch.Tensor, noisy: torch.Tensor, first: torch.Tensor | int) -> torch.Tensor:
        """Corrected ids: `noisy` [B, N] before `first`, then what the encoder gives for that prefix."""
        start = torch.as_tensor(first, device=noisy.device).expand(len(images))
        z = self.latents(images, self.quantize.rows()[noisy], start)
        given = torch.arange(noisy.shape[1], device=noisy.device) < start[:, None]
        return torch.where(given, noisy, self.quantize.nearest(z).squeeze(-1))

    @torch.no_grad()
    def decode(self, ids: torch.Tensor, size: int) -> torch.Tensor:
        """The first t ids [B, t] -> [B, C, size, size], about -1..1."""
        return self.pixels(self.quantize.rows()[ids], size)


class OpenedTokenizer(Tokenizer):
    """A tokenizer that was read from a checkpoint."""

    numbers: Model


def open_tokenizer(folder: Path | str) -> OpenedTokenizer:
    """A tokenizer checkpoint in the published layout, ready for inference. REFINEMENT may be missing."""
    numbers = published.open_model(published.Source(tokenizer=str(Path(folder))))
    module = OpenedTokenizer(numbers)
    load(module, numbers.tokenizer, may_miss=REFINEMENT)
    return module.eval()


@torch.no_grad()
def load(module: nn.Module, weights: Weights, may_miss: tuple[str, ...] = ()) -> None:
    """Copy the tensors of a checkpoint into `module`. Missing tensors are refused; those in `may_miss` become zero."""
    for name, value in module.state_dict().items():
        if name not in weights and name in may_miss:
            value.zero_()
            continue
        value.copy_(torch.from_numpy(weights.read(name)).view_as(value))

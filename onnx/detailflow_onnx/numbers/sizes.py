"""The sizes of a model, and the tensor names and shapes that follow from them."""

from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class TokenSequence:
    """`count` tokens: the first `causal` are sampled one by one, the others in groups of `group`."""

    count: int
    group: int
    causal: int

    @property
    def steps(self) -> list[int]:
        """How many positions each step predicts."""
        return [1] * self.causal + [self.group] * ((self.count - self.causal) // self.group)


@dataclass(frozen=True)
class Side:
    """The encoder or the decoder: SigLIP2 layers."""

    prefix: str
    width: int
    depth: int
    heads: int | None  # follows from no tensor shape; None if no graph of this side is built
    hidden: int
    patch: int
    grid: int  # side of the position table
    eps: float


@dataclass(frozen=True)
class Ar:
    """The layers of the autoregressive model."""

    width: int
    depth: int
    heads: int
    kv_heads: int
    hidden: int
    rope_base: float
    eps: float

    @property
    def head_dim(self) -> int:
        """Features of one head."""
        return self.width // self.heads


@dataclass(frozen=True)
class TokenizerSizes(TokenSequence):
    """All sizes of a tokenizer."""

    size: int
    channels: int
    codes: int
    code_width: int
    l2_norm: bool
    power: float
    encoder: Side
    decoder: Side


@dataclass(frozen=True)
class ArSizes(TokenSequence):
    """All sizes of an autoregressive model."""

    codes: int
    classes: int
    ar: Ar


def side_shapes(side: Side, channels: int, count: int) -> Shapes:
    """Name and shape of every tensor of the encoder or the decoder."""
    d, h, pixels = side.width, side.hidden, side.patch**2 * channels
    root = side.prefix + "."
    out: Shapes = {}
    if side.prefix == "encoder":
        out |= {root + "latent_tokens": (1, count, d)}
        out |= {root + "visual_model.embeddings.patch_embedding.weight": (d, pixels)}
        out |= {root + "visual_model.embeddings.patch_embedding.bias": (d,)}
    else:
        out |= {root + "mask_token": (1, 1, d)}
        out |= {root + "to_pixel.model.weight": (pixels, d), root + "to_pixel.model.bias": (pixels,)}
    out |= {root + "latent_pos_embed": (1, count, d)}
    out |= {root + "visual_model.embeddings.position_embedding.weight": (side.grid**2, d)}
    parts: Shapes = {"layer_norm1": (d,), "layer_norm2": (d,), "mlp.fc1": (h, d), "mlp.fc2": (d, h)}
    parts |= {f"self_attn.{n}_proj": (d, d) for n in ("q", "k", "v", "out")}
    for i in range(side.depth):
        for part, shape in parts.items():
            name = f"{root}visual_model.encoder.layers.{i}.{part}"
            out |= {name + ".weight": shape, name + ".bias": shape[:1]}
    norm = root + "visual_model.post_layernorm"
    return out | {norm + ".weight": (d,), norm + ".bias": (d,)}


def tokenizer_shapes(encoder: Side, decoder: Side, *, channels: int, count: int, codes: int, code_width: int) -> Shapes:
    """Name and shape of every tensor of the tokenizer that inference uses."""
    out = side_shapes(encoder, channels, count) | side_shapes(decoder, channels, count)
    out |= {"quant_conv.weight": (code_width, encoder.width), "quant_conv.bias": (code_width,)}
    out |= {"post_quant_conv.weight": (decoder.width, code_width), "post_quant_conv.bias": (decoder.width,)}
    return out | {"quantize.embedding.weight": (codes, code_width)}


def ar_shapes(ar: Ar, *, codes: int, group: int, classes: int) -> Shapes:
    """Name and shape of every tensor of the autoregressive model."""
    d, h = ar.width, ar.hidden
    out: Shapes = {"tok_embeddings.weight": (codes, d), "cls_embedding.embedding_table.weight": (classes + 1, d)}
    if group > 1:
        out["spe_tok_embeddings.special_embeddings.weight"] = (group - 1, d)
    for i in range(ar.depth):
        p = f"layers.{i}."
        out |= {p + "attention_norm.weight": (d,), p + "ffn_norm.weight": (d,)}
        out |= {p + "attention.wqkv.weight": (d + 2 * ar.kv_heads * ar.head_dim, d), p + "attention.wo.weight": (d, d)}
        out |= {p + "feed_forward.w1.weight": (h, d), p + "feed_forward.w3.weight": (h, d)}
        out |= {p + "feed_forward.w2.weight": (d, h)}
    return out | {"norm.weight": (d,), "output.weight": (codes, d)}

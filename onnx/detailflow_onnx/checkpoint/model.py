"""What a model is: its numbers, its tensors by name and shape, and what of it cannot be exported."""

from dataclasses import dataclass

from detailflow_onnx.errors import need
from detailflow_onnx.checkpoint.weights import Weights


@dataclass(frozen=True)
class Side:
    """The encoder or the decoder: SigLIP2 layers."""

    prefix: str
    width: int
    depth: int
    heads: int | None  # no tensor's shape depends on it; None where no graph is made
    hidden: int
    patch: int
    grid: int  # side of the position table
    eps: float


@dataclass(frozen=True)
class Ar:
    """The autoregressive model."""

    width: int
    depth: int
    heads: int
    kv_heads: int
    hidden: int
    rope_base: float
    eps: float

    @property
    def head_width(self):
        return self.width // self.heads


@dataclass(frozen=True)
class Model:
    """`ar` and `ar_weights` are None where only the tokenizer was given; `classes` may be empty then."""

    name: str
    size: int
    channels: int
    count: int
    group: int
    causal: int
    codes: int
    code_width: int
    l2_norm: bool
    power: float
    classes: tuple
    encoder: Side
    decoder: Side
    ar: Ar | None
    tokenizer: Weights
    ar_weights: Weights | None

    @property
    def first_class(self):
        return self.codes

    @property
    def no_class(self):
        return self.codes + len(self.classes)

    @property
    def special(self):
        return self.no_class + 1

    @property
    def rows(self):
        """Rows of the one embedding table: codes, classes, "no class", special tokens."""
        return self.special + self.group - 1


def side_shapes(side, channels, count):
    d, h, pixels = side.width, side.hidden, side.patch**2 * channels
    root, out = side.prefix + ".", {}
    if side.prefix == "encoder":
        out |= {root + "latent_tokens": (1, count, d)}
        out |= {root + "visual_model.embeddings.patch_embedding.weight": (d, pixels)}
        out |= {root + "visual_model.embeddings.patch_embedding.bias": (d,)}
    else:
        out |= {root + "mask_token": (1, 1, d), root + "to_pixel.model.weight": (pixels, d), root + "to_pixel.model.bias": (pixels,)}
    out |= {root + "latent_pos_embed": (1, count, d), root + "visual_model.embeddings.position_embedding.weight": (side.grid**2, d)}
    parts = {"layer_norm1": (d,), "layer_norm2": (d,), "mlp.fc1": (h, d), "mlp.fc2": (d, h)}
    parts |= {f"self_attn.{n}_proj": (d, d) for n in ("q", "k", "v", "out")}
    for i in range(side.depth):
        for part, shape in parts.items():
            name = f"{root}visual_model.encoder.layers.{i}.{part}"
            out |= {name + ".weight": shape, name + ".bias": shape[:1]}
    norm = root + "visual_model.post_layernorm"
    return out | {norm + ".weight": (d,), norm + ".bias": (d,)}


def tokenizer_shapes(encoder, decoder, *, channels, count, codes, code_width):
    """Every tensor of the tokenizer that inference uses."""
    out = side_shapes(encoder, channels, count) | side_shapes(decoder, channels, count)
    out |= {"quant_conv.weight": (code_width, encoder.width), "quant_conv.bias": (code_width,)}
    out |= {"post_quant_conv.weight": (decoder.width, code_width), "post_quant_conv.bias": (decoder.width,)}
    return out | {"quantize.embedding.weight": (codes, code_width)}


def ar_shapes(ar, *, codes, group, classes):
    """Every tensor of the autoregressive model."""
    d, h = ar.width, ar.hidden
    out = {"tok_embeddings.weight": (codes, d), "cls_embedding.embedding_table.weight": (classes + 1, d)}
    if group > 1:
        out["spe_tok_embeddings.special_embeddings.weight"] = (group - 1, d)
    for i in range(ar.depth):
        p = f"layers.{i}."
        out |= {p + "attention_norm.weight": (d,), p + "ffn_norm.weight": (d,)}
        out |= {p + "attention.wqkv.weight": (d + 2 * ar.kv_heads * ar.head_width, d), p + "attention.wo.weight": (d, d)}
        out |= {p + "feed_forward.w1.weight": (h, d), p + "feed_forward.w3.weight": (h, d), p + "feed_forward.w2.weight": (d, h)}
    return out | {"norm.weight": (d,), "output.weight": (codes, d)}


def shapes(model):
    """(tokenizer, ar): {name: shape} of all that a bundle depends on."""
    sizes = dict(channels=model.channels, count=model.count, codes=model.codes, code_width=model.code_width)
    tokenizer = tokenizer_shapes(model.encoder, model.decoder, **sizes)
    return tokenizer, ar_shapes(model.ar, codes=model.codes, group=model.group, classes=len(model.classes)) if model.ar else {}


def _divides(part, whole, sentence):
    need(part >= 1 and whole % part == 0, sentence)


def check(model):
    """Refuse what contradicts itself or what the graphs cannot compute; then every name and shape."""
    n, g, c = model.count, model.group, model.causal
    need(n >= 1 and g >= 1 and 1 <= c <= n, f"num_latent_tokens {n}, group_size {g} and causal_num {c} contradict each other")
    need(n % g == 0, f"num_latent_tokens {n} is not a multiple of group_size {g}")
    need(c % g == 0, f"causal_num {c} is not a multiple of group_size {g}")
    need(model.channels in (3, 4), f"in_channels {model.channels} is unknown; 3 (RGB) or 4 (premultiplied RGBA) is needed")
    need(model.codes >= 2, f"codebook_size {model.codes} is too small")
    need(0 < model.power < 1000, f"degradation_power {model.power} is not a positive number")
    for side, key in ((model.encoder, "enc_patch_size"), (model.decoder, "dec_patch_size")):
        _divides(side.patch, model.size, f"{key} {side.patch} does not divide max_image_size {model.size}")
        if side.heads is not None:
            _divides(side.heads, side.width, f"{side.heads} heads do not divide the {side.prefix}'s width {side.width}")
    if ar := model.ar:
        _divides(ar.heads, ar.width, f"n_head {ar.heads} does not divide dim {ar.width}")
        _divides(ar.kv_heads, ar.heads, f"n_kv_head {ar.kv_heads} does not divide n_head {ar.heads}")
        need(ar.head_width % 4 == 0, f"dim {ar.width} over n_head {ar.heads} gives heads of width {ar.head_width}, which is not a multiple of 4")
    for weights, wanted in zip((model.tokenizer, model.ar_weights), shapes(model)):
        for name, shape in wanted.items():
            have = weights.shape(name)
            need(have == shape, f"{weights.origin}: the tensor {name} has the shape {list(have)}, and {list(shape)} fits this model")
    return model

"""A model: its sizes, its class names, and its tensors by name."""

from dataclasses import dataclass

from detailflow_onnx.checkpoint.weights import Weights
from detailflow_onnx.errors import need
from detailflow_onnx.numbers.sizes import Ar, Shapes, TokenizerSizes, ar_shapes, tokenizer_shapes


@dataclass(frozen=True)
class Model(TokenizerSizes):
    """`ar` and `ar_weights` are None if only the tokenizer was given; `classes` may be empty then."""

    name: str
    classes: tuple[str, ...]
    ar: Ar | None
    tokenizer: Weights
    ar_weights: Weights | None

    @property
    def first_class(self) -> int:
        """Row of the first class in the embedding table."""
        return self.codes

    @property
    def no_class(self) -> int:
        """Row of "no class", the unconditional input of guidance."""
        return self.codes + len(self.classes)

    @property
    def special(self) -> int:
        """Row of the first special token."""
        return self.no_class + 1

    @property
    def embedding_rows(self) -> int:
        """Rows of the embedding table: codes, classes, "no class", special tokens."""
        return self.special + self.group - 1

    @property
    def autoregressive(self) -> tuple[Ar, Weights]:
        """Sizes and weights of the AR model; refused if only the tokenizer was given."""
        if self.ar is None or self.ar_weights is None:
            raise AssertionError(f"{self.name}: the AR model was not opened")
        return self.ar, self.ar_weights


def shapes(model: Model) -> tuple[Shapes, Shapes]:
    """(tokenizer, AR model): name and shape of every tensor that a bundle depends on."""
    tokenizer = tokenizer_shapes(
        model.encoder,
        model.decoder,
        channels=model.channels,
        count=model.count,
        codes=model.codes,
        code_width=model.code_width,
    )
    if model.ar is None:
        return tokenizer, {}
    return tokenizer, ar_shapes(model.ar, codes=model.codes, group=model.group, classes=len(model.classes))


def _divides(part: int, total: int, sentence: str) -> None:
    need(part >= 1 and total % part == 0, sentence)


def check(model: Model) -> Model:
    """Refuse sizes that contradict each other or that the graphs cannot compute, then check every name and shape."""
    n, g, c = model.count, model.group, model.causal
    consistent = n >= 1 and g >= 1 and 1 <= c <= n
    need(consistent, f"num_latent_tokens {n}, group_size {g} and causal_num {c} contradict each other")
    need(n % g == 0, f"num_latent_tokens {n} is not a multiple of group_size {g}")
    need(c % g == 0, f"causal_num {c} is not a multiple of group_size {g}")
    need(1 <= model.size <= 1 << 14, f"max_image_size is {model.size}; 1 to 16384 are allowed")
    channels = f"in_channels is {model.channels}; 3 (RGB) or 4 (premultiplied RGBA) is needed"
    need(model.channels in (3, 4), channels)
    need(model.codes >= 2, f"codebook_size is {model.codes}; at least 2 is needed")
    need(0 < model.power < 1000, f"degradation_power is {model.power}; a positive number is needed")
    for side, key in ((model.encoder, "enc_patch_size"), (model.decoder, "dec_patch_size")):
        _divides(side.patch, model.size, f"{key} {side.patch} does not divide max_image_size {model.size}")
        if side.heads is not None:
            sentence = f"the head count {side.heads} does not divide the {side.prefix} width {side.width}"
            _divides(side.heads, side.width, sentence)
    if ar := model.ar:
        _divides(ar.heads, ar.width, f"n_head {ar.heads} does not divide dim {ar.width}")
        _divides(ar.kv_heads, ar.heads, f"n_kv_head {ar.kv_heads} does not divide n_head {ar.heads}")
        head_dim = f"dim {ar.width} / n_head {ar.heads} gives head_dim {ar.head_dim}; a multiple of 4 is needed"
        need(ar.head_dim % 4 == 0, head_dim)
    tokenizer, autoregressive = shapes(model)
    _check_shapes(model.tokenizer, tokenizer)
    if model.ar_weights is not None:
        _check_shapes(model.ar_weights, autoregressive)
    return model


def _check_shapes(weights: Weights, wanted: Shapes) -> None:
    for name, shape in wanted.items():
        have = weights.shape(name)
        text = f"{weights.origin}: the tensor {name} has the shape {list(have)}; this model needs {list(shape)}"
        need(have == shape, text)

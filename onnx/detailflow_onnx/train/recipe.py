"""A recipe: the YAML file that describes the data, the models, and how each stage is trained.

Sections `data`, `tokenizer` (with `model` and `train`), `codes`, `ar` (likewise). Missing keys have their default;
unknown keys are refused. The names of the fields below are the keys of the file.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

from detailflow_onnx import yaml_file
from detailflow_onnx.checkpoint.layout import check_heads
from detailflow_onnx.errors import Refused, brief, need, shown
from detailflow_onnx.files import check_name, read_bytes
from detailflow_onnx.numbers.sizes import Ar, Side, TokenizerSizes


@dataclass(frozen=True)
class Data:
    """Section `data`."""

    size: int = 256  # pixels a side
    channels: int = 3  # 3: RGB; 4: RGBA, premultiplied
    held_out: float = 0.05  # share of each class that is held out, if the folder has no val/
    balance: float = 0.0  # 0: pictures in file order; 1: every class equally often
    flips: bool = True  # mirror half of the pictures left to right
    hue: float = 0.0  # probability that the hue of a picture is rotated
    recolour: float = 0.0  # probability that two parts of the hues of a picture are rotated apart
    shift: int = 0  # most pixels by which a picture moves within its transparent border
    wrap: bool = False  # move tiles that repeat around their edges
    drawings: bool = False  # `balance` chooses the drawing before its colouring
    workers: int = 0  # processes that read pictures ahead


@dataclass(frozen=True)
class SideSize:
    """Sizes of the encoder or the decoder."""

    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    patch: int = 16


@dataclass(frozen=True)
class TokenizerModel:
    """Section `tokenizer.model`."""

    count: int = 128  # tokens, N
    group: int = 8  # g
    causal: int = 8  # c
    codes: int = 8192  # V
    code_width: int = 8
    l2_norm: bool = True
    power: float = 1.5  # of the ladder
    encoder: SideSize = SideSize()
    decoder: SideSize = SideSize()
    backbone: str = ""  # folder or file of SigLIP2 weights to start from


@dataclass(frozen=True)
class ArModel:
    """Section `ar.model`."""

    width: int = 1024
    depth: int = 24
    heads: int = 16
    kv_heads: int = 0  # 0: as many as heads
    hidden: int = 0  # 0: 8/3 of the width, rounded up to a multiple of 64
    rope_base: float = 10000.0


@dataclass(frozen=True)
class Optimising:
    """The keys that `tokenizer.train` and `ar.train` share."""

    steps: int = 100000
    batch: int = 256  # pictures per step, over all processes
    accumulate: int = 1  # parts of a process's share of a batch, computed one after the other to save memory
    optimizer: str = "adamw"  # muon: Muon for the matrices of the layers, AdamW for the rest
    lr: float = 1e-4
    matrix_lr: float = 1e-3  # learning rate of Muon
    betas: tuple[float, ...] = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup: int = 1000  # steps of rising learning rate
    final: float = 0.0  # share of the learning rate at the end of the cosine
    clip: float = 1.0  # largest gradient norm; 0: off
    ema: float = 0.9999  # 0: off
    precision: str = "fp32"  # bf16: autocast
    seed: int = 0
    log: int = 20  # steps between lines
    save: int = 1000  # steps between checkpoints
    sheet: int = 1000  # steps between sheets of pictures; 0: none
    best: bool = False  # publish the checkpoint with the best held-out figure instead of the last one


@dataclass(frozen=True)
class TokenizerTrain(Optimising):
    """Section `tokenizer.train`."""

    l2: float = 1.0
    log_l2: float = 0.0  # log of each picture's L2, as in the mean PSNR: simple pictures count as much as detailed ones
    l1: float = 0.0
    edges: float = 0.0  # L1 of differences of neighbouring pixels
    perceptual: float = 0.0
    perceptual_model: str = ""  # name of a timm or torchvision model, or NAME=FILE with its weights
    gan: float = 0.0
    gan_start: int = 20000
    gan_lr: float = 1e-4
    gan_augment: bool = True  # augment the discriminator's input: colour, translation, cutout
    codebook: float = 1.0
    commitment: float = 0.25
    align: float = 0.0  # alignment of the first token with pooled features
    align_model: str = ""  # like perceptual_model
    truncate: float = 0.2  # share of the pictures also decoded from a prefix and compared at its resolution
    correct: float = 0.2  # share of the pictures trained with self-correction
    near: int = 50  # self-correction replaces a token by one of this many nearest codes
    continuous: int = 0  # steps before quantization starts; the codebook is then the k-means of the latents
    revive: int = 0  # steps between revivals of codes unused since the last one; 0: never
    revive_until: float = 0.7  # share of the steps after which no code is revived
    parts: str = "all"  # decoder: only the decoder of the tokenizer that the run starts from is trained
    searched: float = 0.0  # with parts decoder: pictures decoded from searched tokens, relative to the batch
    effort: int = 2  # of that search


@dataclass(frozen=True)
class Codes:
    """Section `codes`."""

    variants: int = 10  # times each picture is encoded: once unchanged, then augmented
    # As in `data`, for the codes alone: the larger of both counts.
    recolour: float = 0.0
    shift: int = 0
    wrap: bool = False
    drawings: bool = False
    batch: int = 256
    seed: int = 0


@dataclass(frozen=True)
class ArTrain(Optimising):
    """Section `ar.train`."""

    class_dropout: float = 0.1
    noisy: float = 0.3  # share of the sequences with a noisy prefix and its correction as target
    dropout: float = 0.1  # of the output of attention and MLP
    token_dropout: float = 0.1  # of embeddings
    swap: float = 0.0  # share of the sequences that go on after the coarsest level as a similar drawing does
    smoothing: float = 0.0  # label smoothing
    balance: float = 0.0
    embeddings: tuple[str, ...] = ()  # classes whose embeddings alone are trained, for logits combined by guidance
    guidance: float = 1.5  # of the sheets
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class TokenizerPart:
    """Section `tokenizer`."""

    model: TokenizerModel = TokenizerModel()
    train: TokenizerTrain = TokenizerTrain()


@dataclass(frozen=True)
class ArPart:
    """Section `ar`."""

    model: ArModel = ArModel()
    train: ArTrain = ArTrain()


@dataclass(frozen=True)
class Recipe:
    """A complete recipe."""

    name: str = ""  # of the model, and of its bundle
    license: str = ""  # of the weights: an SPDX expression or a sentence, for the bundle
    data: Data = Data()
    tokenizer: TokenizerPart = TokenizerPart()
    codes: Codes = Codes()
    ar: ArPart = ArPart()
    text: str = field(default="", compare=False)  # the content of the file, copied beside the checkpoints

    @property
    def code_data(self) -> Data:
        """`data` for the codes."""
        data, codes = self.data, self.codes
        return dataclasses.replace(
            data,
            recolour=max(data.recolour, codes.recolour),
            shift=max(data.shift, codes.shift),
            wrap=data.wrap or codes.wrap,
            drawings=data.drawings or codes.drawings,
        )

    @property
    def numbers(self) -> TokenizerSizes:
        """The sizes of the tokenizer."""
        model, data = self.tokenizer.model, self.data

        def side(prefix: str, size: SideSize) -> Side:
            grid = data.size // size.patch
            return Side(prefix, size.width, size.depth, size.heads, size.hidden, size.patch, grid, 1e-6)

        return TokenizerSizes(
            size=data.size,
            channels=data.channels,
            count=model.count,
            group=model.group,
            causal=model.causal,
            codes=model.codes,
            code_width=model.code_width,
            l2_norm=model.l2_norm,
            power=model.power,
            encoder=side("encoder", model.encoder),
            decoder=side("decoder", model.decoder),
        )

    @property
    def ar_sizes(self) -> Ar:
        """The sizes of the AR model."""
        ar = self.ar.model
        hidden = ar.hidden or -(-(8 * ar.width // 3) // 64) * 64
        return Ar(ar.width, ar.depth, ar.heads, ar.kv_heads or ar.heads, hidden, ar.rope_base, 1e-5)


def shipped() -> list[str]:
    """Names of the recipes in the package."""
    files = resources.files(__package__).joinpath("configs").iterdir()
    return sorted(item.name[:-5] for item in files if item.name.endswith(".yaml"))


LARGEST = 1 << 53  # of a number


def _numbers(value: Any, origin: str, key: str) -> tuple[float, ...]:
    valid = isinstance(value, list) and all(type(v) in (int, float) and abs(v) < LARGEST for v in value)
    need(valid, f"{origin}: {key} is {shown(value)}; a list of numbers below 2^53 is needed")
    return tuple(map(float, value))


def _names(value: Any, origin: str, key: str) -> tuple[str, ...]:
    valid = isinstance(value, list) and all(isinstance(v, str) for v in value)
    need(valid, f"{origin}: {key} is {shown(value)}; a list of class names is needed")
    return tuple(value)


def _value(kind: Any, value: Any, origin: str, key: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _section(kind, value, origin, key + ".")
    if kind == tuple[float, ...]:
        return _numbers(value, origin, key)
    if kind == tuple[str, ...]:
        return _names(value, origin, key)
    if kind is float and isinstance(value, str):
        try:
            value = float(value)  # YAML reads 1e-4 as a string
        except ValueError:
            pass
    if kind is float and type(value) is int and abs(value) < LARGEST:
        value = float(value)
    valid = isinstance(value, kind) and (kind is bool or not isinstance(value, bool))
    need(valid, f"{origin}: {key} is {shown(value)}; {kind.__name__} is needed")
    if kind in (int, float):
        need(value < LARGEST, f"{origin}: {key} is {shown(value)}; it must be below 2^53")
        need(value >= 0, f"{origin}: {key} is {shown(value)}; it must not be negative")
    if kind is str:
        check_name(value, f"{origin}: the value of {key},")
    return value


def _section(kind: Any, values: Any, origin: str, prefix: str = "") -> Any:
    values = {} if values is None else values
    need(isinstance(values, dict), f"{origin}: {prefix[:-1] or 'the file'} is not a mapping")
    known = {f.name: f.type for f in dataclasses.fields(kind) if f.name != "text"}
    for key in values:
        unknown = f"{origin}: the key {prefix}{brief(key)} is unknown; allowed are {', '.join(known)}"
        need(key in known, unknown)
    return kind(**{key: _value(known[key], value, origin, prefix + str(key)) for key, value in values.items()})


Check = Callable[[object, str], None]

SHARES = {
    "tokenizer": ("truncate", "correct", "revive_until", "final"),
    "ar": ("class_dropout", "noisy", "dropout", "token_dropout", "swap", "smoothing", "balance", "final", "top_p"),
}


def _check_models(recipe: Recipe, check: Check, origin: str) -> None:
    data, model, ar = recipe.data, recipe.tokenizer.model, recipe.ar.model
    check(data.channels in (3, 4), f"data.channels is {data.channels}; 3 (RGB) or 4 (RGBA) is needed")
    for share in ("held_out", "balance", "hue", "recolour"):
        check(getattr(data, share) <= 1, f"data.{share} is {getattr(data, share)}; a share of at most 1 is needed")
    n, g, c = model.count, model.group, model.causal
    check(min(n, g, c) >= 1, "tokenizer.model: count, group and causal must be at least 1")
    multiples = n % g == 0 and c % g == 0 and c <= n
    check(
        multiples, f"tokenizer.model: count {n} and causal {c} must be multiples of group {g}, and causal at most count"
    )
    positive = model.codes >= 2 and model.power > 0 and model.code_width >= 1
    check(positive, "tokenizer.model: codes must be at least 2, code_width and power positive")
    for name, side in (("encoder", model.encoder), ("decoder", model.decoder)):
        section = f"tokenizer.model.{name}"
        check(min(dataclasses.astuple(side)) >= 1, f"{section}: every size must be at least 1")
        check(data.size % side.patch == 0, f"{section}.patch {side.patch} does not divide data.size {data.size}")
        check(side.width % side.heads == 0, f"{section}.heads {side.heads} does not divide the width {side.width}")
    steps = c + (n - c) // g
    check(steps > 1, "tokenizer.model: a picture of one step has no later tokens to correct; more tokens are needed")
    encoder, decoder = model.encoder, model.decoder
    check_heads((encoder.width, encoder.heads), (decoder.width, decoder.heads), f"{origin}: tokenizer.model")
    check(min(ar.width, ar.depth, ar.heads) >= 1, "ar.model: every size must be at least 1")
    head_dim = ar.width % ar.heads == 0 and ar.width // ar.heads % 4 == 0
    check(head_dim, f"ar.model: width {ar.width} / heads {ar.heads} must be a multiple of 4")
    grouped = ar.heads % (ar.kv_heads or ar.heads) == 0
    check(grouped, f"ar.model: kv_heads {ar.kv_heads} does not divide heads {ar.heads}")


def _check_training(part: str, train: Optimising, check: Check) -> None:
    check(
        train.optimizer in ("adamw", "muon"),
        f"{part}.optimizer is {shown(train.optimizer)}; allowed are adamw and muon",
    )
    check(
        train.precision in ("fp32", "bf16"), f"{part}.precision is {shown(train.precision)}; allowed are fp32 and bf16"
    )
    counts = min(train.steps, train.batch, train.log, train.save, train.accumulate)
    check(counts >= 1, f"{part}: steps, batch, log, save and accumulate must be at least 1")
    check(train.ema < 1 and len(train.betas) == 2, f"{part}: ema must be below 1, and betas two numbers")
    check(all(0 <= beta < 1 for beta in train.betas), f"{part}.betas {list(train.betas)} must be from 0 to below 1")
    check(train.lr > 0 and train.matrix_lr > 0, f"{part}: lr and matrix_lr must be above 0")
    for name in SHARES[part.split(".")[0]]:
        check(getattr(train, name) <= 1, f"{part}.{name} is {getattr(train, name)}; a share of at most 1 is needed")


def _check(recipe: Recipe, origin: str) -> Recipe:
    def check(condition: object, sentence: str) -> None:
        need(condition, f"{origin}: {sentence}")

    train, codes = recipe.tokenizer.train, recipe.codes
    _check_models(recipe, check, origin)
    _check_training("tokenizer.train", train, check)
    _check_training("ar.train", recipe.ar.train, check)
    seeds = {"tokenizer.train": train.seed, "ar.train": recipe.ar.train.seed, "codes": codes.seed}
    for part, seed in seeds.items():
        check(seed < 1 << 31, f"{part}.seed is {seed}; it must be below 2^31")
    tuned = recipe.ar.train
    positive = not tuned.embeddings or (tuned.guidance > 0 and tuned.temperature > 0)
    check(positive, "ar.train.embeddings needs a guidance and a temperature above 0")
    check(train.near >= 1, "tokenizer.train.near must be at least 1")
    parts = shown(train.parts)
    check(train.parts in ("all", "decoder"), f"tokenizer.train.parts is {parts}; allowed are all and decoder")
    alone = train.parts == "decoder" or not train.searched
    check(alone, "tokenizer.train.searched needs tokenizer.train.parts decoder: tokens change with the encoder")
    check(1 <= train.effort <= 4, f"tokenizer.train.effort is {train.effort}; 1 to 4 are allowed")
    check(train.l2 + train.log_l2 + train.l1 > 0, "tokenizer.train: one of l2, log_l2 and l1 must be above 0")
    for loss, model in (("perceptual", "perceptual_model"), ("align", "align_model")):
        missing = getattr(train, loss) and not getattr(train, model)
        check(not missing, f"tokenizer.train.{loss} needs {model}: a model of timm or torchvision")
    check(codes.recolour <= 1, f"codes.recolour is {codes.recolour}; a share of at most 1 is needed")
    check(codes.variants >= 1 and codes.batch >= 1, "codes: variants and batch must be at least 1")
    return recipe


def _content(name: Path | str) -> tuple[str, bytes]:
    """(the name of the recipe, its bytes)."""
    path = Path(name)
    if str(name) in shipped() and not path.is_file():
        return str(name), resources.files(__package__).joinpath("configs", f"{name}.yaml").read_bytes()
    try:
        return path.name.removesuffix(".yaml"), read_bytes(path, yaml_file.MAX_BYTES)
    except Refused as error:
        raise Refused(f"{error}; the recipes in the package are {', '.join(shipped())}") from None


def read(name: Path | str) -> Recipe:
    """The recipe in the file `name`, or the recipe of that name in the package."""
    short, data = _content(name)
    text, values = yaml_file.parse(data, str(name))
    recipe: Recipe = _section(Recipe, values, str(name))
    named = dataclasses.replace(recipe, name=recipe.name or short, text=text)
    return _check(named, str(name))

"""A recipe: the YAML file that says what data, what model, and how each stage is trained.

Sections `data`, `tokenizer` (with `model` and `train`), `codes`, `ar` (likewise). What is not written takes its default; a key
that is not known is refused, with those that are.
"""

import dataclasses
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from types import SimpleNamespace

from detailflow_onnx.errors import Refused, need
from detailflow_onnx.checkpoint.model import Ar, Side


@dataclass(frozen=True)
class Data:
    size: int = 256  # pixels a side
    channels: int = 3  # 3: RGB; 4: RGBA, premultiplied
    held_out: float = 0.05  # share of each class that is never trained on, where the folder has no split of its own
    balance: float = 0.0  # 0: pictures as they lie; 1: every class equally often
    flips: bool = True  # left to right
    hue: float = 0.0  # probability that the colours of a picture are turned
    workers: int = 0  # processes that read pictures ahead


@dataclass(frozen=True)
class SideSize:
    width: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    patch: int = 16


@dataclass(frozen=True)
class TokenizerModel:
    count: int = 128  # tokens, N
    group: int = 8  # g
    causal: int = 8  # c
    codes: int = 8192  # V
    code_width: int = 8
    l2_norm: bool = True
    power: float = 1.5  # of the ladder
    encoder: SideSize = SideSize()
    decoder: SideSize = SideSize()
    backbone: str = ""  # folder or file of SigLIP2 weights to begin the encoder and the decoder with


@dataclass(frozen=True)
class ArModel:
    width: int = 1024
    depth: int = 24
    heads: int = 16
    kv_heads: int = 0  # 0: as many as heads
    hidden: int = 0  # 0: two thirds of 4 widths, rounded up to 64
    rope_base: float = 10000.0


@dataclass(frozen=True)
class Optimising:
    """What both trained stages share."""

    steps: int = 100000
    batch: int = 256  # pictures a step, over all processes
    accumulate: int = 1  # parts that a process takes its share of a batch in, one after the other: less memory, as much work
    optimizer: str = "adamw"  # muon: that for the matrices of the layers, AdamW for the rest
    lr: float = 1e-4
    matrix_lr: float = 1e-3  # of muon
    betas: tuple = (0.9, 0.95)
    weight_decay: float = 0.05
    warmup: int = 1000  # steps of rising learning rate
    final: float = 0.0  # share of the learning rate that the cosine ends at
    clip: float = 1.0  # norm of the gradient; 0: off
    ema: float = 0.9999  # 0: off
    precision: str = "fp32"  # bf16: autocast
    seed: int = 0
    log: int = 20  # steps between lines
    save: int = 1000  # steps between checkpoints
    sheet: int = 1000  # steps between sheets of pictures; 0: none


@dataclass(frozen=True)
class TokenizerTrain(Optimising):
    l2: float = 1.0
    log_l2: float = 0.0  # the logarithm of each picture's L2: what the mean PSNR is made of; plain pictures count as much as busy ones
    l1: float = 0.0
    edges: float = 0.0  # L1 between differences of neighbouring pixels
    perceptual: float = 0.0
    perceptual_model: str = ""  # a timm or torchvision model's name, or that and =FILE of its weights
    gan: float = 0.0
    gan_start: int = 20000
    gan_lr: float = 1e-4
    gan_augment: bool = True  # colour, translation and cutout of what the discriminator sees
    codebook: float = 1.0
    commitment: float = 0.25
    align: float = 0.0  # of the first token with pooled features
    align_model: str = ""  # as perceptual_model
    truncate: float = 0.2  # share of the pictures that are also shown by few tokens, degraded to what those buy
    correct: float = 0.2  # share of the pictures whose tokens are disturbed and repaired
    near: int = 50  # a disturbed token is one of so many of its nearest codes
    continuous: int = 0  # steps before quantising; then the codebook begins at the k-means of the latents
    revive: int = 0  # steps between revivals of codes that nothing used since the last; 0: never
    revive_until: float = 0.7  # share of the steps after which codes are left alone


@dataclass(frozen=True)
class Codes:
    variants: int = 10  # times that each picture is encoded, augmented each time anew (the first time as it is)
    batch: int = 256
    seed: int = 0


@dataclass(frozen=True)
class ArTrain(Optimising):
    class_dropout: float = 0.1
    noisy: float = 0.3  # share of the sequences that are disturbed, with the repaired ones as targets
    dropout: float = 0.1  # of what a layer adds
    token_dropout: float = 0.1  # of embeddings
    smoothing: float = 0.0  # of labels
    balance: float = 0.0
    guidance: float = 1.5  # of the sheets
    temperature: float = 1.0
    top_p: float = 1.0


@dataclass(frozen=True)
class TokenizerPart:
    model: TokenizerModel = TokenizerModel()
    train: TokenizerTrain = TokenizerTrain()


@dataclass(frozen=True)
class ArPart:
    model: ArModel = ArModel()
    train: ArTrain = ArTrain()


@dataclass(frozen=True)
class Recipe:
    name: str = ""
    data: Data = Data()
    tokenizer: TokenizerPart = TokenizerPart()
    codes: Codes = Codes()
    ar: ArPart = ArPart()
    text: str = field(default="", compare=False)  # the file, kept beside what it made

    @property
    def numbers(self):
        """What the tokenizer's module is built from; the names are those of `detailflow_onnx.model.Model`."""
        model, data = self.tokenizer.model, self.data

        def side(prefix, size):
            return Side(prefix, size.width, size.depth, size.heads, size.hidden, size.patch, data.size // size.patch, 1e-6)

        return SimpleNamespace(
            size=data.size, channels=data.channels, count=model.count, group=model.group, causal=model.causal, codes=model.codes,
            code_width=model.code_width, l2_norm=model.l2_norm, power=model.power, encoder=side("encoder", model.encoder), decoder=side("decoder", model.decoder),
        )  # fmt: skip

    @property
    def ar_sizes(self):
        ar = self.ar.model
        hidden = ar.hidden or -(-(8 * ar.width // 3) // 64) * 64
        return Ar(ar.width, ar.depth, ar.heads, ar.kv_heads or ar.heads, hidden, ar.rope_base, 1e-5)


def shipped():
    """Names of the recipes that come with the package."""
    return sorted(item.name[:-5] for item in resources.files(__package__).joinpath("configs").iterdir() if item.name.endswith(".yaml"))


def _value(kind, value, origin, key):
    if dataclasses.is_dataclass(kind):
        return _section(kind, value, origin, key + ".")
    if kind is tuple:
        need(isinstance(value, list) and all(isinstance(v, (int, float)) for v in value), f"{origin}: {key} is {value!r}, and a list of numbers is needed")
        return tuple(map(float, value))
    if kind is float and isinstance(value, str):
        try:
            value = float(value)  # YAML takes 1e-4 for a word
        except ValueError:
            pass
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    need(isinstance(value, kind) and (kind is bool or not isinstance(value, bool)), f"{origin}: {key} is {value!r}, and {kind.__name__} is needed")
    need(kind not in (int, float) or value >= 0, f"{origin}: {key} is {value}, and it cannot be below 0")
    return value


def _section(kind, values, origin, prefix=""):
    values = {} if values is None else values
    need(isinstance(values, dict), f"{origin}: {prefix[:-1] or 'the file'} is no mapping")
    known = {f.name: f.type for f in dataclasses.fields(kind) if f.name != "text"}
    for key in values:
        need(key in known, f"{origin}: the key {prefix}{key} is unknown; there are {', '.join(known)}")
    return kind(**{key: _value(known[key], value, origin, prefix + str(key)) for key, value in values.items()})


def _check(recipe, origin):
    def holds(condition, sentence):
        need(condition, f"{origin}: {sentence}")

    data, model, ar = recipe.data, recipe.tokenizer.model, recipe.ar.model
    holds(data.channels in (3, 4), f"data.channels is {data.channels}; 3 (RGB) or 4 (RGBA) is needed")
    for share in ("held_out", "balance", "hue"):
        holds(getattr(data, share) <= 1, f"data.{share} is {getattr(data, share)}, and it is a share: at most 1")
    holds(min(model.count, model.group, model.causal) >= 1, "tokenizer.model.count, group and causal must be at least 1")
    holds(model.count % model.group == 0 and model.causal % model.group == 0 and model.causal <= model.count,
          f"tokenizer.model: count {model.count} and causal {model.causal} must be multiples of group {model.group}, causal the smaller")  # fmt: skip
    holds(model.codes >= 2 and model.power > 0 and model.code_width >= 1, "tokenizer.model: codes (2 or more), code_width and power must be positive")
    for name, side in (("encoder", model.encoder), ("decoder", model.decoder)):
        holds(min(dataclasses.astuple(side)) >= 1, f"tokenizer.model.{name}: every size must be at least 1")
        holds(data.size % side.patch == 0, f"tokenizer.model.{name}.patch {side.patch} does not divide data.size {data.size}")
        holds(side.width % side.heads == 0, f"tokenizer.model.{name}: {side.heads} heads do not divide the width {side.width}")
    holds(min(ar.width, ar.depth, ar.heads) >= 1, "ar.model: every size must be at least 1")
    holds(ar.width % ar.heads == 0 and ar.width // ar.heads % 4 == 0, f"ar.model: width {ar.width} over {ar.heads} heads must be a multiple of 4")
    holds(ar.heads % (ar.kv_heads or ar.heads) == 0, f"ar.model: kv_heads {ar.kv_heads} do not divide the {ar.heads} heads")
    for part, train in (("tokenizer", recipe.tokenizer.train), ("ar", recipe.ar.train)):
        holds(train.optimizer in ("adamw", "muon"), f"{part}.train.optimizer is {train.optimizer!r}; there are adamw and muon")
        holds(train.precision in ("fp32", "bf16"), f"{part}.train.precision is {train.precision!r}; there are fp32 and bf16")
        holds(train.steps >= 1 and train.batch >= 1 and train.log >= 1 and train.save >= 1, f"{part}.train: steps, batch, log and save must be at least 1")
        holds(train.ema < 1 and len(train.betas) == 2, f"{part}.train: ema must be below 1, and betas two numbers")
    train = recipe.tokenizer.train
    for part, settings in (("tokenizer.train", recipe.tokenizer.train), ("ar.train", recipe.ar.train), ("codes", recipe.codes)):
        holds(settings.seed < 1 << 31, f"{part}.seed {settings.seed} is too large; below 2^31")
    for part, settings in (("tokenizer.train", recipe.tokenizer.train), ("ar.train", recipe.ar.train)):
        holds(settings.lr > 0 and settings.matrix_lr > 0, f"{part}: lr and matrix_lr must be above 0")
        holds(all(0 <= beta < 1 for beta in settings.betas), f"{part}.betas {list(settings.betas)} must lie from 0 to below 1")
    holds(train.near >= 1, "tokenizer.train.near must be at least 1")
    holds(model.causal + (model.count - model.causal) // model.group > 1, "tokenizer.model: a picture of one step has nothing that could repair it; more tokens are needed")
    holds(train.l2 + train.log_l2 + train.l1 > 0, "tokenizer.train: one of l2, log_l2 and l1 must be above 0")
    for loss, what in (("perceptual", "perceptual_model"), ("align", "align_model")):
        holds(not getattr(train, loss) or getattr(train, what), f"tokenizer.train.{loss} needs {what}: a model of timm or torchvision")
    shares = {"tokenizer.train": (recipe.tokenizer.train, ("truncate", "correct", "revive_until", "final")), "ar.train": (
        recipe.ar.train, ("class_dropout", "noisy", "dropout", "token_dropout", "smoothing", "balance", "final", "top_p"))}  # fmt: skip
    for part, (train, names) in shares.items():
        for name in names:
            holds(getattr(train, name) <= 1, f"{part}.{name} is {getattr(train, name)}, and it is a share: at most 1")
        holds(train.accumulate >= 1, f"{part}.accumulate must be at least 1")
    sides = model.encoder, model.decoder
    published = (model.encoder.width, model.encoder.heads, model.decoder.width, model.decoder.heads) == (1152, 16, 768, 12)
    holds(sides[0].heads == sides[1].heads or published,
          f"tokenizer.model: the encoder has {sides[0].heads} heads and the decoder {sides[1].heads}; a checkpoint says one number for both (widths 1152 and 768 with 16 and 12 heads apart)")  # fmt: skip
    holds(recipe.codes.variants >= 1 and recipe.codes.batch >= 1, "codes: variants and batch must be at least 1")
    return recipe


def read(name):
    """The recipe in the file `name`, or the shipped one of that name."""
    import yaml

    path = Path(name)
    if not path.is_file() and str(name) in shipped():
        path = resources.files(__package__).joinpath("configs", f"{name}.yaml")
    try:
        text = path.read_text(encoding="utf-8")
        values = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError) as error:
        raise Refused(f"{name}: {getattr(error, 'strerror', None) or 'not UTF-8 text'}; the recipes that come along are {', '.join(shipped())}") from None
    except yaml.YAMLError as error:
        raise Refused(f"{name}: not YAML ({str(error).splitlines()[0]})") from None
    recipe = _section(Recipe, values, str(name))
    return _check(dataclasses.replace(recipe, name=recipe.name or path.name.removesuffix(".yaml"), text=text), str(name))

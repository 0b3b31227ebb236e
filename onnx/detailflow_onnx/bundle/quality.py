"""How close a variant is to the source weights, over complete pictures: the manifest's `quality`.

The outputs of a variant are compared with `reference` on the same tokens: those of `--judge FILE`, or pictures that the
new bundle generates itself (no guidance, temperature 1). The decoder decodes every level of them, and the encoder
encodes the finest. `dflow verify` repeats the measurement from the manifest's `judged`.
"""

from typing import Any

import numpy as np

from detailflow_onnx.bundle import reference
from detailflow_onnx.bundle.manifest import Manifest
from detailflow_onnx.bundle.reader import graphs_of
from detailflow_onnx.bundle.runner import Bundle
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.errors import Refused, brief, need, shown
from detailflow_onnx.files import read_json
from detailflow_onnx.numbers import ladder
from detailflow_onnx.numbers.figures import Bounds, kl_of, log_softmax, psnr, within

NONE = "none"  # instead of a file: quality is not measured
GENERATED = 8  # pictures
MAX_TOKENS = 256 << 20  # bytes of a token file
LARGE = 64  # pixels per side above which fewer pictures are decoded: the NumPy reference is slow
DECODED_OF_LARGE = 2

Pictures = list[tuple[int, list[int]]]  # (class, tokens)

# By precision. README.md says where the bounds come from. `dflow verify` has the same.
TOLERANCES: dict[str, Bounds] = {
    "fp32": {"kl": ("most", 1e-6), "psnr": ("least", 80.0), "encoder": ("least", 0.99)},
    "fp16": {"kl": ("most", 1e-3), "psnr": ("least", 50.0), "encoder": ("least", 0.97)},
    "int8": {"kl": ("most", 0.01), "psnr": ("least", 32.0), "encoder": ("least", 0.9)},
    "int4": {"kl": ("most", 0.2), "psnr": ("least", 32.0), "encoder": ("least", 0.9)},
}


def _picture(image: Any, names: list[str], path: str) -> tuple[Any, list[int]]:
    """The class (a name, or null) and the tokens of a picture. The file names a class by its name or its index."""
    name, tokens = image["class"], image["tokens"]
    if type(name) is int:
        need(0 <= name < len(names), f"{path}: a picture of class {shown(name)}; the model has {len(names)} classes")
        name = names[name]
    need(name is None or isinstance(name, str), f"{path}: a class is {shown(name)}; a name is needed")
    valid = isinstance(tokens, list) and all(type(token) is int for token in tokens)
    need(valid, f"{path}: the tokens of a picture are not a list of integers")
    return name, tokens


def read_tokens(path: str, content: Manifest) -> Pictures:
    """The pictures of a token file written by `dflow encode`.

    Each must have all tokens, and the class of each must be known if the bundle generates.
    """
    saved = read_json(path, MAX_TOKENS)
    try:
        pictures = [_picture(image, content["classes"], path) for image in saved["images"]]
        owner = saved["bundle"]
    except (KeyError, TypeError) as error:
        raise Refused(f"{path}: not a token file ({type(error).__name__}: {brief(error)})") from None
    theirs = brief(owner) if isinstance(owner, str) else shown(owner)
    ours, text = content["tokenizer_id"], f"{path}: its tokens belong to the tokenizer {theirs}"
    need(owner == ours, f"{text}; the tokenizer of the bundle is {ours}")
    need(pictures, f"{path}: it holds no pictures")
    names, count, codes = content["classes"], content["tokens"]["count"], content["tokens"]["codes"]
    for name, tokens in pictures:
        known = "ar" not in graphs_of(content) or name in names
        need(known, f"{path}: a picture of class {shown(name)}, which the model does not have")
        complete = len(tokens) == count and all(0 <= t < codes for t in tokens)
        need(complete, f"{path}: a picture of {len(tokens)} tokens; {count} of 0..{codes - 1} are needed")
    return [(names.index(name) if name in names else 0, tokens) for name, tokens in pictures]


def generate(bundle: Bundle) -> Pictures:
    """Pictures that a variant generates, with classes spread evenly."""
    rng, classes = np.random.default_rng(11), len(bundle.content["classes"])
    chosen = [i * classes // GENERATED for i in range(GENERATED)]
    state, sampled = bundle.start(GENERATED), np.zeros((GENERATED, 0), np.int64)
    for step in range(len(bundle.sequence.steps)):
        logits = state.run(bundle.step_ids(chosen, sampled, step)).astype(np.float64)
        tokens = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
        sampled = np.concatenate([sampled, tokens], 1)
    return list(zip(chosen, sampled.tolist()))


def random_pictures(content: Manifest) -> Pictures:
    """Random tokens, for a bundle that cannot generate."""
    rng, tokens = np.random.default_rng(11), content["tokens"]
    return [(0, t) for t in rng.integers(0, tokens["codes"], (GENERATED, tokens["count"])).tolist()]


class Judge:
    """The outputs of the source weights for some pictures."""

    def __init__(self, model: Model, content: Manifest, pictures: Pictures) -> None:
        self.graphs = graphs_of(content)
        self.classes, self.tokens = [c for c, _ in pictures], np.array([t for _, t in pictures])
        levels = ladder.levels(content["ladder"]["prefixes"], content["tokens"]["causal"])
        decoded = self.tokens if model.size <= LARGE else self.tokens[:DECODED_OF_LARGE]
        self.requests = [(decoded[:, :t], size) for size, t in levels.items()]
        self.pixels = reference.decode(model, self.requests)
        self.logits: np.ndarray | None = None
        if "ar" in self.graphs:
            self.logits = reference.ar_logits(model, self.classes, self.tokens)
        self.images = self.pixels[-1].clip(-1, 1).astype(np.float32)
        self.ids = reference.encode(model, self.images)[1] if "encoder" in self.graphs else None

    def quality(self, bundle: Bundle) -> dict[str, Any]:
        """The manifest's `quality` of a variant."""
        out: dict[str, Any] = {}
        if self.logits is not None:
            out["ar"] = _ar_figures(self.logits, bundle.logits(self.classes, self.tokens))
        psnrs = {
            str(size): round(psnr(want, bundle.decode(t, size)), 2)
            for (t, size), want in zip(self.requests, self.pixels)
        }
        out["decoder"] = {"psnr": psnrs}
        if self.ids is not None:
            out["encoder"] = {"agreement": round(float((bundle.encode(self.images)[1] == self.ids).mean()), 5)}
        return out

    def pictures(self) -> list[dict[str, Any]] | None:
        """The manifest's `judged`: the tokens and their log-probabilities by the source weights. None without `ar`."""
        if self.logits is None:
            return None
        likely = np.take_along_axis(log_softmax(self.logits), self.tokens[..., None], -1)[..., 0]
        return [
            {"class": c, "tokens": t, "log_probabilities": [round(x, 5) for x in row]}
            for c, t, row in zip(self.classes, self.tokens.tolist(), likely.tolist())
        ]


def _ar_figures(want: np.ndarray, got: np.ndarray) -> dict[str, float]:
    kl = kl_of(want, got).mean(0)
    error = got.astype(np.float64) - want
    figures = {
        "kl": kl.mean(),
        "kl_worst": kl.max(),
        "logits_max": np.abs(error).max(),
        "logits_rms": np.sqrt((error**2).mean()),
    }
    same = (got.argmax(-1) == want.argmax(-1)).mean()
    return {name: float(f"{max(value, 0):.4g}") for name, value in figures.items()} | {
        "agreement": round(float(same), 5)
    }


def summary(quality: dict[str, Any]) -> dict[str, float]:
    """The figures that have tolerances, the worst of each: kl, psnr, encoder; those that were measured."""
    out = {"kl": quality["ar"]["kl"]} if "ar" in quality else {}
    out["psnr"] = min(quality["decoder"]["psnr"].values())
    return out | ({"encoder": quality["encoder"]["agreement"]} if "encoder" in quality else {})


def beyond_tolerance(precision: str, quality: dict[str, Any]) -> list[str]:
    """One sentence for each figure beyond its tolerance."""
    out = []
    for name, value in summary(quality).items():
        kind, bound = TOLERANCES[precision][name]
        if not within(TOLERANCES[precision], name, value):
            limit = f"{'at most' if kind == 'most' else 'at least'} {bound:g}"
            out.append(f"{name} is {value:g}; the tolerance of {precision} is {limit}")
    return out

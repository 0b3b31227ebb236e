"""How near a variant is to the source weights, over whole pictures: the manifest's `quality`, and what `dflow verify` repeats.

What a variant gives is compared with `reference`, which computes the source weights in numpy, on the same tokens: those of
`--judge FILE`, else pictures that the new bundle draws itself (no guidance, temperature 1: tokens as the model holds them
likely). The decoder makes every level of them, and the encoder reads the finest.
"""

import json

import numpy as np

from detailflow_onnx.numbers import ladder
from detailflow_onnx.bundle import reference
from detailflow_onnx.errors import Refused, need

NOT = "none"  # in the place of a file: the variants are not judged
DRAWN = 8  # pictures
LARGE = 64  # pixels a side from which on fewer are decoded: the numpy evaluation takes long
DECODED_OF_LARGE = 2
EXACT = 1e-20  # stands for a squared error of nothing: 206 dB

# Figure -> ("most" or "least", bound), by precision; README.md tells how they came about. `dflow verify` has the same.
TOLERANCES = {
    "fp32": {"kl": ("most", 1e-6), "psnr": ("least", 80.0), "encoder": ("least", 0.99)},
    "fp16": {"kl": ("most", 1e-3), "psnr": ("least", 50.0), "encoder": ("least", 0.97)},
    "int8": {"kl": ("most", 0.01), "psnr": ("least", 32.0), "encoder": ("least", 0.9)},
    "int4": {"kl": ("most", 0.2), "psnr": ("least", 32.0), "encoder": ("least", 0.9)},
}


def log_softmax(x):
    x = x.astype(np.float64)
    x = x - x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def psnr(want, got):
    """Of pixels in -1..1, in dB."""
    error = float(((want - got).astype(np.float64) ** 2).mean())
    return 10 * np.log10(4 / max(error, EXACT))


def read_tokens(path, content):
    """[(class, tokens)] of a token file as `dflow encode` writes it; each must be a whole picture, and name its class where
    the bundle draws."""
    try:
        with open(path, encoding="utf-8") as file:
            saved = json.load(file)
        pictures = [(image["class"], [int(t) for t in image["tokens"]]) for image in saved["images"]]
        owner = saved["bundle"]
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path}: not a token file ({type(error).__name__}: {error})") from None
    need(owner == content["tokenizer_id"], f"{path}: its tokens belong to the tokenizer {owner}, the bundle's is {content['tokenizer_id']}")
    need(pictures, f"{path}: it holds no pictures")
    names, count, codes = content["classes"], content["tokens"]["count"], content["tokens"]["codes"]
    for name, tokens in pictures:
        need("ar" not in content["variants"][0] or name in names, f"{path}: a picture of class {name!r}, which the model does not have")
        whole = len(tokens) == count and all(0 <= t < codes for t in tokens)
        need(whole, f"{path}: a picture of {len(tokens)} tokens; {count} of 0..{codes - 1} are needed")
    return [(names.index(name) if name in names else 0, tokens) for name, tokens in pictures]


def draw(bundle):
    """Pictures [(class, tokens)] that a variant draws, of classes spread over all."""
    rng, classes = np.random.default_rng(11), len(bundle.content["classes"])
    picked = [i * classes // DRAWN for i in range(DRAWN)]
    state, drawn = bundle.start(DRAWN), np.zeros((DRAWN, 0), np.int64)
    for step in range(len(bundle.step_sizes())):
        logits = state.feed(bundle.fed(picked, drawn, step)).astype(np.float64)
        chosen = (logits + rng.gumbel(size=logits.shape)).argmax(-1)
        drawn = np.concatenate([drawn, chosen], 1)
    return list(zip(picked, drawn.tolist()))


def _levels(content):
    """(size, tokens) of each level."""
    rows, causal = content["ladder"]["prefixes"], content["tokens"]["causal"]
    best = {row["size"]: row["tokens"] for row in rows if row["tokens"] >= causal}
    return [(size, best[size]) for size in ladder.sizes(rows) if size in best]


class Judge:
    """What the source weights give for some pictures."""

    def __init__(self, model, content, pictures):
        self.content, self.graphs = content, [g for g in ("ar", "decoder", "encoder") if g in content["variants"][0]]
        self.classes, self.tokens = [c for c, _ in pictures], np.array([t for _, t in pictures])
        self.levels = _levels(content)
        decoded = self.tokens if model.size <= LARGE else self.tokens[:DECODED_OF_LARGE]
        self.requests = [(decoded[:, :t], size) for size, t in self.levels]
        self.logits = reference.ar_logits(model, self.classes, self.tokens) if "ar" in self.graphs else None
        self.pixels = reference.decode(model, self.requests)
        self.images = self.pixels[-1].clip(-1, 1).astype(np.float32)
        self.ids = reference.encode(model, self.images)[1] if "encoder" in self.graphs else None

    def quality(self, bundle):
        """A variant's `quality`."""
        out = {"ar": self._ar(bundle.logits(self.classes, self.tokens))} if "ar" in self.graphs else {}
        pairs = zip(self.requests, self.pixels)
        out["decoder"] = {"psnr": {str(size): round(psnr(want, bundle.decode(t, size)), 2) for (t, size), want in pairs}}
        if "encoder" in self.graphs:
            out["encoder"] = {"agreement": round(float((bundle.encode(self.images)[1] == self.ids).mean()), 5)}
        return out

    def _ar(self, got):
        p, q = log_softmax(self.logits), log_softmax(got)
        kl = (np.exp(p) * (p - q)).sum(-1).mean(0)
        off = got.astype(np.float64) - self.logits
        figures = {"kl": kl.mean(), "kl_worst": kl.max(), "logits_max": np.abs(off).max(), "logits_rms": np.sqrt((off**2).mean())}
        same = (got.argmax(-1) == self.logits.argmax(-1)).mean()
        return {name: float(f"{max(value, 0):.4g}") for name, value in figures.items()} | {"agreement": round(float(same), 5)}

    def pictures(self):
        """The manifest's `judged`: the tokens, and how likely the source weights hold each."""
        likely = np.take_along_axis(log_softmax(self.logits), self.tokens[..., None], -1)[..., 0]
        return [
            {"class": c, "tokens": t, "log_probabilities": [round(x, 5) for x in row]}
            for c, t, row in zip(self.classes, self.tokens.tolist(), likely.tolist())
        ]


def summary(quality):
    """The figures that have tolerances, worst first: {kl, psnr, encoder}, as far as they are there."""
    out = {"kl": quality["ar"]["kl"]} if "ar" in quality else {}
    out["psnr"] = min(quality["decoder"]["psnr"].values())
    return out | ({"encoder": quality["encoder"]["agreement"]} if "encoder" in quality else {})


def past(precision, quality):
    """Sentences about what lies past its tolerance."""
    out = []
    for name, value in summary(quality).items():
        kind, bound = TOLERANCES[precision][name]
        if not (value <= bound if kind == "most" else value >= bound):
            out.append(f"{name} is {value:g}, {'at most' if kind == 'most' else 'at least'} {bound:g} is the tolerance of {precision}")
    return out

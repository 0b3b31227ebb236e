"""`train evaluate`: measure pairs of checkpoints on a data folder and write the report.

Reconstruction of held-out and training files at every level; self-correction; samples of every class beside the data.
The feature space is that of `classifier`, trained on the same data: compare only models measured with the same one.
"""

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from detailflow_onnx import __version__, labels
from detailflow_onnx.checkpoint.config import read_yaml_file
from detailflow_onnx.checkpoint.identity import tokenizer_id
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.files import read_text
from detailflow_onnx.numbers import ladder
from detailflow_onnx.train import recipe, sheets, threads
from detailflow_onnx.train.data.folder import Pictures, open_folder
from detailflow_onnx.train.evaluation import metrics, report
from detailflow_onnx.train.evaluation.classifier import Classifier, classifier, prepared
from detailflow_onnx.train.evaluation.generation import Found, Sampling, generation
from detailflow_onnx.train.evaluation.pictures import MOST, PictureSet, decoded, device_of, encoded, evenly, split_of
from detailflow_onnx.train.evaluation.reconstruction import correction, reconstruction, search_figures
from detailflow_onnx.train.losses import resized
from detailflow_onnx.train.models.tokenizer import OpenedTokenizer, open_tokenizer
from detailflow_onnx.train.models.transformer import open_transformer
from detailflow_onnx.train.stages.ar import token_losses

SAMPLES = 50  # of each class
TRAINING = 400  # training pictures that are reconstructed at every level, beside all held-out ones
CORRECTED = 128  # held-out pictures for self-correction
THREADS_ON = 128  # pictures on which the number of threads is measured
LIKELIHOODS = 1000  # pictures of a split whose tokens the AR model judges
MAX_NOTE = 64 << 20  # bytes of data.json
SHOWN = 42  # held-out pictures on a sheet
ACROSS = 14  # samples of a class on a sheet

Pair = tuple[Path | str, Path | str]  # folders of the tokenizer and the AR model


def _stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Options:
    """How samples are generated and where messages go."""

    samples: int
    sampling: Sampling
    seed: int
    say: Callable[[str], Any]
    sources: Sequence[str]  # of the held-out pictures; empty if unknown
    effort: int  # of the search for tokens of held-out pictures


class Measured:
    """A pair of models. `names`: the classes of the data; `to_data` [classes]: the index of each class among them."""

    def __init__(
        self,
        tokenizer: Path | str,
        ar: Path | str,
        labels_file: Path | str | None = None,
        device: torch.device | None = None,
    ) -> None:
        self.homes = str(tokenizer), str(ar)
        self.tokenizer, self.ar = open_tokenizer(tokenizer), open_transformer(ar)
        if device is not None:
            self.tokenizer, self.ar = self.tokenizer.to(device), self.ar.to(device)
        keys = ("count", "group", "causal", "codes")
        a, b = (tuple(getattr(m.numbers, key) for key in keys) for m in (self.tokenizer, self.ar))
        need(a == b, f"{ar}: its tokens ({', '.join(keys)}: {b}) differ from those of {tokenizer}: {a}")
        beside = (Path(ar) / "labels.txt", Path(ar).resolve().parent / "labels.txt")
        self.labels_file = labels_file or next((p for p in beside if p.is_file()), None)
        self.names: list[str] = []
        self.to_data = np.zeros(0, np.int64)

    def match_classes(self, names: Sequence[str]) -> "Measured":
        """Find the classes of the model among those of the data."""
        count, self.names = self.ar.numbers.classes, list(names)
        own: Sequence[str] = self.names
        if self.labels_file:
            own = labels.class_names(self.labels_file, count)
        else:
            counts = f"{self.homes[1]}: {count} classes, and the data has {len(names)}"
            advice = "name those of the model with --labels FILE, or in a labels.txt beside it"
            need(len(names) == count, f"{counts}; {advice}")
        unknown = [name for name in own if name not in self.names]
        first, known = repr((unknown or [""])[0]), ", ".join(self.names[:30])
        need(not unknown, f"{self.labels_file}: the class {first} is not a class of the data ({known})")
        self.to_data = np.array([self.names.index(name) for name in own])
        return self

    def about(self) -> dict[str, Any]:
        """Sizes and origin of the models, for the report."""
        numbers, ar = self.tokenizer.numbers, self.ar.numbers.ar
        noted = read_yaml_file(Path(self.homes[1]) / "config.yaml")
        parameters = [sum(p.numel() for p in module.parameters()) for module in (self.tokenizer, self.ar)]
        return {
            "tokenizer": self.homes[0],
            "tokenizer_id": tokenizer_id(numbers),
            "ar": self.homes[1],
            "recipe_commit": noted.get("commit"),
            "size": numbers.size,
            "channels": numbers.channels,
            "tokens": numbers.count,
            "group": numbers.group,
            "causal": numbers.causal,
            "codes": numbers.codes,
            "tokenizer_parameters": parameters[0],
            "ar_parameters": parameters[1],
            "ar_layers": ar.depth,
            "ar_width": ar.width,
        }


# ---------------------------------------------------------------- sheets
def _bytes(images: torch.Tensor) -> np.ndarray:
    return sheets.to_bytes(2 * images - 1)


def _level_sheet(model: Measured, held: PictureSet) -> Image.Image:
    """Held-out pictures, evenly spaced over the classes, beside their reconstructions at every level."""
    order = np.argsort(held.labels, kind="stable")
    at = order[evenly(len(order), SHOWN)]
    names = [model.names[k] for k in held.labels[at]]
    return sheets.levels(model.tokenizer, (2 * held.images[at] - 1).to(device_of(model.tokenizer)), names)


def _sample_sheet(model: Measured, made: PictureSet, samples: int) -> Image.Image:
    """The first samples of each class, in the order of their seeds."""
    across = min(samples, ACROSS)
    every = _bytes(made.images)
    images = every.reshape(-1, samples, *every.shape[1:])[:, :across]
    rows = [model.names[k] for k in model.to_data]
    flat = images.reshape(-1, *images.shape[2:])
    return sheets.grid(flat, across, sheets.scale_of(images.shape[2]), rows=rows)


def _nearest_sheet(model: Measured, made: PictureSet, found: Found, train: PictureSet, at: np.ndarray) -> Image.Image:
    """Samples `at`, each beside its nearest training pictures."""
    shown = [_bytes(made.images[at])]
    for space in ("pixels", "features"):
        shown += [_bytes(train.images[which[at]]) for which in (found[space].file, found[space].copied)]
    cells = np.stack(shown, 1)
    heads = ["sample", "nearest", "by ratio", "features", "by ratio"]
    ratios = found["pixels"].ratio, found["features"].ratio
    rows = [f"{model.names[made.labels[i]]} ({ratios[0][i]:.2f}, {ratios[1][i]:.2f})" for i in at]
    scale = sheets.scale_of(cells.shape[2])
    return sheets.grid(cells.reshape(-1, *cells.shape[2:]), len(shown), scale, heads=heads, rows=rows)


# ---------------------------------------------------------------- the evaluation
def _measure(
    model: Measured, eye: Classifier, train: PictureSet, held: PictureSet, out: Path, prefix: str, options: Options
) -> dict[str, Any]:
    say, samples, seed = options.say, options.samples, options.seed
    say(f"{model.homes[0]}: reconstruction")
    figures: dict[str, Any] = {"about": model.about(), "reconstruction": {}}
    for name, split, most in (("held_out", held, MOST), ("training", train, TRAINING)):
        images = split.images[evenly(len(split), most)]
        figures["reconstruction"][name] = reconstruction(model.tokenizer, images, seed)
    figures["reconstruction"]["held_out_by_source"] = _by_source(model.tokenizer, held, options.sources)
    if options.effort:
        say(f"{model.homes[0]}: search, effort {options.effort}")
        figures["reconstruction"]["held_out_searched"] = search_figures(model.tokenizer, held.images, options.effort)
    figures["likelihood"] = _likelihood(model, train, held)
    corrected = held.images[evenly(len(held), CORRECTED)]
    figures["correction"] = correction(model.tokenizer, corrected, seed)
    say(f"{model.homes[1]}: {samples} samples of each of {len(model.to_data)} classes")
    figures["generation"], made, found = generation(
        (model.tokenizer, model.ar),
        model.names,
        model.to_data,
        eye,
        train,
        held,
        samples=samples,
        sampling=options.sampling,
        seed=seed,
    )
    say(f"{model.homes[0]}: sheets")
    first = np.arange(len(model.to_data)) * samples
    ratio = np.minimum(found["pixels"].ratio, found["features"].ratio)
    closest = np.argsort(ratio, kind="stable")[: max(len(first), 12)]
    figures["sheets"] = {}
    for name, sheet in {
        "held-out": _level_sheet(model, held),
        "samples": _sample_sheet(model, made, samples),
        "nearest": _nearest_sheet(model, made, found, train, first),
        "closest": _nearest_sheet(model, made, found, train, closest),
    }.items():
        sheet.save(out / f"{prefix}{name}.png")
        figures["sheets"][name] = f"{prefix}{name}.png"
    return figures


def _sources(pictures: Pictures, at: np.ndarray, data: Path | str) -> list[str]:
    """The name of the source of each picture, by the prefixes of file names in data.json."""
    try:
        content = json.loads(read_text(Path(data) / "data.json", MAX_NOTE))
        prefixes = {str(s["prefix"]): str(s["name"]) for s in content["sources"] if s.get("prefix")}
        other = str(next(s["name"] for s in content["sources"] if not s.get("prefix")))
    except (Refused, OSError, ValueError, KeyError, TypeError, StopIteration):
        return []
    names = [Path(pictures.paths[i]).name for i in at]
    return [next((name for prefix, name in prefixes.items() if file.startswith(prefix)), other) for file in names]


def _by_source(tokenizer: OpenedTokenizer, held: PictureSet, sources: Sequence[str]) -> dict[str, Any]:
    """{source: {pictures, levels: [{size, psnr}]}} of held-out files, if the data says where they are from."""
    out: dict[str, Any] = {}
    rows = ladder.levels(ladder.table_of(tokenizer.numbers), tokenizer.numbers.causal)
    for source in sorted(set(sources)):
        images = held.images[torch.tensor([s == source for s in sources])]
        ids = encoded(tokenizer, images)
        levels = []
        for side, tokens in rows.items():
            got = decoded(tokenizer, ids[:, :tokens], side)
            levels.append({"size": side, "psnr": float(metrics.psnr(resized(images, side), got).mean())})
        out[source] = {"pictures": len(images), "levels": levels}
    return out


def _likelihood(model: Measured, train: PictureSet, held: PictureSet) -> dict[str, list[float]]:
    """The mean loss of the AR model at every position, in nats, of files of both splits."""
    home, to_model = device_of(model.tokenizer), np.argsort(model.to_data)
    out = {}
    for name, split in (("training", train), ("held_out", held)):
        at = evenly(len(split), LIKELIHOODS)
        at = at[np.isin(split.labels[at], model.to_data)]
        if len(model.to_data) != len(model.names):
            continue
        ids = encoded(model.tokenizer, split.images[at]).to(home)
        classes = torch.from_numpy(to_model[split.labels[at]]).to(home)
        parts = zip(classes.split(128), ids.split(128))
        out[name] = torch.cat([token_losses(model.ar, c, i) for c, i in parts]).mean(0).tolist()
    return out


@torch.no_grad()
def run(
    tokenizer: Path | str,
    ar: Path | str,
    data: Path | str,
    out: Path | str,
    *,
    samples: int = SAMPLES,
    guidance: float = 1.5,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    gradual: bool = False,
    seed: int = 0,
    effort: int = 0,
    against: Sequence[Pair] = (),
    labels_file: Path | str | None = None,
    keep: Path | str | None = None,
    threads_given: int | None = None,
    settings: dict[str, Any] | None = None,
    device: torch.device | None = None,
    say: Callable[[str], Any] = _stderr,
) -> dict[str, Any]:
    """Measure a pair of checkpoints on a data folder. Writes report.json, report.md and sheets into `out`.

    `against`: other pairs that are measured with the same classifier, data, seeds and sampling. `keep`: the folder of
    the classifier (default `out`); `settings` change its training. `threads_given`: CPU threads; None: see
    `threads.settle`. Returns the content of report.json.
    """
    out = Path(out)
    need(samples >= 1, f"samples is {samples}; at least 1 of each class is needed")
    models = [Measured(tokenizer, ar, labels_file, device), *(Measured(*pair, None, device) for pair in against)]
    numbers = models[0].tokenizer.numbers
    for other in models[1:]:
        theirs, text = other.tokenizer.numbers, "{} px and {} channels"
        same = (theirs.size, theirs.channels) == (numbers.size, numbers.channels)
        a, b = text.format(theirs.size, theirs.channels), text.format(numbers.size, numbers.channels)
        need(same, f"{other.homes[0]}: pictures of {a}; {tokenizer} has {b}")
    own = Path(tokenizer) / "recipe.yaml"  # says what was held out
    share = recipe.read(own).data.held_out if own.is_file() else recipe.Data.held_out
    folder = open_folder(data, size=numbers.size, channels=numbers.channels, held_out=share)
    need(len(folder.held_out), f"{data}: there are no held-out pictures to measure")
    for model in models:
        model.match_classes(folder.classes)
    images = prepared(folder.held_out, np.arange(min(len(folder.held_out), THREADS_ON)))

    def work(count: int) -> None:
        decoded(models[0].tokenizer, encoded(models[0].tokenizer, images[:count]), numbers.size)

    threads.settle(work, len(images), device=device or torch.device("cpu"), given=threads_given)
    out.mkdir(parents=True, exist_ok=True)
    with torch.enable_grad():
        eye, about_eye = classifier(folder, numbers.channels, keep or out, settings=settings, say=say, device=device)
    train, held = (split_of(pictures, eye) for pictures in (folder.train, folder.held_out))
    sampling = {
        "guidance": guidance,
        "temperature": temperature,
        "top_k": top_k,
        "top_p": top_p,
        "gradual": gradual,
    }
    sources = _sources(folder.held_out, evenly(len(folder.held_out), MOST), data)
    options = Options(samples, sampling, seed, say, sources, effort)
    prefixes = ["", *(f"against-{i}-" for i in range(1, len(models)))]
    content = {
        "version": __version__,
        "seed": seed,
        "data": {
            "folder": str(data),
            "classes": list(folder.classes),
            "training": len(folder.train),
            "held_out": len(folder.held_out),
            "measured": {"training": len(train), "held_out": len(held)},
            "bad_files": len(folder.bad),
        },
        "classifier": about_eye,
        "models": [_measure(model, eye, train, held, out, prefix, options) for model, prefix in zip(models, prefixes)],
    }
    return report.write(content, out)

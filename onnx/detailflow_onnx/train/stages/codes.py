"""Stage 2: the tokens of the training pictures.

Each picture is encoded `variants` times, augmented differently, and each time once more after a noisy prefix. The next
stage reads what is written and needs no pictures.

OUT/codes holds .npy files: `clean` [M, N], the tokens; `input` [M, N], the noisy prefix and the encoder's correction of
it; `first` [M], the position at which the correction starts; `labels` [M]; `held_out` [K, N + 1], tokens and label of
held-out pictures; `weights` [pictures], the weight of each among those of its class;
`alike` [M, 4], rows of other drawings or -1, if the recipe has `ar.train.swap`; and `codes.json`. The target of an
input is `clean` before `first` and `input` from there on.
"""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap

from detailflow_onnx.checkpoint.identity import tokenizer_id
from detailflow_onnx.errors import Refused, brief, exit_if_signalled, need, shown
from detailflow_onnx.files import open_regular, read_json
from detailflow_onnx.numbers.sizes import TokenizerSizes
from detailflow_onnx.output import write_text, writing
from detailflow_onnx.train import threads
from detailflow_onnx.train.data.augment import prepare
from detailflow_onnx.train.data.batches import Changes
from detailflow_onnx.train.data.folder import Folder, Pictures
from detailflow_onnx.train.models.tokenizer import OpenedTokenizer, Tokenizer, open_tokenizer
from detailflow_onnx.train.process import Process, seed_all
from detailflow_onnx.train.recipe import Recipe
from detailflow_onnx.train.stages.alike import NONE, rows_alike
from detailflow_onnx.train.stages.correction import perturbed, units

NAMES = ("clean", "input", "first", "labels")
HELD_OUT = 2000  # pictures at most
SECONDS = 10  # between notes of the progress
MAX_NOTE = 64 << 20  # bytes of codes.json, which names the classes

Arrays = dict[str, np.ndarray]
Head = dict[str, Any]  # what the codes follow from


def _open_arrays(out: Path, rows: int, numbers: TokenizerSizes, mode: Any) -> Arrays:
    kind = np.uint16 if numbers.codes <= 1 << 16 else np.uint32
    matrix, vector = (rows, numbers.count), (rows,)
    shapes: dict[str, tuple[int, ...]] = {"clean": matrix, "input": matrix, "first": vector, "labels": vector}
    return {
        name: open_memmap(out / f"{name}.npy", mode, np.dtype(kind if len(shape) == 2 else np.uint32), shape)
        for name, shape in shapes.items()
    }


def _rows_done(note: Path, head: Head) -> int:
    """How many rows exist of the same tokenizer and recipe."""
    if not os.path.lexists(note):
        return 0
    try:
        before = read_json(note, MAX_NOTE)
        done = before.pop("done", None)
    except Refused:
        before, done = {}, None
    if before != head or type(done) is not int or not 0 <= done <= head["rows"]:
        print(f"{note.parent}: of another tokenizer or recipe, or damaged; written again", file=sys.stderr)
        return 0
    return done


def _head(recipe: Recipe, folder: Folder, tokenizer: OpenedTokenizer) -> Head:
    numbers, settings, data = tokenizer.numbers, recipe.codes, recipe.code_data
    return {
        "tokenizer": tokenizer_id(numbers),
        "pictures": len(folder.train),
        "variants": settings.variants,
        "seed": settings.seed,
        "flips": data.flips,
        "hue": data.hue,
        "changes": [data.recolour, data.shift, data.wrap],
        "drawings": data.drawings,
        "near": recipe.tokenizer.train.near,
        "classes": list(folder.classes),
        "count": numbers.count,
        "group": numbers.group,
        "causal": numbers.causal,
        "codes": numbers.codes,
        "rows": len(folder.train) * settings.variants,
    }


def _encode_rows(
    recipe: Recipe, pictures: Pictures, tokenizer: Tokenizer, process: Process, rows: np.ndarray
) -> Arrays:
    """The rows of one batch, a function of the seed and the first row."""
    settings, data, done = recipe.codes, recipe.code_data, int(rows[0])
    seed_all(settings.seed, done)
    variant, index = rows // len(pictures), rows % len(pictures)
    generator = torch.Generator().manual_seed(settings.seed * 1_000_003 + done)
    changes = Changes(data.flips, data.hue, data.recolour, data.shift, data.wrap)
    images = changes.applied(pictures, index, generator, process.device)
    unchanged = variant == 0
    if unchanged.any():
        plain = prepare(pictures.read(index[unchanged]), flips=False, hue=0.0, generator=None)
        images[torch.from_numpy(unchanged).to(process.device)] = plain.to(process.device)
    with torch.no_grad():
        _, ids = tokenizer.encode(images)
        unit = torch.randint(units(tokenizer.numbers), (len(ids),)).to(process.device)
        noisy, first = perturbed(tokenizer, ids, recipe.tokenizer.train.near, unit)
        corrected = tokenizer.correct(images, noisy, first)
    out = {"clean": ids, "input": corrected, "first": first}
    return {name: value.cpu().numpy() for name, value in out.items()} | {"labels": pictures.labels[index]}


def write(
    recipe: Recipe, folder: Folder, home: Path, out: Path, process: Process, threads_given: int | None = None
) -> None:
    """Encode the training pictures with the tokenizer in `home`, from where `out` left off.

    `threads_given`: CPU threads; None: see `threads.settle`.
    """
    need(process.world == 1, "train codes runs in one process")
    tokenizer = open_tokenizer(home).to(process.device)
    numbers, data = tokenizer.numbers, recipe.code_data
    out.mkdir(parents=True, exist_ok=True)
    head = _head(recipe, folder, tokenizer)
    total = head["rows"]
    have, want = (numbers.size, numbers.channels), (data.size, data.channels)
    text = "the tokenizer has {} px and {} channels, but the recipe {} px and {} channels"
    need(have == want, f"{home}: {text.format(*have, *want)}")
    note = out / "codes.json"
    done, arrays = _rows_done(note, head), None
    if done:
        try:
            arrays = _open_arrays(out, total, numbers, "r+")
        except (OSError, ValueError):
            done = 0
    if arrays is None:
        for path in (note, out / "alike.npy"):  # before the arrays, whose rows they count and name
            path.unlink(missing_ok=True)
        arrays = _open_arrays(out, total, numbers, "w+")
    if done < total or recipe.ar.train.swap:

        def work(count: int) -> None:
            _encode_rows(recipe, folder.train, tokenizer, process, np.arange(count))

        count = min(recipe.codes.batch, total)
        threads.settle(work, count, device=process.device, given=threads_given)
    begun, noted, started = done, time.monotonic(), time.monotonic()
    while done < total:
        exit_if_signalled()
        rows = np.arange(done, min(done + recipe.codes.batch, total))
        for name, values in _encode_rows(recipe, folder.train, tokenizer, process, rows).items():
            arrays[name][rows] = values
        done = int(rows[-1]) + 1
        if done == total or time.monotonic() > noted + SECONDS:
            for array in arrays.values():
                if isinstance(array, np.memmap):
                    array.flush()
            noted = time.monotonic()
            write_text(note, json.dumps(head | {"done": done}) + "\n")
            speed = (done - begun) / (time.monotonic() - started)
            left = f"{speed:.0f} pictures/s  {(total - done) / speed / 60:.0f} min left"
            print(f"{done}/{total}  {left}", file=sys.stderr, flush=True)
    drawings = folder.train.drawings if data.drawings else np.arange(len(folder.train))
    with writing(out / "weights.npy") as file:
        np.save(file, (1 / np.bincount(drawings)[drawings]).astype(np.float32))
    if recipe.ar.train.swap:
        print("searching rows that look alike", file=sys.stderr, flush=True)
        labels = np.asarray(arrays["labels"])
        alike = rows_alike(tokenizer, arrays["clean"], labels, np.resize(drawings, len(labels)))
        with writing(out / "alike.npy") as file:
            np.save(file, alike)
    _write_held_out(recipe, tokenizer, folder.held_out, out, process)


def _write_held_out(recipe: Recipe, tokenizer: Tokenizer, pictures: Pictures, out: Path, process: Process) -> None:
    """Tokens and labels of held-out pictures, unaugmented: the next stage is measured on them and not trained."""
    at = np.arange(len(pictures))[:: max(1, -(-len(pictures) // HELD_OUT))]
    ids = [np.zeros((0, tokenizer.numbers.count), np.int64)]
    for i in range(0, len(at), recipe.codes.batch):
        pixels = pictures.read(at[i : i + recipe.codes.batch])
        images = prepare(pixels, flips=False, hue=0.0, generator=None)
        ids.append(tokenizer.encode(images.to(process.device))[1].cpu().numpy())
    labels = np.asarray(pictures.labels)[at, None]
    with writing(out / "held_out.npy") as file:
        np.save(file, np.concatenate([np.concatenate(ids), labels], 1).astype(np.uint32))


def _array(path: Path) -> np.ndarray:
    """The array in a .npy file, mapped."""
    with open_regular(path):
        array: np.ndarray = np.load(path, mmap_mode="r")
    return array


class CodeSet:
    """The codes that `write` wrote."""

    def __init__(self, folder: Path | str) -> None:
        self.folder = folder = Path(folder)
        advice = "run `train codes` first"
        try:
            self.head: Head = read_json(folder / "codes.json", MAX_NOTE)
        except Refused as error:
            raise Refused(f"no codes found ({error}); {advice}") from None
        try:
            done, total = self.head["done"], self.head["rows"]
            counts = type(done) is int and type(total) is int
            need(counts, f"{folder / 'codes.json'}: done or rows is not a count; run `train codes` again")
            rows = f"only {shown(done)} of {shown(total)} rows exist"
            need(done == total, f"{folder}: {rows}; run `train codes` again to complete them")
            values = {name: _array(folder / f"{name}.npy") for name in NAMES}
            held = _array(folder / "held_out.npy")
        except KeyError as error:
            raise Refused(f"{folder / 'codes.json'}: the key {error} is missing; run `train codes` again") from None
        except (OSError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or brief(error)
            raise Refused(f"{folder}: no codes found ({reason}); {advice}") from None
        self.clean, self.input, self.first, self.labels = (values[name] for name in NAMES)
        # Weights of the pictures among those of their class; older codes have none.
        pictures = max(1, self.head.get("pictures", 1))
        of_each = _array(folder / "weights.npy") if (folder / "weights.npy").is_file() else np.ones(pictures)
        self.weights = np.resize(of_each, len(self.labels)).astype(np.float64)
        self.held_out: tuple[np.ndarray, np.ndarray] = (held[:, :-1], held[:, -1])
        self.classes: list[str] = self.head["classes"]

    def __len__(self) -> int:
        return len(self.labels)

    def alike(self) -> np.ndarray:
        """The rows of other drawings of each row: see `rows_alike`."""
        path, advice = self.folder / "alike.npy", "run `train codes` again (what is encoded is kept)"
        try:
            rows = _array(path)
        except (OSError, ValueError, EOFError) as error:
            reason = getattr(error, "strerror", None) or brief(error)
            raise Refused(f"{path}: ar.train.swap needs it ({reason}); {advice}") from None
        fits = rows.ndim == 2 and len(rows) == len(self) and rows.shape[1] > 0 and rows.dtype.kind == "i"
        fits = fits and bool((rows >= NONE).all() and (rows < len(self)).all())
        need(fits, f"{path}: not rows of these codes; {advice}")
        return rows

"""Stage 2: the tokens of the training pictures. Each picture is encoded `variants` times, augmented each time anew, and each
time once more from a disturbed prefix on; what is written lets the next stage go on without pictures.

OUT/codes holds, as .npy of the least unsigned integers that fit: `clean` [M, N], the tokens; `input` [M, N], the disturbed
prefix and what the tokenizer answers to it; `first` [M], where that answer begins; `labels` [M]; `held_out` [K, N + 1], tokens
and label of held-out pictures; and `codes.json`. The target of an input is `clean` before `first` and `input` itself from there on.
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap

from detailflow_onnx.errors import Refused, need, stop_if_told
from detailflow_onnx.bundle.manifest import tokenizer_id
from detailflow_onnx.train.data.feed import prepare
from detailflow_onnx.train.loop import seeded
from detailflow_onnx.train.stages.tokenizer import disturbed, units
from detailflow_onnx.train.models.tokenizer import open_tokenizer

NAMES = ("clean", "input", "first", "labels")


def _arrays(out, rows, numbers, mode):
    kind = np.uint16 if numbers.codes <= 1 << 16 else np.uint32
    shapes = {"clean": (rows, numbers.count), "input": (rows, numbers.count), "first": (rows,), "labels": (rows,)}
    return {name: open_memmap(out / f"{name}.npy", mode, np.dtype(kind if len(shape) == 2 else np.uint32), shape) for name, shape in shapes.items()}


def _begun(note, head):
    """How many rows are there already, of the same tokenizer and recipe."""
    try:
        before = json.loads(note.read_text())
        done = int(before.pop("done"))
    except FileNotFoundError:
        return 0
    except (OSError, ValueError, KeyError):
        before, done = None, 0
    if before != head:
        print(f"{note.parent}: made by another tokenizer or recipe, or damaged; written anew", file=sys.stderr)
        return 0
    return done


def write(recipe, folder, home, out, place):
    """Encode `folder`'s training pictures with the tokenizer in `home`. Goes on where it was stopped."""
    need(place.world == 1, "train codes runs in one process; it is a short stage")
    tokenizer = open_tokenizer(home).to(place.device)
    numbers, settings = tokenizer.numbers, recipe.codes
    out.mkdir(parents=True, exist_ok=True)
    total = len(folder.train) * settings.variants
    head = {
        "tokenizer": tokenizer_id(numbers), "pictures": len(folder.train), "variants": settings.variants, "seed": settings.seed, "flips": recipe.data.flips,
        "hue": recipe.data.hue, "near": recipe.tokenizer.train.near, "classes": list(folder.classes), "count": numbers.count, "group": numbers.group,
        "causal": numbers.causal, "codes": numbers.codes, "rows": total,
    }  # fmt: skip
    need((numbers.size, numbers.channels) == (recipe.data.size, recipe.data.channels),
         f"{home}: a tokenizer of {numbers.size} px and {numbers.channels} channels, and the recipe has {recipe.data.size} and {recipe.data.channels}")  # fmt: skip
    note = out / "codes.json"
    done, arrays = _begun(note, head), None
    if done:
        try:
            arrays = _arrays(out, total, numbers, "r+")
        except (OSError, ValueError):
            done = 0
    if not done:
        note.unlink(missing_ok=True)  # before the arrays: it vouches for them
        arrays = _arrays(out, total, numbers, "w+")
    begun, noted = done, time.monotonic()
    units_count, started = units(numbers), time.monotonic()
    while done < total:
        stop_if_told()
        rows = np.arange(done, min(done + settings.batch, total))
        seeded(settings.seed, done)
        turn, index = rows // len(folder.train), rows % len(folder.train)
        pixels = folder.train.read(index)
        images = prepare(pixels, flips=recipe.data.flips, hue=recipe.data.hue, generator=torch.Generator().manual_seed(settings.seed * 1_000_003 + done))
        first_time = torch.from_numpy(turn == 0)
        images[first_time] = prepare(pixels[first_time], flips=False, hue=0.0, generator=None)
        images = images.to(place.device)
        with torch.no_grad():
            _, ids = tokenizer.encode(images)
            unit = torch.randint(units_count, (len(ids),)).to(place.device)
            noisy, first = disturbed(tokenizer, ids, recipe.tokenizer.train.near, unit)
            answer = tokenizer.correct(images, noisy, first)
        for name, value in (("clean", ids), ("input", answer), ("first", first)):
            arrays[name][rows] = value.cpu().numpy()
        arrays["labels"][rows] = folder.train.labels[index]
        done = int(rows[-1]) + 1
        if done == total or time.monotonic() > noted + 10:
            for array in arrays.values():
                array.flush()
            part, noted = note.with_name("codes.json.part"), time.monotonic()
            part.write_text(json.dumps(head | {"done": done}) + "\n")
            os.replace(part, note)
            speed = (done - begun) / (time.monotonic() - started)
            print(f"{done}/{total}  {speed:.0f} pictures/s  {(total - done) / speed / 60:.0f} min left", file=sys.stderr, flush=True)
    _held_out(recipe, tokenizer, folder.held_out, out, place)


def _held_out(recipe, tokenizer, pictures, out, place):
    """Tokens and labels of up to 2000 held-out pictures as they are: what the next stage is measured by and never learns."""
    at = np.arange(len(pictures))[:: max(1, -(-len(pictures) // 2000))]
    ids = [np.zeros((0, tokenizer.numbers.count), np.int64)]
    for i in range(0, len(at), recipe.codes.batch):
        images = prepare(pictures.read(at[i : i + recipe.codes.batch]), flips=False, hue=0.0, generator=None)
        ids.append(tokenizer.encode(images.to(place.device))[1].cpu().numpy())
    np.save(out / "held_out.npy", np.concatenate([np.concatenate(ids), np.asarray(pictures.labels)[at, None]], 1).astype(np.uint32))


class CodeSet:
    """What `write` left, for the next stage."""

    def __init__(self, folder):
        folder = Path(folder)
        try:
            self.head = json.loads((folder / "codes.json").read_text())
            values = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in NAMES}
            held = np.load(folder / "held_out.npy") if self.head["done"] == self.head["rows"] else np.zeros((0, 1), np.uint32)
        except (OSError, ValueError) as error:
            raise Refused(f"{folder}: no codes there ({error}); run `train codes` first") from None
        need(self.head["done"] == self.head["rows"], f"{folder}: only {self.head['done']} of {self.head['rows']} rows are there; run `train codes` again, it goes on")
        self.clean, self.input, self.first, self.labels = (values[name] for name in NAMES)
        self.held_out = held[:, :-1], held[:, -1]
        self.classes = self.head["classes"]

    def __len__(self):
        return len(self.labels)

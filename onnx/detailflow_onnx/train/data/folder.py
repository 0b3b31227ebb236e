"""A folder of pictures with one folder per class, of which a part is held out from training.

Two layouts: class folders directly inside (`FOLDER/potion/a.png`), or `train/` and `val/` (also `validation`, `valid`,
`test`) with class folders in each, as ImageNet is stored; without folders in both, `train` and `test` are classes.
Classes are sorted by name, unless `labels.txt` in the folder lists them, one per line. In the first layout the held-out
part follows from class and file names alone: it is the same on another machine and in a copy of the folder.

Duplicates and pictures that show nothing are left out (see `survey`), but of sets that are read while training.
"""

import functools
import hashlib
import os
import unicodedata
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch

from detailflow_onnx.errors import Refused, need
from detailflow_onnx.files import check_name, open_regular, read_text
from detailflow_onnx.labels import lines
from detailflow_onnx.train.data import drawings, survey
from detailflow_onnx.train.data.image import Seen, open_image, read, read_seen, reason_of, seen, without_warnings

HELD_OUT = ("val", "validation", "valid", "test")
MEMORY = 1 << 30  # bytes; sets of up to this size are decoded into memory
THREADS = 8  # that open files at once

Files = list[tuple[str, int]]  # (path relative to the folder, label)
Unreadable = list[tuple[str, str]]  # (path, reason)


def open_folder(
    path: Path | str, *, size: int, channels: int, held_out: float = 0.05, memory: int = MEMORY
) -> "Folder":
    """The pictures of `path`, as size x size pixels with 3 (RGB) or 4 channels (straight RGBA).

    `held_out` (0 <= held_out < 1) is the share of each class that is held out; with `train/` and `val/` inside, it is
    `val/` instead. Sets of more than `memory` bytes are read as needed, and only their headers are checked here.
    """
    path = Path(path)
    need(size >= 1, f"size is {size}; at least 1 pixel is needed")
    need(channels in (3, 4), f"channels is {channels}; 3 (RGB) or 4 (RGBA) is needed")
    need(0 <= held_out < 1, f"held_out is {held_out}; a share from 0 to below 1 is needed")
    need(path.is_dir(), f"{path} is not a folder")
    other = _other_half(path)
    train_root = path / "train" if other else path
    classes = _classes(train_root, path / "labels.txt")
    train: Files = []
    held: Files = []
    for label, name in enumerate(classes):
        files = files_below(train_root / name)
        need(files, f"{train_root / name} holds no files: remove the folder, or put pictures in it")
        chosen = set() if other else held_out_files(name, files, held_out)
        for file in files:
            relative = f"{name}/{file}"
            (held if relative in chosen else train).append((f"train/{relative}" if other else relative, label))
    if other:
        labels = {name: label for label, name in enumerate(classes)}
        for name in class_folders(other):
            need(name in labels, f"{other / name} is a class that {train_root} does not have")
            held += [(f"{other.name}/{name}/{file}", labels[name]) for file in files_below(other / name)]
    return Folder(path, classes, train, held, size, channels, memory)


def held_out_files(name: str, files: list[str], share: float) -> set[str]:
    """The held-out paths (`name/file`) of a class: those with the least SHA-256, at least one of five or more files.

    Unreadable files count as files, so that the choice does not depend on them.
    """
    paths = sorted((f"{name}/{file}" for file in files), key=_hash)
    count = int(share * len(paths) + 0.5)
    if share > 0 and len(paths) >= 5:
        count = max(count, 1)
    return set(paths[: min(count, len(paths) - 1)])


def _hash(path: str) -> bytes:
    return hashlib.sha256(unicodedata.normalize("NFC", path).encode("utf-8", "surrogateescape")).digest()


def class_folders(path: Path) -> list[str]:
    """Names of the folders in `path`, sorted, without hidden ones."""
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _other_half(path: Path) -> Path | None:
    """The held-out half beside `train/`, if both hold folders."""
    split = (path / name for name in HELD_OUT if (path / "train").is_dir() and (path / name).is_dir())
    return next((half for half in split if class_folders(path / "train") and class_folders(half)), None)


def _classes(root: Path, labels: Path) -> list[str]:
    found = class_folders(root)
    need(
        found, f"{root} has no class folders: put the pictures of each class in its own folder, as {root}/flower/*.png"
    )
    for name in found:
        check_name(name, f"{root}: the name of the class folder")
    if not os.path.lexists(labels):
        return found
    wanted = [line for line in lines(read_text(labels), str(labels)) if line]
    need(len(set(wanted)) == len(wanted), f"{labels} names a class twice")
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    need(not missing, f"{labels} names {', '.join(missing[:3])}, but {root} has no such folder")
    need(not unknown, f"{labels} does not name {', '.join(unknown[:3])}, but {root} has such a folder")
    return wanted


def files_below(folder: Path) -> list[str]:
    """All files below `folder`, relative to it, sorted. Hidden files and folders are skipped."""
    found, seen = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(f for f in folders if not f.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        found += [Path(here, n).relative_to(folder).as_posix() for n in names if not n.startswith(".")]
    return sorted(found)


class Folder:
    """`classes` (names in order), `train` and `held_out` (Pictures), and what is said of files, as [(path, text)]:
    `bad` (unreadable), `left_out` (duplicates and blank pictures), `odd` (used, but changed much).
    """

    def __init__(
        self, path: Path, classes: list[str], train: Files, held_out: Files, size: int, channels: int, memory: int
    ) -> None:
        self.path, self.classes, self.size, self.channels = path, classes, size, channels
        self.bad: Unreadable = []
        lazy = (len(train) + len(held_out)) * size * size * channels > memory
        self.train = Pictures(path, train, size, channels, lazy, self.bad)
        self.held_out = Pictures(path, held_out, size, channels, lazy, self.bad)
        self.left_out = self._leave_out()
        self.odd = [note for part in (self.train, self.held_out) for note in part.notes()]
        counts = np.bincount(self.train.labels, minlength=len(classes))
        empty = [name for name, count in zip(classes, counts) if not count]
        why = self.bad + [(file, f"is {reason}") for file, reason in self.left_out]
        first = f": {why[0][0]} {why[0][1]}" if why else ""
        need(not empty, f"{path} has no readable picture to train on in the class {', '.join(empty[:3])}{first}")

    def _leave_out(self) -> survey.Notes:
        """Leave out pictures that show nothing, and duplicates; returns them."""
        out: survey.Notes = []
        for part in (self.train, self.held_out):
            out += part.leave_out(survey.blanks)
        found = survey.Duplicates()
        out += self.train.leave_out(lambda paths, pixels: found.train(paths, self.train.labels, pixels))
        out += self.held_out.leave_out(lambda paths, pixels: found.held_out(paths, self.held_out.labels, pixels))
        return out

    def summary(self) -> str:
        """What is said of the files, on one line; "" if there is nothing."""
        unreadable = [f"{len(self.bad)} unreadable"] if self.bad else []
        rest = survey.summary(self.left_out + self.odd, self.size, not self.train.lazy)
        return ", ".join(unreadable + [rest] * bool(rest))


class Pictures:
    """Pictures and their classes. `paths`: relative to the folder; `labels`: int64 [n]."""

    def __init__(self, root: Path, files: Files, size: int, channels: int, lazy: bool, bad: Unreadable) -> None:
        self.root, self.size, self.channels, self.lazy = Path(root), size, channels, lazy
        self.bad = bad  # shared with the folder; files that turn out to be unreadable later are added
        with without_warnings(), ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            found = list(pool.map(self._try, (relative for relative, _ in files)))
        bad += [(relative, error) for (relative, _), (_, _, error) in zip(files, found) if error]
        good = [(*file, pixels, held) for file, (pixels, held, error) in zip(files, found) if held and not error]
        self.paths = [relative for relative, _, _, _ in good]
        self.labels = np.array([label for _, label, _, _ in good], np.int64)
        self.seen = [held for _, _, _, held in good]
        self._pixels: torch.Tensor | None = None
        if not lazy:
            decoded = [pixels for _, _, pixels, _ in good if pixels is not None]
            empty = np.zeros((0, channels, size, size), np.uint8)
            self._pixels = torch.from_numpy(np.stack(decoded) if decoded else empty)

    def _try(self, relative: str) -> tuple[np.ndarray | None, Seen | None, str | None]:
        """(pixels unless lazy, what the file holds, the reason if it cannot be read)."""
        try:
            if self.lazy:
                with open_regular(self.root / relative) as file, open_image(file) as image:
                    return None, seen(image), None
            return *read_seen(self.root / relative, self.size, self.channels), None
        except Exception as error:  # Pillow does not document what a broken file raises
            return None, None, reason_of(error)

    def __len__(self) -> int:
        return len(self.paths)

    def leave_out(self, found: Callable[[list[str], np.ndarray], dict[int, str]]) -> survey.Notes:
        """Leave out the pictures that `found(paths, pixels)` names by their index, unless the set is lazy."""
        if self._pixels is None:
            return []
        reasons = found(self.paths, self._pixels.numpy())
        out = [(self.paths[i], reason) for i, reason in reasons.items()]
        kept = [i for i in range(len(self)) if i not in reasons]
        self.paths, self.seen = [self.paths[i] for i in kept], [self.seen[i] for i in kept]
        self.labels, self._pixels = self.labels[kept], self._pixels[kept]
        return out

    def notes(self) -> survey.Notes:
        """What is said of the pictures."""
        pixels = self._pixels.numpy() if self._pixels is not None else None
        return survey.notes(self.paths, self.seen, self.size, pixels)

    def read(self, indices: Sequence[int] | np.ndarray | torch.Tensor) -> torch.Tensor:
        """uint8 [n, channels, size, size], straight RGBA or RGB."""
        at = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        if self._pixels is not None:
            return self._pixels[at]
        if not len(at):
            return torch.zeros((0, self.channels, self.size, self.size), dtype=torch.uint8)
        with without_warnings():
            return torch.stack([torch.from_numpy(self._read_one(int(i))) for i in at])

    def _read_one(self, index: int) -> np.ndarray:
        """One picture. If its file became unreadable, the next of its class, so that every reader gets the same."""
        same = np.flatnonzero(self.labels == self.labels[index])
        for i in np.roll(same, -int(np.searchsorted(same, index))):
            try:
                return read(self.root / self.paths[i], self.size, self.channels)
            except Exception as error:  # Pillow does not document what a broken file raises
                self.note([(self.paths[i], reason_of(error))])
        raise Refused(f"{self.root}: no picture of the class of {self.paths[index]} can be read any more")

    @functools.cached_property
    def drawings(self) -> np.ndarray:
        """The number of the drawing of each picture: see `drawings`. All are read."""
        return drawings.drawings(self.read(np.arange(len(self))), self.labels)

    @functools.cached_property
    def repeats(self) -> torch.Tensor:
        """Bool [n, 2]: whether each picture repeats down and across. All are read."""
        return drawings.repeats(self.read(np.arange(len(self))))

    def note(self, broken: Unreadable) -> None:
        """Add unreadable files to `bad`, each path once."""
        known = {path for path, _ in self.bad}
        self.bad += [(path, reason) for path, reason in broken if path not in known]

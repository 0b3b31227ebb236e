"""A folder of pictures with one folder per class, read as square uint8 pictures of one size, with a part held out for good.

Two layouts: class folders right inside (`FOLDER/potion/a.png`), or `train/` and `val/` (also `validation`, `valid`, `test`) with class
folders in each, as ImageNet is kept. Classes are sorted by name unless `labels.txt` at the root, one class a line, gives the order. What is held out of the first layout
follows from class and file names alone: another machine, another day or a copy of the folder holds out the same files.
"""

import contextlib
import hashlib
import os
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError

from detailflow_onnx.errors import Refused, need

HELD_OUT = ("val", "validation", "valid", "test")
MEMORY = 1 << 30  # bytes of decoded pictures that are kept in memory
THREADS = 8  # that open files at once
PIXELS = 1 << 26  # a file that says it has more is not opened: it is broken, or meant to fill the memory


def open_folder(path, *, size, channels, held_out=0.05, memory=MEMORY):
    """The pictures of `path` as a Folder of size x size pictures with 3 (RGB) or 4 channels (straight RGBA).

    `held_out` is the share of each class (0 <= held_out < 1) that is never trained on; with `train/` and `val/` inside, it is `val/`.
    Sets of up to `memory` bytes are read at once; of larger ones only the headers, and the pictures as they are asked for."""
    path = Path(path)
    need(size >= 1, f"size is {size}: give the side of the pictures in pixels")
    need(channels in (3, 4), f"channels is {channels}: 3 is RGB, 4 is RGBA")
    need(0 <= held_out < 1, f"held_out is {held_out}: give a share from 0 up to below 1")
    need(path.is_dir(), f"{path} is not a folder")
    other = next((path / name for name in HELD_OUT if (path / "train").is_dir() and (path / name).is_dir()), None)
    train_root = path / "train" if other else path
    classes = _classes(train_root, path / "labels.txt")
    train, kept = [], []
    for label, name in enumerate(classes):
        files = _files(train_root / name)
        need(files, f"{train_root / name} holds no files: remove the folder, or put pictures in it")
        cut = set() if other else held_back(name, files, held_out)
        for file in files:
            relative = f"{name}/{file}"
            (kept if relative in cut else train).append((f"train/{relative}" if other else relative, label))
    if other:
        names = {name: label for label, name in enumerate(classes)}
        for name in _folders(other):
            need(name in names, f"{other / name} is a class that {train_root} does not have")
            kept += [(f"{other.name}/{name}/{file}", names[name]) for file in _files(other / name)]
    return Folder(path, classes, train, kept, size, channels, memory)


def held_back(name, files, share):
    """The paths (`name/file`) of a class that are held out: those whose SHA-256 is least, at least one where there are five files or more.
    Files that turn out not to be readable count as files, so that what is held out does not depend on when one looks."""
    paths = sorted((f"{name}/{file}" for file in files), key=_hash)
    count = int(share * len(paths) + 0.5)
    if share > 0 and len(paths) >= 5:
        count = max(count, 1)
    return set(paths[: min(count, len(paths) - 1)])


def _hash(path):
    return hashlib.sha256(unicodedata.normalize("NFC", path).encode("utf-8", "surrogateescape")).digest()


def _folders(path):
    return sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))


def _classes(root, labels):
    found = _folders(root)
    need(found, f"{root} has no class folders: put the pictures of each class in a folder of its own, as {root}/flower/*.png")
    if not labels.is_file():
        return found
    try:
        wanted = [line.strip() for line in labels.read_text(encoding="utf-8").splitlines() if line.strip()]
    except UnicodeDecodeError:
        wanted = None
    need(wanted is not None, f"{labels} is not UTF-8 text")
    need(len(set(wanted)) == len(wanted), f"{labels} names a class twice")
    missing, unknown = sorted(set(wanted) - set(found)), sorted(set(found) - set(wanted))
    need(not missing, f"{labels} names {', '.join(missing[:3])}, of which {root} has no folder")
    need(not unknown, f"{labels} does not name {', '.join(unknown[:3])}, of which {root} has a folder")
    return wanted


def _files(folder):
    """All files below, relative to `folder`, in order. Hidden ones are none."""
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
    """`classes` (names in order), `train` and `held_out` (Pictures), `bad` ([(path, reason)], the files that could not be read)."""

    def __init__(self, path, classes, train, held_out, size, channels, memory):
        self.path, self.classes, self.size, self.channels, self.bad = path, classes, size, channels, []
        lazy = (len(train) + len(held_out)) * size * size * channels > memory
        self.train = Pictures(path, train, size, channels, lazy, self.bad)
        self.held_out = Pictures(path, held_out, size, channels, lazy, self.bad)
        kept = np.bincount(self.train.labels, minlength=len(classes))
        empty = [name for name, count in zip(classes, kept) if not count]
        first = f": {self.bad[0][0]} {self.bad[0][1]}" if self.bad else ""
        need(not empty, f"{path} has no readable picture to train on in the class {', '.join(empty[:3])}{first}")


class Pictures:
    """Pictures and their classes. `paths`: relative to the folder; `labels`: int64 [n]."""

    def __init__(self, root, files, size, channels, lazy, bad):
        self.root, self.size, self.channels, self.lazy = Path(root), size, channels, lazy
        self.bad = bad  # shared with the folder; what breaks later is added
        with _quiet(), ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
            found = list(pool.map(self._try, (relative for relative, _ in files)))
        bad += [(relative, error) for (relative, _), (_, error) in zip(files, found) if error]
        good = [(relative, label, pixels) for (relative, label), (pixels, error) in zip(files, found) if not error]
        self.paths = [relative for relative, _, _ in good]
        self.labels = np.array([label for _, label, _ in good], np.int64)
        empty = np.zeros((0, channels, size, size), np.uint8)
        self._pixels = None if lazy else torch.from_numpy(np.stack([pixels for _, _, pixels in good]) if good else empty)

    def _try(self, relative):
        """(pixels or None, why it cannot be read or None)"""
        try:
            if self.lazy:
                _open(self.root / relative).close()
                return None, None
            return read(self.root / relative, self.size, self.channels), None
        except Exception as error:  # what PIL raises on a broken file is not said anywhere
            return None, reason_of(error)

    def __len__(self):
        return len(self.paths)

    def read(self, indices):
        """uint8 [n, channels, size, size], straight RGBA or RGB."""
        indices = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        if self._pixels is not None:
            return self._pixels[indices]
        if not len(indices):
            return torch.zeros((0, self.channels, self.size, self.size), dtype=torch.uint8)
        with _quiet():
            return torch.stack([torch.from_numpy(self._one(int(i))) for i in indices])

    def _one(self, index):
        """One picture from its file; if that broke, the next of its class, so that every reader gets the same one."""
        try:
            return read(self.root / self.paths[index], self.size, self.channels)
        except Exception as error:  # as above
            self.note([(self.paths[index], reason_of(error))])
        same = np.flatnonzero(self.labels == self.labels[index])
        at = int(np.searchsorted(same, index))
        for other in np.roll(same, -at)[1:]:
            try:
                return read(self.root / self.paths[other], self.size, self.channels)
            except Exception as error:  # as above
                self.note([(self.paths[other], reason_of(error))])
        raise Refused(f"{self.root}: no picture of the class of {self.paths[index]} can be read any more")

    def note(self, broken):
        """Add [(path, reason)] to `bad`, each path once."""
        known = {path for path, _ in self.bad}
        self.bad += [(path, reason) for path, reason in broken if path not in known]


def reason_of(error):
    """Why a picture cannot be read, in words that follow its path."""
    text = str(error).replace("\n", " ")
    if isinstance(error, UnidentifiedImageError):
        return "is not a picture that can be read"
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return f"cannot be read: {text or type(error).__name__}"


@contextlib.contextmanager
def _quiet():
    """Without PIL's warnings of odd files. Not for many threads at once: the filters are the process's."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _open(path):
    image = Image.open(path)
    if image.width < 1 or image.height < 1 or image.width * image.height > PIXELS:
        image.close()
        raise ValueError(f"its size is {image.width}x{image.height}")
    return image


def read(path, size, channels):
    """uint8 [channels, size, size] of one file: straight RGBA, or RGB over black where it is transparent.

    A picture of another size is resized (antialiased, colours weighted by alpha) until its shorter side is `size`, and cropped in its
    middle. Of an animation it is the first picture; a picture that was turned in the camera is turned back."""
    with _open(path) as image:
        image.load()
        pixels = fit(_rgba(ImageOps.exif_transpose(image)), size)
    if channels == 3:
        colour = pixels[..., :3].astype(np.float32) * (pixels[..., 3:].astype(np.float32) / 255)
        pixels = np.floor(colour + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _rgba(image):
    """uint8 [h, w, 4], straight, black where alpha is 0."""
    if image.mode.startswith(("I", "F")):  # 16 bit or floats of one channel
        values = np.asarray(image).astype(np.float64)
        top = 1.0 if image.mode == "F" and values.max(initial=0) <= 1 else 65535.0 if image.mode != "F" or values.max(initial=0) > 255 else 255.0
        grey = np.floor(np.clip(np.nan_to_num(values) / top, 0, 1) * 255 + 0.5).astype(np.uint8)
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    if image.mode not in ("RGB", "RGBA", "L", "LA", "P", "PA", "1", "CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGBA" if image.mode in ("La", "RGBa") else "RGB")
    if image.mode in ("CMYK", "YCbCr", "HSV", "LAB"):
        image = image.convert("RGB")
    pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def fit(pixels, size):
    """Straight RGBA uint8 [h, w, 4] as [size, size, 4]; as it is where it has that size."""
    h, w = pixels.shape[:2]
    if (h, w) == (size, size):
        return pixels
    scale = size / min(h, w)
    width, height = max(size, round(w * scale)), max(size, round(h * scale))
    left, top = (width - size) // 2, (height - size) // 2
    box = (left * w / width, top * h / height, (left + size) * w / width, (top + size) * h / height)  # what the crop needs, in the picture
    opaque = bool((pixels[..., 3] == 255).all())
    if opaque:
        out = Image.fromarray(np.ascontiguousarray(pixels[..., :3])).resize((size, size), Image.Resampling.BILINEAR, box=box)
        return np.dstack([np.asarray(out), np.full((size, size), 255, np.uint8)])
    alpha = pixels[..., 3].astype(np.float32)
    planes = [pixels[..., c] * (alpha / 255) for c in range(3)] + [alpha]
    planes = [np.asarray(Image.fromarray(p.astype(np.float32)).resize((size, size), Image.Resampling.BILINEAR, box=box)) for p in planes]
    alpha = np.floor(np.clip(planes[3], 0, 255) + 0.5)
    colour = np.stack(planes[:3], axis=-1)
    colour = np.divide(colour * 255, planes[3][..., None], out=np.zeros_like(colour), where=planes[3][..., None] > 0)
    colour = np.floor(np.clip(colour, 0, 255) + 0.5) * (alpha > 0)[..., None]
    return np.dstack([colour, alpha]).astype(np.uint8)

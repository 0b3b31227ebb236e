"""Read tiles from a folder or a tar archive."""

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from detailflow_onnx.errors import Refused, brief, need
from detailflow_onnx.files import open_regular
from detailflow_onnx.train.data.image import reason_of, without_warnings

SIDE = 32
MAX_BYTES = 1 << 20  # a tile is a few hundred bytes; larger files are not tiles
MAX_PIXELS = 1 << 20
MAX_MEMBERS = 1 << 20
MAX_TOTAL = 1 << 30  # bytes of the tiles of an archive
ROOT_FOLDERS = {"item", "mon", "dngn", "player"}

Readers = dict[str, Callable[[], bytes]]  # path -> reads the bytes of the file


class Tiles:
    """The picture files below the root of a tile set, by their path without `.png`."""

    def __init__(self, readers: Readers) -> None:
        self._readers = readers
        self._pixels: dict[str, np.ndarray | None] = {}
        self.bad: list[tuple[str, str]] = []
        self.names = sorted(readers)
        self.folders: dict[str, list[str]] = {}
        for name in self.names:
            self.folders.setdefault(str(PurePosixPath(name).parent), []).append(name)

    def match(self, patterns: Iterable[str]) -> list[str]:
        """The names that one of `patterns` matches, in order."""
        patterns = tuple(patterns)
        return [n for n in self.names if any(matches(n, p) for p in patterns)]

    def pixels(self, name: str) -> np.ndarray | None:
        """uint8 [h, w, 4], straight, black where it is transparent; None if the file cannot be read."""
        if name not in self._pixels:
            try:
                self._pixels[name] = _decode(self._readers[name]())
            except Exception as error:  # Pillow does not document what a broken file raises
                self._pixels[name] = None
                self.bad.append((name + ".png", reason_of(error)))
        return self._pixels[name]

    def tile(self, name: str) -> np.ndarray | None:
        """The pixels of a tile of the regular size; None for others."""
        pixels = self.pixels(name)
        return pixels if pixels is not None and pixels.shape == (SIDE, SIDE, 4) else None

    def digest(self) -> str:
        """SHA-256 of the names and pixels that were read."""
        sha = hashlib.sha256()
        for name in sorted(self._pixels):
            pixels = self._pixels[name]
            if pixels is not None:
                sha.update(name.encode() + b"\0" + pixels.tobytes())
        return sha.hexdigest()


def matches(name: str, pattern: str) -> bool:
    """Whether a path matches a pattern whose `*` does not cross a slash."""
    return name.count("/") == pattern.count("/") and fnmatchcase(name, pattern)


def open_tiles(source: Path | str) -> Tiles:
    """The tiles in a folder or an archive. Their root may be at any depth."""
    source = Path(source)
    need(source.exists(), f"{source} does not exist: give the folder of the tiles, or their .tar.gz")
    try:
        files = _walk(source) if source.is_dir() else _unpack(source)
    except (OSError, tarfile.TarError, EOFError, ValueError) as error:
        reason = getattr(error, "strerror", None) or brief(error)
        raise Refused(f"{source} cannot be read as a folder or a tar archive of tiles: {reason}") from None
    root = _root(files)
    if root is None:
        names = "item, mon, dngn and player"
        raise Refused(f"{source} holds no folder with {names} in it: give the tile set of Dungeon Crawl Stone Soup")
    prefix = root + "/" if root else ""
    inside = {name[len(prefix) : -4]: read for name, read in files.items() if name.startswith(prefix)}
    return Tiles(inside)


def _is_tile(name: str) -> bool:
    return name.endswith(".png") and not PurePosixPath(name).name.startswith(".")


def _walk(folder: Path) -> Readers:
    files: Readers = {}
    for here, folders, names in os.walk(folder):
        folders.sort()
        for name in names:
            if _is_tile(name):
                path = Path(here, name)
                files[path.relative_to(folder).as_posix()] = _file_reader(path)
    return files


def _file_reader(path: Path) -> Callable[[], bytes]:
    def read() -> bytes:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
            return _limited(max(len(data), os.fstat(file.fileno()).st_size), lambda: data)

    return read


def _limited(size: int, read: Callable[[], bytes]) -> bytes:
    if size > MAX_BYTES:
        raise ValueError(f"{size} bytes are too many for a tile")
    return read()


def _member_reader(size: int, data: bytes) -> Callable[[], bytes]:
    return lambda: _limited(size, lambda: data)


def _unpack(archive: Path) -> Readers:
    """The pictures of a tar archive, in memory. Nothing is written, so names in the archive cannot do harm."""
    files: Readers = {}
    total = 0
    with open_regular(archive) as whole, tarfile.open(fileobj=whole) as tar:
        for count, member in enumerate(tar):
            need(count < MAX_MEMBERS, f"{archive} has more than {MAX_MEMBERS} members")
            if not (member.isfile() and _is_tile(member.name)):
                continue
            total += min(member.size, MAX_BYTES)
            need(total <= MAX_TOTAL, f"{archive} has more than {MAX_TOTAL} bytes of pictures")
            file = tar.extractfile(member) if member.size <= MAX_BYTES else None
            files[PurePosixPath(member.name).as_posix()] = _member_reader(member.size, file.read() if file else b"")
    return files


def _root(files: Iterable[str]) -> str | None:
    """The topmost folder that contains the ROOT_FOLDERS."""
    inside: dict[str, set[str]] = {}
    for name in files:
        parts = name.split("/")
        for k in range(len(parts) - 1):
            inside.setdefault("/".join(parts[:k]), set()).add(parts[k])
    roots = [folder for folder, names in inside.items() if names >= ROOT_FOLDERS]
    return min(roots, key=lambda r: (r.count("/"), r), default=None)


def _decode(data: bytes) -> np.ndarray:
    with without_warnings(), Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        if image.width * image.height > MAX_PIXELS:
            raise ValueError(f"{image.width}x{image.height} is too large for a tile")
        pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0
    return pixels

"""Tiles of Angband: Adam Bolt's 16 pixel tiles, enlarged to sprites.

`source` is a folder with the files of Debian's packages `angband-data` (the tiles) and `angband` (the tables), as
`dpkg -x` writes them. The copyright file says of `16x16.png`: "Adam Bolt's (16x16) graphics may be redistributed and
used for any purpose, with or without modification." Which tile shows what follows from the game's own tables: monsters
and their kinds, objects, and the looks of potions, rings, wands and the like.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from detailflow_onnx.errors import Refused, need
from detailflow_onnx.files import open_regular, read_bytes
from detailflow_onnx.train.data.image import reason_of, without_warnings
from detailflow_onnx.train.data.sprites.compose import Picture
from detailflow_onnx.train.data.sprites.tables import ANGBAND_KINDS
from detailflow_onnx.train.data.sprites.tiles import SIDE

PREFIX = "angband-"  # of the names of files
TILE = 16
MAX_TABLE = 4 << 20  # bytes of a table
MAX_PIXELS = 1 << 22
LEAST = 1 / 10  # painted share of the enlarged tile
MOST = 0.9  # painted share; fuller tiles have a background
FILES = ("16x16.png", "graf-new.prf", "flvr-new.prf", "monster.txt", "flavor.txt")
PLAYER_ROWS, PLAYER_COLUMNS = range(0x12, 0x1D), range(16)  # a row of each profession, a column of each race
FLOOR_ROW, FLOOR_COLUMNS = 0x36, range(0x14, 0x20)

Omitted = list[list[str]]  # [[name, reason]]


def pictures(source: Path | str) -> tuple[list[Picture], Omitted]:
    """(the sprites, [[name, why it was left out]]) of the files in `source`, in the order of the tables."""
    found = _files(Path(source))
    sheet = _sheet(found["16x16.png"])
    chosen: list[Picture] = []
    left_out: Omitted = []
    for kind, name, (row, column) in _entries(found):
        tile = sheet[row * TILE : (row + 1) * TILE, column * TILE : (column + 1) * TILE]
        if tile.shape != (TILE, TILE, 4):
            continue
        if kind == "floor":
            chosen.append((kind, name, tile.repeat(2, 0).repeat(2, 1)))
            continue
        pixels = enlarged(tile)
        share = float((pixels[..., 3] > 0).mean())
        if share < LEAST:
            left_out.append([name, f"paints {share:.0%} of the tile"])
        elif share > MOST:
            left_out.append([name, "has a background"])
        else:
            chosen.append((kind, name, pixels))
    need(chosen, f"{source}: its tables name no tiles")
    return chosen, left_out


def _files(source: Path) -> dict[str, Path]:
    need(source.is_dir(), f"{source} is not a folder: give the one into which `dpkg -x` wrote angband-data and angband")
    found: dict[str, Path] = {}
    for here, folders, names in os.walk(source):
        folders.sort()
        for name in FILES:
            if name in names:
                found.setdefault(name, Path(here, name))
    missing = [name for name in FILES if name not in found]
    packages = "Debian's packages angband-data (tiles) and angband (tables)"
    need(not missing, f"{source} has no {', '.join(missing)}: give the files of {packages}")
    return found


def _sheet(path: Path) -> np.ndarray:
    """uint8 [h, w, 4], black where it is transparent."""
    try:
        with without_warnings(), open_regular(path) as file, Image.open(file, formats=["PNG"]) as image:
            need(image.width * image.height <= MAX_PIXELS, f"{path} is {image.width}x{image.height}: too large")
            pixels = np.array(image.convert("RGBA"))
    except Refused:
        raise
    except Exception as error:  # Pillow does not document what a broken file raises
        raise Refused(f"{path}: {reason_of(error)}") from None
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def _lines(path: Path) -> Iterator[list[str]]:
    """The fields of each line of a table, separated by colons."""
    for line in read_bytes(path, MAX_TABLE).decode("utf-8", "replace").splitlines():
        line = line.strip()
        if line and not line.startswith("#"):
            yield line.split(":")


def _place(row: str, column: str) -> tuple[int, int] | None:
    """A tile's row and column in the sheet; bit 7 says that it is a tile."""
    try:
        return int(row, 0) & 0x7F, int(column, 0) & 0x7F
    except ValueError:
        return None


def _monsters(path: Path) -> dict[str, str]:
    """{serial: template}."""
    out, serial = {}, ""
    for fields in _lines(path):
        if fields[0] == "N" and len(fields) > 1:
            serial = fields[1]
        elif fields[0] == "T" and len(fields) > 1:
            out[serial] = fields[1]
    return out


def _flavours(path: Path) -> dict[str, str]:
    """{serial: kind of object}."""
    out, kind = {}, ""
    for fields in _lines(path):
        if fields[0] == "kind" and len(fields) > 1:
            kind = fields[1]
        elif fields[0] in ("flavor", "fixed") and len(fields) > 1:
            out[fields[1]] = kind
    return out


def _entries(found: dict[str, Path]) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """(class, name, row and column) of every tile that shows a class, each tile once."""
    templates, kinds = _monsters(found["monster.txt"]), _flavours(found["flavor.txt"])
    known: set[tuple[int, int]] = set()

    def once(what: str, name: str, place: tuple[int, int] | None) -> Iterator[tuple[str, str, tuple[int, int]]]:
        kind = ANGBAND_KINDS.get(what)
        if kind and place and place not in known:
            known.add(place)
            yield kind, f"{PREFIX}{name}", place

    for fields in _lines(found["graf-new.prf"]):
        if fields[0] == "R" and len(fields) == 4:
            template = templates.get(fields[1], "")
            yield from once(template, f"{template}-{fields[1]}".replace(" ", "-"), _place(fields[2], fields[3]))
        elif fields[0] == "K" and len(fields) == 5:
            name = "".join(c if c.isalnum() else "-" for c in f"{fields[1]}-{fields[2]}".lower())
            yield from once(fields[1], name, _place(fields[3], fields[4]))
    for fields in _lines(found["flvr-new.prf"]):
        if fields[0] == "L" and len(fields) == 4:
            kind = kinds.get(fields[1], "")
            yield from once(kind, f"{kind}-{fields[1]}", _place(fields[2], fields[3]))
    for row in PLAYER_ROWS:
        for column in PLAYER_COLUMNS:
            yield from once("player", f"player-{row:02x}{column:02x}", (row, column))
    for column in FLOOR_COLUMNS:
        yield from once("floor", f"floor-{column:02x}", (FLOOR_ROW, column))


def enlarged(tile: np.ndarray) -> np.ndarray:
    """A tile [16, 16, 4] as a sprite [32, 32, 4]: two, three or four times as large, whichever fits, and centred.

    Scale2x and Scale3x keep the colours and make diagonals finer than squares of pixels would.
    """
    rows, columns = np.flatnonzero(tile[..., 3].any(1)), np.flatnonzero(tile[..., 3].any(0))
    if not len(rows):
        return np.zeros((SIDE, SIDE, 4), np.uint8)
    part = tile[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    largest = max(part.shape[:2])
    if largest * 4 <= SIDE:
        part = scale2x(scale2x(part))
    elif largest * 3 <= SIDE:
        part = scale3x(part)
    else:
        part = scale2x(part)
    h, w = part.shape[:2]
    out = np.zeros((SIDE, SIDE, 4), np.uint8)
    top, left = (SIDE - h) // 2, (SIDE - w) // 2
    out[top : top + h, left : left + w] = part
    return out


def _around(pixels: np.ndarray) -> dict[tuple[int, int], np.ndarray]:
    """The eight neighbours of each pixel as numbers of colours, and the pixel itself; edges repeat."""
    codes = pixels.astype(np.uint32) @ np.array([1 << 24, 1 << 16, 1 << 8, 1], np.uint32)
    wide, (h, w) = np.pad(codes, 1, mode="edge"), codes.shape
    return {(y, x): wide[1 + y : 1 + y + h, 1 + x : 1 + x + w] for y in (-1, 0, 1) for x in (-1, 0, 1)}


def _colours(codes: np.ndarray) -> np.ndarray:
    return np.stack([(codes >> shift & 0xFF).astype(np.uint8) for shift in (24, 16, 8, 0)], -1)


def scale2x(pixels: np.ndarray) -> np.ndarray:
    """The Scale2x filter: uint8 [h, w, 4] -> [2h, 2w, 4]."""
    n = _around(pixels)
    up, left, right, down, own = n[-1, 0], n[0, -1], n[0, 1], n[1, 0], n[0, 0]
    edge = (up != down) & (left != right)
    out = np.empty((2 * own.shape[0], 2 * own.shape[1]), np.uint32)
    out[0::2, 0::2] = np.where(edge & (left == up), left, own)
    out[0::2, 1::2] = np.where(edge & (up == right), right, own)
    out[1::2, 0::2] = np.where(edge & (left == down), left, own)
    out[1::2, 1::2] = np.where(edge & (down == right), right, own)
    return _colours(out)


def scale3x(pixels: np.ndarray) -> np.ndarray:
    """The Scale3x filter: uint8 [h, w, 4] -> [3h, 3w, 4]."""
    n = _around(pixels)
    a, b, c, d, e, f, g, h, i = (n[y, x] for y in (-1, 0, 1) for x in (-1, 0, 1))
    edge = (b != h) & (d != f)
    out = np.empty((3 * e.shape[0], 3 * e.shape[1]), np.uint32)
    out[0::3, 0::3] = np.where(edge & (d == b), d, e)
    out[0::3, 1::3] = np.where(edge & (((d == b) & (e != c)) | ((b == f) & (e != a))), b, e)
    out[0::3, 2::3] = np.where(edge & (b == f), f, e)
    out[1::3, 0::3] = np.where(edge & (((d == b) & (e != g)) | ((d == h) & (e != a))), d, e)
    out[1::3, 1::3] = e
    out[1::3, 2::3] = np.where(edge & (((b == f) & (e != i)) | ((h == f) & (e != c))), f, e)
    out[2::3, 0::3] = np.where(edge & (d == h), d, e)
    out[2::3, 1::3] = np.where(edge & (((d == h) & (e != i)) | ((h == f) & (e != g))), h, e)
    out[2::3, 2::3] = np.where(edge & (h == f), f, e)
    return _colours(out)

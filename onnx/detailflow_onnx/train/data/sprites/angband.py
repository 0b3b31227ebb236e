"""Tiles of Angband: Adam Bolt's of 16 pixels, enlarged to sprites, and David Gervais's of 32 pixels.

`source` is a folder with the files of Debian's packages `angband-data` (the tiles) and `angband` (the tables), as
`dpkg -x` writes them. The copyright file says of `16x16.png`: "Adam Bolt's (16x16) graphics may be redistributed and
used for any purpose, with or without modification", and that David Gervais's `32x32.png` is under CC BY 3.0. Which tile
shows what follows from the game's own tables: monsters and their kinds, objects, and the looks of potions, rings, wands
and the like.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from detailflow_onnx.errors import Refused, need
from detailflow_onnx.files import open_regular, read_bytes
from detailflow_onnx.train.data.image import reason_of, without_warnings
from detailflow_onnx.train.data.sprites.compose import Picture
from detailflow_onnx.train.data.sprites.enlarge import enlarged
from detailflow_onnx.train.data.sprites.tables import ANGBAND_KINDS, GERVAIS_KINDS, GERVAIS_PARTS
from detailflow_onnx.train.data.sprites.tiles import SIDE

MAX_TABLE = 4 << 20  # bytes of a table
MAX_PIXELS = 1 << 22
LEAST = 1 / 10  # painted share of the tile as it is used
MOST = 0.9  # painted share; fuller tiles have a background
GROUND = ("floor", "wall", "water", "structure")  # classes whose tiles may fill the tile


@dataclass(frozen=True)
class Tileset:
    """One of the game's sheets of tiles, and the tables that say what they show."""

    artist: str
    prefix: str  # of the names of files
    sheet: str
    graphics: str  # places of monsters and kinds of objects
    looks: str  # places of the looks of potions, rings, wands and the like
    side: int  # pixels of a tile
    kinds: dict[str, str]  # {template of monsters or kind of object: class}
    # Parts of the sheet that no table names: {class or one of `kinds`: ((row, columns), ...)}.
    parts: dict[str, tuple[tuple[int, range], ...]]

    @property
    def files(self) -> tuple[str, ...]:
        """The files that are read."""
        return self.sheet, self.graphics, self.looks, "monster.txt", "flavor.txt"


BOLT = Tileset(
    "Adam Bolt",
    "angband-",
    "16x16.png",
    "graf-new.prf",
    "flvr-new.prf",
    16,
    ANGBAND_KINDS,
    {
        # A row of each profession, a column of each race.
        "player": tuple((row, range(16)) for row in range(0x12, 0x1D)),
        "floor": ((0x36, range(0x14, 0x20)),),
    },
)
GERVAIS = Tileset(
    "David Gervais", "gervais-", "32x32.png", "graf-dvg.prf", "flvr-dvg.prf", 32, GERVAIS_KINDS, GERVAIS_PARTS
)

Omitted = list[list[str]]  # [[name, reason]]


def pictures(source: Path | str, tiles: Tileset = BOLT) -> tuple[list[Picture], Omitted]:
    """(the sprites, [[name, why it was left out]]) of the files in `source`, in the order of the tables."""
    found = _files(Path(source), tiles.files)
    sheet, side = _sheet(found[tiles.sheet]), tiles.side
    chosen: list[Picture] = []
    left_out: Omitted = []
    for kind, name, (row, column) in _entries(found, tiles):
        tile = sheet[row * side : (row + 1) * side, column * side : (column + 1) * side]
        if tile.shape != (side, side, 4):
            continue
        ground = kind in GROUND and (tile[..., 3] > 0).mean() > MOST
        if side == SIDE:
            pixels = tile
        else:
            pixels = tile.repeat(SIDE // side, 0).repeat(SIDE // side, 1) if ground else enlarged(tile)
        share = float((pixels[..., 3] > 0).mean())
        if share < LEAST:
            left_out.append([name, f"paints {share:.0%} of the tile"])
        elif share > MOST and not ground:
            left_out.append([name, "has a background"])
        else:
            chosen.append((kind, name, pixels))
    need(chosen, f"{source}: its tables name no tiles")
    return chosen, left_out


def _files(source: Path, names: tuple[str, ...]) -> dict[str, Path]:
    need(source.is_dir(), f"{source} is not a folder: give the one into which `dpkg -x` wrote angband-data and angband")
    found: dict[str, Path] = {}
    for here, folders, present in os.walk(source):
        folders.sort()
        for name in names:
            if name in present:
                found.setdefault(name, Path(here, name))
    missing = [name for name in names if name not in found]
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


def _entries(found: dict[str, Path], tiles: Tileset) -> Iterator[tuple[str, str, tuple[int, int]]]:
    """(class, name, row and column) of every tile that shows a class, each tile once."""
    templates, kinds = _monsters(found["monster.txt"]), _flavours(found["flavor.txt"])
    known: set[tuple[int, int]] = set()
    names: set[tuple[str, str]] = set()

    def once(what: str, name: str, place: tuple[int, int] | None) -> Iterator[tuple[str, str, tuple[int, int]]]:
        kind = tiles.kinds.get(what)
        if kind and place and place not in known:
            known.add(place)
            row, column = place
            # A kind of object can have a tile of its name and one of its look.
            repeated = (kind, name) in names
            names.add((kind, name))
            yield kind, f"{tiles.prefix}{name}" + (f"-{row:02x}{column:02x}" if repeated else ""), place

    for fields in _lines(found[tiles.graphics]):
        if fields[0] == "R" and len(fields) == 4:
            template = templates.get(fields[1], "")
            yield from once(template, f"{template}-{fields[1]}".replace(" ", "-"), _place(fields[2], fields[3]))
        elif fields[0] == "K" and len(fields) == 5:
            name = "".join(c if c.isalnum() else "-" for c in f"{fields[1]}-{fields[2]}".lower())
            yield from once(fields[1], name, _place(fields[3], fields[4]))
    for fields in _lines(found[tiles.looks]):
        if fields[0] == "L" and len(fields) == 4:
            kind = kinds.get(fields[1], "")
            yield from once(kind, f"{kind}-{fields[1]}", _place(fields[2], fields[3]))
    for what, places in tiles.parts.items():
        for row, columns in places:
            for column in columns:
                number = f"{column:02x}" if len(places) == 1 else f"{row:02x}{column:02x}"
                yield from once(what, f"{what}-{number}", (row, column))

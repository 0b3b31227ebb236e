"""Choose the tiles of each class and write the sprite set."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detailflow_onnx import output
from detailflow_onnx.errors import need
from detailflow_onnx.train.data.folder import held_out_files
from detailflow_onnx.train.data.sprites import angband, compose
from detailflow_onnx.train.data.sprites.compose import Picture, file_name
from detailflow_onnx.train.data.sprites.tables import CLASSES, ELSEWHERE, FOLDERS, LEFT_OUT, SMALL
from detailflow_onnx.train.data.sprites.tiles import SIDE, Tiles, matches, open_tiles

LICENSE = "CC0-1.0"
ATTRIBUTED = "CC-BY-3.0"
FEWEST = 12  # tiles of a class of the attributed set
# Tiles that the CC0 release does not have: a source with them has all tiles of the game.
UNCLEAR = ("item/ring/agate", "item/ring/copper", "item/ring/pearl", "player/body/ringmail")
MIXED_LICENSE = "unclear in part: see github.com/crawl/tiles for the tiles that are CC0-1.0"
LEAST = 1 / 6  # painted share of a tile; icons drawn over items paint less
FILLED = 0.98  # painted share of a ground tile

Omitted = list[list[str]]  # [[path, reason]]


def build(
    source: Path | str, out: Path | str, *, seed: int = 0, more: Path | str | None = None, held_out: float = 0.05
) -> dict[str, Any]:
    """Write the set to the folder `out`: OUT/CLASS/*.png (32x32, straight RGBA), OUT/labels.txt and OUT/data.json.

    `source` is a folder or a tar archive. `more`: the files of Debian's packages angband and angband-data,
    whose tiles are added.
    The pictures are then in OUT/train/CLASS and OUT/val/CLASS: `held_out` of each class of each source is held out, and
    of the first source exactly what would be held out without `more`. Returns the content of data.json: the count of
    every class, and what was left out and why.
    """
    out = Path(out).absolute()
    tiles = open_tiles(source)
    pictures, left_out = _choose(tiles)
    bad = [[name, reason] for name, reason in tiles.bad]
    composed = {}
    for kind, made in (
        ("layers", compose.layers(tiles)),
        ("rings", compose.rings(tiles)),
        ("adventurers", compose.adventurers(tiles, seed)),
    ):
        composed[kind] = len(made)
        pictures += made
    sources = [{"name": "Dungeon Crawl Stone Soup tiles", "sha256": tiles.digest()}]
    if more is not None:
        added, omitted = angband.pictures(more)
        pictures += added
        left_out += omitted
        name = f"Angband tiles by {angband.BOLT.artist}"
        sources.append({"name": name, "sha256": _digest(added), "prefix": angband.BOLT.prefix})
    pictures, duplicates = _unique(pictures)
    counts = {c: sum(1 for kind, _, _ in pictures if kind == c) for c in CLASSES}
    for c in CLASSES:
        need(counts[c], f"{source} has no tiles of the class {c}: is it the tile set of Dungeon Crawl Stone Soup?")
    summary = {
        "source": sources[0],
        "sources": sources,
        "license": MIXED_LICENSE if tiles.match(UNCLEAR) else LICENSE,
        "seed": seed,
        "size": SIDE,
        "counts": counts,
        "composed": composed,
        "pictures": len(pictures),
        "bad": bad,
        "left_out": left_out + duplicates,
    }
    held = _held_out(pictures, held_out) if more is not None else None
    _write(out, pictures, CLASSES, summary, held)
    return summary


def build_attributed(source: Path | str, out: Path | str) -> dict[str, Any]:
    """Write the tiles of David Gervais, which are under CC BY 3.0, to the folder `out`, as `build` does.

    `source`: a folder with the files of Debian's packages angband and angband-data. Classes of fewer than FEWEST tiles
    are left out.
    """
    out = Path(out).absolute()
    pictures, left_out = angband.pictures(source, angband.GERVAIS)
    pictures, duplicates = _unique(pictures)
    every = {c: sum(1 for kind, _, _ in pictures if kind == c) for c in CLASSES}
    counts = {c: count for c, count in every.items() if count >= FEWEST}
    need(counts, f"{source}: no class has {FEWEST} tiles")
    few = [[f"{kind}/{name}.png", "its class has few tiles"] for kind, name, _ in pictures if kind not in counts]
    pictures = [picture for picture in pictures if picture[0] in counts]
    name = f"Angband tiles by {angband.GERVAIS.artist}"
    summary = {
        "source": {"name": name, "sha256": _digest(pictures)},
        "license": ATTRIBUTED,
        "size": SIDE,
        "counts": counts,
        "pictures": len(pictures),
        "left_out": left_out + duplicates + few,
    }
    _write(out, pictures, tuple(counts), summary, None)
    return summary


def _digest(pictures: list[Picture]) -> str:
    return hashlib.sha256(b"".join(name.encode() + pixels.tobytes() for _, name, pixels in pictures)).hexdigest()


def _write(
    out: Path, pictures: list[Picture], classes: Sequence[str], summary: dict[str, Any], held: set[str] | None
) -> None:
    """Write class folders, in train/ and val/ if the `held` out ones are given, labels.txt and data.json."""
    if len({(kind, name) for kind, name, _ in pictures}) < len(pictures):
        raise AssertionError("two pictures have one name")
    with output.replacing(out) as work:
        for kind, name, pixels in pictures:
            folder = work / kind
            if held is not None:
                folder = work / ("val" if f"{kind}/{name}.png" in held else "train") / kind
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(folder / f"{name}.png")
        (work / "labels.txt").write_text("\n".join(classes) + "\n")
        (work / "data.json").write_text(json.dumps(summary, indent=1) + "\n")


def _held_out(pictures: list[Picture], share: float) -> set[str]:
    """The held-out files of both sources. Figures of one drawing in many colours are all trained on."""
    held: set[str] = set()
    for kind in CLASSES:
        files = [f"{name}.png" for c, name, _ in pictures if c == kind]
        first = [file for file in files if not file.startswith(angband.BOLT.prefix)]
        second = [file for file in files if file.startswith(angband.BOLT.prefix) and "-player-" not in file]
        for some in (first, second):
            if some:
                held |= held_out_files(kind, some, share)
    return held


def _choose(tiles: Tiles) -> tuple[list[Picture], Omitted]:
    """The tiles that are used as they are, and those left out."""
    moved = {name: c for c, patterns in ELSEWHERE.items() for name in tiles.match(patterns)}
    wanted = {name: c for c in CLASSES for folder in FOLDERS.get(c, ()) for name in tiles.folders.get(folder, ())}
    wanted.update(moved)
    chosen: list[Picture] = []
    left_out = []
    for name in sorted(wanted):
        pixels = tiles.pixels(name)
        if pixels is None:
            continue
        listed = (why for patterns, why in LEFT_OUT if any(matches(name, p) for p in patterns))
        reason = next(listed, None)
        if reason is None:
            pixels, reason = _centred(pixels)
        if reason is None:
            reason = _reason_to_omit(name, wanted[name], pixels)
        if reason is None:
            chosen.append((wanted[name], file_name(name), pixels))
        else:
            left_out.append([name + ".png", reason])
    return chosen, left_out


def _reason_to_omit(name: str, kind: str, pixels: np.ndarray) -> str | None:
    share = float((pixels[..., 3] > 0).mean())
    if share < LEAST and not any(matches(name, p) for p in SMALL):
        return f"paints {share:.0%} of the tile"
    if kind in ("floor", "wall", "water") and share < FILLED and "clear" not in name:
        return "ground that does not fill the tile"
    return None


def _centred(pixels: np.ndarray) -> tuple[np.ndarray, str | None]:
    """(the tile centred in 32x32 pixels, None), or (pixels, the reason) if it is larger."""
    h, w = pixels.shape[:2]
    if max(h, w) > SIDE:
        return pixels, f"is {w}x{h}, larger than a tile"
    tile = np.zeros((SIDE, SIDE, 4), np.uint8)
    top, left = (SIDE - h) // 2, (SIDE - w) // 2
    tile[top : top + h, left : left + w] = pixels
    return tile, None


def _unique(pictures: list[Picture]) -> tuple[list[Picture], Omitted]:
    """The pictures without later ones of the same pixels."""
    known: dict[bytes, str] = {}
    kept, duplicates = [], []
    for kind, name, pixels in pictures:
        path = f"{kind}/{name}.png"
        first = known.setdefault(pixels.tobytes(), path)
        if first == path:
            kept.append((kind, name, pixels))
        else:
            duplicates.append([path, f"the same pixels as {first}"])
    return kept, duplicates

"""A set of 64-pixel icons from emoji: classes are groups of Unicode's subcategories.

The sources are npm packages: `emoji-datasource-google` (Noto), `emoji-datasource-twitter` (Twemoji), both with the
table `emoji.json`, and `@lobehub/fluent-emoji-3d` (Fluent, without a table). An emoji that is held out is so in every
design, and with the woman, the man and the person of one profession, which are nearly one drawing.
"""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from detailflow_onnx import output
from detailflow_onnx.errors import Refused, need, shown
from detailflow_onnx.files import parsed_json, read_json, read_text
from detailflow_onnx.train.data.folder import held_out_files
from detailflow_onnx.train.data.image import fit, read_whole, reason_of, without_warnings

SIDE = 64
TABLE = "emoji.json"
GENDERS = ("2640", "2642")  # signs of woman and man
PERSON, PEOPLE = "1f9d1", ("1f468", "1f469")  # man, woman
CODE = re.compile(r"[0-9A-F]{2,6}(-[0-9A-F]{2,6})*")


@dataclass(frozen=True)
class Design:
    """The pictures of one package: `folder`/CODE`suffix`."""

    name: str
    folder: str
    suffix: str
    license: str


DESIGNS = {
    "emoji-datasource-google": Design("noto", "img/google/64", ".png", "Apache-2.0"),
    "emoji-datasource-twitter": Design("twemoji", "img/twitter/64", ".png", "CC-BY-4.0"),
    "@lobehub/fluent-emoji-3d": Design("fluent", "assets", ".webp", "MIT"),
}

# Subcategories of each class. Letters, signs and flags are left out: mirrored, or in another hue, they are wrong.
CLASSES = {
    "face": (
        *("face-smiling", "face-affection", "face-tongue", "face-hand", "face-neutral-skeptical", "face-sleepy"),
        *("face-unwell", "face-hat", "face-glasses", "face-concerned", "face-negative", "face-costume"),
        *("cat-face", "monkey-face"),
    ),
    "heart": ("heart", "emotion"),
    "hand": (
        *("hand-fingers-open", "hand-fingers-partial", "hand-single-finger", "hand-fingers-closed", "hands"),
        *("hand-prop", "body-parts"),
    ),
    "person": ("person", "person-gesture", "person-activity", "person-resting", "person-symbol", "family"),
    "profession": ("person-role",),
    "athlete": ("person-sport",),
    "fantasy": ("person-fantasy",),
    "mammal": ("animal-mammal",),
    "bird": ("animal-bird",),
    "crawler": ("animal-bug", "animal-reptile", "animal-amphibian"),
    "marine": ("animal-marine",),
    "plant": ("plant-flower", "plant-other"),
    "fruit": ("food-fruit", "food-vegetable"),
    "meal": ("food-prepared", "food-asian"),
    "sweet": ("food-sweet",),
    "drink": ("drink", "dishware"),
    "building": ("place-building", "place-religious", "hotel"),
    "place": ("place-geographic", "place-map", "place-other"),
    "vehicle": ("transport-ground",),
    "craft": ("transport-air", "transport-water"),
    "sky": ("sky & weather",),
    "clock": ("time",),
    "event": ("event", "award-medal"),
    "game": ("sport", "game", "arts & crafts"),
    "clothing": ("clothing",),
    "music": ("music", "musical-instrument", "sound"),
    "device": ("computer", "phone", "light & video", "science", "medical"),
    "paper": ("book-paper", "writing", "office", "mail", "money"),
    "tool": ("tool", "lock", "household", "other-object"),
}
OF_SUBCATEGORY = {subcategory: name for name, some in CLASSES.items() for subcategory in some}

Codes = dict[str, list[str]]  # the emoji of each class


def build(sources: Sequence[Path | str], out: Path | str, *, held_out: float = 0.05) -> dict[str, Any]:
    """Write OUT/train/CLASS/*.png and OUT/val/CLASS/*.png (64x64, straight RGBA), OUT/labels.txt and OUT/data.json.

    `sources`: the unpacked packages, one of which has the table. `held_out`: the share of the emoji of each class that
    are in `val`. Returns the content of data.json: the count of every class, licences, and what was left out and why.
    """
    out = Path(out).absolute()
    found = [(Path(source).absolute(), _design(Path(source))) for source in sources]
    names = [design.name for _, design in found]
    need(len(set(names)) == len(names), f"two sources are the design {Counter(names).most_common(1)[0][0]}")
    table = next((path / TABLE for path, _ in found if (path / TABLE).is_file()), None)
    tables = "emoji-datasource-google or emoji-datasource-twitter"
    if table is None:
        raise Refused(f"no source has {TABLE}, which says what the pictures show: add {tables}")
    codes = _codes(table)
    held = {
        f"{kind}/{code}"
        for kind, some in codes.items()
        for chosen in [held_out_files(kind, sorted({_base(code) for code in some}), held_out)]
        for code in some
        if f"{kind}/{_base(code)}" in chosen
    }
    counts: Counter[str] = Counter()
    left_out: list[list[str]] = []
    with output.replacing(out) as work, without_warnings():
        for path, design in found:
            for kind, code, pixels, reason in _pictures(path, design, codes):
                if pixels is None:
                    left_out.append([f"{design.name}-{code}", reason])
                    continue
                folder = work / ("val" if f"{kind}/{code}" in held else "train") / kind
                folder.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(folder / f"{design.name}-{code}.png")
                counts[kind] += 1
        for kind in codes:
            need((work / "train" / kind).is_dir(), f"the sources have no picture of the class {kind} to train on")
        summary = {
            "sources": [{"design": design.name, "license": design.license} for _, design in found],
            "license": " AND ".join(dict.fromkeys(design.license for _, design in found)),
            "size": SIDE,
            "counts": {kind: counts[kind] for kind in codes},
            "pictures": sum(counts.values()),
            "held_out": sorted(held),
            "left_out": left_out,
        }
        (work / "labels.txt").write_text("\n".join(codes) + "\n")
        (work / "data.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _design(source: Path) -> Design:
    need(source.is_dir(), f"{source} is not a folder: give an unpacked npm package")
    name = read_json(source / "package.json").get("name")
    known = ", ".join(DESIGNS)
    design = DESIGNS.get(name) if isinstance(name, str) else None
    if design is None:
        raise Refused(f"{source / 'package.json'}: its name is {shown(name)}; known are {known}")
    return design


def _base(code: str) -> str:
    """The emoji without its gender: the sign that is joined to it, or the person that something is joined to."""
    joined = code.split("-200d-")
    joined = [part for part in joined if part.removesuffix("-fe0f") not in GENDERS]
    return "-200d-".join(PERSON if part in PEOPLE else part for part in joined).removesuffix("-fe0f")


def _codes(table: Path) -> Codes:
    """The emoji of each class, in the order of Unicode."""
    entries = parsed_json(read_text(table), table)
    need(isinstance(entries, list), f"{table}: not a list of emoji")
    codes: Codes = {kind: [] for kind in CLASSES}
    seen: set[str] = set()
    for entry in entries:
        code, group = (entry.get(key) if isinstance(entry, dict) else None for key in ("unified", "subcategory"))
        if not isinstance(code, str) or not CODE.fullmatch(code):
            raise Refused(f"{table}: an entry has no code points in hexadecimal: {shown(code)}")
        kind = OF_SUBCATEGORY.get(group) if isinstance(group, str) else None
        if kind and code not in seen:
            seen.add(code)
            codes[kind].append(code.lower())
    empty = [kind for kind, some in codes.items() if not some]
    need(not empty, f"{table}: no emoji of the class {', '.join(empty)}; its subcategories are of another version")
    return {kind: sorted(some) for kind, some in codes.items()}


def _pictures(path: Path, design: Design, codes: Codes) -> Iterator[tuple[str, str, np.ndarray | None, str]]:
    """(class, emoji, uint8 [SIDE, SIDE, 4] or None, why not) of every emoji of one design."""
    for kind, some in codes.items():
        for code in some:
            try:
                pixels, _ = read_whole(path / design.folder / f"{code}{design.suffix}")
                yield kind, code, fit(pixels, SIDE), ""
            except Exception as error:  # Pillow does not document what a broken file raises
                yield kind, code, None, reason_of(error)

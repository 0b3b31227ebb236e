"""The set of icons: classes, held-out emoji, packages that are not what they should be. All are made here."""

import json

import numpy as np
import pytest
from detailflow_onnx.cli import main
from detailflow_onnx.errors import Refused
from detailflow_onnx.train.data import icons
from detailflow_onnx.train.data.folder import open_folder
from PIL import Image

OF_EACH = 10
LETTER, AGAIN = "1F170", "1F000"


def table():
    """Ten emoji of each class, of its first subcategory, one named twice, and a letter."""
    kinds = [some[0] for some in icons.CLASSES.values() for _ in range(OF_EACH)]
    emoji = [{"unified": f"{0x1F000 + k:X}", "subcategory": group} for k, group in enumerate(kinds)]
    return [*emoji, emoji[0], {"unified": LETTER, "subcategory": "alphanum"}]


def package(home, name, side, entries=None):
    """An unpacked package with a picture of each emoji; with the table if `entries` are given."""
    design = icons.DESIGNS[name]
    (home / design.folder).mkdir(parents=True)
    (home / "package.json").write_text(json.dumps({"name": name}))
    for k, entry in enumerate(table()):
        pixels = np.zeros((side, side, 4), np.uint8)
        pixels[side // 4 : -side // 4, side // 4 : -side // 4] = [k % 256, k // 256, len(name), 255]
        Image.fromarray(pixels).save(home / design.folder / f"{entry['unified'].lower()}{design.suffix}", lossless=True)
    if entries is not None:
        (home / "emoji.json").write_text(json.dumps(entries))
    return home


@pytest.fixture
def noto(tmp_path):
    return package(tmp_path / "noto", "emoji-datasource-google", 64, table())


@pytest.fixture
def fluent(tmp_path):
    return package(tmp_path / "fluent", "@lobehub/fluent-emoji-3d", 256)


def test_icons_are_of_every_design_and_emoji_are_held_out_in_all(tmp_path, noto, fluent, capsys):
    (fluent / f"assets/{AGAIN.lower()}.webp").unlink()
    (fluent / "assets/1f001.webp").write_bytes(b"RIFF, and no picture")
    sources = ["--source", str(fluent), "--source", str(noto)]
    assert main(["train", "data", "icons", *sources, "--out", f"{tmp_path}/out"]) == 0
    count = len(icons.CLASSES)
    said = capsys.readouterr().out
    assert f"{2 * OF_EACH * count - 2} pictures of {count} classes, 2 missing or unreadable ones left out" in said
    assert "MIT AND Apache-2.0" in said
    summary = json.loads((tmp_path / "out/data.json").read_text())
    left_out = {name for name, _ in summary["left_out"]}
    assert left_out == {f"fluent-{AGAIN.lower()}", "fluent-1f001"}
    assert summary["counts"]["face"] == 2 * OF_EACH - 2 and summary["counts"]["tool"] == 2 * OF_EACH
    assert (tmp_path / "out/labels.txt").read_text().split("\n")[:-1] == list(icons.CLASSES)
    assert not list((tmp_path / "out").rglob(f"*{LETTER.lower()}*"))  # letters are no icons

    def emoji(half, design):
        return {path.stem.removeprefix(f"{design}-") for path in (tmp_path / "out" / half).glob(f"*/{design}-*.png")}

    absent = {AGAIN.lower(), "1f001"}
    assert emoji("val", "noto") - absent == emoji("val", "fluent") and len(emoji("val", "noto")) == count
    assert not emoji("val", "noto") & (emoji("train", "noto") | emoji("train", "fluent"))
    folder = open_folder(tmp_path / "out", size=64, channels=4)
    both = len(emoji("val", "noto")) + len(emoji("val", "fluent"))
    assert list(folder.classes) == list(icons.CLASSES) and len(folder.held_out) == both
    for path in (tmp_path / "out").rglob("*.png"):
        with Image.open(path) as image:
            assert image.size == (64, 64) and image.mode == "RGBA"


def test_icons_are_the_same_whatever_the_order_of_the_table(tmp_path, noto):
    first = icons.build([noto], tmp_path / "a")
    (noto / "emoji.json").write_text(json.dumps(table()[::-1]))
    assert icons.build([noto], tmp_path / "b") == first
    files = [{p.relative_to(tmp_path / k): p.read_bytes() for p in (tmp_path / k).rglob("*.png")} for k in "ab"]
    assert files[0] == files[1] and len(files[0]) == OF_EACH * len(icons.CLASSES)


def test_genders_of_one_emoji_are_held_out_together():
    cook = "1f468-200d-1f373", "1f469-200d-1f373", "1f9d1-200d-1f373"
    runner = "1f3c3", "1f3c3-200d-2640-fe0f", "1f3c3-200d-2642-fe0f"
    for same in (cook, runner, ("263a", "263a-fe0f")):
        assert len({icons._base(code) for code in same}) == 1
    assert len({icons._base(code) for code in (*cook, *runner, "1f468-200d-1f33e", "1f600")}) == 4


def test_a_cook_is_held_out_whatever_the_gender(tmp_path, noto):
    cooks = [f"{base}-200D-1F3{k:02X}" for k in range(20) for base in ("1F468", "1F469", "1F9D1")]
    entries = [{"unified": code, "subcategory": icons.CLASSES["profession"][0]} for code in cooks]
    (noto / "emoji.json").write_text(json.dumps([*table(), *entries]))
    for code in cooks:
        pixels = np.full((64, 64, 4), 255, np.uint8)
        Image.fromarray(pixels).save(noto / f"img/google/64/{code.lower()}.png")
    icons.build([noto], tmp_path / "out", held_out=0.3)
    held, kept = (
        {p.stem.partition("-200d-")[2] for p in (tmp_path / "out" / half / "profession").glob("*-200d-*")}
        for half in ("val", "train")
    )
    assert held and kept and not held & kept


def test_a_class_needs_a_picture_to_train_on(tmp_path, noto):
    first = {entry["unified"].lower() for entry in table()[:OF_EACH]}
    icons.build([noto], tmp_path / "a")
    held = {path.stem.removeprefix("noto-") for path in (tmp_path / "a/val/face").iterdir()}
    for code in first - held:
        (noto / f"img/google/64/{code}.png").unlink()
    with pytest.raises(Refused, match="no picture of the class face to train on"):
        icons.build([noto], tmp_path / "b")


@pytest.mark.parametrize(
    "entries, said",
    [
        ({}, "not a list of emoji"),
        ([3], "no code points in hexadecimal"),
        ([{"unified": "../../etc", "subcategory": "tool"}], "no code points in hexadecimal: '../../etc'"),
        ([{"unified": "1F600\n", "subcategory": "tool"}], "no code points in hexadecimal"),
        ([{"unified": "1F600", "subcategory": ["tool"]}], "no emoji of the class face"),
        (table()[: 2 * OF_EACH], "no emoji of the class hand, person"),
    ],
)
def test_icons_refuse_a_table_that_is_another(tmp_path, noto, entries, said):
    (noto / "emoji.json").write_text(json.dumps(entries))
    with pytest.raises(Refused, match=said):
        icons.build([noto], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_icons_refuse_other_folders(tmp_path, noto, fluent):
    def refused(said, *sources):
        with pytest.raises(Refused, match=said):
            icons.build(sources, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    refused("is not a folder", tmp_path / "missing")
    refused(r"no source has emoji\.json", fluent)
    refused("two sources are the design noto", noto, noto)
    for name in (["a"], "left-pad"):
        (fluent / "package.json").write_text(json.dumps({"name": name}))
        refused(r"its name is .*known are emoji-datasource-google", noto, fluent)
    (fluent / "package.json").unlink()
    refused(r"package\.json", noto, fluent)
    for path in (noto / "img/google/64").iterdir():
        path.unlink()
    refused("no picture of the class face", noto)

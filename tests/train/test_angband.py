"""The tiles of Angband: which are taken, how they are enlarged. The sheet and the tables are made here."""

import numpy as np
import pytest
from detailflow_onnx.errors import Refused
from detailflow_onnx.train.data.sprites import angband, build
from detailflow_onnx.train.data.sprites.enlarge import enlarged, scale2x, scale3x
from PIL import Image

TILE = angband.BOLT.side
MONSTERS = "# a comment\nN:1:Wolf\nT:canine\n\nN:2:Red dragon\nT:dragon\nN:3:Wall\nT:trap\n"
FLAVOURS = "kind:potion\nflavor:5:Red\nfixed:6:Blue\nkind:trap\nflavor:7:None\n"
GRAPHICS = """# places are row and column, with bit 7
R:1:0x80:0x81
R:2:0x81:0x80
R:3:0x82:0x80
R:9:0x82:0x81
K:sword:Dagger (Broken):0x83:0x80
K:trap:Door:0x83:0x81
K:shield:Full:0x83:0x82
K:sword:Again:0x80:0x81
K:sword:Odd:x:0x80
S:1:0x80:0x81
"""
LOOKS = "L:5:0x84:0x80\nL:6:0x84:0x81\nL:7:0x84:0x82\n"
# (row, column): (height, width) of the painted part.
PAINTED = {
    (0, 1): (8, 7),  # the wolf: four times as large
    (1, 0): (10, 6),  # the dragon: three times
    (2, 0): (8, 8),
    (3, 0): (15, 4),  # the dagger: twice
    (3, 2): (16, 16),  # it has a background
    (4, 0): (3, 3),  # 144 of 1024 pixels
    (4, 1): (2, 2),  # 64 of 1024 pixels: too little
    (0x12, 3): (12, 9),  # a player
    (0x36, 0x14): (16, 16),  # a floor
    (0x36, 0x15): (16, 16),
}


def write(folder, **changes):
    """The five files of the game below `folder`, as its package has them."""
    home = folder / "usr/share/games/angband"
    home.mkdir(parents=True)
    sheet = np.zeros((0x37 * TILE, 0x20 * TILE, 4), np.uint8)
    for k, ((row, column), (height, width)) in enumerate(PAINTED.items()):
        tile = sheet[row * TILE :, column * TILE :]
        top, left = (TILE - height) // 2, (TILE - width) // 2
        tile[top : top + height, left : left + width] = [40 + 20 * k, 200 - 15 * k, 10 * k, 255]
    sheet[..., :3][sheet[..., 3] == 0] = 77  # a colour below transparent pixels
    Image.fromarray(sheet).save(home / "16x16.png")
    tables = {"graf-new.prf": GRAPHICS, "flvr-new.prf": LOOKS, "monster.txt": MONSTERS, "flavor.txt": FLAVOURS}
    for name, text in (tables | changes).items():
        (home / name).write_text(text)
    return folder


def test_angband_takes_the_tiles_that_its_tables_name(tmp_path):
    chosen, left_out = angband.pictures(write(tmp_path))
    found = {name: (kind, pixels) for kind, name, pixels in chosen}
    assert {name: kind for name, (kind, _) in found.items()} == {
        "angband-canine-1": "animal",
        "angband-dragon-2": "dragon",
        "angband-sword-dagger--broken-": "weapon",
        "angband-potion-5": "potion",
        "angband-player-1203": "adventurer",
        "angband-floor-14": "floor",
        "angband-floor-15": "floor",
    }
    reasons = dict(left_out)
    assert reasons.pop("angband-shield-full") == "has a background"
    assert reasons.pop("angband-potion-6") == "paints 6% of the tile"
    # Players, and places without a floor.
    assert len(reasons) == 11 * 16 - 1 + 10 and set(reasons.values()) == {"paints 0% of the tile"}
    sizes = {
        name: [int((pixels[..., 3] > 0).any(axis).sum()) for axis in (1, 0)] for name, (_, pixels) in found.items()
    }
    assert sizes["angband-canine-1"] == [32, 28] and sizes["angband-dragon-2"] == [30, 18]
    assert sizes["angband-sword-dagger--broken-"] == [30, 8] and sizes["angband-potion-5"] == [12, 12]
    assert sizes["angband-player-1203"] == [24, 18] and sizes["angband-floor-14"] == [32, 32]
    for kind, pixels in found.values():
        assert pixels.shape == (32, 32, 4) and pixels.dtype == np.uint8
        assert not pixels[pixels[..., 3] == 0].any()
        assert len({tuple(p) for p in pixels[pixels[..., 3] > 0]}) <= 1, kind  # of tiles of one colour
    potion = found["angband-potion-5"][1]
    assert (potion[10:22, 10:22, 3] == 255).all()  # in the middle


def test_enlarging_filters_fill_diagonals():
    one, two, own = ([v, v, v, 255] for v in (10, 20, 30))
    tile = np.array([[one, one, two], [one, own, two], [two, two, two]], np.uint8)
    assert scale2x(tile)[2:4, 2:4, 0].tolist() == [[10, 30], [30, 20]]
    assert scale3x(tile)[3:6, 3:6, 0].tolist() == [[10, 10, 30], [10, 30, 20], [30, 20, 20]]
    flat = np.full((3, 5, 4), 9, np.uint8)
    assert scale2x(flat).shape == (6, 10, 4) and (scale3x(flat) == 9).all()
    assert not enlarged(np.zeros((16, 16, 4), np.uint8)).any()


def test_angband_source_that_is_invalid_is_refused(tmp_path):
    with pytest.raises(Refused, match="is not a folder"):
        angband.pictures(tmp_path / "nowhere")
    home = write(tmp_path / "a") / "usr/share/games/angband"
    (home / "monster.txt").unlink()
    with pytest.raises(Refused, match=r"has no monster\.txt: give the files of Debian's packages angband-data"):
        angband.pictures(tmp_path / "a")
    write(tmp_path / "b")
    (tmp_path / "b/usr/share/games/angband/16x16.png").write_bytes(b"no picture")
    with pytest.raises(Refused, match=r"16x16\.png"):
        angband.pictures(tmp_path / "b")
    write(tmp_path / "c")
    Image.new("RGBA", (64, 16)).save(tmp_path / "c/usr/share/games/angband/16x16.png")
    with pytest.raises(Refused, match="its tables name no tiles"):
        angband.pictures(tmp_path / "c")


def test_tiles_by_gervais_are_taken_as_they_are(tmp_path, monkeypatch):
    """Rows of one class, tiles of 32 pixels, grounds that fill the tile, and a class with few tiles."""
    home = tmp_path / "usr"
    home.mkdir()
    sheet = np.zeros((27 * 32, 128 * 32, 4), np.uint8)
    painted = {  # side of the painted part
        (0, 1): 20,
        (8, 3): 16,
        (8, 4): 8,
        (8, 0x14): 18,
        (8, 0x10): 17,
        (12, 0): 30,
        (12, 1): 32,
        (22, 0): 32,
        (22, 1): 32,
        (24, 25): 32,
    }
    for k, ((row, column), side) in enumerate(painted.items()):
        edge = (32 - side) // 2
        tile = sheet[row * 32 + edge : row * 32 + edge + side, column * 32 + edge : column * 32 + edge + side]
        tile[:] = [20 * k, 99, 5, 255]
    Image.fromarray(sheet).save(home / "32x32.png")
    tables = {
        "graf-dvg.prf": "R:1:0x80:0x81\nK:potion:Again:0x88:0x83\n",
        "flvr-dvg.prf": "L:10:0x88:0x94\n",
        "monster.txt": MONSTERS,
        "flavor.txt": FLAVOURS + "kind:potion\nflavor:10:Green\n",
    }
    for name, text in tables.items():
        (home / name).write_text(text)
    chosen, left_out = angband.pictures(tmp_path, angband.GERVAIS)
    assert [(kind, name) for kind, name, _ in chosen] == [
        ("animal", "gervais-canine-1"),
        ("potion", "gervais-potion-again"),
        ("potion", "gervais-potion-10"),
        ("potion", "gervais-potion-10-0810"),  # the tile in the column 0x10, not the look 10
        ("dragon", "gervais-dragon-00"),
        ("floor", "gervais-floor-1600"),
        ("floor", "gervais-floor-1601"),
        ("water", "gervais-water-1819"),
    ]
    assert (chosen[0][2][6:26, 6:26, 3] == 255).all() and chosen[0][2].shape == (32, 32, 4)
    reasons = dict(left_out)
    assert reasons["gervais-potion-04"] == "paints 6% of the tile"
    assert reasons["gervais-dragon-01"] == "has a background"
    monkeypatch.setattr(build, "FEWEST", 3)
    summary = build.build_attributed(tmp_path, tmp_path / "out")
    assert summary["counts"] == {"potion": 3} and summary["license"] == "CC-BY-3.0"
    assert summary["source"]["name"] == "Angband tiles by David Gervais"
    assert ["floor/gervais-floor-1600.png", "its class has few tiles"] in summary["left_out"]
    assert sorted(p.name for p in (tmp_path / "out").rglob("*.png")) == [
        "gervais-potion-10-0810.png",
        "gervais-potion-10.png",
        "gervais-potion-again.png",
    ]
    assert (tmp_path / "out" / "labels.txt").read_text() == "potion\n"

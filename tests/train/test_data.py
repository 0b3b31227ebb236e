"""The held-out split, reading pictures, batches as a function of the step, and the sprite set from a small source."""

import io
import json
import os
import socket
import tarfile

import numpy as np
import pytest
import torch
from detailflow_onnx import cli
from detailflow_onnx.errors import Refused
from detailflow_onnx.train.data import augment, batches, cut, folder, image
from detailflow_onnx.train.data.sprites import build, compose, tables
from PIL import Image

SIDE = 8


def picture(seed, size=(SIDE, SIDE), alpha=True):
    """uint8 [h, w, 4], its left third transparent (with colour below it) when `alpha`."""
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 4)).astype(np.uint8)
    pixels[..., 3] = 255
    if alpha:
        pixels[:, : size[1] // 3, 3] = 0
    return pixels


def save(path, pixels, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **options)


def fill(root, counts, seed=0):
    for number, (name, count) in enumerate(counts.items()):
        for k in range(count):
            save(root / name / f"{k:03d}.png", picture(seed + 1000 * number + k))
    return root


@pytest.fixture
def three(tmp_path):
    return fill(tmp_path / "set", {"ant": 40, "bee": 6, "cow": 4})


def open_it(path, **options):
    return folder.open_folder(path, **{"size": SIDE, "channels": 4, **options})


def test_folder_held_out_part_follows_from_names(three, tmp_path):
    data = open_it(three)
    assert data.classes == ["ant", "bee", "cow"] and not data.bad
    assert [int((data.held_out.labels == c).sum()) for c in range(3)] == [
        2,
        1,
        0,
    ]  # 5 % of 40; one of six; none of four
    assert sorted(data.train.paths + data.held_out.paths) == sorted(
        p.relative_to(three).as_posix() for p in three.rglob("*.png")
    )
    assert all(data.classes[label] == path.split("/")[0] for path, label in zip(data.train.paths, data.train.labels))
    # The names alone decide: other pictures, written in another order at another place.
    again = tmp_path / "again"
    for k, path in enumerate(sorted(three.rglob("*.png"), reverse=True)):
        save(again / path.relative_to(three), picture(5000 + k))
    assert open_it(again).held_out.paths == data.held_out.paths
    assert data.held_out.paths == ["ant/031.png", "ant/036.png", "bee/001.png"]  # least SHA-256, on every machine
    assert not open_it(three, held_out=0).held_out.paths


def test_folder_labels_file_orders_the_classes(three):
    (three / "labels.txt").write_text("cow\nant\n\nbee\n")
    data = open_it(three)
    assert data.classes == ["cow", "ant", "bee"] and set(
        data.train.labels[[p.startswith("ant") for p in data.train.paths]]
    ) == {1}
    for text, sentence in (
        ("cow\nant\n", "does not name bee"),
        ("cow\nant\nbee\nelk\n", "names elk"),
        ("cow\ncow\n", "twice"),
    ):
        (three / "labels.txt").write_text(text)
        with pytest.raises(Refused, match=sentence):
            open_it(three)


@pytest.mark.parametrize("other", ["val", "test"])
def test_folder_with_classes_called_train_and_val_has_these_classes(tmp_path, other):
    """Halves of a set hold class folders, both of them."""
    fill(tmp_path, {"train": 6, other: 6, "ship": 6})
    assert open_it(tmp_path).classes == sorted(["train", other, "ship"])
    (tmp_path / "train" / "steam").mkdir()
    save(tmp_path / "train" / "steam" / "a.png", picture(7000))  # below a class there may be folders
    data = open_it(tmp_path)
    assert data.classes == sorted(["train", other, "ship"]) and len(data.train) + len(data.held_out) == 19
    fill(tmp_path / other, {"steam": 2}, seed=8000)
    data = open_it(tmp_path)
    assert data.classes == ["steam"] and data.held_out.paths == [f"{other}/steam/000.png", f"{other}/steam/001.png"]


def test_folder_leaves_out_duplicates_and_blank_pictures(three):
    first = open_it(three)
    held = first.held_out.paths[0]
    # Other files of the same pixels: in other formats, in another class.
    pixels = np.asarray(Image.open(three / "ant/000.png"))
    save(three / "ant/copy.tif", pixels)
    save(three / "ant/copy.webp", pixels, lossless=True, exact=True)
    save(three / "bee/same.png", pixels)  # ambiguous, and kept
    save(three / "cow/again.png", np.asarray(Image.open(three / held)))
    save(three / "bee/blank.png", np.zeros((SIDE, SIDE, 4), np.uint8))
    blank = np.full((SIDE, SIDE, 4), 200, np.uint8)
    blank[..., 3] = 0
    save(three / "bee/hidden.png", blank)
    save(three / "bee/plain.png", np.full((SIDE, SIDE, 3), 200, np.uint8))
    data = open_it(three, held_out=0.05)
    assert dict(data.left_out) == {
        "ant/copy.tif": "duplicate of ant/000.png",
        "ant/copy.webp": "duplicate of ant/000.png",
        held: "duplicate of cow/again.png",  # held out by its name, and trained on elsewhere
        "bee/blank.png": "transparent throughout",
        "bee/hidden.png": "transparent throughout",
    }
    assert "bee/same.png" in data.train.paths and "cow/again.png" in data.train.paths
    seen = [{part.read([i]).numpy().tobytes() for i in range(len(part))} for part in (data.train, data.held_out)]
    assert not seen[0] & seen[1]
    assert len(data.train.labels) == len(data.train.paths) == len(data.train.read(range(len(data.train))))
    assert data.summary() == "3 left out as duplicates, 2 left out as blank, 1 of one colour"
    lazy = open_it(three, memory=0)
    assert not lazy.left_out and lazy.summary().endswith(
        "not searched for duplicates and blank pictures, as it is read while training"
    )


def test_folder_of_which_a_class_is_blank_is_refused(three):
    for path in (three / "cow").iterdir():
        save(path, np.zeros((SIDE, SIDE, 4), np.uint8))
    with pytest.raises(Refused, match="no readable picture to train on in the class cow: cow/000.png is transparent"):
        open_it(three)


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_folder_summary_counts_what_is_odd(tmp_path, memory):
    fill(tmp_path, {"ant": 10})
    assert open_it(tmp_path).summary() == ""
    rgb = picture(1, (6, 40), alpha=False)
    save(tmp_path / "ant/banner.png", rgb)  # 6 pixels high: enlarged as well
    save(tmp_path / "ant/strip.png", picture(2, (64, 8), alpha=False))
    save(tmp_path / "ant/wide.png", picture(3, (10, 20), alpha=False))
    save(tmp_path / "ant/one.png", np.full((SIDE, SIDE, 3), 9, np.uint8))
    frames = [Image.fromarray(picture(60 + k, alpha=False)) for k in range(3)]
    for name in ("gif", "png", "webp"):
        frames[0].save(tmp_path / f"ant/moving.{name}", save_all=True, append_images=frames[1:], lossless=True)
    (tmp_path / "ant/notes.txt").write_text("no picture")
    data = open_it(tmp_path, memory=memory)
    said = data.summary()
    common = (
        "1 enlarged to 8 px, 2 cropped to less than half (1 of them perhaps strips of frames: `train data cut`), "
        "3 with several frames, of which the first is used"
    )
    if memory:
        assert said == f"1 unreadable, 1 left out as duplicates, 1 of one colour, {common.replace('3 with', '2 with')}"
        assert dict(data.left_out) == {"ant/moving.webp": "duplicate of ant/moving.png"}  # GIF has fewer colours
    else:
        assert said.startswith(f"1 unreadable, {common}, not searched")
    part = data.train if "ant/moving.png" in data.train.paths else data.held_out
    got = part.read([part.paths.index("ant/moving.png")])[0].numpy().transpose(1, 2, 0)
    assert (got == picture(60, alpha=False)).all()


@pytest.mark.parametrize("other", ["val", "validation", "test"])
def test_folder_with_train_and_val_uses_val_as_held_out(tmp_path, other):
    fill(tmp_path / "train", {"ant": 30, "bee": 2})
    fill(tmp_path / other, {"bee": 3}, seed=9000)
    data = open_it(tmp_path)
    assert data.classes == ["ant", "bee"] and len(data.train) == 32
    assert data.held_out.paths == [f"{other}/bee/00{k}.png" for k in range(3)] and data.held_out.labels.tolist() == [
        1,
        1,
        1,
    ]
    fill(tmp_path / other, {"elk": 1})
    with pytest.raises(Refused, match="elk is a class that"):
        open_it(tmp_path)


def spoil(root):
    """Files that no picture can be read of; their paths."""
    whole = (root / "ant/000.png").read_bytes()
    (root / "ant/cut.png").write_bytes(whole[:-40])
    (root / "ant/empty.png").write_bytes(b"")
    (root / "bee/notes.txt").write_text("no picture")
    header = bytearray(whole)
    header[16:24] = (60000).to_bytes(4, "big") * 2
    (root / "bee/vast.png").write_bytes(header)
    header[16:24] = bytes(8)
    (root / "bee/none.png").write_bytes(header)
    (root / "cow/gone.png").symlink_to(root / "nowhere.png")
    return {"ant/cut.png", "ant/empty.png", "bee/notes.txt", "bee/vast.png", "bee/none.png", "cow/gone.png"}


def test_folder_lists_unreadable_files(three):
    bad = spoil(three)
    data = open_it(three)
    assert {path for path, _ in data.bad} == bad and len(data.bad) == len(bad)
    assert all(reason for _, reason in data.bad) and not bad & set(data.train.paths + data.held_out.paths)
    assert len(data.train) + len(data.held_out) == 50 and data.train.read(range(len(data.train))).shape == (
        len(data.train),
        4,
        SIDE,
        SIDE,
    )


@pytest.mark.parametrize("memory", [1 << 30, 0])
def test_folder_with_files_that_are_not_regular_lists_them(three, memory):
    """Opening a FIFO without a writer would wait forever; /dev/zero has no end."""
    os.mkfifo(three / "ant/fifo.png")
    (three / "bee/zero.png").symlink_to("/dev/zero")
    (three / "cow/linked.png").symlink_to(three / "ant/fifo.png")
    with socket.socket(socket.AF_UNIX) as listening:
        before = os.getcwd()
        os.chdir(three / "cow")  # the path of a socket is short
        try:
            listening.bind("socket.png")
        finally:
            os.chdir(before)
    data = open_it(three, memory=memory)
    assert dict(data.bad) == {
        "ant/fifo.png": "cannot be read: a FIFO, not a regular file",
        "bee/zero.png": "cannot be read: a device, not a regular file",
        "cow/linked.png": "cannot be read: a FIFO, not a regular file",
        "cow/socket.png": "cannot be read: a socket, not a regular file",
    }
    assert len(data.train) + len(data.held_out) == 50
    if memory == 0:
        at = data.train.paths.index("cow/000.png")
        (three / "cow/000.png").unlink()
        os.mkfifo(three / "cow/000.png")  # after it was found to be a picture
        data.train.read([at])
        assert dict(data.bad)["cow/000.png"] == "cannot be read: a FIFO, not a regular file"


def test_folder_reads_no_formats_that_run_programs(three):
    """Pillow gives EPS to Ghostscript."""
    (three / "ant/a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n")
    assert dict(open_it(three).bad) == {"ant/a.png": "is not a picture in a known format"}


def test_folder_labels_file_with_a_mark_names_the_same_classes(three):
    (three / "labels.txt").write_bytes(b"\xef\xbb\xbfcow\r\nant\r\nbee\r\n")
    assert open_it(three).classes == ["cow", "ant", "bee"]
    for data, sentence in (
        ("cow\nant\nbee\n".encode("utf-16"), "UTF-16 text; UTF-8 is needed"),
        (b"cow\nant\nb\xe9e\n", "not UTF-8 text"),
        (b"cow\nant\x1b[2J\nbee\n", "line 2, the label .* holds a control character"),
    ):
        (three / "labels.txt").write_bytes(data)
        with pytest.raises(Refused, match=sentence):
            open_it(three)
    (three / "labels.txt").unlink()
    os.mkfifo(three / "labels.txt")
    with pytest.raises(Refused, match="labels.txt: a FIFO, not a regular file"):
        open_it(three)


def test_folder_of_a_class_with_a_control_character_is_refused(three):
    (three / "bee").rename(three / "b\nee")
    with pytest.raises(Refused, match="the name of the class folder 'b.nee' holds a control character"):
        open_it(three)


def test_folder_beyond_its_memory_reads_lazily(three):
    spoil(three)
    small, large = open_it(three), open_it(three, memory=0)
    assert large.train.lazy and not small.train.lazy
    assert {p for p, _ in large.bad} == {p for p, _ in small.bad} - {"ant/cut.png"}  # its header is whole
    assert large.held_out.paths == small.held_out.paths
    at = [large.train.paths.index(p) for p in small.train.paths]
    assert torch.equal(large.train.read(at), small.train.read(range(len(at))))
    cut = large.train.paths.index("ant/cut.png")
    once, twice = large.train.read([cut, 0]), large.train.read([cut])
    assert torch.equal(once[:1], twice) and [p for p, _ in large.bad].count("ant/cut.png") == 1
    assert any(
        torch.equal(twice[0], large.train.read([k])[0]) for k in np.flatnonzero(large.train.labels == 0) if k != cut
    )


@pytest.mark.parametrize("workers", [1, 2])
def test_batches_do_not_depend_on_workers(three, workers):
    spoil(three)
    options = {"batch": 8, "seed": 3, "start": 2, "flips": True, "hue": 0.5, "balance": 0.5}
    plain, ahead = open_it(three, memory=0), open_it(three, memory=0)
    one = batches.batches(plain.train, **options)
    two = batches.batches(ahead.train, workers=workers, **options)
    for _ in range(8):
        (i, x, c), (j, y, d) = next(one), next(two)
        assert i == j and torch.equal(x, y) and torch.equal(c, d)
    assert sorted(plain.bad) == sorted(ahead.bad) and "ant/cut.png" in dict(ahead.bad)  # a worker told of it


@pytest.mark.parametrize(
    "make, sentence",
    [
        (lambda root: None, "is not a folder"),
        (lambda root: root.mkdir(), "has no class folders"),
        (lambda root: (root / "ant").mkdir(parents=True), "holds no files"),
        (
            lambda root: ((root / "ant").mkdir(parents=True), (root / "ant/a.png").write_bytes(b"x")),
            "no readable picture.*ant: ant/a.png is not a picture",
        ),
    ],
)
def test_folder_without_usable_pictures_is_refused(tmp_path, make, sentence):
    make(tmp_path / "set")
    with pytest.raises(Refused, match=sentence):
        open_it(tmp_path / "set")


def test_read_of_any_image_mode_gives_the_same_picture(tmp_path):
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8) * 3
    colour = np.dstack([grey, grey[::-1], grey.T])
    root = tmp_path / "ant"
    root.mkdir()
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera lay on its side: to be seen, turn by 90 degrees clockwise
    first = Image.fromarray(colour)
    Image.fromarray(grey).save(root / "a-grey.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(root / "b-16bit.png")
    first.quantize(64).save(root / "c-palette.png")
    Image.fromarray(np.ascontiguousarray(np.rot90(colour))).save(root / "d-turned.png", exif=turned)
    first.save(root / "e-animated.webp", save_all=True, append_images=[Image.fromarray(255 - colour)], lossless=True)
    first.convert("CMYK").save(root / "f-cmyk.tif")
    Image.fromarray(np.dstack([grey, np.full_like(grey, 255)]), "LA").save(root / "g-grey-alpha.png")
    got = {path.name[0]: image.read(path, SIDE, 4).transpose(1, 2, 0) for path in root.iterdir()}
    assert len(got) == 7
    assert all((pixels[..., 3] == 255).all() for pixels in got.values())
    for name in "abg":
        assert (got[name][..., :3] == grey[..., None]).all(), name
    for name in "cdef":
        assert (got[name][..., :3] == colour).all(), name


def test_read_ignores_the_colour_of_transparent_pixels(tmp_path):
    """Half a picture is white and opaque, half red and transparent: no red comes through, at any size."""
    pixels = np.zeros((32, 64, 4), np.uint8)
    pixels[...] = (255, 0, 0, 0)
    pixels[:, 29:] = 255
    save(tmp_path / "ant/a.png", pixels)
    for size in (5, 8, 32, 48):
        image = open_it(tmp_path, size=size).train.read([0])[0]
        painted = image[3] > 0
        assert painted.any() and (image[:3, painted] == 255).all() and (image[:3, ~painted] == 0).all()
        x = augment.prepare(image[None], flips=False, hue=0, generator=None)[0]
        assert (x[:3] == x[3:]).all() and x.min() == -1 and x.max() == 1
        rgb = open_it(tmp_path, size=size, channels=3).train.read([0])[0]
        assert torch.equal(rgb, image[3:].expand(3, -1, -1))


def test_read_weights_colours_by_alpha(tmp_path):
    """Half a picture is a quarter opaque and red, half opaque and blue: as one pixel it is blue rather than red."""
    pixels = np.zeros((32, 32, 4), np.uint8)
    pixels[:, :16], pixels[:, 16:] = (255, 0, 0, 64), (0, 0, 255, 255)
    save(tmp_path / "ant/a.png", pixels)
    got = open_it(tmp_path, size=1).train.read([0]).reshape(4).tolist()
    want = [255 * 64 / 319, 0, 255 * 255 / 319, 319 / 2]
    assert all(abs(g - w) <= 1 for g, w in zip(got, want)), got


def test_read_of_other_sizes_keeps_the_aspect_ratio(tmp_path):
    """The shorter side becomes the size, the middle of the longer one stays."""
    pixels = np.zeros((16, 48, 3), np.uint8)
    pixels[:, 16:32] = (np.arange(16) * 16)[:, None]
    pixels[:, :16], pixels[:, 32:] = (255, 0, 0), (0, 0, 255)
    save(tmp_path / "ant/a.png", pixels)
    image = open_it(tmp_path, size=16).train.read([0])[0]
    assert torch.equal(image[:3], torch.from_numpy(pixels[:, 16:32].transpose(2, 0, 1).copy()))
    half = open_it(tmp_path, size=8).train.read([0])[0, :3].float()
    assert (half[:, :, 1:-1].std(0) < 1).all() and abs(
        half[:, :, 2:-2].mean() - 120
    ) < 2  # grey from side to side: no red, no blue


def test_prepare_premultiplies_flips_and_rotates_hue():
    pictures = torch.from_numpy(np.stack([picture(k).transpose(2, 0, 1) for k in range(64)]))
    pictures[:, 3, :, 6:] = 128
    plain = augment.prepare(pictures, flips=True, hue=1.0, generator=None)
    want = pictures.double() / 255
    want[:, :3] *= want[:, 3:]
    assert plain.dtype == torch.float32 and (plain - (want * 2 - 1)).abs().max() < 1e-6

    flipped = augment.prepare(pictures, flips=True, hue=0, generator=torch.Generator().manual_seed(1))
    same = [(flipped[k] == plain[k]).all().item() for k in range(64)]
    assert 16 < sum(same) < 48 and all(
        torch.equal(flipped[k], plain[k] if same[k] else plain[k].flip(2)) for k in range(64)
    )

    turned = augment.prepare(pictures, flips=False, hue=0.5, generator=torch.Generator().manual_seed(1))
    moved = [(turned[k] != plain[k]).any().item() for k in range(64)]
    assert 16 < sum(moved) < 48 and torch.equal(turned[:, 3], plain[:, 3]) and turned.min() >= -1 and turned.max() <= 1
    assert (turned[:, :3] <= turned[:, 3:]).all()  # premultiplied colour never exceeds alpha


def test_rotate_hue_keeps_luma_and_greys():
    muted = (
        torch.rand(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)) * 0.2 + 0.4
    )  # no turn has to be cut
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    for angle in (0.5, 2.0, 4.0):
        out = augment.rotate_hue(muted, torch.full((4,), angle))
        assert ((out - muted) * luma).sum(1).abs().max() < 1e-5 and (out - muted).abs().max() > 0.02
        back = augment.rotate_hue(out, torch.full((4,), -angle))
        assert (back - muted).abs().max() < 1e-5
    grey = torch.linspace(0, 1, 64).reshape(1, 1, SIDE, SIDE).repeat(1, 3, 1, 1)
    assert (augment.rotate_hue(grey, torch.tensor([1.0])) - grey).abs().max() < 1e-5


def take(pictures, count, **options):
    steps = batches.batches(pictures, **{"batch": 12, "seed": 7, "flips": True, "hue": 0.5, "balance": 0.3, **options})
    return [next(steps) for _ in range(count)]


def test_batches_depend_on_seed_step_and_rank_only(three):
    pictures = open_it(three).train
    whole = take(pictures, 12)
    assert [step for step, _, _ in whole] == list(range(12))
    for start in (0, 1, 7):
        for a, b in zip(take(pictures, 3, start=start), whole[start:]):
            assert a[0] == b[0] and torch.equal(a[1], b[1]) and torch.equal(a[2], b[2])
    far = take(pictures, 1, start=10**7)
    assert torch.equal(far[0][1], take(pictures, 1, start=10**7)[0][1])
    for other in (take(pictures, 12, seed=8), take(pictures, 12, rank=1, world=2)):
        assert not any(torch.equal(a[1], b[1]) for a, b in zip(whole, other))


def test_batches_of_an_epoch_have_every_file_once(three):
    pictures = open_it(three).train
    for world in (1, 2):
        seen = []
        for rank in range(world):
            source = batches.Batches(
                pictures, batch=3, seed=1, rank=rank, world=world, changes=batches.Changes(False, 0), balance=0.0
            )
            steps = range(len(pictures) // (3 * world) + 1)
            seen += [
                (source.world * step * 3 + rank * 3 + i, index)
                for step in steps
                for i, index in enumerate(source.indices(step))
            ]
        first = [index for place, index in sorted(seen)][: len(pictures)]
        assert sorted(first) == list(range(len(pictures))) and first != sorted(first)


@pytest.mark.parametrize("balance, share", [(0.0, 38 / 47), (0.5, (38 / 47 + 1 / 3) / 2), (1.0, 1 / 3)])
def test_batches_follow_the_balance(three, balance, share):
    pictures = open_it(three).train
    labels = torch.cat([c for _, _, c in take(pictures, 80, balance=balance, hue=0, flips=False)])
    assert abs((labels == 0).float().mean().item() - share) < 0.02
    source = batches.Batches(
        pictures, batch=12, seed=7, rank=0, world=1, changes=batches.Changes(False, 0), balance=balance
    )
    indices = np.concatenate([source.indices(step) for step in range(80)])
    assert len(set(indices)) == len(pictures)  # nothing is left out, however it is balanced


@pytest.mark.parametrize(
    "wrong", [{"batch": 0}, {"balance": 1.5}, {"hue": -0.1}, {"rank": 2, "world": 2}, {"start": -1}]
)
def test_batches_with_invalid_options_are_refused(three, wrong):
    pictures = open_it(three).train
    with pytest.raises(Refused):
        batches.batches(
            pictures, **{"batch": 2, "seed": 1, "flips": False, "hue": 0, "balance": 0, **wrong}
        )  # before a batch is asked for


def tile(seed, box=(4, 4, 28, 28), size=(32, 32)):
    pixels = np.zeros((*size, 4), np.uint8)
    left, top, right, bottom = box
    pixels[top:bottom, left:right] = picture(seed, (bottom - top, right - left), alpha=False)
    return pixels


FIRST = {
    "weapon": "item/weapon/axe",
    "armour": "item/armour/plate",
    "potion": "item/potion/red",
    "ring": "item/ring/ruby",
    "amulet": "item/amulet/eye",
    "wand": "item/staff/oak",
    "book": "item/scroll/old",
    "treasure": "item/gold/25",
    "animal": "mon/animals/bat",
    "undead": "mon/undead/lich",
    "demon": "mon/demons/imp",
    "humanoid": "mon/gnoll",
    "dragon": "mon/dragons/wyvern",
    "golem": "mon/statues/statue_base",
    "plant": "dngn/trees/tree1",
    "floor": "dngn/floor/sand",
    "wall": "dngn/wall/brick",
    "water": "dngn/water/deep_water",
    "structure": "dngn/altars/zin",
    "spell": "gui/spells/fire/ball",
}
PARTS = (
    "base/human_f",
    "base/human_m",
    "base/shadow",
    "base/naga_f",
    "legs/blue",
    "body/robe",
    "body/coat",
    "head/hat",
    "hair/long",
    "hand1/axe",
    "hand2/shield",
)


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A tile set of one tile or two of each class, and what has to be left out."""
    monkeypatch.setattr(compose, "ADVENTURERS", 12)
    root = tmp_path / "crawl" / "rltiles"
    for k, (name, path) in enumerate(FIRST.items()):
        save(root / f"{path}.png", tile(k, (0, 0, 32, 32) if name in ("floor", "wall", "water") else (4, 4, 28, 28)))
    for k, path in enumerate(PARTS):
        save(root / f"player/{path}.png", tile(50 + k, (k, 4, k + 9, 30)))
    return root


def test_sprites_build_chooses_composes_and_reports(source, tmp_path):
    save(source / "item/ring/i-fire.png", tile(100))  # large enough, and yet an icon
    save(source / "item/potion/speck.png", tile(101, (0, 0, 12, 14)))  # 168 of 1024
    save(source / "item/weapon/brands/fire.png", tile(102))
    save(source / "dngn/floor/edge.png", tile(103))  # ground that does not fill the tile
    save(source / "mon/demons/tall.png", tile(104, size=(48, 32)))
    save(source / "mon/animals/small.png", picture(105, (20, 30), alpha=False))
    save(source / "mon/unique/xtahua.png", tile(106))  # a dragon by name
    save(source / "item/book/again.png", tile(list(FIRST).index("book")))
    save(source / "mon/statues/overlay_axe.png", tile(107, (10, 10, 14, 14)))
    (source / "mon/animals/broken.png").write_bytes(b"no picture")
    (source / "item/book/._old.png").write_bytes(b"what a Mac leaves")
    out = tmp_path / "set"
    summary = build.build(source.parent, out)
    assert (out / "labels.txt").read_text().split() == list(tables.CLASSES) and len(tables.CLASSES) == 21
    assert (
        json.loads((out / "data.json").read_text()) == summary
        and summary["license"] == "CC0-1.0"
        and summary["seed"] == 0
    )
    counts = {name: len(list((out / name).iterdir())) for name in tables.CLASSES}
    assert (
        counts
        == summary["counts"]
        == {**dict.fromkeys(tables.CLASSES, 1), "adventurer": 12, "animal": 2, "dragon": 2, "golem": 2, "ring": 1 + 54}
    )
    left_out = dict(summary["left_out"])
    assert set(left_out) == {
        "item/ring/i-fire.png",
        "item/potion/speck.png",
        "dngn/floor/edge.png",
        "mon/demons/tall.png",
        "mon/statues/overlay_axe.png",
        "book/item-scroll-old.png",
    }
    assert (
        "the same pixels as book/item-book-again.png" in left_out["book/item-scroll-old.png"]
        and "32x48" in left_out["mon/demons/tall.png"]
    )
    assert summary["bad"] == [["mon/animals/broken.png", "is not a picture in a known format"]]
    small = np.array(Image.open(out / "animal/mon-animals-small.png"))
    assert (
        small.shape == (32, 32, 4)
        and (small[6:26, 1:31] == picture(105, (20, 30), alpha=False)).all()
        and not small[:6].any()
        and not small[:, 31:].any()
    )
    statue, axe = tile(list(FIRST).index("golem")), tile(107, (10, 10, 14, 14))
    assert (
        np.array(Image.open(out / "golem/mon-statues-statue_base+overlay_axe.png"))
        == np.where(axe[..., 3:] > 0, axe, statue)
    ).all()
    data = folder.open_folder(out, size=32, channels=4)
    assert data.classes == list(tables.CLASSES) and not data.bad


def test_sprites_adventurers_consist_of_parts(source, tmp_path):
    build.build(source, tmp_path / "set")
    bases = [tile(50 + k, (k, 4, k + 9, 30)) for k in (0, 1)]
    dolls = [np.array(Image.open(p)) for p in sorted((tmp_path / "set/adventurer").iterdir())]
    for doll in dolls:
        left = doll[4:30]
        assert (left[:, 0] == bases[0][4:30, 0]).all() or (
            left[:, 1] == bases[1][4:30, 1]
        ).all()  # a human; no shadow, no naga
    assert len({doll.tobytes() for doll in dolls}) == 12


def test_sprites_of_the_same_source_are_equal(source, tmp_path):
    first = build.build(source, tmp_path / "a", seed=3)
    archive = tmp_path / "tiles.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for path in sorted(source.rglob("*.png"), reverse=True):
            tar.add(path, "releases/old/" + path.relative_to(source).as_posix())
        sly = tarfile.TarInfo("../../evil.png")
        sly.size = 4
        tar.addfile(sly, io.BytesIO(b"evil"))
    assert build.build(archive, tmp_path / "b", seed=3) == first
    names = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert names == sorted(p.relative_to(tmp_path / "b") for p in (tmp_path / "b").rglob("*.*"))
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    build.build(source, tmp_path / "c", seed=4)
    assert any(
        (tmp_path / "a" / n).read_bytes() != (tmp_path / "c" / n).read_bytes()
        for n in names
        if n.parts[0] == "adventurer"
    )


def angband(folder):
    """Ten monsters and the players, each of another colour, as the game's files."""
    home = folder / "angband"
    home.mkdir()
    pixels = np.zeros((0x1D * 16, 16 * 16, 4), np.uint8)
    lines, monsters = [], []
    for k in range(10):
        pixels[4:12, 16 * k + 4 : 16 * k + 11] = [20 * k, 200, 10, 255]
        lines.append(f"R:{k}:0x80:{0x80 + k:#x}")
        monsters.append(f"N:{k}:Wolf\nT:canine")
    for row in range(0x12, 0x1D):
        pixels[16 * row + 4 : 16 * row + 14, 2:12] = [9, 9 * row, 30, 255]
    Image.fromarray(pixels).save(home / "16x16.png")
    (home / "graf-new.prf").write_text("\n".join(lines))
    (home / "monster.txt").write_text("\n".join(monsters))
    (home / "flvr-new.prf").write_text("")
    (home / "flavor.txt").write_text("")
    return home


def test_sprites_with_angband_keep_the_held_out_files(source, tmp_path, capsys):
    """Figures of the first source stay comparable: the same files of it are held out as without the second."""
    build.build(source, tmp_path / "plain")
    plain = open_it(tmp_path / "plain", size=32)
    more = ["--angband", str(angband(tmp_path)), "--out", str(tmp_path / "both")]
    assert cli.main(["train", "data", "sprites", "--source", str(source), *more]) == 0
    both = open_it(tmp_path / "both", size=32)
    assert {p.split("/")[0] for p in both.train.paths + both.held_out.paths} == {"train", "val"}
    held = [p.removeprefix("val/") for p in both.held_out.paths]
    assert sorted(p for p in held if "/angband-" not in p) == sorted(plain.held_out.paths) and plain.held_out.paths
    added = [p for p in held if "/angband-" in p]
    assert len(added) == 1 and added[0].startswith("animal/")  # one of ten animals; of the players none
    assert len(both.train) + len(both.held_out) == len(plain.train) + len(plain.held_out) + 10 + 11
    summary = json.loads((tmp_path / "both/data.json").read_text())
    assert [s["name"] for s in summary["sources"]] == ["Dungeon Crawl Stone Soup tiles", "Angband tiles by Adam Bolt"]
    assert summary["sources"][1]["prefix"] == "angband-" and summary["counts"]["animal"] == 11


def test_sprites_source_with_a_fifo_lists_it(source, tmp_path):
    os.mkfifo(source / "mon/animals/fifo.png")
    (source / "mon/animals/zero.png").symlink_to("/dev/zero")
    (source / "mon/animals/long.png").write_bytes(bytes(2 << 20))
    assert build.build(source, tmp_path / "set")["bad"] == [
        ["mon/animals/fifo.png", "cannot be read: a FIFO, not a regular file"],
        ["mon/animals/long.png", "cannot be read: 2097152 bytes are too many for a tile"],
        ["mon/animals/zero.png", "cannot be read: a device, not a regular file"],
    ]


def test_sprites_source_that_is_invalid_is_refused(source, tmp_path):
    for make, sentence in (
        (lambda: tmp_path / "nowhere", "does not exist"),
        (lambda: source / "item", "holds no folder with item, mon, dngn and player"),
        (
            lambda: (tmp_path / "x.tar.gz").write_bytes(b"no archive") and tmp_path / "x.tar.gz",
            "cannot be read as a folder or a tar archive",
        ),
        (
            lambda: os.mkfifo(tmp_path / "fifo.tar") or tmp_path / "fifo.tar",
            "cannot be read as a folder or a tar archive of tiles: a FIFO, not a regular file",
        ),
    ):
        with pytest.raises(Refused, match=sentence):
            build.build(make(), tmp_path / "set")
    (source / "mon/dragons/wyvern.png").unlink()
    with pytest.raises(Refused, match="no tiles of the class dragon"):
        build.build(source, tmp_path / "set")
    assert not (tmp_path / "set").exists()


# ---------------------------------------------------------------- sheets
def sheet(root, path, frames, *, margin=0, spacing=0, extra=0):
    """A sheet of `frames` [rows, columns, h, w, 4], and `extra` pixels to the right."""
    rows, columns, h, w, _ = frames.shape
    size = (2 * margin + rows * (h + spacing) - spacing, 2 * margin + columns * (w + spacing) - spacing + extra, 4)
    pixels = np.full(size, 77, np.uint8)
    for r in range(rows):
        for c in range(columns):
            top, left = margin + r * (h + spacing), margin + c * (w + spacing)
            pixels[top : top + h, left : left + w] = frames[r, c]
    save(root / path, pixels)


def frames_of(seed, rows, columns, size=(6, 4)):
    made = [picture(100 * seed + k, size, alpha=False) for k in range(rows * columns)]
    return np.stack(made).reshape(rows, columns, *size, 4)


def written(out):
    return {p.relative_to(out).as_posix(): np.asarray(Image.open(p)) for p in sorted(out.rglob("*.png"))}


def test_cut_writes_the_frames_of_sheets_into_class_folders(tmp_path, capsys):
    source = tmp_path / "sheets"
    walk, idle, slime, coin = frames_of(1, 2, 3), frames_of(2, 1, 4), frames_of(3, 1, 2), frames_of(4, 1, 2)
    walk[1, 1], walk[1, 2] = 0, (9, 9, 9, 255)  # transparent, and the ground of the sheet
    sheet(source, "hero/walk.png", walk)
    sheet(source, "hero/sword/idle.png", idle)
    sheet(source, "slime.png", slime, extra=3)
    sheet(source, "coin/spin.png", coin)
    Image.open(source / "coin/spin.png").save(source / "coin/spin.webp", lossless=True)
    save(source / "coin/small.png", picture(1, (3, 9)))
    (source / "coin/notes.txt").write_text("no picture")
    (source / "coin/.hidden.png").write_bytes(b"")
    arguments = ["train", "data", "cut", "--source", str(source), "--out", str(tmp_path / "out"), "--tile", "4x6"]
    assert cli.main(arguments) == 0
    said = capsys.readouterr()
    assert said.out == f"{tmp_path / 'out'}: 14 frames of 3 classes, 2 of one colour left out\n"
    assert said.err.splitlines() == [
        "coin/notes.txt: left out: is not a picture in a known format",
        "coin/small.png: left out: is 9x3, which makes 0 frames",
        "slime.png: left out: pixels beyond the last whole frame",
    ]
    got = written(tmp_path / "out")
    want = {f"hero/walk-0{r}-0{c}.png": walk[r, c] for r in range(2) for c in range(3) if r * c < 1}
    want |= {f"hero/sword/idle-00-0{c}.png": idle[0, c] for c in range(4)}
    want |= {f"slime/slime-00-0{c}.png": slime[0, c] for c in range(2)}
    want |= {f"coin/spin-{kind}-00-0{c}.png": coin[0, c] for kind in ("png", "webp") for c in range(2)}
    assert got.keys() == want.keys() and all((got[name] == want[name]).all() for name in want)
    data = folder.open_folder(tmp_path / "out", size=4, channels=4)
    assert data.classes == ["coin", "hero", "slime"] and len(data.left_out) == 2  # the frames of spin.webp
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*.*")}
    again = cut.cut(source, tmp_path / "again", cut.Grid(4, 6))
    assert again["counts"] == {"coin": 4, "hero": 8, "slime": 2} and again["blank"] == 2
    assert all(
        (tmp_path / "again" / p.relative_to(tmp_path / "out")).read_bytes() == data for p, data in before.items()
    )


@pytest.mark.parametrize("margin, spacing", [(0, 1), (2, 0), (3, 2)])
def test_cut_of_sheets_with_gaps(tmp_path, margin, spacing):
    frames = frames_of(5, 3, 2)
    sheet(tmp_path / "sheets", "a/b.png", frames, margin=margin, spacing=spacing)
    summary = cut.cut(tmp_path / "sheets", tmp_path / "out", cut.Grid(4, 6, margin, spacing))
    got = written(tmp_path / "out")
    assert not summary["left_out"] and len(got) == 6
    assert all((got[f"a/b-0{r}-0{c}.png"] == frames[r, c]).all() for r in range(3) for c in range(2))


def test_cut_that_is_impossible_is_refused(tmp_path, capsys):
    source = tmp_path / "sheets"

    def refused(sentence, out=tmp_path / "out"):
        with pytest.raises(Refused, match=sentence):
            cut.cut(source, out, cut.Grid(8, 8))
        assert not (tmp_path / "out").exists()

    refused("is not a folder")
    source.mkdir()
    refused("holds no files")
    save(source / "a/small.png", picture(1, (4, 4)))
    refused("no frame of 8x8 pixels in it; a/small.png is 4x4, which makes 0 frames")
    save(source / "a/plain.png", np.full((16, 16, 4), 9, np.uint8))
    (source / "a/small.png").unlink()
    refused("no frame of 8x8 pixels in it; every frame is of one colour")
    refused("the frames need a folder of their own", source / "a" / "out")
    save(source / "a/x.png", picture(1, (16, 16)))
    save(source / "a/x.PNG", picture(2, (16, 16)))
    refused("another sheet also makes the frame a/x-PNG-00-00.png|another sheet also makes the frame a/x-png-00-00.png")
    for tile in ("0x8", "8x8x8", "x", "8x"):
        with pytest.raises(SystemExit):
            cli.main(["train", "data", "cut", "--source", str(source), "--out", "x", "--tile", tile])
    assert "a number" in capsys.readouterr().err

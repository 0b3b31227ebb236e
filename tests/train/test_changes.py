"""Augmentation by recolouring and moving, and classes of which many pictures are one drawing."""

import numpy as np
import pytest
import torch
from detailflow_onnx.errors import Refused
from detailflow_onnx.train import recipe
from detailflow_onnx.train.data import augment, batches, drawings, folder
from PIL import Image


def prepared(pixels, seed=1, **options):
    generator = torch.Generator().manual_seed(seed)
    return augment.prepare(pixels, **{"flips": False, "hue": 0.0, "generator": generator, **options})


def hues(images):
    """The angle of chroma of straight colour [n, 3, h, w] in -1..1."""
    to = augment._YIQ.float()
    _, i, q = torch.einsum("ac,nchw->anhw", to, (images + 1) / 2)
    return torch.atan2(q, i)


def test_recolouring_moves_two_hues_apart():
    pixels = torch.zeros(64, 3, 4, 4, dtype=torch.uint8)
    pixels[:, 0, :2], pixels[:, 1, :2] = 160, 70  # orange above
    pixels[:, 2, 2:], pixels[:, 1, 2:] = 150, 90  # blue below
    plain = prepared(pixels)

    def between(images):
        angle = hues(images)
        return (angle[:, 0, 0] - angle[:, 3, 0]).remainder(2 * torch.pi)

    # A rotation of the hue keeps their difference; a recolouring does not, unless both are in the same part.
    assert (between(prepared(pixels, hue=1.0)) - between(plain)).abs().median() < 0.1
    changed = (between(prepared(pixels, recolour=1.0)) - between(plain)).abs()
    assert (changed > 0.2).float().mean() > 0.5
    assert torch.equal(prepared(pixels, recolour=0.0), plain)
    some = (prepared(pixels, recolour=0.5) != plain).flatten(1).any(1).float().mean()
    assert 0.25 < some < 0.75


def test_recolouring_keeps_alpha_and_greys_grey():
    pixels = torch.randint(0, 256, (16, 4, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    pixels[:, :3, :4] = pixels[:, :1, :4]  # greys above
    out = prepared(pixels, recolour=1.0)
    assert torch.equal(out[:, 3], prepared(pixels)[:, 3])
    straight = (out[:, :3] + 1) / 2
    assert (straight[:, :, :4].amax(1) - straight[:, :, :4].amin(1)).max() < 1e-3
    assert out.min() >= -1 and out.max() <= 1


@pytest.mark.parametrize("shift", [1, 2, 5])
def test_shift_stays_within_the_transparent_border(shift):
    random = torch.Generator().manual_seed(3)
    pixels = torch.zeros(200, 4, 16, 16, dtype=torch.uint8)
    box = torch.randint(1, 256, (200, 4, 11, 16), dtype=torch.uint8, generator=random)
    pixels[:, :, 2:13] = box  # 2 free rows above, 3 below, no free column
    out = prepared(pixels, shift=shift)
    want = prepared(box)
    seen = set()
    for image, part in zip(out, want):
        painted = (image[3] > -1).any(1).nonzero()[:, 0]
        top = int(painted[0])
        assert torch.equal(image[:, top : top + 11], part)  # complete, and not moved sideways
        seen.add(top - 2)
    assert seen == set(range(-min(2, shift), min(3, shift) + 1))


def test_tiles_that_repeat_wrap_around_their_edges():
    pixels = torch.randint(0, 256, (60, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(4))
    repeats = torch.tensor([[True, False], [False, True], [False, False]]).repeat(20, 1)
    plain, out = prepared(pixels), prepared(pixels, repeats=repeats)
    offsets = [set(), set()]
    for k in range(60):
        if not repeats[k].any():
            assert torch.equal(out[k], plain[k])
            continue
        axis = 1 if repeats[k, 0] else 2
        fits = [o for o in range(8) if torch.equal(out[k], plain[k].roll(o, axis))]
        assert len(fits) == 1
        offsets[axis - 1].add(fits[0])
    assert min(map(len, offsets)) >= 5


def wave(size=16):
    """An opaque tile [4, size, size] that repeats down and across."""
    at = torch.arange(size) * (2 * torch.pi / size)
    value = 120 + 50 * at.cos()[:, None] + 50 * at.cos()[None]
    return torch.stack([value, value, value, torch.full((size, size), 255.0)]).to(torch.uint8)


def test_repeats_finds_tiles():
    tile = wave()
    ramp = tile.clone()
    ramp[:3] = (torch.arange(16) * 15).to(torch.uint8)[None, None]  # repeats down, not across
    hole = tile.clone()
    hole[3, 4:9, 4:9] = 0
    found = drawings.repeats(torch.stack([tile, ramp, hole]))
    assert found.tolist() == [[True, True], [True, False], [False, False]]


@pytest.fixture
def coloured(tmp_path):
    """A class of nine colourings of one drawing and one of another, and a class of two drawings."""
    shapes = np.zeros((2, 16, 16), bool)
    shapes[0, 3:13, 3:13] = shapes[1, 7:9, 1:15] = True
    for k in range(10):
        for name, shape in (("ring", int(k == 9)), ("wand", k)):
            if shape < 2:
                pixels = np.zeros((16, 16, 4), np.uint8)
                pixels[shapes[shape]] = [25 * k, 255 - 20 * k, 90, 255]
                pixels[6:10, 6:8, :3] //= 2
                (tmp_path / "set" / name).mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(tmp_path / "set" / name / f"{k}.png")
    return folder.open_folder(tmp_path / "set", size=16, channels=4, held_out=0)


def test_drawings_ignore_colours(coloured):
    numbers = coloured.train.drawings
    assert numbers.tolist() == [0] * 9 + [1, 2, 3]  # drawings of two classes are never one


def test_balanced_batches_take_drawings_first(coloured):
    def share(**options):
        options = {"batch": 40, "seed": 1, "rank": 0, "world": 1, "balance": 1.0, **options}
        source = batches.Batches(coloured.train, changes=batches.Changes(False, 0.0), **options)
        rows = np.concatenate([source.indices(step) for step in range(5)])
        rings = rows[rows < 10]
        assert len(rings) == 100  # half of all, as before
        return (rings == 9).mean(), rings

    assert share()[0] == pytest.approx(0.1)
    single, rings = share(drawings=True)
    assert single == pytest.approx(0.5)
    counts = np.bincount(rings[rings < 9])
    assert counts.min() >= 5 and counts.max() <= 6  # every colouring in turn


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("data: {recolour: 1.5}", r"data\.recolour is 1\.5; a share of at most 1"),
        ("data: {shift: -1}", r"data\.shift is -1; it must not be negative"),
        ("data: {wrap: 1}", r"data\.wrap is 1; bool is needed"),
        ("codes: {recolour: 2}", r"codes\.recolour is 2\.0; a share of at most 1"),
        ("ar: {train: {swap: 2}}", r"ar\.train\.swap is 2\.0; a share of at most 1"),
        ("ar: {train: {best: 3}}", r"ar\.train\.best is 3; bool is needed"),
    ],
)
def test_recipe_checks_the_keys(tmp_path, text, sentence):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(Refused, match=sentence):
        recipe.read(tmp_path / "a.yaml")

"""The three stages on generated pictures: killed and resumed, exported, and run by the library."""

import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detailflow_onnx.errors import Refused
from detailflow_onnx.train import loop, losses, optimise, recipe
from detailflow_onnx.train.data.folder import open_folder
from detailflow_onnx.train.models.tokenizer import Tokenizer, open_tokenizer
from detailflow_onnx.train.process import Process
from detailflow_onnx.train.stages import alike, codes
from detailflow_onnx.train.stages.ar import ArStage
from detailflow_onnx.train.stages.codes import CodeSet
from detailflow_onnx.train.stages.correction import perturbed, units
from detailflow_onnx.train.stages.tokenizer import TokenizerStage
from helpers import requirements
from helpers.bundles import DFLOW, NO_DFLOW, ROOT
from PIL import Image

CLASSES = ("disc", "frame", "stripe")
RECIPE = """
data: {size: 16, channels: 4, balance: 0.5, hue: 0.2}
tokenizer:
  model:
    {count: 8, group: 2, causal: 2, codes: 32, code_width: 4,
     encoder: {width: 32, depth: 2, heads: 2, hidden: 64, patch: 4},
     decoder: {width: 32, depth: 2, heads: 2, hidden: 64, patch: 4}}
  train:
    {steps: 240, batch: 16, accumulate: 2, optimizer: muon, lr: 0.003, matrix_lr: 0.01, warmup: 5, ema: 0.95,
     l1: 0.2, edges: 0.1, continuous: 30, revive: 10,
     truncate: 0.4, correct: 0.4, near: 8, gan: 0.05, gan_start: 140, log: 10, save: 80, sheet: 80}
codes: {variants: 3, batch: 32}
ar:
  model: {width: 32, depth: 2, heads: 4}
  train: {steps: 120, batch: 24, lr: 0.004, warmup: 5, ema: 0.9, log: 5, save: 40, sheet: 60, guidance: 2}
"""


def picture(kind, random):
    """uint8 [16, 16, 4]: one shape of one colour, nothing around it."""
    y, x = np.mgrid[:16, :16] - 7.5
    size = random.uniform(3, 7)
    inside = {
        "disc": x**2 + y**2 < size**2,
        "frame": (np.maximum(abs(x), abs(y)) < size) & (np.maximum(abs(x), abs(y)) > size - 2.5),
        "stripe": abs(x + y * random.uniform(-1, 1)) < 2,
    }[kind]
    colour = np.append(random.integers(40, 256, 3), 255)
    return np.where(inside[..., None], colour, 0).astype(np.uint8)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    home, random = tmp_path_factory.mktemp("smoke"), np.random.default_rng(7)
    for kind in CLASSES:
        (home / "data" / kind).mkdir(parents=True)
        for i in range(24):
            Image.fromarray(picture(kind, random)).save(home / "data" / kind / f"{i:02d}.png")
    (home / "data" / "disc" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nnot one")
    (home / "smoke.yaml").write_text(RECIPE)
    return home


def command(work, stage, out, *more):
    data = () if stage == "ar" else ("--data", work / "data")
    return [
        sys.executable,
        "-m",
        "detailflow_onnx",
        "train",
        stage,
        "--config",
        work / "smoke.yaml",
        *data,
        "--out",
        out,
        "--device",
        "cpu",
        "--threads",
        "1",
        *more,
    ]


def call(arguments, **more):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx"), "OMP_NUM_THREADS": "1"}
    return subprocess.run([str(a) for a in arguments], env=environment, capture_output=True, text=True, **more)


def done(arguments):
    ended = call(arguments)
    assert ended.returncode == 0, ended.stderr
    return ended


def figures(folder):
    """The lines of a run without what depends on the time."""
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "pictures_per_second"} for line in lines]


def killed(arguments, folder, lines):
    """Run until so many lines were logged, then kill -9."""
    environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([str(a) for a in arguments], env=environment, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        if (folder / "log.jsonl").exists() and len((folder / "log.jsonl").read_text().splitlines()) >= lines:
            process.send_signal(signal.SIGKILL)
        time.sleep(0.01)
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"


@pytest.fixture(scope="module")
def trained(work):
    """All three stages without a break."""
    said = done(command(work, "tokenizer", work / "whole")).stderr
    assert "disc/broken.png: left out" in said and "240/240" in said
    done(command(work, "codes", work / "whole"))
    done(command(work, "ar", work / "whole"))
    return work / "whole"


def fell(lines, key):
    count = max(1, len(lines) // 5)
    first, last = (np.mean([line[key] for line in part if key in line]) for part in (lines[:count], lines[-count:]))
    return first, last


def test_training_reduces_the_losses(trained):
    first, last = fell(figures(trained / "tokenizer"), "l2")
    assert last < 0.5 * first, (first, last)
    first, last = fell(figures(trained / "ar"), "loss")
    assert last < 0.85 * first, (first, last)


def test_training_leaves_checkpoint_sheets_and_log(trained):
    for part, last in (("tokenizer", 240), ("ar", 120)):
        assert [p.name for p in (trained / part / "checkpoints").iterdir()] == [f"{last:07d}.pt"]
        assert (trained / part / "recipe.yaml").read_text() == RECIPE
        sheets = sorted((trained / part / "sheets").iterdir())
        assert sheets and all(Image.open(p).size[0] > 16 for p in sheets)
    assert (
        sum("held_out_psnr" in line for line in figures(trained / "tokenizer")) == 3
        and sum("held_out_loss" in line for line in figures(trained / "ar")) == 3
    )
    named = {key for line in figures(trained / "tokenizer") for key in line}
    assert named >= {
        "psnr",
        "l2",
        "l1",
        "edges",
        "codebook",
        "commitment",
        "short_l2",
        "repair_l2",
        "critic",
        "adversarial",
        "gradient",
    }


@pytest.mark.parametrize("stage, lines", [("tokenizer", 12), ("tokenizer", 23), ("ar", 12)])
def test_training_killed_and_resumed_gives_the_same_bits(work, trained, stage, lines):
    out = work / f"killed-{stage}-{lines}"  # of the tokenizer: before the discriminator, and with it
    out.mkdir()
    if stage == "ar":
        for part in ("tokenizer", "codes"):
            (out / part).symlink_to(trained / part)
    killed(command(work, stage, out), out / stage, lines)
    assert "resuming at step" in done(command(work, stage, out)).stderr
    assert figures(out / stage) == figures(trained / stage)
    one, other = (
        torch.load(next((home / stage / "checkpoints").iterdir()), weights_only=True)["model"]
        for home in (out, trained)
    )
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_training_says_its_threads_and_keeps_them_when_resumed(work, trained, tmp_path):
    """A run of one thread that is resumed without --threads has the bits of the run that was not interrupted."""
    first = command(work, "tokenizer", tmp_path)
    killed(first, tmp_path / "tokenizer", 12)
    environment = {k: v for k, v in os.environ.items() if k != "OMP_NUM_THREADS"} | {"PYTHONPATH": str(ROOT / "onnx")}
    at = first.index("--threads")
    ended = subprocess.run(
        [str(a) for a in first[:at] + first[at + 2 :]], env=environment, capture_output=True, text=True
    )
    assert ended.returncode == 0 and "threads: 1 (as in the steps before" in ended.stderr, ended.stderr
    one, other = (
        torch.load(next((home / "tokenizer" / "checkpoints").iterdir()), weights_only=True)["model"]
        for home in (tmp_path, trained)
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_the_tokenizer_longer_starts_ar_again_from_its_weights(work, trained, tmp_path):
    for part in ("tokenizer", "codes", "ar"):
        shutil.copytree(trained / part, tmp_path / part)
    done(command(work, "tokenizer", tmp_path, "--steps", "250"))
    ended = call(command(work, "ar", tmp_path))
    assert ended.returncode == 1 and "run `train codes` again" in ended.stderr
    done(command(work, "codes", tmp_path))
    said = done(command(work, "ar", tmp_path, "--steps", "20")).stderr
    assert "the tokenizer was trained further: training starts again at step 0, from the weights that are there" in said
    warm = [line["held_out_loss"] for line in figures(tmp_path / "ar") if "held_out_loss" in line]
    shutil.rmtree(tmp_path / "ar")
    assert "trained further" not in done(command(work, "ar", tmp_path, "--steps", "20")).stderr
    cold = [line["held_out_loss"] for line in figures(tmp_path / "ar") if "held_out_loss" in line]
    assert len(warm) == len(cold) == 1 and warm[0] < cold[0] - 0.1, (warm, cold)
    assert "20/20" in said and "done" in done(command(work, "ar", tmp_path, "--steps", "20")).stdout


def test_training_of_ar_on_codes_of_a_new_tokenizer_says_what_to_remove(work, trained, tmp_path):
    shutil.copytree(trained / "ar", tmp_path / "ar")
    (tmp_path / "other.yaml").write_text(RECIPE.replace("sheet: 80", "seed: 9, sheet: 80"))
    config = [str(tmp_path / "other.yaml") if a == work / "smoke.yaml" else a for a in command(work, "X", tmp_path)]
    at = config.index("X")
    for stage in ("tokenizer", "codes"):
        done([*config[:at], stage, *config[at + 1 :]])
    ended = call(command(work, "ar", tmp_path))
    assert ended.returncode == 1 and f"remove the run to start again: rm -r {tmp_path / 'ar'}" in ended.stderr
    assert "resumes with the recipe" not in ended.stderr  # the recipe is the same


def test_training_of_a_messy_folder_says_so_on_one_line(work, tmp_path):
    shutil.copytree(work / "data", tmp_path / "art")
    shutil.copy(tmp_path / "art/disc/00.png", tmp_path / "art/disc/copy.png")
    Image.new("RGBA", (16, 16)).save(tmp_path / "art/frame/empty.png")
    Image.new("RGB", (64, 16), "red").save(tmp_path / "art/frame/strip.png")
    arguments = command(work, "tokenizer", tmp_path, "--steps", "1")
    arguments[arguments.index(work / "data")] = tmp_path / "art"
    said = done(arguments).stderr.splitlines()
    odd = (
        "1 unreadable, 1 left out as duplicates, 1 left out as blank, 1 of one colour, "
        "1 cropped to less than half (1 of them perhaps strips of frames: `train data cut`)"
    )
    line = next(line for line in said if line.startswith(f"{tmp_path / 'art'}: "))
    held = len(open_folder(tmp_path / "art", size=16, channels=4).held_out)
    counts = f"{73 - held} pictures of 3 classes, {held} held out"
    assert line == f"{tmp_path / 'art'}: {counts}; {odd} (listed in {tmp_path / 'pictures.txt'})"
    assert (tmp_path / "pictures.txt").read_text().splitlines() == [
        "disc/broken.png: is not a picture in a known format",
        "frame/empty.png: transparent throughout",
        "disc/copy.png: duplicate of disc/00.png",
        "frame/strip.png: cropped to the middle, perhaps of a strip: 64x16",
        "frame/strip.png: one colour throughout",
    ]
    for path in ("disc/copy.png", "disc/broken.png", "frame/empty.png", "frame/strip.png"):
        (tmp_path / "art" / path).unlink()
    said = done(arguments).stderr  # nothing to do, and nothing is odd any more
    assert f"{tmp_path / 'art'}: " in said and "listed in" not in said and not (tmp_path / "pictures.txt").exists()


def test_training_interrupted_finishes_the_step_and_saves(work, tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx"), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [str(a) for a in command(work, "tokenizer", tmp_path)], env=environment, stderr=subprocess.PIPE, text=True
    )
    while not (tmp_path / "tokenizer" / "log.jsonl").exists() or not (tmp_path / "tokenizer" / "log.jsonl").read_text():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[1]
    assert process.returncode == 1 and "the same command resumes it" in said and "Traceback" not in said
    step = torch.load(tmp_path / "tokenizer" / "resume.pt", weights_only=True)["step"]
    assert f"stopped at step {step}" in said and 10 <= step < 240


def test_codes_match_the_tokenizer(work, trained):
    codes, tokenizer = CodeSet(trained / "codes"), open_tokenizer(trained / "tokenizer")
    folder = open_folder(work / "data", size=16, channels=4)
    assert len(codes) == 3 * len(folder.train) and codes.classes == sorted(CLASSES)
    from detailflow_onnx.train.data.augment import prepare

    images = prepare(folder.train.read(np.arange(len(folder.train))), flips=False, hue=0.0, generator=None)
    first_time = codes.clean[: len(folder.train)].astype(np.int64)
    assert (
        tokenizer.encode(images)[1].numpy() == first_time
    ).mean() > 0.999  # a batch of another size may round another way
    before = np.arange(8) < np.asarray(codes.first)[:, None]
    changed = codes.clean != codes.input
    assert (changed & before).any(1).mean() > 0.9, "a disturbed prefix differs from the clean one"
    for i in range(len(codes)):
        hit = np.flatnonzero(changed[i] & before[i])
        assert len(hit) == 0 or hit[0] >= codes.first[i] - (1 if codes.first[i] <= 2 else 2), (
            "one token or one group is disturbed"
        )


def variant(work, tmp_path, *changes):
    """A recipe that differs, as the file after --config."""
    text = RECIPE
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    (tmp_path / "variant.yaml").write_text(text)
    return lambda *more: [tmp_path / "variant.yaml" if a == work / "smoke.yaml" else a for a in command(work, *more)]


def test_rows_alike_are_the_nearest_of_each_of_the_nearest_other_drawings():
    class Plain:
        """Pictures of one brightness, which is the mean of the two tokens of the coarsest level."""

        numbers = SimpleNamespace(size=16, count=8, group=2, causal=2, power=1.5, decoder=SimpleNamespace(patch=8))
        quantize = SimpleNamespace(embedding=torch.nn.Embedding(1, 1))

        def decode(self, ids, size):
            assert ids.shape[1] == 2 and size == 8
            return (ids.float().mean(1) / 100 - 1)[:, None, None, None].expand(-1, 4, 8, 8)

    first = [100, 102, 104, 106, 108, 112, 190, 100]
    clean = np.array([[value, value, 1, 2, 3, 4, 5, 6] for value in first], np.uint16)
    labels = np.array([0, 0, 0, 0, 0, 0, 0, 1], np.uint32)
    drawings = np.array([0, 0, 1, 1, 2, 3, 4, 5])
    found = alike.rows_alike(Plain(), clean, labels, drawings)
    # The seventh is too far from all; the eighth is alone in its class.
    want = [
        [2, 4, 5, -1],
        [2, 4, 5, -1],
        [1, 4, 5, -1],
        [4, 1, 5, -1],
        [3, 5, 1, -1],
        [4, 3, 1, -1],
        [-1] * 4,
        [-1] * 4,
    ]
    assert found.dtype == np.int32 and found.tolist() == want


def test_swapped_rows_go_on_as_a_similar_drawing_does(work, trained, tmp_path):
    shutil.copytree(trained / "codes", tmp_path / "codes")
    swapping = variant(work, tmp_path, ("guidance: 2", "guidance: 2, swap: 1.0"))

    def stage(path=tmp_path / "variant.yaml"):
        return ArStage(recipe.read(path), tmp_path / "codes", Process("cpu"), trained / "tokenizer")

    with pytest.raises(
        Refused, match=r"alike\.npy: ar\.train\.swap needs it \(No such file or directory\); run `train codes` again"
    ):
        stage()
    before = {name: (tmp_path / f"codes/{name}.npy").read_bytes() for name in codes.NAMES}
    (tmp_path / "tokenizer").symlink_to(trained / "tokenizer")
    done(swapping("codes", tmp_path))  # adds it to the codes that are there
    assert before == {name: (tmp_path / f"codes/{name}.npy").read_bytes() for name in codes.NAMES}
    known = stage().codes
    pictures, other = len(known) // 3, np.array(known.alike())
    assert (other >= 0).any(1).mean() > 0.5
    for k in range(other.shape[1]):
        row = np.flatnonzero(other[:, k] >= 0)
        assert (known.labels[row] == known.labels[other[row, k]]).all()
        assert (row % pictures != other[row, k] % pictures).all()  # without `drawings`: another picture

    _, (clean, noisy, first, labels) = next(stage().batches(0))
    plain = recipe.read(work / "smoke.yaml")
    _, untouched = next(ArStage(plain, tmp_path / "codes", Process("cpu"), trained / "tokenizer").batches(0))
    kept = stage().kept
    assert torch.equal(clean[:, :kept], untouched[0][:, :kept]) and torch.equal(labels, untouched[3])
    changed = (clean != untouched[0]).any(1)
    variant(work, tmp_path, ("guidance: 2", "guidance: 2, swap: 0.3"))
    _, fewer = next(stage().batches(0))
    assert 0 < (fewer[0] != untouched[0]).any(1).sum() < changed.sum()
    assert changed.float().mean() > 0.3
    assert torch.equal(noisy[changed], clean[changed]) and (first[changed] == clean.shape[1]).all()
    tails = {(label, *row[kept:]) for label, row in zip(known.labels.tolist(), known.clean[:].tolist())}
    assert {(label, *row[kept:]) for label, row in zip(labels.tolist(), clean.tolist())} <= tails

    for wrong in (other[1:], other.astype(np.float32), np.full_like(other, len(known)), np.full_like(other, -2)):
        np.save(tmp_path / "codes/alike.npy", wrong)
        with pytest.raises(Refused, match="not rows of these codes"):
            stage()
    other_seed = variant(work, tmp_path, ("variants: 3,", "variants: 3, seed: 5,"))
    done(other_seed("codes", tmp_path))
    assert not (tmp_path / "codes/alike.npy").exists()  # it named other rows


def test_ar_trains_on_drawings_as_often_as_on_each_other(work, trained, tmp_path):
    """Balanced rows follow the weights that the codes have of each picture, all variants alike."""
    shutil.copytree(trained / "codes", tmp_path / "codes")
    head = CodeSet(trained / "codes").head
    labels = np.asarray(CodeSet(trained / "codes").labels)[: head["pictures"]]
    assert (np.load(tmp_path / "codes/weights.npy") == 1).all()  # without data.drawings
    weights = np.zeros(len(labels), np.float32)
    only = [int(np.flatnonzero(labels == c)[3]) for c in range(3)]
    weights[only] = 1
    np.save(tmp_path / "codes/weights.npy", weights)
    (tmp_path / "a.yaml").write_text(RECIPE.replace("guidance: 2", "guidance: 2, balance: 1.0"))
    stage = ArStage(recipe.read(tmp_path / "a.yaml"), tmp_path / "codes", Process("cpu"), trained / "tokenizer")
    allowed = {row.tobytes() for row in stage.codes.clean[:][[p + v * len(labels) for p in only for v in range(3)]]}
    _, (clean, _, _, chosen) = next(stage.batches(0))
    assert {row.tobytes() for row in clean.numpy().astype(stage.codes.clean.dtype)} <= allowed
    assert set(chosen.tolist()) == {0, 1, 2}


def test_codes_weigh_pictures_by_their_drawing(work, trained, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out/tokenizer").symlink_to(trained / "tokenizer")
    done(variant(work, tmp_path, ("balance: 0.5", "balance: 0.5, drawings: true"))("codes", tmp_path / "out"))
    weights = np.load(tmp_path / "out/codes/weights.npy")
    pictures = open_folder(work / "data", size=16, channels=4).train
    numbers = pictures.drawings
    assert weights.tolist() == pytest.approx([1 / (numbers == d).sum() for d in numbers])
    assert len(set(weights.tolist())) > 1


def test_codes_are_augmented_more_than_the_data_where_the_recipe_says_so(work, trained, tmp_path):
    """The same in either section; the tokenizer's pictures stay as `data` says."""
    of_data = ("balance: 0.5", "balance: 0.5, drawings: true, recolour: 1.0, shift: 2, wrap: true")
    of_codes = ("codes: {", "codes: {drawings: true, recolour: 1.0, shift: 2, wrap: true, ")
    rows = {}
    for name, change in (("data", of_data), ("codes", of_codes)):
        out = tmp_path / name
        out.mkdir()
        (out / "tokenizer").symlink_to(trained / "tokenizer")
        done(variant(work, tmp_path, change)("codes", out))
        rows[name] = CodeSet(out / "codes")
    assert (rows["data"].clean[:] == rows["codes"].clean[:]).all()
    assert rows["data"].head == rows["codes"].head and rows["data"].weights.tolist() == rows["codes"].weights.tolist()
    plain = CodeSet(trained / "codes")
    assert (plain.clean[:] != rows["codes"].clean[:]).any() and plain.weights.tolist() != rows["codes"].weights.tolist()
    read = recipe.read(tmp_path / "variant.yaml")
    assert not read.data.shift and read.code_data.shift == 2
    refused = call(variant(work, tmp_path, ("codes: {", "codes: {recolour: 1.5, "))("codes", tmp_path / "codes"))
    assert refused.returncode == 1 and "codes.recolour is 1.5; a share of at most 1 is needed" in refused.stderr


def test_training_for_some_seconds_ends_and_is_complete(work, tmp_path):
    ended = call(command(work, "tokenizer", tmp_path, "--steps", "100000000", "--seconds", "1"))
    assert ended.returncode == 0, ended.stderr
    (point,) = (tmp_path / "tokenizer/checkpoints").iterdir()
    lines = [json.loads(line) for line in (tmp_path / "tokenizer/log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == int(point.stem) and "held_out_psnr" in lines[-1]
    for wrong in ("0", "-1", "x"):
        assert call(command(work, "tokenizer", tmp_path, "--seconds", wrong)).returncode == 2


def test_codes_resume_after_an_interruption(work, trained, tmp_path):
    (tmp_path / "tokenizer").symlink_to(trained / "tokenizer")
    done(command(work, "codes", tmp_path))
    note = json.loads((tmp_path / "codes" / "codes.json").read_text())
    clean = np.load(tmp_path / "codes" / "clean.npy")
    broken = np.load(tmp_path / "codes" / "clean.npy", mmap_mode="r+")
    broken[64:] = 0
    broken.flush()
    (tmp_path / "codes" / "codes.json").write_text(json.dumps(note | {"done": 64}))
    with pytest.raises(Refused, match="only 64 of"):
        CodeSet(tmp_path / "codes")
    done(command(work, "codes", tmp_path))
    assert np.array_equal(np.load(tmp_path / "codes" / "clean.npy"), clean)


def test_library_generates_with_the_trained_model(work, trained):
    bundle = work / "bundle"
    done(
        [
            sys.executable,
            "-m",
            "detailflow_onnx",
            "export",
            "--tokenizer",
            trained / "tokenizer",
            "--ar",
            trained / "ar",
            "--precision",
            "fp32,int8",
            "--name",
            "smoke",
            "--license",
            "CC0-1.0",
            "--out",
            bundle,
        ]
    )
    if not DFLOW.is_file():
        requirements.skip(NO_DFLOW)
    drawn = {}
    for kind in CLASSES:
        ended = call(
            [
                DFLOW,
                "generate",
                kind,
                "--bundle",
                bundle,
                "--seed",
                "1",
                "--temperature",
                "0",
                "-o",
                work / f"{kind}.png",
            ]
        )
        assert ended.returncode == 0, ended.stderr
        drawn[kind] = np.asarray(Image.open(work / f"{kind}.png"), np.float32)
        assert drawn[kind].shape == (16, 16, 4) and drawn[kind][..., 3].std() > 5, "something on nothing"
    # What the classes differ by: a frame is hollow, a disc is not.
    hollow = {kind: drawn[kind][6:10, 6:10, 3].mean() / drawn[kind][..., 3].max() for kind in ("disc", "frame")}
    assert hollow["frame"] < hollow["disc"], hollow


def test_training_of_another_model_is_not_resumed(work, trained, tmp_path):
    (tmp_path / "other.yaml").write_text(RECIPE.replace("codes: 32", "codes: 64"))
    ended = call(
        [*command(work, "tokenizer", trained)[:6], tmp_path / "other.yaml", *command(work, "tokenizer", trained)[7:]]
    )
    assert ended.returncode == 1 and "another model" in ended.stderr and "Traceback" not in ended.stderr


def test_stages_out_of_order_are_refused(work, trained, tmp_path):
    """The command that is missing is named, as it can be typed."""

    def refused(stage, out):
        ended = call(command(work, stage, out))
        assert ended.returncode == 1 and "Traceback" not in ended.stderr and len(ended.stderr.splitlines()) == 1
        return ended.stderr.strip()

    out = tmp_path / "a run"
    head, tail = "python -m detailflow_onnx train", f"--config {work / 'smoke.yaml'} --data {{}} --out '{out}'"
    want = (
        f"detailflow_onnx: {out / 'tokenizer'}: no checkpoint yet; run `train tokenizer` first: {head} tokenizer {tail}"
    )
    assert refused("codes", out) == want.format(work / "data")
    assert refused("ar", out) == want.format("DIR")
    (out / "tokenizer").mkdir(parents=True)
    (out / "tokenizer" / "config.json").write_text("{}")  # stopped before its first checkpoint
    assert refused("codes", out) == want.format(work / "data")
    (out / "tokenizer").rename(out / "before")
    (out / "tokenizer").symlink_to(trained / "tokenizer")
    assert f"{out / 'codes'}: no codes yet; run `train codes` first: {head} codes" in refused("ar", out)
    shutil.copytree(trained / "codes", out / "codes")
    head = json.loads((out / "codes" / "codes.json").read_text())
    (out / "codes" / "codes.json").write_text(json.dumps(head | {"done": 64}))
    assert "only 64 of" in refused("ar", out)


# ---------------------------------------------------------------- files
def test_state_is_written_under_a_free_name_and_keeps_its_mode(tmp_path):
    (tmp_path / "resume.pt.part").mkdir()  # of another process
    for step in (1, 2):
        loop.write(tmp_path / "resume.pt", {"step": step})
        assert torch.load(tmp_path / "resume.pt")["step"] == step
        assert step == 1 or (tmp_path / "resume.pt").stat().st_mode & 0o777 == 0o600
        (tmp_path / "resume.pt").chmod(0o600)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["resume.pt", "resume.pt.part"]


def test_published_checkpoint_of_a_killed_step_is_deleted_later(tmp_path):
    home = tmp_path / "checkpoints"
    home.mkdir()
    left = home / ".0000010.pt.0123abcd.part"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    loop._write_published(tmp_path, 12, {"model": {}})
    assert [path.name for path in home.iterdir()] == ["0000012.pt"]


@pytest.mark.parametrize(
    "name, make, sentence",
    [
        ("tokenizer/resume.pt", os.mkfifo, "a FIFO, not a regular file"),
        (
            "tokenizer/resume.pt",
            lambda path: path.write_bytes(b"text"),
            "not the state of a run, or damaged",
        ),
        ("tokenizer/resume.pt", lambda path: torch.save({"step": 1}, path), "resume.pt: not the state of a run"),
    ],
)
def test_state_that_is_damaged_is_refused_in_one_sentence(work, tmp_path, name, make, sentence):
    (tmp_path / "tokenizer").mkdir()
    make(tmp_path / name)
    ended = call(command(work, "tokenizer", tmp_path))
    assert ended.returncode == 1 and sentence in ended.stderr and "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    "make, sentence",
    [
        (os.mkfifo, "a FIFO, not a regular file"),
        (lambda path: path.write_text("[" * 100_000), "nested too deeply"),
        (lambda path: path.write_text("{}"), "the key 'done' is missing"),
        (lambda path: path.write_text('{"done": 1, "rows": [1]}'), "done or rows is not a count"),
    ],
)
def test_codes_that_are_damaged_are_refused_in_one_sentence(tmp_path, make, sentence):
    make(tmp_path / "codes.json")
    with pytest.raises(Refused, match=sentence):
        CodeSet(tmp_path)


# ---------------------------------------------------------------- parts
@pytest.mark.parametrize(
    "line, sentence",
    [
        ("data: {sise: 16}", "data.sise is unknown"),
        ("data: {size: big}", "data.size is 'big'"),
        ("data: {channels: 5}", "3 .RGB. or 4"),
        ("tokenizer: {model: {count: 6, group: 4, causal: 4}}", "multiples of group"),
        ("tokenizer: {train: {perceptual: 1}}", "needs perceptual_model"),
        ("tokenizer: {train: {optimizer: sgd}}", "adamw and muon"),
        ("ar: {train: {ema: 1.5}}", "below 1"),
        ("- 1", "not a mapping"),
        ("a: [", "not YAML"),
    ],
)
def test_recipe_with_an_error_is_refused(tmp_path, line, sentence):
    (tmp_path / "r.yaml").write_text(line)
    with pytest.raises(Refused, match=sentence):
        recipe.read(tmp_path / "r.yaml")


def test_recipes_in_the_package_are_valid():
    assert "sprites" in recipe.shipped()
    for name in recipe.shipped():
        assert recipe.read(name).name == name


def test_perturbed_replaces_one_unit_by_near_codes(work):
    numbers = recipe.read(work / "smoke.yaml").numbers
    tokenizer = Tokenizer(numbers)
    ids = torch.randint(32, (units(numbers) * 10, 8))
    unit = torch.arange(len(ids)) % units(numbers)
    noisy, first = perturbed(tokenizer, ids, 5, unit)
    book = tokenizer.quantize.rows()
    for row, (a, b) in enumerate(zip(ids, noisy)):
        u = int(unit[row])
        places = [u] if u < 2 else [2 + (u - 2) * 2, 3 + (u - 2) * 2]
        assert int(first[row]) == places[-1] + 1 < 8 and (a != b).nonzero().flatten().tolist() == places
        for place in places:
            nearer = (book @ book[a[place]] > book[b[place]] @ book[a[place]] + 1e-6).sum()
            assert nearer <= 5


def test_degraded_removes_fine_detail():
    image = torch.zeros(1, 1, 16, 16)
    image[..., ::2] = 1
    assert losses.degraded(image, 2, 4).shape[-1] == 4 and abs(float(losses.degraded(image, 2, 4).mean()) - 0.5) < 0.05
    assert float(losses.degraded(image, 2, 16).std()) < 0.1 < float(image.std())


def test_augmented_keeps_gradients_and_size():
    x = torch.rand(6, 4, 16, 16, requires_grad=True)
    y = losses.augmented(x, 16)
    y.sum().backward()
    assert y.shape == x.shape and x.grad.abs().sum() > 0


class Stand(torch.nn.Module):
    """In place of a network that is fetched."""

    def __init__(self):
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, 8, 3, 2, 1), torch.nn.ReLU(), torch.nn.Conv2d(8, 12, 3, 2, 1)
        )

    def forward(self, x):
        return self.layers(x).mean((2, 3))


def test_perceptual_and_alignment_losses_have_gradients(work, monkeypatch):
    import dataclasses

    monkeypatch.setattr(losses, "pretrained", lambda name: Stand().eval().requires_grad_(False))
    read = recipe.read(work / "smoke.yaml")
    train = dataclasses.replace(
        read.tokenizer.train, perceptual=1.0, perceptual_model="x", align=1.0, align_model="x", continuous=0
    )
    read = dataclasses.replace(read, tokenizer=dataclasses.replace(read.tokenizer, train=train))
    stage = TokenizerStage(read, open_folder(work / "data", size=16, channels=4), Process("cpu"))
    _, images = next(stage.batches(0))
    got = stage.losses(0, images)
    assert float(got["perceptual"]) > 0 and 0 < float(got["align"]) < 2
    assert (
        stage.module.global_token_proj[0].weight.grad.abs().sum() > 0
        and stage.module.encoder.latent_tokens.grad.abs().sum() > 0
    )
    same = losses.Perceptual("x")
    assert float(same(images, images)) == 0


def test_rate_rises_then_falls():
    settings = recipe.Optimising(steps=100, warmup=10, final=0.1)
    rates = [optimise.rate(step, settings) for step in range(101)]
    assert (
        rates[0] == 0.1
        and rates[9] == 1
        and max(rates) == 1
        and abs(rates[100] - 0.1) < 1e-9
        and all(a >= b for a, b in itertools.pairwise(rates[10:]))
    )


def test_resume_keeps_new_rates():
    module = torch.nn.Linear(2, 2)
    old, new = (
        optimise.optimisers(module, recipe.Optimising(lr=lr, weight_decay=decay))
        for lr, decay in ((1e-3, 0.1), (1e-5, 0.2))
    )
    module(torch.ones(1, 2)).sum().backward()
    old[0].step()
    optimise.resume(new, [o.state_dict() for o in old])
    group = new[0].param_groups[0]
    assert (group["full"], group["weight_decay"]) == (1e-5, 0.2) and new[0].state[module.weight]["step"] == 1


def test_training_with_a_nan_loss_keeps_the_checkpoint(work, tmp_path):
    (tmp_path / "wild.yaml").write_text(RECIPE.replace("lr: 0.003", "lr: 1.0e+9").replace("save: 80", "save: 1"))
    arguments = command(work, "tokenizer", tmp_path)
    arguments[arguments.index(work / "smoke.yaml")] = tmp_path / "wild.yaml"
    ended = call(arguments)
    assert ended.returncode == 1 and "NaN or infinite" in ended.stderr and "Traceback" not in ended.stderr
    kept = (
        torch.load(tmp_path / "tokenizer" / "resume.pt", weights_only=True)
        if (tmp_path / "tokenizer" / "resume.pt").exists()
        else None
    )
    assert kept is None or all(value.isfinite().all() for value in kept["model"].values())


def test_codes_of_another_tokenizer_are_refused(work, trained, tmp_path):
    (tmp_path / "codes").symlink_to(trained / "codes")
    shutil.copytree(trained / "tokenizer", tmp_path / "tokenizer")
    path = next((tmp_path / "tokenizer" / "checkpoints").iterdir())
    state = torch.load(path, weights_only=True)
    state["model"]["quantize.embedding.weight"][0] += 1
    torch.save(state, path)
    ended = call(command(work, "ar", tmp_path))
    assert ended.returncode == 1 and "run `train codes` again" in ended.stderr and "Traceback" not in ended.stderr


def test_average_follows_the_weights_and_restores_them():
    module = torch.nn.Linear(2, 2)
    average = optimise.Average(module, 0.9)
    with torch.no_grad():
        module.weight.fill_(3.0)
    for step in range(200):
        average.update(module, step)
    assert torch.allclose(average.state_dict()["weight"], module.weight, atol=1e-4)
    other = optimise.Average(torch.nn.Linear(2, 2), 0.9)
    other.load_state_dict(average.state_dict())
    assert torch.equal(other.values[0], average.values[0])
    raw = module.weight.detach().clone()
    with average.used(module):
        assert torch.equal(module.weight, average.state_dict()["weight"]) and not torch.equal(module.weight, raw)
    assert torch.equal(module.weight, raw)


def test_training_in_two_processes_keeps_them_equal(work, tmp_path):
    """They begin alike, average their gradients and so stay alike; the first of them writes."""
    script = tmp_path / "both.py"
    script.write_text(
        "import sys, torch\nfrom torch import distributed\n"
        "from detailflow_onnx import cli\nfrom detailflow_onnx.train import loop\n"
        "train = loop.train\n"
        "def watched(stage, *rest):\n    reached = train(stage, *rest)\n"
        "    flat = torch.cat([p.detach().flatten() for p in stage.module.parameters()])\n"
        "    parts = [torch.empty_like(flat) for _ in range(2)]\n    distributed.all_gather(parts, flat)\n"
        "    assert torch.equal(*parts), 'the processes drifted apart'\n    return reached\n"
        "loop.train = watched\nsys.exit(cli.main(sys.argv[1:]))\n"
    )
    (tmp_path / "short.yaml").write_text(
        RECIPE.replace("steps: 240", "steps: 30")
        .replace("gan_start: 140", "gan_start: 20")
        .replace("continuous: 30", "continuous: 10")
        .replace("sheet: 80", "sheet: 0")
    )
    more = command(work, "tokenizer", tmp_path)[3:]
    more[more.index(work / "smoke.yaml")] = tmp_path / "short.yaml"
    done([sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", script, *more])
    assert figures(tmp_path / "tokenizer")[-1]["step"] == 30

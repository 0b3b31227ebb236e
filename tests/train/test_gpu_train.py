"""The script that trains variants on a GPU: its plans and what it packs, without training."""

import argparse
import importlib.util
import json
import math
import subprocess
import sys
import tarfile
import time

import pytest
import torch
from detailflow_onnx.train import recipe
from helpers.bundles import ROOT

SCRIPT = ROOT / ".ci/gpu_train.py"


@pytest.fixture
def script(monkeypatch):
    spec = importlib.util.spec_from_file_location("gpu_train", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setattr(sys, "path", list(sys.path))
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runner(script, tmp_path):
    options = argparse.Namespace(
        data="d", out=str(tmp_path / "out"), work=str(tmp_path / "work"), device="cpu", total=100.0, threads=1
    )
    options.tiny = options.preflight = False
    return script.Runner(options)


def checkpoint(home, seed, count=60_000, averaged=True):
    """A stage's folder with `count` weights."""
    (home / "checkpoints").mkdir(parents=True)
    weights = {"layer": torch.randn(count, generator=torch.Generator().manual_seed(seed))}
    state = {"model": weights, "steps": 7} | ({"ema": {"layer": weights["layer"] + 1}} if averaged else {})
    torch.save(state, home / "checkpoints/0000007.pt")
    (home / "config.json").write_text(json.dumps({"seed": seed}))
    (home / "log.jsonl").write_text('{"step": 7}\n')
    return weights["layer"]


def judged(work, name, score):
    """The figures of a pair."""
    home = work / name / "judged"
    home.mkdir(parents=True, exist_ok=True)
    setting = {"sampling": {"guidance": 1.5}, "accuracy": 0.9, "distinct": 0.8, "exact": 0.0, "sequences": 1.0}
    setting |= {"score": score, "variation": {"tokens": 0.5, "pixels": 0.25, "accuracy": 0.7}}
    content = {"score": score, "training_psnr": 18.0, "settings": [setting]}
    content["held_out"] = {"Dungeon Crawl": {"levels": [{"psnr": 20.123}, {"psnr": 18.4}]}}
    (home / "figures.json").write_text(json.dumps(content))


def names(path):
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_plan_has_every_ar_model_below_its_tokenizer(script):
    whole = script.planned(None)
    assert set(whole) == set(script.TOKENIZERS)
    assert sorted(ar for ars in whole.values() for ar in ars) == sorted(script.ARS)
    assert all(ar.split("-")[0] == name for name, ars in whole.items() for ar in ars)
    first = next(iter(script.ARS))
    assert script.planned(f"v4096,{first}") == {"v4096": [first]} and script.planned("v1024") == {"v1024": []}


def test_every_variant_is_a_valid_recipe(script, runner, tmp_path):
    sizes = set()
    for tiny, preflight in ((False, False), (True, True)):
        runner.options.tiny, runner.options.preflight = tiny, preflight
        for name, changes in {**script.TOKENIZERS, **script.ARS}.items():
            (tmp_path / "r.yaml").write_text(
                script.recipe_of(script.TOKENIZERS[name.split("-")[0]] | changes, runner.options)
            )
            chosen = recipe.read(tmp_path / "r.yaml")
            assert chosen.ar.train.swap == (0.3 if name.endswith("-swap") else 0) and chosen.data.size == 32
            assert chosen.ar.train.steps == (24 if preflight else 1_000_000)
            sizes.add((tiny, chosen.tokenizer.model.codes))
    assert sizes == {(False, 4096), (False, 2048), (False, 1024), (True, 64)}
    assert script.TOKENIZER["train"]["steps"] == 1_000_000  # the tables stay as they are


def test_stages_end_in_order_within_the_time(script, runner):
    ends = [runner.at(stage) for stage in ("tokenizer", "codes", "ar", "judge")]
    assert script.START < ends[0] < ends[1] < ends[2] < ends[3] < runner.end == script.START + 100
    runner.options.preflight = True
    assert runner.at("tokenizer") == runner.end - 4


def test_parts_are_small_and_give_the_weights_again(script, runner, monkeypatch, tmp_path):
    assert script.PART <= 15_000_000
    monkeypatch.setattr(script, "PART", 100_000)
    weights = {
        "tokenizer": checkpoint(runner.work / "v2048/tokenizer", 1, averaged=False),
        "ar": checkpoint(runner.work / "v2048-drop/ar", 2),
    }
    judged(runner.work, "v2048-drop", -0.5)
    (runner.work / "v2048-drop/judged/raw.png").write_bytes(b"picture")
    script.pack(runner)
    out = tmp_path / "out"
    parts = sorted(out.glob("models.tar.*"))
    assert [p.name for p in parts] == [f"models.tar.{i}" for i in range(len(parts))] and len(parts) >= 3
    assert all(p.stat().st_size <= 100_000 for p in parts)
    figures = json.loads((out / "figures.json").read_text())
    assert figures["ranked"] == ["v2048-drop"] and figures["packed"] == ["v2048", "v2048-drop"]
    assert figures["judged"]["v2048-drop"]["psnr"] == {"Dungeon Crawl": [20.12, 18.4]}
    assert figures["judged"]["v2048-drop"]["settings"][0]["variation_tokens"] == 0.5
    assert {"v2048-drop/raw.png", "v2048-drop/figures.json", "v2048/tokenizer-log.jsonl"} <= set(
        names(out / "reports.tar.gz")
    )
    script.unpack(argparse.Namespace(folder=out, into=tmp_path / "again"))
    for name, folder in (("tokenizer", "v2048/tokenizer"), ("ar", "v2048-drop/ar")):
        state = torch.load(tmp_path / "again" / folder / "checkpoints/0000007.pt", weights_only=True)
        value = state["model"]["layer"]
        want = weights[name] + (1 if name == "ar" else 0)  # the averages are what is used
        assert value.dtype == torch.float32 and (value - want).abs().max() < 0.005 and state["steps"] == 7
        assert ("ema" in state) == (name == "ar")
        assert (tmp_path / "again" / folder / "config.json").is_file()


def test_a_run_that_is_cut_off_leaves_what_it_had(script, runner, tmp_path):
    script.pack(runner)  # nothing yet
    figures = json.loads((tmp_path / "out/figures.json").read_text())
    assert figures == {"ranked": [], "packed": [], "failed": {}, "judged": {}}
    checkpoint(runner.work / "v4096/tokenizer", 1)
    runner.failed["v4096-drop-codes"] = "ran over its time"
    script.pack(runner)
    figures = json.loads((tmp_path / "out/figures.json").read_text())
    assert figures["packed"] == ["v4096"] and figures["ranked"] == []
    assert figures["failed"] == {"v4096-drop-codes": "ran over its time"}
    script.unpack(argparse.Namespace(folder=tmp_path / "out", into=tmp_path / "again"))
    assert len(list((tmp_path / "again").rglob("*.pt"))) == 1


def test_the_best_models_are_packed_first_while_there_is_room(script, runner, monkeypatch, tmp_path):
    for k, name in enumerate(("v4096", "v2048", "v1024")):
        checkpoint(runner.work / name / "tokenizer", k)
    scores = {"v4096-drop": -0.9, "v2048-drop": -0.3, "v2048-drop-swap": -0.6, "v1024-drop": None}
    for k, (name, score) in enumerate(scores.items()):
        checkpoint(runner.work / name / "ar", 10 + k)
        if score is not None:
            judged(runner.work, name, score)
    assert script.ranking(runner) == ["v2048-drop", "v2048-drop-swap", "v4096-drop", "v1024-drop"]
    size = len(script.small_state(runner.work / "v4096/tokenizer/checkpoints/0000007.pt")) + 100_000
    monkeypatch.setattr(script, "PART", 20_000)
    script.pack(runner)
    many = len(list((tmp_path / "out").glob("models.tar.*")))
    monkeypatch.setattr(script, "MODELS", int(3.5 * size))
    script.pack(runner)
    packed = json.loads((tmp_path / "out/figures.json").read_text())["packed"]
    assert packed == ["v2048", "v2048-drop", "v2048-drop-swap"]
    assert len(list((tmp_path / "out").glob("models.tar.*"))) < many  # older parts are gone
    script.unpack(argparse.Namespace(folder=tmp_path / "out", into=tmp_path / "again"))
    assert not list((tmp_path / "out").glob("*.new"))


def test_score_of_a_pair_that_reaches_everything_is_zero(script):
    held = {"Dungeon Crawl": {"levels": [{"psnr": 22.0}]}}
    entry = {"distinct": 0.9, "accuracy": 0.95, "variation": {"tokens": 0.7, "accuracy": 0.9}}
    assert script.score({"held_out": held}, entry) == 0
    assert math.isclose(script.score({"held_out": held}, entry | {"distinct": 0.75}), -0.3)
    near = {"pixels": {"groups": {"samples": {"share_wide": 0.6}, "held-out files": {"share_wide": 0.3}}}}
    assert math.isclose(script.score({"held_out": held, "near_copies": near}, entry), -0.25)


def test_a_job_whose_time_is_over_or_whose_worker_fails_is_noted(script, runner, monkeypatch, tmp_path):
    stand_in = tmp_path / "worker.py"
    stand_in.write_text(
        "import json, sys\n"
        "for line in sys.stdin:\n"
        "    job = json.loads(line)\n"
        "    open(job['log'], 'w').write('a line\\n')\n"
        "    if job['call'] == 'die': sys.exit(3)\n"
        "    print('done' if job['call'] == 'good' else 'ValueError: wrong', flush=True)\n"
    )
    monkeypatch.setattr(script, "HERE", stand_in)
    runner.start("w")
    later = time.monotonic() + 60
    runner.end = later + 9
    assert runner.run("w", "first", later, call="good")
    assert not runner.run("w", "second", later, call="bad") and "ValueError: wrong: a line" in runner.failed["second"]
    assert not runner.run("w", "third", later, call="die") and "the worker ended" in runner.failed["third"]
    runner.workers["w"].wait(30)
    assert runner.run("w", "fourth", later, call="good")  # by a new worker
    assert not runner.run("w", "fifth", time.monotonic(), call="good") and "ran over its time" in runner.failed["fifth"]
    assert "first" not in runner.failed and "fourth" not in runner.failed
    runner.close()

    def fails(_):
        raise OSError("no space")

    script.guarded(fails, runner)
    assert "no space" in runner.failed["fails"]


def test_command_line_says_what_is_missing():
    for arguments, text in (([], "data, out, work must be given"), (["unpack", "x"], "into must be given")):
        ended = subprocess.run([sys.executable, SCRIPT, *arguments], capture_output=True, text=True)
        assert ended.returncode == 2 and text in ended.stderr
    ended = subprocess.run([sys.executable, SCRIPT, "--help"], capture_output=True, text=True)
    assert ended.returncode == 0 and "unpack" in ended.stdout and "--preflight" in ended.stdout

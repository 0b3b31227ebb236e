"""The authors' numbers: an exported published checkpoint gives their logits, tokens, codes and pixels."""

import json

import numpy as np
import pytest
from detailflow_onnx.bundle import runner
from detailflow_onnx.checkpoint import weights
from detailflow_onnx.numbers import ladder, resize
from helpers.bundles import DATA, assert_same_bundle, read_manifest


@pytest.mark.parametrize("name", ["tiny-16", "tiny-32"])
def test_export_of_a_published_checkpoint_is_verified(name, tmp_path, run):
    home = DATA / name / "checkpoint"
    out = tmp_path / "bundle"
    status, text, error = run(
        "export",
        "--tokenizer",
        home / "tokenizer",
        "--ar",
        home / "ar",
        "--name",
        name,
        "--license",
        "CC0-1.0",
        "--out",
        out,
    )
    assert status == 0, error
    variants = [v for v in read_manifest(out)["variants"] if runner.runs_here(v)]
    forms = [v["form"] for v in variants]
    assert "fixed" in forms and all(v[graph] in text for graph in ("ar", "decoder", "encoder") for v in variants)
    status, text, error = run("verify", out, "--expected", DATA / name / "expected.npz", "--json")
    assert status == 0, error
    figures = json.loads(text)["figures"]
    assert {(row["form"], row["figure"]) for row in figures} >= {
        (f, k) for f in forms for k in ("logits", "greedy", "indices", "latents", "pixels")
    }
    assert_same_bundle(out, DATA / name / "bundle")


def test_committed_bundle_is_verified(run):
    status, text, error = run("verify", DATA / "tiny-16" / "bundle", "--expected", DATA / "tiny-16" / "expected.npz")
    assert status == 0, error
    assert "logits" in text and "FAILED" not in text


def test_verify_with_a_wrong_number_fails(tmp_path, run):
    with np.load(DATA / "tiny-16" / "expected.npz") as file:
        expected = {key: file[key] for key in file.files if not key.startswith("greedy")}
    expected["ar_logits_cond"][0, 77, 3] += 0.01
    np.savez(tmp_path / "wrong.npz", **expected)
    status, text, error = run("verify", DATA / "tiny-16" / "bundle", "--expected", tmp_path / "wrong.npz")
    assert status == 1 and "logits is 0.0" in error and "FAILED" in text


@pytest.mark.parametrize(
    "count, causal, size, power, sizes",
    [
        (128, 8, 256, 1.5, {8: 32, 16: 48, 24: 80, 48: 128, 64: 176, 104: 240, 112: 256, 128: 256}),
        (256, 16, 256, 1.5, {8: 16, 16: 32, 32: 48, 128: 176}),
    ],
)
def test_ladder_of_published_models_is_right(count, causal, size, power, sizes):
    rows = {
        row["tokens"]: row
        for row in ladder.table(size=size, patch=16, count=count, group=8, causal=causal, power=power)
    }
    assert list(rows)[:causal] == list(range(1, causal + 1)) and list(rows)[-1] == count
    assert (
        {t: rows[t]["size"] for t in sizes} == sizes
        and rows[count]["resolution"] == size
        and rows[1]["resolution"] == 1
    )


def test_ladder_of_one_token_has_the_full_size():
    assert ladder.table(size=16, patch=8, count=1, group=1, causal=1, power=2.0) == [
        {"tokens": 1, "resolution": 16, "size": 16}
    ]


def test_resize_of_positions_matches_torch():
    with np.load(DATA / "torch" / "expected.npz") as file:
        cases = [key for key in file.files if key.startswith("table.")]
        assert cases
        for key in cases:
            want = file[key.replace("table", "resized")]
            assert np.abs(resize.positions(file[key], int(key.split(".")[2])) - want).max() < 1e-6, key


def test_weights_written_by_torch_are_read():
    path = DATA / "torch" / "checkpoint.pt"
    tensors = weights.open_file(path, "model")
    with np.load(DATA / "torch" / "expected.npz") as file:
        want = {key[6:]: file[key] for key in file.files if key.startswith("model.")}
    assert set(tensors.shapes) == set(want)
    for name, value in want.items():
        assert np.array_equal(tensors.read(name), value), name
    assert set(weights.open_file(path, "ema").shapes) == {"weight", "bias"}

"""The PyTorch baseline computes what the authors' code computes; its times are consistent."""

import json
import shutil

import numpy as np
import pytest
import torch
from detailflow_onnx.bench import baseline
from detailflow_onnx.bundle import reference
from helpers import layout, requirements
from helpers.bundles import DATA, open_checkpoint, open_model


@pytest.fixture(scope="module", params=["tiny-16", "tiny-32"])
def published(request):
    """(model, expected numbers) of a checkpoint of the authors' code."""
    home = DATA / request.param / "checkpoint"
    with np.load(DATA / request.param / "expected.npz") as file:
        return open_checkpoint(home), {key: file[key] for key in file.files}


@pytest.mark.parametrize("cache", baseline.CACHES)
@pytest.mark.parametrize("attention", sorted(baseline.ATTENTION))
def test_baseline_logits_match_the_authors(published, cache, attention):
    model, want = published
    made = baseline.Baseline(model, cache=cache, attention=attention)
    for classes, key in (
        (want["ar_classes"].tolist(), "ar_logits_cond"),
        ([-1] * len(want["ar_classes"]), "ar_logits_uncond"),
    ):
        assert np.abs(made.logits(classes, want["ar_tokens"]) - want[key]).max() < 1e-3, key


@pytest.mark.parametrize("cache", baseline.CACHES)
def test_baseline_greedy_tokens_match_the_authors(published, cache):
    model, want = published
    made = baseline.Baseline(model, cache=cache)
    cases = [
        key[: -len("_tokens")]
        for key in want
        if key.startswith("greedy") and key.endswith("_tokens") and not want[key.replace("_tokens", "_gradual")]
    ]
    assert cases
    for case in cases:
        tokens, pixels = made.generate(
            want[case + "_classes"].tolist(), float(want[case + "_cfg_scale"]), None, greedy=True
        )
        assert np.array_equal(tokens, want[case + "_tokens"]), case
        assert pixels.shape == (len(tokens), model.size, model.size, model.channels) and pixels.dtype == np.uint8
        assert len(made.times["steps_ms"]) == len(model.steps)


def test_baseline_pixels_match_the_authors(published):
    model, want = published
    made = baseline.Baseline(model)
    counts = [int(key[3:-7]) for key in want if key.startswith("dec") and key.endswith("_pixels")]
    assert counts
    for count in counts:
        pixels = want[f"dec{count}_pixels"]
        assert np.abs(made.decode(want["tok_indices"][:, :count], pixels.shape[-1]) - pixels).max() < 1e-3, count


def test_baseline_in_bf16_is_close(published):
    model, want = published
    exact = torch.from_numpy(want["ar_logits_cond"]).log_softmax(-1)
    for cache in baseline.CACHES:
        got = torch.from_numpy(
            baseline.Baseline(model, "bf16", cache).logits(want["ar_classes"].tolist(), want["ar_tokens"])
        ).log_softmax(-1)
        kl = (exact.exp() * (exact - got)).sum(-1).mean().item()
        assert 0 < kl < 0.05, "bf16 rounds, and not more than that"


@pytest.mark.parametrize(
    "changes", [{"ar": (32, 2, 4, 2, 48)}, {"causal": 8}, {"group": 1, "causal": 4}, {"l2": False}]
)
def test_baseline_of_other_shapes_matches_the_reference(changes, tmp_path):
    n = layout.numbers(**changes)
    model = open_model(layout.write(tmp_path, n), n)
    rng = np.random.default_rng(3)
    tokens, classes = rng.integers(0, model.codes, (3, model.count)), [0, -1, 2]
    want = reference.ar_logits(model, classes, tokens)
    for cache in baseline.CACHES:
        assert np.abs(baseline.Baseline(model, cache=cache).logits(classes, tokens) - want).max() < 1e-4
    pixels = reference.decode(model, [(tokens, model.size)])[0]
    assert np.abs(baseline.Baseline(model).decode(tokens, model.size) - pixels).max() < 1e-4


def test_baseline_with_static_shapes_matches_the_authors(published):
    """What is compiled with kept keys, run uncompiled."""
    model, want = published
    made = baseline.Baseline(model)
    made.compiled = True
    assert np.abs(made.logits(want["ar_classes"].tolist(), want["ar_tokens"]) - want["ar_logits_cond"]).max() < 1e-3


def test_baseline_compiled_matches_in_few_programs(tmp_path, monkeypatch):
    """One program for each kind of step, not for each step: more would be refused, and not run eagerly unseen."""
    if not (shutil.which("c++") or shutil.which("g++")):
        requirements.skip("A C++ compiler is not installed (torch.compile needs it)")
    n = layout.numbers(count=64)
    model = open_model(layout.write(tmp_path, n), n)
    rng = np.random.default_rng(3)
    tokens, classes = rng.integers(0, model.codes, (1, model.count)), [1]
    want = reference.ar_logits(model, classes, tokens)
    limits = baseline.compile_without_limits

    def few():
        limits()
        torch._dynamo.config.recompile_limit = 4

    monkeypatch.setattr(baseline, "compile_without_limits", few)
    for cache in baseline.CACHES:
        torch._dynamo.reset()
        made = baseline.Baseline(model, cache=cache, compiled=True)
        assert len(model.steps) == 19
        assert np.abs(made.logits(classes, tokens) - want).max() < 1e-4, cache
    limits()


def test_baseline_without_cache_runs_1116_positions(monkeypatch):
    """Counted at the call, for the published 128 tokens in groups of 8."""
    home = DATA / "tiny-16" / "checkpoint"
    model = open_checkpoint(home)
    for cache, name, positions in (("none", "run", 1116), ("kept", "step", 128)):
        made, fed = baseline.Baseline(model, cache=cache), []
        call = getattr(made, name)
        monkeypatch.setattr(
            made, name, lambda ids, *rest, call=call, fed=fed: fed.append(ids.shape) or call(ids, *rest)
        )
        made.generate([0], 1.5, torch.Generator().manual_seed(1))
        assert (len(fed), sum(shape[1] for shape in fed)) == (23, positions)
        assert {shape[0] for shape in fed} == {2}, "guidance doubles the batch"
        fed.clear()
        made.generate([0], 1.0, torch.Generator().manual_seed(1))
        assert {shape[0] for shape in fed} == {1}, "without guidance it does not"


def test_baseline_command_results_are_consistent(run):
    home = DATA / "tiny-16" / "checkpoint"
    source = ["--tokenizer", home / "tokenizer", "--ar", home / "ar"]
    status, text, error = run(
        "baseline", *source, "--batch", "1,2", "--precision", "bf16,fp32", "--repeat", "2", "--threads", "1", "--json"
    )
    assert status == 0, error
    results = json.loads(text)["results"]
    assert [(r["batch"], r["precision"], r["cache"]) for r in results] == [
        (b, p, c) for b in (1, 2) for p in ("bf16", "fp32") for c in ("none", "kept")
    ]
    for entry in results:
        assert entry["images_per_second"] == pytest.approx(1000 / entry["ms_per_image"])
        assert sum(entry["rounds_ms"]) / 2 / entry["batch"] == pytest.approx(entry["ms_per_image"])
        assert len(entry["steps_ms"]) == 23 and all(ms > 0 for ms in entry["steps_ms"])
        assert entry["threads"] == 1 and entry["guidance"] == 1.5 and entry["device"] == "cpu"
    status, text, error = run("baseline", *source, "--repeat", "1", "--precision", "fp32")
    assert status == 0 and "no cache" in text and "KV cache" in text, error


def test_baseline_with_invalid_arguments_is_refused(run):
    home = DATA / "tiny-16" / "checkpoint"
    for arguments, status, word in [
        (["--batch", "0"], 2, "--batch"),
        (["--precision", "fp7"], 2, "fp32, bf16"),
        (["--cache", "all"], 2, "none, kept"),
        (["--tokenizer", home / "tokenizer"], 1, "--ar"),
        *(
            []
            if torch.cuda.is_available()
            else [
                (
                    ["--tokenizer", home / "tokenizer", "--ar", home / "ar", "--device", "cuda"],
                    1,
                    "finds no CUDA device",
                )
            ]
        ),
    ]:
        got, _, error = run("baseline", *arguments)
        assert got == status and word in error, (arguments, error)

"""The graph `draw`: from logits to tokens, like the library's `src/sample`."""

import numpy as np
import onnxruntime as ort
import pytest
from detailflow_onnx.bundle import runner, signatures
from detailflow_onnx.graphs import sampler
from helpers.bundles import DATA, read_manifest

# Those that some provider lacks: what they do is done by others (Max and Min of WebGPU too).
LACKING = {"TopK", "CumSum", "Max", "Min", "Loop", "Scan", "NonZero", "ArgMax", "IsNaN", "RandomUniform", "Multinomial"}
PLACES = 48


def session(codes):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    return ort.InferenceSession(sampler.build(codes).SerializeToString(), options, providers=["CPUExecutionProvider"])


def expected(logits, warmth, top_k, top_p, random):
    """(token, how near the random number is to another one) in float64."""
    z = (logits - logits.max()).astype(np.float64)
    weight = np.exp(z * warmth)
    if top_k < len(z):
        weight = np.where(z < np.sort(z)[-top_k], 0, weight)
    if top_p < 1:
        order = np.lexsort((np.arange(len(z)), -weight))
        passed = np.cumsum(weight[order]) > top_p * weight.sum()
        kept = order[: passed.argmax() + 1 if passed.any() else len(z)]
        weight = np.where(np.isin(np.arange(len(z)), kept), weight, 0)
    sums = np.cumsum(weight) / weight.sum()
    token = int((sums > random).argmax())
    return token, min(abs(sums[token] - random), abs(sums[token] - weight[token] / weight.sum() - random))


def settings(codes, *, scale=1.0, warmth=1.0, top_k=None, top_p=1.0, random=None, given=-1):
    columns = (scale, warmth, codes if top_k is None else top_k, top_p, random, given)
    return np.stack([np.broadcast_to(np.float32(c), PLACES) for c in columns], 1)


@pytest.mark.parametrize("codes", [1, 2, 7, 24, 1000, 4096])
def test_draw_samples_match_a_float64_computation(codes):
    run, rng = session(codes), np.random.default_rng(codes)
    logits = (rng.standard_normal((6, 4, codes)) * 2).astype(np.float32)
    logits[::2] = np.round(logits[::2] * 4) / 4  # ties
    rows = logits.reshape(-1, codes)
    cond, uncond = rng.integers(0, len(rows), (2, PLACES))
    for case in (
        {},
        {"top_k": min(5, codes)},
        {"top_p": 0.9},
        {"top_k": max(codes // 2, 1), "top_p": 0.5, "warmth": 1.7},
        {"top_p": 1e-6},
        {"scale": 3.0, "top_p": 0.7},
    ):
        random = (rng.integers(0, 1 << 24, PLACES) / (1 << 24)).astype(np.float32)
        given = settings(codes, random=random, **case)
        feeds = {"logits": logits, "cond": cond, "uncond": uncond, "settings": given}
        for cut in (True,) if {"top_k", "top_p"} & set(case) else (True, False):
            drawn = run.run(None, feeds | {"cut": np.array([cut])})[0]
            mixed = rows[uncond] + (rows[cond] - rows[uncond]) * np.float32(case.get("scale", 1))
            for at, token in enumerate(drawn[:, 0].astype(int)):
                wanted, near = expected(
                    mixed[at], given[at, 1], int(given[at, 2]), case.get("top_p", 1.0), float(random[at])
                )
                assert token == wanted or near < 1e-6, (case, at)
            wide = rows[cond].astype(np.float64)
            likely = wide[np.arange(PLACES), drawn[:, 0].astype(int)] - np.log(np.exp(wide).sum(-1))
            assert np.abs(likely - drawn[:, 1]).max() < 1e-5


def test_draw_returns_the_argmax_and_given_tokens():
    run, rng = session(24), np.random.default_rng(5)
    logits = np.round(rng.standard_normal((PLACES, 1, 24)), 1).astype(np.float32)
    logits[0, 0] = -1e30
    logits[1, 0, :2] = 3e38, 2.9e38
    feeds = {"logits": logits, "cond": np.arange(PLACES), "uncond": np.arange(PLACES), "cut": np.array([True])}
    drawn = run.run(None, feeds | {"settings": settings(24, top_k=1, random=0)})[0]
    assert (drawn[:, 0] == logits[:, 0].argmax(-1)).all(), "of equals the first"
    drawn = run.run(None, feeds | {"settings": settings(24, random=0.3, given=17)})[0]
    assert (drawn[:, 0] == 17).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_draw_of_nan_or_infinite_logits_returns_minus_one(bad):
    run, logits = session(24), np.zeros((PLACES, 1, 24), np.float32)
    logits[3, 0, 5] = bad
    uncond = np.where(np.arange(PLACES) % 5 == 0, 3, np.arange(PLACES))
    feeds = {
        "logits": logits,
        "cond": np.arange(PLACES),
        "uncond": uncond,
        "settings": settings(24, scale=2.0, random=0.5),
    }
    for cut in (True, False):
        token = run.run(None, feeds | {"cut": np.array([cut])})[0][:, 0]
        assert ((token == -1) == ((uncond == 3) | (np.arange(PLACES) == 3))).all()


def test_draw_uses_only_portable_operators():
    def kinds(graph):
        for node in graph.node:
            yield node.op_type
            for attribute in node.attribute:
                yield from kinds(attribute.g) if attribute.HasField("g") else ()

    for codes in (24, 4096):
        proto = sampler.build(codes)
        assert not set(kinds(proto.graph)) & LACKING and len(proto.SerializeToString()) < 1 << 16


def test_bundle_with_ar_has_the_draw_graph():
    content = read_manifest(DATA / "small")
    assert content["draw"] == "draw.onnx" and any(item["path"] == "draw.onnx" for item in content["files"])
    bundle = runner.Bundle(DATA / "small", content, next(filter(runner.runs_here, content["variants"])))
    signatures.check_signatures(bundle)
    assert bundle.path("draw") == DATA / "small" / "draw.onnx"

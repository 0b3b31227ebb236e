"""What each precision is, and that `export` judges it: figures, pictures, bounds."""

import json

import layout
import numpy as np
import onnx
import pytest
from conftest import open_model, read_manifest, write_bundle

from detailflow_onnx.graphs import builder
from detailflow_onnx import errors
from detailflow_onnx.bundle import quality as judge
from detailflow_onnx.bundle import manifest
from detailflow_onnx.numbers import quantize
from detailflow_onnx.bundle import reference
from detailflow_onnx.bundle import runner
from detailflow_onnx.bundle import verify


@pytest.fixture(scope="module")
def every(tmp_path_factory, small):
    """(model, folder of a bundle of every precision, its manifest, what `export` printed)."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    from detailflow_onnx import cli

    n, folder = small
    out, said, told = tmp_path_factory.mktemp("every") / "bundle", StringIO(), StringIO()
    with redirect_stdout(said), redirect_stderr(told):
        status = cli.main([*layout.arguments(folder, n), "--precision", ",".join(manifest.PRECISIONS), "--out", str(out)])
    assert status == 0, told.getvalue()
    return open_model(folder, n), out, read_manifest(out), said.getvalue()


def bundle_of(every, precision, form):
    _, folder, content, _ = every
    variant = next(v for v in content["variants"] if (v["precision"], v["form"]) == (precision, form))
    if not runner.runs_here(variant):
        pytest.skip(f"{form} needs ONNX Runtime {variant['min_runtime']}")
    return runner.Bundle(folder, content, variant)


def test_every_variant_is_listed_with_what_it_is_for(every):
    content = every[2]
    listed = [(v["precision"], v["form"], v["devices"], v.get("keys")) for v in content["variants"]]
    assert listed == [
        ("fp32", "native", ["cpu"], None), ("fp32", "mha", ["cpu"], None), ("fp32", "plain", ["*"], None), ("fp32", "fixed", manifest.APART, None),
        ("fp16", "plain", manifest.ACCELERATORS, "fp16"), ("fp16", "fixed", manifest.APART, "fp16"),
        ("int8", "native", ["cpu"], None), ("int8", "mha", ["cpu"], None), ("int8", "plain", ["*"], None), ("int8", "fixed", manifest.APART, None),
        ("int4", "native", ["cpu"], None), ("int4", "mha", ["cpu"], None), ("int4", "plain", ["*"], None), ("int4", "fixed", manifest.APART, None),
    ]  # fmt: skip
    weights = {item["path"]: item["length"] for item in content["files"] if item["path"].startswith("weights.")}
    assert len(weights) == 4 and weights["weights.fp32.bin"] > weights["weights.fp16.bin"] > weights["weights.int4.bin"]


def test_every_variant_is_judged_and_its_figures_are_told(every):
    _, _, content, said = every
    judged = [v for v in content["variants"] if runner.runs_here(v)]
    quality = {v["precision"]: v["quality"] for v in judged}
    kl = [quality[precision]["ar"]["kl"] for precision in ("fp32", "fp16", "int8", "int4")]
    assert kl == sorted(kl) and kl[0] < 1e-9 < kl[1] < 1e-4 < kl[2] < 0.02 < kl[3] < 0.2
    for variant in judged:
        figures = variant["quality"]
        assert figures["ar"]["kl"] <= figures["ar"]["kl_worst"] and figures["ar"]["logits_rms"] < figures["ar"]["logits_max"]
        assert set(figures["decoder"]["psnr"]) == {"16", "24", "32"} and 0.8 < figures["encoder"]["agreement"] <= 1
        assert any(line.split()[:2] == [variant["precision"], variant["form"]] for line in said.splitlines())
    assert min(quality["fp16"]["decoder"]["psnr"].values()) > 50 > 30 < min(quality["int8"]["decoder"]["psnr"].values())
    assert quality["int4"]["decoder"] == quality["int8"]["decoder"], "the decoder of int4 is written in int8"


def test_the_pictures_are_kept_with_what_the_source_weights_say(every):
    model, _, content, _ = every
    pictures = content["judged"]
    assert len(pictures) == judge.DRAWN and len({p["class"] for p in pictures}) == 4
    tokens = np.array([p["tokens"] for p in pictures])
    logits = reference.ar_logits(model, [p["class"] for p in pictures], tokens)
    likely = np.take_along_axis(judge.log_softmax(logits), tokens[..., None], -1)[..., 0]
    assert np.abs(likely - [p["log_probabilities"] for p in pictures]).max() < 1e-4


def test_half_inside_and_whole_outside(every):
    bundle = bundle_of(every, "fp16", "plain")
    kinds = {}
    for graph in ("ar", "decoder", "encoder"):
        session = bundle.graph(graph)
        kinds |= {f"{graph}.{v.name}": v.type for v in [*session.get_inputs(), *session.get_outputs()]}
    kept = {name for name in kinds if "past_" in name or "present_" in name}
    assert len(kept) == 8 and {kinds.pop(name) for name in kept} == {"tensor(float16)"}
    whole = ("ar.ids", "ar.start", "decoder.ids", "decoder.size", "encoder.ids")
    assert {kinds.pop(name) for name in whole} == {"tensor(int64)"} and set(kinds.values()) == {"tensor(float)"}
    verify.check_signatures(bundle)
    proto = onnx.load(bundle.folder / bundle.variant["ar"], load_external_data=False)
    assert {t.data_type for t in proto.graph.initializer if len(t.dims) == 2} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("form", ["mha", "plain"])
def test_four_bits_in_the_line_and_eight_in_the_decoder(every, form):
    bundle = bundle_of(every, "int4", form)
    for graph, four, eight in (("ar", 9, 0), ("decoder", 0, 9), ("encoder", 0, 9)):
        kinds = [n.op_type for n in onnx.load(bundle.folder / bundle.variant[graph], load_external_data=False).graph.node]
        products = kinds.count("MatMulIntegerToFloat") + kinds.count("MatMulInteger")
        assert kinds.count("MatMulNBits") == four and products == eight, graph


def test_weights_beyond_half_are_refused(tmp_path, small, run):
    n = layout.numbers()
    parts = layout.tensors(n)
    parts[1]["output.weight"][3, 2] = 7e4
    folder = layout.write(tmp_path / "in", n, parts)
    status, _, error = run(*layout.arguments(folder, n), "--precision", "fp16", "--out", tmp_path / "out")
    assert status == 1 and "the tensor ar.output.weight holds 70000, and fp16 ends at 65504" in error
    assert not (tmp_path / "out").exists()
    with pytest.raises(errors.Refused):
        builder.halved("x", np.float32([1e6]))
    assert builder.halved("x", np.array([1])).dtype == np.int64, "what is no float stays as it is"


@pytest.mark.parametrize("shape", [(64, 8), (33, 3), (7, 2), (320, 5)])
def test_four_bit_blocks(shape):
    weight = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    weight[0, 0] = 0
    packed, scale = quantize.blocked(weight)
    blocks = -(-shape[0] // quantize.BLOCK)
    assert packed.shape == (shape[1], blocks, quantize.BLOCK // 2) and packed.dtype == np.uint8 and scale.shape == (shape[1], blocks)
    numbers = np.stack([packed & 15, packed >> 4], -1).reshape(shape[1], blocks, quantize.BLOCK).astype(int) - 8
    back = (numbers * scale[..., None]).reshape(shape[1], -1)
    assert (back[:, shape[0] :] == 0).all()
    error = back[:, : shape[0]].T - weight
    assert np.sqrt((error**2).mean() / (weight**2).mean()) < 0.12
    assert (np.abs(error) <= np.abs(weight).max() / 8).all()
    assert not np.isnan(quantize.blocked(np.zeros(shape, np.float32))[1]).any()


def test_a_bad_variant_is_told(tmp_path, small, run, monkeypatch):
    """A scale that cuts off most of the weights: still a bundle, but one past its tolerance, and `past` says so."""
    n, folder = small
    model = open_model(folder, n)
    good = write_bundle(model, tmp_path / "good", ["int4"])
    monkeypatch.setattr(quantize, "SHRUNK", np.array([0.3]))
    bad = write_bundle(model, tmp_path / "bad", ["int4"])
    variant = next(v for v in good["variants"] if v["form"] == "plain")
    pictures = judge.draw(runner.Bundle(tmp_path / "good", good, variant))
    judged = judge.Judge(model, good, pictures)
    right, wrong = (judged.quality(runner.Bundle(tmp_path / name, content, variant)) for name, content in (("good", good), ("bad", bad)))
    assert wrong["ar"]["kl"] > 2 * right["ar"]["kl"] and wrong["decoder"] == right["decoder"]
    assert any(sentence.startswith("kl is") for sentence in judge.past("int4", wrong))
    assert judge.past("int8", right | {"encoder": {"agreement": 0.5}})[-1] == "encoder is 0.5, at least 0.9 is the tolerance of int8"
    assert judge.past("fp32", {"decoder": {"psnr": {"8": float("nan")}}}), "not a number is within no tolerance"


class TestTokens:
    """`--judge FILE`: pictures of the caller's."""

    def write(self, path, content, images, **more):
        path.write_text(json.dumps({"format": 1, "bundle": content["tokenizer_id"], "images": images} | more))
        return path

    def test_are_what_is_judged_by(self, tmp_path, small, every, run):
        n, folder = small
        images = [{"class": "class 2", "seed": None, "tokens": [i] * 16} for i in range(3)]
        path = self.write(tmp_path / "t.json", every[2], images)
        status, _, error = run(*layout.arguments(folder, n), "--precision", "fp32", "--judge", path, "--out", tmp_path / "out")
        assert status == 0, error
        assert [(p["class"], p["tokens"]) for p in read_manifest(tmp_path / "out")["judged"]] == [(2, [i] * 16) for i in range(3)]

    @pytest.mark.parametrize(
        "images, more, sentence",
        [
            ([], {}, "it holds no pictures"),
            ([{"class": None, "tokens": [0] * 16}], {}, "a picture of class None"),
            ([{"class": "class 9", "tokens": [0] * 16}], {}, "a picture of class 'class 9'"),
            ([{"class": "class 0", "tokens": [0] * 8}], {}, "a picture of 8 tokens; 16 of 0..23 are needed"),
            ([{"class": "class 0", "tokens": [24] * 16}], {}, "16 of 0..23 are needed"),
            ([{"class": "class 0"}], {}, "not a token file"),
            ([{"class": "class 0", "tokens": [0] * 16}], {"bundle": "0" * 16}, "its tokens belong to the tokenizer 0000000000000000"),
        ],
    )
    def test_that_do_not_fit_are_refused(self, images, more, sentence, tmp_path, small, every, run):
        n, folder = small
        path = self.write(tmp_path / "t.json", every[2], images, **more)
        status, _, error = run(*layout.arguments(folder, n), "--judge", path, "--out", tmp_path / "out")
        assert status == 1 and sentence in error and not (tmp_path / "out").exists()

    def test_that_are_not_there(self, tmp_path, small, run):
        n, folder = small
        status, _, error = run(*layout.arguments(folder, n), "--judge", tmp_path / "none.json", "--out", tmp_path / "out")
        assert status == 1 and "No such file" in error


def test_a_bundle_may_go_unjudged(tmp_path, small, run):
    numbers, checkpoint = small
    status, _, error = run(*layout.arguments(small[1], small[0]), "--judge", "none", "--out", tmp_path / "bundle")
    assert status == 0, error
    content = read_manifest(tmp_path / "bundle")
    assert "judged" not in content and not any("quality" in variant for variant in content["variants"])

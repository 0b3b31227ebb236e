"""The precisions, and the quality that `export` measures: figures, pictures, tolerances."""

import json

import numpy as np
import pytest
from detailflow_onnx import cli, errors
from detailflow_onnx.bundle import calibrate, quality, reference, runner, signatures, variants
from detailflow_onnx.graphs import builder
from detailflow_onnx.numbers import figures, quantize, schedule
from helpers import layout, requirements
from helpers.bundles import open_model, read_manifest, write_bundle

import onnx


@pytest.fixture(scope="module")
def every(tmp_path_factory, small):
    """(model, folder of a bundle of every precision, its manifest, what `export` printed)."""
    from contextlib import redirect_stderr, redirect_stdout
    from io import StringIO

    n, folder = small
    out, said, told = tmp_path_factory.mktemp("every") / "bundle", StringIO(), StringIO()
    with redirect_stdout(said), redirect_stderr(told):
        status = cli.main(
            [*layout.arguments(folder, n), "--precision", ",".join(variants.PRECISIONS), "--out", str(out)]
        )
    assert status == 0, told.getvalue()
    return open_model(folder, n), out, read_manifest(out), said.getvalue()


def bundle_of(every, precision, form):
    _, folder, content, _ = every
    variant = next(v for v in content["variants"] if (v["precision"], v["form"]) == (precision, form))
    if not runner.runs_here(variant):
        requirements.skip(f"ONNX Runtime {variant['min_runtime']} is not installed (form {form} needs it)")
    return runner.Bundle(folder, content, variant)


def test_manifest_lists_every_variant_with_its_devices(every):
    content = every[2]
    listed = [(v["precision"], v["form"], v["devices"], v.get("keys")) for v in content["variants"]]
    assert listed == [
        ("fp32", "native", ["cpu"], None),
        ("fp32", "mha", ["cpu"], None),
        ("fp32", "plain", ["*"], None),
        ("fp32", "fixed", variants.OWN_MEMORY, None),
        ("fp16", "plain", variants.ACCELERATORS, "fp16"),
        ("fp16", "fixed", variants.OWN_MEMORY, "fp16"),
        ("int8", "native", ["cpu"], "fp16"),
        ("int8", "mha", ["cpu"], None),
        ("int8", "plain", ["*"], None),
        ("int8", "fixed", variants.OWN_MEMORY, None),
        ("int4", "native", ["cpu"], "fp16"),
        ("int4", "mha", ["cpu"], None),
        ("int4", "plain", ["*"], None),
        ("int4", "fixed", variants.OWN_MEMORY, None),
    ]
    weights = {item["path"]: item["length"] for item in content["files"] if item["path"].startswith("weights.")}
    assert len(weights) == 4 and weights["weights.fp32.bin"] > weights["weights.fp16.bin"] > weights["weights.int4.bin"]


def test_export_measures_and_prints_the_quality_of_every_variant(every):
    _, _, content, said = every
    judged = [v for v in content["variants"] if runner.runs_here(v)]
    by_precision = {v["precision"]: v["quality"] for v in judged}
    kl = [by_precision[precision]["ar"]["kl"] for precision in ("fp32", "fp16", "int8", "int4")]
    assert kl == sorted(kl) and kl[0] < 1e-9 < kl[1] < 1e-4 < kl[2] < 0.02 < kl[3] < 0.2
    for variant in judged:
        found = variant["quality"]
        assert found["ar"]["kl"] <= found["ar"]["kl_worst"] and found["ar"]["logits_rms"] < found["ar"]["logits_max"]
        assert set(found["decoder"]["psnr"]) == {"16", "24", "32"} and 0.8 < found["encoder"]["agreement"] <= 1
        assert any(line.split()[:2] == [variant["precision"], variant["form"]] for line in said.splitlines())
    assert (
        min(by_precision["fp16"]["decoder"]["psnr"].values())
        > 50
        > 30
        < min(by_precision["int8"]["decoder"]["psnr"].values())
    )
    assert by_precision["int4"]["decoder"] == by_precision["int8"]["decoder"], "the decoder of int4 is written in int8"


def test_manifest_has_the_judged_pictures_with_their_probabilities(every):
    model, _, content, _ = every
    pictures = content["judged"]
    assert len(pictures) == quality.GENERATED and len({p["class"] for p in pictures}) == 4
    tokens = np.array([p["tokens"] for p in pictures])
    logits = reference.ar_logits(model, [p["class"] for p in pictures], tokens)
    likely = np.take_along_axis(figures.log_softmax(logits), tokens[..., None], -1)[..., 0]
    assert np.abs(likely - [p["log_probabilities"] for p in pictures]).max() < 1e-4


def test_fp16_graphs_have_float16_inside_and_float32_outside(every):
    bundle = bundle_of(every, "fp16", "plain")
    kinds = {}
    for graph in ("ar", "decoder", "encoder"):
        session = bundle.graph(graph)
        kinds |= {f"{graph}.{v.name}": v.type for v in [*session.get_inputs(), *session.get_outputs()]}
    kept = {name for name in kinds if "past_" in name or "present_" in name}
    assert len(kept) == 8 and {kinds.pop(name) for name in kept} == {"tensor(float16)"}
    whole = ("ar.ids", "ar.start", "decoder.ids", "decoder.size", "encoder.ids")
    assert {kinds.pop(name) for name in whole} == {"tensor(int64)"} and set(kinds.values()) == {"tensor(float)"}
    signatures.check_signatures(bundle)
    proto = onnx.load(bundle.folder / bundle.variant["ar"], load_external_data=False)
    assert {t.data_type for t in proto.graph.initializer if len(t.dims) == 2} == {onnx.TensorProto.FLOAT16}


@pytest.mark.parametrize("form", ["mha", "plain"])
def test_int4_bundle_has_an_int4_ar_and_int8_decoder(every, form):
    bundle = bundle_of(every, "int4", form)
    for graph, four, eight in (("ar", 9, 0), ("decoder", 0, 9), ("encoder", 0, 9)):
        kinds = [
            n.op_type for n in onnx.load(bundle.folder / bundle.variant[graph], load_external_data=False).graph.node
        ]
        products = kinds.count("MatMulIntegerToFloat") + kinds.count("MatMulInteger")
        assert kinds.count("MatMulNBits") == four and products == eight, graph


def test_int4_native_has_the_librarys_layers(every):
    _, folder, content, _ = every
    variant = next(v for v in content["variants"] if (v["precision"], v["form"]) == ("int4", "native"))
    for graph, four, eight in (("ar", 9, 0), ("decoder", 0, 9), ("encoder", 0, 9)):
        kinds = [n.op_type for n in onnx.load(folder / variant[graph], load_external_data=False).graph.node]
        assert (kinds.count("Linear4"), kinds.count("Linear"), kinds.count("MatMulNBits")) == (four, eight, 0), graph


def test_export_of_weights_beyond_fp16_is_refused(tmp_path, small, run):
    n = layout.numbers()
    parts = layout.tensors(n)
    parts[1]["output.weight"][3, 2] = 7e4
    folder = layout.write(tmp_path / "in", n, parts)
    status, _, error = run(*layout.arguments(folder, n), "--precision", "fp16", "--out", tmp_path / "out")
    assert status == 1 and "the tensor ar.output.weight holds 70000, beyond the fp16 range of 65504" in error
    assert not (tmp_path / "out").exists()
    with pytest.raises(errors.Refused):
        builder.to_float16("x", np.float32([1e6]))
    assert builder.to_float16("x", np.array([1])).dtype == np.int64, "what is no float stays as it is"


@pytest.mark.parametrize("shape", [(64, 8), (33, 3), (7, 2), (320, 5)])
def test_quantize_int4_error_is_small(shape):
    weight = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    weight[0, 0] = 0
    integers = quantize.quantize_int4(weight)
    blocks = -(-shape[0] // quantize.BLOCK)
    assert integers.nibbles.shape == shape[::-1] and integers.nibbles.max() <= 15
    assert integers.factors.shape == (shape[1], blocks) and np.abs(integers.factors).max() == quantize.LARGEST_FACTOR
    error = integers.weight() - weight
    assert np.sqrt((error**2).mean() / (weight**2).mean()) < 0.12
    assert (np.abs(error) <= np.abs(weight).max() / 8).all()
    zero = quantize.quantize_int4(np.zeros(shape, np.float32))
    assert (zero.weight() == 0).all() and np.isfinite(zero.scale).all()


@pytest.mark.parametrize("shape", [(64, 8), (33, 3), (7, 20), (320, 35)])
def test_pack_int4_holds_every_weight_where_the_kernels_read_it(shape):
    integers = quantize.quantize_int4(np.random.default_rng(5).standard_normal(shape).astype(np.float32))
    nibbles, factors = quantize.pack_int4(integers)
    deep, wide = -(-shape[0] // 64) * 64, -(-shape[1] // 16) * 16
    assert nibbles.shape == (wide // 16, deep // 8, 16, 4) and nibbles.dtype == np.uint8
    assert factors.shape == (wide // 16, deep // 32, 16) and factors.dtype == np.int8
    whole = np.zeros((deep, wide), int)
    for k in range(deep):
        for n in range(wide):
            byte = int(nibbles[n // 16, k // 8, n % 16, k % 8 // 2])
            whole[k, n] = ((byte >> 4 * (k % 2) & 15) - 8) * int(factors[n // 16, k // 32, n % 16])
    assert np.abs(whole).max() <= 120, "an int8 of which two products fit in 16 bits"
    assert (whole[shape[0] :] == 0).all() and (whole[:, shape[1] :] == 0).all()
    np.testing.assert_allclose(whole[: shape[0], : shape[1]] * integers.scale, integers.weight(), rtol=1e-6)


def test_error_feedback_lowers_the_error_of_the_output():
    rng = np.random.default_rng(6)
    mixed = np.eye(96) + 0.2 * rng.standard_normal((96, 96))
    x = (rng.standard_normal((500, 96)) * np.exp(rng.standard_normal(96)) @ mixed).astype(np.float32)
    weight = rng.standard_normal((96, 40)).astype(np.float32)
    new = rng.standard_normal((500, 96)) * np.exp(rng.standard_normal(96)) @ mixed

    def error(integers, inputs):
        return (((inputs @ (integers.weight() - weight)) ** 2).mean() / ((inputs @ weight) ** 2).mean()) ** 0.5

    nearest, feedback = quantize.quantize_int4(weight), quantize.quantize_int4(weight, x.T @ x / len(x))
    assert error(feedback, x) < 0.8 * error(nearest, x)
    assert error(feedback, new) < 1.2 * error(nearest, new), "inputs of other statistics lose little"
    dead = np.zeros((96, 96), np.float32)
    assert np.isfinite(quantize.quantize_int4(weight, dead).weight()).all(), "inputs that are always 0"


def test_rounding_with_feedback_is_the_default_and_closer_to_the_source(tmp_path, small):
    n, folder = small
    kl = {}
    for name, options in (("feedback", []), ("nearest", ["--rounding", "nearest"])):
        out = tmp_path / name
        command = [*layout.arguments(folder, n), "--precision", "int4", "--unchecked", "--out", str(out), *options]
        assert cli.main(command) == 0
        content, model = read_manifest(out), open_model(folder, n)
        variant = next(v for v in content["variants"] if v["form"] == "plain")
        classes, tokens = calibrate.draw(model)
        got = runner.Bundle(out, content, variant).logits(classes.tolist(), tokens)
        kl[name] = figures.kl_of(reference.ar_logits(model, classes.tolist(), tokens), got).mean()
    assert kl["feedback"] < kl["nearest"], kl


def test_calibration_computes_what_the_reference_does(small):
    n, folder = small
    model = open_model(folder, n)
    classes, tokens = calibrate.draw(model)
    assert tokens.shape[1] == model.count and (classes == -1).any() and (tokens < model.codes).all()
    seen = calibrate.Moments(model)
    assert seen("decoder.layers.0.mlp.fc1") is None
    first, last = seen("ar.layers.0.wqkv"), seen("ar.output.weight")
    assert first.shape == last.shape == (model.ar.width, model.ar.width)
    # The input of the output's weight, by the reference with another weight there.
    steps = calibrate._Steps(model, model.ar_weights.read)
    x = steps.embedded(classes, tokens, 0, model.count)
    *_, h = steps.passes(x, None, lambda *_: None, ~schedule.visible(model))
    want = reference.ar_logits(model, classes.tolist(), tokens)
    np.testing.assert_allclose(h @ model.ar_weights.read("output.weight").T, want, atol=2e-5)
    h = h.reshape(-1, model.ar.width)
    np.testing.assert_allclose(last, h.T @ h / len(h), rtol=1e-4, atol=1e-5)
    with pytest.raises(AssertionError, match="after a layer that follows it"):
        seen("ar.layers.0.wqkv")


def test_beyond_tolerance_names_the_figure(tmp_path, small, run, monkeypatch):
    """A scale that cuts off most of the weights: still a bundle, but one past its tolerance, and `past` says so."""
    n, folder = small
    model = open_model(folder, n)
    good = write_bundle(model, tmp_path / "good", ["int4"])
    monkeypatch.setattr(quantize, "SHRINK_FACTORS", np.array([0.3]))
    bad = write_bundle(model, tmp_path / "bad", ["int4"])
    variant = next(v for v in good["variants"] if v["form"] == "plain")
    pictures = quality.generate(runner.Bundle(tmp_path / "good", good, variant))
    judged = quality.Judge(model, good, pictures)
    right, wrong = (
        judged.quality(runner.Bundle(tmp_path / name, content, variant))
        for name, content in (("good", good), ("bad", bad))
    )
    assert wrong["ar"]["kl"] > 2 * right["ar"]["kl"] and wrong["decoder"] == right["decoder"]
    assert any(sentence.startswith("kl is") for sentence in quality.beyond_tolerance("int4", wrong))
    assert (
        quality.beyond_tolerance("int8", right | {"encoder": {"agreement": 0.5}})[-1]
        == "encoder is 0.5; the tolerance of int8 is at least 0.9"
    )
    assert quality.beyond_tolerance("fp32", {"decoder": {"psnr": {"8": float("nan")}}}), (
        "not a number is within no tolerance"
    )


class TestTokens:
    """`--judge FILE`: pictures of the caller's."""

    def write(self, path, content, images, **more):
        path.write_text(json.dumps({"format": 1, "bundle": content["tokenizer_id"], "images": images} | more))
        return path

    def test_tokens_file_replaces_generated_pictures(self, tmp_path, small, every, run):
        n, folder = small
        images = [{"class": "class 2", "seed": None, "tokens": [i] * 16} for i in range(3)]
        path = self.write(tmp_path / "t.json", every[2], images)
        status, _, error = run(
            *layout.arguments(folder, n), "--precision", "fp32", "--judge", path, "--out", tmp_path / "out"
        )
        assert status == 0, error
        assert [(p["class"], p["tokens"]) for p in read_manifest(tmp_path / "out")["judged"]] == [
            (2, [i] * 16) for i in range(3)
        ]

    @pytest.mark.parametrize(
        "images, more, sentence",
        [
            ([], {}, "it holds no pictures"),
            ([{"class": None, "tokens": [0] * 16}], {}, "a picture of class None"),
            ([{"class": "class 9", "tokens": [0] * 16}], {}, "a picture of class 'class 9'"),
            ([{"class": "class 0", "tokens": [0] * 8}], {}, "a picture of 8 tokens; 16 of 0..23 are needed"),
            ([{"class": "class 0", "tokens": [24] * 16}], {}, "16 of 0..23 are needed"),
            ([{"class": "class 0"}], {}, "not a token file"),
            (
                [{"class": "class 0", "tokens": [0] * 16}],
                {"bundle": "0" * 16},
                "its tokens belong to the tokenizer 0000000000000000",
            ),
        ],
    )
    def test_tokens_file_that_does_not_fit_is_refused(self, images, more, sentence, tmp_path, small, every, run):
        n, folder = small
        path = self.write(tmp_path / "t.json", every[2], images, **more)
        status, _, error = run(*layout.arguments(folder, n), "--judge", path, "--out", tmp_path / "out")
        assert status == 1 and sentence in error and not (tmp_path / "out").exists()

    def test_tokens_file_that_is_missing_is_refused(self, tmp_path, small, run):
        n, folder = small
        status, _, error = run(
            *layout.arguments(folder, n), "--judge", tmp_path / "none.json", "--out", tmp_path / "out"
        )
        assert status == 1 and "No such file" in error


def test_export_without_judging_has_no_quality(tmp_path, small, run):
    _numbers, _checkpoint = small
    status, _, error = run(*layout.arguments(small[1], small[0]), "--judge", "none", "--out", tmp_path / "bundle")
    assert status == 0, error
    content = read_manifest(tmp_path / "bundle")
    assert "judged" not in content and not any("quality" in variant for variant in content["variants"])

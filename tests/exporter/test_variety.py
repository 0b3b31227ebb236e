"""Checkpoints of every kind that the published format allows: each variant against the NumPy reference."""

import importlib.util

import numpy as np
import pytest
from detailflow_onnx.bundle import reader, reference, runner, signatures, variants
from helpers import layout, requirements
from helpers.bundles import DATA, assert_same_bundle, open_model, write_bundle

CASES = {
    "as published": {},
    "rgb": {"channels": 3},
    "three groups causal": {"causal": 12},
    "all causal": {"causal": 16},
    "group of one": {"group": 1, "causal": 1, "count": 9},
    "group of one, five causal": {"group": 1, "causal": 5, "count": 9},
    "group is all": {"count": 8, "group": 8, "causal": 8},
    "one token": {"count": 1, "group": 1, "causal": 1},
    "wide groups": {"count": 24, "group": 8, "causal": 8},
    "grouped keys": {"ar": (48, 3, 6, 2, 40)},
    "one key head": {"ar": (32, 2, 4, 1, 48)},
    "raw codebook": {"l2": False},
    "wide codes": {"code_width": 12, "codes": 40},
    "ladder 1.0": {"power": 1.0},
    "ladder 2.2": {"power": 2.2},
    "24 pixels": {"size": 24},
    "48 pixels, patch 12 and 16": {"size": 48, "enc_patch": 12, "patch": 16},
    "96 pixels, patch 16": {"size": 96, "enc_patch": 16, "patch": 16, "channels": 3},
    "20 pixels, patch 4 and 10": {"size": 20, "enc_patch": 4, "patch": 10},
    "unlike sides": {"enc": (24, 1, 2, 40, 3), "dec": (40, 3, 5, 24, 6)},
    "one class": {"classes": 1},
    "many classes": {"classes": 30},
    "rope and eps": {"rope_base": 500, "eps": 1e-3},
    "odd widths": {
        "enc": (33, 1, 3, 17, 4),
        "dec": (27, 1, 3, 19, 4),
        "ar": (36, 1, 3, 3, 21),
        "codes": 23,
        "code_width": 3,
    },
    "bfloat16": {"dtype": "bfloat16"},
    "float16, safetensors": {"dtype": "float16", "format": "safetensors"},
    "float64": {"dtype": "float64"},
    "safetensors": {"format": "safetensors"},
    "module": {"prefix": "module."},
    "_orig_mod. and module.": {"prefix": "_orig_mod.module."},
}
LIMIT = {"fp32": 2e-5, "fp16": 0.01, "int8": 0.2, "int4": 0.4}


def off(precision, got, want):
    assert got.shape == want.shape
    if precision == "fp32":
        return np.abs(got - want).max() / max(1, np.abs(want).max())
    return np.sqrt(((got - want) ** 2).mean() / (want**2).mean())


@pytest.mark.parametrize("case", CASES)
def test_bundle_of_any_checkpoint_matches_the_reference(case, tmp_path):
    n = layout.numbers(**CASES[case])
    model = open_model(layout.write(tmp_path / "in", n), n)
    content = write_bundle(model, tmp_path / "out", variants.PRECISIONS)
    assert reader.read_manifest(tmp_path / "out") == content
    reader.check_files(tmp_path / "out", content)
    rng = np.random.default_rng(5)
    tokens, classes = rng.integers(0, n["codes"], (3, n["count"])), [0, n["classes"] - 1, -1]
    logits = reference.ar_logits(model, classes, tokens)
    rows = content["ladder"]["prefixes"]
    requests = [(tokens[:2, : row["tokens"]], row["size"]) for row in rows]
    pixels = reference.decode(model, requests)
    images = rng.uniform(-1, 1, (2, n["channels"], n["size"], n["size"])).astype(np.float32)
    latents, ids = reference.encode(model, images)
    for variant in filter(runner.runs_here, content["variants"]):
        bundle, precision = runner.Bundle(tmp_path / "out", content, variant, threads=1), variant["precision"]
        signatures.check_signatures(bundle)
        assert off(precision, bundle.logits(classes, tokens), logits) < LIMIT[precision], variant
        for (t, size), want in zip(requests, pixels):
            assert off(precision, bundle.decode(t, size), want) < LIMIT[precision], (variant, size)
        got, codes = bundle.encode(images)
        assert off(precision, got, latents) < LIMIT[precision], variant
        assert precision != "fp32" or (codes == ids).all()


def test_manifest_has_ids_sizes_variants_and_files(tmp_path, small):
    n, folder = small
    model = open_model(folder, n)
    content = write_bundle(model, tmp_path / "out")
    assert content["ids"] == {"class": 24, "no_class": 28, "special": 29, "total": 32}
    assert content["tokens"] == {"count": 16, "group": 4, "causal": 4, "codes": 24, "bits": 5}
    assert content["image"] == {"size": 32, "channels": 4, "alpha": "premultiplied", "patch": 8}
    assert content["classes"] == ["class 0", "class 1", "class 2", "class 3"]
    assert [(v["precision"], v["form"]) for v in content["variants"]] == [
        (p, f) for p in ("fp32", "int8") for f in ("native", "mha", "plain", "fixed")
    ]
    assert {item["path"] for item in content["files"]} == {p.name for p in (tmp_path / "out").iterdir()} - {
        "detailflow.json"
    }


def test_export_twice_gives_the_same_bytes(tmp_path, small):
    n, folder = small
    for name in ("a", "b"):
        write_bundle(open_model(folder, n), tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes(), path.name


def test_tokenizer_id_depends_on_weights_only(tmp_path, small):
    n, folder = small
    whole = write_bundle(open_model(folder, n), tmp_path / "a", ["fp32"])["tokenizer_id"]
    assert write_bundle(open_model(folder, n), tmp_path / "b", ["int8"])["tokenizer_id"] == whole
    as_safetensors = layout.numbers(format="safetensors")
    same = open_model(layout.write(tmp_path / "s", as_safetensors), as_safetensors)
    assert write_bundle(same, tmp_path / "c", ["int8"])["tokenizer_id"] == whole
    parts = layout.tensors(n)
    parts[0]["quant_conv.bias"][0] += 1e-3
    other = open_model(layout.write(tmp_path / "o", n, parts), n)
    assert write_bundle(other, tmp_path / "d", ["int8"])["tokenizer_id"] != whole


@pytest.mark.parametrize(
    "precision, form", [("int8", "mha"), ("int8", "plain"), ("int4", "mha"), ("int4", "plain"), ("int4", "fixed")]
)
def test_quantized_rows_do_not_depend_on_their_batch(tmp_path, small, precision, form):
    n, folder = small
    content = write_bundle(open_model(folder, n), tmp_path / "out", [precision])
    variant = next(v for v in content["variants"] if v["form"] == form)
    if not runner.runs_here(variant):
        requirements.skip(f"ONNX Runtime {variant['min_runtime']} is not installed (form {form} needs it)")
    bundle = runner.Bundle(tmp_path / "out", content, variant)
    rng = np.random.default_rng(2)
    tokens, classes = rng.integers(0, n["codes"], (5, n["count"])), [0, 1, 2, 3, -1]
    images = (rng.uniform(-1, 1, (5, 4, 32, 32)) * np.arange(1, 6)[:, None, None, None] / 5).astype(np.float32)
    many, pixels, latents = bundle.logits(classes, tokens), bundle.decode(tokens, 32), bundle.encode(images)[0]
    for i in range(5):
        one = slice(i, i + 1)
        assert np.array_equal(bundle.logits(classes[one], tokens[one]), many[one])
        assert np.array_equal(bundle.decode(tokens[one], 32), pixels[one])
        assert np.array_equal(bundle.encode(images[one])[0], latents[one])


def test_quantize_int8_never_overflows_int16_pairs():
    from detailflow_onnx.numbers.quantize import quantize_int8

    rng = np.random.default_rng(0)
    for rows in (6, 7):
        weight = rng.standard_normal((rows, 500)).astype(np.float32)
        whole, scale = quantize_int8(weight)
        padded = np.concatenate([whole, np.zeros((rows % 2, 500), np.int8)]).astype(int)
        for sign in (1, -1):
            half = np.maximum(sign * padded, 0)
            assert ((half[0::2] + half[1::2]) * 255).max() < 32768
        assert np.abs(whole * scale - weight).max() <= scale.max()
    assert np.isfinite(quantize_int8(np.zeros((4, 2), np.float32))[1]).all()


@pytest.mark.parametrize("name", ["small", "precisions"])
def test_export_reproduces_the_committed_bundle(name, tmp_path):
    spec = importlib.util.spec_from_file_location("make", DATA / "make.py")
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    getattr(make, name)(tmp_path / name)
    assert_same_bundle(tmp_path / name, DATA / name)

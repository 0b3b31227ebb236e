"""The command `checkpoint`: the weights of a bundle as a checkpoint, which computes what the bundle computes."""

import dataclasses
import hashlib
import json
import shutil

import numpy as np
import pytest
from detailflow_onnx.bundle import reference, single
from detailflow_onnx.bundle.weights import open_bundle
from detailflow_onnx.checkpoint.model import shapes
from detailflow_onnx.checkpoint.recipe_file import bundle_defaults
from detailflow_onnx.errors import Refused
from detailflow_onnx.numbers.quantize import pack_int8, unpack_int8
from helpers import layout, requirements
from helpers.bundles import open_checkpoint, open_model, write_bundle

import onnx

MODELS = {
    "plain": {},
    "not normalized": {"l2": False},
    "grouped heads": {"ar": (32, 2, 4, 2, 48)},
    "causal": {"causal": 8},
    "one by one": {"group": 1, "causal": 4, "count": 8},
    "rgb, other patches": {"channels": 3, "enc_patch": 4, "enc": (48, 3, 4, 64, 8)},
    "rope": {"rope_base": 500.0, "eps": 1e-3},
    "resized positions": {"enc": (32, 2, 4, 48, 5)},
}


def results(model):
    """What the reference computes: tokens and latents of pictures, pixels of tokens, logits."""
    random = np.random.default_rng(3)
    images = random.uniform(-1, 1, (2, model.channels, model.size, model.size)).astype(np.float32)
    tokens = random.integers(model.codes, size=(2, model.count))
    latents, ids = reference.encode(model, images)
    full = reference.decode(model, [(tokens, model.size), (tokens[:, :1], model.decoder.patch)])
    logits = reference.ar_logits(model, [0, -1], tokens)
    return {
        "ids": ids,
        "latents": latents,
        "pixels": full[0],
        "small": full[1],
        "logits": logits,
    }


@pytest.fixture(scope="module", params=MODELS, ids=list(MODELS))
def model(request, tmp_path_factory):
    n = layout.numbers(**MODELS[request.param])
    home = tmp_path_factory.mktemp("model")
    return open_model(layout.write(home, n), n)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_a_bundle_gives_the_weights_that_it_was_made_of(model, precision, tmp_path):
    write_bundle(model, tmp_path / "bundle", precisions=[precision])
    back = open_bundle(tmp_path / "bundle")
    assert back.ar is not None
    assert (back.classes, back.l2_norm, back.power) == (
        model.classes,
        model.l2_norm,
        model.power,
    )
    assert back.ar.rope_base == model.ar.rope_base and np.isclose(back.ar.eps, model.ar.eps)
    bound = {"fp32": 2e-4, "fp16": 0.02, "int8": 0.2}[precision]
    want, have = results(model), results(back)
    if precision == "fp32":
        assert np.array_equal(want.pop("ids"), have["ids"])
    for name in want.keys() - {"ids"}:
        spread = np.abs(want[name]).mean()
        assert np.abs(want[name] - have[name]).mean() < bound * spread, name
    # Weights of linear layers are within half a step of int8, or of the rounding of fp16.
    for name, value in (
        ("layers.0.attention.wqkv.weight", model.ar_weights),
        ("mlp.fc1", model.tokenizer),
    ):
        key = name if name in value else f"decoder.visual_model.encoder.layers.0.{name}.weight"
        old, new = (
            value.read(key),
            (back.ar_weights if name in value else back.tokenizer).read(key),
        )
        step = {"fp32": 1e-7, "fp16": 1e-3, "int8": 1 / 127}[precision]
        assert np.abs(old - new).max() <= step * np.abs(old).max() * 1.01


def test_the_best_precision_is_read(model, tmp_path):
    write_bundle(model, tmp_path / "bundle", precisions=["int8", "fp32"])
    name = "layers.1.feed_forward.w3.weight"
    assert np.array_equal(
        open_bundle(tmp_path / "bundle").ar_weights.read(name),
        model.ar_weights.read(name),
    )


def test_unpacking_is_the_inverse_of_packing():
    for shape in ((64, 16), (5, 7), (130, 33)):
        integers = np.random.default_rng(1).integers(-127, 128, shape).astype(np.int8)
        assert np.array_equal(unpack_int8(pack_int8(integers), *shape), integers)


@pytest.fixture
def bundle(small, tmp_path):
    n, folder = small
    model = open_model(folder, n)
    write_bundle(model, tmp_path / "bundle", precisions=["fp32"], finish={})
    return model, tmp_path / "bundle"


def test_the_command_writes_a_checkpoint_that_export_reads(run, bundle, tmp_path):
    model, folder = bundle
    status, said, error = run("checkpoint", folder, "--out", tmp_path / "out")
    assert (status, error) == (0, "") and f"{tmp_path / 'out'}: tokenizer, ar" in said
    back = open_checkpoint(tmp_path / "out")
    assert (back.classes, back.encoder, back.decoder) == (
        model.classes,
        model.encoder,
        model.decoder,
    )
    direct = open_bundle(folder)
    for ours, theirs, names in zip(
        (direct.tokenizer, direct.ar_weights),
        (back.tokenizer, back.ar_weights),
        shapes(direct),
    ):
        for name in names:
            assert np.array_equal(ours.read(name), theirs.read(name)), name
    content = json.loads((folder / "detailflow.json").read_text())
    recipe = (tmp_path / "out" / "ar" / "recipe.yaml").read_text()
    assert recipe == (tmp_path / "out" / "recipe.yaml").read_text()
    for key in ("guidance", "temperature", "top_p"):
        assert f"    {key}: {content['sampling'][key]}\n" in recipe
    for key in ("name", "license"):
        assert f'{key}: "{content[key]}"\n' in recipe
    # Again, from a single file: the same files.
    single.write(folder, tmp_path / "one.dflow")
    assert run("checkpoint", tmp_path / "one.dflow", "--out", tmp_path / "again")[0] == 0
    listed = [p for p in sorted((tmp_path / "out").rglob("*")) if p.is_file()]
    for path in listed:
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(tmp_path / "out")).read_bytes()
    assert len(listed) == 11


def test_export_and_training_read_the_recipe(run, bundle, tmp_path):
    if reason := requirements.missing_package("yaml"):
        requirements.skip(reason)
    _, folder = bundle
    assert run("checkpoint", folder, "--out", tmp_path / "out")[0] == 0
    values, problem = bundle_defaults(tmp_path / "out" / "ar")
    content = json.loads((folder / "detailflow.json").read_text())
    sampling = {key: content["sampling"][key] for key in ("guidance", "temperature", "top_p")}
    assert problem == "" and values == sampling | {"name": content["name"], "license": content["license"]}


def test_destinations_with_content_are_left_unchanged(run, bundle, tmp_path):
    _, folder = bundle
    before = sorted(p.name for p in folder.iterdir())
    for out in (folder, tmp_path / "file"):
        if not out.exists():
            out.write_text("mine")
        status, _, error = run("checkpoint", folder, "--out", out)
        assert status == 1 and "left unchanged" in error
    assert sorted(p.name for p in folder.iterdir()) == before and (tmp_path / "file").read_text() == "mine"
    assert run("checkpoint", folder, "--out", tmp_path / "none" / "out")[0] == 1
    (tmp_path / "empty").mkdir()
    assert run("checkpoint", folder, "--out", tmp_path / "empty")[0] == 0


def test_bundles_that_cannot_be_taken_apart_are_refused(run, small, bundle, tmp_path):
    model, folder = bundle
    write_bundle(model, tmp_path / "only", precisions=["fp32"], graphs=("decoder",))
    assert "no encoder" in run("checkpoint", tmp_path / "only", "--out", tmp_path / "out")[2]
    write_bundle(model, tmp_path / "int4", precisions=["int4"])
    assert "only int4" in run("checkpoint", tmp_path / "int4", "--out", tmp_path / "out")[2]
    for name, change in (
        ("weights.fp32.bin", b"\0" * 99),
        ("ar.fp32.native.onnx", b"no graph"),
    ):
        shutil.copytree(folder, tmp_path / name)
        (tmp_path / name / name).write_bytes(change)
        status, _, error = run("checkpoint", tmp_path / name, "--out", tmp_path / "out")
        assert status == 1 and name in error
    # A manifest that contradicts its graphs.
    for key, value in (("layers", 3), ("heads", 3), ("head_width", 16)):
        shutil.copytree(folder, tmp_path / f"bad-{key}")
        content = json.loads((folder / "detailflow.json").read_text())
        content["ar"][key] = value
        (tmp_path / f"bad-{key}" / "detailflow.json").write_text(json.dumps(content))
        with pytest.raises(Refused):
            open_bundle(tmp_path / f"bad-{key}")
    assert not (tmp_path / "out").exists()


def test_what_a_checkpoint_cannot_store_is_refused(run, tmp_path):
    """Heads of the two sides that differ, and the epsilon of a backbone: both follow from no tensor."""
    n = layout.numbers(dec=(32, 2, 8, 48, 4))
    model = open_model(layout.write(tmp_path / "model", n), n)
    write_bundle(model, tmp_path / "heads", precisions=["fp32"])
    status, _, error = run("checkpoint", tmp_path / "heads", "--out", tmp_path / "out")
    assert status == 1 and "the encoder has 4 heads and the decoder 8" in error
    n = layout.numbers()
    model = open_model(layout.write(tmp_path / "same", n), n)
    other = dataclasses.replace(model, decoder=dataclasses.replace(model.decoder, eps=1e-5))
    write_bundle(other, tmp_path / "eps", precisions=["fp32"])
    status, _, error = run("checkpoint", tmp_path / "eps", "--out", tmp_path / "out")
    assert status == 1 and "the epsilon of its decoder is 1e-05" in error
    assert not (tmp_path / "out").exists()


CHANGES = {
    "layers": lambda m: m["decoder"].update(layers=10**9),
    "ar layers": lambda m: m["ar"].update(layers=4_000_000),
    "no layers": lambda m: m["encoder"].update(layers=0),
    "patch": lambda m: m["encoder"].update(patch=0),
    "no license": lambda m: m.pop("license"),
    "sampling": lambda m: m["sampling"].pop("top_p"),
    "no sampling": lambda m: m.pop("sampling"),
    "text": lambda m: m["ar"].update(head_width="wide"),
    "no decoder": lambda m: m.pop("decoder"),
    "ids": lambda m: m["ids"].pop("total"),
}


@pytest.mark.parametrize("change", CHANGES, ids=list(CHANGES))
def test_manifests_that_promise_too_much_or_too_little_are_refused(run, bundle, tmp_path, change):
    _, folder = bundle
    content = json.loads((folder / "detailflow.json").read_text())
    CHANGES[change](content)
    (folder / "detailflow.json").write_text(json.dumps(content))
    status, _, error = run("checkpoint", folder, "--out", tmp_path / "out")
    assert status == 1 and error.count("\n") == 1, error
    assert not (tmp_path / "out").exists()


def test_an_epsilon_outside_of_the_bundle_is_not_read(bundle, tmp_path, monkeypatch):
    """External data of every tensor is that of the bundle's folder, wherever the command runs."""
    model, _ = bundle
    write_bundle(model, tmp_path / "half", precisions=["fp16"])
    content = json.loads((tmp_path / "half" / "detailflow.json").read_text())
    # Only form `plain`, whose norms add a constant.
    content["variants"] = [v for v in content["variants"] if v["form"] == "plain"]
    path = tmp_path / "half" / content["variants"][0]["ar"]
    graph = onnx.load(str(path), load_external_data=False)
    makers = {name: node for node in graph.graph.node for name in node.output}
    root = next(node for node in graph.graph.node if node.op_type == "Sqrt")
    (tensor,) = [t for t in graph.graph.initializer if t.name == makers[root.input[0]].input[1]]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="secret")
    path.write_bytes(graph.SerializeToString())
    for item in content["files"]:
        if item["path"] == path.name:
            item |= {"length": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    (tmp_path / "half" / "detailflow.json").write_text(json.dumps(content))
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "secret").write_bytes(np.float32(1e-5).tobytes())
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(Refused, match="cannot be read"):
        open_bundle(tmp_path / "half")

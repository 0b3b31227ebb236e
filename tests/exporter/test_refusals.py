"""What cannot be exported is refused in one sentence with the key and its value, and leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from detailflow_onnx import errors
from detailflow_onnx.bundle import self_check, writer
from detailflow_onnx.checkpoint import config as config_file
from detailflow_onnx.checkpoint import published
from detailflow_onnx.graphs import siglip
from helpers import layout
from helpers.bundles import DATA, ROOT, open_arguments, open_model, write_bundle


def config(part, **changes):
    """Change keys of a config.json; None as a value removes the key."""

    def change(folder):
        path = folder / part / "config.json"
        values = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in values.items() if v != "gone"}))

    return change


def weights(part, edit):
    """Rewrite the tensors of a part after `edit(tensors)`."""

    def change(folder):
        n, index = layout.numbers(), ("tokenizer", "ar").index(part)
        parts = layout.tensors(n)
        edit(parts[index])
        layout.write_weights(folder / part, parts[index], ("model", "ema")[index], n)

    return change


def with_shape(name, shape):
    return lambda tensors: tensors.update({name: np.zeros(shape, np.float32)})


def yaml(text):
    return lambda folder: (folder / "tokenizer" / "config.yaml").write_text(text)


def not_finite(tensors):
    tensors["quant_conv.bias"][1] = np.nan


REFUSALS = {
    "causal_decoder": (config("tokenizer", causal_decoder=True), "causal_decoder is True"),
    "causal_encoder": (config("tokenizer", causal_encoder=False), "causal_encoder is False"),
    "num_codebooks": (config("tokenizer", num_codebooks=2), "num_codebooks is 2"),
    "vq_mean": (config("tokenizer", vq_mean=0.5), "vq_mean is 0.5"),
    "vq_std": (config("tokenizer", vq_std=2), "vq_std is 2.0"),
    "enc_type": (config("tokenizer", enc_type="dinov2"), "enc_type is 'dinov2'"),
    "dec_type": (config("tokenizer", dec_type="vit"), "dec_type is 'vit'"),
    "content_degradation": (
        yaml("content_degradation: blur\ndegradation_power: 1.5\n"),
        "content_degradation is 'blur'",
    ),
    "in_channels": (config("tokenizer", in_channels=1), "in_channels is 1"),
    "t2i": (config("ar", model_type="t2i"), "model_type is 't2i'"),
    "caption weights": (
        weights("ar", with_shape("cls_embedding.uncond_embedding", (120, 8))),
        "cls_embedding.uncond_embedding",
    ),
    "N and g": (config("tokenizer", group_size=5), "group_size is 5 in the tokenizer"),
    "N not a multiple": (
        lambda f: [config(p, group_size=3, causal_num=3)(f) for p in ("tokenizer", "ar")],
        "num_latent_tokens 16 is not a multiple of group_size 3",
    ),
    "c not a multiple": (
        lambda f: [config(p, causal_num=6)(f) for p in ("tokenizer", "ar")],
        "causal_num 6 is not a multiple of group_size 4",
    ),
    "N differs": (config("ar", block_size=32), "num_latent_tokens is 16 in the tokenizer, but block_size is 32"),
    "c differs": (config("ar", causal_num=8), "causal_num is 4 in the tokenizer, but causal_num is 8"),
    "vocabulary": (config("ar", vocab_size=32), "codebook_size is 24 in the tokenizer, but vocab_size is 32"),
    "key missing": (config("tokenizer", codebook_l2_norm="gone"), "the key codebook_l2_norm is missing"),
    "power missing": (yaml("vq_model: VQ-16\n"), "the key degradation_power is missing"),
    "key of a wrong type": (config("ar", n_head="four"), "the key n_head is 'four'; int is needed"),
    "patch": (config("tokenizer", dec_patch_size=7), "dec_patch_size 7 does not divide max_image_size 32"),
    "heads of the AR": (config("ar", n_head=5), "n_head 5 does not divide dim 32"),
    "narrow heads": (config("ar", n_head=16), "gives head_dim 2"),
    "zero heads": (config("ar", n_head=0), "n_head 0"),
    "grouped keys": (config("ar", n_kv_head=3), "n_kv_head 3 does not divide n_head 4"),
    "layers": (config("ar", n_layer=3), "the tensor layers.2.attention_norm.weight is missing"),
    "name missing": (
        weights("tokenizer", lambda t: t.pop("post_quant_conv.bias")),
        "the tensor post_quant_conv.bias is missing",
    ),
    "layer missing": (
        weights("tokenizer", lambda t: [t.pop(k) for k in list(t) if "encoder.layers.0.mlp" in k]),
        "layers.0.mlp.fc1",
    ),
    "shape": (
        weights("tokenizer", with_shape("quant_conv.weight", (4, 30))),
        "quant_conv.weight has the shape [4, 30]; this model needs [4, 32]",
    ),
    "no row for no class": (
        weights("ar", with_shape("cls_embedding.embedding_table.weight", (4, 32))),
        "embedding_table.weight has the shape [4, 32]; this model needs [5, 32]",
    ),
    "position table": (
        weights("tokenizer", with_shape("decoder.visual_model.embeddings.position_embedding.weight", (15, 32))),
        "15 rows; a square number is needed",
    ),
    "not finite": (weights("tokenizer", not_finite), "the tensor quant_conv.bias holds NaN or infinite values"),
    "no weights": (lambda f: shutil.rmtree(f / "ar" / "checkpoints"), "no .pt or .safetensors file found"),
    "several weights": (
        lambda f: shutil.copy(f / "ar/checkpoints/model.pt", f / "ar/checkpoints/b.pt"),
        "several files (b.pt, model.pt); choose one with --ar-weights",
    ),
    "no config": (lambda f: (f / "ar/config.json").unlink(), "config.json: No such file"),
    "broken config": (lambda f: (f / "ar/config.json").write_text("{"), "not JSON"),
    "no ema": (
        lambda f: layout.write_pt(f / "ar/checkpoints/model.pt", {"model": {}, "steps": 1}),
        "the key 'ema' is missing; the file has model, steps",
    ),
    "text for weights": (lambda f: (f / "ar/checkpoints/model.pt").write_text("hello"), "not a PyTorch checkpoint"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_export_of_an_invalid_checkpoint_is_refused_in_one_sentence(case, tmp_path, small, run):
    n, folder = small
    change, sentence = REFUSALS[case]
    shutil.copytree(folder, tmp_path / "in")
    change(tmp_path / "in")
    status, _out, error = run(*layout.arguments(tmp_path / "in", n), "--out", tmp_path / "out")
    assert status == 1 and sentence in error and len(error.strip().splitlines()) == 1 and "Traceback" not in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in"]


@pytest.mark.parametrize(
    "more, sentence",
    [
        (["--encoder-heads", "5"], "the head count 5 does not divide the encoder width 32"),
        (["--labels", "two.txt"], "2 labels, but the model has 4 classes"),
        (["--labels", "twice.txt"], "the label 'a' occurs twice, in lines 1 and 3"),
        (["--labels", "empty.txt"], "line 2 is empty"),
        (["--labels", "none.txt"], "none.txt: No such file"),
        (["--license-file", "none.md"], "none.md: No such file"),
        (["--ar-weights", "none.pt"], "none.pt: no such file"),
        (["--siglip-config", "none.json"], "none.json: No such file"),
        (["--top-k", "25"], "--top-k 25 exceeds the codebook_size 24"),
    ],
)
def test_export_with_invalid_options_is_refused(more, sentence, tmp_path, small, run, monkeypatch):
    n, folder = small
    monkeypatch.chdir(tmp_path)
    Path("two.txt").write_text("a\nb\n")
    Path("twice.txt").write_text("a\nb\na\nd\n")
    Path("empty.txt").write_text("a\n\nb\nc\n")
    status, _, error = run(*layout.arguments(folder, n), "--out", "out", *more)
    assert status == 1 and sentence in error and not Path("out").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["export"],
        ["export", "--out", "x"],
        ["export", "--random", "detailflow-17", "--out", "x"],
        ["export", "--random", "detailflow-16"],
        ["export", "--random", "detailflow-16", "--ar", "y", "--out", "x"],
        ["export", "--tokenizer", "y", "--out", "x"],
        ["export", "--random", "detailflow-16", "--precision", "fp8", "--out", "x"],
        ["export", "--random", "detailflow-16", "--top-p", "0", "--out", "x"],
        ["export", "--random", "detailflow-16", "--temperature", "nan", "--out", "x"],
        ["verify", "x"],
        ["export", "--random", "detailflow-16", "--seed", "-1", "--out", "x"],
    ],
)
def test_export_with_wrong_usage_exits_with_2(arguments, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, _, error = run(*arguments)
    assert status == 2 and "usage:" in error and not list(tmp_path.iterdir())


class TestHeads:
    """Head counts: a flag, the backbone config if its width fits, the checkpoint's key, the published rules."""

    def side(self, folder, prefix="encoder", more=()):
        arguments = ["export", "--tokenizer", folder / "tokenizer", "--ar", folder / "ar", *more]
        return getattr(open_arguments(arguments), prefix)

    @pytest.fixture
    def folder(self, tmp_path, small):
        shutil.copytree(small[1], tmp_path / "in")
        return tmp_path / "in"

    def test_heads_that_do_not_follow_are_refused(self, folder):
        with pytest.raises(
            errors.Refused, match=r"the head count of the encoder \(width 32\) does not follow.*--encoder-heads N"
        ):
            self.side(folder)

    def test_heads_from_the_backbone_config_are_used(self, folder):
        values = json.dumps({"hidden_size": 32, "num_attention_heads": 8, "layer_norm_eps": 1e-5})
        (folder / "siglip2_vision_config.json").write_text(values)
        assert (self.side(folder).heads, self.side(folder).eps) == (8, 1e-5)
        (folder / "tokenizer" / "siglip2_vision_config.json").write_text(values.replace("8", "2"))
        assert self.side(folder).heads == 2
        assert self.side(folder, more=["--encoder-heads", "1"]).heads == 1

    def test_heads_from_a_config_of_another_width_are_ignored(self, folder):
        (folder / "siglip2_vision_config.json").write_text(json.dumps({"hidden_size": 64, "num_attention_heads": 8}))
        with pytest.raises(errors.Refused, match="does not follow"):
            self.side(folder)
        config("tokenizer", num_heads=4)(folder)
        assert self.side(folder, "decoder").heads == 4

    def test_heads_of_published_models_are_known(self):
        class Values(config_file.Config):
            def __init__(self, **values):
                self.path, self.values = "config.json", values

        base = Values(
            encoder_model="siglip2_base", decoder_model="siglip2_base", enc_pretrained=True, dec_pretrained=True
        )
        assert published._heads("encoder", 1152, base, None, None)[0] == 16
        assert published._heads("decoder", 768, base, None, None)[0] == 12
        scratch = Values(encoder_model="siglip2_base", enc_pretrained=False)
        assert published._heads("encoder", 768, scratch, None, None)[0] == 12
        for width, values in ((1152, scratch), (640, base)):
            with pytest.raises(errors.Refused, match="does not follow"):
                published._heads("encoder", width, values, None, None)


def test_read_yaml_reads_scalars_and_skips_the_rest():
    text = "a: 1\nb: 1.5  # why\nc:\nd: 'x # y'\ne: true\nf: [1, 2]\ng:\n  h: 2\n"
    text += "- i: 3\n# j: 4\nk: ~\nl: 1e-3\nm: text here\n"
    assert config_file.read_yaml(text) == {
        "a": 1,
        "b": 1.5,
        "c": None,
        "d": "x # y",
        "e": True,
        "g": None,
        "k": None,
        "l": 1e-3,
        "m": "text here",
    }


class TestDestination:
    """The folder that is written to."""

    def test_destination_with_other_files_is_left_unchanged(self, tmp_path, small, run):
        n, folder = small
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "mine.txt").write_text("x")
        status, _, error = run(*layout.arguments(folder, n), "--out", tmp_path / "out")
        assert (
            status == 1
            and "is not a bundle; it is left unchanged" in error
            and (tmp_path / "out" / "mine.txt").read_text() == "x"
        )

    def test_destination_that_is_a_file_is_refused(self, tmp_path, small, run):
        (tmp_path / "out").write_text("x")
        status, _, error = run(*layout.arguments(small[1], small[0]), "--out", tmp_path / "out")
        assert status == 1 and "is not a folder" in error

    def test_destination_without_parent_is_refused(self, tmp_path, small, run):
        status, _, error = run(*layout.arguments(small[1], small[0]), "--out", tmp_path / "no" / "out")
        assert status == 1 and "no such folder" in error

    def test_destination_empty_or_with_a_bundle_is_replaced(self, tmp_path, small):
        n, folder = small
        (tmp_path / "out").mkdir()
        write_bundle(open_model(folder, n), tmp_path / "out", ["fp32", "int8"])
        assert (tmp_path / "out" / "weights.fp32.bin").exists()
        write_bundle(open_model(folder, n), tmp_path / "out", ["int8"])
        assert not (tmp_path / "out" / "weights.fp32.bin").exists() and [p.name for p in tmp_path.iterdir()] == ["out"]

    @pytest.mark.parametrize(
        "failure",
        [errors.Refused("no"), RuntimeError("no"), KeyboardInterrupt(), OSError(28, "No space left on device")],
    )
    def test_destination_after_a_failure_has_the_old_bundle(self, tmp_path, small, monkeypatch, failure):
        n, folder = small
        write_bundle(open_model(folder, n), tmp_path / "out", ["int8"])
        before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}

        def broken(*_):
            raise failure

        monkeypatch.setitem(writer.BUILDERS, "encoder", broken)
        with pytest.raises(type(failure)):
            write_bundle(open_model(folder, n), tmp_path / "out", ["fp32"])
        assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before and [
            p.name for p in tmp_path.iterdir()
        ] == ["out"]

    def test_export_that_fails_its_check_leaves_nothing(self, tmp_path, small, run, monkeypatch):
        monkeypatch.setattr(self_check, "LIMITS", {"fp32": 1e-12})
        status, _, error = run(*layout.arguments(small[1], small[0]), "--out", tmp_path / "out")
        assert status == 1 and "has an error of" in error and not list(tmp_path.iterdir())

    def test_self_check_of_a_wrong_graph_fails(self, tmp_path, small):
        n, folder = small
        model = open_model(folder, n)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(siglip, "BLOCKED", 0.0)
            write_bundle(model, tmp_path / "out", ["fp32"])
        figures = {
            (row["graph"], row["form"]): row["error"] for row in self_check.measure(model, tmp_path / "out")["errors"]
        }
        assert all((error > 1e-2) == (graph == "encoder") for (graph, _), error in figures.items())


def damage(path, name):
    data = bytearray((path / name).read_bytes())
    data[len(data) // 2] ^= 1
    (path / name).write_bytes(data)


def variant(path, **changes):
    """Change keys of the first variant of a manifest."""
    content = json.loads((path / "detailflow.json").read_text())
    content["variants"][0] |= changes
    (path / "detailflow.json").write_text(json.dumps(content))


VERIFY = {
    "no bundle": (lambda b: shutil.rmtree(b), "No such file"),
    "unknown format": (lambda b: (b / "detailflow.json").write_text('{"format": 2}'), "format 2 is unknown"),
    "unknown keys": (lambda b: variant(b, keys="fp8"), "fp8"),
    "keys in place": (
        lambda b: variant(b, form="mha", keys="fp16"),
        "int8 mha: keys is fp16, but form mha has an fp32 KV cache",
    ),
    "not JSON": (lambda b: (b / "detailflow.json").write_text("hello"), "not the manifest of a bundle"),
    "missing file": (lambda b: (b / "weights.int8.bin").unlink(), "weights.int8.bin: the file is missing"),
    "wrong length": (lambda b: (b / "ar.fp32.mha.onnx").write_bytes(b"x"), "the length is 1, but the manifest says"),
    "wrong hash": (lambda b: damage(b, "weights.fp32.bin"), "weights.fp32.bin: the SHA-256 differs"),
}


@pytest.mark.parametrize("case", VERIFY)
def test_verify_of_a_damaged_bundle_is_refused(case, tmp_path, run):
    change, sentence = VERIFY[case]
    shutil.copytree(DATA / "small", tmp_path / "b")
    change(tmp_path / "b")
    status, _, error = run("verify", tmp_path / "b", "--expected", DATA / "tiny-16" / "expected.npz")
    assert status == 1 and sentence in error and len(error.strip().splitlines()) == 1


def test_verify_with_unusable_numbers_is_refused(tmp_path, run):
    status, _, error = run("verify", DATA / "small", "--expected", DATA / "tiny-16" / "expected.npz")
    assert status == 1 and "expected numbers do not" in error
    np.savez(tmp_path / "odd.npz", something=np.zeros(3))
    status, _, error = run("verify", DATA / "small", "--expected", tmp_path / "odd.npz")
    assert status == 1 and "holds no known arrays" in error
    (tmp_path / "text.npz").write_text("hello")
    status, _, error = run("verify", DATA / "small", "--expected", tmp_path / "text.npz")
    assert status == 1 and "not an .npz file" in error


def test_export_terminated_leaves_nothing(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx")}
    command = [sys.executable, "-m", "detailflow_onnx", "export", "--random", "detailflow-16", "--out", "out"]
    running = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    while not any(tmp_path.glob(".out.*/weights.fp32.bin")) and running.poll() is None:
        time.sleep(0.05)
    running.terminate()
    assert running.wait(30) == 1 and not list(tmp_path.iterdir())


def test_export_runs_as_a_module(tmp_path, small):
    n, folder = small
    environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx")}
    command = [
        sys.executable,
        "-m",
        "detailflow_onnx",
        *layout.arguments(folder, n),
        "--precision",
        "int8",
        "--out",
        "out",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "ar.int8.plain.onnx" in done.stdout and (tmp_path / "out" / "detailflow.json").exists()
    assert not (ROOT / "onnx" / "__init__.py").exists()

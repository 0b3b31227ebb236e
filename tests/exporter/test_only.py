"""`--only decoder`: a bundle of the decoder alone, which a complete bundle can also be cut down to."""

import json
import shutil

import pytest
from detailflow_onnx.bundle import reader, runner, self_check
from helpers import layout
from helpers.bundles import DATA, open_model, read_manifest, write_bundle

PRECISIONS = ["--precision", "fp32,int8"]


def only(folder, n, *more):
    """Arguments of an export of the decoder alone, with no AR checkpoint and no heads of the encoder."""
    return ["export", "--only", "decoder", "--tokenizer", folder / "tokenizer", "--decoder-heads", n["dec"][2], *more]


def test_only_decoder_is_the_leading_part_of_a_complete_bundle(tmp_path, small, run):
    n, folder = small
    status, _, error = run(*layout.arguments(folder, n), *PRECISIONS, "--out", tmp_path / "whole")
    assert status == 0, error
    alone = tmp_path / "in"
    shutil.copytree(folder / "tokenizer", alone / "tokenizer")
    status, said, error = run(*only(alone, n, *PRECISIONS, "--name", folder.name, "--out", tmp_path / "alone"))
    assert status == 0, error

    whole, content = read_manifest(tmp_path / "whole"), read_manifest(tmp_path / "alone")
    assert content["tokenizer_id"] == whole["tokenizer_id"] and content["decoder"] == whole["decoder"]
    assert (
        not {"ar", "encoder", "ids", "sampling"} & set(content)
        and content["classes"] == []
        and "ar" not in content["provenance"]
    )
    for key in set(content) - {"classes", "provenance", "variants", "files"}:
        assert content[key] == whole[key], key
    assert all(
        set(variant) <= {"precision", "form", "devices", "min_runtime", "decoder", "quality"}
        for variant in content["variants"]
    )
    assert (
        all(set(variant["quality"]) == {"decoder"} for variant in content["variants"] if "quality" in variant)
        and "judged" not in content
    )
    assert {item["path"] for item in content["files"]} == {p.name for p in (tmp_path / "alone").iterdir()} - {
        "detailflow.json"
    }
    files = {item["path"]: item for item in whole["files"]}
    for item in content["files"]:
        here, there = ((tmp_path / folder / item["path"]).read_bytes() for folder in ("alone", "whole"))
        if item["path"].endswith(".onnx"):
            assert item["path"].startswith("decoder.") and here == there and "decoder" not in item
        else:
            assert item["decoder"] == item["length"] == files[item["path"]]["decoder"] < len(there)
            assert here == there[: item["length"]]
    run_here = [v for v in content["variants"] if runner.runs_here(v)]
    assert (
        run_here and all(f"{v['decoder']} " in said for v in run_here) and "ar." not in said and "encoder." not in said
    )


def test_only_decoder_is_verified_against_expected_pixels(tmp_path, run):
    """Also: the check of the new bundle has run, and `verify` measures what there is to measure."""
    home, out = DATA / "tiny-16" / "checkpoint", tmp_path / "out"
    status, said, error = run("export", "--only", "decoder", "--tokenizer", home / "tokenizer", "--out", out)
    assert status == 0, error
    assert "decoder.fp32.plain.onnx" in said
    status, said, error = run("verify", out, "--expected", DATA / "tiny-16" / "expected.npz", "--json")
    assert status == 0, error
    assert {row["figure"] for row in json.loads(said)["figures"]} == {"pixels", "psnr"}


def test_only_decoder_classes_come_from_labels_or_ar(tmp_path, small, run):
    n, folder = small
    (tmp_path / "labels.txt").write_text("\ufeffa\nb\nc\nd\n", encoding="utf-8")
    status, _, error = run(*only(folder, n, "--labels", tmp_path / "labels.txt", "--out", tmp_path / "out"))
    assert status == 0 and read_manifest(tmp_path / "out")["classes"] == ["a", "b", "c", "d"], error
    status, _, error = run(*only(folder, n, "--ar", folder / "ar", "--out", tmp_path / "out"))
    assert status == 0 and read_manifest(tmp_path / "out")["classes"] == [f"class {i}" for i in range(4)], error
    (tmp_path / "labels.txt").write_text("a\nb\n")
    status, _, error = run(
        *only(folder, n, "--ar", folder / "ar", "--labels", tmp_path / "labels.txt", "--out", tmp_path / "no")
    )
    assert status == 1 and "2 labels, but the model has 4 classes" in error
    (tmp_path / "labels.txt").write_text("a\na\n")
    status, _, error = run(*only(folder, n, "--labels", tmp_path / "labels.txt", "--out", tmp_path / "no"))
    assert status == 1 and "the label 'a' occurs twice" in error and not (tmp_path / "no").exists()
    for text, reason in [
        (b"a\nb\0\n", "control character"),
        ("a\nb\n".encode("utf-16"), "UTF-16 text; UTF-8 is needed"),
        (b"a\n\xff\n", "not UTF-8 text"),
    ]:
        (tmp_path / "labels.txt").write_bytes(text)
        status, _, error = run(*only(folder, n, "--labels", tmp_path / "labels.txt", "--out", tmp_path / "no"))
        assert status == 1 and reason in error, error


def test_only_decoder_beyond_its_limit_is_refused(tmp_path, small, run, monkeypatch):
    n, folder = small
    monkeypatch.setattr(self_check, "LIMITS", {"fp32": 1e-12})
    status, _, error = run(*only(folder, n, "--out", tmp_path / "out"))
    assert status == 1 and "the graph decoder (fp32" in error and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "more", [["--guidance", "2"], ["--gradual"], ["--temperature", "0"], ["--top-k", "3"], ["--top-p", "0.5"]]
)
def test_only_decoder_with_sampling_options_is_wrong_usage(more, tmp_path, small, run):
    n, folder = small
    status, _, error = run(*only(folder, n, "--out", tmp_path / "out", *more))
    assert status == 2 and f"--only decoder cannot be combined with {more[0]}" in error and not list(tmp_path.iterdir())


def test_only_with_another_graph_is_wrong_usage(tmp_path, small, run):
    _n, folder = small
    for arguments in (
        ["export", "--only", "encoder", "--tokenizer", folder, "--out", tmp_path / "out"],
        ["export", "--only", "decoder", "--out", "x"],
    ):
        status, _, error = run(*arguments)
        assert status == 2 and "usage:" in error


def test_only_decoder_of_a_model_with_ar_omits_it(tmp_path, small):
    """The same through the function, with what a random model has: an AR model that is left out."""
    n, folder = small
    model = open_model(folder, n)
    content = write_bundle(model, tmp_path / "out", graphs=("decoder",))
    assert reader.read_manifest(tmp_path / "out") == content and reader.graphs_of(content) == ["decoder"]
    reader.check_files(tmp_path / "out", content)


@pytest.mark.parametrize("broken", [{"ar": {}}, {"ids": {}}])
def test_manifest_with_ar_but_without_its_keys_is_refused(broken, tmp_path, run):
    shutil.copytree(DATA / "small", tmp_path / "b")
    path = tmp_path / "b" / "detailflow.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | broken))
    status, _, error = run("verify", tmp_path / "b", "--expected", DATA / "tiny-16" / "expected.npz")
    assert status == 1 and "not the manifest of a bundle" in error


def test_export_writes_how_pictures_are_finished(tmp_path, small, run):
    n, folder = small
    options = ("--alpha-cut", "110", "--colors", "16", "--tile")
    status, _, error = run(*only(folder, n, *options, "--out", tmp_path / "out"))
    finish = {"alpha_cut": 110, "colors": 16, "tile": True}
    assert status == 0 and read_manifest(tmp_path / "out")["finish"] == finish, error
    status, _, error = run(*only(folder, n, "--out", tmp_path / "plain"))
    assert status == 0 and "finish" not in read_manifest(tmp_path / "plain"), error
    for wrong in (["--colors", "1"], ["--alpha-cut", "256"]):
        assert run(*only(folder, n, "--out", tmp_path / "no", *wrong))[0] == 2

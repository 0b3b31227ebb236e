"""Files that the exporter reads: regular ones, of bounded size, text in UTF-8 with or without a byte order mark."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from detailflow_onnx import files
from detailflow_onnx.bundle import verify
from detailflow_onnx.checkpoint import config as config_file
from detailflow_onnx.errors import Refused, brief, printable, shown
from detailflow_onnx.labels import class_names
from helpers import layout
from helpers.bundles import DATA, open_model

MARK = b"\xef\xbb\xbf"


def test_labels_with_a_byte_order_mark_name_the_same_classes(tmp_path):
    for data in (b"potion\nwand\nbook\n", MARK + b"potion\nwand\nbook\n", MARK + b"potion\r\nwand\r\nbook\r\n\r\n"):
        (tmp_path / "labels.txt").write_bytes(data)
        assert class_names(tmp_path / "labels.txt", 3) == ("potion", "wand", "book")


ODD = {
    "UTF-16": ("potion\nwand\n".encode("utf-16"), "UTF-16 text; UTF-8 is needed"),
    "UTF-16, big endian": (b"\xfe\xff" + "potion".encode("utf-16-be"), "UTF-16 text; UTF-8 is needed"),
    "UTF-16 without a mark": ("potion".encode("utf-16-le"), "UTF-16 text or no text"),
    "UTF-32": ("potion".encode("utf-32"), "UTF-32 text; UTF-8 is needed"),
    "Latin-1": (b"caf\xe9\n", "not UTF-8 text (byte 3)"),
    "NUL": (b"potion\nwa\0nd\n", "line 2, the label 'wa\\x00nd' holds a control character"),
    "escape": (b"potion\x1b[2J\n", "line 1, the label 'potion\\x1b[2J' holds a control character"),
    "form feed": (b"potion\x0cwand\n", "holds a control character"),
    "next line": ("potion\x85wand\n".encode(), "holds a control character"),
    "line separator": ("potion\u2028wand\n".encode(), "holds a control character"),
    "carriage return": (b"potion\rwand\n", "holds a control character"),
    "long": (b"x" * (17 << 20), "the file is larger than 16777216 bytes"),
    "twice": (b"x" * 5000 + b"\n" + b"x" * 5000, "the label 'xxx"),
}


@pytest.mark.parametrize("case", ODD)
def test_labels_in_another_form_are_refused(case, tmp_path):
    data, sentence = ODD[case]
    (tmp_path / "labels.txt").write_bytes(data)
    with pytest.raises(Refused) as caught:
        class_names(tmp_path / "labels.txt", None)
    text = str(caught.value)
    assert sentence in text and text.isprintable() and len(text) < len(str(tmp_path)) + 300


def not_regular(path, kind):
    path.unlink(missing_ok=True)
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    else:
        path.mkdir()


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
@pytest.mark.parametrize("name", ["tokenizer/config.json", "tokenizer/config.yaml", "ar/config.json", "ar/labels.txt"])
def test_checkpoint_with_a_file_that_is_not_regular_is_refused(name, kind, tmp_path, run):
    n = layout.numbers()
    folder = layout.write(tmp_path / "model", n)
    not_regular(folder / name, kind)
    status, _, error = run(*layout.arguments(folder, n), "--out", tmp_path / "out")
    assert status == 1 and error == f"detailflow_onnx: {folder / name}: a {kind}, not a regular file\n"


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
@pytest.mark.parametrize("flag", ["--labels", "--siglip-config", "--license-file"])
def test_export_with_an_option_that_names_no_regular_file_is_refused(flag, kind, tmp_path, small, run):
    not_regular(tmp_path / "odd", kind)
    status, _, error = run(*layout.arguments(small[1], small[0]), flag, tmp_path / "odd", "--out", tmp_path / "out")
    assert status == 1 and error == f"detailflow_onnx: {tmp_path / 'odd'}: a {kind}, not a regular file\n"


def test_checkpoint_configs_with_a_byte_order_mark_are_read(tmp_path):
    n = layout.numbers()
    folder = layout.write(tmp_path / "model", n)
    for path in folder.glob("*/config.*"):
        path.write_bytes(MARK + path.read_bytes())
    assert open_model(folder, n).power == n["power"]
    (folder / "tokenizer/config.yaml").write_bytes((folder / "tokenizer/config.yaml").read_text().encode("utf-16"))
    with pytest.raises(Refused, match="config.yaml: UTF-16 text"):
        open_model(folder, n)


def changed(part, **values):
    def change(folder, n):
        path = folder / part / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return change


def renamed(part, old, new):
    """The tensors of a part with another name for one of them."""

    def change(folder, n):
        index = ("tokenizer", "ar").index(part)
        tensors = layout.tensors(n)[index]
        tensors[new] = tensors[old]
        layout.write_weights(folder / part, tensors, ("model", "ema")[index], n)

    return change


LAYER = "decoder.visual_model.encoder.layers.0.mlp.fc1.bias"
HOSTILE = {
    "many layers": (changed("ar", n_layer=1 << 20), "n_layer is 1048576, but the file of weights holds"),
    "far layer": (renamed("tokenizer", LAYER, LAYER.replace(".0.", ".999999999.")), "is the last of 1000000000 layers"),
    "layer of other digits": (renamed("tokenizer", LAYER, LAYER.replace(".0.", ".².")), None),
    "layer of many digits": (renamed("tokenizer", LAYER, LAYER.replace(".0.", f".{'9' * 400}.")), None),
    "many classes": (changed("ar", num_classes=1 << 20), "the shape [5, 32]; this model needs [1048577, 32]"),
    "beyond counts": (changed("ar", num_classes=1 << 40), "at most 1048576 is allowed"),
    "wide integer": (changed("ar", dim=10**4000), "the key dim is of type int; at most 1048576 is allowed"),
    "wide integer as a float": (changed("ar", norm_eps=10**400), "the key norm_eps is of type int; float is needed"),
    "infinite": (changed("ar", rope_base=1e999), "Infinity is not a JSON number"),
    "size": (changed("tokenizer", max_image_size=1 << 18, dec_patch_size=8), "max_image_size is 262144; 1 to 16384"),
    "long text": (changed("ar", model_type="x" * 100_000), "model_type is 'xxx"),
    "list": (changed("ar", model_type=[0] * 100_000), "the key model_type is of type list; str is needed"),
    "escape": (changed("ar", model_type="\x1b[2J"), r"model_type is '\x1b[2J'"),
    "nesting": (
        lambda folder, n: (folder / "ar/config.json").write_text('{"a":' + "[" * 100_000 + "]" * 100_000 + "}"),
        "nested too deeply",
    ),
    "long number": (
        lambda folder, n: (folder / "ar/config.json").write_text('{"dim":' + "9" * 100_000 + "}"),
        "not JSON (Exceeds the limit",
    ),
    "long file": (lambda folder, n: (folder / "ar/config.json").write_bytes(b" " * (17 << 20)), "larger than 16777216"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_checkpoint_with_hostile_numbers_is_refused_or_read(case, tmp_path):
    change, sentence = HOSTILE[case]
    n = layout.numbers()
    folder = layout.write(tmp_path / "model", n)
    change(folder, n)
    if sentence is None:
        open_model(folder, n)
        return
    with pytest.raises(Refused) as caught:
        open_model(folder, n)
    text = str(caught.value)
    assert sentence in text and text.isprintable() and len(text) < 600


def test_config_yaml_lines_end_at_line_feeds_only():
    assert config_file.read_yaml("a: x\x0cb: 2\r\nc: 3") == {"a": "x\x0cb: 2", "c": 3}
    assert config_file.read_yaml("a: " + "9" * 10_000)["a"] == "9" * 10_000


def test_shown_values_are_cut_and_printable():
    assert shown("a\x1b" * 1000) == repr("a\x1b" * 40) + "..."
    assert shown([[1]]) == "of type list" and shown(10**500) == "of type int" and shown(True) == "True"
    assert printable("a\x1b\n\u202eé") == r"a\x1b\n\u202eé"
    assert brief("x\n" * 500) == r"x\n" * 100 + "..."


def test_regular_file_opens_and_a_path_with_nul_does_not(tmp_path):
    with files.open_regular(DATA / "small" / "detailflow.json") as file:
        assert file.read(1) == b"{"
    with pytest.raises(Refused, match="NUL"):
        files.read_bytes("a\0b", 9)


def edited(**changes):
    """Change a manifest: {section or section__key: value}."""

    def change(folder):
        path = folder / "detailflow.json"
        content = json.loads(path.read_text())
        for keys, value in changes.items():
            *owners, key = keys.split("__")
            owner = content[owners[0]] if owners else content
            owner[key] = value
        path.write_text(json.dumps(content))

    return change


def first(section, **changes):
    """Change the first entry of a list in a manifest."""

    def change(folder):
        path = folder / "detailflow.json"
        content = json.loads(path.read_text())
        content[section][0] |= changes
        path.write_text(json.dumps(content))

    return change


MANIFESTS = {
    "byte order mark": (
        lambda f: (f / "detailflow.json").write_bytes(MARK + (f / "detailflow.json").read_bytes()),
        None,
    ),
    "UTF-16": (lambda f: (f / "detailflow.json").write_bytes("{}".encode("utf-16")), "UTF-16 text; UTF-8 is needed"),
    "nesting": (lambda f: (f / "detailflow.json").write_text("[" * 200_000), "nested too deeply"),
    "long": (lambda f: (f / "detailflow.json").write_bytes(b" " * (17 << 20)), "larger than 16777216 bytes"),
    "list": (lambda f: (f / "detailflow.json").write_text("[]"), "not the manifest of a bundle"),
    "FIFO": (lambda f: not_regular(f / "detailflow.json", "FIFO"), "a FIFO, not a regular file"),
    "FIFO as a file": (lambda f: not_regular(f / "weights.int8.bin", "FIFO"), "weights.int8.bin: the file is missing"),
    "many layers": (edited(ar__layers=1 << 40), "ar.layers is 1099511627776"),
    "wide number": (edited(tokens__count=10**3000), "tokens.count is of type int"),
    "no number": (edited(tokens__causal=True), "tokens.causal is True"),
    "large picture": (edited(image__size=1 << 20), "image.size is 1048576; 1 to 16384"),
    "text for variants": (edited(variants="x"), "not the manifest of a bundle (TypeError"),
    "number for a class": (edited(classes=[1]), "a class is 1; text is needed"),
    "NUL in a class": (edited(classes=["a\0b"]), r"the class 'a\x00b' holds a control character"),
    "escape in a form": (first("variants", form="\x1b[2J"), r"'\x1b[2J' holds a control character"),
    "graph elsewhere": (
        first("variants", decoder="../x.onnx"),
        "decoder is '../x.onnx', which is not one of the files",
    ),
    "file elsewhere": (first("files", path="../x.onnx"), "the file name '../x.onnx' is not a plain name"),
    "parent folder as a file": (first("files", path=".."), "the file name '..' is not a plain name"),
    "length as text": (first("files", length="9"), "the length is '9'"),
    "version": (first("variants", min_runtime="x.y"), "min_runtime is 'x.y'"),
    "list for keys": (first("variants", keys=[[]]), "keys of type list is unknown"),
}


@pytest.mark.parametrize("case", MANIFESTS)
def test_verify_of_a_hostile_manifest_is_refused_in_one_sentence(case, tmp_path, run):
    change, sentence = MANIFESTS[case]
    shutil.copytree(DATA / "small", tmp_path / "b")
    change(tmp_path / "b")
    status, _, error = run("verify", tmp_path / "b", "--expected", DATA / "tiny-16" / "expected.npz")
    if sentence is None:
        assert "expected numbers do not" in error  # of another model: the manifest was read
        return
    assert status == 1 and sentence in error and len(error) < 700 and error[:-1].isprintable()


def npz(**arrays):
    def make(path):
        np.savez(path, **arrays)

    return make


def entry(data, compression=zipfile.ZIP_STORED):
    def make(path):
        with zipfile.ZipFile(path, "w", compression) as archive:
            archive.writestr("ar_tokens.npy", data)

    return make


def header(shape, kind="'<f4'"):
    text = f"{{'descr': {kind}, 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY\1\0" + len(text).to_bytes(2, "little") + text


ARRAYS = {
    "FIFO": (lambda path: not_regular(path, "FIFO"), "a FIFO, not a regular file"),
    "device": (lambda path: not_regular(path, "device"), "a device, not a regular file"),
    "declared size": (entry(header("(1099511627776,)")), "the array 'ar_tokens.npy' is not one of"),
    "negative size": (entry(header("(-1, 4)")), "the array 'ar_tokens.npy' is not one of"),
    "objects": (npz(ar_tokens=np.array([{}], object)), "the array 'ar_tokens.npy' is not one of"),
    "bomb": (entry(bytes(2 << 20), zipfile.ZIP_DEFLATED), "its arrays have more than 1048576 bytes"),
    "no array": (entry(b"text"), "not an .npz file"),
    "nested header": (entry(header("(" * 5000 + ")" * 5000)), "not an .npz file"),
}


@pytest.mark.parametrize("case", ARRAYS)
def test_verify_with_a_hostile_npz_file_is_refused_in_one_sentence(case, tmp_path, run, monkeypatch):
    make, sentence = ARRAYS[case]
    monkeypatch.setattr(verify, "MAX_BYTES", 1 << 20)
    make(tmp_path / "e.npz")
    status, _, error = run("verify", DATA / "small", "--expected", tmp_path / "e.npz")
    assert status == 1 and sentence in error and len(error) < 700 and error[:-1].isprintable()


TOKENS = {
    "FIFO": (lambda path: not_regular(path, "FIFO"), "a FIFO, not a regular file"),
    "nesting": (lambda path: path.write_text("[" * 100_000), "nested too deeply"),
    "text for tokens": ({"images": [{"class": "a", "tokens": "12"}]}, "not a list of integers"),
    "floats": ({"images": [{"class": "a", "tokens": [1.5]}]}, "not a list of integers"),
    "list for a class": ({"images": [{"class": [], "tokens": []}]}, "a class is of type list; a name is needed"),
    "index": ({"images": [{"class": 99, "tokens": []}]}, "a picture of class 99; the model has"),
    "owner": ({"images": [], "bundle": ["x" * 9999]}, "belong to the tokenizer of type list"),
    "list": ([], "not a JSON object"),
}


@pytest.mark.parametrize("case", TOKENS)
def test_judge_of_a_hostile_token_file_is_refused_in_one_sentence(case, tmp_path):
    from detailflow_onnx.bundle import quality, reader

    content, sentence = TOKENS[case]
    path = tmp_path / "tokens.json"
    content(path) if callable(content) else path.write_text(json.dumps(content))
    with pytest.raises(Refused) as caught:
        quality.read_tokens(str(path), reader.read_manifest(DATA / "small"))
    assert sentence in str(caught.value) and len(str(caught.value)) < 700 and str(caught.value).isprintable()


def test_judge_takes_a_class_by_name_or_index(tmp_path):
    from detailflow_onnx.bundle import quality, reader

    content = reader.read_manifest(DATA / "small")
    tokens = [0] * content["tokens"]["count"]
    images = [{"class": content["classes"][1], "tokens": tokens}, {"class": 1, "tokens": tokens}]
    (tmp_path / "t.json").write_bytes(MARK + json.dumps({"bundle": content["tokenizer_id"], "images": images}).encode())
    assert quality.read_tokens(str(tmp_path / "t.json"), content) == [(1, tokens)] * 2

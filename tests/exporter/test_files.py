"""Files that the exporter reads: regular ones, of bounded size, text in UTF-8 with or without a byte order mark."""

import json
import os

import pytest
from detailflow_onnx import files
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

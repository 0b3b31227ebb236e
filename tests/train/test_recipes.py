"""The recipes in the package are read, and their models have the published shapes. No weights are allocated."""

import math
import os
import re
import subprocess
import sys

import pytest
import torch
from detailflow_onnx.checkpoint import model, random_model
from detailflow_onnx.cli import train as train_command
from detailflow_onnx.errors import Refused
from detailflow_onnx.numbers import ladder
from detailflow_onnx.numbers.sizes import ArSizes
from detailflow_onnx.train import recipe
from detailflow_onnx.train.models.tokenizer import Tokenizer
from detailflow_onnx.train.models.transformer import Transformer
from helpers.bundles import ROOT

TRAINING_ONLY = {"encoder.refined_tokens", "refine_conv.weight", "refine_conv.bias"}


def built(name, classes=1000):
    """(recipe, tokenizer, AR model) on the device that holds no values."""
    made = recipe.read(name)
    numbers, n = made.numbers, made.tokenizer.model
    with torch.device("meta"):
        tokenizer = Tokenizer(numbers)
        ar = Transformer(
            ArSizes(ar=made.ar_sizes, classes=classes, count=n.count, group=n.group, causal=n.causal, codes=n.codes)
        )
    return made, tokenizer, ar


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", sorted(random_model.TOKENS))
def test_recipe_of_a_published_model_has_its_shapes(name):
    published = random_model.random_model(name, 0)
    made, tokenizer, ar = built(name)
    want_tokenizer, want_ar = model.shapes(published)
    assert {key: shape for key, shape in shapes(tokenizer).items() if key not in TRAINING_ONLY} == want_tokenizer
    assert shapes(ar) == want_ar
    numbers = made.numbers
    for key in (
        "size",
        "channels",
        "count",
        "group",
        "causal",
        "codes",
        "code_width",
        "l2_norm",
        "power",
        "encoder",
        "decoder",
    ):
        assert getattr(numbers, key) == getattr(published, key), key
    assert made.ar_sizes == published.ar


def test_recipe_of_a_published_model_has_its_parameter_count_and_steps():
    """Table 1 and section 4.1 of the paper: parameters in millions, and steps to a picture."""
    millions = lambda module: round(sum(p.numel() for p in module.parameters()) / 1e6)  # noqa: E731
    for name, steps in (("detailflow-16", 23), ("detailflow-32", 39), ("detailflow-64", 71)):
        made, tokenizer, ar = built(name)
        n = made.tokenizer.model
        assert n.causal + (n.count - n.causal) // n.group == steps
        assert (millions(tokenizer.encoder.visual_model), millions(tokenizer.decoder), millions(ar)) == (184, 86, 326)
        assert made.tokenizer.train.steps == 250 * (1281167 // made.tokenizer.train.batch)
        assert made.ar.train.steps == 300 * (1281167 // made.ar.train.batch)


@pytest.mark.parametrize("name", recipe.shipped())
def test_recipe_in_the_package_makes_a_model(name):
    made, tokenizer, ar = built(name, classes=5)
    assert made.name == name and ladder.table_of(made.numbers)[-1]["size"] == made.data.size
    assert all(math.prod(shape) for shape in (shapes(tokenizer) | shapes(ar)).values())


def multiply_adds(made):
    """(encoding, decoding, an AR sequence): the formulas of BUNDLE.md."""
    n, ar = made.numbers, made.ar_sizes

    def layers(side, tokens, after):
        d, h = side.width, side.hidden
        own = side.depth * (3 * d * d * tokens + 2 * d * tokens**2)
        return own + (side.depth - 1) * (d * d + 2 * d * h) * tokens + (d * d + 2 * d * h) * after

    e, d = n.encoder, n.decoder
    patches = (n.size // e.patch) ** 2
    encode = patches * e.patch**2 * n.channels * e.width + layers(e, patches + n.count, n.count)
    encode += n.count * n.code_width * (e.width + n.codes)
    patches = (n.size // d.patch) ** 2
    decode = layers(d, patches + n.count, patches) + patches * d.width * d.patch**2 * n.channels
    w, kv = ar.width, ar.kv_heads * ar.head_dim
    layer = w * (w + 2 * kv) + w * w + 3 * w * ar.hidden + 2 * w * n.count
    return encode, decode, n.count * (ar.depth * layer + w * n.codes)


@pytest.mark.parametrize("name", recipe.shipped())
def test_recipe_in_the_package_has_its_cost_in_the_documentation(name):
    made, train = recipe.read(name), recipe.read(name).tokenizer.train
    encode, decode, sequence = multiply_adds(made)
    picture = 3 * (1 + train.correct) * (encode + decode) + 3 * train.truncate * decode / 2
    text = (ROOT / "onnx" / "TRAINING.md").read_text()
    cells = re.search(rf"^\| `{name}` \|((?: [\d.]+ [MGT] \|){{5}})$", text, re.MULTILINE).group(1)
    units = {"M": 1e6, "G": 1e9, "T": 1e12}
    stated = [float(number) * units[unit] for number, unit in re.findall(r"([\d.]+) ([MGT])", cells)]
    assert stated == pytest.approx([encode, decode, sequence, picture, 3 * sequence], rel=0.04), name
    listed = re.search(r"name of a recipe in the package: ([^.]+)\.", text).group(1)
    assert f"`{name}`" in listed and name in train_command.RECIPES.split(", ")


def refusals(paths):
    """The sentences with which another process refuses recipes. It is stopped if it hangs or takes much memory."""
    code = (
        "import resource, sys\n"
        "from detailflow_onnx.errors import Refused\n"
        "from detailflow_onnx.train import recipe\n"
        "resource.setrlimit(resource.RLIMIT_DATA, (2 << 30, 2 << 30))\n"
        "for path in sys.argv[1:]:\n"
        "    try:\n"
        "        print('read', recipe.read(path))\n"
        "    except Refused as error:\n"
        "        print(error, flush=True)\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", code, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stdout[-500:], done.stderr[-2000:])
    sentences = done.stdout.removesuffix("\n").split("\n")
    for path, sentence in zip(paths, sentences, strict=True):
        assert sentence.startswith(str(path)) and len(sentence) < len(str(path)) + 500 and sentence.isprintable()
    return sentences


ANCHORS = "data: {size: [&a0 [x,x,x,x,x,x,x,x,x,x], " + ", ".join(
    f"&a{i} [" + ",".join([f"*a{i - 1}"] * 10) + "]" for i in range(1, 10)
) + "]}"  # fmt: skip

HOSTILE = {
    "anchors": (ANCHORS, "line 1: an anchor (&)"),
    "alias": ("ar: *a", "line 1: an alias (*)"),
    "anchor of a mapping": ("ar: &a {model: {width: 8}}", "line 1: an anchor (&)"),
    "a mapping in itself": ("&a\nar: *a", "an anchor (&)"),
    "merge key": ("data:\n  <<: {size: 16}", "line 2: a key that is not text"),
    "tag": ("data: !!python/object/apply:os.system ['true']", "line 1: the tag 'tag:yaml.org,2002:python"),
    "own tag": ("data: !mine {size: 16}", "the tag '!mine'"),
    "nested lists": ("[" * 30_000, "line 1: nested more than 8 deep"),
    "nested mappings": ("{a: " * 10_000, "line 1: nested more than 8 deep"),
    "nested blocks": ("".join(" " * i + "a:\n" for i in range(300)), "line 9: nested more than 8 deep"),
    "nested sequences": ("- " * 30_000, "line 1: nested more than 8 deep"),
    "key twice": ("data: {size: 16, channels: 3, size: 32}", "line 1: the key 'size' for the second time"),
    "section twice": ("data: {}\nar: {}\ndata: {}", "line 3: the key 'data' for the second time"),
    "list as a key": ("? [a]\n: b", "line 1: a key that is not text"),
    "number as a key": ("1: b", "line 1: a key that is not text"),
    "two documents": ("data: {}\n---\ndata: {}", "line 2: a second document"),
    "large": ("# " + "x" * 70_000, "larger than 65536 bytes"),
    "long number": ("data: {size: " + "9" * 5000 + "}", "line 1: a number that is too long"),
    "large number": ("data: {size: " + "9" * 400 + "}", "data.size is of type int; it must be below 2^53"),
    "large number for a float": ("data: {held_out: " + "9" * 400 + "}", "held_out is of type int; float is needed"),
    "infinite": ("data: {held_out: .inf}", "data.held_out is inf; it must be below 2^53"),
    "NaN": ("ar: {train: {lr: .nan}}", "ar.train.lr is nan"),
    "NaN as text": ("ar: {train: {lr: nan}}", "ar.train.lr is nan"),
    "date": ("data: {size: 2020-99-99}", "not YAML (month must be in 1..12"),
    "boolean in a list": ("ar: {train: {betas: [0.9, true]}}", "a list of numbers below 2^53"),
    "long text": ("data: {size: " + "x" * 50_000 + "}", "data.size is 'xxx"),
    "long key": ("data: {" + "x" * 500 + ": 1}", "the key data.xxx"),
    "list for a number": ("data: {size: [" + "1," * 20_000 + "]}", "data.size is of type list; int is needed"),
    "escape in a value": ('data: {size: "\\e[2J"}', r"data.size is '\x1b[2J'"),
    "escape in a key": ('"\\e[2J": 1', r"the key \x1b[2J is unknown"),
    "escape in a name": ('name: "a\\e[2J"', r"'a\x1b[2J' holds a control character"),
    "control character": ("name: a\x07", "not YAML (unacceptable character #x0007"),
}  # fmt: skip


def test_recipe_that_is_hostile_is_refused_in_one_sentence(tmp_path):
    paths = [tmp_path / f"{case}.yaml" for case in HOSTILE]
    for path, (text, _) in zip(paths, HOSTILE.values()):
        path.write_text(text)
    for (_, wanted), sentence in zip(HOSTILE.values(), refusals(paths)):
        assert wanted in sentence


def test_recipe_that_is_not_a_regular_file_is_refused_at_once(tmp_path):
    kinds = ("FIFO", "device", "folder")
    fifo, device, folder = paths = [tmp_path / f"{kind}.yaml" for kind in kinds]
    os.mkfifo(fifo)
    device.symlink_to("/dev/zero")
    folder.mkdir()
    for kind, sentence in zip(kinds, refusals(paths)):
        assert f"{kind}.yaml: a {kind}, not a regular file" in sentence


def test_recipe_encoding_is_utf8_with_or_without_a_mark(tmp_path):
    text = "name: small é\ndata: {size: 256}\n"
    (tmp_path / "r.yaml").write_bytes(b"\xef\xbb\xbf" + text.encode())
    made = recipe.read(tmp_path / "r.yaml")
    assert made.name == "small é" and made.text == text
    for encoding in ("utf-16", "utf-32"):
        (tmp_path / "r.yaml").write_bytes(text.encode(encoding))
        with pytest.raises(Refused, match=f"{encoding.upper()} text; UTF-8 is needed"):
            recipe.read(tmp_path / "r.yaml")
    (tmp_path / "r.yaml").write_bytes(text.encode("latin1"))
    with pytest.raises(Refused, match="not UTF-8 text"):
        recipe.read(tmp_path / "r.yaml")

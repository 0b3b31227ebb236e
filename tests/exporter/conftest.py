"""Paths and helpers of the exporter's tests. They need nothing outside this checkout."""

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "onnx"), str(HERE)]

import layout  # noqa: E402
from detailflow_onnx.bundle import writer as bundle  # noqa: E402
from detailflow_onnx import cli  # noqa: E402
from detailflow_onnx.checkpoint import source as sources  # noqa: E402
from detailflow_onnx.cli import SAMPLING  # noqa: E402

DATA = HERE.parent / "data"


def open_model(folder, n, *more):
    """The model of a checkpoint that `layout.write` wrote."""
    options = cli.parser().parse_args([*layout.arguments(folder, n), "--out", "unused", *more])
    return sources.open_source(options)


def write_bundle(model, out, precisions=("fp32", "int8"), **more):
    """A bundle without the check in a process of its own. Returns its manifest."""
    with bundle.beside(out) as work:
        return bundle.write(
            model, work, precisions=list(precisions), license="CC0-1.0", license_file=None, origins={"tokenizer": "test", "ar": "test"}, sampling=SAMPLING, **more
        )  # fmt: skip


def read_manifest(folder):
    return json.loads((folder / "detailflow.json").read_text())


def _values(tensor, folder):
    """An initializer's array, from the graph or from the weight file."""
    return onnx.numpy_helper.to_array(tensor, base_dir=str(folder))


def assert_same_bundle(made, committed):
    """The same manifest, nodes and weights. Weights may differ in the last bits: another processor adds in another order."""
    hint = "the exporter writes other bundles than tests/data holds: run tests/data/make.py and look at the difference"
    plain = [read_manifest(folder) for folder in (made, committed)]
    for content in plain:
        assert content["judged"] and all(variant.pop("quality") for variant in content["variants"] if variant["form"] != "native"), hint
        content.pop("judged")  # figures of their own last bits, and pictures that may differ by them
        content["files"] = [(item["path"], item.get("decoder")) for item in content["files"]]
    assert plain[0] == plain[1], hint
    for name in (n for n, _ in plain[0]["files"] if n.endswith(".onnx")):
        a, b = (onnx.load(folder / name, load_external_data=False) for folder in (made, committed))
        assert [n.SerializeToString() for n in a.graph.node] == [n.SerializeToString() for n in b.graph.node], (name, hint)
        assert list(a.graph.input) == list(b.graph.input) and list(a.graph.output) == list(b.graph.output), (name, hint)
        assert [(t.name, t.dims, t.data_type, t.external_data) for t in a.graph.initializer] == [
            (t.name, t.dims, t.data_type, t.external_data) for t in b.graph.initializer
        ], (name, hint)
        for x, y in zip(a.graph.initializer, b.graph.initializer):
            left, right = _values(x, made).astype(np.float64), _values(y, committed).astype(np.float64)
            assert np.abs(left - right).max(initial=0) <= (1 if x.data_type == onnx.TensorProto.INT8 else 1e-5), (name, x.name, hint)


@pytest.fixture
def run(capsys):
    """Run the command line in this process: (exit status, standard output, standard error)."""

    def call(*arguments):
        try:
            status = cli.main([str(a) for a in arguments])
        except SystemExit as stop:
            status = stop.code
        out = capsys.readouterr()
        return status, out.out, out.err

    return call


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """(numbers, checkpoint folder) of one small checkpoint, not to be changed."""
    n = layout.numbers()
    return n, layout.write(tmp_path_factory.mktemp("small") / "model", n)

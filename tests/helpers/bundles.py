"""Open checkpoints, write bundles, and compare them. Nothing outside this checkout is needed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from detailflow_onnx import cli, output
from detailflow_onnx.bundle import writer
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.checkpoint.source import open_source
from detailflow_onnx.cli.export import SAMPLING, source_of

import onnx
from helpers import layout

TESTS = Path(__file__).resolve().parent.parent
ROOT, DATA = TESTS.parent, TESTS / "data"
DFLOW = ROOT / "target" / "release" / "dflow"
NO_DFLOW = "dflow is not built (cargo build --release --features cli)"


def open_arguments(arguments: list[Any]) -> Model:
    """The model that arguments of `export` choose."""
    return open_source(source_of(cli.parser().parse_args([*map(str, arguments), "--out", "unused"])))


def open_model(folder: Path, n: dict[str, Any], *more: Any) -> Model:
    """The model of a checkpoint that `layout.write` wrote."""
    return open_arguments([*layout.arguments(folder, n), *more])


def open_checkpoint(home: Path) -> Model:
    """The model of a checkpoint folder with tokenizer/ and ar/."""
    return open_arguments(["export", "--tokenizer", home / "tokenizer", "--ar", home / "ar"])


def write_bundle(model: Model, out: Path, precisions: Any = ("fp32", "int8"), **more: Any) -> dict[str, Any]:
    """Write a bundle without the check in a subprocess. Returns its manifest."""
    with output.replacing(out) as work:
        return writer.write(
            model,
            work,
            precisions=list(precisions),
            license="CC0-1.0",
            license_file=None,
            origins={"tokenizer": "test", "ar": "test"},
            sampling=SAMPLING,
            **more,
        )


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest, unchecked."""
    content: dict[str, Any] = json.loads((folder / "detailflow.json").read_text())
    return content


def _values(tensor: onnx.TensorProto, folder: Path) -> np.ndarray:
    """The array of an initializer, from the graph or from the weight file."""
    return onnx.numpy_helper.to_array(tensor, base_dir=str(folder))


def assert_same_bundle(made: Path, committed: Path) -> None:
    """The same manifest, nodes and weights. Last bits of weights may differ: other CPUs add in another order."""
    hint = "the exporter writes other bundles than tests/data holds: run tests/data/make.py and look at the difference"
    plain = [read_manifest(folder) for folder in (made, committed)]
    for content in plain:
        measured = [variant.pop("quality") for variant in content["variants"] if variant["form"] != "native"]
        assert content["judged"] and all(measured), hint
        content.pop("judged")  # its last bits differ between CPUs, and so may the pictures
        content["files"] = [(item["path"], item.get("decoder")) for item in content["files"]]
    assert plain[0] == plain[1], hint
    for name in (n for n, _ in plain[0]["files"] if n.endswith(".onnx")):
        a, b = (onnx.load(folder / name, load_external_data=False) for folder in (made, committed))
        nodes = [[n.SerializeToString() for n in proto.graph.node] for proto in (a, b)]
        assert nodes[0] == nodes[1], (name, hint)
        assert list(a.graph.input) == list(b.graph.input), (name, hint)
        assert list(a.graph.output) == list(b.graph.output), (name, hint)
        tensors = [
            [(t.name, t.dims, t.data_type, t.external_data) for t in proto.graph.initializer] for proto in (a, b)
        ]
        assert tensors[0] == tensors[1], (name, hint)
        for x, y in zip(a.graph.initializer, b.graph.initializer):
            left, right = _values(x, made).astype(np.float64), _values(y, committed).astype(np.float64)
            bound = 1 if x.data_type == onnx.TensorProto.INT8 else 1e-5
            assert np.abs(left - right).max(initial=0) <= bound, (name, x.name, hint)

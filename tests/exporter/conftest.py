"""Paths and helpers of the exporter's tests. They need nothing outside this checkout."""

import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent.parent / "onnx"), str(HERE)]

import layout  # noqa: E402
from detailflow_onnx import bundle, cli, sources  # noqa: E402

DATA = HERE.parent / "data"
SAMPLING = {"guidance": 1.5, "gradual": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def open_model(folder, n, *more):
    """The model of a checkpoint that `layout.write` wrote."""
    options = cli.parser().parse_args([*layout.arguments(folder, n), "--out", "unused", *more])
    return sources.open_source(options)


def write_bundle(model, out, precisions=("fp32", "int8")):
    """A bundle without the check in a process of its own. Returns its manifest."""
    with bundle.beside(out) as work:
        return bundle.write(
            model, work, precisions=list(precisions), license="CC0-1.0", license_file=None, origins={"tokenizer": "test", "ar": "test"}, sampling=SAMPLING
        )  # fmt: skip


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

"""Fixtures of the exporter's tests."""

import pytest
from detailflow_onnx import cli
from helpers import layout


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
    """(numbers, checkpoint folder) of one small checkpoint, which tests must not change."""
    n = layout.numbers()
    return n, layout.write(tmp_path_factory.mktemp("small") / "model", n)

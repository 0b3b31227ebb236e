"""The multiply-adds in tests/data/work.json, with which the library's own count is compared, are what the graphs do."""

import json

import pytest
import work
from conftest import DATA, HERE, read_manifest

from detailflow_onnx.bundle import runner

BUNDLES = {"small": DATA / "small", "precisions": DATA / "precisions", "tiny-16": DATA / "tiny-16" / "bundle", "sprites": HERE.parent.parent / "onnx" / "bundles" / "sprites"}


@pytest.mark.parametrize("name", BUNDLES)
def test_every_variant_does_the_work_that_is_written_down(name):
    folder, content = BUNDLES[name], read_manifest(BUNDLES[name])
    want = json.loads((DATA / "work.json").read_text())[{"precisions": "small"}.get(name, name)]
    variants = [variant for variant in content["variants"] if runner.runs_here(variant)]
    assert variants
    for variant in variants:
        assert work.cases(folder, content, variant) == want, variant

"""The multiply-adds in tests/data/work.json, which the library's own count is compared with, match the graphs."""

import json

import pytest
from detailflow_onnx.bundle import runner
from helpers import multiply_adds
from helpers.bundles import DATA, ROOT, read_manifest

BUNDLES = {
    "small": DATA / "small",
    "precisions": DATA / "precisions",
    "tiny-16": DATA / "tiny-16" / "bundle",
    "sprites": ROOT / "onnx" / "bundles" / "sprites",
}


@pytest.mark.parametrize("name", BUNDLES)
def test_multiply_adds_of_every_variant_match_the_fixture(name):
    folder, content = BUNDLES[name], read_manifest(BUNDLES[name])
    want = json.loads((DATA / "work.json").read_text())[{"precisions": "small"}.get(name, name)]
    variants = [variant for variant in content["variants"] if runner.runs_here(variant)]
    assert variants
    for variant in variants:
        assert multiply_adds.cases(folder, content, variant) == want, variant

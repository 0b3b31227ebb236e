"""What `export` takes from the recipe beside a checkpoint."""

import sys

import detailflow_onnx
import pytest
from detailflow_onnx import cli
from detailflow_onnx.checkpoint import recipe_file
from helpers import layout
from helpers.bundles import read_manifest

RECIPE = """
name: gems
license: CC-BY-4.0
data: {size: 32}
ar: {train: {guidance: 3, temperature: 9e-1, top_p: 0.95, lr: 1e-4}}
"""


@pytest.fixture
def export(tmp_path, capsys):
    """Export a small checkpoint: (status, name and sampling and license of the manifest, standard error)."""
    n = layout.numbers()
    folder = layout.write(tmp_path / "run", n)

    def call(*more, recipes=None, arguments=None):
        for part, text in (recipes or {}).items():
            (folder / part / "recipe.yaml").write_text(text)
        given = [*(arguments or layout.arguments(folder, n)), "--unchecked", "--out", tmp_path / "bundle", *more]
        try:
            status = cli.main([str(a) for a in given])
        except SystemExit as stop:
            status = stop.code
        content = read_manifest(tmp_path / "bundle") if status == 0 else {}
        return status, {key: content.get(key) for key in ("name", "license", "sampling")}, capsys.readouterr().err

    call.folder, call.numbers = folder, n
    return call


def test_export_takes_defaults_from_the_recipe_and_says_so(export):
    status, content, said = export(recipes={"ar": RECIPE})
    assert status == 0 and content == {
        "name": "gems",
        "license": "CC-BY-4.0",
        "sampling": {"guidance": 3.0, "gradual": False, "temperature": 0.9, "top_k": 0, "top_p": 0.95},
    }
    values = "name gems, license CC-BY-4.0, guidance 3, temperature 0.9, top-p 0.95"
    assert said == f"{export.folder / 'ar' / 'recipe.yaml'}: {values} (options replace these)\n"


def test_export_options_replace_the_recipe(export):
    more = ["--guidance", "1.5", "--top-p", "1", "--name", "mine", "--license", "MIT"]
    status, content, said = export(*more, recipes={"ar": RECIPE})
    assert status == 0 and (content["name"], content["license"]) == ("mine", "MIT")
    assert content["sampling"] == {"guidance": 1.5, "gradual": False, "temperature": 0.9, "top_k": 0, "top_p": 1.0}
    assert said == f"{export.folder / 'ar' / 'recipe.yaml'}: temperature 0.9 (options replace these)\n"


def test_export_without_a_recipe_has_its_own_defaults(export):
    status, content, said = export()
    assert status == 0 and said == "" and (content["name"], content["license"]) == ("run", "unknown")
    assert content["sampling"] == {"guidance": 1.5, "gradual": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
    assert export(recipes={"ar": ""})[1] == content  # an empty one has no keys


def test_export_takes_name_and_license_alone_from_the_tokenizer(export):
    status, content, said = export(recipes={"tokenizer": RECIPE})
    assert status == 0 and content["name"] == "gems" and content["sampling"]["guidance"] == 1.5
    assert (
        said == f"{export.folder / 'tokenizer' / 'recipe.yaml'}: name gems, license CC-BY-4.0 (options replace these)\n"
    )
    decoder = ["export", "--only", "decoder", "--tokenizer", export.folder / "tokenizer", "--decoder-heads", "4"]
    status, content, said = export(arguments=decoder)
    assert status == 0 and (content["name"], content["sampling"]) == ("gems", None) and "guidance" not in said
    status, _, said = export("--guidance", "0", arguments=decoder)
    assert status == 2 and "--only decoder cannot be combined with --guidance" in said


@pytest.mark.parametrize(
    "text, sentence",
    [
        ("ar: {train: {guidance: -1}}", "ar.train.guidance is -1; a number from 0 is needed"),
        ("ar: {train: {top_p: 0}}", "ar.train.top_p is 0; a number above 0 to 1 is needed"),
        ("ar: {train: {temperature: .nan}}", "ar.train.temperature is nan; a number from 0 is needed"),
        ("ar: {train: {temperature: warm}}", "ar.train.temperature is 'warm'"),
        ("ar: {train: {guidance: true}}", "ar.train.guidance is True"),
        ("ar: [1]", "ar is not a mapping"),
        ("name: 7", "name is 7; text is needed"),
        ('license: "a\\nb"', "the value of license, 'a\\nb' holds a control character"),
        ("a: [", "not YAML"),
        ("a: &x 1", "an anchor"),
    ],
)
def test_export_with_an_invalid_recipe_is_refused(export, text, sentence):
    status, _, said = export(recipes={"ar": text})
    assert status == 1 and f"{export.folder / 'ar' / 'recipe.yaml'}: " in said and sentence in said
    assert len(said.splitlines()) == 1


def test_export_without_pyyaml_says_that_the_recipe_is_not_read(export, monkeypatch):
    monkeypatch.setitem(sys.modules, "yaml", None)
    monkeypatch.delitem(sys.modules, "detailflow_onnx.yaml_file", raising=False)
    monkeypatch.delattr(detailflow_onnx, "yaml_file", raising=False)
    status, content, said = export(recipes={"ar": RECIPE})
    assert status == 0 and content["sampling"]["guidance"] == 1.5 and content["name"] == "run"
    assert f"{export.folder / 'ar' / 'recipe.yaml'}: not read, as PyYAML is not installed" in said


def test_recipe_values_are_those_of_training(tmp_path):
    """Both readers agree on the recipes in the package."""
    from detailflow_onnx.train import recipe

    for name in recipe.shipped():
        made = recipe.read(name)
        (tmp_path / "recipe.yaml").write_text(made.text)
        values, problem = recipe_file.bundle_defaults(tmp_path)
        train = made.ar.train
        got = {key: values.get(key, getattr(recipe.ArTrain, key)) for key in recipe_file.SAMPLING}
        assert not problem and got == {key: getattr(train, key) for key in recipe_file.SAMPLING}
        assert values["name"] == name and values.get("license", "") == made.license

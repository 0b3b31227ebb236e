"""The recipes in the package are read, and their models have the published shapes. No weights are allocated."""

import math

import pytest
import torch
from detailflow_onnx.checkpoint import model, random_model
from detailflow_onnx.numbers import ladder
from detailflow_onnx.numbers.sizes import ArSizes
from detailflow_onnx.train import recipe
from detailflow_onnx.train.models.tokenizer import Tokenizer
from detailflow_onnx.train.models.transformer import Transformer

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

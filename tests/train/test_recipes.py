"""The shipped recipes are read, and what they make has the published shapes. No weights are allocated for that."""

import math

import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (pip install './onnx[train]'): training was not tested")
import torch  # noqa: E402

from detailflow_onnx.checkpoint import model  # noqa: E402
from detailflow_onnx.checkpoint import random_model  # noqa: E402
from detailflow_onnx.train import recipe  # noqa: E402
from detailflow_onnx.train.models.tokenizer import Tokenizer, ladder_of  # noqa: E402
from detailflow_onnx.train.models.transformer import Numbers, Transformer  # noqa: E402

TRAINING_ONLY = {"encoder.refined_tokens", "refine_conv.weight", "refine_conv.bias"}


def built(name, classes=1000):
    """(recipe, tokenizer, AR model) on the device that holds no values."""
    made = recipe.read(name)
    numbers, n = made.numbers, made.tokenizer.model
    with torch.device("meta"):
        tokenizer = Tokenizer(numbers)
        ar = Transformer(Numbers(made.ar_sizes, classes=classes, count=n.count, group=n.group, causal=n.causal, codes=n.codes))
    return made, tokenizer, ar


def shapes(module):
    return {name: tuple(value.shape) for name, value in module.state_dict().items()}


@pytest.mark.parametrize("name", sorted(random_model.TOKENS))
def test_published_shapes(name):
    published = random_model.random_model(name, 0)
    made, tokenizer, ar = built(name)
    want_tokenizer, want_ar = model.shapes(published)
    assert {key: shape for key, shape in shapes(tokenizer).items() if key not in TRAINING_ONLY} == want_tokenizer
    assert shapes(ar) == want_ar
    numbers = made.numbers
    for key in ("size", "channels", "count", "group", "causal", "codes", "code_width", "l2_norm", "power", "encoder", "decoder"):
        assert getattr(numbers, key) == getattr(published, key), key
    assert made.ar_sizes == published.ar


def test_published_sizes_and_steps():
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
def test_every_shipped_recipe_makes_a_model(name):
    made, tokenizer, ar = built(name, classes=5)
    assert made.name == name and ladder_of(made.numbers)[-1]["size"] == made.data.size
    assert all(math.prod(shape) for shape in (shapes(tokenizer) | shapes(ar)).values())

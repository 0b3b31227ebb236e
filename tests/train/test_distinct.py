"""Figures of variety on pictures and models whose answers are known."""

import dataclasses
import json

import numpy as np
import pytest
import torch
from detailflow_onnx.numbers import ladder
from detailflow_onnx.train.evaluation import generation, variety
from detailflow_onnx.train.evaluation.pictures import PictureSet
from detailflow_onnx.train.models.tokenizer import open_tokenizer
from helpers import layout


def flat(*values, size=8):
    """Opaque RGBA pictures of one brightness each."""
    return torch.stack([torch.cat([torch.full((3, size, size), v), torch.ones(1, size, size)]) for v in values])


class Eye:
    """Sees class 1 in bright pictures."""

    def look(self, images):
        bright = images[:, :3].mean((1, 2, 3)) > 0.5
        return np.zeros((len(images), 2)), np.stack([~bright, bright], 1).astype(np.float64)


def test_distinct_counts_pictures_far_from_those_before():
    # Apart by 0.04 of brightness in 3 of 4 channels: 0.0346. The third is near the second, which does not count.
    assert variety.distinct(flat(0.2, 0.24, 0.28, 0.5)) == 3
    assert variety.distinct(flat(0.2, 0.2, 0.2)) == 1 and variety.distinct(flat(0.1, 0.3, 0.9)) == 3


def test_finished_has_no_soft_alpha_and_few_colours():
    random = torch.Generator().manual_seed(0)
    images = torch.rand(3, 4, 16, 16, generator=random)
    images[:, :3] *= images[:, 3:]
    done = variety.finished(images)
    assert torch.equal(done[:, 3], (images[:, 3] * 255 >= 110).float())
    assert not (done[:, :3] * (1 - done[:, 3:])).any()
    for picture in done:
        assert len(torch.unique(picture.flatten(1).T, dim=0)) <= variety.COLOURS + 1
    few = torch.ones(1, 4, 16, 16)
    few[:, :3] = torch.rand(1, 3, 4, 1, generator=random).repeat_interleave(4, 2)
    assert (variety.finished(few) - few).abs().max() < 0.005  # four colours stay as they are
    assert torch.equal(variety.finished(images[:0]), images[:0])


def test_oklab_and_back_is_the_same_colour():
    colours = torch.rand(500, 3, generator=torch.Generator().manual_seed(1))
    assert (variety.from_oklab(variety.oklab(colours)) - colours).abs().max() < 1e-3
    white, black = variety.oklab(torch.tensor([[1.0, 1, 1], [0, 0, 0]]))
    assert white.tolist() == pytest.approx([1, 0, 0], abs=1e-3) and black.abs().max() < 1e-3


def test_wrap_step_compares_edges_with_inner_steps():
    at = torch.arange(16) * (2 * torch.pi / 16)
    tile = (0.5 + 0.2 * at.cos()[:, None] + 0.2 * at.cos()[None]).expand(1, 3, 16, 16)
    assert 0 < variety.wrap_step(tile) < 0.4  # the edge is between two like pixels
    ramp = (torch.arange(16) / 16).expand(1, 3, 16, 16)
    assert variety.wrap_step(ramp) == pytest.approx(15)
    assert variety.wrap_step(torch.cat([tile, ramp, ramp])) == pytest.approx(15)  # the median


def test_figures_of_a_set_are_by_class():
    images = torch.cat([flat(0.1, 0.1, 0.8, 0.81), flat(0.3, 0.9)])
    found = variety.of_set(images, np.array([0, 0, 0, 0, 1, 1]), ["floor", "ring"])
    assert {k: found["floor"][k] for k in ("pictures", "distinct", "share", "exact")} == {
        "pictures": 4,
        "distinct": 2,
        "share": 0.5,
        "exact": 1,
    }
    assert found["ring"]["share"] == 1 and found["ring"]["exact"] == 0
    assert "wrap_step" in found["floor"] and "wrap_step" not in found["ring"]
    assert variety.of_set(images, np.zeros(6, int), ["floor"], most=2)["floor"]["pictures"] == 2


def test_exact_copies_are_of_samples_and_of_files():
    made = PictureSet(Eye(), flat(0.1, 0.5, 0.1, 0.7), [0, 0, 0, 1])
    train = PictureSet(Eye(), flat(0.7, 0.2), [0, 1])
    # The third is the first again, the last is a file.
    assert generation.exact_copies(made, train, torch.device("cpu")) == 0.5


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    layout.write(folder, layout.numbers())
    config = json.dumps({"hidden_size": 32, "num_attention_heads": 4})
    (folder / "siglip2_vision_config.json").write_text(config)
    return open_tokenizer(folder / "tokenizer")


def test_variation_of_known_models(tokenizer):
    numbers = tokenizer.numbers
    keep = next(iter(ladder.levels(ladder.table_of(numbers), numbers.causal).values()))

    @dataclasses.dataclass
    class Ar:
        """Gives the same picture again and again, but for the `changed` last tokens of pictures from given tokens."""

        changed: int
        output = torch.nn.Linear(1, 1)

        class numbers:
            classes = 2

        def generate(self, classes, *, seed, given=None, **sampling):
            ids = (classes[:, None] * 3 + torch.arange(numbers.count)) % numbers.codes
            if given is not None:
                assert torch.equal(given, ids[:, :keep])
                ids[:, numbers.count - self.changed :] += 1
            return ids % numbers.codes

    def found(changed):
        return variety.variation(tokenizer, Ar(changed), Eye(), ["dark", "bright"], np.array([0, 1]), {}, 3)

    same, half, other = (found(n) for n in (0, (numbers.count - keep) // 2, numbers.count - keep))
    assert same["kept"] == keep and 0 < keep < numbers.count
    assert (same["tokens"], same["pixels"]) == (0, 0)
    assert half["tokens"] == pytest.approx(0.5, abs=0.1) and other["tokens"] == 1
    assert 0 < half["pixels"] <= 1 and other["pixels"] > 0
    assert set(same["by_class"]) == {"dark", "bright"}
    for e in (same, half, other):  # pictures of random weights are all seen as one class, or are not
        assert e["accuracy"] == pytest.approx(np.mean([c["accuracy"] for c in e["by_class"].values()]))

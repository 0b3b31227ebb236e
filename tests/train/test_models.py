"""The two models compute what the authors' code computes, and their checkpoints are exported like published ones."""

import argparse
import json

import numpy as np
import pytest
import torch
from detailflow_onnx import cli
from detailflow_onnx.checkpoint.model import shapes
from detailflow_onnx.errors import Refused
from detailflow_onnx.train.models.tokenizer import Tokenizer, open_tokenizer
from detailflow_onnx.train.models.transformer import Transformer, open_transformer, sample
from helpers.bundles import DATA, open_checkpoint


@pytest.fixture(scope="module", params=["tiny-16", "tiny-32"])
def published(request):
    """(folder of a checkpoint of the authors' code, what that computed)."""
    home = DATA / request.param
    with np.load(home / "expected.npz") as file:
        return home / "checkpoint", {key: torch.from_numpy(file[key]) for key in file.files}


def test_tokenizer_tokens_and_latents_match_the_authors(published):
    home, want = published
    tokenizer = open_tokenizer(home / "tokenizer")
    images = (want["tok_images"].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    latents, ids = tokenizer.encode(images)
    assert (latents - want["tok_latents"]).abs().max() < 1e-4 and torch.equal(ids, want["tok_indices"].long())


def test_tokenizer_pixels_match_the_authors(published):
    home, want = published
    tokenizer = open_tokenizer(home / "tokenizer")
    counts = [int(key[3:-7]) for key in want if key.startswith("dec") and key.endswith("_pixels")]
    assert counts
    for count in counts:
        pixels = want[f"dec{count}_pixels"]
        assert (
            tokenizer.decode(want["tok_indices"][:, :count].long(), pixels.shape[-1]) - pixels
        ).abs().max() < 1e-4, count


def test_transformer_logits_match_the_authors(published):
    home, want = published
    ar, classes, tokens = open_transformer(home / "ar"), want["ar_classes"].long(), want["ar_tokens"].long()
    with torch.no_grad():
        assert (ar(classes, tokens) - want["ar_logits_cond"]).abs().max() < 1e-3
        assert (ar(torch.full_like(classes, ar.numbers.classes), tokens) - want["ar_logits_uncond"]).abs().max() < 1e-3


def test_transformer_greedy_tokens_match_the_authors(published):
    home, want = published
    ar, cases = (
        open_transformer(home / "ar"),
        [key[:-7] for key in want if key.startswith("greedy") and key.endswith("_tokens")],
    )
    assert cases
    for case in cases:
        made = ar.generate(
            want[case + "_classes"].long(),
            guidance=float(want[case + "_cfg_scale"]),
            gradual=bool(want[case + "_gradual"]),
            temperature=0,
        )
        assert torch.equal(made, want[case + "_tokens"].long()), case


def test_transformer_samples_of_one_seed_are_equal(published):
    ar = open_transformer(published[0] / "ar")
    one, same, other = (
        ar.generate(torch.tensor([1, 2]), guidance=2.0, temperature=0.9, top_p=0.95, top_k=40, seed=seed)
        for seed in (5, 5, 6)
    )
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_sample_never_returns_filtered_tokens():
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(4000, 1, 4)
    generator = torch.Generator().manual_seed(0)
    assert set(sample(logits, 1.0, 2, 1.0, generator).unique().tolist()) == {2, 3}
    assert set(sample(logits, 1.0, 0, 0.8, generator).unique().tolist()) == {2, 3}  # 0.64, 0.88
    assert set(sample(logits, 1.0, 0, 1e-9, generator).unique().tolist()) == {3}
    share = (sample(logits, 1.0, 0, 1.0, generator) == 3).float().mean()
    assert abs(float(share) - 0.6439) < 0.03


def saved(home, module, tokenizer):
    """A module beside the configuration of the checkpoint that it came from."""
    (home / "checkpoints").mkdir(parents=True)
    torch.save(
        {
            "model" if tokenizer else "ema": module.state_dict(),
            "steps": 7,
            "args": argparse.Namespace(note="as the authors keep it"),
        },
        home / "checkpoints" / "0000007.pt",
    )


def test_checkpoint_saved_by_the_modules_gives_the_same_bundle(published, tmp_path, capsys):
    home, _want = published
    for part, module in (("tokenizer", open_tokenizer(home / "tokenizer")), ("ar", open_transformer(home / "ar"))):
        saved(tmp_path / part, module, part == "tokenizer")
        for name in ("config.json", "config.yaml"):
            (tmp_path / part / name).write_bytes((home / part / name).read_bytes())
    (tmp_path / "siglip2_vision_config.json").write_bytes((home / "siglip2_vision_config.json").read_bytes())
    again, before = open_checkpoint(tmp_path), open_checkpoint(home)
    for side, names in zip(("tokenizer", "ar_weights"), shapes(before)):
        for name in names:
            assert np.array_equal(getattr(again, side).read(name), getattr(before, side).read(name)), name
    arguments = [
        "export",
        "--tokenizer",
        tmp_path / "tokenizer",
        "--ar",
        tmp_path / "ar",
        "--name",
        home.parent.name,
        "--judge",
        "none",
    ]
    assert cli.main([*map(str, arguments), "--out", str(tmp_path / "bundle")]) == 0, capsys.readouterr().err
    made, committed = (
        json.loads((folder / "detailflow.json").read_text()) for folder in (tmp_path / "bundle", home.parent / "bundle")
    )
    assert made["tokenizer_id"] == committed["tokenizer_id"]
    assert cli.main(["verify", str(tmp_path / "bundle"), "--expected", str(home.parent / "expected.npz")]) == 0, (
        capsys.readouterr()
    )


def test_new_modules_have_the_published_tensor_names(published):
    """And no others that a bundle would need."""
    home, _ = published
    numbers = open_tokenizer(home / "tokenizer").numbers
    tokenizer, ar = Tokenizer(numbers), Transformer(open_transformer(home / "ar").numbers)
    more = {"refine_conv.weight", "refine_conv.bias", "encoder.refined_tokens"}
    opened = open_checkpoint(home)
    names = shapes(opened)
    assert {name: tuple(v.shape) for name, v in tokenizer.state_dict().items() if name not in more} == names[0]
    assert {name: tuple(v.shape) for name, v in ar.state_dict().items()} == names[1]


def test_checkpoint_without_a_tensor_is_refused_with_its_name(published, tmp_path):
    home, _ = published
    tokenizer = open_tokenizer(home / "tokenizer")
    state = {name: value for name, value in tokenizer.state_dict().items() if name != "quant_conv.weight"}
    (tmp_path / "tokenizer" / "checkpoints").mkdir(parents=True)
    torch.save({"model": state, "steps": 7}, tmp_path / "tokenizer" / "checkpoints" / "7.pt")
    for name in ("config.json", "config.yaml"):
        (tmp_path / "tokenizer" / name).write_bytes((home / "tokenizer" / name).read_bytes())
    (tmp_path / "siglip2_vision_config.json").write_bytes((home / "siglip2_vision_config.json").read_bytes())
    with pytest.raises(Refused, match="quant_conv.weight is missing"):
        open_tokenizer(tmp_path / "tokenizer")


def test_encoder_latents_do_not_depend_on_later_codes(published):
    """The encoder's schedule: a latent depends on the given codes before it and in its group, and on none after."""
    home, want = published
    tokenizer = open_tokenizer(home / "tokenizer")
    torch.nn.init.normal_(tokenizer.refine_conv.weight)
    images = (want["tok_images"].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    numbers, book = tokenizer.numbers, tokenizer.quantize.rows()
    c, g = numbers.causal, numbers.group
    codes = book[torch.randint(numbers.codes, (len(images), numbers.count), generator=torch.Generator().manual_seed(1))]
    every = torch.full((len(images),), numbers.count)
    with torch.no_grad():
        before = tokenizer.latents(images, codes, every)
        for place in (2, c + g + 1):
            other = codes.clone()
            other[:, place] = -other[:, place]
            moved = (tokenizer.latents(images, other, every) - before).abs().amax((0, 2)) > 1e-5
            first = place if place < c else place // g * g
            assert not moved[:first].any() and moved[first:].all(), place

"""The two models compute what the authors' code computes, and what they save is exported like a published checkpoint."""

import argparse
import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="PyTorch is not installed (pip install './onnx[train]'): training was not tested")
import torch  # noqa: E402

from detailflow_onnx.checkpoint import published as checkpoint  # noqa: E402
from detailflow_onnx import cli  # noqa: E402
from detailflow_onnx.checkpoint import source as sources  # noqa: E402
from detailflow_onnx.errors import Refused  # noqa: E402
from detailflow_onnx.checkpoint.model import shapes  # noqa: E402
from detailflow_onnx.train.models.tokenizer import Tokenizer, open_tokenizer  # noqa: E402
from detailflow_onnx.train.models.transformer import Transformer, draw, open_transformer  # noqa: E402

DATA = Path(__file__).resolve().parent.parent / "data"


@pytest.fixture(scope="module", params=["tiny-16", "tiny-32"])
def published(request):
    """(folder of a checkpoint of the authors' code, what that computed)."""
    home = DATA / request.param
    with np.load(home / "expected.npz") as file:
        return home / "checkpoint", {key: torch.from_numpy(file[key]) for key in file.files}


def test_tokens_and_latents_are_the_authors(published):
    home, want = published
    tokenizer = open_tokenizer(home / "tokenizer")
    images = (want["tok_images"].permute(0, 3, 1, 2).float() / 255 - 0.5) / 0.5
    latents, ids = tokenizer.encode(images)
    assert (latents - want["tok_latents"]).abs().max() < 1e-4 and torch.equal(ids, want["tok_indices"].long())


def test_pixels_are_the_authors(published):
    home, want = published
    tokenizer = open_tokenizer(home / "tokenizer")
    counts = [int(key[3:-7]) for key in want if key.startswith("dec") and key.endswith("_pixels")]
    assert counts
    for count in counts:
        pixels = want[f"dec{count}_pixels"]
        assert (tokenizer.decode(want["tok_indices"][:, :count].long(), pixels.shape[-1]) - pixels).abs().max() < 1e-4, count


def test_logits_are_the_authors(published):
    home, want = published
    ar, classes, tokens = open_transformer(home / "ar"), want["ar_classes"].long(), want["ar_tokens"].long()
    with torch.no_grad():
        assert (ar(classes, tokens) - want["ar_logits_cond"]).abs().max() < 1e-3
        assert (ar(torch.full_like(classes, ar.numbers.classes), tokens) - want["ar_logits_uncond"]).abs().max() < 1e-3


def test_greedy_tokens_are_the_authors(published):
    home, want = published
    ar, cases = open_transformer(home / "ar"), [key[:-7] for key in want if key.startswith("greedy") and key.endswith("_tokens")]
    assert cases
    for case in cases:
        made = ar.generate(want[case + "_classes"].long(), guidance=float(want[case + "_cfg_scale"]), gradual=bool(want[case + "_gradual"]), temperature=0)
        assert torch.equal(made, want[case + "_tokens"].long()), case


def test_tokens_drawn_with_the_same_seed_are_the_same(published):
    ar = open_transformer(published[0] / "ar")
    one, same, other = (ar.generate(torch.tensor([1, 2]), guidance=2.0, temperature=0.9, top_p=0.95, top_k=40, seed=seed) for seed in (5, 5, 6))
    assert torch.equal(one, same) and not torch.equal(one, other)


def test_what_is_filtered_is_never_drawn():
    logits = torch.tensor([0.0, 1.0, 2.0, 3.0]).expand(4000, 1, 4)
    generator = torch.Generator().manual_seed(0)
    assert set(draw(logits, 1.0, 2, 1.0, generator).unique().tolist()) == {2, 3}
    assert set(draw(logits, 1.0, 0, 0.8, generator).unique().tolist()) == {2, 3}  # 0.64, 0.88
    assert set(draw(logits, 1.0, 0, 1e-9, generator).unique().tolist()) == {3}
    share = (draw(logits, 1.0, 0, 1.0, generator) == 3).float().mean()
    assert abs(float(share) - 0.6439) < 0.03


def saved(home, module, tokenizer):
    """A module beside the configuration of the checkpoint that it came from."""
    (home / "checkpoints").mkdir(parents=True)
    torch.save({"model" if tokenizer else "ema": module.state_dict(), "steps": 7, "args": argparse.Namespace(note="as the authors keep it")}, home / "checkpoints" / "0000007.pt")


def test_a_checkpoint_goes_through_the_modules_to_the_same_bundle(published, tmp_path, capsys):
    home, want = published
    for part, module in (("tokenizer", open_tokenizer(home / "tokenizer")), ("ar", open_transformer(home / "ar"))):
        saved(tmp_path / part, module, part == "tokenizer")
        for name in ("config.json", "config.yaml"):
            (tmp_path / part / name).write_bytes((home / part / name).read_bytes())
    (tmp_path / "siglip2_vision_config.json").write_bytes((home / "siglip2_vision_config.json").read_bytes())
    options = cli.parser().parse_args(["export", "--tokenizer", str(tmp_path / "tokenizer"), "--ar", str(tmp_path / "ar"), "--name", home.parent.name, "--out", str(tmp_path / "bundle")])
    again, before = sources.open_source(options), sources.open_source(cli.parser().parse_args(
        ["export", "--tokenizer", str(home / "tokenizer"), "--ar", str(home / "ar"), "--name", home.parent.name, "--out", "x"]))  # fmt: skip
    for side, names in zip(("tokenizer", "ar_weights"), shapes(before)):
        for name in names:
            assert np.array_equal(getattr(again, side).read(name), getattr(before, side).read(name)), name
    assert cli.main(["export", *options_of(options)]) == 0, capsys.readouterr().err
    made, committed = (json.loads((folder / "detailflow.json").read_text()) for folder in (tmp_path / "bundle", home.parent / "bundle"))
    assert made["tokenizer_id"] == committed["tokenizer_id"]
    assert cli.main(["verify", str(tmp_path / "bundle"), "--expected", str(home.parent / "expected.npz")]) == 0, capsys.readouterr()


def options_of(options):
    return ["--tokenizer", options.tokenizer, "--ar", options.ar, "--name", options.name, "--judge", "none", "--out", options.out]


def test_a_new_module_has_the_published_names(published):
    """And no others that a bundle would need."""
    home, _ = published
    numbers = open_tokenizer(home / "tokenizer").numbers
    tokenizer, ar = Tokenizer(numbers), Transformer(open_transformer(home / "ar").numbers)
    more = {"refine_conv.weight", "refine_conv.bias", "encoder.refined_tokens"}
    opened = checkpoint.open_model(argparse.Namespace(**dict.fromkeys(("tokenizer_weights", "ar_weights", "siglip_config", "encoder_heads", "decoder_heads", "labels", "name", "only"))
                                                      | {"tokenizer": str(home / "tokenizer"), "ar": str(home / "ar")}))  # fmt: skip
    names = shapes(opened)
    assert {name: tuple(v.shape) for name, v in tokenizer.state_dict().items() if name not in more} == names[0]
    assert {name: tuple(v.shape) for name, v in ar.state_dict().items()} == names[1]


def test_a_missing_tensor_is_named(published, tmp_path):
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


def test_nothing_later_moves_what_stands_before(published):
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

"""Training that starts from the weights of another model: more layers, other classes; what does not fit is refused."""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from detailflow_onnx import cli
from detailflow_onnx.errors import Refused
from detailflow_onnx.train import recipe, start
from detailflow_onnx.train.data.augment import prepare
from detailflow_onnx.train.data.folder import open_folder
from detailflow_onnx.train.models.tokenizer import Tokenizer, open_tokenizer
from detailflow_onnx.train.models.transformer import Transformer, open_transformer
from detailflow_onnx.train.process import Process
from detailflow_onnx.train.stages.ar import ArStage
from detailflow_onnx.train.stages.codes import CodeSet
from detailflow_onnx.train.stages.tokenizer import TokenizerStage
from helpers.bundles import open_checkpoint, write_bundle
from PIL import Image

RECIPE = """
data: {size: 16, channels: 4}
tokenizer:
  model:
    {count: 8, group: 2, causal: 2, codes: 16, code_width: 4,
     encoder: {width: 32, depth: 1, heads: 2, hidden: 48, patch: 4},
     decoder: {width: 32, depth: 2, heads: 2, hidden: 48, patch: 4}}
  train: {steps: 30, batch: 8, lr: 0.003, warmup: 2, ema: 0.9, continuous: 6, correct: 0.3, log: 10, save: 15, sheet: 0}
codes: {variants: 2}
ar:
  model: {width: 32, depth: 2, heads: 4}
  train: {steps: 60, batch: 16, lr: 0.01, warmup: 2, ema: 0.9, log: 10, save: 30, sheet: 0}
"""


def pictures(folder, classes, count=12):
    random = np.random.default_rng(1)
    for i, name in enumerate(classes):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for k in range(count):
            colour = random.integers(0, 256, (16, 16, 4), np.uint8) // 4 + 60 * (i + 1)
            Image.fromarray(colour.astype(np.uint8)).save(folder / name / f"{k}.png")


def run(capsys, *arguments):
    status = cli.main([str(a) for a in arguments])
    return status, capsys.readouterr().err


def stage(name, home, *more, config="recipe.yaml", data="data", out="out"):
    folder = () if name == "ar" else ("--data", home / data)
    return "train", name, "--config", home / config, *folder, "--out", home / out, "--threads", 1, *more


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A finished run of two classes in `first`, and other recipes and pictures."""
    home = tmp_path_factory.mktemp("start")
    pictures(home / "data", ("moon", "sun"))
    pictures(home / "more", ("moon", "star", "sun"))
    (home / "recipe.yaml").write_text(RECIPE)
    deeper = RECIPE.replace("depth: 2, heads: 2", "depth: 4, heads: 2").replace(
        "depth: 1, heads: 2", "depth: 2, heads: 2"
    )
    (home / "deeper.yaml").write_text(deeper.replace("depth: 2, heads: 4", "depth: 3, heads: 4"))
    (home / "flat.yaml").write_text(RECIPE.replace("depth: 2", "depth: 1"))
    (home / "wide.yaml").write_text(RECIPE.replace("hidden: 48", "hidden: 64"))
    (home / "codes.yaml").write_text(RECIPE.replace("codes: 16", "codes: 32"))
    for name in ("tokenizer", "codes", "ar"):
        assert cli.main([str(a) for a in stage(name, home, out="first")]) == 0
    return home


def same(one, other, images):
    with torch.no_grad():
        return torch.equal(one.latents(images), other.latents(images))


def test_a_deeper_tokenizer_starts_as_the_same_function(home):
    source = open_tokenizer(home / "first" / "tokenizer")
    deeper = recipe.read(home / "deeper.yaml")
    module = Tokenizer(deeper.numbers)
    new = start.begin_with(module, source.numbers.tokenizer)
    assert new == [
        "layer 1 of encoder.visual_model.encoder.layers",
        "layer 2 of decoder.visual_model.encoder.layers",
        "layer 3 of decoder.visual_model.encoder.layers",
    ]
    images = torch.rand(3, 4, 16, 16, generator=torch.Generator().manual_seed(0)) * 2 - 1
    assert same(module.eval(), source, images)
    ids = source.encode(images)[1]
    assert torch.equal(module.decode(ids, 16), source.decode(ids, 16))
    # The new layers are trained: their inner weights are not zero.
    layer = module.decoder.visual_model.encoder.layers[3]
    assert layer.mlp.fc1.weight.abs().sum() > 0 and layer.mlp.fc2.weight.abs().sum() == 0


def test_classes_are_found_by_name(home):
    source = open_transformer(home / "first" / "ar")
    numbers = dataclasses.replace(source.numbers, classes=3)
    module = Transformer(numbers).eval()
    weights = Source(source)
    assert start.begin_with(module, weights, ("moon", "sun"), ("sun", "star", "moon")) == ["class star"]
    tokens = torch.arange(16).view(2, 8)
    with torch.no_grad():
        for theirs, ours in ((1, 0), (2, 1), (0, 2), (2, 3)):  # "star" starts as "no class"
            want = source(torch.full((2,), theirs), tokens)
            assert torch.equal(module(torch.full((2,), ours), tokens), want)


class Source:
    """The weights of a module, as a checkpoint gives them."""

    origin = "source"

    def __init__(self, module):
        self.values = {name: value.numpy() for name, value in module.state_dict().items()}
        self.shapes = {name: value.shape for name, value in self.values.items()}

    def __contains__(self, name):
        return name in self.values

    def shape(self, name):
        return self.shapes[name]

    def read(self, name):
        return self.values[name]


def test_a_tokenizer_without_tensors_of_self_correction_gets_them(home):
    source = open_tokenizer(home / "first" / "tokenizer")
    weights = Source(source)
    for name in ("refine_conv.weight", "refine_conv.bias", "encoder.refined_tokens"):
        weights.shapes.pop(name), weights.values.pop(name)
    module = Tokenizer(source.numbers)
    with torch.no_grad():
        for value in module.parameters():
            value.fill_(7)
    assert start.begin_with(module, weights) == []
    assert torch.equal(module.encoder.refined_tokens, source.encoder.latent_tokens)
    assert not module.refine_conv.weight.any() and not module.refine_conv.bias.any()


@pytest.mark.parametrize("begin", ["first", "unpacked"])
def test_a_run_starts_from_a_run_or_from_a_bundle(home, begin, capsys):
    if begin == "unpacked":
        model = open_checkpoint(home / "first")
        write_bundle(model, home / "bundle", precisions=["int8"])
        assert run(capsys, "checkpoint", home / "bundle", "--out", home / "unpacked")[0] == 0
    out = f"from-{begin}"
    more = ("--start", home / begin)
    status, said = run(
        capsys, *stage("tokenizer", home, *more, "--steps", 15, config="deeper.yaml", data="more", out=out)
    )
    assert status == 0, said
    assert f"starting from {home / begin / 'tokenizer'}; new: layer 1 of encoder" in said
    assert run(capsys, *stage("codes", home, config="deeper.yaml", data="more", out=out))[0] == 0
    status, said = run(capsys, *stage("ar", home, *more, "--steps", 30, config="deeper.yaml", out=out))
    assert status == 0, said
    assert "new: class star, layer 2 of layers" in said
    # A run that has weights goes on with them, and says so.
    status, said = run(
        capsys, *stage("tokenizer", home, *more, "--steps", 16, config="deeper.yaml", data="more", out=out)
    )
    assert status == 0 and "--start is not read" in said and "resuming at step 15" in said


def test_the_codebook_is_kept(home):
    """A run that starts from a model has a codebook, also where the recipe begins without quantization."""
    chosen = recipe.read(home / "recipe.yaml")
    folder = open_folder(home / "data", size=16, channels=4)
    made = TokenizerStage(chosen, folder, Process("cpu"))
    assert not made.codebook.quantizing
    made.begin_with(home / "first" / "tokenizer")
    before = made.module.quantize.embedding.weight.detach().clone()
    assert made.codebook.quantizing
    made.losses(chosen.tokenizer.train.continuous + 1, next(made.batches(0))[1])
    assert torch.equal(made.module.quantize.embedding.weight, before)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("flat.yaml", "has 2 layers, but the recipe only 1"),
        ("wide.yaml", "the same sizes"),
        ("codes.yaml", "its codes is 16"),
    ],
)
def test_models_of_other_sizes_are_refused(home, config, message, capsys):
    begin = ("--start", home / "first")
    status, said = run(capsys, *stage("tokenizer", home, *begin, config=config, out="refused"))
    assert status == 1 and message in said
    assert not (home / "refused" / "tokenizer" / "resume.pt").exists()


def test_folders_without_checkpoint_and_the_run_itself_are_refused(home, capsys):
    for begin, message in (
        (home / "data", "no checkpoint to start from"),
        (home / "new", "no checkpoint to start from"),
    ):
        status, said = run(capsys, *stage("tokenizer", home, "--start", begin, out="new"))
        assert status == 1 and message in said


def test_an_ar_model_of_an_unrelated_tokenizer_is_refused(home, tmp_path):
    """Its weights know nothing of these tokens: their loss is above that of the share of each code."""
    chosen = recipe.read(home / "recipe.yaml")
    made = ArStage(chosen, home / "first" / "codes", Process("cpu"), home / "first" / "tokenizer")
    assert made.begin_with(home / "first" / "ar") == []
    other = tmp_path / "ar"
    (other / "checkpoints").mkdir(parents=True)
    for name in ("config.json", "config.yaml", "labels.txt"):
        (other / name).write_text((home / "first" / "ar" / name).read_text())
    (path,) = (home / "first" / "ar" / "checkpoints").glob("*.pt")
    state = torch.load(path, weights_only=True)
    # The same model for codes with other numbers.
    for part in ("model", "ema"):
        for name in ("tok_embeddings.weight", "output.weight"):
            state[part][name] = 5 * state[part][name].roll(5, 0)
    torch.save(state, other / "checkpoints" / path.name)
    with pytest.raises(Refused, match="of an unrelated tokenizer"):
        made.begin_with(other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"n_head": 8}))
    with pytest.raises(Refused, match="its heads is 8, but the recipe has 4"):
        made.begin_with(other)


def test_other_heads_and_widths_are_refused(home, tmp_path, capsys):
    """All shapes of a tokenizer with other heads agree, so that only the numbers tell."""
    (home / "heads.yaml").write_text(RECIPE.replace("heads: 2", "heads: 4"))
    status, said = run(capsys, *stage("tokenizer", home, "--start", home / "first", config="heads.yaml", out="refused"))
    assert status == 1 and "the heads of its encoder is 2, but the recipe has 4" in said
    module = Transformer(dataclasses.replace(open_transformer(home / "first" / "ar").numbers, classes=2))
    weights = Source(module)
    weights.values[start.CLASSES] = weights.values[start.CLASSES][:, :16]
    with pytest.raises(Refused, match="has the shape"):
        start.begin_with(module, weights, ("moon", "sun"), ("moon", "sun"))
    weights.values[start.CLASSES] = np.zeros((2, 32), np.float32)  # without "no class"
    with pytest.raises(Refused, match="has the shape"):
        start.begin_with(module, weights, ("moon", "sun"), ("moon", "sun"))


def test_an_ar_model_is_judged_on_its_device(home, monkeypatch):
    made = ArStage(
        recipe.read(home / "recipe.yaml"), home / "first" / "codes", Process("cpu"), home / "first" / "tokenizer"
    )
    moved = []
    judge = made._start_losses
    monkeypatch.setattr(made.module, "to", lambda device: moved.append(device))
    monkeypatch.setattr(made, "_start_losses", lambda: judge() if moved == [made.process.device] else (9.0, 0.0))
    assert made.begin_with(home / "first" / "ar") == []


DECODER = RECIPE.replace(
    "steps: 30, batch: 8, lr: 0.003,",
    "steps: 60, batch: 8, lr: 0.0005, parts: decoder, searched: 0.5, effort: 1, revive: 5,",
)


def test_a_decoder_is_trained_alone(home, capsys):
    (home / "decoder.yaml").write_text(DECODER)
    status, said = run(capsys, *stage("tokenizer", home, config="decoder.yaml", out="decoder"))
    assert status == 1 and "--start DIR" in said
    status, said = run(
        capsys, *stage("tokenizer", home, "--start", home / "first", config="decoder.yaml", out="decoder")
    )
    assert status == 0 and "searching for tokens of" in said, said
    before, after = (open_tokenizer(home / name / "tokenizer") for name in ("first", "decoder"))
    state = before.state_dict()
    changed = {name for name, value in after.state_dict().items() if not torch.equal(value, state[name])}
    trained = {name for name in state if name.startswith(("decoder.", "post_quant_conv."))}
    assert changed == trained
    images = open_folder(home / "data", size=16, channels=4).train
    images = prepare(images.read(torch.arange(len(images))), flips=False, hue=0.0, generator=None)
    ids = before.encode(images)[1]
    assert torch.equal(after.encode(images)[1], ids)
    errors = [(model.decode(ids, 16).clamp(-1, 1) - images).pow(2).mean() for model in (before, after)]
    assert errors[1] < errors[0]
    lines = [json.loads(line) for line in (home / "decoder" / "tokenizer" / "log.jsonl").read_text().splitlines()]
    assert "searched_l2" in lines[0] and "codebook" not in lines[0]


def test_a_resumed_decoder_keeps_the_tokens_that_were_searched(home, capsys):
    (home / "decoder.yaml").write_text(DECODER)
    begin = stage("tokenizer", home, "--start", home / "first", "--steps", 10, config="decoder.yaml", out="resumed")
    assert run(capsys, *begin)[0] == 0
    status, said = run(capsys, *stage("tokenizer", home, config="decoder.yaml", out="resumed"))
    assert status == 0 and "resuming at step 10" in said and "searching" not in said
    (home / "more.yaml").write_text(DECODER.replace("effort: 1", "effort: 2").replace("steps: 60", "steps: 62"))
    status, said = run(capsys, *stage("tokenizer", home, config="more.yaml", out="resumed"))
    assert status == 0 and "searching for tokens of" in said and "effort 2" in said, said
    status, said = run(capsys, *stage("tokenizer", home, out="resumed"))
    assert status == 1 and "parts is all, but the run has trained decoder" in said, said


EMBEDDINGS = RECIPE.replace(
    "steps: 60, batch: 16, lr: 0.01,",
    "steps: 60, batch: 16, lr: 0.05, embeddings: [moon], guidance: 3, temperature: 1.1,"
    " dropout: 0.5, swap: 0.5, best: true,",
)


def guided_loss(ar, codes, label):
    """Mean loss of the sequences of a class at guidance 3 and temperature 1.1."""
    rows = np.flatnonzero(np.asarray(codes.labels) == label)
    ids = torch.from_numpy(codes.clean[rows].astype(np.int64))
    with torch.no_grad():
        free, own = (ar(torch.full((len(ids),), c), ids) for c in (ar.numbers.classes, label))
    logits = (free + 3 * (own - free)) / 1.1
    return float(torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids.flatten()))


def test_the_embedding_of_one_class_is_trained_alone(home, capsys):
    (home / "embeddings.yaml").write_text(EMBEDDINGS)
    for part in ("tokenizer", "codes"):
        shutil.copytree(home / "first" / part, home / "tuned" / part)
    tune = stage("ar", home, config="embeddings.yaml", out="tuned")
    status, said = run(capsys, *tune)
    assert status == 1 and "ar.train.embeddings needs an AR model to start from: --start DIR" in said
    assert run(capsys, *tune, "--start", home / "first", "--steps", 30)[0] == 0
    status, said = run(capsys, *tune)
    assert status == 0 and "resuming at step 30" in said, said
    before, after = (open_transformer(home / name / "ar") for name in ("first", "tuned"))
    state = after.state_dict()
    changed = {name: value != state[name] for name, value in before.state_dict().items()}
    table = changed.pop("cls_embedding.embedding_table.weight").any(1)
    assert not any(value.any() for value in changed.values())
    assert table.tolist() == [True, False, False]  # moon, sun, no class
    codes = CodeSet(home / "first" / "codes")
    moon, sun = ([guided_loss(ar, codes, label) for ar in (before, after)] for label in (0, 1))
    assert moon[1] < moon[0] and sun[1] == sun[0]
    made = ArStage(
        recipe.read(home / "embeddings.yaml"), home / "first/codes", Process("cpu"), home / "first/tokenizer"
    )
    assert all(m.p == 0 for m in made.module.modules() if isinstance(m, torch.nn.Dropout))
    made.begin_with(home / "first" / "ar")
    assert (next(made.batches(0))[1][3] == 0).all()  # moons only
    assert not made.takes_over({"codes": "others"}, before.state_dict())
    status, said = run(capsys, *stage("ar", home, out="tuned"))
    assert status == 1 and "embeddings ['moon'], now None" in said, said
    (home / "stars.yaml").write_text(EMBEDDINGS.replace("[moon]", "[moon, star]"))
    status, said = run(capsys, *stage("ar", home, config="stars.yaml", out="tuned"))
    assert status == 1 and "ar.train.embeddings: no class 'star' in" in said
    (home / "deep.yaml").write_text(EMBEDDINGS.replace("depth: 2, heads: 4", "depth: 3, heads: 4"))
    shutil.rmtree(home / "tuned" / "ar")
    status, said = run(capsys, *stage("ar", home, "--start", home / "first", config="deep.yaml", out="tuned"))
    assert status == 1 and "ar.train.embeddings trains nothing of layer 2 of layers" in said, said


@pytest.mark.parametrize(
    ("before", "keys", "reason"),
    [
        ("steps: 30,", "parts: encoder", "allowed are all and decoder"),
        ("steps: 30,", "searched: 0.5", "searched needs tokenizer.train.parts decoder"),
        ("steps: 30,", "parts: decoder, effort: 5", "effort is 5; 1 to 4"),
        ("steps: 60,", "embeddings: moon", "is 'moon'; a list of class names is needed"),
        ("steps: 60,", "embeddings: [1]", "is of type list; a list of class names is needed"),
        ("steps: 60,", "embeddings: [moon], guidance: 0", "needs a guidance and a temperature above 0"),
    ],
)
def test_parts_that_cannot_be_trained_are_refused(tmp_path, before, keys, reason):
    (tmp_path / "recipe.yaml").write_text(RECIPE.replace(before, f"{before} {keys},"))
    with pytest.raises(Refused, match=reason):
        recipe.read(tmp_path / "recipe.yaml")

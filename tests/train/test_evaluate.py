"""The classifier, and a complete evaluation of a tiny random model on generated pictures."""

import json

import numpy as np
import pytest
import torch
from detailflow_onnx import cli
from detailflow_onnx.errors import Refused
from detailflow_onnx.numbers import ladder
from detailflow_onnx.train import losses, sheets
from detailflow_onnx.train.data.folder import open_folder
from detailflow_onnx.train.evaluation import classifier, generation, metrics, pictures, reconstruction, report
from detailflow_onnx.train.evaluation import run as evaluate
from detailflow_onnx.train.models import search
from detailflow_onnx.train.models.tokenizer import open_tokenizer
from detailflow_onnx.train.models.transformer import open_transformer
from helpers import layout
from PIL import Image


def levels_of(numbers):
    return ladder.levels(ladder.table_of(numbers), numbers.causal)


NAMES = ["disc", "frame", "stripe", "void"]
SETTINGS = {"steps": 40, "batch": 16, "width": 4, "features": 8}


def draw(kind, rng, size=32):
    """A straight RGBA picture of one of four shapes."""
    y, x = np.mgrid[:size, :size] - size / 2 + 0.5
    x, y, r = x - rng.integers(-4, 5), y - rng.integers(-4, 5), rng.integers(6, 11)
    inside = {
        "disc": x**2 + y**2 < r**2,
        "frame": np.abs(np.maximum(abs(x), abs(y)) - r) < 2,
        "stripe": abs(y) < 3,
        "void": (abs(x) < 2) & (abs(y) < 2),
    }[kind]
    out = np.zeros((size, size, 4), np.uint8)
    out[inside] = [*rng.integers(60, 256, 3), 255]
    return out


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    root, rng = tmp_path_factory.mktemp("evaluate") / "shapes", np.random.default_rng(5)
    for kind in NAMES:
        (root / kind).mkdir(parents=True)
        for i in range(22):
            Image.fromarray(draw(kind, rng)).save(root / kind / f"{i:02}.png")
    return root


def checkpoint(folder, **changes):
    n = layout.numbers(**changes)
    layout.write(folder, n)
    (folder / "siglip2_vision_config.json").write_text(json.dumps({"hidden_size": 32, "num_attention_heads": 4}))
    return folder


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def measured(data, model, tmp_path_factory):
    """(result of `run`, its folder) of a model and one with other weights and another order of classes."""
    other = checkpoint(tmp_path_factory.mktemp("other"), seed=2)
    (other / "labels.txt").write_text("".join(f"{name}\n" for name in reversed(NAMES)))
    out = tmp_path_factory.mktemp("out") / "report"
    content = evaluate.run(
        model / "tokenizer",
        model / "ar",
        data,
        out,
        samples=3,
        guidance=1.5,
        temperature=1.0,
        seed=7,
        effort=1,
        against=[(other / "tokenizer", other / "ar")],
        threads_given=1,
        settings=SETTINGS,
        say=lambda line: None,
    )
    return content, out


# ---------------------------------------------------------------- the classifier
def test_classifier_learns_is_deterministic_and_is_reused(data, tmp_path):
    folder = open_folder(data, size=32, channels=4)
    told = []
    first, about = classifier.classifier(folder, 4, tmp_path / "a", settings=SETTINGS | {"steps": 120}, say=told.append)
    assert about["training"]["accuracy"] > 0.6  # a quarter by chance
    assert set(about["training"]["by_class"]) == set(NAMES) and about["held_out"]["pictures"] == 4
    again, same = classifier.classifier(folder, 4, tmp_path / "b", settings=SETTINGS | {"steps": 120})
    assert same == about and all(torch.equal(v, again.state_dict()[k]) for k, v in first.state_dict().items())
    count = len(told)
    kept, same = classifier.classifier(folder, 4, tmp_path / "a", settings=SETTINGS | {"steps": 120}, say=told.append)
    assert same == about and len(told) == count
    x = classifier.prepared(folder.train, np.arange(10))
    for a, b in zip(first.look(x), kept.look(x)):
        assert np.array_equal(a, b)
    assert not first.training and len(list((tmp_path / "a").iterdir())) == 1


def test_classifier_identity_depends_on_files_and_settings(data, tmp_path):
    folder = open_folder(data, size=32, channels=4)
    base = classifier._identity(folder, SETTINGS)
    assert base == classifier._identity(open_folder(data, size=32, channels=4), SETTINGS)
    assert base != classifier._identity(folder, SETTINGS | {"seed": 1})
    folder.train._pixels[3, 0, 5, 5] ^= 1
    assert base != classifier._identity(folder, SETTINGS)


def test_classifier_features_are_normalized_for_any_picture_size(data, tmp_path):
    folder = open_folder(data, size=32, channels=4)
    eye, _ = classifier.classifier(folder, 4, tmp_path, settings=SETTINGS)
    features = eye.look(classifier.prepared(folder.train, np.arange(len(folder.train))))[0]
    assert features.mean(0) == pytest.approx(np.zeros(8), abs=1e-3) and features.std(0) == pytest.approx(
        np.ones(8), abs=0.02
    )
    for size in (8, 20, 96):
        features, seen = eye.look(torch.rand(3, 4, size, size))
        assert features.shape == (3, 8) and seen.sum(1) == pytest.approx(np.ones(3), abs=1e-5)


def test_degrade_keeps_shape_and_range():
    x = torch.rand(16, 4, 16, 16, generator=torch.Generator().manual_seed(0))
    a, b, c = (classifier.degrade(x, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert a.shape == x.shape and a.min() >= 0 and a.max() <= 1
    assert torch.equal(a, b) and not torch.equal(a, c)


# ---------------------------------------------------------------- parts
def test_reconstruction_figures_match_the_decoded_pictures(data, model):
    tok = open_tokenizer(model / "tokenizer")
    images = classifier.prepared(open_folder(data, size=32, channels=4).held_out, np.arange(4))
    r = reconstruction.reconstruction(tok, images, 0)
    assert [row["tokens"] for row in r["prefixes"]] == [1, 2, 3, 4, 8, 12, 16]
    assert [(row["size"], row["tokens"]) for row in r["levels"]] == list(levels_of(tok.numbers).items()) and r[
        "levels"
    ][-1]["tokens"] == 16
    ids = tok.encode(2 * images - 1)[1]
    got = ((tok.decode(ids[:, :4], r["prefixes"][3]["size"]) + 1) / 2).clamp(0, 1)
    got = torch.nn.functional.interpolate(got, (32, 32), mode="bilinear", antialias=True)
    assert r["prefixes"][3]["psnr"] == pytest.approx(
        -10 * np.log10(((got - images).double() ** 2).mean((1, 2, 3)).numpy()).mean(), abs=1e-6
    )
    assert r["psnr"] == r["levels"][-1]["psnr"] == pytest.approx(r["prefixes"][-1]["psnr"])
    assert r["levels"][0]["shuffled_psnr"] != r["levels"][0]["psnr"]
    assert r["codes"]["distinct"] == len(ids.unique()) and len(r["codes"]["by_position"]) == 16


def test_search_lowers_the_errors_of_each_picture_and_more_with_more_effort(data, model):
    tok = open_tokenizer(model / "tokenizer")
    images = classifier.prepared(open_folder(data, size=32, channels=4).held_out, np.arange(4))
    rows = list(levels_of(tok.numbers).items())

    def errors(ids):
        """What the search minimizes: [pictures, levels]."""
        made = (pictures.decoded(tok, ids[:, :tokens], size) for size, tokens in rows)
        wanted = (losses.resized(images, size) for size, _ in rows)
        each = [(a - b).double().pow(2).mean((1, 2, 3)) + search.FLOOR for a, b in zip(made, wanted)]
        return torch.stack(each, 1).numpy()

    weights = np.array([1.0] * (len(rows) - 1) + [search.FINEST * (len(rows) - 1)])
    alone = errors(pictures.encoded(tok, images))
    gains = [(weights * (errors(search.searched(tok, images, effort)) / alone)).sum(1) for effort in (1, 2, 4)]
    assert (gains[0] <= weights.sum() + 1e-9).all() and gains[0].mean() < weights.sum()
    assert gains[0].mean() > gains[1].mean() > gains[2].mean()
    # Pictures do not depend on each other.
    assert torch.equal(search.searched(tok, images, 2)[1:2], search.searched(tok, images[1:2], 2))


@pytest.mark.parametrize("count", [1, 2, 5])
def test_sheet_of_levels_has_two_pictures_per_row(model, count):
    tok = open_tokenizer(model / "tokenizer")
    images = torch.ones(count, 4, 32, 32)
    images[:, :3] = torch.linspace(-0.9, 0.9, count)[:, None, None, None]
    sheet = sheets.levels(tok, images)
    tile, across, lines, pixels = 64, 1 + len(levels_of(tok.numbers)), -(-count // 2), np.asarray(sheet)
    wide, top = (sheet.width - sheets.GAP) // (2 * across), sheet.height - lines * (tile + sheets.GAP)
    for i, value in enumerate(sheets.to_bytes(images)[:, 0, 0, 0]):
        x, y = sheets.GAP + i // lines * across * wide + wide // 2, top + i % lines * (tile + sheets.GAP) + tile // 2
        assert pixels[y, x].tolist() == [value] * 3, i
    named = sheets.levels(tok, images, [f"n{i}" for i in range(count)])
    assert named.width > sheet.width and named.height == sheet.height


@pytest.mark.parametrize("kind", ["near", "any"])
def test_replaced_changes_one_group_only(model, kind):
    tok = open_tokenizer(model / "tokenizer")
    ids = torch.randint(24, (64, 16), generator=torch.Generator().manual_seed(0))
    noisy = reconstruction.replaced(tok, ids, 4, 8, kind, torch.Generator().manual_seed(1))
    assert torch.equal(noisy[:, :4], ids[:, :4]) and torch.equal(noisy[:, 8:], ids[:, 8:])
    same = (noisy[:, 4:8] == ids[:, 4:8]).float().mean()
    assert same == 0 if kind == "near" else same < 0.15
    assert noisy.min() >= 0 and noisy.max() < 24


def test_correction_of_a_corrective_tokenizer_gains():
    """A fake whose later tokens can correct any earlier one: the brightness is the sum of the codes."""

    class Sums:
        class numbers:
            count, group, causal, codes, size = 8, 2, 2, 5, 8

        class quantize:
            class embedding:
                weight = torch.arange(5.0)[:, None]

            @staticmethod
            def rows():
                return torch.arange(5.0)[:, None]

            @staticmethod
            def nearest(z, k):
                return (z - torch.arange(5.0)).abs().argsort(dim=-1, stable=True)[..., :k]

        class refine_conv:
            weight = torch.ones(1)

        def encode(self, x):
            total = (((x[:, 0, 0, 0] + 1) / 2) * 32).round().long()
            return None, torch.stack([(total + 7 - i) // 8 for i in range(8)], 1)

        def decode(self, ids, size):
            return (ids.sum(1) / 16.0 - 1)[:, None, None, None].expand(-1, 3, size, size)

        def correct(self, x, noisy, first):
            want = self.encode(x)[1].sum(1) - noisy[:, :first].sum(1)
            out = noisy.clone()
            for i in range(first, 8):
                out[:, i] = want.clamp(0, 4)
                want = want - out[:, i]
            return out

    images = (torch.arange(8, 24) / 32.0)[:, None, None, None].expand(-1, 3, 8, 8)
    c = reconstruction.correction(Sums(), images, 0)
    assert c["clean"] == pytest.approx(100) and c["trained"]
    for kind in ("near", "any"):
        groups = c["noise"][kind]["groups"]
        assert [g["tokens"] for g in groups] == [[0, 1], [2, 3], [4, 5]]
        assert c["noise"][kind]["noisy"] < 50 < groups[0]["repaired"] and c["noise"][kind]["gain"] > 10


def test_generate_uses_consecutive_seeds(model):
    ar = open_transformer(model / "ar")
    sampling = {"guidance": 1.5, "temperature": 1.0, "top_k": 0, "top_p": 1.0, "gradual": False}
    ids, classes = generation.generate(ar, 3, sampling, 7)
    assert classes.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3] and ids.shape == (12, 16)
    later, _ = generation.generate(ar, 2, sampling, 8)
    assert torch.equal(ids.view(4, 3, 16)[:, 1:], later.view(4, 2, 16))
    assert not torch.equal(ids, generation.generate(ar, 3, sampling, 17)[0])


# ---------------------------------------------------------------- from end to end
def test_evaluation_of_two_models_writes_a_report(measured, data):
    content, out = measured
    assert json.loads((out / "report.json").read_text()) == json.loads(json.dumps(content))
    assert content["data"]["training"] == 84 and content["data"]["held_out"] == 4
    assert len(content["models"]) == 2 and {row["best"] for row in content["comparison"]} >= {0, 1}
    for model in content["models"]:
        g = model["generation"]
        assert g["samples"] == 12 and g["seeds"] == [7, 9]
        counts = np.array(g["confusion"]["counts"])
        assert (counts.sum(1) == 3).all() and g["classes"]["accuracy"] == pytest.approx(np.trace(counts) / 12)
        assert g["training"]["frechet"] > 0 and 0 <= g["training"]["precision"] <= 1
        groups = g["near_copies"]["pixels"]["groups"]
        assert groups["samples"]["pictures"] == 12 and groups["held-out files"]["pictures"] == 4
        for file in model["sheets"].values():
            with Image.open(out / file) as sheet:
                assert min(sheet.size) > 60
    text = (out / "report.md").read_text()
    assert content["models"][0]["reconstruction"]["held_out_searched"]["effort"] == 1
    for words in (
        "encoded with a search",
        "not Inception",
        "Against 1",
        "Near-copy",
        "PSNR",
        "shuffled",
        "seeds 7..9",
        "**",
        "disc",
    ):
        assert words in text, words


def test_evaluation_says_which_figures_depend_on_the_tokenizer(measured):
    content, out = measured
    ids = [model["about"]["tokenizer_id"] for model in content["models"]]
    assert ids[0] != ids[1]
    rows = {row["figure"]: row for row in content["comparison"]}
    for name, row in rows.items():
        depends = name.startswith(("near-copies", "gain of self", "perplexity", "variation: later", "within the wide"))
        assert row["of_tokenizer"] == depends and not (depends and row["best"] is not None), name
    text = (out / "report.md").read_text()
    assert "| near-copies by pixels † (less is better) |" in text and "| class accuracy of samples (more" in text
    note = "cannot be compared between models of different tokenizers, as these are: "
    assert note + f"this `{ids[0]}`, against 1 `{ids[1]}`." in text
    assert "near-copies by pixels †" in report.summary(content) and note in report.summary(content)


def test_comparison_of_models_of_one_tokenizer_has_a_best_in_every_figure(measured):
    content, _ = measured
    a, b = (json.loads(json.dumps(model)) for model in content["models"])
    b["about"]["tokenizer_id"] = a["about"]["tokenizer_id"]
    gains = [model["correction"]["noise"]["near"] for model in (a, b)]
    gains[0]["gain"], gains[1]["gain"] = 1.0, 2.0
    rows = {row["figure"]: row for row in report.compare([a, b])}
    assert rows["gain of self-correction, near codes, dB"]["best"] == 1
    # A level of another number of tokens is another level.
    level = next(row for row in b["reconstruction"]["held_out"]["levels"] if row["size"] == 16)
    name = "PSNR of held-out files at 16 px, dB"
    assert not rows[name]["of_tokenizer"]
    level["tokens"] += 1
    b["about"]["tokenizer_id"] = "another"
    row = next(row for row in report.compare([a, b]) if row["figure"] == name)
    assert row["of_tokenizer"] and row["best"] is None


def test_evaluation_is_deterministic_and_reuses_the_classifier(measured, data, model, capsys):
    content, out = measured
    told = []
    again = evaluate.run(
        model / "tokenizer",
        model / "ar",
        data,
        out.parent / "again",
        samples=3,
        guidance=1.5,
        temperature=1.0,
        seed=7,
        threads_given=1,
        settings=SETTINGS,
        keep=out,
        say=told.append,
    )
    assert again["models"][0]["generation"] == content["models"][0]["generation"]
    assert not [line for line in told if "classifier" in line]
    assert capsys.readouterr().err == "threads: 1 (--threads)\n"
    assert not list((out.parent / "again").glob("classifier*"))


def test_evaluation_labels_file_maps_classes_to_the_data(measured, data, model):
    """The other model's first class is the data's last."""
    pair = evaluate.Measured(model / "tokenizer", model / "ar").match_classes(NAMES)
    assert pair.to_data.tolist() == [0, 1, 2, 3]
    labels = data.parent / "names.txt"
    labels.write_text("void\nstripe\nframe\ndisc\n")
    assert evaluate.Measured(model / "tokenizer", model / "ar", labels_file=labels).match_classes(
        NAMES
    ).to_data.tolist() == [3, 2, 1, 0]
    labels.write_text("void\nstripe\nframe\ntroll\n")
    with pytest.raises(Refused, match="troll"):
        evaluate.Measured(model / "tokenizer", model / "ar", labels_file=labels).match_classes(NAMES)
    with pytest.raises(Refused, match="4 classes, and the data has 3"):
        evaluate.Measured(model / "tokenizer", model / "ar").match_classes(NAMES[:3])


def test_evaluation_of_mismatched_models_is_refused(data, model, tmp_path):
    other = checkpoint(tmp_path / "other", count=8)
    with pytest.raises(Refused, match="its tokens"):
        evaluate.run(model / "tokenizer", other / "ar", data, tmp_path / "out")
    small = checkpoint(tmp_path / "small", channels=3)
    with pytest.raises(Refused, match="3 channels"):
        evaluate.run(
            model / "tokenizer", model / "ar", data, tmp_path / "out", against=[(small / "tokenizer", small / "ar")]
        )
    one = tmp_path / "one"
    (one / "disc").mkdir(parents=True)
    Image.fromarray(draw("disc", np.random.default_rng(0))).save(one / "disc" / "a.png")
    with pytest.raises(Refused, match="held-out"):
        evaluate.run(model / "tokenizer", model / "ar", one, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_evaluation_command_line_checks_its_options(data, model, tmp_path, capsys):
    parser = cli.parser()
    needed = [
        "train",
        "evaluate",
        "--tokenizer",
        str(model / "tokenizer"),
        "--ar",
        str(model / "ar"),
        "--data",
        str(data),
        "--out",
        str(tmp_path / "out"),
    ]
    options = parser.parse_args([*needed, "--samples", "1", "--top-k", "3", "--against", "a", "b", "--threads", "2"])
    assert options.threads == 2 and parser.parse_args(needed).threads is None
    assert options.against == [["a", "b"]] and options.top_k == 3 and options.guidance == 1.5
    for wrong in (["--samples", "0"], ["--top-p", "0"], ["--temperature", "-1"], ["--guidance", "much"]):
        with pytest.raises(SystemExit):
            parser.parse_args([*needed, *wrong])
    assert "a number above 0" in capsys.readouterr().err
    assert metrics.spread([1.0, 2.0, 3.0])["median"] == 2.0

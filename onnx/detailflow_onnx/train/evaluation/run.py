"""`train evaluate`: how good a tokenizer and an autoregressive model are, in figures and on sheets.

Reconstruction of held-out files and of training files at every level; what self-correction repairs; samples of every class
beside the data: distances, class accuracy, precision and recall, and which training picture each is nearest to. The feature
space is that of `classifier`, trained on the same data: figures in it compare models measured with the same classifier.

Pictures are float tensors [n, C, S, S] in 0..1, premultiplied where C is 4, unless it says otherwise."""

import math
import sys
from pathlib import Path

import numpy as np
import torch

from detailflow_onnx.checkpoint import published as checkpoint
from detailflow_onnx import labels
from detailflow_onnx import __version__
from detailflow_onnx.errors import need
from detailflow_onnx.train.evaluation import classifier as judge
from detailflow_onnx.train.data import feed
from detailflow_onnx.train.evaluation import metrics
from detailflow_onnx.train import recipe
from detailflow_onnx.train.evaluation import report
from detailflow_onnx.train import sheets
from detailflow_onnx.train.data.folder import open_folder
from detailflow_onnx.train.models.tokenizer import ladder_of, levels_of, open_tokenizer
from detailflow_onnx.train.models.transformer import open_transformer

SAMPLES = 50  # of each class
TURNS = 12  # hue angles under which a nearest picture is sought, each with and without a flip
MOST = 20000  # pictures of a split that are looked at; of more, as many evenly spaced ones
TRAINING = 400  # training pictures that are reconstructed at every level, beside all held-out ones
CORRECTED = 128  # held-out pictures in which a group is replaced
COPIES = 250  # training pictures that are turned and reconstructed, to see whether the search finds them
NEAR = 50  # nearest codes, one of which stands for another: the noise of training
SHOWN = 42  # held-out pictures on a sheet
ACROSS = 14  # samples of a class on a sheet


# ---------------------------------------------------------------- pictures in and out of models
def batches(call, *columns, batch=128):
    """`call` on slices of the tensors, its answers joined."""
    return torch.cat([call(*part) for part in zip(*(column.split(batch) for column in columns))])


def encoded(tok, images):
    """Ids [n, N]."""
    return batches(lambda x: tok.encode(2 * x - 1)[1], images)


def decoded(tok, ids, size):
    """Pictures of the first t ids [n, t], cut off at 0 and 1."""
    return batches(lambda part: ((tok.decode(part, size) + 1) / 2).clamp(0, 1), ids)


def evenly(count, most):
    """At most `most` of 0..count-1, evenly spaced."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64)) if count else np.zeros(0, np.int64)


def turned(images, angle):
    """Pictures with their hue turned by `angle` [n] radians, as in training."""
    colour, alpha = images[:, :3], images[:, 3:]
    if not alpha.shape[1]:
        return feed.turned(colour, angle)
    straight = (colour / alpha.clamp(min=1e-6)).clamp(0, 1)
    return torch.cat([feed.turned(straight, angle) * alpha, alpha], 1)


class Split:
    """Pictures of one side of the data, in memory: `images`, `labels` [n], `paths`, `weights` [n] (each class counts alike)."""

    def __init__(self, pictures, most=MOST):
        at = evenly(len(pictures), most)
        self.images = torch.cat([judge.prepared(pictures, at[i : i + 512]) for i in range(0, len(at), 512)])
        self.labels, self.paths = np.asarray(pictures.labels)[at], [pictures.paths[i] for i in at]
        self.weights = metrics.balanced(self.labels)

    def __len__(self):
        return len(self.labels)

    def look(self, eye):
        """Keeps what the classifier says of all of them."""
        self.features, self.seen = eye.look(self.images)
        return self


# ---------------------------------------------------------------- the tokenizer
def _mean(values):
    return float(np.mean(values))


def _pair(want, got):
    return {"psnr": _mean(metrics.psnr(want, got)), "ssim": _mean(metrics.ssim(want, got))}


def reconstruction(tok, images, seed):
    """Figures of pictures made from their own tokens.

    `levels`: at each size, of the picture resized to it; `shuffled` is what the same number of a picture's tokens in an order
    of chance gives there. `prefixes`: each prefix, its picture resized up to S, beside the whole picture."""
    size, ids = tok.numbers.size, encoded(tok, images)
    order = torch.rand(ids.shape, generator=torch.Generator().manual_seed(seed)).argsort(1)
    shuffled = ids.gather(1, order)
    by_level, by_prefix, before, best = [], [], 0, levels_of(tok.numbers)
    for row in ladder_of(tok.numbers):
        side, tokens = row["size"], row["tokens"]
        got = decoded(tok, ids[:, :tokens], side)
        by_prefix.append(dict(row) | _pair(images, metrics.resized(got, size)))
        if best.get(side) != tokens:
            continue
        want, other = metrics.resized(images, side), decoded(tok, shuffled[:, :tokens], side)
        entry = {"size": side, "tokens": tokens} | _pair(want, got) | {"shuffled_psnr": _mean(metrics.psnr(want, other))}
        by_level.append(entry | {"codes": metrics.code_use(ids[:, before:tokens])})
        before = tokens
    return {
        "pictures": len(images), "psnr": by_level[-1]["psnr"], "ssim": by_level[-1]["ssim"], "levels": by_level, "prefixes": by_prefix,
        "codes": metrics.code_use(ids) | {"of": tok.numbers.codes, "by_position": [metrics.code_use(column) for column in ids.T]},
    }  # fmt: skip


def replaced(tok, ids, start, end, kind, generator):
    """Ids with those at start..end-1 replaced by chance: `near`, one of the 50 nearest codes but not itself; `any`, one of all."""
    out, part, codes = ids.clone(), ids[:, start:end], tok.numbers.codes
    if kind == "any":
        out[:, start:end] = torch.randint(codes, part.shape, generator=generator)
        return out
    near = tok.quantize.nearest(tok.quantize.rows()[part], min(NEAR + 1, codes))
    pick = torch.randint(1, near.shape[-1], (*part.shape, 1), generator=generator) if codes > 1 else torch.zeros(*part.shape, 1, dtype=torch.int64)
    out[:, start:end] = near.gather(-1, pick).squeeze(-1)
    return out


def corrects(tok):
    """Whether a tokenizer was trained to correct itself: its weights for given codes are there."""
    return bool(tok.refine_conv.weight.any())


@torch.no_grad()
def correction(tok, images, seed):
    """What later tokens repair when one group is replaced by noise: PSNR of the whole picture without noise, with noise and the
    old later tokens, with noise and the later tokens that the encoder gives in sight of it. Groups that have later ones."""
    numbers, ids = tok.numbers, encoded(tok, images)
    size, out = numbers.size, {"trained": corrects(tok), "pictures": len(images), "clean": None, "noise": {}}
    out["clean"] = _mean(metrics.psnr(images, decoded(tok, ids, size)))
    for kind in ("near", "any"):
        generator, rows = torch.Generator().manual_seed(seed), []
        for start in range(0, numbers.count - numbers.group, numbers.group):
            end = start + numbers.group
            noisy = replaced(tok, ids, start, end, kind, generator)
            repaired = batches(lambda x, i: tok.correct(2 * x - 1, i, end), images, noisy)
            old, new = (_mean(metrics.psnr(images, decoded(tok, i, size))) for i in (noisy, repaired))
            rows.append({"tokens": [start, end - 1], "noisy": old, "repaired": new})
        if rows:
            means = {key: _mean([row[key] for row in rows]) for key in ("noisy", "repaired")}
            out["noise"][kind] = means | {"gain": means["repaired"] - means["noisy"], "groups": rows}
    return out


# ---------------------------------------------------------------- samples
def draw(ar, samples, sampling, seed):
    """(ids [n, N], classes [n]): `samples` of each class, class by class. Call i draws one of every class, with seed + i."""
    every = torch.arange(ar.numbers.classes)
    ids = torch.stack([torch.cat([ar.generate(part, seed=seed + i, **sampling) for part in every.split(64)]) for i in range(samples)], 1)
    return ids.flatten(0, 1), every.repeat_interleave(samples)


def variants():
    """Functions of a batch of pictures: all hue angles, each with and without a flip; the picture itself is first."""

    def one(angle, flip):
        def turn(x):
            x = turned(x, torch.full((len(x),), angle)) if angle else x
            return x.flip(-1) if flip else x

        return turn

    angles = [2 * math.pi * i / TURNS for i in range(TURNS)]
    return [one(angle, flip) for flip in (False, True) for angle in angles]


def _class_figures(seen, truth, classes):
    """Accuracy of `seen` [n, classes], where each class that occurs counts alike, and its parts."""
    hits, three = judge.accuracy(seen, truth), judge.accuracy(seen, truth, 3)
    weights = metrics.balanced(truth)
    by_class = {classes[k]: float(hits[truth == k].mean()) for k in np.unique(truth)}
    return {"accuracy": float(weights @ hits), "top_3": float(weights @ three), "by_class": by_class}


def _distances(a, b, seed):
    """Of two sets with `features` and `weights`; None where one has fewer than two pictures."""
    if min(len(a.features), len(b.features)) < 2:
        return None
    sets = a.features, b.features, a.weights, b.weights
    precision, recall = metrics.precision_recall(b.features, a.features, b.weights, a.weights)
    return {"frechet": metrics.frechet(*sets), "kernel": metrics.kernel_distance(*sets, seed=seed), "precision": precision, "recall": recall}


class Seen:
    """A set of pictures in the classifier's eyes."""

    def __init__(self, eye, images, truth):
        self.images, self.labels = images, np.asarray(truth)
        self.features, self.seen = eye.look(images)
        self.weights = metrics.balanced(self.labels)


class Searches:
    """The nearest training pictures of any pictures, in two spaces: `pixels` and `features`.

    A training picture's own distance is that from its reconstruction by the tokenizer: a sample that is as near to a file
    as the file's own reconstruction is a near-copy of it."""

    def __init__(self, eye, tok, train):
        self.variants = variants()
        again = decoded(tok, encoded(tok, train.images), tok.numbers.size)
        self.embeds = {"pixels": metrics.as_rows, "features": lambda x: eye.look(x)[0]}
        self.files = {"pixels": metrics.as_rows(train.images), "features": train.features}
        self.own = {space: np.linalg.norm(embed(again) - self.files[space], axis=1) for space, embed in self.embeds.items()}

    def of(self, images):
        return {space: metrics.nearest(images, self.files[space], self.own[space], self.variants, embed) for space, embed in self.embeds.items()}


def _known_copies(tok, images, seed):
    """Training pictures turned, flipped and reconstructed: what a copy out of the model's memory looks like."""
    generator = torch.Generator().manual_seed(seed)
    r = torch.rand(len(images), 2, generator=generator)
    x = turned(images, 2 * math.pi * r[:, 0])
    x = torch.where((r[:, 1] < 0.5)[:, None, None, None], x.flip(-1), x)
    return decoded(tok, encoded(tok, x), tok.numbers.size)


def near_copies(searches, groups, copies):
    """{space: {threshold, found, group: {share, share_wide, distance, ratio}}} of named groups of `Searches.of` answers; `copies` are
    those of known copies. The threshold is a ratio to the own distance: 1, and the wide one under which 95 % of known
    copies lie."""
    out = {}
    for space in searches.own:
        known = copies[space].ratio
        wide = max(1.0, float(np.percentile(known, 95)))
        entry = {"own_distance": metrics.spread(searches.own[space]), "wide": wide, "known_copies_found": float((known <= 1).mean()), "groups": {}}
        for name, found in groups.items():
            d = found[space]
            entry["groups"][name] = {
                "pictures": len(d), "share": float((d.ratio <= 1).mean()), "share_wide": float((d.ratio <= wide).mean()),
                "distance": metrics.spread(d.distance), "ratio": metrics.spread(d.ratio),
            }  # fmt: skip
        out[space] = entry
    return out


def generation(model, eye, train, held, *, samples, sampling, seed):
    """(figures, what the sheets need) of samples beside the data."""
    tok, size, names = model.tok, model.tok.numbers.size, model.names
    ids, drawn = draw(model.ar, samples, sampling, seed)
    made = Seen(eye, decoded(tok, ids, size), model.to_data[drawn.numpy()])
    again = Seen(eye, decoded(tok, encoded(tok, held.images), size), held.labels)
    searches = Searches(eye, tok, train)
    found = searches.of(made.images)
    groups = {"samples": found, "held-out files": searches.of(held.images), "held-out files, reconstructed": searches.of(again.images)}
    copies = searches.of(_known_copies(tok, train.images[evenly(len(train), COPIES)], seed))
    best = made.seen.argmax(1)
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (made.labels, best), 1)
    figures = {
        "samples": len(ids), "of_each_class": samples, "seeds": [seed, seed + samples - 1], "sampling": sampling,
        "different_token_sequences": len({tuple(row) for row in ids.tolist()}),
        "held_out": _distances(made, held, seed), "training": _distances(made, train, seed),
        "baseline": {
            "held-out files beside training files": _distances(held, train, seed),
            "held-out files, reconstructed, beside held-out files": _distances(again, held, seed),
        },
        "classes": _class_figures(made.seen, made.labels, names),
        "classes_of_files": _class_figures(held.seen, held.labels, names),
        "classes_of_reconstructions": _class_figures(again.seen, again.labels, names),
        "confusion": {"classes": names, "counts": confusion.tolist()},
        "near_copies": near_copies(searches, groups, copies),
    }  # fmt: skip
    return figures, (made, found)


# ---------------------------------------------------------------- sheets
def _bytes(images):
    return sheets.to_bytes(2 * images - 1)


def _level_sheet(tok, held, names):
    """Held-out pictures, evenly spaced over the classes, beside their reconstructions at every level."""
    order = np.argsort(held.labels, kind="stable")
    at = order[evenly(len(order), SHOWN)]
    return sheets.levels(tok, 2 * held.images[at] - 1, [names[k] for k in held.labels[at]])


def _sample_sheet(made, names, order, samples):
    """The first samples of each class, in the order of their seeds."""
    across = min(samples, ACROSS)
    images = _bytes(made.images).reshape(-1, samples, *_bytes(made.images[:1]).shape[1:])[:, :across]
    return sheets.grid(images.reshape(-1, *images.shape[2:]), across, sheets.scale_of(images.shape[2]), rows=[names[k] for k in order])


def _nearest_sheet(made, found, train, names, at):
    """Samples `at`, each beside its nearest training pictures."""
    shown = [_bytes(made.images[at])]
    for space in ("pixels", "features"):
        shown += [_bytes(train.images[getattr(found[space], which)[at]]) for which in ("file", "copied")]
    cells = np.stack(shown, 1)
    heads = ["sample", "nearest", "by ratio", "features", "by ratio"]
    rows = [f"{names[made.labels[i]]} ({found['pixels'].ratio[i]:.2f}, {found['features'].ratio[i]:.2f})" for i in at]
    return sheets.grid(cells.reshape(-1, *cells.shape[2:]), len(shown), sheets.scale_of(cells.shape[2]), heads=heads, rows=rows)


# ---------------------------------------------------------------- the whole
class Measured:
    """One pair of models to measure. `names`: the data's classes; `to_data` [classes]: the data's number of each class."""

    def __init__(self, tokenizer_dir, ar_dir, labels_file=None):
        self.where = str(tokenizer_dir), str(ar_dir)
        self.tok, self.ar = open_tokenizer(tokenizer_dir), open_transformer(ar_dir)
        a, b = self.tok.numbers, self.ar.numbers
        same = (a.count, a.group, a.causal, a.codes) == (b.count, b.group, b.causal, b.codes)
        need(same, f"{ar_dir}: its tokens (count, group, causal, codes {b.count, b.group, b.causal, b.codes}) are not those of {tokenizer_dir} {a.count, a.group, a.causal, a.codes}")
        self.labels_file = labels_file or next((p for p in (Path(ar_dir) / "labels.txt", Path(ar_dir).resolve().parent / "labels.txt") if p.is_file()), None)

    def meet(self, names):
        """Finds the model's classes among the data's `names`."""
        count, self.names = self.ar.numbers.classes, list(names)
        if self.labels_file:
            own = labels.class_names(self.labels_file, count)
        else:
            need(len(names) == count, f"{self.where[1]}: {count} classes, and the data has {len(names)}; name the model's by --labels FILE or in a labels.txt beside it")
            own = names
        strange = [name for name in own if name not in names]
        need(not strange, f"{self.labels_file}: the class {(strange or [''])[0]!r} is not one of the data's ({', '.join(names[:30])})")
        self.to_data = np.array([self.names.index(name) for name in own])
        return self

    def about(self):
        numbers, arm = self.tok.numbers, self.ar.numbers.ar
        extra = Path(self.where[1]) / "config.yaml"
        noted = checkpoint.read_yaml(extra.read_text(encoding="utf-8", errors="replace")) if extra.is_file() else {}
        tokenizer, ar = (sum(p.numel() for p in module.parameters()) for module in (self.tok, self.ar))
        return {
            "tokenizer": self.where[0], "ar": self.where[1], "recipe_commit": noted.get("commit"), "size": numbers.size, "channels": numbers.channels,
            "tokens": numbers.count, "group": numbers.group, "causal": numbers.causal, "codes": numbers.codes,
            "tokenizer_parameters": tokenizer, "ar_parameters": ar, "ar_layers": arm.depth, "ar_width": arm.width,
        }  # fmt: skip


def _measure(model, eye, train, held, out, prefix, *, samples, sampling, seed, say):
    say(f"{model.where[0]}: reconstruction")
    figures = {"about": model.about(), "reconstruction": {}}
    for name, split, most in (("held_out", held, MOST), ("training", train, TRAINING)):
        figures["reconstruction"][name] = reconstruction(model.tok, split.images[evenly(len(split), most)], seed)
    figures["correction"] = correction(model.tok, held.images[evenly(len(held), CORRECTED)], seed)
    say(f"{model.where[1]}: {samples} samples of each of {len(model.to_data)} classes")
    figures["generation"], (made, found) = generation(model, eye, train, held, samples=samples, sampling=sampling, seed=seed)
    say(f"{model.where[0]}: sheets")
    names, first = model.names, np.arange(len(model.to_data)) * samples
    ranked = np.argsort(np.minimum(found["pixels"].ratio, found["features"].ratio), kind="stable")[: max(len(first), 12)]
    made_sheets = {
        "held-out": _level_sheet(model.tok, held, names), "samples": _sample_sheet(made, names, model.to_data, samples),
        "nearest": _nearest_sheet(made, found, train, names, first), "closest": _nearest_sheet(made, found, train, names, ranked),
    }  # fmt: skip
    figures["sheets"] = {}
    for name, sheet in made_sheets.items():
        sheet.save(out / f"{prefix}{name}.png")
        figures["sheets"][name] = f"{prefix}{name}.png"
    return figures


@torch.no_grad()
def run(
    tokenizer_dir, ar_dir, data_dir, out, *, samples=SAMPLES, guidance=1.5, temperature=1.0, top_k=0, top_p=1.0, gradual=False, seed=0, siblings=(),
    labels_file=None, keep=None, settings=None, say=lambda line: print(line, file=sys.stderr, flush=True),
):  # fmt: skip
    """Measure a pair of checkpoints on a data folder and write report.json, report.md and sheets into `out`; returns what
    report.json holds. `siblings`: (tokenizer, ar) folders that are measured beside it, with the same classifier, data, seeds
    and sampling. `keep`: where the classifier lies (default `out`); `settings` change its training."""
    out = Path(out)
    need(samples >= 1, f"{samples} samples of each class: 1 at least is needed")
    models = [Measured(tokenizer_dir, ar_dir, labels_file=labels_file), *(Measured(*pair) for pair in siblings)]
    numbers = models[0].tok.numbers
    for other in models[1:]:
        theirs = other.tok.numbers
        need((theirs.size, theirs.channels) == (numbers.size, numbers.channels), f"{other.where[0]}: pictures of {theirs.size} px and {theirs.channels} channels; {tokenizer_dir} has {numbers.size} px and {numbers.channels}")
    own = Path(tokenizer_dir) / "recipe.yaml"  # says what was held out
    share = recipe.read(own).data.held_out if own.is_file() else recipe.Data.held_out
    folder = open_folder(data_dir, size=numbers.size, channels=numbers.channels, held_out=share)
    need(len(folder.held_out), f"{data_dir}: no held-out pictures to measure on")
    for model in models:
        model.meet(folder.classes)
    out.mkdir(parents=True, exist_ok=True)
    with torch.enable_grad():
        eye, about_eye = judge.classifier(folder, numbers.channels, keep or out, settings=settings, say=say)
    train, held = (Split(pictures).look(eye) for pictures in (folder.train, folder.held_out))
    sampling = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p, "gradual": gradual}
    common = {"samples": samples, "sampling": sampling, "seed": seed, "say": say}
    prefixes = ["", *(f"against-{i}-" for i in range(1, len(models)))]
    content = {
        "version": __version__, "seed": seed,
        "data": {"folder": str(data_dir), "classes": list(folder.classes), "training": len(folder.train), "held_out": len(folder.held_out),
                 "measured": {"training": len(train), "held_out": len(held)}, "bad_files": len(folder.bad)},
        "classifier": about_eye,
        "models": [_measure(model, eye, train, held, out, prefix, **common) for model, prefix in zip(models, prefixes)],
    }  # fmt: skip
    return report.write(content, out)


def main(options):
    """The command. Exit status 0; what cannot be done is a `Refused`."""
    content = run(
        options.tokenizer, options.ar, options.data, options.out, samples=options.samples, guidance=options.guidance, temperature=options.temperature,
        top_k=options.top_k, top_p=options.top_p, gradual=options.gradual, seed=options.seed, siblings=options.against, labels_file=options.labels,
        keep=options.classifier,
    )  # fmt: skip
    print(report.summary(content))
    print(f"{Path(options.out) / 'report.md'}")
    return 0

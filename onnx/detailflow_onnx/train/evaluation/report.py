"""report.json and report.md of an evaluation: the same figures, for programs and for people."""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from detailflow_onnx.output import write_text

Content = dict[str, Any]  # of report.json, or of one of its models

DEFINITIONS = """\
- **PSNR**: mean over pictures of 10 log10(1 / mse); mse over all pixels and channels of premultiplied RGBA (or RGB) in
  0..1, at least 1e-10. **SSIM**: Gaussian window of 7 pixels (deviation 1.5), mean over positions, channels and
  pictures. Decoded values are clipped to 0..1.
- **Level**: one of the decode sizes at t >= c, with the largest t of that size. A level is compared with the picture
  resized to its size (bilinear, antialiased, premultiplied); a **prefix** is resized up to the full size and compared
  with the full picture. **Shuffled**: the same number of the picture's own tokens in random order, decoded at the same
  size.
- **Code use**: how many codes occur, and the perplexity of their frequencies. Both are bounded by the number of tokens
  measured.
- **Self-correction**: one group of codes is replaced, each code by one of its 50 nearest (`near`, the noise of
  training) or by any code (`any`); the later tokens are the old ones, or those that the encoder gives after the noisy
  prefix. Mean over all groups but the last.
- **Fréchet** and **kernel distance** (unbiased, kernel (x.y/d + 1)^3, mean and deviation over 50 random subsets),
  **precision** and **recall** (manifolds of 3 nearest neighbours) are computed in the feature space of the classifier
  below, which was trained on this data. **It is not Inception**: compare only models measured with the same classifier,
  data and counts. Classes are weighted so that each counts the same.
- **Class accuracy**: how often the classifier gives a sample the requested class; all classes count the same. The
  accuracy on held-out files is an upper bound.
- **Near-copy**: a sample whose distance from a training file is at most that of the file's own reconstruction by the
  tokenizer (ratio of the two distances at most 1), searched under 12 hue angles and flips; by pixels (root mean squared
  difference, 0..1) and by features (Euclidean). `known copies` are training files, hue-rotated, flipped and
  reconstructed: the share of them that the search finds says how reliable it is, and 95 % of them lie below the wide
  ratio. Held-out files are the baseline: they are not copies, and are close to training files where the data repeats
  itself.
- **Distinct**: of up to 100 samples of a class, finished (alpha cut at 110, 16 colours in OKLab), the share that
  differs from each one counted before by a root mean squared difference of premultiplied pixels above 0.04; mean over
  classes.
  **Exact copies**: finished samples that are equal to an earlier one or to a finished training file.
- **Variation**: the tokens of the coarsest level are kept and the later ones sampled again: the share of later tokens
  and of finished pixels that change, and the class accuracy of these pictures.
- **Wrap step**: of classes whose tiles repeat, the mean step between opposite edges divided by the mean inner step;
  median over pictures.
"""

SHEETS = {
    "held-out": "held-out files beside their reconstructions at every level",
    "samples": "samples of every class, the first seeds, not selected",
    "nearest": "the first sample of each class beside the nearest training files, by pixels and by features "
    "(in brackets the two ratios)",
    "closest": "the samples closest to a training file",
}


MARK = "†"  # of figures that depend on the tokenizer


def _get(content: Any, *path: str) -> Any:
    for key in path:
        if content is None:
            return None
        content = content[key]
    return content


# Measured on request.
SEARCHED = "PSNR of held-out files, encoded with a search, dB"
# (title, path into the figures of a model, whether more is better, format)
Row = tuple[str, tuple[str, ...] | int, bool, str]
FIGURES: list[Row] = [
    ("PSNR of held-out files, dB", ("reconstruction", "held_out", "psnr"), True, ".2f"),
    (SEARCHED, ("reconstruction", "held_out_searched", "psnr"), True, ".2f"),
    ("SSIM of held-out files", ("reconstruction", "held_out", "ssim"), True, ".4f"),
    ("PSNR of training files, dB", ("reconstruction", "training", "psnr"), True, ".2f"),
    ("perplexity of codes, held-out files", ("reconstruction", "held_out", "codes", "perplexity"), True, ".1f"),
    ("Fréchet distance to held-out files", ("generation", "held_out", "frechet"), False, ".2f"),
    ("Fréchet distance to training files", ("generation", "training", "frechet"), False, ".2f"),
    ("kernel distance to held-out files", ("generation", "held_out", "kernel", "mean"), False, ".4f"),
    ("kernel distance to training files", ("generation", "training", "kernel", "mean"), False, ".4f"),
    ("class accuracy of samples", ("generation", "classes", "accuracy"), True, ".3f"),
    ("top-3 class accuracy of samples", ("generation", "classes", "top_3"), True, ".3f"),
    ("precision (held-out)", ("generation", "held_out", "precision"), True, ".3f"),
    ("recall (held-out)", ("generation", "held_out", "recall"), True, ".3f"),
    ("precision (training)", ("generation", "training", "precision"), True, ".3f"),
    ("recall (training)", ("generation", "training", "recall"), True, ".3f"),
    ("near-copies by pixels", ("generation", "near_copies", "pixels", "groups", "samples", "share"), False, ".3f"),
    ("near-copies by features", ("generation", "near_copies", "features", "groups", "samples", "share"), False, ".3f"),
    (
        "within the wide ratio of a copy, pixels",
        ("generation", "near_copies", "pixels", "groups", "samples", "share_wide"),
        False,
        ".3f",
    ),
    ("exact copies, finished", ("generation", "exact_copies"), False, ".3f"),
    ("distinct samples of a class, finished", ("generation", "variety", "distinct"), True, ".3f"),
    ("variation: later tokens that change", ("generation", "variety", "variation", "tokens"), True, ".3f"),
    ("variation: pixels that change", ("generation", "variety", "variation", "pixels"), True, ".3f"),
    ("variation: class accuracy", ("generation", "variety", "variation", "accuracy"), True, ".3f"),
    ("gain of self-correction, near codes, dB", ("correction", "noise", "near", "gain"), True, ".2f"),
    ("gain of self-correction, any codes, dB", ("correction", "noise", "any", "gain"), True, ".2f"),
]


# Figures that measure against the tokenizer's own codes, groups or errors: the same value of another tokenizer means
# something else.
OF_TOKENIZER = {
    "perplexity of codes, held-out files",
    "near-copies by pixels",
    "near-copies by features",
    "within the wide ratio of a copy, pixels",
    "variation: later tokens that change",
    "gain of self-correction, near codes, dB",
    "gain of self-correction, any codes, dB",
}


def _value(model: Content, path: tuple[str, ...]) -> Any:
    try:
        return _get(model, *path)
    except KeyError:
        return None  # a model with one group has no later tokens to correct


def _rows(models: Sequence[Content]) -> list[Row]:
    """The figures, and the PSNR of each level that all models have: its path is the size."""
    sizes = [{row["size"] for row in model["reconstruction"]["held_out"]["levels"]} for model in models]
    by_level: list[Row] = []
    for size in sorted(set.intersection(*sizes))[:-1]:
        by_level.append((f"PSNR of held-out files at {size} px, dB", size, True, ".2f"))
    is_searched = any("held_out_searched" in model["reconstruction"] for model in models)
    rest = [row for row in FIGURES[1:] if is_searched or row[0] != SEARCHED]
    return FIGURES[:1] + by_level + rest


def compare(models: Sequence[Content]) -> list[Content]:
    """[{figure, more_is_better, values, of_tokenizer, best}].

    `of_tokenizer`: the figure depends on the tokenizer, so that models of different tokenizers cannot be compared by
    it. `best` is the index of the best model, None on a tie, if a value is missing or if they cannot be compared.
    """
    out = []
    same_tokenizer = len({model["about"]["tokenizer_id"] for model in models}) == 1
    for what, path, more, style in _rows(models):
        if isinstance(path, int):
            every = [model["reconstruction"]["held_out"]["levels"] for model in models]
            rows = [next(row for row in levels if row["size"] == path) for levels in every]
            values = [row["psnr"] for row in rows]
            of_tokenizer = len({row["tokens"] for row in rows}) > 1  # the level holds more tokens in one of them
        else:
            values = [_value(model, path) for model in models]
            of_tokenizer = what in OF_TOKENIZER
        best = None
        if len(models) > 1 and None not in values and (same_tokenizer or not of_tokenizer):
            order = sorted(values, reverse=more)
            best = values.index(order[0]) if order[0] != order[1] else None
        row = {"figure": what, "more_is_better": more, "values": values, "of_tokenizer": of_tokenizer, "best": best}
        out.append(row | {"format": style})
    return out


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = ["| " + " | ".join(map(str, heads)) + " |", "|" + "---|" * len(heads)]
    return "\n".join(lines + ["| " + " | ".join(map(str, row)) + " |" for row in rows])


def _text(value: float | None, style: str = ".3f") -> str:
    return "-" if value is None else format(value, style)


def _comparison(content: Content) -> str:
    models, rows = content["models"], []
    for row in content["comparison"]:
        cells = [_text(value, row["format"]) for value in row["values"]]
        if row["best"] is not None:
            cells[row["best"]] = f"**{cells[row['best']]}**"
        mark = f" {MARK}" if row["of_tokenizer"] else ""
        rows.append([f"{row['figure']}{mark} ({'more' if row['more_is_better'] else 'less'} is better)", *cells])
    heads = ["figure", "this"] + [f"against {i}" for i in range(1, len(models))]
    return f"{_table(heads, rows)}\n\n{_marked(models)}"


def _marked(models: Sequence[Content]) -> str:
    """What the mark means, and for which of these models."""
    text = (
        f"{MARK} depends on the tokenizer (its codes, its groups, the tokens of a level, or the error of its "
        "reconstructions), so it cannot be compared between models of different tokenizers"
    )
    ids = [model["about"]["tokenizer_id"] for model in models]
    if len(set(ids)) > 1:
        names = ["this", *(f"against {i}" for i in range(1, len(ids)))]
        text += ", as these are: " + ", ".join(f"{name} `{id_}`" for name, id_ in zip(names, ids))
    elif len(ids) > 1:
        text += "; these have the same"
    return text + "."


def _about(model: Content) -> str:
    a = model["about"]
    ar = f"({a['ar_layers']} layers, width {a['ar_width']}, {a['ar_parameters'] / 1e6:.1f} M)"
    commit = f", recipe of commit {a['recipe_commit']}" if a["recipe_commit"] else ""
    return (
        f"Tokenizer `{a['tokenizer']}` ({a['tokenizer_parameters'] / 1e6:.1f} M parameters), "
        f"AR model `{a['ar']}` {ar}{commit}. Pictures of {a['size']} px, {a['channels']} channels; "
        f"{a['tokens']} tokens, groups of {a['group']}, the first {a['causal']} one by one, {a['codes']} codes."
    )


def _reconstruction(model: Content) -> str:
    parts = []
    for split, what in (("held_out", "Held-out files"), ("training", "Training files")):
        r = model["reconstruction"][split]
        rows = [
            [
                e["size"],
                e["tokens"],
                f"{e['psnr']:.2f}",
                f"{e['shuffled_psnr']:.2f}",
                f"{e['ssim']:.4f}",
                e["codes"]["distinct"],
                f"{e['codes']['perplexity']:.1f}",
            ]
            for e in r["levels"]
        ]
        codes = r["codes"]
        used = f"{codes['distinct']} of {codes['of']}, perplexity {codes['perplexity']:.1f}"
        new = ["codes of its new tokens", "perplexity"]
        parts += [
            f"{what}, {r['pictures']} pictures. Codes in use: {used}.",
            _table(["level, px", "tokens", "PSNR, dB", "shuffled tokens, dB", "SSIM", *new], rows),
        ]
    held, train = (model["reconstruction"][split] for split in ("held_out", "training"))
    rows = [
        [a["tokens"], a["resolution"], a["size"], f"{a['psnr']:.2f}", f"{a['ssim']:.4f}", f"{b['psnr']:.2f}"]
        for a, b in zip(held["prefixes"], train["prefixes"])
    ]
    heads = ["tokens", "R(t)", "size, px", "PSNR, dB", "SSIM", "training files, dB"]
    parts += ["Each prefix, resized up and compared with the full picture:", _table(heads, rows)]
    searched = model["reconstruction"].get("held_out_searched")
    if searched:
        levels = zip(held["levels"], searched["levels"])
        cells = [[e["size"], e["tokens"], f"{e['psnr']:.2f}", f"{s['psnr']:.2f}"] for e, s in levels]
        parts += [
            f"Held-out files encoded with a search, effort {searched['effort']}:",
            _table(["level, px", "tokens", "encoder alone, dB", "with the search, dB"], cells),
        ]
    sources = model["reconstruction"].get("held_out_by_source") or {}
    if len(sources) > 1:
        sizes = [f"{e['size']} px, dB" for e in next(iter(sources.values()))["levels"]]
        cells = [[name, r["pictures"], *(f"{e['psnr']:.2f}" for e in r["levels"])] for name, r in sources.items()]
        parts += ["Held-out files by source:", _table(["source", "pictures", *sizes], cells)]
    rows = [
        [i, a["distinct"], f"{a['perplexity']:.1f}", b["distinct"], f"{b['perplexity']:.1f}"]
        for i, (a, b) in enumerate(zip(held["codes"]["by_position"], train["codes"]["by_position"]))
    ]
    heads = ["position", "held-out: codes", "perplexity", "training: codes", "perplexity"]
    parts += ["Codes at each position:", _table(heads, rows)]
    return "\n\n".join(parts)


def _correction(model: Content) -> str:
    c, rows = model["correction"], []
    for kind, entry in c["noise"].items():
        rows.append([kind, "all", f"{entry['noisy']:.2f}", f"{entry['repaired']:.2f}", f"{entry['gain']:+.2f}"])
        for g in entry["groups"]:
            gain = f"{g['repaired'] - g['noisy']:+.2f}"
            replaced = "{}..{}".format(*g["tokens"])
            rows.append([kind, replaced, f"{g['noisy']:.2f}", f"{g['repaired']:.2f}", gain])
    untrained = " The checkpoint has no weights of self-correction: the correction is that of an untrained model."
    trained = "" if c["trained"] else untrained
    heads = ["noise", "tokens replaced", "old later tokens, dB", "corrected, dB", "gain, dB"]
    table = _table(heads, rows) if rows else "The model has one group, so there are no later tokens."
    return f"{c['pictures']} held-out pictures; without noise {c['clean']:.2f} dB.{trained}\n\n{table}"


def _generation(model: Content) -> str:
    g, parts = model["generation"], []
    s = g["sampling"]
    guidance = f"guidance {s['guidance']:g}{' (gradual)' if s['gradual'] else ''}"
    how = f"{guidance}, temperature {s['temperature']:g}, top-k {s['top_k'] or 'off'}, top-p {s['top_p']:g}"
    parts.append(
        f"{g['samples']} samples, {g['of_each_class']} of each class, seeds {g['seeds'][0]}..{g['seeds'][1]} "
        f"(sample i of every class is generated in one call with the i-th seed), {how}. "
        f"Different token sequences: {g['different_token_sequences']}."
    )
    sets = [
        ("samples beside held-out files", g["held_out"]),
        ("samples beside training files", g["training"]),
        *g["baseline"].items(),
    ]
    rows = [
        [
            name,
            _text(d["frechet"], ".2f"),
            f"{d['kernel']['mean']:.4f} ± {d['kernel']['deviation']:.4f}",
            _text(d["precision"]),
            _text(d["recall"]),
        ]
        for name, d in sets
        if d
    ]
    parts.append(_table(["", "Fréchet", "kernel distance", "precision", "recall"], rows))
    kinds = [
        ("samples", g["classes"]),
        ("held-out files", g["classes_of_files"]),
        ("their reconstructions", g["classes_of_reconstructions"]),
    ]
    rows = [[name, f"{c['accuracy']:.3f}", f"{c['top_3']:.3f}"] for name, c in kinds]
    parts.append(_table(["class accuracy of", "first", "first three"], rows))
    names, counts = g["confusion"]["classes"], g["confusion"]["counts"]
    rows = []
    for k, name in enumerate(names):
        others = sorted(((n, j) for j, n in enumerate(counts[k]) if n and j != k), key=lambda p: (-p[0], p[1]))[:3]
        cells = [_text(c["by_class"].get(name), ".2f") for _, c in kinds]
        rows.append([name, *cells, ", ".join(f"{names[j]} {n}" for n, j in others)])
    parts.append(_table(["class", *(name for name, _ in kinds), "samples taken for"], rows))
    return "\n\n".join(parts)


def _variety(model: Content) -> str:
    v = model["generation"]["variety"]
    change = v["variation"]
    rows = []
    for name, e in v["samples"].items():
        of, c = v["files"].get(name), change["by_class"].get(name)
        wrap = [_text(x and x.get("wrap_step"), ".2f") for x in (e, of)]
        cells = [f"{e['distinct']} of {e['pictures']}", f"{of['distinct']} of {of['pictures']}" if of else "-"]
        cells += [_text(c and c[key], ".2f") for key in ("tokens", "pixels", "accuracy")]
        rows.append([name, *cells, *wrap])
    heads = ["class", "distinct samples", "distinct files", "tokens that change", "pixels", "class accuracy"]
    heads += ["wrap step", "of files"]
    kept = f"The first {change['kept']} tokens kept, {change['variations']} variations of {change['sources']} samples."
    return f"{kept}\n\n{_table(heads, rows)}"


def _likelihood(model: Content) -> str:
    found = model.get("likelihood") or {}
    if len(found) < 2:
        return "Not measured: the model has other classes than the data."
    pairs = zip(found["training"], found["held_out"])
    rows = [[i, f"{a:.2f}", f"{b:.2f}", f"{b - a:+.2f}"] for i, (a, b) in enumerate(pairs)]
    return _table(["position", "training files, nats", "held-out files", "difference"], rows)


def _copies(model: Content) -> str:
    parts: list[str] = []
    quantiles = ["least", "5 %", "median", "95 %"]
    for space, c in model["generation"]["near_copies"].items():
        rows = [
            [
                name,
                e["pictures"],
                f"{e['share']:.3f}",
                f"{e['share_wide']:.3f}",
                *(f"{e['ratio'][q]:.2f}" for q in quantiles),
                *(f"{e['distance'][q]:.3g}" for q in quantiles),
            ]
            for name, e in c["groups"].items()
        ]
        heads = ["pictures", "number", "share at ratio 1", f"share at {c['wide']:.2f}"]
        heads += ["ratio: least", *quantiles[1:], "distance: least", *quantiles[1:]]
        own = c["own_distance"]
        range_ = f"(5 %: {own['5 %']:.3g}, 95 %: {own['95 %']:.3g})"
        parts += [
            f"By {space}: the median distance of a training file from its own reconstruction is "
            f"{own['median']:.3g} {range_}. "
            f"Of known copies {100 * c['known_copies_found']:.0f} % lie at ratio 1, 95 % at {c['wide']:.2f}.",
            _table(heads, rows),
        ]
    return "\n\n".join(parts)


def _classifier(content: Content) -> str:
    c, rows = content["classifier"], []
    for split in ("training", "held_out"):
        if split in c:
            e = c[split]
            figures = [f"{e[key]:.3f}" for key in ("accuracy", "top_3", "by_class_mean")]
            rows.append([split.replace("_", "-"), e["pictures"], *figures])
    s = c["settings"]
    steps = f"{s['steps']} steps of {s['batch']} pictures, seed {s['seed']}; {s['features']} features"
    heads = ["files", "number", "accuracy", "among the first three", "mean of the classes"]
    return f"Identity {c['identity']}: {steps}.\n\n{_table(heads, rows)}"


def _markdown(content: Content) -> str:
    data, models = content["data"], content["models"]
    bad = f" {data['bad_files']} files could not be read." if data["bad_files"] else ""
    parts = [
        "# Evaluation",
        f"Data `{data['folder']}`: {len(data['classes'])} classes, {data['training']} training and "
        f"{data['held_out']} held-out pictures "
        f"({data['measured']['training']} and {data['measured']['held_out']} of them measured).{bad} "
        f"Seed {content['seed']}.",
        _comparison(content),
        "## What the figures mean",
        DEFINITIONS.strip(),
        "## The classifier",
        _classifier(content),
    ]
    for i, model in enumerate(models):
        name = "This model" if i == 0 else f"Against {i}"
        parts += [f"## {name}", _about(model), "### Reconstruction", _reconstruction(model)]
        parts += ["### Self-correction", _correction(model)]
        parts += ["### Samples", _generation(model), "### Variety", _variety(model)]
        parts += ["### Loss at every position", _likelihood(model)]
        parts += ["### Nearest training pictures", _copies(model), "### Sheets"]
        for key, file in model["sheets"].items():
            text = SHEETS[key]
            parts.append(f"![{text}]({file})\n\n{text[0].upper()}{text[1:]}.")
    return "\n\n".join(parts) + "\n"


def write(content: Content, out: Path | str) -> Content:
    """Add the comparison, write report.json and report.md into `out`, and return the content."""
    content = content | {"definitions": DEFINITIONS, "comparison": compare(content["models"])}
    write_text(Path(out) / "report.json", json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    write_text(Path(out) / "report.md", _markdown(content))
    return content


def summary(content: Content) -> str:
    """The comparison for a terminal."""
    lines = []
    for row in content["comparison"]:
        cells = [
            _text(value, row["format"]) + ("*" if row["best"] == i else "") for i, value in enumerate(row["values"])
        ]
        name = row["figure"] + (f" {MARK}" if row["of_tokenizer"] else "")
        lines.append(f"{name:<44}" + "".join(f"{cell:>12}" for cell in cells))
    return "\n".join([*lines, _marked(content["models"]).replace("`", "")])

"""Run each graph of a new bundle once and compare it with `reference`, in a process of its own.

The process is `python -m detailflow_onnx.check`: it gets the bundle's folder and the source on its standard input and
prints its figures as JSON. What it needs of memory is its own affair, and a crash of it is only a failed check.
"""

import json
import os
import subprocess
import sys
import types
from pathlib import Path

import numpy as np

from detailflow_onnx.bundle import manifest
from detailflow_onnx.errors import Refused, need

STEPS_AFTER_CAUSAL = 2
# The largest error over the largest value (at least 1), for each precision. The others are compared by root mean squares.
LIMITS = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.25, "int4": 0.6}


def _cases(model, rows):
    """(classes, tokens, steps), decode requests, images: small, fixed, the same for every variant."""
    rng = np.random.default_rng(7)
    length = min(model.count, model.causal + STEPS_AFTER_CAUSAL * model.group)
    tokens = rng.integers(0, model.codes, (2, length))
    steps = model.causal + (length - model.causal) // model.group
    picked = {rows[0]["tokens"]: rows[0], rows[len(rows) // 2]["tokens"]: rows[len(rows) // 2]}
    if model.size <= 64:
        picked[rows[-1]["tokens"]] = rows[-1]
    requests = [(rng.integers(0, model.codes, (1, row["tokens"])), row["size"]) for row in picked.values()]
    images = rng.uniform(-1, 1, (1, model.channels, model.size, model.size)).astype(np.float32)
    return ([len(model.classes) - 1, -1], tokens, steps), requests, images


def _error(precision, pairs):
    """The error of one graph over all its outputs."""
    worst = 0.0
    for got, want in pairs:
        if not (got.shape == want.shape and np.isfinite(got).all()):
            return float("inf")
        if precision == "fp32":
            worst = max(worst, float(np.abs(got - want).max() / max(1.0, np.abs(want).max())))
        else:
            worst = max(worst, float(np.sqrt(((got - want) ** 2).mean() / max((want**2).mean(), 1e-12))))
    return worst


def measure(model, folder, file=None):
    """Of every variant that the installed ONNX Runtime is new enough for: its graphs' errors [{graph, precision, form, error}],
    and its `quality` [{precision, form, quality}]; and the pictures that it was judged by, None without `ar`."""
    from detailflow_onnx.bundle import reference
    from detailflow_onnx.bundle import runner
    from detailflow_onnx.bundle import verify

    content = verify.read_manifest(folder)
    (classes, tokens, steps), requests, images = _cases(model, content["ladder"]["prefixes"])
    evaluate = {
        "ar": lambda: [reference.ar_logits(model, classes, tokens)],
        "decoder": lambda: reference.decode(model, requests),
        "encoder": lambda: [reference.encode(model, images)[0]],
    }
    want, out = {graph: evaluate[graph]() for graph in runner.graphs(content)}, []
    bundles = [runner.Bundle(folder, content, variant) for variant in filter(runner.runs_here, content["variants"])]
    for bundle in bundles:
        variant = bundle.variant
        got = {
            "ar": lambda: [bundle.logits(classes, tokens, steps)],
            "decoder": lambda: [bundle.decode(t, size) for t, size in requests],
            "encoder": lambda: [bundle.encode(images)[0]],
        }
        for graph in want:
            error = _error(variant["precision"], zip(got[graph](), want[graph]))
            out.append({"graph": graph, "precision": variant["precision"], "form": variant["form"], "error": error})
        verify.check_signatures(bundle)
        bundle.close()
    return {"errors": out} | _judged(model, content, bundles, file)


def _judged(model, content, bundles, file):
    from detailflow_onnx.bundle import quality as judge

    if file == judge.NOT:
        for bundle in bundles:
            bundle.close()
        return {"quality": [], "judged": None}

    if not bundles:
        return {"quality": [], "judged": None}
    if file:
        pictures = judge.read_tokens(file, content)
    elif "ar" in bundles[0].variant:
        best = min(bundles, key=lambda bundle: manifest.PRECISIONS.index(bundle.variant["precision"]))
        pictures = judge.draw(best)
    else:
        rng, numbers = np.random.default_rng(11), content["tokens"]
        pictures = [(0, t) for t in rng.integers(0, numbers["codes"], (judge.DRAWN, numbers["count"])).tolist()]
    judged, out = judge.Judge(model, content, pictures), []
    for bundle in bundles:
        out.append({"precision": bundle.variant["precision"], "form": bundle.variant["form"], "quality": judged.quality(bundle)})
        bundle.close()
    return {"quality": out, "judged": judged.pictures() if "ar" in judged.graphs else None}


def check(folder, source, tokens=None):
    """Measure `folder` in a process of its own; refuse it past the limits. `source` is what `sources.open_source` takes,
    `tokens` the file of tokens to judge by. Returns what `measure` does."""
    from detailflow_onnx.bundle.quality import NOT

    home = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))}
    request = json.dumps({"folder": str(folder), "source": source, "tokens": tokens if tokens in (None, NOT) else os.path.abspath(tokens)})
    command = [sys.executable, "-m", "detailflow_onnx.bundle.self_check"]
    done = subprocess.run(command, input=request, capture_output=True, text=True, env=environment)
    lines = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
    need(done.returncode == 0, f"the check of the new bundle failed: {lines[-1]}")
    figures = json.loads(done.stdout)
    for row in figures["errors"]:
        limit = LIMITS[row["precision"]]
        if not row["error"] <= limit:
            raise Refused(f"the graph {row['graph']} ({row['precision']}, {row['form']}) is off by {row['error']:.3g}; at most {limit} is allowed")
    return figures


def main():
    from detailflow_onnx.checkpoint.source import open_source

    request = json.load(sys.stdin)
    try:
        print(json.dumps(measure(open_source(types.SimpleNamespace(**request["source"])), Path(request["folder"]), request["tokens"])))
    except Refused as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""Run each graph of a new bundle once and compare it with `reference`, in a subprocess.

The subprocess is `python -m detailflow_onnx.bundle.self_check`: it reads the bundle folder and the source of the model
from standard input and prints its figures as JSON. Its memory is released when it ends, and a crash is only a failed
check.
"""

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from detailflow_onnx.bundle import quality, reference
from detailflow_onnx.bundle.manifest import Manifest
from detailflow_onnx.bundle.reader import graphs_of, read_manifest
from detailflow_onnx.bundle.runner import Bundle, runs_here
from detailflow_onnx.bundle.signatures import check_signatures
from detailflow_onnx.bundle.variants import PRECISIONS
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.checkpoint.published import Source
from detailflow_onnx.checkpoint.source import open_source
from detailflow_onnx.errors import Refused, need

STEPS_AFTER_CAUSAL = 2
# fp32: the largest error, relative to the largest value (at least 1). Others: relative root mean square.
LIMITS = {"fp32": 1e-3, "fp16": 0.02, "int8": 0.25, "int4": 0.6}

Measured = dict[str, Any]


class _Cases:
    """Small fixed inputs, the same for every variant."""

    def __init__(self, model: Model, rows: list[dict[str, int]]) -> None:
        rng = np.random.default_rng(7)
        length = min(model.count, model.causal + STEPS_AFTER_CAUSAL * model.group)
        self.tokens = rng.integers(0, model.codes, (2, length))
        self.classes = [len(model.classes) - 1, -1]
        self.steps = model.causal + (length - model.causal) // model.group
        chosen = {rows[0]["tokens"]: rows[0], rows[len(rows) // 2]["tokens"]: rows[len(rows) // 2]}
        if model.size <= 64:
            chosen[rows[-1]["tokens"]] = rows[-1]
        self.requests = [(rng.integers(0, model.codes, (1, r["tokens"])), r["size"]) for r in chosen.values()]
        self.images = rng.uniform(-1, 1, (1, model.channels, model.size, model.size)).astype(np.float32)

    def expected(self, model: Model, graph: str) -> list[np.ndarray]:
        """The outputs of the reference."""
        if graph == "ar":
            return [reference.ar_logits(model, self.classes, self.tokens)]
        if graph == "decoder":
            return reference.decode(model, self.requests)
        return [reference.encode(model, self.images)[0]]

    def computed(self, bundle: Bundle, graph: str) -> list[np.ndarray]:
        """The outputs of a variant."""
        if graph == "ar":
            return [bundle.logits(self.classes, self.tokens, self.steps)]
        if graph == "decoder":
            return [bundle.decode(t, size) for t, size in self.requests]
        return [bundle.encode(self.images)[0]]


def _error(precision: str, pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> float:
    """The largest error over all outputs of a graph."""
    worst = 0.0
    for got, want in pairs:
        if not (got.shape == want.shape and np.isfinite(got).all()):
            return float("inf")
        if precision == "fp32":
            worst = max(worst, float(np.abs(got - want).max() / max(1.0, np.abs(want).max())))
        else:
            worst = max(worst, float(np.sqrt(((got - want) ** 2).mean() / max((want**2).mean(), 1e-12))))
    return worst


def measure(model: Model, folder: Path, file: str | None = None) -> Measured:
    """Measure every variant that the installed ONNX Runtime can run.

    Returns `errors` [{graph, precision, form, error}], `quality` [{precision, form, quality}] and `judged`, the
    pictures that quality was measured on (None without `ar`).
    """
    content = read_manifest(folder)
    cases = _Cases(model, content["ladder"]["prefixes"])
    want = {graph: cases.expected(model, graph) for graph in graphs_of(content)}
    errors = []
    bundles = [Bundle(folder, content, variant) for variant in filter(runs_here, content["variants"])]
    for bundle in bundles:
        precision, form = bundle.variant["precision"], bundle.variant["form"]
        for graph, expected in want.items():
            error = _error(precision, zip(cases.computed(bundle, graph), expected))
            errors.append({"graph": graph, "precision": precision, "form": form, "error": error})
        check_signatures(bundle)
        bundle.close()
    return {"errors": errors} | _quality(model, content, bundles, file)


def _quality(model: Model, content: Manifest, bundles: list[Bundle], file: str | None) -> Measured:
    if file == quality.NONE or not bundles:
        return {"quality": [], "judged": None}
    if file:
        pictures = quality.read_tokens(file, content)
    elif "ar" in graphs_of(content):
        best = min(bundles, key=lambda bundle: PRECISIONS.index(bundle.variant["precision"]))
        pictures = quality.generate(best)
    else:
        pictures = quality.random_pictures(content)
    judge, out = quality.Judge(model, content, pictures), []
    for bundle in bundles:
        row = {"precision": bundle.variant["precision"], "form": bundle.variant["form"]}
        out.append(row | {"quality": judge.quality(bundle)})
        bundle.close()
    return {"quality": out, "judged": judge.pictures()}


def check(folder: Path, source: Source, tokens: str | None = None) -> Measured:
    """Run `measure` in a subprocess; refused if an error exceeds its limit.

    `tokens` is a token file to measure quality on.
    """
    home = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
    file = tokens if tokens in (None, quality.NONE) else os.path.abspath(str(tokens))
    request = json.dumps({"folder": str(folder), "source": dataclasses.asdict(source), "tokens": file})
    command = [sys.executable, "-m", "detailflow_onnx.bundle.self_check"]
    environment = os.environ | {"PYTHONPATH": path}
    done = subprocess.run(command, input=request, capture_output=True, text=True, env=environment)
    lines = (done.stderr.strip() or f"exit status {done.returncode}").splitlines()
    need(done.returncode == 0, f"the check of the new bundle failed: {lines[-1]}")
    measured: Measured = json.loads(done.stdout)
    for row in measured["errors"]:
        limit = LIMITS[row["precision"]]
        if not row["error"] <= limit:
            subject = f"the graph {row['graph']} ({row['precision']}, {row['form']})"
            raise Refused(f"{subject} has an error of {row['error']:.3g}; at most {limit} is allowed")
    return measured


def main() -> None:
    """The subprocess."""
    request = json.load(sys.stdin)
    try:
        model = open_source(Source(**request["source"]))
        print(json.dumps(measure(model, Path(request["folder"]), request["tokens"])))
    except Refused as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

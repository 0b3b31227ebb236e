"""Generate pictures from a bundle in plain ONNX Runtime, with sampling in NumPy."""

import argparse
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from detailflow_onnx.bench.rounds import Contestant, Times
from detailflow_onnx.bundle import runner
from detailflow_onnx.bundle.reader import graphs_of, read_manifest
from detailflow_onnx.bundle.runner import Bundle
from detailflow_onnx.errors import Refused, need

T = TypeVar("T")


class _Clock:
    """Sums the seconds spent in calls."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, call: Callable[[], T]) -> T:
        """`call()`, timed."""
        before = time.perf_counter()
        result = call()
        self.seconds += time.perf_counter() - before
        return result


def generate(bundle: Bundle, batch: int, guidance: float, random: np.random.Generator) -> Times:
    """Generate `batch` pictures at full size; returns the milliseconds."""
    begun, graphs = time.perf_counter(), _Clock()
    guided, content = guidance != 1, bundle.content
    classes = [k % len(content["classes"]) for k in range(batch)]
    rows = classes + [-1] * batch if guided else classes
    state, tokens = bundle.start(len(rows)), np.zeros((len(rows), 0), np.int64)
    steps_ms = []
    for step in range(len(bundle.sequence.steps)):
        before = time.perf_counter()
        x = graphs.timed(functools.partial(state.run, bundle.step_ids(rows, tokens, step)))
        if guided:
            cond, uncond = x[:batch], x[batch:]
            x = uncond + (cond - uncond) * np.float32(guidance)
        p = np.exp(x - x.max(-1, keepdims=True)).cumsum(-1)
        sampled = (p < random.random(p.shape[:2])[..., None] * p[..., -1:]).sum(-1)
        tokens = np.concatenate([tokens, np.tile(sampled, (2, 1)) if guided else sampled], 1)
        steps_ms.append(1e3 * (time.perf_counter() - before))
    decoding = time.perf_counter()
    pixels = graphs.timed(lambda: bundle.decode(tokens[:batch], content["image"]["size"]))
    np.clip(127.5 * pixels + 128, 0, 255).astype(np.uint8)
    ended = time.perf_counter()
    return {
        "ms": 1e3 * (ended - begun),
        "graphs_ms": 1e3 * graphs.seconds,
        "decode_ms": 1e3 * (ended - decoding),
        "steps_ms": steps_ms,
    }


def contestants(folder: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[Contestant]]:
    """(what all results share, the contestants): every batch size and precision of the bundle in `folder`."""
    try:
        content = read_manifest(folder)
    except Refused as error:
        raise Refused(f"{folder}: not a bundle ({error})") from None
    need("ar" in graphs_of(content), f"{folder}: the bundle cannot generate pictures")
    have = {v["precision"]: v for v in content["variants"] if v["form"] == options.form}
    wanted = options.precision or list(have)
    for precision in wanted:
        listed = ", ".join(have) or "none"
        need(precision in have, f"{folder}: no variant {precision} {options.form}; form {options.form} has {listed}")
        runtime = f"ONNX Runtime {have[precision]['min_runtime']}, this is {runner.RUNTIME}"
        need(runner.runs_here(have[precision]), f"{folder}: {precision} {options.form} needs {runtime}")
    random = np.random.default_rng(0)
    bundles = {p: Bundle(folder, content, have[p], threads=options.threads) for p in wanted}

    def one(bundle: Bundle, batch: int) -> Callable[[], Times]:
        return lambda: generate(bundle, batch, options.guidance, random)

    out: list[Contestant] = []
    for batch in options.batch:
        for precision, bundle in bundles.items():
            about = {
                "implementation": "onnxruntime",
                "device": "cpu",
                "precision": precision,
                "form": options.form,
                "threads": options.threads,
                "batch": batch,
                "guidance": options.guidance,
            }
            out.append((about, one(bundle, batch)))
    return {"onnxruntime": runner.RUNTIME, "model": content["name"]}, out

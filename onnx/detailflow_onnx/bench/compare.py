"""Compare `dflow bench`, PyTorch and plain ONNX Runtime: each in its own process, in interleaved rounds.

Ratios are of times of the same round.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import Any

from detailflow_onnx.bench.report import name_of
from detailflow_onnx.bench.rounds import About, Served, Spread, spread
from detailflow_onnx.errors import Refused, need

EQUAL = 0.02  # ratios within this of 1 are equal
SHARED = ("device", "precision", "form", "threads", "batch", "guidance", "peak_rss_mb", "open_ms")


class Entry:
    """One contestant, with the milliseconds per picture of each round."""

    def __init__(self, name: str, ours: bool, about: About) -> None:
        self.name, self.ours, self.about = name, ours, about
        self.ms: list[float] = []
        self.graphs: list[float] = []  # in the graphs alone

    def json(self) -> dict[str, Any]:
        """One entry of `results`."""
        median, least, most = spread(self.ms)
        out = dict(self.about, name=self.name, ms_per_image=median, min_ms_per_image=least, max_ms_per_image=most)
        out["images_per_second"] = 1e3 / median
        if self.graphs:
            out["graphs_ms_per_image"] = spread(self.graphs)[0]
        return out


Ratio = tuple[Entry, Entry, Spread, Spread | None]  # ours, theirs, theirs / ours, the same of the graphs alone


def bench(options: argparse.Namespace, batch: int) -> dict[str, Any]:
    """The output of one call of `dflow bench --json`."""
    command = [options.dflow, "bench", "--json", "--bundle", options.bundle, "--device", options.device]
    command += ["--precision", ",".join(options.precision), "--batch", batch, "--guidance", options.guidance]
    command += ["--threads", options.threads, "--warmup", options.warmup, "--repeat", 1]
    if options.form:
        command += ["--form", ",".join(options.form)]
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError as error:
        advice = "`make` builds it, --dflow chooses another"
        raise Refused(f"{options.dflow}: {error.strerror}; {advice}") from None
    need(done.returncode == 0, f"{options.dflow} bench: {done.stderr.strip()}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def _this_package(*arguments: object) -> list[object]:
    return [sys.executable, "-m", "detailflow_onnx", *arguments]


def start_others(options: argparse.Namespace, stack: ExitStack) -> list[Served]:
    """The processes that take turns with dflow."""
    common = ["--batch", ",".join(map(str, options.batch)), "--guidance", options.guidance]
    common += ["--threads", options.threads, "--turns"]
    out = []
    if not options.no_baseline:
        command = ["baseline", "--random", options.random, "--precision", ",".join(options.torch_precision)]
        command += ["--cache", ",".join(options.cache), "--device", options.torch_device]
        command += ["--compile"] * options.compile
        out.append(stack.enter_context(closing(Served(_this_package(*command, *common), "the baseline"))))
    if options.runtime:
        command = ["runtime", options.bundle, "--precision", ",".join(options.precision), "--form", "mha"]
        out.append(stack.enter_context(closing(Served(_this_package(*command, *common), "plain ONNX Runtime"))))
    return out


def run_batch(
    options: argparse.Namespace, batch: int, processes: Sequence[Served], say: Callable[[str], None]
) -> tuple[list[Entry], str]:
    """(the entries of one batch size, ours first; the version of dflow's ONNX Runtime)."""
    entries: dict[str, Entry] = {}

    def note(name: str, ours: bool, about: About, ms: float, graphs: float | None) -> None:
        entry = entries.setdefault(name, Entry(name, ours, about))
        entry.ms.append(ms / batch)
        if graphs is not None:
            entry.graphs.append(graphs / batch)

    served = [(p, at, about) for p in processes for at, about in enumerate(p.timed) if about["batch"] == batch]
    # dflow opens and warms up at each call; the others stay open and warm up once.
    for _ in range(options.warmup):
        for process, at, about in served:
            ms = process.run(at)["ms"] / batch
            say(f"batch {batch}, warming up: {name_of(about)}, {ms:.0f} ms per picture")
    runtime = ""
    for round_ in range(options.repeat):
        output = bench(options, batch)
        runtime = output["runtime"]
        for result in output["results"]:
            about = {key: result[key] for key in SHARED}
            ms = result["rounds_ms"][0]
            name = f"dflow {result['device']} {result['precision']} {result['form']}"
            note(name, True, about, ms, ms * (1 - result["outside_graphs_share"]))
        for process, at, about in served:
            times = process.run(at)
            note(name_of(about), False, about, times["ms"], times.get("graphs_ms"))
        last = ", ".join(f"{entry.name} {entry.ms[-1]:.0f}" for entry in entries.values())
        say(f"batch {batch}, round {round_ + 1} of {options.repeat}, ms per picture: {last}")
    return list(entries.values()), runtime


def ratios(entries: Sequence[Entry]) -> list[Ratio]:
    """How many times as long theirs takes as ours, round by round."""
    out: list[Ratio] = []
    for ours in (entry for entry in entries if entry.ours):
        for theirs in (entry for entry in entries if not entry.ours):
            graphs = spread([b / a for a, b in zip(ours.graphs, theirs.graphs)]) if theirs.graphs else None
            out.append((ours, theirs, spread([b / a for a, b in zip(ours.ms, theirs.ms)]), graphs))
    return out


def same_graphs(ours: Entry, theirs: Entry) -> bool:
    """Whether both run the same graph files, so that ours should not be slower."""
    same = all(ours.about.get(key) == theirs.about.get(key) for key in ("device", "precision", "form"))
    return theirs.about["implementation"] == "onnxruntime" and same


def _range(values: Spread, digits: int = 1) -> str:
    median, least, most = (f"{value:.{digits}f}" for value in values)
    return f"{median} [{least} .. {most}]"


def _print(batch: int, entries: Sequence[Entry], compared: Sequence[Ratio]) -> None:
    width = max(len(entry.name) for entry in entries) + 2
    print(f"\nbatch {batch}\n{'':<{width}}{'ms per picture [least .. most]':>40}{'per second':>12}")
    for entry in entries:
        values = spread(entry.ms)
        print(f"{entry.name:<{width}}{_range(values):>40}{1e3 / values[0]:>12.3f}")
    for ours in (entry for entry in entries if entry.ours):
        print(f"{ours.name} takes 1, and in the same round")
        for _, theirs, total, graphs in (row for row in compared if row[0] is ours):
            alone = f"   graphs alone {_range(graphs, 2)}" if graphs else ""
            print(f"  {theirs.name:<{width - 2}}{_range(total, 2):>40}{alone}")


def _print_slower(slower: Sequence[dict[str, Any]], tables: Sequence[tuple[int, list[Entry], list[Ratio]]]) -> None:
    print()
    for row in slower:
        print(f"SLOWER: batch {row['batch']}, {row['theirs']} takes {row['ratio']:.2f} of {row['ours']}")
    if slower:
        return
    if any(same_graphs(a, b) for _, _, rows in tables for a, b, _, _ in rows):
        print("nothing is slower than plain ONNX Runtime on the same graphs")
    else:
        print("no graphs are the same: --form mha runs those of plain ONNX Runtime")


def _as_json(values: Spread | None) -> dict[str, float] | None:
    return None if values is None else dict(zip(("median", "min", "max"), values))


def _default_threads() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _stderr(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run(options: argparse.Namespace) -> int:
    """The command `compare`."""
    options.threads = options.threads or _default_threads()
    # The first call finds errors of the command line before anything is loaded.
    chosen = [result["form"] for result in bench(options, options.batch[0])["results"]]
    if options.runtime and not options.form:
        # dflow's choice, and the form that plain ONNX Runtime runs.
        options.form = list(dict.fromkeys([*chosen, "mha"]))
    tables: list[tuple[int, list[Entry], list[Ratio]]] = []
    common: dict[str, Any] = {"threads": options.threads, "guidance": options.guidance, "rounds": options.repeat}
    with ExitStack() as stack:
        processes = start_others(options, stack)
        for process in processes:
            common |= {key: value for key, value in process.common.items() if key != "model"}
        for batch in options.batch:
            entries, common["dflow's ONNX Runtime"] = run_batch(options, batch, processes, _stderr)
            tables.append((batch, entries, ratios(entries)))
    slower = [
        {"batch": batch, "ours": ours.name, "theirs": theirs.name, "ratio": total[0]}
        for batch, _, compared in tables
        for ours, theirs, total, _ in compared
        if same_graphs(ours, theirs) and total[0] < 1 - EQUAL
    ]
    if options.json:
        rows = [
            {"batch": batch, "ours": a.name, "theirs": b.name, "ratio": _as_json(t), "graphs_ratio": _as_json(g)}
            for batch, _, compared in tables
            for a, b, t, g in compared
        ]
        results = [entry.json() for _, entries, _ in tables for entry in entries]
        print(json.dumps({**common, "results": results, "ratios": rows, "slower": slower}, indent=1))
        return 0
    print(", ".join(f"{key} {value}" for key, value in common.items()))
    for table in tables:
        _print(*table)
    if options.runtime:
        _print_slower(slower, tables)
    return 0

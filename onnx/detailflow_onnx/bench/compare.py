"""`dflow bench`, PyTorch and plain ONNX Runtime in one sitting: each in a process of its own, round by round in turns, and the
ratios of what stands in the same round."""

import json
import os
import subprocess
import sys
from contextlib import ExitStack, closing

from detailflow_onnx.errors import Refused, need
from detailflow_onnx.bench.rounds import Served, spread

# Within this of each other two are as fast.
EQUAL = 0.02


class Entry:
    """One way to draw, with the milliseconds of a picture in each round."""

    def __init__(self, name, ours, about):
        self.name, self.ours, self.about, self.ms, self.graphs = name, ours, about, [], []

    def json(self):
        median, least, most = spread(self.ms)
        out = dict(self.about, name=self.name, ms_per_image=median, min_ms_per_image=least, max_ms_per_image=most, images_per_second=1e3 / median)
        if self.graphs:
            out["graphs_ms_per_image"] = spread(self.graphs)[0]
        return out


def bench(options, batch):
    """Results of one call of `dflow bench --json`."""
    command = [options.dflow, "bench", "--json", "--bundle", options.bundle, "--device", options.device, "--precision", ",".join(options.precision)]
    command += ["--batch", batch, "--guidance", options.guidance, "--threads", options.threads, "--warmup", options.warmup, "--repeat", 1]
    if options.form:
        command += ["--form", ",".join(options.form)]
    try:
        done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    except OSError as error:
        raise Refused(f"{options.dflow}: {error.strerror}; `make` builds it, --dflow names another") from None
    need(done.returncode == 0, f"{options.dflow} bench: {done.stderr.strip()}")
    return json.loads(done.stdout)


def python(*arguments):
    return [sys.executable, "-m", "detailflow_onnx", *arguments]


def others(options, stack):
    """The processes that take turns with dflow."""
    common = ["--batch", ",".join(map(str, options.batch)), "--guidance", options.guidance, "--threads", options.threads, "--turns"]
    out = []
    if not options.no_baseline:
        command = ["baseline", "--random", options.random, "--precision", ",".join(options.torch_precision), "--cache", ",".join(options.cache)]
        command += ["--device", options.torch_device, *["--compile"] * options.compile, *common]
        out.append(stack.enter_context(closing(Served(python(*command), "the baseline"))))
    if options.runtime:
        command = ["runtime", options.bundle, "--precision", ",".join(options.precision), "--form", "mha", *common]
        out.append(stack.enter_context(closing(Served(python(*command), "plain ONNX Runtime"))))
    return out


def sit(options, batch, processes, told):
    """The entries of one batch size, ours first."""
    from detailflow_onnx.bench.commands import _name

    entries = {}

    def note(name, ours, about, ms, graphs=None):
        entry = entries.setdefault(name, Entry(name, ours, about))
        entry.ms.append(ms / batch)
        if graphs is not None:
            entry.graphs.append(graphs / batch)

    served = [(process, at, about) for process in processes for at, about in enumerate(process.timed) if about["batch"] == batch]
    # dflow opens and warms up at each call; the others are open, and warm up once.
    for _ in range(options.warmup):
        for process, at, about in served:
            told(f"batch {batch}, warming up: {_name(about)}, {process.draw(at)['ms'] / batch:.0f} ms a picture")
    for round_ in range(options.repeat):
        said = bench(options, batch)
        for result in said["results"]:
            about = {key: result[key] for key in ("device", "precision", "form", "threads", "batch", "guidance", "peak_rss_mb", "open_ms")}
            ms = result["rounds_ms"][0]
            note(f"dflow {result['device']} {result['precision']} {result['form']}", True, about, ms, ms * (1 - result["outside_graphs_share"]))
        for process, at, about in served:
            times = process.draw(at)
            note(_name(about), False, about, times["ms"], times.get("graphs_ms"))
        last = ", ".join(f"{entry.name} {entry.ms[-1]:.0f}" for entry in entries.values())
        told(f"batch {batch}, round {round_ + 1} of {options.repeat}, ms a picture: {last}")
    return list(entries.values()), said["runtime"]


def ratios(entries):
    """[(ours, theirs, (median, least, most) of how many times as long theirs takes, the same of the graphs alone or None)]."""
    out = []
    for ours in (entry for entry in entries if entry.ours):
        for theirs in (entry for entry in entries if not entry.ours):
            graphs = spread([b / a for a, b in zip(ours.graphs, theirs.graphs)]) if theirs.graphs else None
            out.append((ours, theirs, spread([b / a for a, b in zip(ours.ms, theirs.ms)]), graphs))
    return out


def same_graphs(ours, theirs):
    """Whether both run the same files, so that the one is not to be slower than the other."""
    return theirs.about["implementation"] == "onnxruntime" and all(ours.about[key] == theirs.about[key] for key in ("device", "precision", "form"))


def _range(values, digits=1):
    return "{:.{d}f} [{:.{d}f} .. {:.{d}f}]".format(*values, d=digits)


def _print(batch, entries, compared):
    width = max(len(entry.name) for entry in entries) + 2
    print(f"\nbatch {batch}\n{'':<{width}}{'ms a picture [least .. most]':>40}{'a second':>10}")
    for entry in entries:
        values = spread(entry.ms)
        print(f"{entry.name:<{width}}{_range(values):>40}{1e3 / values[0]:>10.3f}")
    for ours in (entry for entry in entries if entry.ours):
        print(f"{ours.name} takes 1, and of the same round")
        for _, theirs, whole, graphs in (row for row in compared if row[0] is ours):
            print(f"  {theirs.name:<{width - 2}}{_range(whole, 2):>40}" + (f"   graphs alone {_range(graphs, 2)}" if graphs else ""))


def run(options):
    options.threads = options.threads or len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1))
    # What is wrong with the command line is said before anything is loaded.
    chosen = [result["form"] for result in bench(options, options.batch[0])["results"]]
    if options.runtime and not options.form:
        # The form of its own choice, and the one that plain ONNX Runtime runs.
        options.form = list(dict.fromkeys([*chosen, "mha"]))

    def told(text):
        print(text, file=sys.stderr, flush=True)

    tables, common = [], {"threads": options.threads, "guidance": options.guidance, "rounds": options.repeat}
    with ExitStack() as stack:
        processes = others(options, stack)
        for process in processes:
            common |= {key: value for key, value in process.common.items() if key != "model"}
        for batch in options.batch:
            entries, common["dflow's ONNX Runtime"] = sit(options, batch, processes, told)
            tables.append((batch, entries, ratios(entries)))
    slower = []
    for batch, _, compared in tables:
        for ours, theirs, whole, _ in compared:
            if same_graphs(ours, theirs) and whole[0] < 1 - EQUAL:
                slower.append({"batch": batch, "ours": ours.name, "theirs": theirs.name, "ratio": whole[0]})
    if options.json:
        keys = ("median", "min", "max")
        rows = [
            {"batch": batch, "ours": a.name, "theirs": b.name, "ratio": dict(zip(keys, whole)), "graphs_ratio": graphs and dict(zip(keys, graphs))}
            for batch, _, compared in tables
            for a, b, whole, graphs in compared
        ]
        print(json.dumps({**common, "results": [e.json() for _, entries, _ in tables for e in entries], "ratios": rows, "slower": slower}, indent=1))
        return 0
    print(", ".join(f"{key} {value}" for key, value in common.items()))
    for table in tables:
        _print(*table)
    if options.runtime:
        print()
        for row in slower:
            print(f"SLOWER: batch {row['batch']}, {row['theirs']} takes {row['ratio']:.2f} of {row['ours']}")
        if not slower:
            print("nothing is slower than plain ONNX Runtime on the same graphs" if any(same_graphs(a, b) for _, _, rows in tables for a, b, _, _ in rows) else "no graphs are the same: --form mha runs those of plain ONNX Runtime")
    return 0

"""The commands that measure speed: `baseline` (the model in PyTorch), `runtime` (a bundle's graphs in plain ONNX Runtime)
and `compare` (both, and `dflow bench`, in turns)."""

import json
import sys
import time
from pathlib import Path

from detailflow_onnx.bench import rounds as turns
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.checkpoint.source import FIELDS, open_source

COMMANDS = ("baseline", "runtime", "compare")


def add_commands(commands, *, number, choices, one_of, models):
    """Add the commands to those of the command line; the last three make types of arguments."""

    def common(p, *, batch, repeat):
        p.add_argument("--batch", type=number(int, 1, many=True), default=batch, metavar="K[,...]", help=f"pictures drawn together (default {','.join(map(str, batch))})")
        p.add_argument("--guidance", type=number(float, 0), default=1.5, metavar="F", help="guidance scale, 1 is off (default 1.5)")
        p.add_argument("--threads", type=number(int, 0), default=0, metavar="T", help="0 (the default) is one for each core")
        p.add_argument("--warmup", type=number(int, 0), default=1, metavar="N", help="rounds that do not count (default 1)")
        p.add_argument("--repeat", type=number(int, 1), default=repeat, metavar="N", help=f"rounds that count (default {repeat})")
        p.add_argument("--json", action="store_true", help="print the figures as JSON")

    def torch(p, prefix=""):
        p.add_argument(f"--{prefix}precision", type=choices("fp32", "bf16"), default=["fp32", "bf16"], metavar="fp32|bf16[,...]", help="of PyTorch; bf16 is autocast (default both)")
        p.add_argument("--cache", type=choices("none", "kept"), default=["none", "kept"], metavar="none|kept[,...]", help="feed the whole prefix at each step, as the paper's code does, or keep keys and values (default both)")
        p.add_argument("--compile", action="store_true", help="with torch.compile; needs a C++ compiler, on CUDA Triton")
        p.add_argument("--torch-device" if prefix else "--device", choices=["cpu", "cuda"], default="cpu", help="of PyTorch")

    p = commands.add_parser("baseline", help="time the model in PyTorch (pip install './onnx[baseline]')")
    p.add_argument("--random", choices=models, default="detailflow-16", help="published shapes with random weights (default detailflow-16)")
    p.add_argument("--tokenizer", metavar="DIR", help="or a checkpoint, as for export")
    p.add_argument("--ar", metavar="DIR")
    p.add_argument("--encoder-heads", type=number(int, 1), metavar="N")
    p.add_argument("--decoder-heads", type=number(int, 1), metavar="N")
    p.add_argument("--seed", type=number(int, 0), default=0, metavar="S", help="of the weights and of the draws (default 0)")
    p.add_argument("--attention", choices=["sdpa", "matmul"], default="sdpa", help="scaled_dot_product_attention, or products and softmax")
    p.add_argument("--turns", action="store_true", help="draw what standard input asks for, for compare")
    torch(p)
    common(p, batch=[1], repeat=3)

    p = commands.add_parser("runtime", help="time a bundle's graphs in plain ONNX Runtime, keys and values bound in place")
    p.add_argument("bundle", metavar="BUNDLE")
    p.add_argument("--precision", type=one_of("precision"), default=None, metavar="P[,...]", help="of the bundle (default all)")
    p.add_argument("--form", choices=["mha", "plain"], default="mha", help="of the bundle (default mha)")
    p.add_argument("--turns", action="store_true", help="draw what standard input asks for, for compare")
    common(p, batch=[1], repeat=3)

    p = commands.add_parser("compare", help="time dflow, PyTorch and plain ONNX Runtime in turns, and print ratios")
    p.add_argument("bundle", metavar="BUNDLE", help="what dflow runs; PyTorch runs --random")
    p.add_argument("--dflow", default="target/release/dflow", metavar="FILE", help="the command (default target/release/dflow)")
    p.add_argument("--device", default="cpu", metavar="D", help="of dflow (default cpu)")
    p.add_argument("--precision", type=one_of("precision"), default=["int8", "fp32"], metavar="P[,...]", help="of dflow (default int8,fp32)")
    p.add_argument("--form", type=one_of("form"), default=None, metavar="FORM[,...]", help="of dflow (default its choice; with --runtime mha as well)")
    p.add_argument("--random", choices=models, default="detailflow-16", help="what PyTorch runs (default detailflow-16)")
    p.add_argument("--runtime", action="store_true", help="compare with plain ONNX Runtime run from Python on the same graphs, form mha")
    p.add_argument("--no-baseline", action="store_true", help="leave PyTorch out")
    torch(p, prefix="torch-")
    common(p, batch=[1, 16], repeat=3)


# ---------------------------------------------------------------- each in its own process
def _baseline(options):
    from detailflow_onnx.bench import baseline

    if options.tokenizer or options.ar:
        need(options.tokenizer and options.ar, "baseline needs both --tokenizer DIR and --ar DIR, or --random MODEL")
        options.random = None
    for field in FIELDS:
        if not hasattr(options, field):
            setattr(options, field, None)
    return baseline.rounds(open_source(options), options)


def _runtime(options):
    """(what is common, [(what is timed, function that draws once)]) of a bundle in plain ONNX Runtime."""
    import numpy as np

    from detailflow_onnx.bundle import runner

    folder = Path(options.bundle)
    try:
        content = json.loads((folder / "detailflow.json").read_text())
    except (OSError, ValueError) as error:
        raise Refused(f"{folder}: not a bundle ({error})") from None
    need("ar" in content["variants"][0], f"{folder}: the bundle cannot draw")
    there = {v["precision"]: v for v in content["variants"] if v["form"] == options.form}
    wanted = options.precision or list(there)
    for precision in wanted:
        need(precision in there, f"{folder}: no variant of precision {precision} and form {options.form}; it has {', '.join(there) or 'none'}")
    chance = np.random.default_rng(0)

    def draw(bundle, batch):
        begun, graphs = time.perf_counter(), 0.0

        def timed(call):
            nonlocal graphs
            before = time.perf_counter()
            result = call()
            graphs += time.perf_counter() - before
            return result

        guided = options.guidance != 1
        classes = [k % len(content["classes"]) for k in range(batch)]
        fed = classes + [-1] * batch if guided else classes
        state, tokens, steps_ms = bundle.start(len(fed)), np.zeros((len(fed), 0), np.int64), []
        for step in range(len(bundle.step_sizes())):
            before = time.perf_counter()
            ids = bundle.fed(fed, tokens, step)
            x = timed(lambda: state.feed(ids))
            if guided:
                cond, free = x[:batch], x[batch:]
                x = free + (cond - free) * np.float32(options.guidance)
            p = np.exp(x - x.max(-1, keepdims=True)).cumsum(-1)
            drawn = (p < chance.random(p.shape[:2])[..., None] * p[..., -1:]).sum(-1)
            tokens = np.concatenate([tokens, np.tile(drawn, (2, 1)) if guided else drawn], 1)
            steps_ms.append(1e3 * (time.perf_counter() - before))
        decoding = time.perf_counter()
        pixels = timed(lambda: bundle.decode(tokens[:batch], content["image"]["size"]))
        np.clip(127.5 * pixels + 128, 0, 255).astype(np.uint8)
        ended = time.perf_counter()
        return {"ms": 1e3 * (ended - begun), "graphs_ms": 1e3 * graphs, "decode_ms": 1e3 * (ended - decoding), "steps_ms": steps_ms}

    timed = []
    bundles = {precision: runner.Bundle(folder, content, there[precision], threads=options.threads) for precision in wanted}
    for precision in wanted:
        need(runner.runs_here(there[precision]), f"{folder}: {precision} {options.form} needs ONNX Runtime {there[precision]['min_runtime']}, here is {runner.ort.__version__}")
    for batch in options.batch:
        for precision, bundle in bundles.items():
            about = {"implementation": "onnxruntime", "device": "cpu", "precision": precision, "form": options.form}
            about |= {"threads": options.threads, "batch": batch, "guidance": options.guidance}
            timed.append((about, lambda bundle=bundle, batch=batch: draw(bundle, batch)))
    return {"onnxruntime": runner.ort.__version__, "model": content["name"]}, timed


def _name(about):
    words = [about[key] for key in ("implementation", "device", "precision", "form") if key in about]
    if "cache" in about:
        words += ["compiled"] * about["compiled"] + ["keys kept" if about["cache"] == "kept" else "prefix re-fed"]
    return " ".join(words)


def _print(common, results):
    print(", ".join(f"{key} {value}" for key, value in common.items()))
    width = max(len(_name(entry)) for entry in results)
    print(f"{'':<{width}}{'batch':>7}{'threads':>9}{'ms a picture [least .. most]':>38}{'a second':>10}")
    for entry in results:
        text = f"{entry['ms_per_image']:.1f} [{entry['min_ms_per_image']:.1f} .. {entry['max_ms_per_image']:.1f}]"
        print(f"{_name(entry):<{width}}{entry['batch']:>7}{entry['threads'] or 'all':>9}{text:>38}{entry['images_per_second']:>10.3f}")


def run(options):
    if options.command == "compare":
        from detailflow_onnx.bench import compare

        return compare.run(options)
    common, timed = (_baseline if options.command == "baseline" else _runtime)(options)
    if options.turns:
        turns.serve(common, timed)
        return 0
    results = turns.measure(timed, options.repeat, options.warmup)
    if options.json:
        json.dump({**common, "warmup": options.warmup, "repeat": options.repeat, "results": results}, sys.stdout, indent=1)
        print()
    else:
        _print(common, results)
    return 0

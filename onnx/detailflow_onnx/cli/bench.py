"""The commands that measure speed: `baseline` (PyTorch), `runtime` (plain ONNX Runtime), `compare` (both and dflow)."""

import argparse
import json
import sys
from pathlib import Path

from detailflow_onnx.checkpoint.random_model import TOKENS
from detailflow_onnx.checkpoint.source import open_source
from detailflow_onnx.cli.arguments import Commands, choices, number, numbers, words
from detailflow_onnx.cli.export import source_of
from detailflow_onnx.errors import need


def _add_common(p: argparse.ArgumentParser, *, batch: list[int]) -> None:
    default = ",".join(map(str, batch))
    p.add_argument(
        "--batch",
        type=numbers(int, 1),
        default=batch,
        metavar="K[,...]",
        help=f"pictures generated together (default {default})",
    )
    p.add_argument(
        "--guidance", type=number(float, 0), default=1.5, metavar="F", help="guidance scale, 1 is off (default 1.5)"
    )
    p.add_argument(
        "--threads", type=number(int, 0), default=0, metavar="T", help="CPU threads (default 0: one per core)"
    )
    p.add_argument("--warmup", type=number(int, 0), default=1, metavar="N", help="rounds that do not count (default 1)")
    p.add_argument("--repeat", type=number(int, 1), default=3, metavar="N", help="rounds that count (default 3)")
    p.add_argument("--json", action="store_true", help="print the figures as JSON")


def _add_torch(p: argparse.ArgumentParser, prefix: str, device: str) -> None:
    p.add_argument(
        f"--{prefix}precision",
        type=choices("fp32", "bf16"),
        default=["fp32", "bf16"],
        metavar="fp32|bf16[,...]",
        help="precision of PyTorch; bf16 is autocast (default both)",
    )
    p.add_argument(
        "--cache",
        type=choices("none", "kept"),
        default=["none", "kept"],
        metavar="none|kept[,...]",
        help="none: run the whole prefix at each step, as the paper's code does; kept: use a KV cache (default both)",
    )
    p.add_argument("--compile", action="store_true", help="use torch.compile; needs a C++ compiler, on CUDA Triton")
    p.add_argument(device, choices=["cpu", "cuda"], default="cpu", help="device of PyTorch (default cpu)")


def add_commands(commands: Commands) -> None:
    """Add the commands."""
    models = sorted(TOKENS)
    p = commands.add_parser("baseline", help="time the model in PyTorch (pip install './onnx[baseline]')")
    p.set_defaults(run=run_baseline)
    random = "published sizes with random weights (default detailflow-16)"
    p.add_argument("--random", choices=models, default="detailflow-16", help=random)
    p.add_argument("--tokenizer", metavar="DIR", help="a checkpoint instead, as for export")
    p.add_argument("--ar", metavar="DIR", help="its AR model")
    p.add_argument("--encoder-heads", type=number(int, 1), metavar="N", help="head count of the encoder")
    p.add_argument("--decoder-heads", type=number(int, 1), metavar="N", help="head count of the decoder")
    p.add_argument("--seed", type=number(int, 0), default=0, metavar="S", help="of weights and samples (default 0)")
    attention = "scaled_dot_product_attention, or matmuls and a softmax (default sdpa)"
    p.add_argument("--attention", choices=["sdpa", "matmul"], default="sdpa", help=attention)
    turns = "run the rounds that standard input asks for, for compare"
    p.add_argument("--turns", action="store_true", help=turns)
    _add_torch(p, "", "--device")
    _add_common(p, batch=[1])

    p = commands.add_parser("runtime", help="time the graphs of a bundle in plain ONNX Runtime")
    p.set_defaults(run=run_runtime)
    p.add_argument("bundle", metavar="BUNDLE", help="the bundle")
    precision = "precisions of the bundle (default all)"
    p.add_argument("--precision", type=words("precision"), default=None, metavar="P[,...]", help=precision)
    p.add_argument("--form", choices=["mha", "plain"], default="mha", help="form of the graphs (default mha)")
    p.add_argument("--turns", action="store_true", help=turns)
    _add_common(p, batch=[1])

    p = commands.add_parser("compare", help="time dflow, PyTorch and plain ONNX Runtime in turns, and print ratios")
    p.set_defaults(run=run_compare)
    p.add_argument("bundle", metavar="BUNDLE", help="the bundle that dflow runs; PyTorch runs --random")
    dflow = "target/release/dflow"
    p.add_argument("--dflow", default=dflow, metavar="FILE", help=f"the command (default {dflow})")
    p.add_argument("--device", default="cpu", metavar="D", help="device of dflow (default cpu)")
    precision = "precisions of dflow (default int8,fp32)"
    p.add_argument("--precision", type=words("precision"), default=["int8", "fp32"], metavar="P[,...]", help=precision)
    form = "forms of dflow (default its own choice; with --runtime also mha)"
    p.add_argument("--form", type=words("form"), default=None, metavar="FORM[,...]", help=form)
    p.add_argument("--random", choices=models, default="detailflow-16", help="model of PyTorch (default detailflow-16)")
    runtime = "compare with plain ONNX Runtime run from Python on the same graphs, form mha"
    p.add_argument("--runtime", action="store_true", help=runtime)
    p.add_argument("--no-baseline", action="store_true", help="omit PyTorch")
    _add_torch(p, "torch-", "--torch-device")
    _add_common(p, batch=[1, 16])


def run_baseline(options: argparse.Namespace) -> int:
    """The command `baseline`."""
    from detailflow_onnx.bench import baseline

    if options.tokenizer or options.ar:
        both = options.tokenizer and options.ar
        need(both, "baseline needs both --tokenizer DIR and --ar DIR, or --random MODEL")
        options.random = None
    common, contestants = baseline.contestants(open_source(source_of(options)), options)
    return _run_rounds(common, contestants, options)


def run_runtime(options: argparse.Namespace) -> int:
    """The command `runtime`."""
    from detailflow_onnx.bench import runtime
    from detailflow_onnx.bundle.single import opened

    with opened(Path(options.bundle)) as folder:
        return _run_rounds(*runtime.contestants(folder, options), options)


def run_compare(options: argparse.Namespace) -> int:
    """The command `compare`."""
    from detailflow_onnx.bench import compare

    return compare.run(options)


def _run_rounds(common: dict, contestants: list, options: argparse.Namespace) -> int:
    from detailflow_onnx.bench import report, rounds

    if options.turns:
        rounds.serve(common, contestants)
        return 0
    results = rounds.measure(contestants, options.repeat, options.warmup)
    if options.json:
        head = {**common, "warmup": options.warmup, "repeat": options.repeat}
        json.dump({**head, "results": results}, sys.stdout, indent=1)
        print()
    else:
        report.print_results(common, results)
    return 0

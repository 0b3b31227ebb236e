"""The command line. Exit status: 0 done, 1 refused or past tolerance (one sentence on stderr), 2 wrong usage."""

import argparse
import json
import math
import os
import signal
import sys
import threading
from pathlib import Path

from detailflow_onnx.bench import commands as speed
from detailflow_onnx.cli import train as training
from detailflow_onnx import __version__
from detailflow_onnx.errors import Refused, need, stop
from detailflow_onnx.bundle.manifest import GRAPHS, PRECISIONS, graph_file
from detailflow_onnx.checkpoint.random_model import TOKENS
from detailflow_onnx.checkpoint.source import FIELDS, open_source, origins

SAMPLING = {"guidance": 1.5, "gradual": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0}


def _choices(*allowed):
    def read(text):
        out = list(dict.fromkeys(text.split(",")))
        if not set(out) <= set(allowed):
            raise argparse.ArgumentTypeError(f"{text!r}: a comma-separated list of {', '.join(allowed)} is needed")
        return out

    return read


_precisions = _choices(*PRECISIONS)


def _words(what):
    """A comma-separated list of names that the bundle knows."""

    def read(text):
        out = list(dict.fromkeys(text.split(",")))
        if not all(out):
            raise argparse.ArgumentTypeError(f"{text!r}: a comma-separated list of {what}s is needed")
        return out

    return read


def _number(kind, least, most=math.inf, *, above=False, many=False):
    if many:
        one = _number(kind, least, most, above=above)
        return lambda text: list(dict.fromkeys(one(part) for part in text.split(",")))

    def read(text):
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        if not (least < value if above else least <= value) or not value <= most or math.isinf(value):
            bound = f"{'above' if above else 'at least'} {least}" + (f" and at most {most}" if most < math.inf else "")
            raise argparse.ArgumentTypeError(f"{text!r}: a number {bound} is needed")
        return value

    return read


def parser():
    top = argparse.ArgumentParser(prog="detailflow_onnx", description="Make and measure DetailFlow bundles.")
    top.add_argument("--version", action="version", version=__version__)
    commands = top.add_subparsers(dest="command", required=True)

    p = commands.add_parser("export", help="write a bundle from a checkpoint, or from random weights")
    p.add_argument("--out", required=True, metavar="BUNDLE", help="the folder to write; an older bundle there is replaced")
    p.add_argument("--tokenizer", metavar="DIR", help="tokenizer checkpoint: config.json, config.yaml, checkpoints/*.pt or *.safetensors")
    p.add_argument("--ar", metavar="DIR", help="autoregressive checkpoint, the same layout")
    p.add_argument("--tokenizer-weights", metavar="FILE", help="the weights, when there are several or they lie elsewhere")
    p.add_argument("--ar-weights", metavar="FILE")
    p.add_argument("--siglip-config", metavar="FILE", help="the backbone's config.json, for head counts")
    p.add_argument("--encoder-heads", type=_number(int, 1), metavar="N")
    p.add_argument("--decoder-heads", type=_number(int, 1), metavar="N")
    p.add_argument("--random", choices=sorted(TOKENS), help="published shapes with random weights, for measuring")
    p.add_argument("--seed", type=_number(int, 0), default=0, metavar="S", help="of --random (default 0)")
    p.add_argument("--only", choices=["decoder"], help="leave out what draws and what encodes; --ar is not needed then, and only tells the classes")
    p.add_argument("--labels", metavar="FILE", help="class names, one a line (default: labels.txt in --ar, ImageNet's for 1000 classes)")
    p.add_argument("--name", help="what to call the model (default: the folder above the tokenizer)")
    p.add_argument("--precision", type=_precisions, default=["fp32"], metavar="fp32|fp16|int8|int4[,...]", help="one or several, the default of the bundle first; default fp32")
    p.add_argument("--judge", metavar="TOKENS.json", help="judge the variants by these pictures, as dflow encode writes them (default: some that the model draws); none leaves it out, which saves minutes with a large model")
    p.add_argument("--license", default="unknown", metavar="TEXT", help="of the weights: an SPDX expression or a sentence")
    p.add_argument("--license-file", metavar="FILE", help="copied into the bundle as LICENSE.md")
    p.add_argument("--guidance", type=_number(float, 0), default=SAMPLING["guidance"], metavar="F", help="default sampling: scale (default 1.5)")
    p.add_argument("--gradual", action="store_true", help="default sampling: lower the scale over the steps")
    p.add_argument("--temperature", type=_number(float, 0), default=SAMPLING["temperature"], metavar="F", help="default 1; 0 is greedy")
    p.add_argument("--top-k", type=_number(int, 0), default=SAMPLING["top_k"], metavar="K", help="default 0: off")
    p.add_argument("--top-p", type=_number(float, 0, 1, above=True), default=SAMPLING["top_p"], metavar="P", help="default 1: off")

    p = commands.add_parser("verify", help="compare a bundle with expected numbers")
    p.add_argument("bundle", metavar="BUNDLE")
    p.add_argument("--expected", required=True, metavar="FILE.npz")
    p.add_argument("--json", action="store_true", help="print the figures as JSON")

    speed.add_commands(commands, number=_number, choices=_choices, one_of=_words, models=sorted(TOKENS))
    training.add_commands(commands, number=_number)
    return top


def _print_quality(rows, lengths):
    from detailflow_onnx.bundle.quality import past

    print(f"{'precision':<10}{'form':<8}{'weights':>12}{'kl, nats':>11}{'worst step':>11}{'logits max':>11}{'rms':>9}{'likeliest':>10}{'psnr, dB':>15}{'encoder':>9}")
    for row in rows:
        quality, none = row["quality"], dict.fromkeys(("kl", "kl_worst", "logits_max", "logits_rms", "agreement"))
        ar, psnr = quality.get("ar", none), quality["decoder"]["psnr"].values()
        cells = [(ar["kl"], 11), (ar["kl_worst"], 11), (ar["logits_max"], 11), (ar["logits_rms"], 9), (ar["agreement"], 10)]
        text = "".join(f"{'-' if value is None else format(value, '.3g'):>{width}}" for value, width in cells)
        encoder = f"{quality['encoder']['agreement']:.3f}" if "encoder" in quality else "-"
        weights = lengths[f"weights.{row['precision']}.bin"]
        print(f"{row['precision']:<10}{row['form']:<8}{weights:>12}{text}{f'{min(psnr):.1f}..{max(psnr):.1f}':>15}{encoder:>9}")
        for sentence in past(row["precision"], quality):
            print(f"detailflow_onnx: {row['precision']} {row['form']}: {sentence}", file=sys.stderr)


def _license(path):
    try:
        return Path(path).read_bytes() if path else None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror}") from None


def _export(options):
    from detailflow_onnx.bundle import writer as bundle
    from detailflow_onnx.bundle import self_check as check

    out = Path(os.path.abspath(options.out))
    bundle.check_place(out)
    license_file = _license(options.license_file)
    model = open_source(options)
    sampling = {key: getattr(options, key) for key in SAMPLING}
    need(options.top_k <= model.codes, f"--top-k {options.top_k} is more than the codebook_size {model.codes}")
    with bundle.beside(out) as work:
        content = bundle.write(
            model, work, precisions=options.precision, license=options.license, license_file=license_file,
            origins=origins(options, model), sampling=sampling, graphs=(options.only,) if options.only else GRAPHS,
        )  # fmt: skip
        measured = check.check(work, {key: getattr(options, key) for key in FIELDS}, options.judge)
        bundle.note_quality(work, content, measured)
    lengths = {item["path"]: item["length"] for item in content["files"]}
    print(f"{'graph':<26}{'bytes':>12}   error against numpy")
    # A graph that two forms share is one file.
    rows = {graph_file(row["graph"], row["precision"], row["form"]): row for row in reversed(measured["errors"])}
    for name, row in reversed(rows.items()):
        print(f"{name:<26}{lengths[name]:>12}   {row['error']:.2e}{'' if row['precision'] == 'fp32' else ' (relative, root mean square)'}")
    run = {(row["precision"], row["form"]) for row in measured["errors"]}
    for variant in (v for v in content["variants"] if (v["precision"], v["form"]) not in run):
        print(f"{variant['precision']} {variant['form']}: not run, it needs {'libdetailflow (dflow verify runs it)' if variant['form'] == 'native' else 'ONNX Runtime ' + variant['min_runtime']}")
    for name in (n for n in lengths if n.startswith("weights.")):
        print(f"{name:<26}{lengths[name]:>12}")
    _print_quality(measured["quality"], lengths)
    print(f"{out}: {sum(lengths.values()) / 1e6:.1f} MB, tokenizer {content['tokenizer_id']}")
    return 0


def _verify(options):
    from detailflow_onnx.bundle.verify import verify

    rows = verify(options.bundle, options.expected)
    failed = [row for row in rows if row["ok"] is False]
    if options.json:
        print(json.dumps({"ok": not failed, "figures": rows}, indent=1))
    else:
        print(f"{'precision':<11}{'form':<7}{'figure':<9}{'value':>12}{'tolerance':>11}")
        for row in rows:
            bound = "" if row["tolerance"] is None else f"{row['tolerance']:g}"
            print(f"{row['precision']:<11}{row['form']:<7}{row['figure']:<9}{row['value']:>12.6g}{bound:>11}{'' if row['ok'] is not False else '  FAILED'}")
    for row in failed:
        print(f"{row['precision']} {row['form']}: {row['figure']} is {row['value']:.6g}, past the tolerance {row['tolerance']:g}", file=sys.stderr)
    return 1 if failed else 0


def main(arguments=None):
    command_line = parser()
    options = command_line.parse_args(arguments)
    if options.command == "export":
        if options.random and (options.tokenizer or options.ar):
            command_line.error("--random takes neither --tokenizer nor --ar")
        if not options.random and not (options.tokenizer and (options.ar or options.only)):
            command_line.error("export needs --tokenizer DIR and --ar DIR, or --tokenizer DIR and --only decoder, or --random MODEL")
        given = [key for key in SAMPLING if options.only and getattr(options, key) != SAMPLING[key]]
        if given:
            command_line.error(f"--only decoder draws nothing: it takes no --{given[0].replace('_', '-')}")
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, stop)  # so that what is half-written is taken away
    try:
        if options.command in speed.COMMANDS:
            return speed.run(options)
        if options.command == "train":
            return training.run(options)
        return _export(options) if options.command == "export" else _verify(options)
    except Refused as error:
        print(f"detailflow_onnx: {error}", file=sys.stderr)
    except OSError as error:
        print(f"detailflow_onnx: {error.filename or ''}: {error.strerror or error}", file=sys.stderr)
    except (KeyboardInterrupt, BrokenPipeError):
        print("detailflow_onnx: interrupted", file=sys.stderr)
    return 1

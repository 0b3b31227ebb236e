"""The command `export`: write a bundle from a checkpoint or from random weights."""

import argparse
import dataclasses
import os
import sys
from pathlib import Path
from typing import Any

from detailflow_onnx import output
from detailflow_onnx.bundle.variants import GRAPHS, PRECISIONS, ROUNDING, graph_file
from detailflow_onnx.checkpoint.published import Source
from detailflow_onnx.checkpoint.random_model import TOKENS
from detailflow_onnx.checkpoint.recipe_file import NAME, TEXTS, bundle_defaults
from detailflow_onnx.checkpoint.source import open_source, origins
from detailflow_onnx.cli.arguments import Commands, choices, number
from detailflow_onnx.errors import need, printable
from detailflow_onnx.files import TEXT, read_bytes

SAMPLING: dict[str, Any] = {"guidance": 1.5, "gradual": False, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
FINISH = ("alpha_cut", "colors", "despeckle", "tile")

Rows = list[dict[str, Any]]


def add_commands(commands: Commands) -> None:
    """Add the command."""
    p = commands.add_parser("export", help="write a bundle from a checkpoint, or from random weights")
    p.set_defaults(run=run)
    where = p.add_mutually_exclusive_group(required=True)
    where.add_argument("--out", metavar="BUNDLE", help="folder to write; an existing bundle is replaced")
    where.add_argument("--single", metavar="OUT.dflow", help="write the bundle as a single file instead")
    p.add_argument(
        "--tokenizer",
        metavar="DIR",
        help="tokenizer checkpoint: config.json, config.yaml, checkpoints/*.pt or *.safetensors",
    )
    p.add_argument("--ar", metavar="DIR", help="autoregressive checkpoint, in the same layout")
    p.add_argument(
        "--tokenizer-weights", metavar="FILE", help="the weight file, if there are several or it is elsewhere"
    )
    p.add_argument("--ar-weights", metavar="FILE", help="the same for the AR model")
    p.add_argument("--siglip-config", metavar="FILE", help="config.json of the backbone, for head counts")
    p.add_argument("--encoder-heads", type=number(int, 1), metavar="N", help="head count of the encoder")
    p.add_argument("--decoder-heads", type=number(int, 1), metavar="N", help="head count of the decoder")
    p.add_argument("--random", choices=sorted(TOKENS), help="published sizes with random weights, for benchmarks")
    p.add_argument("--seed", type=number(int, 0), default=0, metavar="S", help="seed of --random (default 0)")
    p.add_argument(
        "--only",
        choices=["decoder"],
        help="omit the AR model and the encoder; --ar is then optional and only provides the number of classes",
    )
    p.add_argument(
        "--labels",
        metavar="FILE",
        help="class names, one per line (default: labels.txt in --ar, ImageNet's for 1000 classes)",
    )
    p.add_argument(
        "--name", help="name of the model (default: that of the recipe, else the folder above the tokenizer)"
    )
    p.add_argument(
        "--precision",
        type=choices(*PRECISIONS),
        default=["fp32"],
        metavar="fp32|fp16|int8|int4[,...]",
        help="one or more, the default of the bundle first (default fp32)",
    )
    p.add_argument(
        "--rounding",
        choices=ROUNDING,
        default=ROUNDING[0],
        help="of int4 weights: feedback (default) makes up for rounding errors, over pictures that the model draws "
        "first, which takes memory for its fp32 weights; nearest takes neither time nor memory",
    )
    p.add_argument(
        "--judge",
        metavar="TOKENS.json",
        help="measure quality on these pictures, as written by dflow encode (default: pictures that the model "
        "generates); none skips it, which saves minutes for a large model",
    )
    p.add_argument(
        "--unchecked",
        action="store_true",
        help="do not run the new graphs; ONNX Runtime is then not needed, and the bundle states no quality",
    )
    p.add_argument(
        "--license",
        metavar="TEXT",
        help="license of the weights: an SPDX expression or a sentence (default: that of the recipe, else unknown)",
    )
    p.add_argument("--license-file", metavar="FILE", help="copied into the bundle as LICENSE.md")
    p.add_argument(
        "--guidance",
        type=number(float, 0),
        metavar="F",
        help="default guidance scale of the bundle (default: that of the recipe, else 1.5)",
    )
    p.add_argument("--gradual", action="store_true", help="by default lower the guidance scale over the steps")
    p.add_argument(
        "--temperature",
        type=number(float, 0),
        metavar="F",
        help="default temperature of the bundle (default: that of the recipe, else 1); 0 is greedy",
    )
    p.add_argument(
        "--top-k",
        type=number(int, 0),
        metavar="K",
        help="default top-k of the bundle (default 0: off)",
    )
    p.add_argument(
        "--top-p",
        type=number(float, 0, 1, above=True),
        metavar="P",
        help="default top-p of the bundle (default: that of the recipe, else 1: off)",
    )
    p.add_argument(
        "--alpha-cut",
        type=number(int, 1, 255),
        metavar="A",
        help="by default make pixels of finished pictures opaque from this alpha on, all others transparent (1 to 255)",
    )
    p.add_argument(
        "--colors",
        type=number(int, 2, 256),
        metavar="K",
        help="by default reduce finished pictures to at most this many colours (2 to 256)",
    )
    p.add_argument("--despeckle", action="store_true", help="by default remove stray pixels of finished pictures")
    p.add_argument("--tile", action="store_true", help="by default make finished pictures that are opaque repeat")


def _is_given(value: Any) -> bool:
    """Whether an option, or a flag, was on the command line."""
    return value is not None and value is not False


def check_usage(command_line: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Reject combinations of options."""
    if options.random and (options.tokenizer or options.ar):
        command_line.error("--random cannot be combined with --tokenizer or --ar")
    if options.unchecked and options.judge not in (None, "none"):
        command_line.error("--unchecked cannot be combined with --judge: quality is measured by running the graphs")
    if not options.random and not (options.tokenizer and (options.ar or options.only)):
        ways = "--tokenizer DIR and --ar DIR, or --tokenizer DIR and --only decoder, or --random MODEL"
        command_line.error(f"export needs {ways}")
    given = [key for key in SAMPLING if options.only and _is_given(getattr(options, key))]
    if given:
        flag = f"--{given[0].replace('_', '-')}"
        command_line.error(f"--only decoder cannot be combined with {flag}: a decoder does not sample")


def complete(options: argparse.Namespace) -> None:
    """Fill options that were not given from the recipe beside the checkpoint, and print what it gave."""
    homes = {} if options.random else {options.ar: (*TEXTS, *SAMPLING), options.tokenizer: TEXTS}
    if options.only:
        homes = {options.tokenizer: TEXTS}
    for home, keys in ((home, keys) for home, keys in homes.items() if home):
        values, problem = bundle_defaults(home)
        if problem:
            print(printable(problem), file=sys.stderr)
        taken = {key: values[key] for key in keys if key in values and getattr(options, key) is None}
        for key, value in taken.items():
            setattr(options, key, value)
        if taken:
            shown = {key: value if isinstance(value, str) else f"{value:g}" for key, value in taken.items()}
            listed = ", ".join(f"{key.replace('_', '-')} {value}" for key, value in shown.items())
            print(printable(f"{Path(home) / NAME}: {listed} (options replace these)"), file=sys.stderr)
    for key, default in (*SAMPLING.items(), ("license", "unknown")):
        if getattr(options, key) is None:
            setattr(options, key, default)


def source_of(options: argparse.Namespace) -> Source:
    """The options that choose a model. Missing ones keep their default."""
    names = [field.name for field in dataclasses.fields(Source)]
    return Source(**{name: getattr(options, name) for name in names if getattr(options, name, None) is not None})


def _check(folder: Path, source: Source, judge: str | None) -> dict[str, Any]:
    from detailflow_onnx.bundle import self_check

    return self_check.check(folder, source, judge)


def _license(path: str | None) -> bytes | None:
    return read_bytes(path, TEXT) if path else None


def run(options: argparse.Namespace) -> int:
    """The command."""
    from detailflow_onnx.bundle import manifest, single, writer

    out = Path(os.path.abspath(options.single or options.out))
    (single if options.single else output).check_destination(out)
    license_file = _license(options.license_file)
    complete(options)
    source = source_of(options)
    model = open_source(source)
    sampling = {key: getattr(options, key) for key in SAMPLING}
    need(options.top_k <= model.codes, f"--top-k {options.top_k} exceeds the codebook_size {model.codes}")
    with (output.temporary if options.single else output.replacing)(out) as work:
        content = writer.write(
            model,
            work,
            precisions=options.precision,
            license=options.license,
            license_file=license_file,
            origins=origins(source, model),
            sampling=sampling,
            finish={key: getattr(options, key) for key in FINISH if getattr(options, key)},
            graphs=(options.only,) if options.only else GRAPHS,
            rounding=options.rounding,
        )
        measured = _check(work, source, options.judge) if not options.unchecked else None
        if measured:
            manifest.add_quality(work, content, measured)
        if options.single:
            single.write(work, out)
    lengths = {item["path"]: item["length"] for item in content["files"]}
    if measured:
        _print_graphs(measured["errors"], lengths, content["variants"])
    for name in (n for n in lengths if n.startswith("weights.")):
        print(f"{name:<26}{lengths[name]:>12}")
    if measured:
        _print_quality(measured["quality"], lengths)
    print(f"{out}: {sum(lengths.values()) / 1e6:.1f} MB, tokenizer {content['tokenizer_id']}")
    return 0


def _print_graphs(errors: Rows, lengths: dict[str, int], variants: Rows) -> None:
    print(f"{'graph':<26}{'bytes':>12}   error against the NumPy reference")
    # A graph that two forms share is one file: the first row counts.
    rows = {graph_file(row["graph"], row["precision"], row["form"]): row for row in reversed(errors)}
    for name, row in reversed(rows.items()):
        kind = "" if row["precision"] == "fp32" else " (relative, root mean square)"
        print(f"{name:<26}{lengths[name]:>12}   {row['error']:.2e}{kind}")
    checked = {(row["precision"], row["form"]) for row in errors}
    for variant in (v for v in variants if (v["precision"], v["form"]) not in checked):
        needed = f"ONNX Runtime {variant['min_runtime']}"
        if variant["form"] == "native":
            needed = "libdetailflow (dflow verify runs it)"
        print(f"{variant['precision']} {variant['form']}: not run, it needs {needed}")


def _print_quality(rows: Rows, lengths: dict[str, int]) -> None:
    from detailflow_onnx.bundle.quality import beyond_tolerance

    heads = f"{'kl, nats':>11}{'worst step':>11}{'logits max':>11}{'rms':>9}{'same top':>10}"
    print(f"{'precision':<10}{'form':<8}{'weights':>12}{heads}{'psnr, dB':>15}{'encoder':>9}")
    columns = {"kl": 11, "kl_worst": 11, "logits_max": 11, "logits_rms": 9, "agreement": 10}
    for row in rows:
        quality = row["quality"]
        ar, psnr = quality.get("ar", {}), quality["decoder"]["psnr"].values()
        cells = [(format(ar[key], ".3g") if key in ar else "-").rjust(width) for key, width in columns.items()]
        encoder = f"{quality['encoder']['agreement']:.3f}" if "encoder" in quality else "-"
        weights, levels = lengths[f"weights.{row['precision']}.bin"], f"{min(psnr):.1f}..{max(psnr):.1f}"
        print(f"{row['precision']:<10}{row['form']:<8}{weights:>12}{''.join(cells)}{levels:>15}{encoder:>9}")
        for sentence in beyond_tolerance(row["precision"], quality):
            print(f"detailflow_onnx: {row['precision']} {row['form']}: {sentence}", file=sys.stderr)

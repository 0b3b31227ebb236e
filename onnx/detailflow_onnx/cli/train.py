"""The command `train`: data, the three stages and the evaluation. PyTorch is imported when one of them runs."""

from __future__ import annotations

import argparse
import dataclasses
import os
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from detailflow_onnx.cli.arguments import Commands, number, sides
from detailflow_onnx.errors import need, printable
from detailflow_onnx.output import write_text

if TYPE_CHECKING:  # these import PyTorch
    from detailflow_onnx.train.data.folder import Folder
    from detailflow_onnx.train.loop import Stage
    from detailflow_onnx.train.process import Process
    from detailflow_onnx.train.recipe import Optimising, Recipe

STAGES = {
    "tokenizer": "stage 1: train the tokenizer",
    "codes": "stage 2: encode the pictures with the tokenizer in OUT/tokenizer",
    "ar": "stage 3: train the autoregressive model on OUT/codes",
}
RECIPES = "small, small-64, sprites, sprites-by, sprites-64, detailflow-16, detailflow-32, detailflow-64"
THREADS = "CPU threads (default: as many as are fastest on a first batch; a resumed run keeps its number)"


def add_commands(commands: Commands) -> None:
    """Add the command."""
    help_ = "train a model: data, tokenizer, codes, ar, evaluate (pip install './onnx[train]')"
    steps = commands.add_parser("train", help=help_).add_subparsers(dest="stage", required=True)
    _add_data(steps)
    for stage, text in STAGES.items():
        _add_stage(steps.add_parser(stage, help=text), stage)
    _add_evaluate(steps)


def _add_data(steps: Commands) -> None:
    sets = steps.add_parser("data", help="build a set of pictures").add_subparsers(dest="set", required=True)
    _add_cut(sets)
    p = sets.add_parser("sprites", help="32-pixel tiles of Dungeon Crawl Stone Soup, CC0")
    p.set_defaults(run=run_data)
    source = "the tiles: releases/Nov-2015 of crawl/tiles, as a folder or a .tar.gz"
    p.add_argument("--source", required=True, metavar="DIR", help=source)
    more = "adds the tiles of Angband by Adam Bolt: a folder with Debian's packages angband-data and angband"
    p.add_argument("--angband", metavar="DIR", help=more)
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the class folders")
    p.add_argument(
        "--seed", type=number(int, 0), default=0, metavar="S", help="of randomly composed pictures (default 0)"
    )
    p = sets.add_parser("sprites-by", help="32-pixel tiles of Angband by David Gervais, CC BY 3.0")
    p.set_defaults(run=run_attributed)
    both = "a folder with Debian's packages angband-data and angband"
    p.add_argument("--angband", required=True, metavar="DIR", help=both)
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the class folders")
    p = sets.add_parser("icons", help="64-pixel emoji of Noto, Twemoji and Fluent")
    p.set_defaults(run=run_icons)
    names = "emoji-datasource-google, emoji-datasource-twitter, @lobehub/fluent-emoji-3d"
    packages = f"an unpacked npm package: {names}; may be repeated"
    p.add_argument("--source", required=True, action="append", metavar="DIR", help=packages)
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the class folders")


def _add_cut(sets: Commands) -> None:
    p = sets.add_parser("cut", help="cut sprite sheets and strips into frames")
    p.set_defaults(run=run_cut)
    source = "folder of class folders with sheets; the class of a sheet directly in it is its name"
    p.add_argument("--source", required=True, metavar="DIR", help=source)
    p.add_argument("--out", required=True, metavar="DIR", help="folder for the class folders of frames")
    p.add_argument("--tile", required=True, type=sides, metavar="WxH", help="pixels of a frame, such as 32x32")
    count = number(int, 0)
    p.add_argument("--margin", type=count, default=0, metavar="M", help="pixels around the frames (default 0)")
    p.add_argument("--spacing", type=count, default=0, metavar="S", help="pixels between two frames (default 0)")


def _add_stage(p: argparse.ArgumentParser, stage: str) -> None:
    p.set_defaults(run=run_stage)
    p.add_argument("--config", required=True, metavar="FILE", help=f"a recipe: a file, or one of {RECIPES}")
    data = "a folder of class folders, or of train/ and val/ with class folders"
    p.add_argument("--data", required=stage != "ar", metavar="DIR", help=data)
    out = "folder of the stages' folders; an unfinished stage in it is resumed"
    p.add_argument("--out", required=True, metavar="DIR", help=out)
    if stage != "codes":
        begin = (
            "start from another run, or from what `detailflow_onnx checkpoint` wrote: a folder with tokenizer/ and ar/"
        )
        p.add_argument("--start", metavar="DIR", help=begin)
    p.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, mps (default the best available)")
    p.add_argument("--threads", type=number(int, 1), default=None, metavar="T", help=THREADS)
    p.add_argument("--steps", type=number(int, 1), default=None, metavar="N", help="replaces the steps of the recipe")
    seconds = "end this long after the start at the latest; the learning rate follows the time"
    p.add_argument("--seconds", type=number(float, 0, above=True), default=None, metavar="S", help=seconds)


def _add_evaluate(steps: Commands) -> None:
    p = steps.add_parser("evaluate", help="measure a trained model on held-out pictures and write a report")
    p.set_defaults(run=run_evaluate)
    p.add_argument("--tokenizer", required=True, metavar="DIR", help="tokenizer checkpoint")
    p.add_argument("--ar", required=True, metavar="DIR", help="autoregressive checkpoint")
    data = "the pictures it was trained on; the held-out part is measured"
    p.add_argument("--data", required=True, metavar="DIR", help=data)
    p.add_argument("--out", required=True, metavar="DIR", help="folder for report.md, report.json and sheets")
    p.add_argument("--samples", type=number(int, 1), default=50, metavar="K", help="samples of each class (default 50)")
    p.add_argument("--guidance", type=number(float, 0), default=1.5, metavar="F", help="guidance scale (default 1.5)")
    p.add_argument("--gradual", action="store_true", help="lower the guidance scale over the steps")
    p.add_argument("--temperature", type=number(float, 0), default=1.0, metavar="F", help="default 1; 0 is greedy")
    p.add_argument("--top-k", type=number(int, 0), default=0, metavar="K", help="default 0: off")
    p.add_argument("--top-p", type=number(float, 0, 1, above=True), default=1.0, metavar="P", help="default 1: off")
    p.add_argument("--seed", type=number(int, 0), default=0, metavar="S", help="of the first samples (default 0)")
    search = "also encode held-out pictures with a search for better tokens, of effort 1 to 4 (default 0: off); slow"
    p.add_argument("--effort", type=number(int, 0, 4), default=0, metavar="N", help=search)
    names = "class names of the model, one per line (default: labels.txt beside it, else those of the data)"
    p.add_argument("--labels", metavar="FILE", help=names)
    keep = "folder of the classifier, which is reused for the same data (default: --out)"
    p.add_argument("--classifier", metavar="DIR", help=keep)
    p.add_argument("--threads", type=number(int, 1), default=None, metavar="T", help=THREADS.partition(";")[0] + ")")
    p.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, mps (default cpu)")
    against = "another pair of checkpoints to measure; may be repeated"
    pair = ("TOKENIZER", "AR")
    p.add_argument("--against", nargs=2, action="append", default=[], metavar=pair, help=against)


def run_data(options: argparse.Namespace) -> int:
    """The command `train data`."""
    from detailflow_onnx.train.data.sprites.build import build

    summary = build(Path(options.source), Path(options.out), seed=options.seed, more=options.angband)
    counts = summary["counts"]
    print(f"{options.out}: {sum(counts.values())} pictures of {len(counts)} classes")
    return 0


def run_attributed(options: argparse.Namespace) -> int:
    """The command `train data sprites-by`."""
    from detailflow_onnx.train.data.sprites.build import build_attributed

    summary = build_attributed(Path(options.angband), Path(options.out))
    counts, artist = summary["counts"], summary["source"]["name"]
    print(f"{options.out}: {sum(counts.values())} pictures of {len(counts)} classes; {artist}, {summary['license']}")
    return 0


def run_icons(options: argparse.Namespace) -> int:
    """The command `train data icons`."""
    from detailflow_onnx.train.data.icons import build

    summary = build([Path(source) for source in options.source], Path(options.out))
    count, without = len(summary["counts"]), len(summary["left_out"])
    missing = f", {without} missing or unreadable ones left out" if without else ""
    print(f"{options.out}: {summary['pictures']} pictures of {count} classes{missing}; {summary['license']}")
    return 0


def run_cut(options: argparse.Namespace) -> int:
    """The command `train data cut`."""
    from detailflow_onnx.train.data.cut import Grid, cut

    width, height = options.tile
    summary = cut(options.source, options.out, Grid(width, height, options.margin, options.spacing))
    for path, reason in summary["left_out"]:
        print(printable(f"{path}: left out: {reason}"), file=sys.stderr)
    counts = summary["counts"]
    blank = f", {summary['blank']} of one colour left out" if summary["blank"] else ""
    classes = f"{len(counts)} class{'es' if len(counts) > 1 else ''}"
    print(f"{options.out}: {sum(counts.values())} frames of {classes}{blank}")
    return 0


def run_evaluate(options: argparse.Namespace) -> int:
    """The command `train evaluate`."""
    from detailflow_onnx import train  # noqa: F401  (refuses if PyTorch is missing)

    import torch  # isort: skip

    from detailflow_onnx.train.evaluation import report
    from detailflow_onnx.train.evaluation.run import run

    content = run(
        options.tokenizer,
        options.ar,
        options.data,
        options.out,
        samples=options.samples,
        guidance=options.guidance,
        temperature=options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        gradual=options.gradual,
        seed=options.seed,
        effort=options.effort,
        against=options.against,
        labels_file=options.labels,
        keep=options.classifier,
        threads_given=options.threads,
        device=torch.device(options.device) if options.device else None,
    )
    print(report.summary(content))
    print(Path(options.out) / "report.md")
    return 0


def run_stage(options: argparse.Namespace) -> int:
    """The commands `train tokenizer`, `train codes` and `train ar`."""
    began = time.monotonic()
    from detailflow_onnx import train  # noqa: F401  (refuses if PyTorch is missing)
    from detailflow_onnx.train import loop, recipe
    from detailflow_onnx.train.process import Process

    chosen = recipe.read(options.config)
    out = Path(options.out)
    _check_earlier_stages(options, out)
    if options.stage == "codes":
        need(options.steps is None, "train codes has no --steps: it encodes every picture codes.variants times")
        from detailflow_onnx.train.stages.codes import write

        process = Process(options.device)
        write(
            chosen, _folder(options, chosen, process.first), out / "tokenizer", out / "codes", process, options.threads
        )
        return 0
    chosen = _with_steps(chosen, options.stage, options.steps)
    settings: Optimising = getattr(chosen, options.stage).train
    process = Process(options.device)
    stage = _stage(options, chosen, process)
    home = out / options.stage
    if options.start:
        _begin(stage, Path(options.start) / options.stage, home, process.first)
    seconds = options.seconds and max(1.0, options.seconds - (time.monotonic() - began))
    reached = loop.train(stage, settings, home, process, chosen, seconds, options.threads)
    finished = reached >= settings.steps
    stopped = f"{home}: stopped at step {reached}; the same command resumes it"
    if finished and process.first:
        print(f"{home}: done")
    elif process.first and process.world > 1:
        print(stopped, file=sys.stderr)
    process.leave(0 if finished else 1)
    need(finished, stopped)
    return 0


def _begin(stage: Stage, start: Path, home: Path, first: bool) -> None:
    """Give a new run the weights of another one."""
    if os.path.lexists(home / "resume.pt"):
        if first:
            print(f"{home}: it has weights already; --start is not read", file=sys.stderr)
        return
    need((start / "config.json").exists(), f"{start}: no checkpoint to start from")
    need(start.resolve() != home.resolve(), f"{start}: --start is the run itself")
    new = stage.begin_with(start)
    if first:
        said = f"; new: {', '.join(new)}" if new else ""
        print(printable(f"{home}: starting from {start}{said}"), file=sys.stderr)


def _check_earlier_stages(options: argparse.Namespace, out: Path) -> None:
    """Refuse a stage without the results of the one before, with the command that makes them."""
    data = shlex.quote(options.data) if options.data else "DIR"
    config, folder = shlex.quote(options.config), shlex.quote(options.out)

    def check(stage: str, present: bool) -> None:
        command = f"python -m detailflow_onnx train {stage} --config {config} --data {data} --out {folder}"
        missing = f"{out / stage}: {'no checkpoint' if stage == 'tokenizer' else 'no codes'} yet"
        need(present, f"{missing}; run `train {stage}` first: {command}")

    if options.stage != "tokenizer":
        home = out / "tokenizer"
        weights = any(home.glob("checkpoints/*.pt")) or any(home.glob("checkpoints/*.safetensors"))
        check("tokenizer", (home / "config.json").exists() and weights)
    if options.stage == "ar":
        check("codes", os.path.lexists(out / "codes" / "codes.json"))


def _with_steps(recipe: Recipe, stage: str, steps: int | None) -> Recipe:
    """The recipe with another number of steps of one stage."""
    if not steps:
        return recipe
    part = getattr(recipe, stage)
    part = dataclasses.replace(part, train=dataclasses.replace(part.train, steps=steps))
    return dataclasses.replace(recipe, **{stage: part})


def _stage(options: argparse.Namespace, recipe: Recipe, process: Process) -> Stage:
    if options.stage == "tokenizer":
        from detailflow_onnx.train.stages.tokenizer import TokenizerStage

        return TokenizerStage(recipe, _folder(options, recipe, process.first), process)
    from detailflow_onnx.train.stages.ar import ArStage

    out = Path(options.out)
    return ArStage(recipe, out / "codes", process, out / "tokenizer")


def _folder(options: argparse.Namespace, recipe: Recipe, first: bool) -> Folder:
    """The pictures. The first process prints what they are, and writes what is odd about them."""
    from detailflow_onnx.train.data.folder import open_folder

    data = recipe.data
    folder = open_folder(options.data, size=data.size, channels=data.channels, held_out=data.held_out)
    need(len(folder.train), f"{options.data}: no pictures to train on")
    if not first:
        return folder
    for path, reason in folder.bad:
        print(printable(f"{path}: left out: {reason}"), file=sys.stderr)
    counts = f"{len(folder.train)} pictures of {len(folder.classes)} classes, {len(folder.held_out)} held out"
    said, note = folder.summary(), Path(options.out) / "pictures.txt"
    lines = [printable(f"{path}: {text}") + "\n" for path, text in folder.bad + folder.left_out + folder.odd]
    if lines:
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, "".join(lines))
        said += f" (listed in {note})"
    else:
        note.unlink(missing_ok=True)
    print(f"{options.data}: {counts}{'; ' if said else ''}{said}", file=sys.stderr)
    return folder

"""The command `train`: data, the three stages and their measure. PyTorch is looked for when one of them runs, not before."""

import sys
from pathlib import Path

from detailflow_onnx.errors import need

STAGES = ("tokenizer", "codes", "ar")


def add_commands(commands, *, number):
    top = commands.add_parser("train", help="train a model: data, tokenizer, codes, ar, evaluate (pip install './onnx[train]')")
    steps = top.add_subparsers(dest="stage", required=True)

    p = steps.add_parser("data", help="build a set of pictures")
    p.add_argument("set", choices=["sprites"], help="sprites: 32-pixel tiles of Dungeon Crawl Stone Soup, released CC0")
    p.add_argument("--source", required=True, metavar="DIR", help="the tiles: releases/Nov-2015 of crawl/tiles, as a folder or a .tar.gz")
    p.add_argument("--out", required=True, metavar="DIR", help="where the class folders go")
    p.add_argument("--seed", type=number(int, 0), default=0, metavar="S", help="of what is composed at random (default 0)")

    texts = {
        "tokenizer": "stage 1: pictures to tokens and back",
        "codes": "stage 2: the tokens of the pictures, with the tokenizer in OUT/tokenizer",
        "ar": "stage 3: the autoregressive model over OUT/codes",
    }
    for stage in STAGES:
        p = steps.add_parser(stage, help=texts[stage])
        p.add_argument("--config", required=True, metavar="FILE", help="a recipe: a file, or small, sprites, detailflow-16, detailflow-32, detailflow-64")
        p.add_argument("--data", required=stage != "ar", metavar="DIR", help="a folder of classes, or train/ and val/ with them inside")
        p.add_argument("--out", required=True, metavar="DIR", help="where the three stages' folders go; what is there already is gone on with")
        p.add_argument("--device", metavar="D", help="cpu, cuda, cuda:1, mps (default the best there is)")
        p.add_argument("--threads", type=number(int, 1), default=None, metavar="T", help="of the CPU (default one for each core)")
        p.add_argument("--steps", type=number(int, 1), default=None, metavar="N", help="in place of the recipe's")
    p = steps.add_parser("evaluate", help="measure a trained model on held-out pictures, and draw its sheets")
    p.add_argument("--tokenizer", required=True, metavar="DIR", help="tokenizer checkpoint")
    p.add_argument("--ar", required=True, metavar="DIR", help="autoregressive checkpoint")
    p.add_argument("--data", required=True, metavar="DIR", help="the folder of pictures it was trained on: its held-out part is measured")
    p.add_argument("--out", required=True, metavar="DIR", help="where report.md, report.json and sheets go")
    p.add_argument("--samples", type=number(int, 1), default=50, metavar="K", help="of each class (default 50)")
    p.add_argument("--guidance", type=number(float, 0), default=1.5, metavar="F", help="default 1.5")
    p.add_argument("--gradual", action="store_true", help="lower the guidance over the steps")
    p.add_argument("--temperature", type=number(float, 0), default=1.0, metavar="F", help="default 1; 0 is greedy")
    p.add_argument("--top-k", type=number(int, 0), default=0, metavar="K", help="default 0: off")
    p.add_argument("--top-p", type=number(float, 0, 1, above=True), default=1.0, metavar="P", help="default 1: off")
    p.add_argument("--seed", type=number(int, 0), default=0, metavar="S", help="of the first samples; others follow (default 0)")
    p.add_argument("--labels", metavar="FILE", help="the model's class names, one a line (default: labels.txt beside it, else the data's)")
    p.add_argument("--classifier", metavar="DIR", help="where the classifier is kept, to be found again for the same data (default: --out)")
    p.add_argument("--against", nargs=2, action="append", default=[], metavar=("TOKENIZER", "AR"), help="another pair of checkpoints to measure beside it")
    return top


def run(options):
    if options.stage == "data":
        from detailflow_onnx.train.data import sprites

        summary = sprites.build(Path(options.source), Path(options.out), seed=options.seed)
        print(f"{options.out}: {sum(summary['counts'].values())} pictures of {len(summary['counts'])} classes")
        return 0
    if options.stage == "evaluate":
        from detailflow_onnx.train.evaluation import run as evaluate

        return evaluate.main(options)
    return _stage(options)


def _stage(options):
    from detailflow_onnx import train  # noqa: F401  says what is missing
    import dataclasses

    import torch

    from detailflow_onnx.train import recipe as recipes
    from detailflow_onnx.train import loop

    recipe = recipes.read(options.config)
    if options.threads:
        torch.set_num_threads(options.threads)
    out = Path(options.out)
    if options.stage == "codes":
        need(options.steps is None, "train codes takes no --steps: it encodes every picture codes.variants times")
        from detailflow_onnx.train.stages.codes import write

        write(recipe, _folder(options, recipe), out / "tokenizer", out / "codes", loop.Place(options.device))
        return 0
    part = getattr(recipe, options.stage)
    if options.steps:
        part = dataclasses.replace(part, train=dataclasses.replace(part.train, steps=options.steps))
        recipe = dataclasses.replace(recipe, **{options.stage: part})
    place = loop.Place(options.device)
    if options.stage == "tokenizer":
        from detailflow_onnx.train.stages.tokenizer import TokenizerStage

        folder = _folder(options, recipe)
        stage = TokenizerStage(recipe, folder, place)
    else:
        from detailflow_onnx.train.stages.ar import ArStage

        stage = ArStage(recipe, out / "codes", place, out / "tokenizer")
    reached = loop.train(stage, part.train, out / options.stage, place, recipe)
    finished = reached >= part.train.steps
    stopped = f"{out / options.stage}: stopped at step {reached}; the same command goes on from there"
    if finished and place.first:
        print(f"{out / options.stage}: done")
    elif place.first and place.world > 1:
        print(stopped, file=sys.stderr)
    place.leave(0 if finished else 1)
    need(finished, stopped)
    return 0


def _folder(options, recipe):
    from detailflow_onnx.train.data.folder import open_folder

    folder = open_folder(options.data, size=recipe.data.size, channels=recipe.data.channels, held_out=recipe.data.held_out)
    for path, reason in folder.bad:
        print(f"{path}: left out: {reason}", file=sys.stderr)
    need(len(folder.train), f"{options.data}: no pictures to train on")
    print(f"{options.data}: {len(folder.train)} pictures of {len(folder.classes)} classes, {len(folder.held_out)} held out", file=sys.stderr)
    return folder

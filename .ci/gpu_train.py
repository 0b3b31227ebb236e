"""Trains and judges several variants of the sprites model on one card, within a time.

    python3 gpu_train.py --data FOLDER --out FOLDER --work FOLDER [--total SECONDS] [--device cuda] [--tiny]
    python3 gpu_train.py unpack FOLDER --into FOLDER

`onnx` must be importable (PYTHONPATH). Tokenizers are trained side by side, then codes and AR models for each, then all
pairs are judged with one classifier at several sampling settings. A variant that fails is reported and left out. `--out`
gets `figures.json`, `reports.tar.gz` (figures, logs, recipes, sheets) and `models.tar.0`, `models.tar.1`, ... of at most
15 MB each: the checkpoints of the best pairs, weights in fp16. They are written after training and again after judging,
so that a run that is cut off leaves what it had. `unpack` makes folders of checkpoints in fp32 of the parts.
"""

import argparse
import copy
import io
import json
import os
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PART = 15_000_000  # bytes of a part
MODELS = 47_000_000  # bytes of all parts
REPORTS = 9_000_000  # of figures and sheets
HERE = Path(__file__).resolve()
START = time.monotonic()

DATA = {
    "size": 32, "channels": 4, "held_out": 0.05, "balance": 0.5, "flips": True, "hue": 0.3, "recolour": 0.25,
    "shift": 2, "wrap": True, "drawings": True,
}  # fmt: skip
TOKENIZER = {
    "model": {
        "count": 32, "group": 4, "causal": 4, "codes": 4096, "code_width": 8, "power": 1.5,
        "encoder": {"width": 192, "depth": 4, "heads": 4, "hidden": 768, "patch": 4},
        "decoder": {"width": 256, "depth": 5, "heads": 4, "hidden": 1024, "patch": 8},
    },
    "train": {
        "steps": 1000000, "batch": 256, "optimizer": "muon", "lr": 1e-3, "matrix_lr": 2e-3, "weight_decay": 0.03,
        "warmup": 100, "final": 0.01, "ema": 0.998, "precision": "bf16", "l2": 0.5, "log_l2": 0.05, "l1": 0.1,
        "continuous": 150, "revive": 50, "truncate": 0.3, "correct": 0.2, "log": 100, "save": 500, "sheet": 0,
        "best": True,
    },
}  # fmt: skip
AR = {
    "model": {"width": 256, "depth": 6, "heads": 8},
    "train": {
        "steps": 1000000, "batch": 256, "optimizer": "muon", "lr": 1e-3, "matrix_lr": 2e-3, "weight_decay": 0.1,
        "warmup": 100, "final": 0.0, "ema": 0.998, "precision": "bf16", "dropout": 0.1, "token_dropout": 0.1,
        "balance": 0.5, "log": 100, "save": 150, "sheet": 0, "best": True,
    },
}  # fmt: skip
# Name: changes of the recipe (dotted keys). An AR model is named TOKENIZER-NAME; `codes.mix` makes other codes.
TOKENIZERS = {
    "v4096": {},
    "v2048": {"tokenizer.model.codes": 2048},
    "v1024": {"tokenizer.model.codes": 1024},
}
REGULAR = {"ar.train.dropout": 0.2, "ar.train.token_dropout": 0.2}
ARS = {
    "v4096-plain": {},
    "v4096-drop": REGULAR,
    "v4096-drop-mix": REGULAR | {"codes.mix": 0.3},
    "v4096-long": REGULAR | {"ar.train.best": False},
    "v2048-drop": REGULAR,
    "v2048-drop-mix": REGULAR | {"codes.mix": 0.3},
    "v1024-plain": {},
    "v1024-drop": REGULAR,
    "v1024-drop-mix": REGULAR | {"codes.mix": 0.3},
}
TINY = {
    "tokenizer.model.codes": 64, "tokenizer.train.batch": 8, "tokenizer.train.continuous": 2, "tokenizer.train.save": 4,
    "tokenizer.train.warmup": 2, "tokenizer.train.revive": 3, "tokenizer.train.log": 2, "codes.variants": 2,
    "tokenizer.model.encoder": {"width": 32, "depth": 1, "heads": 4, "hidden": 64, "patch": 8},
    "tokenizer.model.decoder": {"width": 32, "depth": 1, "heads": 4, "hidden": 64, "patch": 8},
    "ar.model.width": 32, "ar.model.depth": 1,
    "ar.train.batch": 8, "ar.train.save": 5, "ar.train.log": 5,
}  # fmt: skip
# Shares of the time at which tokenizers end, AR models end, judging ends.
UNTIL = {"tokenizer": 0.47, "ar": 0.75, "judge": 0.95}
SETTINGS = [
    {"guidance": g, "temperature": t, "top_p": p}
    for g, t, p in (
        (1.5, 0.9, 0.95), (1.0, 1.0, 1.0), (1.5, 1.0, 1.0), (1.5, 1.0, 0.95), (2.0, 1.0, 1.0), (2.0, 1.0, 0.95),
        (1.5, 1.1, 0.97), (2.0, 1.1, 0.97), (2.5, 1.1, 0.97), (3.0, 1.2, 0.95), (2.0, 1.2, 0.9), (3.0, 1.0, 0.95),
    )
]  # fmt: skip


def say(text):
    """Print a line with the time since the start."""
    print(f"[{time.monotonic() - START:6.1f}] {text}", flush=True)


# ---------------------------------------------------------------- training
def recipe_of(changes, tiny):
    """A recipe as text."""
    out = {"name": "sprites", "data": DATA, "tokenizer": TOKENIZER, "codes": {"variants": 40, "batch": 1024}, "ar": AR}
    out = copy.deepcopy(out)
    for key, value in (changes | (TINY if tiny else {})).items():
        *path, last = key.split(".")
        at = out
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return json.dumps(out, indent=1) + "\n"  # JSON is YAML


class Runner:
    """Starts commands with a time limit and keeps their output."""

    def __init__(self, options):
        self.options, self.failed = options, {}
        self.work, self.logs = Path(options.work), Path(options.work) / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.end = START + options.total

    def at(self, share):
        """The time at this share of the whole."""
        return START + share * self.options.total

    def run(self, name, command, until):
        """Whether a command succeeded. It is stopped at `until`."""
        limit = min(until, self.end) - time.monotonic()
        if limit < 2:
            self.failed[name] = "no time left"
            say(f"{name}: no time left")
            return False
        began = time.monotonic()
        with open(self.logs / f"{name}.txt", "wb") as log:
            try:
                code = subprocess.run(command, stdout=log, stderr=subprocess.STDOUT, timeout=limit).returncode
            except subprocess.TimeoutExpired:
                code = "ran over its time"
            except OSError as error:
                code = str(error)
        lines = (self.logs / f"{name}.txt").read_text(errors="replace").strip().splitlines()
        last = lines[-1][:300] if lines else ""
        say(f"{name}: {'done' if code == 0 else f'FAILED ({code})'} in {time.monotonic() - began:.1f} s: {last}")
        if code != 0:
            self.failed[name] = f"{code}: {' | '.join(lines[-4:])[-1500:]}"
        return code == 0

    def train(self, stage, name, recipe, out, until, more=()):
        """Run a stage of training; the time is for training itself, and a little more for starting and saving."""
        o = self.options
        command = [sys.executable, "-m", "detailflow_onnx", "train", stage, "--config", str(recipe), "--out", str(out)]
        command += ["--device", o.device, "--threads", str(o.threads)]
        if stage != "ar":
            command += ["--data", o.data]
        return self.run(name, [*command, *more], until)


def pipeline(runner, name, extra):
    """Train a tokenizer and its AR models."""
    o = runner.options
    jobs = {ar: changes for ar, changes in ARS.items() if ar.startswith(name + "-")}
    changes = TOKENIZERS[name]
    home = runner.work / name
    home.mkdir(exist_ok=True)
    (home / "recipe.yaml").write_text(recipe_of(changes | extra, o.tiny))
    ends = runner.at(UNTIL["tokenizer"])
    seconds = max(3, ends - time.monotonic() - 3)
    limit = ["--seconds", f"{seconds:.1f}"]
    ok = runner.train("tokenizer", f"{name}-tokenizer", home / "recipe.yaml", home, ends + 25, limit)
    if not (ok or list((home / "tokenizer/checkpoints").glob("*.pt"))):
        return
    mixes = {}
    for ar, more in jobs.items():
        mixes.setdefault(more.get("codes.mix", 0), []).append(ar)

    def one(ar):
        folder = runner.work / ar
        left = runner.at(UNTIL["ar"]) - time.monotonic() - 5
        more = ["--seconds", f"{max(3, left):.1f}"]
        runner.train("ar", f"{ar}-ar", folder / "recipe.yaml", folder, runner.at(UNTIL["ar"]) + 12, more)

    def group(ars):
        for ar in ars:
            folder = runner.work / ar
            folder.mkdir(exist_ok=True)
            (folder / "recipe.yaml").write_text(recipe_of(changes | jobs[ar] | extra, o.tiny))
            if not (folder / "tokenizer").exists():
                os.symlink(home / "tokenizer", folder / "tokenizer")
        first = runner.work / ars[0]
        limit = runner.at((UNTIL["tokenizer"] + 2 * UNTIL["ar"]) / 3)
        if not runner.train("codes", f"{ars[0]}-codes", first / "recipe.yaml", first, limit):
            return
        for ar in ars[1:]:
            os.symlink(first / "codes", runner.work / ar / "codes")
        with ThreadPoolExecutor(len(ars)) as pool:
            list(pool.map(one, ars))

    with ThreadPoolExecutor(len(mixes)) as pool:
        list(pool.map(group, mixes.values()))


# ---------------------------------------------------------------- judging, in a process of its own
def classify(options):
    """Train the classifier into the folder `options.keep`."""
    import torch

    from detailflow_onnx.train.data.folder import open_folder
    from detailflow_onnx.train.evaluation.classifier import classifier

    folder = open_folder(options.data, size=32, channels=4)
    settings = {"steps": 10} if options.tiny else None
    with torch.enable_grad():
        _, about = classifier(folder, 4, options.keep, settings=settings, say=say, device=torch.device(options.device))
    say(f"classifier: {about['held_out']['by_class_mean']:.3f} of held-out files")


def judge(options):
    """Measure one pair into the folder `options.into`: figures.json and sheets."""
    import numpy as np
    import torch

    from detailflow_onnx.train import sheets
    from detailflow_onnx.train.data.folder import open_folder
    from detailflow_onnx.train.evaluation import generation, metrics, run, variety
    from detailflow_onnx.train.evaluation.classifier import accuracy, classifier
    from detailflow_onnx.train.evaluation.pictures import PictureSet, decoded, encoded, evenly, split_of

    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    into = Path(options.into)
    into.mkdir(parents=True, exist_ok=True)
    folder = open_folder(options.data, size=32, channels=4)
    settings = {"steps": 10} if options.tiny else None
    with torch.enable_grad():
        eye, about = classifier(folder, 4, options.keep, settings=settings, device=device)
    figures = {"classifier": {k: about[k] for k in ("identity", "held_out")}, "settings": []}

    def write():
        (into / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")

    with torch.no_grad():
        model = run.Measured(options.tokenizer, options.ar, None, device).match_classes(folder.classes)
        train, held = (split_of(pictures, eye) for pictures in (folder.train, folder.held_out))
        sources = run._sources(folder.held_out, np.arange(len(folder.held_out)), options.data)
        figures["about"] = model.about()
        figures["held_out"] = run._by_source(model.tokenizer, held, sources)
        some = train.images[evenly(len(train), 400)]
        again = decoded(model.tokenizer, encoded(model.tokenizer, some), 32)
        figures["training_psnr"] = float(metrics.psnr(some, again).mean())
        figures["codes"] = metrics.code_use(encoded(model.tokenizer, held.images))
        figures["likelihood"] = run._likelihood(model, train, held)
        write()
        say("reconstruction")
        count = 100 if not options.tiny else 3
        classes = torch.arange(model.ar.numbers.classes, device=device)
        labels = model.to_data[classes.cpu().numpy()]
        best, kept = None, None
        for number, sampling in enumerate(SETTINGS if not options.tiny else SETTINGS[:2]):
            if time.monotonic() - START > options.seconds * (0.6 if best else 1.0):
                break
            ids = model.ar.generate(classes.repeat(count), seed=1000 + number, **sampling)
            ids = ids.view(count, len(classes), -1).transpose(0, 1).flatten(0, 1).cpu()
            made = PictureSet(eye, decoded(model.tokenizer, ids, 32), labels.repeat(count))  # class by class
            hits = accuracy(made.probabilities, made.labels)
            of = variety.of_set(made.images, made.labels, model.names, device)
            change = variety.variation(model.tokenizer, model.ar, eye, model.names, model.to_data, sampling, 5)
            entry = {
                "sampling": sampling,
                "accuracy": float(made.weights @ hits),
                "accuracy_by_class": {model.names[k]: float(hits[made.labels == k].mean()) for k in labels},
                "distinct": float(np.mean([e["share"] for e in of.values()])),
                "by_class": of,
                "exact": float(np.mean([e["exact"] / e["pictures"] for e in of.values()])),
                "variation": change,
                "sequences": len({tuple(row) for row in ids.tolist()}) / len(ids),
            }
            entry["score"] = score(figures, entry)
            figures["settings"].append(entry)
            if best is None or entry["score"] > best["score"]:
                best, kept = entry, made
            write()
        say("settings")
        search = generation.Search(eye, model.tokenizer, train)
        copies = search.nearest(generation._known_copies(model.tokenizer, train.images[evenly(len(train), 250)], 0))
        at = np.arange(0, len(kept), 4 if not options.tiny else 1)  # 25 of each class
        groups = {"samples": search.nearest(kept.images[at]), "held-out files": search.nearest(held.images)}
        figures["near_copies"] = generation.near_copies(search.own, groups, copies)
        figures["files"] = variety.of_set(train.images, train.labels, model.names, device)
        figures["best"] = best
        figures["score"] = score(figures, best)
        write()
        say("copies")
        shown = kept.images.view(len(labels), count, 4, 32, 32)[:, :14].flatten(0, 1)
        names = [model.names[k] for k in labels]
        for what, images in (("raw", shown), ("finished", variety.finished(shown, device).cpu())):
            sheets.grid(sheets.to_bytes(2 * images - 1), min(14, count), 2, rows=names).save(into / f"{what}.png")
        run._level_sheet(model, held).save(into / "held-out.png")
    say("sheets")


def score(figures, entry):
    """How near the figures are to those wanted; 0 is all of them."""
    crawl = next((e for name, e in figures["held_out"].items() if "Crawl" in name), None)
    psnr = crawl["levels"][-1]["psnr"] if crawl else 21.3
    short = 3 * max(0, 0.85 - entry["distinct"]) + 3 * max(0, 0.92 - entry["accuracy"])
    short += 2 * max(0, 0.55 - entry["variation"]["tokens"]) + 2 * max(0, 0.8 - entry["variation"]["accuracy"])
    short += 0.15 * max(0, 21.3 - psnr)
    if "near_copies" in figures:
        found = figures["near_copies"]["pixels"]["groups"]
        short += max(0, found["samples"]["share_wide"] - found["held-out files"]["share_wide"] - 0.05)
    return -short


# ---------------------------------------------------------------- packing
def small_state(path):
    """The content of a checkpoint with weights in fp16, as a file in memory. `model` is left out beside `ema`."""
    import torch

    state = torch.load(path, map_location="cpu", weights_only=True)
    if "ema" in state:
        state["model"] = {}
    for key in ("model", "ema"):
        state[key] = {name: value.half() for name, value in state.get(key, {}).items()}
    out = io.BytesIO()
    torch.save(state, out)
    return out.getvalue()


def add(tar, name, data):
    """Add bytes to a tar."""
    info = tarfile.TarInfo(name)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data))


def add_stage(tar, home, name, room):
    """Add a stage's checkpoint if there is room; returns its size."""
    point = next(iter(sorted(home.glob("checkpoints/*.pt"), reverse=True)), None)
    if point is None:
        return 0
    data = small_state(point)
    if len(data) > room:
        return 0
    for file in ("config.json", "config.yaml", "recipe.yaml", "labels.txt", "log.jsonl"):
        if (home / file).is_file():
            add(tar, f"{name}/{file}", (home / file).read_bytes())
    add(tar, f"{name}/checkpoints/{point.name}", data)
    return len(data) + 100_000


def pack(runner, ranked):
    """Write what there is to --out: models in the order of `ranked`, then the reports."""
    out, work = Path(runner.options.out), runner.work
    out.mkdir(parents=True, exist_ok=True)
    done, used, whole = set(), 0, io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        for ar in ranked:
            name = ar.split("-")[0]
            size = 0 if name in done else add_stage(tar, work / name / "tokenizer", f"{name}/tokenizer", MODELS - used)
            used += size
            if size:
                done.add(name)
            if name in done:
                size = add_stage(tar, work / ar / "ar", f"{ar}/ar", MODELS - used)
                used += size
                if size:
                    done.add(ar)
    data = whole.getvalue()
    parts = [data[i : i + PART] for i in range(0, len(data), PART)]
    for i, part in enumerate(parts):
        (out / f"models.tar.{i}.new").write_bytes(part)
    for old in out.glob("models.tar.?"):
        old.unlink()
    for i in range(len(parts)):
        os.replace(out / f"models.tar.{i}.new", out / f"models.tar.{i}")
    figures = {"ranked": ranked, "packed": sorted(done), "failed": runner.failed, "judged": {}}
    total = 0
    with tarfile.open(out / "reports.new", "w:gz") as tar:
        for file in sorted(runner.logs.glob("*.txt")):
            add(tar, f"logs/{file.name}", file.read_bytes()[-200_000:])
        for ar in ARS:
            for file in [work / ar / "judged" / "figures.json", *sorted((work / ar).glob("judged/*.png"))]:
                if not file.is_file() or total + file.stat().st_size > REPORTS:
                    continue
                total += file.stat().st_size
                add(tar, f"{ar}/{file.name}", file.read_bytes())
            judged = work / ar / "judged" / "figures.json"
            if judged.is_file():
                figures["judged"][ar] = brief(json.loads(judged.read_text()))
        for name in [*TOKENIZERS, *ARS]:
            for file in sorted((work / name).glob("*/log.jsonl")) + [work / name / "recipe.yaml"]:
                if file.is_file():
                    add(tar, f"{name}/{file.parent.name}-{file.name}", file.read_bytes())
        for file in sorted((work / "classifier").glob("*.pt")):
            add(tar, f"classifier/{file.name}", file.read_bytes())
    os.replace(out / "reports.new", out / "reports.tar.gz")
    (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")
    say(f"packed {', '.join(sorted(done))}: {len(data) / 1e6:.1f} MB of models")


def brief(figures):
    """The figures of a pair that fit on a screen."""
    out = {"score": figures.get("score"), "training_psnr": figures.get("training_psnr"), "settings": []}
    out["psnr"] = {k: [round(e["psnr"], 2) for e in v["levels"]] for k, v in figures.get("held_out", {}).items()}
    for e in figures.get("settings", []):
        row = {k: round(e[k], 3) for k in ("accuracy", "distinct", "exact", "sequences", "score")}
        row |= {f"variation_{k}": round(e["variation"][k], 3) for k in ("tokens", "pixels", "accuracy")}
        out["settings"].append(e["sampling"] | row)
    for space, c in figures.get("near_copies", {}).items():
        out[f"copies_{space}"] = {k: [round(g["share"], 3), round(g["share_wide"], 3)] for k, g in c["groups"].items()}
    return out


def unpack(options):
    """Make folders of checkpoints in fp32."""
    import torch

    source, into = Path(options.folder), Path(options.into)
    parts = sorted(source.glob("models.tar.*"))
    with tarfile.open(fileobj=io.BytesIO(b"".join(p.read_bytes() for p in parts))) as tar:
        tar.extractall(into, filter="data")
    for path in into.glob("**/checkpoints/*.pt"):
        state = torch.load(path, map_location="cpu", weights_only=True)
        for key in ("model", "ema"):
            state[key] = {name: value.float() for name, value in state.get(key, {}).items()}
        if state["ema"]:
            state["model"] = state["ema"]
        else:
            del state["ema"]
        torch.save(state, path)
        print(path)


# ---------------------------------------------------------------- the whole
def main():
    """Read the arguments and run."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("what", nargs="?", default="all", choices=["all", "classify", "judge", "unpack"])
    p.add_argument("folder", nargs="?", help="of unpack")
    for name in ("data", "out", "work", "keep", "into", "tokenizer", "ar"):
        p.add_argument(f"--{name}")
    p.add_argument("--device", default="cuda")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--total", type=float, default=380)
    p.add_argument("--seconds", type=float, default=60)
    p.add_argument("--judges", type=int, default=9, help="pairs that are judged at once")
    p.add_argument("--tiny", action="store_true")
    p.add_argument("--only", help="tokenizers, separated by commas")
    options = p.parse_args()
    if options.what != "all":
        {"classify": classify, "judge": judge, "unpack": unpack}[options.what](options)
        return
    everything(options)


def everything(options):
    """Train, judge and pack."""
    runner = Runner(options)
    names = options.only.split(",") if options.only else list(TOKENIZERS)
    keep = runner.work / "classifier"
    common = ["--data", options.data, "--device", options.device, "--keep", str(keep), "--threads", str(options.threads)]
    common += ["--tiny"] if options.tiny else []
    me = [sys.executable, str(HERE)]
    extra = {}
    helper = threading.Thread(
        target=runner.run, args=("classifier", [*me, "classify", *common], runner.at(UNTIL["tokenizer"]))
    )
    helper.start()
    with ThreadPoolExecutor(len(names)) as pool:
        for name, job in [(name, pool.submit(pipeline, runner, name, extra)) for name in names]:
            try:
                job.result()
            except Exception as error:
                runner.failed[name] = repr(error)
                say(f"{name}: {error!r}")
    helper.join()
    trained = [ar for ar in ARS if list((runner.work / ar).glob("ar/checkpoints/*.pt"))]
    guess = [ar for ar in ("v2048-drop-mix", "v4096-drop", "v1024-drop-mix") if ar in trained]
    guarded(pack, runner, guess + [ar for ar in trained if ar not in guess])

    def one(ar):
        home, left = runner.work / ar, runner.at(UNTIL["judge"]) - time.monotonic()
        command = [*me, "judge", *common, "--tokenizer", str(runner.work / ar.split("-")[0] / "tokenizer")]
        command += ["--ar", str(home / "ar"), "--into", str(home / "judged"), "--seconds", f"{left:.1f}"]
        runner.run(f"{ar}-judge", command, runner.at(UNTIL["judge"]) + 2)

    with ThreadPoolExecutor(options.judges) as pool:
        list(pool.map(one, trained))
    scores = {}
    for ar in trained:
        try:
            figures = json.loads((runner.work / ar / "judged" / "figures.json").read_text())
            every = [e["score"] for e in figures["settings"]]
            scores[ar] = figures.get("score", max(every, default=-9.0) - 0.3)
        except (OSError, ValueError, KeyError) as error:
            scores[ar] = -9.0
            runner.failed.setdefault(f"{ar}-judge", repr(error))
    ranked = sorted(trained, key=lambda ar: -scores[ar])
    say(", ".join(f"{ar} {scores[ar]:.3f}" for ar in ranked))
    guarded(pack, runner, ranked)


def guarded(call, runner, *arguments):
    """Call a step whose failure must not lose the rest."""
    try:
        call(runner, *arguments)
    except Exception as error:
        say(f"{call.__name__}: {error!r}")


if __name__ == "__main__":
    main()

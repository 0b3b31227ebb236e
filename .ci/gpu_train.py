"""Trains and judges several variants of the sprites model on one GPU, within a time.

    python3 gpu_train.py --data DIR --out DIR --work DIR [--total SECONDS] [--device cuda] [--preflight] [--tiny]
    python3 gpu_train.py unpack DIR --into DIR

`onnx` must be importable (PYTHONPATH). `--data` is what `train data sprites` wrote; `--work` is an empty folder for
intermediate files. Tokenizers are trained side by side, then codes and AR models for each, then all pairs are judged
with one classifier at several sampling settings. A variant that fails is reported and left out. `--out` gets
`figures.json`, `reports.tar.gz` (figures, logs, recipes, sheets) and `models.tar.0`, `models.tar.1`, ... of at most
15 MB each: the checkpoints of the best pairs, weights in fp16. They are written after each stage, so that a run that is
cut off leaves what it had. `unpack` makes checkpoints in fp32 of the parts. With `--preflight` all stages do a little
work. The last line is OK, or FAILED with the reasons; exit status 0 or 1.
"""

import argparse
import copy
import io
import json
import os
import select
import subprocess
import sys
import tarfile
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PART = 15_000_000  # bytes of a part
MODELS = 48_000_000  # bytes of all parts
REPORTS = 8_000_000  # of figures and sheets, beside the classifier
HERE = Path(__file__).resolve()
START = time.monotonic()
sys.path.append(str(HERE.parent / "vendor"))  # packages for machines that lack them

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
# Name: changes of the recipe (dotted keys). An AR model is named TOKENIZER-NAME.
TOKENIZERS = {
    "v4096": {},
    "v2048": {"tokenizer.model.codes": 2048},
    "v1024": {"tokenizer.model.codes": 1024},
}
REGULAR = {"ar.train.dropout": 0.2, "ar.train.token_dropout": 0.2}
ARS = {
    "v4096-drop": REGULAR,
    "v4096-drop-swap": REGULAR | {"ar.train.swap": 0.3},
    "v2048-drop": REGULAR,
    "v2048-drop-swap": REGULAR | {"ar.train.swap": 0.3},
    "v1024-drop": REGULAR,
    "v1024-drop-swap": REGULAR | {"ar.train.swap": 0.3},
}
TINY = {
    "tokenizer.model.codes": 64, "tokenizer.train.batch": 8, "tokenizer.train.continuous": 2, "tokenizer.train.save": 4,
    "tokenizer.train.warmup": 2, "tokenizer.train.revive": 3, "tokenizer.train.log": 2, "codes.variants": 2,
    "tokenizer.model.encoder": {"width": 32, "depth": 1, "heads": 4, "hidden": 64, "patch": 8},
    "tokenizer.model.decoder": {"width": 32, "depth": 1, "heads": 4, "hidden": 64, "patch": 8},
    "ar.model.width": 32, "ar.model.depth": 1,
    "ar.train.batch": 8, "ar.train.save": 5, "ar.train.log": 5,
}  # fmt: skip
PREFLIGHT = {
    "tokenizer.train.steps": 24, "tokenizer.train.continuous": 8, "tokenizer.train.save": 12,
    "tokenizer.train.warmup": 2, "tokenizer.train.revive": 5, "tokenizer.train.log": 12, "codes.variants": 2,
    "ar.train.steps": 24, "ar.train.save": 12, "ar.train.log": 12, "ar.train.warmup": 2,
}  # fmt: skip
# Shares of the time at which tokenizers end, codes must be there, AR models end, judging ends.
UNTIL = {"tokenizer": 0.41, "codes": 0.62, "ar": 0.765, "judge": 0.955}
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
def recipe_of(changes, options):
    """A recipe as text."""
    out = {"name": "sprites", "data": DATA, "tokenizer": TOKENIZER, "codes": {"variants": 32, "batch": 2048}, "ar": AR}
    out = copy.deepcopy(out)
    more = (TINY if options.tiny else {}) | (PREFLIGHT if options.preflight else {})
    for key, value in (changes | more).items():
        *path, last = key.split(".")
        at = out
        for part in path:
            at = at.setdefault(part, {})
        at[last] = value
    return json.dumps(out, indent=1) + "\n"  # JSON is YAML


class Runner:
    """Workers, which are processes that were started ahead, and what they are told to do within a time."""

    def __init__(self, options):
        self.options, self.failed = options, {}
        self.work, self.logs = Path(options.work), Path(options.work) / "logs"
        self.logs.mkdir(parents=True, exist_ok=True)
        self.end = START + options.total
        self.workers = {}
        self.packing, self.classified = threading.Lock(), threading.Event()

    def at(self, what):
        """The time at which a stage ends."""
        if self.options.preflight:  # stages end when they are done
            return self.end - 4
        return START + UNTIL[what] * self.options.total

    def start(self, name):
        """Start a worker."""
        o = self.options
        command = [sys.executable, str(HERE), "worker", "--data", o.data, "--work", o.work, "--device", o.device]
        command += ["--threads", str(o.threads)]
        command += [flag for flag, on in (("--tiny", o.tiny), ("--preflight", o.preflight)) if on]
        pipe = subprocess.PIPE
        with open(self.logs / f"worker-{name}.txt", "ab") as log:
            self.workers[name] = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log)

    def run(self, worker, name, until, **job):
        """Whether a worker did a job. It is ended at `until`."""
        began = time.monotonic()
        until = min(until, self.end - 1)
        if self.workers[worker].poll() is not None:
            self.start(worker)
        process = self.workers[worker]
        job |= {"name": name, "log": str(self.logs / f"{name}.txt")}
        reply = "ran over its time"
        try:
            if until - began < 1:
                raise TimeoutError
            process.stdin.write(json.dumps(job).encode() + b"\n")
            process.stdin.flush()
            ready, _, _ = select.select([process.stdout], [], [], until - began)
            if not ready:
                process.kill()
                raise TimeoutError
            reply = process.stdout.readline().decode().strip() or "the worker ended"
        except OSError as error:
            reply = str(error) or reply
        path = self.logs / f"{name}.txt"
        lines = path.read_text(errors="replace").strip().splitlines() if path.is_file() else []
        state = "done" if reply == "done" else f"FAILED ({reply})"
        say(f"{name}: {state} in {time.monotonic() - began:.1f} s: {lines[-1][:300] if lines else ''}")
        if "CUDA" in reply:
            process.wait(5)
        if reply != "done":
            self.failed[name] = f"{reply}: {' | '.join(lines[-4:])[-1500:]}"
        return reply == "done"

    def close(self):
        """End all workers."""
        for process in self.workers.values():
            process.kill()


def now_in(until):
    """A time of this process's clock as one that other processes can use."""
    return time.time() + until - time.monotonic()


def pipeline(runner, name, jobs):
    """Train a tokenizer and its AR models, and judge them."""
    home = runner.work / name / "tokenizer"
    home.parent.mkdir(exist_ok=True)
    recipe = home.parent / "recipe.yaml"
    recipe.write_text(recipe_of(TOKENIZERS[name], runner.options))
    ends = runner.at("tokenizer")
    about = {"recipe": str(recipe), "home": str(home), "stop": now_in(ends)}
    ok = runner.run(f"{name}-0", f"{name}-tokenizer", ends + 6, call="tokenizer", **about)
    if not (ok or list(home.glob("checkpoints/*.pt"))):
        return
    workers = {ar: f"{name}-{i}" for i, ar in enumerate(jobs)}

    def one(ar, codes):
        folder = runner.work / ar
        about = {"recipe": str(folder / "recipe.yaml"), "tokenizer": str(home), "home": str(folder / "ar")}
        ends = runner.at("ar")
        runner.run(workers[ar], f"{ar}-ar", ends + 6, call="ar", codes=codes, stop=now_in(ends), **about)
        if not list(folder.glob("ar/checkpoints/*.pt")):
            return
        ends = runner.at("judge")
        into = str(folder / "judged")
        runner.classified.wait(max(0.1, ends - time.monotonic()))
        about = {"tokenizer": str(home), "ar": str(folder / "ar"), "into": into, "stop": now_in(ends)}
        runner.run(workers[ar], f"{ar}-judge", ends + 2, call="judge", **about)

    for ar in jobs:
        (runner.work / ar).mkdir(exist_ok=True)
        (runner.work / ar / "recipe.yaml").write_text(recipe_of(TOKENIZERS[name] | ARS[ar], runner.options))
    # The same codes for all, with alike.npy if one has `swap`.
    first = max(jobs, key=lambda ar: ARS[ar].get("ar.train.swap", 0), default=None)
    if first is None:
        return
    codes = str(runner.work / first / "codes")
    about = {"recipe": str(runner.work / first / "recipe.yaml"), "tokenizer": str(home), "home": codes}
    if not runner.run(workers[first], f"{first}-codes", runner.at("codes"), call="codes", **about):
        return
    with ThreadPoolExecutor(len(jobs)) as pool:
        list(pool.map(one, jobs, [codes] * len(jobs)))


# ---------------------------------------------------------------- a worker
def the_folder(options):
    """The pictures, read once by the first process that wants them."""
    import pickle

    from detailflow_onnx.train.data.folder import open_folder

    path, lock = Path(options.work) / "folder.pickle", Path(options.work) / "folder.lock"
    try:
        lock.touch(exist_ok=False)
    except FileExistsError:
        while not path.is_file():
            time.sleep(0.05)
        return pickle.loads(path.read_bytes())
    folder = open_folder(options.data, size=32, channels=4, held_out=DATA["held_out"])
    for part in (folder.train, folder.held_out):
        _ = part.drawings, part.repeats
    new = path.with_suffix(".new")
    new.write_bytes(pickle.dumps(folder))
    os.replace(new, path)
    return folder


def work(options):
    """Do the jobs that standard input names, one after the other; answer with a line each."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    sys.modules["torch.utils.tensorboard"] = None  # takes seconds, and nobody looks at it
    import torch
    from detailflow_onnx.train import loop, process, recipe
    from detailflow_onnx.train.evaluation import generation, run, variety  # noqa: F401  (so that they are loaded)
    from detailflow_onnx.train.stages import ar, codes, tokenizer

    torch.set_num_threads(options.threads)
    write = loop.write
    loop.write = lambda path, state: None if path.name == "resume.pt" else write(path, state)  # nothing is resumed
    home = process.Process(options.device)
    x = torch.ones(64, 64, device=home.device)
    float((x.bfloat16() @ x.bfloat16()).sum())
    folder = the_folder(options)
    say("ready")

    def train(stage, settings, job, chosen):
        begun = time.monotonic()
        seconds = None if options.preflight else max(1.0, job["stop"] - time.time())
        reached = loop.train(stage, settings, Path(job["home"]), home, chosen, seconds)
        took = time.monotonic() - begun
        lines = (Path(job["home"]) / "log.jsonl").read_text().splitlines()
        last = json.loads(lines[-1])
        print(f"{last.get('step', reached)} steps, {last.get('step', reached) / took:.1f} a second; {last}"[:280])

    def do(job):
        call = job["call"]
        chosen = recipe.read(job["recipe"]) if "recipe" in job else None
        if call == "tokenizer":
            train(tokenizer.TokenizerStage(chosen, folder, home), chosen.tokenizer.train, job, chosen)
        elif call == "codes":
            torch.backends.cuda.matmul.allow_tf32 = True
            codes.write(chosen, folder, Path(job["tokenizer"]), Path(job["home"]), home)
            torch.backends.cuda.matmul.allow_tf32 = False
        elif call == "ar":
            stage = ar.ArStage(chosen, Path(job["codes"]), home, Path(job["tokenizer"]))
            train(stage, chosen.ar.train, job, chosen)
        elif call == "classifier":
            classify(options, folder)
        else:
            judge(options, job, folder)

    for line in sys.stdin:
        job = json.loads(line)
        answer = "done"
        with open(job["log"], "wb", buffering=0) as log:
            for number in (1, 2):
                os.dup2(log.fileno(), number)
        try:
            do(job)
        except Exception as error:
            traceback.print_exc()
            answer = f"{type(error).__name__}: {str(error).strip()[:300]}".replace("\n", " ")
        sys.stdout.flush()
        if home.device.type == "cuda":
            torch.cuda.empty_cache()
        answers.write(answer + "\n")
        answers.flush()
        if "CUDA" in answer:  # nothing works after some of its errors
            return


# ---------------------------------------------------------------- judging
def classify(options, folder):
    """Train the classifier."""
    import torch
    from detailflow_onnx.train.evaluation.classifier import classifier

    _, about = classifier(folder, 4, keep_of(options), **eye_of(options), say=say, device=torch.device(options.device))
    say(f"classifier: {about['held_out']['by_class_mean']:.3f} of held-out files")


def keep_of(options):
    """The folder of the classifier."""
    return Path(options.work) / "classifier"


def eye_of(options):
    """The settings of the classifier."""
    return {"settings": {"steps": 30} if options.tiny or options.preflight else None}


def judge(options, job, folder):
    """Measure one pair into a folder: figures.json and sheets."""
    import numpy as np
    import torch
    from detailflow_onnx.train import sheets
    from detailflow_onnx.train.evaluation import generation, metrics, run, variety
    from detailflow_onnx.train.evaluation.classifier import accuracy, classifier
    from detailflow_onnx.train.evaluation.pictures import PictureSet, decoded, encoded, evenly, split_of

    device = torch.device(options.device)
    into = Path(job["into"])
    into.mkdir(parents=True, exist_ok=True)
    begun, all_of = time.time(), max(1.0, job["stop"] - time.time())
    eye, about = classifier(folder, 4, keep_of(options), **eye_of(options), device=device)
    figures = {"classifier": {k: about[k] for k in ("identity", "held_out")}, "settings": []}

    def write():
        (into / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")

    with torch.no_grad():
        model = run.Measured(job["tokenizer"], job["ar"], None, device).match_classes(folder.classes)
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
        for number, sampling in enumerate(SETTINGS[:2] if options.tiny or options.preflight else SETTINGS):
            if best and time.time() - begun > all_of * 0.5:
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
            say(f"setting {number}: {entry['score']:.3f}")
        say("settings")
        search = generation.Search(eye, model.tokenizer, train)
        most = 20 if options.tiny else 250
        copies = search.nearest(generation._known_copies(model.tokenizer, train.images[evenly(len(train), most)], 0))
        at = np.arange(0, len(kept), 4 if not options.tiny else 1)  # 25 of each class
        groups = {"samples": kept.images[at][:600], "held-out files": held.images[evenly(len(held), most)]}
        groups = {name: search.nearest(images) for name, images in groups.items()}
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


def pack(runner):
    """Write what there is to --out: models, the best first, then the reports and figures.json."""
    with runner.packing:
        out, ranked = Path(runner.options.out), ranking(runner)
        out.mkdir(parents=True, exist_ok=True)
        packed = pack_models(runner.work, out, ranked)
        judged = pack_reports(runner, out)
        figures = {"ranked": ranked, "packed": packed, "failed": runner.failed, "judged": judged}
        (out / "figures.json").write_text(json.dumps(figures, indent=1) + "\n")


def pack_models(work, out, ranked):
    """Write models.tar.*; returns the names of the models that had room."""
    done, used, whole = set(), 0, io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as tar:
        rest = [name for name in TOKENIZERS if name not in {ar.split("-")[0] for ar in ranked}]
        for ar in [*ranked, *rest]:
            name = ar.split("-")[0]
            size = 0 if name in done else add_stage(tar, work / name / "tokenizer", f"{name}/tokenizer", MODELS - used)
            used += size
            if size:
                done.add(name)
            if name in done and ar != name:
                size = add_stage(tar, work / ar / "ar", f"{ar}/ar", MODELS - used)
                used += size
                if size:
                    done.add(ar)
    data = whole.getvalue()
    parts = [data[i : i + PART] for i in range(0, len(data), PART)]
    for i, part in enumerate(parts):
        (out / f"models.tar.{i}.new").write_bytes(part)
    for old in parts_in(out):
        old.unlink()
    for i in range(len(parts)):
        os.replace(out / f"models.tar.{i}.new", out / f"models.tar.{i}")
    say(f"packed {', '.join(sorted(done))}: {len(data) / 1e6:.1f} MB of models")
    return sorted(done)


def pack_reports(runner, out):
    """Write reports.tar.gz; returns the figures of the judged pairs in brief."""
    work, figures, total = runner.work, {}, 0
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
                figures[ar] = brief(json.loads(judged.read_text()))
        for name in [*TOKENIZERS, *ARS]:
            for file in (*sorted((work / name).glob("*/log.jsonl")), work / name / "recipe.yaml"):
                if file.is_file():
                    add(tar, f"{name}/{file.parent.name}-{file.name}", file.read_bytes())
        for file in sorted((work / "classifier").glob("*.pt")):
            add(tar, f"classifier/{file.name}", file.read_bytes())
    os.replace(out / "reports.new", out / "reports.tar.gz")
    return figures


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


def parts_in(folder):
    """models.tar.0, models.tar.1, ... in order."""
    parts = [path for path in folder.glob("models.tar.*") if path.suffix[1:].isdigit()]
    return sorted(parts, key=lambda path: int(path.suffix[1:]))


def unpack(options):
    """Make folders of checkpoints in fp32."""
    import torch

    source, into = Path(options.folder), Path(options.into)
    whole = b"".join(part.read_bytes() for part in parts_in(source))
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
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
    p.add_argument("what", nargs="?", default="all", choices=["all", "worker", "unpack"])
    p.add_argument("folder", nargs="?", help="of unpack: what --out got")
    p.add_argument("--data", metavar="DIR", help="the pictures")
    p.add_argument("--out", metavar="DIR", help="folder for figures, reports and models")
    p.add_argument("--work", metavar="DIR", help="empty folder for intermediate files")
    p.add_argument("--into", metavar="DIR", help="of unpack: folder for the checkpoints")
    p.add_argument("--device", default="cuda", help="of PyTorch (default cuda)")
    p.add_argument("--threads", type=int, default=1, help="CPU threads of each process (default 1)")
    p.add_argument("--total", type=float, default=255, metavar="SECONDS", help="for everything (default 255)")
    p.add_argument("--tiny", action="store_true", help="small models")
    p.add_argument("--preflight", action="store_true", help="few steps: stages end when they are done")
    p.add_argument("--only", help="tokenizers and AR models, separated by commas (default: all)")
    options = p.parse_args()
    needed = {"all": ("data", "out", "work"), "worker": ("data", "work"), "unpack": ("folder", "into")}[options.what]
    missing = [name for name in needed if getattr(options, name) is None]
    if missing:
        p.error(f"{', '.join(missing)} must be given")
    if options.what == "all":
        sys.exit(everything(options))
    {"worker": work, "unpack": unpack}[options.what](options)


def planned(only):
    """{tokenizer: its AR models} of the names in `only`, which are separated by commas; None: all."""
    names = only.split(",") if only else [*TOKENIZERS, *ARS]
    return {
        name: [ar for ar in ARS if ar in names and ar.split("-")[0] == name] for name in TOKENIZERS if name in names
    }


def everything(options):
    """Train, judge and pack. Returns the exit status."""
    runner = Runner(options)
    jobs = planned(options.only)
    runner.start("eye")
    for name, ars in jobs.items():
        for i in range(max(1, len(ars))):
            runner.start(f"{name}-{i}")

    def eye():
        runner.run("eye", "classifier", runner.at("ar"), call="classifier")
        runner.classified.set()

    def packing(what):
        def later():
            time.sleep(max(0.0, runner.at(what) + 7 - time.monotonic()))
            guarded(pack, runner)

        if not options.preflight:
            threading.Thread(target=later, daemon=True).start()

    threading.Thread(target=__import__, args=("torch",), daemon=True).start()
    packing("tokenizer")
    packing("ar")
    threads = [threading.Thread(target=eye)]
    threads += [threading.Thread(target=guarded, args=(pipeline, runner, name, ars)) for name, ars in jobs.items()]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    runner.close()
    say(", ".join(f"{ar} {score_of(runner, ar):.3f}" for ar in ranking(runner)))
    guarded(pack, runner)
    wrong = dict(runner.failed)
    for ar in (ar for ars in jobs.values() for ar in ars):
        if score_of(runner, ar) <= -9 or not (runner.work / ar / "judged" / "held-out.png").is_file():
            wrong.setdefault(ar, "not judged to the end")
    if options.preflight:
        try:
            opened(options)
        except Exception as error:
            wrong["unpack"] = repr(error)
    for name, why in wrong.items():
        print(f"{name}: {why}")
    text = "FAILED: " + "; ".join(f"{name}: {why[:200]}" for name, why in wrong.items()) if wrong else "OK"
    say(text)
    return 1 if wrong else 0


def score_of(runner, ar):
    """The score of a pair; -9 if it was not judged."""
    try:
        figures = json.loads((runner.work / ar / "judged" / "figures.json").read_text())
        every = [e["score"] for e in figures["settings"]]
        return figures.get("score", max(every, default=-8.7) - 0.3)
    except (OSError, ValueError, KeyError):
        return -9.0


def ranking(runner):
    """The AR models that have a checkpoint, the best first."""
    trained = [ar for ar in ARS if list((runner.work / ar).glob("ar/checkpoints/*.pt"))]
    scores = {ar: score_of(runner, ar) for ar in trained}
    return sorted(trained, key=lambda ar: -scores[ar])


def opened(options):
    """Check that what was packed can be opened."""
    from detailflow_onnx.train.models.tokenizer import open_tokenizer
    from detailflow_onnx.train.models.transformer import open_transformer

    into = Path(options.work) / "unpacked"
    unpack(argparse.Namespace(folder=options.out, into=into))
    homes = [path.parent for path in into.glob("*/ar/checkpoints")]
    if not homes:
        raise ValueError("no model was packed")
    for home in homes:
        open_transformer(home)
        open_tokenizer(into / home.parent.name.split("-")[0] / "tokenizer")


def guarded(call, runner, *arguments):
    """Call a step whose failure must not lose the rest."""
    try:
        call(runner, *arguments)
    except Exception as error:
        traceback.print_exc()
        runner.failed[call.__name__] = repr(error)
        say(f"{call.__name__}: {error!r}")


if __name__ == "__main__":
    main()

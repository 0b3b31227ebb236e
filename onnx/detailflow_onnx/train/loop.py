"""The training loop: steps that are a pure function of (state, seed, step), and so can go on after any kill as if nothing was.

A run's folder is a checkpoint in the published layout (config.json, config.yaml, checkpoints/NNNNNNN.pt, one at a time) with
`resume.pt` (raw weights, optimisers, averages), `log.jsonl`, `recipe.yaml`, sheets/ and TensorBoard's files beside.
"""

import contextlib
import json
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from torch import distributed

from detailflow_onnx.errors import Refused, need
from detailflow_onnx.train import optimise


class Place:
    """Which device, and which of how many processes (`torchrun` tells)."""

    def __init__(self, device=None):
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_RANK", 0))
        if device == "cuda" and self.world > 1:
            device = f"cuda:{local}"
        if device is None:
            device = f"cuda:{local}" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        try:
            self.device = torch.device(device)
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise Refused(f"--device {device}: {str(error).splitlines()[0]}") from None
        if self.world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def first(self):
        return self.rank == 0

    def leave(self, status):
        """The end, if this is one of several processes: none goes before all are done, or the last ones find a broken connection.
        It ends here and now: threads of the connection, taken down with the interpreter, abort now and then."""
        if self.world > 1:
            distributed.barrier()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def autocast(self, precision):
        return torch.autocast(self.device.type, torch.bfloat16) if precision == "bf16" else contextlib.nullcontext()


def seeded(seed, step, rank=0):
    """Everything random in a step follows from these."""
    torch.manual_seed((seed * 1_000_003 + step) * 4099 + rank)


def write(path, state):
    """Whole or not at all."""
    part = path.with_name(path.name + ".part")
    torch.save(state, part)
    with open(part, "rb") as file:
        os.fsync(file.fileno())
    os.replace(part, path)


def _published(folder, step, state):
    """The one checkpoint of a run; the older ones go when it is there."""
    home = folder / "checkpoints"
    home.mkdir(exist_ok=True)
    path = home / f"{step:07d}.pt"
    write(path, state)
    for old in home.glob("*.pt"):
        if old != path:
            old.unlink()


class Asked:
    """Whether somebody asked to stop (Ctrl-C, SIGTERM): a step is then finished and saved. Asked twice, it stops at once."""

    def __init__(self):
        self.stop, self.before, self.since = False, {}, 0.0

    def __enter__(self):
        if threading.current_thread() is threading.main_thread():
            self.before = {number: signal.signal(number, self.heard) for number in (signal.SIGINT, signal.SIGTERM)}
        return self

    def agreed(self, place):
        """Of several processes all leave after the same step."""
        if place.world > 1:
            told = torch.tensor([float(self.stop)], device=place.device)
            distributed.all_reduce(told)
            self.stop = bool(told.item())
        return self.stop

    def heard(self, number, frame):
        if self.stop and time.monotonic() > self.since + 2:  # torchrun sends a signal again that a terminal has sent already
            raise KeyboardInterrupt
        if self.stop:
            return
        self.stop, self.since = True, time.monotonic()
        print("stopping after this step; once more stops at once", file=sys.stderr, flush=True)

    def __exit__(self, *_):
        for number, handler in self.before.items():
            signal.signal(number, handler)


class Log:
    """Lines of figures: the screen, log.jsonl, and TensorBoard where it is installed. Only the first process writes."""

    def __init__(self, folder, steps, start, first):
        self.steps, self.first, self.begun, self.start, self.sums, self.counts, self.pictures = steps, first, time.monotonic(), start, {}, {}, 0
        if not first:
            return
        self.path = folder / "log.jsonl"
        kept = []
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if line.endswith("}") and json.loads(line)["step"] <= start]
        self.path.write_text("".join(line + "\n" for line in kept))
        try:
            from torch.utils.tensorboard import SummaryWriter

            self.board = SummaryWriter(folder / "tensorboard", purge_step=start + 1 if start else None)
        except ImportError:
            self.board = None

    def add(self, figures, pictures):
        for key, value in figures.items():
            self.sums[key], self.counts[key] = self.sums.get(key, 0.0) + value, self.counts.get(key, 0) + 1
        self.pictures += pictures

    def line(self, step):
        """Means since the last line."""
        took = time.monotonic() - self.begun
        means = {key: value / self.counts[key] for key, value in self.sums.items()}
        self.sums, self.counts = {}, {}
        if not self.first:
            return
        left = (self.steps - step) * took / max(1, step - self.start)
        self._tell(step, means, {"pictures_per_second": round(self.pictures / took, 2)}, f"  {self.pictures / took:.1f} pictures/s  {left / 60:.0f} min left")

    def measured(self, step, figures):
        """A line of figures of held-out pictures."""
        if figures:
            self._tell(step, figures)

    def _tell(self, step, figures, more={}, rest=""):
        with open(self.path, "a") as file:
            file.write(json.dumps({"step": step} | more | figures) + "\n")
        print(f"{step}/{self.steps}  {' '.join(f'{key} {value:.4g}' for key, value in figures.items())}{rest}", file=sys.stderr, flush=True)
        if self.board:
            for key, value in figures.items():
                self.board.add_scalar(key, value, step)

    def sheet(self, folder, step, image):
        (folder / "sheets").mkdir(exist_ok=True)
        image.save(folder / "sheets" / f"{step:07d}.png")


def train(stage, settings, out, place, recipe):
    """Run `stage` to its end, or until somebody asks to stop, from where `out` left off; the step that was reached.

    A stage has: `module`, `classes`, `config()` and `config_yaml()` of the published layout, `published(raw, averaged)`,
    `batches(start)` that gives (step, batch), `split(batch, parts)`, `size(batch)`, `losses(step, batch)` that runs forward and
    backward and gives figures, `identity()` of what must not change under way, `after(step)`, `renewed()` of rows replaced since,
    `measure()` that gives figures of held-out pictures and `sheet()` a picture (with the averaged weights in place, where they
    are kept), and `state_dict()` / `load_state_dict()` of what else it keeps."""
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    stage.module.to(place.device)
    optimisers = optimise.optimisers(stage.module, settings)
    average = optimise.Average(stage.module, settings.ema) if settings.ema else None
    step, resume, begun = 0, out / "resume.pt", ({}, {})
    if resume.exists():
        state = torch.load(resume, map_location=place.device, weights_only=True)
        other = [f"{key} {state['recipe'].get(key)!r}, now {value!r}" for key, value in stage.identity().items() if state["recipe"].get(key) != value]
        need(not other, f"{out}: it holds a run of another model ({'; '.join(other[:3])}); choose another --out, or go on with the recipe in {out / 'recipe.yaml'}")
        stage.module.load_state_dict(state["model"])
        stage.load_state_dict(state["stage"])
        optimise.resume(optimisers, state["optimisers"])
        if average:
            average.load_state_dict(state["average"] or dict(stage.module.named_parameters()))
        step, begun = state["step"], state["log"]
        if place.first:
            print(f"{out}: going on at step {step}", file=sys.stderr)
    if place.first:
        (out / "recipe.yaml").write_text(recipe.text)
        (out / "labels.txt").write_text("".join(f"{name}\n" for name in stage.classes), encoding="utf-8")
        (out / "config.json").write_text(json.dumps(stage.config(), indent=1) + "\n")
        (out / "config.yaml").write_text("".join(f"{key}: {'' if value is None else str(value).lower() if isinstance(value, bool) else value}\n" for key, value in stage.config_yaml().items()))

    def save(step):
        if not place.first:
            return
        raw = {name: value.detach().cpu() for name, value in stage.module.state_dict().items()}
        averaged = raw | {name: value.cpu() for name, value in average.state_dict().items()} if average else raw
        # The one that is used goes first: a run that is gone on with writes it again.
        _published(out, step, stage.published(raw, averaged) | {"steps": step})
        write(resume, {
            "step": step, "log": (log.sums, log.counts), "recipe": stage.identity(), "model": raw, "stage": stage.state_dict(),
            "optimisers": [o.state_dict() for o in optimisers], "average": average.state_dict() if average else None,
        })  # fmt: skip

    @torch.no_grad()
    def looked_at(look):
        with average.used(stage.module) if average else contextlib.nullcontext():
            stage.module.eval()
            seen = look()
            stage.module.train()
        return seen

    log = Log(out, settings.steps, step, place.first)
    log.sums, log.counts = (dict(part) for part in begun)
    parameters = list(stage.module.parameters())
    stage.module.train()
    with Asked() as asked:
        for step, batch in stage.batches(step):
            if step >= settings.steps:
                break
            seeded(settings.seed, step, place.rank)
            for optimiser in optimisers:
                optimiser.zero_grad(set_to_none=True)
            figures, parts = {}, stage.split(batch, settings.accumulate)
            for part in parts:
                with place.autocast(settings.precision):
                    for name, value in stage.losses(step, part).items():
                        figures[name] = figures.get(name, 0.0) + float(value) / len(parts)
            need(all(map(math.isfinite, figures.values())), f"{out}: a loss is not a number at step {step}; lower lr, or clip more, and go on from the last checkpoint")
            figures["gradient"] = optimise.apply(optimisers, parameters, optimise.rate(step, settings), settings.clip, len(parts))
            stage.after(step)
            if average:
                average.update(stage.module, step)
            for name, rows in stage.renewed():
                if average:
                    average.renew(stage.module, name, rows)
            log.add(figures, stage.size(batch) * place.world)
            step += 1
            if step % settings.log == 0 or step == settings.steps:
                log.line(step)
            stopping = asked.agreed(place)
            if step % settings.save == 0 or step == settings.steps:
                if place.first:
                    log.measured(step, looked_at(stage.measure))  # before saving: what is logged up to a checkpoint is whole
                save(step)
            elif stopping:
                save(step)
            if place.first and settings.sheet and (step % settings.sheet == 0 or step == settings.steps):
                log.sheet(out, step, looked_at(stage.sheet))
            if stopping:
                break
    return step

"""The training loop. Each step is a pure function of (state, seed, step), so a killed run can resume bit for bit.

The folder of a run is a checkpoint in the published layout (config.json, config.yaml, checkpoints/NNNNNNN.pt, only the
newest) with `resume.pt` (raw weights, optimizers, averages), `log.jsonl`, `recipe.yaml`, sheets/ and the files of
TensorBoard.
"""

import contextlib
import math
import os
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypeVar

import torch
from PIL import Image
from torch import nn

from detailflow_onnx.checkpoint import layout
from detailflow_onnx.errors import Refused, brief, need
from detailflow_onnx.files import open_regular
from detailflow_onnx.output import delete_leftovers, write_text, writing
from detailflow_onnx.train import optimise, threads
from detailflow_onnx.train.log import Log
from detailflow_onnx.train.process import Process, StopRequest, seed_all
from detailflow_onnx.train.recipe import Optimising, Recipe

T = TypeVar("T")
Tensors = dict[str, torch.Tensor]
STATE = {"step", "log", "recipe", "model", "stage", "optimisers", "average"}  # keys of resume.pt


class Stage(Protocol):
    """What the loop trains. `measure` and `sheet` run with the averaged weights in place, if there are any."""

    classes: list[str]
    best: tuple[str, int]  # a held-out figure; 1 if more is better, -1 if less is

    @property
    def module(self) -> nn.Module:
        """The module that is trained."""

    def begin_with(self, folder: Path) -> list[str]:
        """Start from the weights of the checkpoint in `folder`; returns what they lack, in words."""

    def config(self) -> dict[str, Any]:
        """config.json of the published layout."""

    def config_yaml(self) -> dict[str, Any]:
        """config.yaml of the published layout."""

    def identity(self) -> dict[str, Any]:
        """What must not change when a run resumes."""

    def published(self, raw: Tensors, averaged: Tensors) -> dict[str, Any]:
        """The content of a published checkpoint."""

    def batches(self, start: int) -> Iterator[tuple[int, Any]]:
        """(step, batch) from step `start` on."""

    def split(self, batch: Any, parts: int) -> Sequence[Any]:
        """A batch in parts, for gradient accumulation."""

    def size(self, batch: Any) -> int:
        """Pictures or sequences in a batch."""

    def losses(self, step: int, batch: Any) -> dict[str, torch.Tensor]:
        """Run forward and backward; return figures."""

    def rehearse(self, batch: Any, count: int) -> None:
        """Run forward and backward of the first `count` of a batch, without any effect."""

    def takes_over(self, changed: dict[str, Any], state: Tensors) -> bool:
        """Whether the weights `state` of a run are a start for this one, though its identity differs in `changed`."""

    def after(self, step: int, done: float) -> None:
        """Called after the optimizers' step. `done`: the share of the training that is done."""

    def renewed(self) -> Iterable[tuple[str, Any]]:
        """(parameter, rows) that were replaced, not trained, since the last call."""

    def measure(self) -> dict[str, float]:
        """Figures of held-out data."""

    def sheet(self) -> Image.Image:
        """A sheet of pictures."""

    def state_dict(self) -> dict[str, Any]:
        """State beside the module."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""


def write(path: Path, state: dict[str, Any]) -> None:
    """Write a file atomically."""
    with writing(path) as file:
        torch.save(state, file)


def _loaded(file: BinaryIO, path: Path, device: torch.device) -> dict[str, Any]:
    """The state of a run. `weights_only` keeps code from being executed."""
    try:
        state: dict[str, Any] = torch.load(file, map_location=device, weights_only=True)
    except Exception as error:  # torch.load does not document what a damaged file raises
        advice = "delete it to start again, or choose another --out"
        reason = brief(str(error).partition("\n")[0])
        raise Refused(f"{path}: not the state of a run, or damaged ({reason}); {advice}") from None
    need(isinstance(state, dict) and state.keys() >= STATE, f"{path}: not the state of a run")
    return state


def _write_published(folder: Path, step: int, state: dict[str, Any]) -> None:
    """Write the checkpoint of a run, then delete the older one."""
    home = folder / "checkpoints"
    home.mkdir(exist_ok=True)
    path = home / f"{step:07d}.pt"
    delete_leftovers(home, r"\d{7,}\.pt")
    write(path, state)
    for old in home.glob("*.pt"):
        if old != path:
            old.unlink()


def _write_description(out: Path, stage: Stage, recipe: Recipe) -> None:
    write_text(out / "recipe.yaml", recipe.text)
    layout.write_description(out, (stage.config(), stage.config_yaml()), stage.classes)


class _Run:
    """Weights, optimizers, averages and log of a run."""

    def __init__(
        self, stage: Stage, settings: Optimising, out: Path, process: Process, seconds: float | None = None
    ) -> None:
        self.stage, self.settings, self.out, self.process = stage, settings, out, process
        self.optimisers = optimise.optimisers(stage.module, settings)
        self.average = optimise.Average(stage.module, settings.ema) if settings.ema else None
        self.step = 0
        self.threads: int | None = None
        self.least: float | None = None  # the best held-out figure so far, if only the best is published
        self.seconds, self.begun = seconds, time.monotonic()
        sums, counts = self._resume()
        self.log = Log(out, settings.steps, self.step, process.first)
        self.log.sums, self.log.counts = dict(sums), dict(counts)

    def _resume(self) -> tuple[dict[str, float], dict[str, int]]:
        """Restore the state in `out`, if any; returns the sums of the log."""
        path, stage = self.out / "resume.pt", self.stage
        if not os.path.lexists(path):
            return {}, {}
        with open_regular(path) as file:
            state = _loaded(file, path, self.process.device)
        was, now = state["recipe"], stage.identity()
        changed = {key: value for key, value in now.items() if was.get(key) != value}
        weights = state["model"] | (state["average"] or {})
        if changed and stage.takes_over(changed, weights):
            stage.module.load_state_dict(weights)
            if self.average:
                self.average.load_state_dict(dict(stage.module.named_parameters()))
            return {}, {}
        self._check_unchanged(was, changed)
        stage.module.load_state_dict(state["model"])
        stage.load_state_dict(state["stage"])
        optimise.resume(self.optimisers, state["optimisers"])
        if self.average:
            self.average.load_state_dict(state["average"] or dict(stage.module.named_parameters()))
        self.step, self.least, self.threads = state["step"], state.get("least"), state.get("threads")
        if self.process.first:
            print(f"{self.out}: resuming at step {self.step}", file=sys.stderr)
        sums, counts = state["log"]
        return sums, counts

    def _check_unchanged(self, was: dict[str, Any], changed: dict[str, Any]) -> None:
        """Refuse to resume if the identity of the run differs, with what helps."""
        home = shlex.quote(str(self.out))
        advice = f"choose another --out, or remove the run to start again: rm -r {home}"
        if not changed.keys() & {"codes", "classes"}:
            advice += f"; it resumes with the recipe in {self.out / 'recipe.yaml'}"
        listed = "; ".join(f"{key} {brief(repr(was.get(key)))}, now {brief(repr(changed[key]))}" for key in changed)
        need(not changed, f"{self.out}: it holds a run of another model ({listed}); {advice}")

    @property
    def over(self) -> float:
        """The share of the time that is over; 0 if there is no limit."""
        return (time.monotonic() - self.begun) / self.seconds if self.seconds else 0.0

    def done(self, step: int) -> float:
        """The share of the training that is done."""
        return max(step / self.settings.steps, self.over)

    def _better(self, figures: dict[str, float]) -> bool:
        """Whether a checkpoint with these held-out figures is to be published."""
        name, sign = self.stage.best
        value = figures.get(name)
        if not self.settings.best or value is None or not math.isfinite(value):
            return True
        if self.least is not None and sign * value <= sign * self.least:
            return False
        self.least = value
        return True

    def save(self, step: int, figures: dict[str, float] | None = None) -> None:
        """Write the published checkpoint, unless `figures` say that an earlier one is better, and `resume.pt`."""
        if not self.process.first:
            return
        raw = {name: value.detach().cpu() for name, value in self.stage.module.state_dict().items()}
        averaged = raw
        if self.average:
            averaged = raw | {name: value.cpu() for name, value in self.average.state_dict().items()}
        # The published one first: a resumed run writes it again.
        if figures is not None and self._better(figures):
            _write_published(self.out, step, self.stage.published(raw, averaged) | {"steps": step})
        write(
            self.out / "resume.pt",
            {
                "step": step,
                "least": self.least,
                "log": (self.log.sums, self.log.counts),
                "recipe": self.stage.identity(),
                "threads": self.threads,
                "model": raw,
                "stage": self.stage.state_dict(),
                "optimisers": [o.state_dict() for o in self.optimisers],
                "average": self.average.state_dict() if self.average else None,
            },
        )

    @torch.no_grad()
    def with_averages(self, call: Callable[[], T]) -> T:
        """`call()` with the averaged weights in place and the module in evaluation mode."""
        module = self.stage.module
        with self.average.used(module) if self.average else contextlib.nullcontext():
            module.eval()
            result = call()
            module.train()
        return result

    def settle_threads(self, batch: Any, given: int | None) -> None:
        """Choose the number of CPU threads on the first batch."""
        stage, settings, process = self.stage, self.settings, self.process
        part = stage.split(batch, settings.accumulate)[0]

        def work(count: int) -> None:
            with process.autocast(settings.precision):
                stage.rehearse(part, count)

        size, before = stage.size(part), self.threads
        self.threads = threads.settle(work, size, device=process.device, given=given, before=before, say=process.first)

    def train_step(self, step: int, batch: Any) -> None:
        """One step of the optimizers."""
        stage, settings = self.stage, self.settings
        seed_all(settings.seed, step, self.process.rank)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        figures: dict[str, float] = {}
        parts = stage.split(batch, settings.accumulate)
        for part in parts:
            with self.process.autocast(settings.precision):
                found = stage.losses(step, part)
            # One copy from the device for all figures.
            for name, value in zip(found, torch.stack([value.float() for value in found.values()]).tolist()):
                figures[name] = figures.get(name, 0.0) + value / len(parts)
        advice = "lower lr or clip, and resume from the last checkpoint"
        finite = all(map(math.isfinite, figures.values()))
        need(finite, f"{self.out}: a loss is NaN or infinite at step {step}; {advice}")
        parameters, share = list(stage.module.parameters()), optimise.rate(step, settings, self.over)
        figures["gradient"] = optimise.apply(self.optimisers, parameters, share, settings.clip, len(parts))
        stage.after(step, self.done(step))
        if self.average:
            self.average.update(stage.module, step)
        for name, rows in stage.renewed():
            if self.average:
                self.average.renew(stage.module, name, rows)
        self.log.add(figures, stage.size(batch) * self.process.world)


def train(
    stage: Stage,
    settings: Optimising,
    out: Path | str,
    process: Process,
    recipe: Recipe,
    seconds: float | None = None,
    count: int | None = None,
) -> int:
    """Train `stage` to its end or until a stop request, from where `out` left off. Returns the step reached.

    With `seconds` the training ends after this time at the latest, and the learning rate follows the time.
    `count`: CPU threads; None: see `threads.settle`.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    stage.module.to(process.device)
    run = _Run(stage, settings, out, process, seconds)
    if process.first:
        _write_description(out, stage, recipe)
    step, log = run.step, run.log
    stage.module.train()
    with StopRequest() as request:
        for current, batch in stage.batches(step):
            if current >= settings.steps:
                break
            if current == run.step:
                run.settle_threads(batch, count)
            run.train_step(current, batch)
            step = current + 1
            last = step == settings.steps or run.over >= 1
            if step % settings.log == 0 or last:
                log.line(step)
            stopping = request.agreed(process)
            if step % settings.save == 0 or last:
                figures: dict[str, float] = {}
                if process.first:
                    # Before saving, so that the log is complete up to each checkpoint.
                    figures = run.with_averages(stage.measure)
                    log.measured(step, figures)
                run.save(step, figures)
            elif stopping:
                run.save(step, None if run.least is not None else {})
            if process.first and settings.sheet and (step % settings.sheet == 0 or last):
                log.sheet(out, step, run.with_averages(stage.sheet))
            if stopping or last:
                break
    return settings.steps if run.over >= 1 else step

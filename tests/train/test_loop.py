"""The training loop with a stage of two numbers: a time limit, the best checkpoint; and Muon."""

import dataclasses
import itertools
import json
import types

import numpy as np
import pytest
import torch
from detailflow_onnx.train import loop, optimise, recipe
from detailflow_onnx.train.process import Process
from PIL import Image
from torch import nn


class Scripted:
    """A stage whose held-out figures are given: each measurement takes the next one."""

    classes = ("one",)

    def __init__(self, figures=(), sign=1, clock=None):
        self.module, self.figures, self.best = nn.Linear(1, 1), list(figures), ("held_out", sign)
        self.clock, self.rates = clock, []

    def identity(self):
        return {"model": "two numbers"}

    config = config_yaml = state_dict = identity

    def load_state_dict(self, state):
        pass

    def published(self, raw, averaged):
        return {"model": raw}

    def batches(self, start):
        for step in range(start, 10**9):
            yield step, torch.ones(4, 1)

    def split(self, batch, parts):
        return batch.chunk(parts)

    def size(self, batch):
        return len(batch)

    def losses(self, step, batch):
        if self.clock:
            self.clock.now += 1
        loss = self.module(batch).square().mean()
        loss.backward()
        return {"loss": loss.detach()}

    def rehearse(self, batch, count):
        pass

    def takes_over(self, changed, state):
        return False

    def after(self, step, done):
        self.rates.append(done)

    def renewed(self):
        return ()

    def measure(self):
        return {"held_out": self.figures.pop(0)} if self.figures else {}

    def sheet(self):
        return Image.new("RGB", (8, 8))


SETTINGS = recipe.Optimising(steps=6, batch=4, log=1, save=1, sheet=0, warmup=1, ema=0.0)


def trained(stage, out, seconds=None, **changes):
    chosen = recipe.Recipe(text="{}\n")
    settings = dataclasses.replace(SETTINGS, **changes)
    return loop.train(stage, settings, out, Process("cpu"), chosen, seconds, 1)


def published(out):
    return [int(path.stem) for path in sorted((out / "checkpoints").glob("*.pt"))]


@pytest.mark.parametrize("sign, figures", [(1, [1, 5, 3, 4, 5, 2]), (-1, [9, 2, 3, float("nan"), 2, 8])])
def test_best_checkpoint_is_published(tmp_path, sign, figures):
    figures = [f if f == f else 100 for f in figures]
    trained(Scripted(figures, sign), tmp_path / "best", best=True)
    assert published(tmp_path / "best") == [2]  # the first of two equal ones
    trained(Scripted(figures, sign), tmp_path / "last")
    assert published(tmp_path / "last") == [6]
    # A run that goes on knows the best figure; the state to resume from is always the last one.
    state = torch.load(tmp_path / "best/resume.pt", weights_only=True)
    assert state["step"] == 6 and state["least"] == figures[1]
    trained(Scripted([figures[0], figures[1] + sign], sign), tmp_path / "best", best=True, steps=7)
    assert published(tmp_path / "best") == [2]
    trained(Scripted([figures[1] + sign], sign), tmp_path / "best", best=True, steps=8)
    assert published(tmp_path / "best") == [8]


def test_best_without_held_out_figures_is_the_last(tmp_path):
    trained(Scripted(), tmp_path, best=True)
    assert published(tmp_path) == [6]


def test_training_ends_when_its_time_is_over(tmp_path, monkeypatch):
    """By a clock that a step moves by a second; the learning rate falls to its end meanwhile."""
    clock = types.SimpleNamespace(now=100.0)
    monkeypatch.setattr(loop, "time", types.SimpleNamespace(monotonic=lambda: clock.now))
    stage = Scripted([1.0] * 99, clock=clock)
    shares = []
    apply = optimise.apply

    def noted(optimisers, parameters, share, *rest):
        shares.append(share)
        return apply(optimisers, parameters, share, *rest)

    monkeypatch.setattr(optimise, "apply", noted)
    reached = trained(stage, tmp_path, 20.0, steps=1_000_000, save=1000)
    assert reached == 1_000_000 and len(shares) == 20  # it is done, though not all steps were taken
    assert stage.rates == pytest.approx([i / 20 for i in range(1, 21)])
    assert shares[0] == 1 and shares[10] == pytest.approx(0.5, abs=0.1) and shares[-1] < 0.01
    assert all(a >= b for a, b in itertools.pairwise(shares))
    assert published(tmp_path) == [20]
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 20 and lines[-1]["held_out"] == 1


def test_rate_follows_the_time():
    settings = recipe.Optimising(steps=1000, warmup=10, final=0.1)
    assert optimise.rate(5, settings, 0.5) == 0.6  # it still rises
    assert optimise.rate(20, settings, 0.5) == pytest.approx(0.55) and optimise.rate(20, settings, 1.0) == 0.1
    assert optimise.rate(900, settings, 0.1) == optimise.rate(900, settings)  # whichever is later


def test_muon_of_many_matrices_equals_muon_of_each():
    random = torch.Generator().manual_seed(0)
    shapes = [(12, 8), (12, 8), (8, 12), (12, 8), (6, 6)]
    first = [torch.randn(shape, generator=random) for shape in shapes]
    steps = [[torch.randn(shape, generator=random) for shape in shapes] for _ in range(3)]
    together, alone = ([nn.Parameter(m.clone()) for m in first] for _ in range(2))
    all_at_once = optimise.Muon(together, 0.02, 0.1)
    one_by_one = [optimise.Muon([p], 0.02, 0.1) for p in alone]
    for gradients in steps:
        for p, q, gradient in zip(together, alone, gradients):
            p.grad, q.grad = gradient.clone(), gradient.clone()
        all_at_once.step()
        for optimiser in one_by_one:
            optimiser.step()
    for p, q, before in zip(together, alone, first):
        moved = (q - before).abs().mean()
        assert moved > 1e-3 and (p - q).abs().mean() < 0.01 * moved


def test_muon_is_that_of_pytorch():
    random = torch.Generator().manual_seed(1)
    first, gradients = torch.randn(16, 8, generator=random), torch.randn(4, 16, 8, generator=random)
    ours, theirs = nn.Parameter(first.clone()), nn.Parameter(first.clone())
    decay = {"lr": 0.02, "weight_decay": 0.1}
    a = optimise.Muon([ours], **decay)
    b = torch.optim.Muon([theirs], **decay, momentum=0.95, nesterov=True, adjust_lr_fn="match_rms_adamw")
    for gradient in gradients:
        ours.grad, theirs.grad = gradient.clone(), gradient.clone()
        a.step()
        b.step()
    assert (ours - theirs).abs().mean() < 0.02 * (theirs - first).abs().mean()
    no_gradient = nn.Parameter(torch.ones(3, 3))
    optimise.Muon([no_gradient], **decay).step()
    assert torch.equal(no_gradient, torch.ones(3, 3))


def test_muon_updates_are_nearly_orthogonal():
    p = nn.Parameter(torch.zeros(32, 16))
    p.grad = torch.randn(32, 16, generator=torch.Generator().manual_seed(2))
    optimise.Muon([p], 1.0, 0.0).step()
    values = torch.linalg.svdvals(p.detach()) / (0.2 * np.sqrt(32))
    assert values.min() > 0.5 and values.max() < 1.5

"""Optimizers, learning rates, averaged weights: what a step does with gradients."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed, nn

from detailflow_onnx.errors import need
from detailflow_onnx.train.recipe import Optimising


def optimisers(module: nn.Module, settings: Optimising) -> list[torch.optim.Optimizer]:
    """The optimizers of all parameters of `module`. Weight decay applies to matrices of linear layers only."""
    matrices, linears, rest = [], [], []
    for name, value in module.named_parameters():
        layered = ".layers." in f".{name}" and value.ndim == 2
        if layered and settings.optimizer == "muon":
            matrices.append(value)
        elif value.ndim == 2 and ("embed" not in name or "patch_embedding" in name):
            linears.append(value)
        else:
            rest.append(value)
    groups: list[dict[str, Any]] = [
        {"params": linears, "weight_decay": settings.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    groups = [g for g in groups if g["params"]]
    betas = settings.betas[0], settings.betas[1]
    out: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=settings.lr, betas=betas, fused=True)]
    if matrices:
        need(hasattr(torch.optim, "Muon"), f"optimizer muon needs PyTorch 2.9 or newer; this is {torch.__version__}")
        decay = settings.weight_decay * settings.lr / settings.matrix_lr  # the same decay per step as AdamW
        muon = torch.optim.Muon(matrices, lr=settings.matrix_lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
        out.append(muon)
    for optimiser in out:
        for group in optimiser.param_groups:
            group["full"] = group["lr"]
    return out


def rate(step: int, settings: Optimising) -> float:
    """Share of the learning rate at `step` (from 0): rises over `warmup` steps, then a cosine down to `final`."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def apply(
    optimisers: list[torch.optim.Optimizer], parameters: list[nn.Parameter], share: float, clip: float, parts: int = 1
) -> float:
    """One step at `share` of the full rates; returns the gradient norm before clipping.

    Gradients, summed over the `parts` of a batch, are averaged over parts and processes.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if parts > 1:
        torch._foreach_div_(gradients, parts)
    if distributed.is_initialized():
        flat = torch.cat([g.flatten() for g in gradients])
        distributed.all_reduce(flat)
        flat /= distributed.get_world_size()
        for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients])):
            gradient.copy_(part.view_as(gradient))
    norm = torch.nn.utils.get_total_norm(gradients)
    if clip:
        torch.nn.utils.clip_grads_with_norm_(parameters, clip, norm)
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = group["full"] * share
        optimiser.step()
    return float(norm)


def resume(optimisers: list[torch.optim.Optimizer], states: list[dict[str, Any]]) -> None:
    """Restore the state of optimizers, but keep the rates and decays they have now."""
    for optimiser, state in zip(optimisers, states):
        fresh = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
        optimiser.load_state_dict(state)
        for group, values in zip(optimiser.param_groups, fresh):
            group.update(values)


class Average:
    """Exponential moving average of the parameters of a module.

    The decay is at most (step + 1) / (step + 10), so that the first steps do not dominate a short run.
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay, self.names = decay, [name for name, _ in module.named_parameters()]
        self.values = [value.detach().clone() for value in module.parameters()]

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Include the weights after a step."""
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.values, [p.detach() for p in module.parameters()], 1 - decay)

    @contextlib.contextmanager
    @torch.no_grad()
    def used(self, module: nn.Module) -> Iterator[None]:
        """A context in which `module` has the averages instead of its weights."""
        raw = [p.detach().clone() for p in module.parameters()]
        torch._foreach_copy_(list(module.parameters()), self.values)
        try:
            yield
        finally:
            torch._foreach_copy_(list(module.parameters()), raw)

    @torch.no_grad()
    def renew(self, module: nn.Module, name: str, rows: Any) -> None:
        """Restart the average of rows of a parameter that were replaced, not trained."""
        self.values[self.names.index(name)][rows] = module.get_parameter(name).detach()[rows]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """{parameter: average}."""
        return dict(zip(self.names, self.values))

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore `state_dict`."""
        for name, value in zip(self.names, self.values):
            value.copy_(state[name])

"""Optimizers, learning rates, averaged weights: what a step does with gradients."""

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import distributed, nn

from detailflow_onnx.train.recipe import Optimising


class Muon(torch.optim.Optimizer):
    """Muon (Nesterov momentum, orthogonalized by Newton-Schulz steps), its updates scaled to the size of AdamW's.

    As torch.optim.Muon, but all matrices of one shape are orthogonalized at once, which takes a tenth of the calls.
    """

    MOMENTUM, STEPS, COEFFICIENTS = 0.95, 5, (3.4445, -4.775, 2.0315)

    def __init__(self, matrices: list[nn.Parameter], lr: float, weight_decay: float) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # there is no closure here
        """One step."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[nn.Parameter]] = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape, []).append(p)
            for shape, some in shapes.items():
                gradients = [p.grad for p in some]
                for p in some:
                    if "momentum_buffer" not in self.state[p]:
                        self.state[p]["momentum_buffer"] = torch.zeros_like(p)
                buffers = [self.state[p]["momentum_buffer"] for p in some]
                torch._foreach_lerp_(buffers, gradients, 1 - self.MOMENTUM)
                updates = self._orthogonal(torch.stack(torch._foreach_lerp(gradients, buffers, self.MOMENTUM)))
                torch._foreach_mul_(some, 1 - group["lr"] * group["weight_decay"])
                rate = group["lr"] * 0.2 * math.sqrt(max(shape))
                torch._foreach_add_(some, list(updates.to(some[0].dtype).unbind()), alpha=-rate)

    def _orthogonal(self, x: torch.Tensor) -> torch.Tensor:
        """The nearest orthogonal matrices, roughly, of [n, rows, columns]."""
        a, b, c = self.COEFFICIENTS
        x = x.bfloat16()
        tall = x.shape[1] > x.shape[2]
        x = x.mT if tall else x
        x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
        for _ in range(self.STEPS):
            gram = x @ x.mT
            x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
        return x.mT if tall else x


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
        decay = settings.weight_decay * settings.lr / settings.matrix_lr  # the same decay per step as AdamW
        out.append(Muon(matrices, settings.matrix_lr, decay))
    for optimiser in out:
        for group in optimiser.param_groups:
            group["full"] = group["lr"]
    return out


def rate(step: int, settings: Optimising, done: float = 0.0) -> float:
    """Share of the learning rate at `step` (from 0): rises over `warmup` steps, then a cosine down to `final`.

    `done`: the share of the time that is over, for a run that ends at a time.
    """
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = max(done, (step - settings.warmup) / max(1, settings.steps - settings.warmup))
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

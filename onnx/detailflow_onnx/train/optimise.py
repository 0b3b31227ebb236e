"""Optimisers, learning rates, averaged weights: what a step does with gradients."""

import contextlib
import math

import torch
from torch import distributed

from detailflow_onnx.errors import need


def optimisers(module, settings):
    """[optimiser, ...] over all that `module` trains. Decay is for matrices of products alone."""
    matrices, products, rest = [], [], []
    for name, value in module.named_parameters():
        layered = ".layers." in f".{name}" and value.ndim == 2
        if layered and settings.optimizer == "muon":
            matrices.append(value)
        elif value.ndim == 2 and ("embed" not in name or "patch_embedding" in name):
            products.append(value)
        else:
            rest.append(value)
    groups = [{"params": products, "weight_decay": settings.weight_decay}, {"params": rest, "weight_decay": 0.0}]
    out = [torch.optim.AdamW([g for g in groups if g["params"]], lr=settings.lr, betas=settings.betas, fused=True)]
    if matrices:
        need(hasattr(torch.optim, "Muon"), f"optimizer: muon needs PyTorch 2.9 or newer, and this is {torch.__version__}")
        decay = settings.weight_decay * settings.lr / settings.matrix_lr  # as much a step as AdamW's
        out.append(torch.optim.Muon(matrices, lr=settings.matrix_lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    for optimiser in out:
        for group in optimiser.param_groups:
            group["full"] = group["lr"]
    return out


def rate(step, settings):
    """Share of the learning rate at `step` (from 0): it rises over `warmup` steps and falls as a cosine to `final`."""
    if step < settings.warmup:
        return (step + 1) / settings.warmup
    done = (step - settings.warmup) / max(1, settings.steps - settings.warmup)
    return settings.final + (1 - settings.final) * 0.5 * (1 + math.cos(math.pi * min(1.0, done)))


def apply(optimisers, parameters, share, clip, parts=1):
    """One step at `share` of the full rate; the gradient's norm before clipping. Gradients are averaged over the `parts` of the
    batch that they were summed of, and over processes."""
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


def resume(optimisers, states):
    """Take up what the optimisers had gathered, at the rates and decays that they were made with now."""
    for optimiser, state in zip(optimisers, states):
        fresh = [{key: value for key, value in group.items() if key != "params"} for group in optimiser.param_groups]
        optimiser.load_state_dict(state)
        for group, values in zip(optimiser.param_groups, fresh):
            group.update(values)


class Average:
    """Exponential moving average of a module's parameters. At first new weights count for more (9 / (step + 10)), so that what
    the first steps had does not stay in a short run."""

    def __init__(self, module, decay):
        self.decay, self.names = decay, [name for name, _ in module.named_parameters()]
        self.values = [value.detach().clone() for value in module.parameters()]

    @torch.no_grad()
    def update(self, module, step):
        decay = min(self.decay, (step + 1) / (step + 10))
        torch._foreach_lerp_(self.values, [p.detach() for p in module.parameters()], 1 - decay)

    @contextlib.contextmanager
    @torch.no_grad()
    def used(self, module):
        """`module` with the averages in place of its weights, for as long."""
        raw = [p.detach().clone() for p in module.parameters()]
        torch._foreach_copy_(list(module.parameters()), self.values)
        try:
            yield
        finally:
            torch._foreach_copy_(list(module.parameters()), raw)

    @torch.no_grad()
    def renew(self, module, name, rows):
        """Rows of a parameter that were replaced, not trained: the average of what they were means nothing."""
        self.values[self.names.index(name)][rows] = module.get_parameter(name).detach()[rows]

    def state_dict(self):
        return dict(zip(self.names, self.values))

    def load_state_dict(self, state):
        for name, value in zip(self.names, self.values):
            value.copy_(state[name])

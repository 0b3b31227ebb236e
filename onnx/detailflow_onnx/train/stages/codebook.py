"""Training of the codebook: quantization, its k-means initialization, and the revival of unused codes."""

from typing import Any

import torch
from torch import distributed
from torch.nn import functional

from detailflow_onnx.train.models.tokenizer import Codebook
from detailflow_onnx.train.process import Process, seed_all
from detailflow_onnx.train.recipe import TokenizerTrain

PARAMETER = "quantize.embedding.weight"
KMEANS_ROUNDS = 10
LATENTS_PER_CODE = 16  # of the last steps, kept for the k-means and for revivals

Losses = dict[str, torch.Tensor]


class CodebookTraining:
    """State and operations of the codebook during training."""

    def __init__(self, codebook: Codebook, settings: TokenizerTrain, process: Process) -> None:
        self.codebook, self.settings, self.process = codebook, settings, process
        self.codes = codebook.embedding.num_embeddings
        self.used = torch.zeros(self.codes, device=process.device)
        self.renewals: list[tuple[str, Any]] = []
        self.since = 0  # the step at which quantization started
        self.recent: list[torch.Tensor] = []  # latents of the last steps
        self.quantizing = not settings.continuous

    def state_dict(self) -> dict[str, Any]:
        """State for `resume.pt`."""
        return {"used": self.used, "quantising": self.quantizing, "since": self.since, "recent": self.recent}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`. With several processes counting restarts: only the first one's counts were saved."""
        if self.process.world == 1:
            self.used.copy_(state["used"])
        self.quantizing, self.since, self.recent = state["quantising"], state["since"], state["recent"]

    def quantize(
        self, z: torch.Tensor, where: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor | None, Losses]:
        """(codes with straight-through gradients, ids, losses) of latents z; the latents while not quantizing yet.

        `where` [B, N]: the positions that the losses are about (default: all).
        """
        book, u = self.codebook, self.codebook.normal(z)
        if not self.quantizing:
            return u, None, {}
        with torch.no_grad():
            ids = book.nearest(z).squeeze(-1)
        rows = book.normal(functional.embedding(ids, book.embedding.weight))
        near, far = (rows, u) if where is None else (rows[where], u[where])
        weight = self.settings.codebook
        terms = {
            "codebook": weight * functional.mse_loss(near, far.detach()),
            "commitment": weight * self.settings.commitment * functional.mse_loss(far, near.detach()),
        }
        return u + (rows - u).detach(), ids, terms

    @torch.no_grad()
    def remember(self, z: torch.Tensor, ids: torch.Tensor | None) -> None:
        """Count the ids and keep the latents of a batch."""
        if ids is not None:
            self.used += torch.bincount(ids.flatten(), minlength=len(self.used))
        if not self.quantizing or self.settings.revive:
            self.recent.append(self.codebook.normal(z.detach()).flatten(0, 1))
            enough = -(-LATENTS_PER_CODE * self.codes // max(1, len(self.recent[-1])))
            self.recent = self.recent[-max(1, enough) :]

    @torch.no_grad()
    def _gathered(self) -> torch.Tensor:
        """The latents of the last steps, of all processes."""
        z = torch.cat(self.recent)
        if self.process.world > 1:
            parts = [torch.empty_like(z) for _ in range(self.process.world)]
            distributed.all_gather(parts, z)
            z = torch.cat(parts)
        return z

    @torch.no_grad()
    def start(self, step: int) -> None:
        """Initialize the codebook with the k-means of the last latents (on the unit sphere if codes are normalized)."""
        z, book = self._gathered().float(), self.codebook
        seed_all(self.settings.seed, -2)
        rows = z[torch.randperm(len(z), device=z.device)[: self.codes]].clone()
        if len(rows) < self.codes:
            more = torch.randn(self.codes - len(rows), rows.shape[1], device=z.device)
            rows = torch.cat([rows, functional.normalize(more, dim=-1)])
        for _ in range(KMEANS_ROUNDS):
            nearest = self._assigned(z, rows)
            count = torch.bincount(nearest, minlength=len(rows))
            total = torch.zeros_like(rows).index_add_(0, nearest, z)
            means = book.normal(total / count.clamp_min(1)[:, None])
            random = z[torch.randint(len(z), (len(rows),), device=z.device)]
            rows = torch.where(count[:, None] > 0, means, random)
        book.embedding.weight.copy_(rows)
        self._synchronize()
        self.quantizing, self.recent, self.since = True, [], step
        self.renewals.append((PARAMETER, slice(None)))
        self.used.zero_()

    def _assigned(self, z: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """The nearest of `rows` to each of z, in parts: all scores at once would take gigabytes."""
        with torch.autocast(z.device.type, enabled=False):
            offset = torch.zeros(()) if self.codebook.l2_norm else 0.5 * (rows**2).sum(-1)
            offset = offset.to(z.device)
            return torch.cat([(part @ rows.T - offset).argmax(-1) for part in z.split(8192)])

    def _synchronize(self) -> None:
        """Copy the codebook of the first process to all: sums differ between cards."""
        if self.process.world > 1:
            distributed.broadcast(self.codebook.embedding.weight.data, 0)

    @torch.no_grad()
    def revive(self, step: int, done: float) -> None:
        """After every `revive` steps: move codes that were not used since to where latents are.

        `done` is the share of the training that is done.
        """
        settings = self.settings
        if not (settings.revive and self.quantizing and (step + 1) % settings.revive == 0):
            return
        if step - self.since < settings.revive:
            self.used.zero_()
            return
        if self.process.world > 1:
            distributed.all_reduce(self.used)
        if done < settings.revive_until:
            dead = (self.used == 0).nonzero().squeeze(1)
            z = self._gathered()
            seed_all(settings.seed, step, -3)
            dead = dead[: len(z)]
            order = torch.randperm(len(z), device=z.device)
            self.codebook.embedding.weight[dead] = z[order[: len(dead)]].float()
            self.renewals.append((PARAMETER, dead))
            self._synchronize()
        self.used.zero_()

    def renewed(self) -> list[tuple[str, Any]]:
        """(parameter, rows) that were replaced since the last call."""
        out, self.renewals = self.renewals, []
        return out

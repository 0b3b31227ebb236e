"""Stage 3: the autoregressive model over the codes (section 3.3 of the paper).

Cross-entropy at every position. A share of the sequences has a noisy prefix and its correction as target; a share goes
on after the coarsest level as another drawing does; the class of a share is dropped, for guidance.

With `embeddings` only those of some classes are trained, on their sequences: cross-entropy of the logits that guidance
combines, u + s (c - u), divided by the temperature. Guidance sharpens, and most where the pictures of a class are
similar; these embeddings make up for it. All other classes stay the same function.
"""

import dataclasses
import hashlib
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from detailflow_onnx.checkpoint import layout, published
from detailflow_onnx.checkpoint.identity import tokenizer_id
from detailflow_onnx.errors import need, shown
from detailflow_onnx.labels import class_names
from detailflow_onnx.numbers import ladder
from detailflow_onnx.numbers.sizes import ArSizes
from detailflow_onnx.train import sheets, start
from detailflow_onnx.train.models.tokenizer import open_tokenizer
from detailflow_onnx.train.models.transformer import Transformer
from detailflow_onnx.train.process import Process, seed_all
from detailflow_onnx.train.recipe import Recipe
from detailflow_onnx.train.stages.alike import NONE
from detailflow_onnx.train.stages.codes import CodeSet

SHEET_CACHE = 2_000_000_000  # bytes; largest KV cache of a sheet
SHEET_COLUMNS, SHEET_CLASSES = 8, 32
START_ROWS = 512  # on which weights are judged as a start

Tensors = Sequence[torch.Tensor]  # clean tokens, input tokens, start of the correction, labels


@torch.no_grad()
def token_losses(module: Transformer, classes: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
    """The loss of every token [B, N], in nats."""
    logits = module(classes, ids).float()
    return functional.cross_entropy(logits.flatten(0, 1), ids.flatten(), reduction="none").view(ids.shape)


class ArStage:
    """Stage 3 for the training loop."""

    def __init__(self, recipe: Recipe, codes: Path, process: Process, tokenizer: Path) -> None:
        self.recipe, self.settings, self.process, self.tokenizer_home = recipe, recipe.ar.train, process, tokenizer
        self.codes = CodeSet(codes)
        model, head = recipe.tokenizer.model, self.codes.head
        sizes = open_tokenizer(tokenizer).numbers
        self.kept = ladder.coarsest(sizes)[1]
        ours, theirs = tokenizer_id(sizes), head["tokenizer"]
        advice = "run `train codes` again"
        need(ours == theirs, f"{codes}: made by the tokenizer {theirs}, but {tokenizer} is now {ours}; {advice}")
        for name in ("count", "group", "causal", "codes"):
            have, want = head[name], getattr(model, name)
            need(have == want, f"{codes}: made with {name} {have}, but the recipe has {want}")
        self.swap = 0.0 if self.settings.embeddings else self.settings.swap
        if self.swap:
            text = "ar.train.swap: the coarsest level has all {} tokens, so that none are later"
            need(self.kept < sizes.count, text.format(sizes.count))
            self.alike = self.codes.alike()
        self.classes = self.codes.classes
        self.numbers = ArSizes(
            count=model.count,
            group=model.group,
            causal=model.causal,
            codes=model.codes,
            classes=len(self.classes),
            ar=recipe.ar_sizes,
        )
        seed_all(self.settings.seed, -1)
        tuned = self.settings.embeddings
        unknown = [name for name in tuned if name not in self.classes]
        need(not unknown, f"ar.train.embeddings: no class {shown(unknown[0] if unknown else '')} in {codes}")
        dropout, token_dropout = (0.0, 0.0) if tuned else (self.settings.dropout, self.settings.token_dropout)
        self.module = Transformer(self.numbers, dropout=dropout, token_dropout=token_dropout)
        self.begun, self.tuned = False, [self.classes.index(name) for name in tuned]
        if tuned:
            self._freeze()
        labels, weights = np.asarray(self.codes.labels), self.codes.weights
        self.by_class = [np.flatnonzero(labels == c) for c in range(self.numbers.classes)]
        for c in self.tuned:
            need(len(self.by_class[c]), f"ar.train.embeddings: {codes} has no row of the class {self.classes[c]}")
        self.shares = [np.cumsum(weights[of]) / max(weights[of].sum(), 1e-9) for of in self.by_class]

    def begin_with(self, folder: Path) -> list[str]:
        """Start from the weights of the AR model in `folder`; returns what is new. See `start.begin_with`."""
        self.module.to(self.process.device)
        ar, classes, weights = published.open_ar(folder)
        for key in ("heads", "kv_heads", "rope_base", "eps"):
            have, want = getattr(ar, key), getattr(self.numbers.ar, key)
            # Checkpoints of fp16 bundles have the base from angles of fp16.
            same = math.isclose(have, want, rel_tol=0.01 if key == "rope_base" else 1e-6)
            need(same, f"{folder}: its {key} is {have}, but the recipe has {want}")
        names = class_names(str(folder / "labels.txt"), classes)
        new = start.begin_with(self.module, weights, names, tuple(self.classes))
        loss, plain = self._start_losses()
        reason = f"loss {loss:.2f}, and {plain:.2f} from the share of each code"
        need(loss < plain, f"{folder}: it does not predict these tokens ({reason}); it is of an unrelated tokenizer")
        named = {f"class {name}" for name in self.settings.embeddings}
        fixed = [name for name in new if name not in named] if self.tuned else []
        need(not fixed, f"{folder}: ar.train.embeddings trains nothing of {', '.join(fixed)}")
        self.begun = True
        return new

    def _freeze(self) -> None:
        """Let only the embeddings of the classes `tuned` have gradients."""
        self.module.requires_grad_(False)
        table = self.module.cls_embedding.embedding_table.weight
        chosen = torch.zeros(len(table), 1)
        chosen[self.tuned] = 1
        table.requires_grad_(True).register_hook(lambda gradient: gradient * chosen.to(gradient))

    # ------------------------------------------------ what the loop calls
    best = ("held_out_loss", -1)

    def identity(self) -> dict[str, Any]:
        """The model, and the tokenizer whose codes it learns."""
        codes, optimizer = self.codes.head["tokenizer"], self.settings.optimizer
        return dataclasses.asdict(self.recipe.ar.model) | {
            "classes": self.classes,
            "codes": codes,
            "optimizer": optimizer,
            "embeddings": list(self.settings.embeddings) or None,
        }

    def batches(self, start: int) -> Iterator[tuple[int, Tensors]]:
        """(step, rows of the codes); the rows follow from (seed, step, rank)."""
        need(self.begun or not self.tuned, "ar.train.embeddings needs an AR model to start from: --start DIR")
        batch, step = -(-self.settings.batch // self.process.world), start
        parts = self.codes.clean, self.codes.input, self.codes.first, self.codes.labels
        while True:
            key = hashlib.sha256(f"{self.settings.seed} {step} {self.process.rank}".encode()).digest()
            random = np.random.Generator(np.random.PCG64(int.from_bytes(key[:8], "little")))
            rows = random.integers(len(self.codes), size=batch)
            balanced = random.random(batch) < (1 if self.tuned else self.settings.balance)
            classes = self.tuned or range(len(self.by_class))
            for i in np.flatnonzero(balanced):
                c = classes[random.integers(len(classes))]
                of, share = self.by_class[c], random.random()
                if len(of):
                    rows[i] = of[min(int(np.searchsorted(self.shares[c], share, "right")), len(of) - 1)]
            rows.sort()
            arrays = [np.asarray(part[rows], np.int64) for part in parts]
            if self.swap:
                self._swap(arrays, rows, random)
            yield step, [torch.from_numpy(array).to(self.process.device) for array in arrays]
            step += 1

    def _swap(self, arrays: list[np.ndarray], rows: np.ndarray, random: np.random.Generator) -> None:
        """Give a share of the rows the later tokens of another drawing that looks alike at the coarsest level.

        Their prefix is not noisy.
        """
        clean, noisy, first, _ = arrays
        other = self.alike[rows, random.integers(self.alike.shape[1], size=len(rows))]
        chosen = (random.random(len(rows)) < self.swap) & (other != NONE)
        clean[chosen, self.kept :] = self.codes.clean[other[chosen], self.kept :]
        noisy[chosen], first[chosen] = clean[chosen], self.numbers.count

    @staticmethod
    def size(batch: Tensors) -> int:
        """Sequences in a batch."""
        return len(batch[0])

    @staticmethod
    def split(batch: Tensors, parts: int) -> Sequence[Tensors]:
        """A batch in parts."""
        return list(zip(*(part.chunk(parts) for part in batch)))

    def state_dict(self) -> dict[str, Any]:
        """There is no state beside the module."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore `state_dict`."""
        self.begun = True

    def published(self, raw: dict[str, Any], averaged: dict[str, Any]) -> dict[str, Any]:
        """Raw and averaged weights."""
        return {"model": raw, "ema": averaged}

    def config(self) -> dict[str, Any]:
        """config.json of the published layout."""
        settings = self.settings
        return layout.describe_ar(self.numbers, self.recipe.name)[0] | {
            "token_dropout_p": settings.token_dropout,
            "resid_dropout_p": settings.dropout,
            "ffn_dropout_p": settings.dropout,
            "class_dropout_prob": settings.class_dropout,
        }

    def config_yaml(self) -> dict[str, Any]:
        """config.yaml of the published layout."""
        return layout.describe_ar(self.numbers, self.recipe.name)[1] | {"ema": self.settings.ema > 0}

    def after(self, step: int, done: float) -> None:
        """Nothing follows a step."""

    @staticmethod
    def renewed() -> tuple[()]:
        """No rows are replaced."""
        return ()

    # ------------------------------------------------ a step
    def losses(self, step: int, batch: Tensors) -> dict[str, torch.Tensor]:
        """Forward and backward."""
        if self.tuned:
            return self._guided_losses(batch)
        clean, noisy, first, labels = batch
        settings, n = self.settings, self.numbers
        position = torch.arange(n.count, device=clean.device)
        use = torch.rand(len(clean), 1, device=clean.device) < settings.noisy
        tokens = torch.where(use, noisy, clean)
        wanted = torch.where(use & (position >= first[:, None]), noisy, clean)
        dropped = torch.rand(len(labels), device=clean.device) < settings.class_dropout
        labels = torch.where(dropped, n.classes, labels)
        logits = self.module(labels, tokens).float()
        each = functional.cross_entropy(
            logits.flatten(0, 1), wanted.flatten(), reduction="none", label_smoothing=settings.smoothing
        ).view(wanted.shape)
        loss = each.mean()
        loss.backward()
        with torch.no_grad():
            parallel = each[:, n.causal :].mean() if n.count > n.causal else loss.detach()
            right = (logits.argmax(-1) == wanted).float().mean()
            causal = each[:, : n.causal].mean()
            return {"loss": loss.detach(), "causal": causal, "parallel": parallel, "right": right}

    def _guided_losses(self, batch: Tensors) -> dict[str, torch.Tensor]:
        """Forward and backward of logits as guidance combines them, for the embeddings of classes alone."""
        clean, _, _, labels = batch
        loss = self._guided(labels, clean).mean()
        loss.backward()
        return {"loss": loss.detach()}

    def _guided(self, labels: torch.Tensor, ids: torch.Tensor) -> torch.Tensor:
        """The loss of every token [B, N] by logits as guidance combines them, in nats."""
        with torch.no_grad():
            free = self.module(torch.full_like(labels, self.numbers.classes), ids).float()
        logits = free + self.settings.guidance * (self.module(labels, ids).float() - free)
        logits = (logits / self.settings.temperature).flatten(0, 1)
        return functional.cross_entropy(logits, ids.flatten(), reduction="none").view(ids.shape)

    def rehearse(self, batch: Tensors, count: int) -> None:
        """Forward and backward of `count` sequences, without any effect."""
        clean, _, _, labels = (part[:count] for part in batch)
        loss = self.module(labels, clean).float().pow(2).mean()
        trained = [value for value in self.module.parameters() if value.requires_grad]
        torch.autograd.grad(loss, trained, allow_unused=True)

    def takes_over(self, changed: dict[str, Any], state: dict[str, torch.Tensor]) -> bool:
        """Whether only the tokenizer changed, and the weights predict its tokens better than the codes' shares do.

        This is so when the tokenizer was trained further: most codes keep their meaning. Those of a tokenizer that was
        trained anew have another.
        """
        fresh = {name: value.clone() for name, value in self.module.state_dict().items()}
        same = {name: value.shape for name, value in fresh.items()} == {name: v.shape for name, v in state.items()}
        if self.tuned or changed.keys() != {"codes"} or not same:
            return False
        self.module.load_state_dict(state)
        loss, plain = self._start_losses()
        self.module.load_state_dict(fresh)
        fits = loss < plain
        if fits and self.process.first:
            text = "the tokenizer was trained further: training starts again at step 0, from the weights that are there"
            print(f"{text} (loss {loss:.2f}; {plain:.2f} from the share of each code)", file=sys.stderr, flush=True)
        return fits

    @torch.no_grad()
    def _start_losses(self) -> tuple[float, float]:
        """(loss of the module, loss of the share of each code) on rows of the codes that are evenly spaced."""
        rows = np.unique(np.linspace(0, len(self.codes) - 1, START_ROWS).astype(np.int64))
        ids = torch.from_numpy(self.codes.clean[rows].astype(np.int64)).to(self.process.device)
        labels = torch.from_numpy(self.codes.labels[rows].astype(np.int64)).to(self.process.device)
        self.module.eval()
        total = sum(
            float(functional.cross_entropy(self.module(c, x).float().flatten(0, 1), x.flatten()) * len(x))
            for x, c in zip(ids.split(64), labels.split(64))
        )
        self.module.train()
        share = torch.bincount(ids.flatten(), minlength=self.numbers.codes).double() / ids.numel()
        plain = -(share * share.clamp_min(1e-12).log()).sum()
        return total / len(ids), float(plain)

    # ------------------------------------------------ what a person looks at
    def measure(self) -> dict[str, float]:
        """The loss on the tokens of held-out pictures; it rises when the model overfits.

        With `embeddings` that of the logits that guidance combines, on pictures of their classes.
        """
        arrays = [part.astype(np.int64) for part in self.codes.held_out]
        if self.tuned:
            of_them = np.isin(arrays[1], self.tuned)
            arrays = [part[of_them] for part in arrays]
        arrays = [part[:512] for part in arrays]
        if not len(arrays[0]):
            return {}
        ids, labels = (torch.from_numpy(part).to(self.process.device) for part in arrays)
        each = torch.cat(
            [
                self._guided(classes, some) if self.tuned else token_losses(self.module, classes, some)
                for some, classes in zip(ids.split(64), labels.split(64))
            ]
        )
        causal = self.numbers.causal
        figures = {"held_out_loss": each.mean(), "held_out_causal": each[:, :causal].mean()}
        return {name: float(value) for name, value in figures.items()}

    def sheet(self) -> Image.Image:
        """Eight pictures of up to 32 classes, a row per class, always of the same seeds.

        Fewer classes if their KV cache would exceed SHEET_CACHE.
        """
        settings, ar, size, device = self.settings, self.numbers.ar, self.recipe.data.size, self.process.device
        # Keys and values, conditional and unconditional, 4 bytes each.
        cache = 2 * 2 * 4 * ar.depth * self.numbers.count * ar.kv_heads * ar.head_dim
        most = min(SHEET_CLASSES, max(1, SHEET_CACHE // (SHEET_COLUMNS * cache)))
        classes = self.classes[:most]
        chosen = torch.arange(len(classes), device=device).repeat_interleave(SHEET_COLUMNS)
        tokens = self.module.generate(
            chosen,
            guidance=settings.guidance,
            temperature=settings.temperature,
            top_p=settings.top_p,
            seed=0,
        )
        tokenizer = open_tokenizer(self.tokenizer_home).to(device)
        images = [sheets.to_bytes(tokenizer.decode(part, size)) for part in tokens.split(16)]
        scale = sheets.scale_of(size)
        return sheets.grid(np.concatenate(images), SHEET_COLUMNS, scale, rows=list(classes))

"""Stage 3: the autoregressive model over the codes (section 3.3 of the paper; DETAILFLOW section 6): cross-entropy at every
position, a share of the sequences disturbed and with repaired targets, the class left out now and then, for guidance."""

import dataclasses
import hashlib

import numpy as np
import torch
from torch.nn import functional

from detailflow_onnx.errors import need
from detailflow_onnx.bundle.manifest import tokenizer_id
from detailflow_onnx.train.loop import seeded
from detailflow_onnx.train.stages.codes import CodeSet
from detailflow_onnx.train.models.tokenizer import open_tokenizer
from detailflow_onnx.train.models.transformer import Numbers, Transformer


class ArStage:
    def __init__(self, recipe, codes, place, tokenizer):
        self.recipe, self.settings, self.place, self.tokenizer_home = recipe, recipe.ar.train, place, tokenizer
        self.codes = CodeSet(codes)
        model, head = recipe.tokenizer.model, self.codes.head
        made_by = tokenizer_id(open_tokenizer(tokenizer).numbers)
        need(made_by == head["tokenizer"], f"{codes}: made by the tokenizer {head['tokenizer']}, and {tokenizer} is {made_by} now; run `train codes` again")
        for name in ("count", "group", "causal", "codes"):
            need(head[name] == getattr(model, name), f"{codes}: made with {name} {head[name]}, and the recipe has {getattr(model, name)}")
        self.classes = self.codes.classes
        self.numbers = Numbers(recipe.ar_sizes, classes=len(self.codes.classes), count=model.count, group=model.group, causal=model.causal, codes=model.codes)
        seeded(self.settings.seed, -1)
        self.module = Transformer(self.numbers, dropout=self.settings.dropout, token_dropout=self.settings.token_dropout)
        labels = np.asarray(self.codes.labels)
        self.by_class = [np.flatnonzero(labels == c) for c in range(self.numbers.classes)]

    # ------------------------------------------------ what run.train asks for
    def identity(self):
        """What must be the same for a run to be gone on with: the model, and whose codes it learns."""
        return dataclasses.asdict(self.recipe.ar.model) | {"classes": self.classes, "codes": self.codes.head["tokenizer"], "optimizer": self.settings.optimizer}

    def batches(self, start):
        """Rows drawn for a step alone: from (seed, step, rank) follows which."""
        batch, step = -(-self.settings.batch // self.place.world), start
        while True:
            key = hashlib.sha256(f"{self.settings.seed} {step} {self.place.rank}".encode()).digest()
            random = np.random.Generator(np.random.PCG64(int.from_bytes(key[:8], "little")))
            rows = random.integers(len(self.codes), size=batch)
            even = random.random(batch) < self.settings.balance
            for i in np.flatnonzero(even):
                of = self.by_class[random.integers(len(self.by_class))]
                rows[i] = of[random.integers(len(of))] if len(of) else rows[i]
            rows.sort()
            yield step, [torch.from_numpy(np.asarray(part[rows], np.int64)).to(self.place.device)
                         for part in (self.codes.clean, self.codes.input, self.codes.first, self.codes.labels)]  # fmt: skip
            step += 1

    @staticmethod
    def size(batch):
        return len(batch[0])

    @staticmethod
    def split(batch, parts):
        return list(zip(*(part.chunk(parts) for part in batch)))

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass

    def published(self, raw, averaged):
        return {"model": raw, "ema": averaged}

    def config(self):
        n, ar, settings = self.numbers, self.numbers.ar, self.settings
        return {
            "dim": ar.width, "n_layer": ar.depth, "n_head": ar.heads, "n_kv_head": None if ar.kv_heads == ar.heads else ar.kv_heads, "multiple_of": 64,
            "rope_base": ar.rope_base, "norm_eps": ar.eps, "token_dropout_p": settings.token_dropout, "resid_dropout_p": settings.dropout,
            "ffn_dropout_p": settings.dropout, "num_classes": n.classes, "class_dropout_prob": settings.class_dropout, "model_type": "c2i",
            "vocab_size": n.codes, "cls_token_num": 1, "block_size": n.count, "group_size": n.group, "causal_num": None if n.causal == n.group else n.causal,
        }  # fmt: skip

    def config_yaml(self):
        return {"gpt_model": f"GPT-{self.recipe.name}", "gpt_type": "c2i", "num_classes": self.numbers.classes, "cls_token_num": 1, "ema": self.settings.ema > 0}

    # ------------------------------------------------ a step
    def losses(self, step, batch):
        clean, noisy, first, labels = batch
        settings, n = self.settings, self.numbers
        place = torch.arange(n.count, device=clean.device)
        use = (torch.rand(len(clean), 1, device=clean.device) < settings.noisy)
        fed = torch.where(use, noisy, clean)
        wanted = torch.where(use & (place >= first[:, None]), noisy, clean)
        labels = torch.where(torch.rand(len(labels), device=clean.device) < settings.class_dropout, n.classes, labels)
        logits = self.module(labels, fed).float()
        each = functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), reduction="none", label_smoothing=settings.smoothing).view(wanted.shape)
        loss = each.mean()
        loss.backward()
        with torch.no_grad():
            right = (logits.argmax(-1) == wanted).float().mean()
            return {"loss": loss.detach(), "causal": each[:, : n.causal].mean(), "parallel": each[:, n.causal :].mean() if n.count > n.causal else loss.detach(), "right": right}

    def after(self, step):
        pass

    @staticmethod
    def renewed():
        return ()

    # ------------------------------------------------ what a person looks at
    def measure(self):
        """The loss on the tokens of held-out pictures: where it rises, the model learns by heart."""
        ids, labels = self.codes.held_out
        if not len(ids):
            return {}
        ids, labels = (torch.from_numpy(part[:512].astype(np.int64)).to(self.place.device) for part in (ids, labels))
        each = [functional.cross_entropy(self.module(l, i).float().flatten(0, 1), i.flatten()) * len(i) for i, l in zip(ids.split(64), labels.split(64))]
        return {"held_out_loss": float(sum(each) / len(ids))}

    def sheet(self):
        """Eight pictures of up to 32 classes, fewer where their keys and values would take more than 2 GB; a row each, the
        same seeds every time."""
        from detailflow_onnx.train.sheets import grid, scale_of, to_bytes

        settings, ar, size, device = self.settings, self.numbers.ar, self.recipe.data.size, self.place.device
        kept = 2 * 2 * 4 * ar.depth * self.numbers.count * ar.kv_heads * ar.head_width  # of a picture and its unconditional half
        classes = self.classes[: min(32, max(1, 2_000_000_000 // (8 * kept)))]
        chosen = torch.arange(len(classes), device=device).repeat_interleave(8)
        tokens = self.module.generate(chosen, guidance=settings.guidance, temperature=settings.temperature, top_p=settings.top_p, seed=0)
        tokenizer = open_tokenizer(self.tokenizer_home).to(device)
        return grid(np.concatenate([to_bytes(tokenizer.decode(part, size)) for part in tokens.split(16)]), 8, scale_of(size), rows=list(classes))

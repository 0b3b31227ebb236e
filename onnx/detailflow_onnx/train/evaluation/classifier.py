"""A small convolutional classifier of the user's own data, trained here: the eye of an evaluation. Its last layer but one is
the feature space of Fréchet and kernel distance, precision and recall, and its answers are the class accuracy of samples.

It is **not** Inception: figures in its space compare models measured with the same classifier, and say nothing beside figures
of other papers. In training it sees soft, noisy and shifted pictures too, so that softness is not taken for a class."""

import hashlib
import json
import math
import os
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.errors import need
from detailflow_onnx.train.data import feed
from detailflow_onnx.train.evaluation import metrics

LARGEST = 64  # pixels a side that it looks at; larger pictures are made smaller

# What is trained; a different number here is a different classifier, and a different file.
SETTINGS = {
    "version": 1,
    "width": 32,
    "features": 128,
    "steps": 900,
    "batch": 128,
    "rate": 3e-3,
    "decay": 0.05,
    "smoothing": 0.1,
    "hue": 0.8,
    "seed": 0,
}


def _block(channels, out, stride=1):
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Classifier(nn.Module):
    """Pictures [n, C, S, S] in 0..1, premultiplied where C is 4, of any size -> logits [n, classes]."""

    def __init__(self, channels, classes, width, features):
        super().__init__()
        w = width
        self.body = nn.Sequential(
            _block(channels, w), _block(w, 2 * w, 2), _block(2 * w, 2 * w), _block(2 * w, 4 * w, 2), _block(4 * w, 4 * w),
            _block(4 * w, 4 * w), _block(4 * w, 8 * w, 2), _block(8 * w, 8 * w), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        )  # fmt: skip
        self.neck, self.head = nn.Sequential(nn.Linear(8 * w, features), nn.SiLU()), nn.Linear(features, classes)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def _neck(self, x):
        if x.shape[-1] > LARGEST:
            x = metrics.resized(x, LARGEST)
        return self.neck(self.body((2 * x - 1).contiguous(memory_format=torch.channels_last)))

    def forward(self, x):
        return self.head(functional.dropout(self._neck(x), 0.2, self.training))

    @torch.no_grad()
    def look(self, images, batch=256):
        """(features [n, d], probabilities [n, classes]) as float arrays. Over the training pictures each feature has mean 0
        and deviation 1."""
        self.eval()
        found = []
        for some in images.split(batch):
            x = self._neck(some)
            found.append((((x - self.mean) / self.deviation).numpy(), self.head(x).softmax(-1).numpy()))
        return tuple(np.concatenate(column) for column in zip(*found))


def soften(x, generator):
    """What generated pictures look like, done to real ones in 0..1: all are shifted, scaled and paled a little, half of them are
    soft (by way of a smaller size), four in ten noisy."""
    n, _, s, _ = x.shape
    r = torch.rand(n, 7, generator=generator)
    scale = 1 + 0.12 * (2 * r[:, 0] - 1)
    move = (2 * r[:, 1:3] - 1) * 0.18  # of half a side: 3 pixels of 32
    rows = torch.zeros(n, 2, 3)
    rows[:, 0, 0], rows[:, 1, 1], rows[:, :, 2] = scale, scale, move
    x = functional.grid_sample(x, functional.affine_grid(rows, x.shape, align_corners=False), padding_mode="border", align_corners=False)
    for part, part_of in enumerate((0.3 + 0.5 * torch.rand(4, generator=generator)).tolist()):
        chosen = (r[:, 3] >= part / 8) & (r[:, 3] < (part + 1) / 8)
        if chosen.any():
            small = max(1, round(s * part_of))
            x = torch.where(chosen[:, None, None, None], metrics.resized(metrics.resized(x, small), s), x)
    noise = torch.randn(x.shape, generator=generator) * (0.1 * r[:, 4] * (r[:, 5] < 0.4))[:, None, None, None]
    return ((x + noise) * (1 - 0.25 * r[:, 6])[:, None, None, None]).clamp(0, 1)


def _identity(folder, settings):
    """16 hex digits of the settings, the class names, the listing of both splits and the pixels of up to 4,096 of each."""
    digest = hashlib.sha256(json.dumps([settings, folder.classes], sort_keys=True).encode())
    for pictures in (folder.train, folder.held_out):
        digest.update(json.dumps([list(pictures.paths), np.asarray(pictures.labels).tolist()]).encode())
        at = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), 4096)).astype(np.int64)) if len(pictures) else []
        for start in range(0, len(at), 256):
            digest.update(pictures.read(at[start : start + 256]).numpy().tobytes())
    return digest.hexdigest()[:16]


def prepared(pictures, indices):
    """Pictures as they lie, [n, C, S, S] in 0..1, premultiplied where C is 4."""
    return (feed.prepare(pictures.read(indices), flips=False, hue=0.0, generator=None) + 1) / 2


def accuracy(probabilities, labels, top=1):
    """Hits [n] as booleans: whether the label is among the `top` most probable classes."""
    best = np.argsort(-probabilities, 1, kind="stable")[:, :top]
    return (best == np.asarray(labels)[:, None]).any(1)


def _train(folder, channels, settings, say):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        model = Classifier(channels, len(folder.classes), settings["width"], settings["features"]).to(memory_format=torch.channels_last)
        model.train()
        steps = settings["steps"]
        plain = [p for p in model.parameters() if p.ndim < 2]
        groups = [{"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": settings["decay"]}, {"params": plain, "weight_decay": 0.0}]
        optimiser = torch.optim.AdamW(groups, lr=settings["rate"])
        batches = feed.feed(folder.train, batch=settings["batch"], seed=settings["seed"], flips=True, hue=settings["hue"], balance=1.0)
        generator = torch.Generator().manual_seed(settings["seed"])
        for step in range(steps):
            _, images, labels = next(batches)
            for group in optimiser.param_groups:
                group["lr"] = settings["rate"] * min(1, (step + 1) / max(1, 0.05 * steps)) * (0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / steps)))
            loss = functional.cross_entropy(model(soften((images + 1) / 2, generator)), labels, label_smoothing=settings["smoothing"])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if step % 100 == 0 or step == steps - 1:
                say(f"classifier: step {step + 1} of {steps}, loss {loss.item():.3f}")
    return model.eval()


def _figures(model, folder, most=4096):
    """Its accuracy, on both splits; all classes count alike in `by_class_mean`."""
    out = {}
    for name, pictures in (("training", folder.train), ("held_out", folder.held_out)):
        if not len(pictures):
            continue
        at = np.unique(np.linspace(0, len(pictures) - 1, min(len(pictures), most)).astype(np.int64))
        labels = np.asarray(pictures.labels)[at]
        seen = np.concatenate([model.look(prepared(pictures, at[i : i + 256]))[1] for i in range(0, len(at), 256)])
        hits = accuracy(seen, labels)
        by_class = {folder.classes[k]: float(hits[labels == k].mean()) for k in np.unique(labels)}
        out[name] = {
            "pictures": len(at), "accuracy": float(hits.mean()), "top_3": float(accuracy(seen, labels, 3).mean()),
            "by_class_mean": float(np.mean(list(by_class.values()))), "by_class": by_class,
        }  # fmt: skip
    return out


def classifier(folder, channels, keep, *, settings=None, say=lambda line: None):
    """(module, about) for a `folder.Folder`: the one kept in the folder `keep` for just this data and these settings, else
    trained now (minutes on one core) and kept there. `about` holds its settings, identity and accuracies."""
    settings = SETTINGS | (settings or {})
    need(len(folder.classes) > 1, "the data has one class only: a classifier, and with it an evaluation of samples, needs two at least")
    need(len(folder.train), "the data has no training pictures")
    identity = _identity(folder, settings | {"channels": channels})
    path = Path(keep) / f"classifier-{identity}.pt"
    if path.is_file():
        saved = torch.load(path, weights_only=True)
        model = Classifier(channels, len(folder.classes), settings["width"], settings["features"])
        model.load_state_dict(saved["model"])
        return model.to(memory_format=torch.channels_last).eval(), saved["about"]
    model = _train(folder, channels, settings, say)
    with torch.no_grad():
        at = np.unique(np.linspace(0, len(folder.train) - 1, min(len(folder.train), 4096)).astype(np.int64))
        seen = torch.cat([model._neck(prepared(folder.train, at[i : i + 256])) for i in range(0, len(at), 256)])
        model.mean.copy_(seen.mean(0))
        model.deviation.copy_(seen.std(0).clamp(min=1e-3) if len(seen) > 1 else torch.ones_like(model.deviation))
    about = {"identity": identity, "settings": settings, "classes": list(folder.classes)} | _figures(model, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    torch.save({"model": model.state_dict(), "about": about}, beside)
    os.replace(beside, path)
    return model, about

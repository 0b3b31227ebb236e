"""A small convolutional classifier of the data, trained for the evaluation.

Its last layer but one is the feature space of Fréchet and kernel distance, precision and recall; its classes give the
class accuracy of samples. It is **not** Inception: figures in its space compare models measured with the same
classifier and cannot be compared with other papers. Its training pictures are also blurred, noisy and shifted, so that
blur does not decide the class.
"""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from detailflow_onnx.errors import need
from detailflow_onnx.output import writing
from detailflow_onnx.train.data.augment import prepare
from detailflow_onnx.train.data.batches import batches
from detailflow_onnx.train.data.folder import Folder, Pictures
from detailflow_onnx.train.losses import resized

LARGEST = 64  # pixels per side; larger pictures are reduced
SAMPLED = 4096  # pictures of a split that are used for its hash, normalization and accuracy

Settings = dict[str, Any]
Say = Callable[[str], Any]

# Other settings make another classifier, in another file.
SETTINGS: Settings = {
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


def _block(channels: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, 3, stride, 1, bias=False), nn.BatchNorm2d(out), nn.ReLU())


class Classifier(nn.Module):
    """Pictures [n, C, S, S] in 0..1, premultiplied if C is 4, of any size -> logits [n, classes]."""

    mean: torch.Tensor
    deviation: torch.Tensor

    def __init__(self, channels: int, classes: int, width: int, features: int) -> None:
        super().__init__()
        w = width
        self.body = nn.Sequential(
            _block(channels, w),
            _block(w, 2 * w, 2),
            _block(2 * w, 2 * w),
            _block(2 * w, 4 * w, 2),
            _block(4 * w, 4 * w),
            _block(4 * w, 4 * w),
            _block(4 * w, 8 * w, 2),
            _block(8 * w, 8 * w),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.neck, self.head = nn.Sequential(nn.Linear(8 * w, features), nn.SiLU()), nn.Linear(features, classes)
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("deviation", torch.ones(features))

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Features [n, d] before normalization."""
        if x.shape[-1] > LARGEST:
            x = resized(x, LARGEST)
        y: torch.Tensor = self.neck(self.body((2 * x - 1).contiguous(memory_format=torch.channels_last)))
        return y

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The logits."""
        logits: torch.Tensor = self.head(functional.dropout(self.features(x), 0.2, self.training))
        return logits

    @torch.no_grad()
    def look(self, images: torch.Tensor, batch: int = 256) -> tuple[np.ndarray, np.ndarray]:
        """(features [n, d], probabilities [n, classes]).

        Over the training pictures each feature has mean 0 and standard deviation 1.
        """
        self.eval()
        features, probabilities = [], []
        for some in images.split(batch):
            x = self.features(some.to(self.mean.device))
            features.append(((x - self.mean) / self.deviation).cpu().numpy())
            probabilities.append(self.head(x).softmax(-1).cpu().numpy())
        return np.concatenate(features), np.concatenate(probabilities)


def degrade(x: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Make pictures in 0..1 resemble generated ones.

    All are shifted, scaled and faded a little, half of them blurred (resized down and up), four in ten noisy.
    """
    n, _, s, _ = x.shape
    device = x.device
    r = torch.rand(n, 7, generator=generator).to(device)
    scale = 1 + 0.12 * (2 * r[:, 0] - 1)
    move = (2 * r[:, 1:3] - 1) * 0.18  # of half a side: 3 pixels of 32
    rows = torch.zeros(n, 2, 3, device=device)
    rows[:, 0, 0], rows[:, 1, 1], rows[:, :, 2] = scale, scale, move
    flow = functional.affine_grid(rows, list(x.shape), align_corners=False)
    x = functional.grid_sample(x, flow, padding_mode="border", align_corners=False)
    for part, part_of in enumerate((0.3 + 0.5 * torch.rand(4, generator=generator)).tolist()):
        chosen = (r[:, 3] >= part / 8) & (r[:, 3] < (part + 1) / 8)
        if chosen.any():
            small = max(1, round(s * part_of))
            x = torch.where(chosen[:, None, None, None], resized(resized(x, small), s), x)
    noise = (
        torch.randn(x.shape, generator=generator).to(device) * (0.1 * r[:, 4] * (r[:, 5] < 0.4))[:, None, None, None]
    )
    return ((x + noise) * (1 - 0.25 * r[:, 6])[:, None, None, None]).clamp(0, 1)


def _spaced(count: int) -> np.ndarray:
    """Up to SAMPLED of 0..count-1, evenly spaced."""
    if not count:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, count - 1, min(count, SAMPLED)).astype(np.int64))


def _identity(folder: Folder, settings: Settings) -> str:
    """16 hex digits of a hash of settings, class names, file lists and the pixels of up to SAMPLED pictures."""
    digest = hashlib.sha256(json.dumps([settings, folder.classes], sort_keys=True).encode())
    for pictures in (folder.train, folder.held_out):
        digest.update(json.dumps([list(pictures.paths), np.asarray(pictures.labels).tolist()]).encode())
        at = _spaced(len(pictures))
        for start in range(0, len(at), 256):
            digest.update(pictures.read(at[start : start + 256]).numpy().tobytes())
    return digest.hexdigest()[:16]


def prepared(pictures: Pictures, indices: np.ndarray) -> torch.Tensor:
    """Unaugmented pictures [n, C, S, S] in 0..1, premultiplied if C is 4."""
    return (prepare(pictures.read(indices), flips=False, hue=0.0, generator=None) + 1) / 2


def accuracy(probabilities: np.ndarray, labels: Any, top: int = 1) -> np.ndarray:
    """Bool [n]: whether the label is among the `top` most probable classes."""
    best = np.argsort(-probabilities, 1, kind="stable")[:, :top]
    hits: np.ndarray = (best == np.asarray(labels)[:, None]).any(1)
    return hits


def _train(folder: Folder, channels: int, settings: Settings, say: Say, device: torch.device) -> Classifier:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings["seed"])
        model = Classifier(channels, len(folder.classes), settings["width"], settings["features"])
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
        model.train()
        steps = settings["steps"]
        groups = [
            {"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": settings["decay"]},
            {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimiser = torch.optim.AdamW(groups, lr=settings["rate"])
        source = batches(
            folder.train,
            batch=settings["batch"],
            seed=settings["seed"],
            flips=True,
            hue=settings["hue"],
            balance=1.0,
            device=device,
        )
        generator = torch.Generator().manual_seed(settings["seed"])
        for step in range(steps):
            _, images, labels = next(source)
            warmup = min(1, (step + 1) / max(1, 0.05 * steps))
            cosine = 0.01 + 0.99 * (0.5 + 0.5 * math.cos(math.pi * step / steps))
            for group in optimiser.param_groups:
                group["lr"] = settings["rate"] * warmup * cosine
            logits = model(degrade((images + 1) / 2, generator))
            loss = functional.cross_entropy(logits, labels.to(device), label_smoothing=settings["smoothing"])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            if step % 100 == 0 or step == steps - 1:
                say(f"classifier: step {step + 1} of {steps}, loss {loss.item():.3f}")
    return model.eval()


def _figures(model: Classifier, folder: Folder) -> dict[str, Any]:
    """The accuracy on both splits. All classes count the same in `by_class_mean`."""
    out: dict[str, Any] = {}
    for name, pictures in (("training", folder.train), ("held_out", folder.held_out)):
        if not len(pictures):
            continue
        at = _spaced(len(pictures))
        labels = np.asarray(pictures.labels)[at]
        parts = [model.look(prepared(pictures, at[i : i + 256]))[1] for i in range(0, len(at), 256)]
        probabilities = np.concatenate(parts)
        hits = accuracy(probabilities, labels)
        by_class = {folder.classes[k]: float(hits[labels == k].mean()) for k in np.unique(labels)}
        out[name] = {
            "pictures": len(at),
            "accuracy": float(hits.mean()),
            "top_3": float(accuracy(probabilities, labels, 3).mean()),
            "by_class_mean": float(np.mean(list(by_class.values()))),
            "by_class": by_class,
        }
    return out


def _normalize(model: Classifier, pictures: Pictures) -> None:
    """Set the mean and deviation of the features."""
    with torch.no_grad():
        at = _spaced(len(pictures))
        home = model.mean.device
        parts = [model.features(prepared(pictures, at[i : i + 256]).to(home)) for i in range(0, len(at), 256)]
        features = torch.cat(parts)
        model.mean.copy_(features.mean(0))
        one = torch.ones_like(model.deviation)
        model.deviation.copy_(features.std(0).clamp(min=1e-3) if len(features) > 1 else one)


def classifier(
    folder: Folder,
    channels: int,
    keep: Path | str,
    *,
    settings: Settings | None = None,
    say: Say = lambda line: None,
    device: torch.device | None = None,
) -> tuple[Classifier, dict[str, Any]]:
    """(module, about): the classifier of exactly this data and these settings.

    It is read from the folder `keep`, or trained (minutes on one core) and written there. `about` holds its settings,
    identity and accuracies.
    """
    device = device or torch.device("cpu")
    settings = SETTINGS | (settings or {})
    need(len(folder.classes) > 1, "the data has one class; an evaluation of samples needs at least two")
    need(len(folder.train), "the data has no training pictures")
    identity = _identity(folder, settings | {"channels": channels})
    path = Path(keep) / f"classifier-{identity}.pt"
    if path.is_file():
        saved = torch.load(path, map_location="cpu", weights_only=True)
        model = Classifier(channels, len(folder.classes), settings["width"], settings["features"])
        model.load_state_dict(saved["model"])
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # the stub lacks it
        return model.eval(), saved["about"]
    model = _train(folder, channels, settings, say, device)
    _normalize(model, folder.train)
    about = {"identity": identity, "settings": settings, "classes": list(folder.classes)} | _figures(model, folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path) as file:
        torch.save({"model": {k: v.cpu() for k, v in model.state_dict().items()}, "about": about}, file)
    return model, about

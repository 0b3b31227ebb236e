"""Sets of pictures with their features, and models called in batches."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from detailflow_onnx.train.data.folder import Pictures
from detailflow_onnx.train.evaluation import metrics
from detailflow_onnx.train.evaluation.classifier import Classifier, prepared
from detailflow_onnx.train.models.tokenizer import Tokenizer

MOST = 20000  # pictures of a split; larger splits are sampled evenly


def in_batches(call: Callable[..., torch.Tensor], *columns: torch.Tensor, batch: int = 128) -> torch.Tensor:
    """`call` on slices of the tensors, with the results concatenated."""
    return torch.cat([call(*part) for part in zip(*(column.split(batch) for column in columns))])


def device_of(tokenizer: Tokenizer) -> torch.device:
    """Where the weights are."""
    return tokenizer.quantize.embedding.weight.device


def encoded(tokenizer: Tokenizer, images: torch.Tensor) -> torch.Tensor:
    """Ids [n, N], on the device of the pictures."""
    home = device_of(tokenizer)
    return in_batches(lambda x: tokenizer.encode(2 * x.to(home) - 1)[1].to(x.device), images)


def decoded(tokenizer: Tokenizer, ids: torch.Tensor, size: int) -> torch.Tensor:
    """Pictures of the first t ids [n, t], clipped to 0..1, on the device of the ids."""
    home = device_of(tokenizer)
    return in_batches(lambda part: ((tokenizer.decode(part.to(home), size) + 1) / 2).clamp(0, 1).to(part.device), ids)


def evenly(count: int, most: int) -> np.ndarray:
    """At most `most` of 0..count-1, evenly spaced."""
    if not count:
        return np.zeros(0, np.int64)
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


class PictureSet:
    """Pictures with `labels` [n], `weights` [n] (each class counts the same), and what the classifier computes."""

    def __init__(self, eye: Classifier, images: torch.Tensor, labels: Any) -> None:
        self.images, self.labels = images, np.asarray(labels)
        self.weights = metrics.balanced(self.labels)
        self.features, self.probabilities = eye.look(images)

    def __len__(self) -> int:
        return len(self.labels)


def split_of(pictures: Pictures, eye: Classifier, most: int = MOST) -> PictureSet:
    """One split of the data, in memory."""
    at = evenly(len(pictures), most)
    images = torch.cat([prepared(pictures, at[i : i + 512]) for i in range(0, len(at), 512)])
    return PictureSet(eye, images, np.asarray(pictures.labels)[at])

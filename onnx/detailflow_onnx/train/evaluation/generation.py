"""Figures of samples of the AR model beside the data: distances, class accuracy, near-copies."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from detailflow_onnx.train.data.augment import rotate_hue_premultiplied
from detailflow_onnx.train.evaluation import metrics, variety
from detailflow_onnx.train.evaluation.classifier import Classifier, accuracy
from detailflow_onnx.train.evaluation.pictures import PictureSet, decoded, device_of, encoded, evenly
from detailflow_onnx.train.models.tokenizer import Tokenizer
from detailflow_onnx.train.models.transformer import Transformer

HUES = 12  # hue angles of the search for near-copies, each with and without a flip
COPIES = 250  # training pictures that are transformed and reconstructed to test the search

Found = dict[str, metrics.Nearest]  # by space: pixels, features
Sampling = dict[str, Any]  # arguments of `Transformer.generate`


def generate(ar: Transformer, samples: int, sampling: Sampling, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """(ids [n, N], classes [n]): `samples` of each class, class by class.

    Call i generates every class with seed + i.
    """
    every = torch.arange(ar.numbers.classes)
    home = ar.output.weight.device

    def one(i: int) -> torch.Tensor:
        parts = [ar.generate(part.to(home), seed=seed + i, **sampling) for part in every.split(64)]
        return torch.cat(parts).cpu()

    ids = torch.stack([one(i) for i in range(samples)], 1)
    return ids.flatten(0, 1), every.repeat_interleave(samples)


def variants() -> list[Callable[[torch.Tensor], torch.Tensor]]:
    """Functions of a batch of pictures: all hue angles, each with and without a flip; the identity is the first."""

    def one(angle: float, flip: bool) -> Callable[[torch.Tensor], torch.Tensor]:
        def transform(x: torch.Tensor) -> torch.Tensor:
            x = rotate_hue_premultiplied(x, torch.full((len(x),), angle)) if angle else x
            return x.flip(-1) if flip else x

        return transform

    angles = [2 * math.pi * i / HUES for i in range(HUES)]
    return [one(angle, flip) for flip in (False, True) for angle in angles]


def _class_figures(pictures: PictureSet, classes: list[str]) -> dict[str, Any]:
    """Accuracy of the classifier's answers; each class that occurs counts the same."""
    labels, weights = pictures.labels, pictures.weights
    hits, three = accuracy(pictures.probabilities, labels), accuracy(pictures.probabilities, labels, 3)
    by_class = {classes[k]: float(hits[labels == k].mean()) for k in np.unique(labels)}
    return {"accuracy": float(weights @ hits), "top_3": float(weights @ three), "by_class": by_class}


def _distances(a: PictureSet, b: PictureSet, seed: int) -> dict[str, Any] | None:
    """Distances of two sets; None if one has fewer than two pictures."""
    if min(len(a), len(b)) < 2:
        return None
    sets = a.features, b.features, a.weights, b.weights
    precision, recall = metrics.precision_recall(b.features, a.features, b.weights, a.weights)
    kernel = metrics.kernel_distance(*sets, seed=seed)
    return {"frechet": metrics.frechet(*sets), "kernel": kernel, "precision": precision, "recall": recall}


class Search:
    """Searches the nearest training pictures of any pictures, in two spaces: `pixels` and `features`.

    A training picture's own distance is that from its reconstruction by the tokenizer: a sample at most as far from a
    file as the file's own reconstruction is a near-copy of it.
    """

    def __init__(self, eye: Classifier, tokenizer: Tokenizer, train: PictureSet) -> None:
        self.variants, self.home = variants(), device_of(tokenizer)
        again = decoded(tokenizer, encoded(tokenizer, train.images), tokenizer.numbers.size)
        self.embeds: dict[str, Callable[[torch.Tensor], np.ndarray]] = {
            "pixels": metrics.as_rows,
            "features": lambda x: eye.look(x)[0],
        }
        self.files = {"pixels": metrics.as_rows(train.images), "features": train.features}
        self.own = {
            space: np.linalg.norm(embed(again) - self.files[space], axis=1) for space, embed in self.embeds.items()
        }

    def nearest(self, images: torch.Tensor) -> Found:
        """The nearest training pictures in each space."""

        def files(space: str) -> np.ndarray | torch.Tensor:
            rows = self.files[space]
            return rows if self.home.type == "cpu" else torch.from_numpy(rows.astype(np.float32)).to(self.home)

        return {
            space: metrics.nearest(images.to(self.home), files(space), self.own[space], self.variants, embed)
            for space, embed in self.embeds.items()
        }


def _known_copies(tokenizer: Tokenizer, images: torch.Tensor, seed: int) -> torch.Tensor:
    """Training pictures, hue-rotated, flipped and reconstructed: what a memorized picture would look like."""
    generator = torch.Generator().manual_seed(seed)
    r = torch.rand(len(images), 2, generator=generator)
    x = rotate_hue_premultiplied(images, 2 * math.pi * r[:, 0])
    x = torch.where((r[:, 1] < 0.5)[:, None, None, None], x.flip(-1), x)
    return decoded(tokenizer, encoded(tokenizer, x), tokenizer.numbers.size)


def near_copies(own: dict[str, np.ndarray], groups: dict[str, Found], copies: Found) -> dict[str, Any]:
    """{space: {threshold, found, groups: {name: {share, share_wide, distance, ratio}}}} of groups of search results.

    `copies` are the results for known copies. The threshold is a ratio to the own distance of 1; the wide one is the
    ratio below which 95 % of the known copies lie.
    """
    out = {}
    for space, distance in own.items():
        known = copies[space].ratio
        wide = max(1.0, float(np.percentile(known, 95)))
        by_group = {}
        for name, found in groups.items():
            d = found[space]
            by_group[name] = {
                "pictures": len(d),
                "share": float((d.ratio <= 1).mean()),
                "share_wide": float((d.ratio <= wide).mean()),
                "distance": metrics.spread(d.distance),
                "ratio": metrics.spread(d.ratio),
            }
        out[space] = {
            "own_distance": metrics.spread(distance),
            "wide": wide,
            "known_copies_found": float((known <= 1).mean()),
            "groups": by_group,
        }
    return out


def exact_copies(made: PictureSet, train: PictureSet, home: torch.device) -> float:
    """Share of samples that, finished, are equal to an earlier sample or to a finished training file."""

    def rows(images: torch.Tensor) -> list[bytes]:
        pixels = (variety.finished(images, home) * 255).round().to(torch.uint8).flatten(1).cpu().numpy()
        return [row.tobytes() for row in pixels]

    known, found = set(rows(train.images)), 0
    for row in rows(made.images):
        found += row in known
        known.add(row)
    return found / max(1, len(made))


def variety_of(
    models: tuple[Tokenizer, Transformer],
    names: list[str],
    to_data: np.ndarray,
    eye: Classifier,
    made: PictureSet,
    train: PictureSet,
    sampling: Sampling,
    seed: int,
) -> dict[str, Any]:
    """Distinct samples and files of each class, and variation with the coarsest level kept."""
    home = device_of(models[0])
    samples, files = (variety.of_set(some.images, some.labels, names, home) for some in (made, train))
    least = {c: e["share"] for c, e in samples.items()}
    return {
        "distinct": float(np.mean(list(least.values()))),
        "least": min(least, key=lambda c: least[c]),
        "exact": float(np.mean([e["exact"] / e["pictures"] for e in samples.values()])),
        "samples": samples,
        "files": files,
        "variation": variety.variation(*models, eye, names, to_data, sampling, seed),
    }


def generation(
    models: tuple[Tokenizer, Transformer],
    names: list[str],
    to_data: np.ndarray,
    eye: Classifier,
    train: PictureSet,
    held: PictureSet,
    *,
    samples: int,
    sampling: Sampling,
    seed: int,
) -> tuple[dict[str, Any], PictureSet, Found]:
    """(figures, the samples, their nearest training pictures).

    `names` are the classes of the data, `to_data` [classes] the index of each class of the model among them.
    """
    tokenizer, ar = models
    size = tokenizer.numbers.size
    ids, classes = generate(ar, samples, sampling, seed)
    made = PictureSet(eye, decoded(tokenizer, ids, size), to_data[classes.numpy()])
    again = PictureSet(eye, decoded(tokenizer, encoded(tokenizer, held.images), size), held.labels)
    search = Search(eye, tokenizer, train)
    found = search.nearest(made.images)
    groups = {
        "samples": found,
        "held-out files": search.nearest(held.images),
        "held-out files, reconstructed": search.nearest(again.images),
    }
    copies = search.nearest(_known_copies(tokenizer, train.images[evenly(len(train), COPIES)], seed))
    confusion = np.zeros((len(names), len(names)), np.int64)
    np.add.at(confusion, (made.labels, made.probabilities.argmax(1)), 1)
    figures = {
        "samples": len(ids),
        "of_each_class": samples,
        "seeds": [seed, seed + samples - 1],
        "sampling": sampling,
        "different_token_sequences": len({tuple(row) for row in ids.tolist()}),
        "held_out": _distances(made, held, seed),
        "training": _distances(made, train, seed),
        "baseline": {
            "held-out files beside training files": _distances(held, train, seed),
            "held-out files, reconstructed, beside held-out files": _distances(again, held, seed),
        },
        "classes": _class_figures(made, names),
        "classes_of_files": _class_figures(held, names),
        "classes_of_reconstructions": _class_figures(again, names),
        "confusion": {"classes": names, "counts": confusion.tolist()},
        "near_copies": near_copies(search.own, groups, copies),
        "exact_copies": exact_copies(made, train, search.home),
        "variety": variety_of(models, names, to_data, eye, made, train, sampling, seed),
    }
    return figures, made, found

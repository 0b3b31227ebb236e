"""Training batches, each a pure function of (seed, step, rank): a resumed run gets the batches it would have got."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from detailflow_onnx.errors import need
from detailflow_onnx.train.data.augment import prepare
from detailflow_onnx.train.data.folder import Pictures

Batch = tuple[int, torch.Tensor, torch.Tensor, list[tuple[str, str]]]  # step, images, labels, unreadable files


def batches(
    pictures: Pictures,
    *,
    batch: int,
    seed: int,
    start: int = 0,
    rank: int = 0,
    world: int = 1,
    flips: bool,
    hue: float,
    balance: float,
    workers: int = 0,
    recolour: float = 0.0,
    shift: int = 0,
    wrap: bool = False,
    drawings: bool = False,
    device: torch.device | None = None,
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Iterate endlessly over (step, images float32 [batch, C, S, S], labels int64 [batch]), from step `start` on.

    balance (0..1): the share of pictures whose class is chosen first, every class equally often; the others come in
    file order, each once per epoch. rank, world: this process and the number of processes; each gets other pictures.
    workers: processes that read ahead, for sets that are not in memory; they do not change any batch. recolour, shift:
    see `prepare`; wrap: whether tiles that repeat are moved around their edges. drawings: a balanced picture takes the
    next drawing of its class first, then its next colouring. device: where pictures are augmented (default: the CPU).
    """
    need(len(pictures), "there are no pictures to train on")
    counts = f"batch is {batch}, start {start} and workers {workers}"
    need(batch >= 1 and start >= 0 and workers >= 0, f"{counts}; batch must be at least 1, the others at least 0")
    need(0 <= rank < world, f"rank is {rank} of {world}; 0 to {world - 1} is allowed")
    need(0 <= balance <= 1, f"balance is {balance}; a share from 0 to 1 is needed")
    need(0 <= hue <= 1, f"hue is {hue}; a probability from 0 to 1 is needed")
    need(0 <= recolour <= 1, f"recolour is {recolour}; a probability from 0 to 1 is needed")
    changes = Changes(flips, hue, recolour, shift, wrap)
    source = Batches(
        pictures,
        batch=batch,
        seed=seed,
        rank=rank,
        world=world,
        changes=changes,
        balance=balance,
        drawings=drawings,
        device=None if workers else device,
    )
    return _iterate(source, start, workers)


def _iterate(source: "Batches", start: int, workers: int) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    steps: Iterable[Batch]
    if workers:
        steps = DataLoader(
            source,
            batch_size=None,
            sampler=_Steps(start),
            num_workers=workers,
            prefetch_factor=4,
            worker_init_fn=_use_one_thread,
        )
    else:
        steps = (source[step] for step in itertools.count(start))
    for step, images, labels, broken in steps:
        source.pictures.note(broken)  # a worker process has its own list
        yield step, images, labels


def _use_one_thread(_: int) -> None:
    torch.set_num_threads(1)


class _Steps(Sampler[int]):
    """start, start + 1, ..."""

    def __init__(self, start: int) -> None:
        self.start = start

    def __iter__(self) -> Iterator[int]:
        return itertools.count(self.start)


@dataclass(frozen=True)
class Changes:
    """How pictures are augmented: see `prepare`. wrap: tiles that repeat are moved around their edges."""

    flips: bool
    hue: float
    recolour: float = 0.0
    shift: int = 0
    wrap: bool = False

    def applied(
        self,
        pictures: Pictures,
        indices: np.ndarray,
        generator: torch.Generator | None,
        device: torch.device | None = None,
    ) -> torch.Tensor:
        """The pictures `indices`, augmented on `device`; unchanged without a generator."""
        pixels = pictures.read(indices)
        return prepare(
            pixels if device is None else pixels.to(device),
            flips=self.flips,
            hue=self.hue,
            generator=generator,
            recolour=self.recolour,
            shift=self.shift,
            repeats=pictures.repeats[torch.from_numpy(indices)] if self.wrap else None,
        )


class Batches(Dataset[Batch]):
    """The batch of each step."""

    def __init__(
        self,
        pictures: Pictures,
        *,
        batch: int,
        seed: int,
        rank: int,
        world: int,
        changes: Changes,
        balance: float,
        drawings: bool = False,
        device: torch.device | None = None,
    ) -> None:
        self.pictures, self.batch, self.seed, self.rank, self.world = pictures, batch, seed, rank, world
        self.changes, self.balance, self.device = changes, balance, device
        numbers = pictures.drawings if drawings else np.arange(len(pictures))
        members = [np.flatnonzero(pictures.labels == c) for c in np.unique(pictures.labels)]
        # Of each class its drawings, of each drawing its pictures.
        self.groups = [[of[numbers[of] == d] for d in np.unique(numbers[of])] for of in members]
        self._orders: dict[str, tuple[int, np.ndarray]] = {}

    def __getitem__(self, step: int) -> Batch:
        indices = self.indices(step)
        generator = torch.Generator().manual_seed(_number(self.seed, "turns", step, self.rank))
        images = self.changes.applied(self.pictures, indices, generator, self.device)
        return step, images, torch.from_numpy(self.pictures.labels[indices]), list(self.pictures.bad)

    def indices(self, step: int) -> np.ndarray:
        """The files of a step, int64 [batch].

        The items 0, 1, 2, ... of the run are dealt to the ranks step by step. A balanced item takes the next class and
        its next file, any other the next file. Within one pass over the classes, over the files of a class, or over all
        files, nothing occurs twice.
        """
        first = (step * self.world + self.rank) * self.batch
        out = np.empty(self.batch, np.int64)
        for i in range(self.batch):
            item = first + i
            balanced = int(item * self.balance)  # balanced items before this one: evenly spread and exact
            if int((item + 1) * self.balance) == balanced:
                epoch, at = divmod(item - balanced, len(self.pictures))
                out[i] = self._order("files", epoch, len(self.pictures))[at]
                continue
            epoch, at = divmod(balanced, len(self.groups))
            c = int(self._order("classes", epoch, len(self.groups))[at])
            epoch, at = divmod(epoch, len(self.groups[c]))
            drawing = int(self._order(f"class {c}", epoch, len(self.groups[c]))[at])
            same = self.groups[c][drawing]
            if len(same) == 1:
                out[i] = same[0]
                continue
            epoch, at = divmod(epoch, len(same))
            out[i] = same[self._order(f"drawing {c} {drawing}", epoch, len(same))[at]]
        return out

    def _order(self, what: str, epoch: int, count: int) -> np.ndarray:
        """The permutation of `count` for one epoch; the latest one is cached."""
        cached = self._orders.get(what)
        if cached is None or cached[0] != epoch:
            random = np.random.Generator(np.random.PCG64(_number(self.seed, what, epoch)))
            cached = self._orders[what] = (epoch, random.permutation(count))
        return cached[1]


def _number(*parts: object) -> int:
    """63 bits of the SHA-256 of the parts."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8], "big") >> 1

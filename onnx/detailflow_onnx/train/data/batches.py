"""Training batches, each a pure function of (seed, step, rank): a resumed run gets the batches it would have got."""

import hashlib
import itertools
from collections.abc import Iterable, Iterator

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
) -> Iterator[tuple[int, torch.Tensor, torch.Tensor]]:
    """Iterate endlessly over (step, images float32 [batch, C, S, S], labels int64 [batch]), from step `start` on.

    balance (0..1): the share of pictures whose class is chosen first, every class equally often; the others come in
    file order, each once per epoch. rank, world: this process and the number of processes; each gets other pictures.
    workers: processes that read ahead, for sets that are not in memory; they do not change any batch.
    """
    need(len(pictures), "there are no pictures to train on")
    counts = f"batch is {batch}, start {start} and workers {workers}"
    need(batch >= 1 and start >= 0 and workers >= 0, f"{counts}; batch must be at least 1, the others at least 0")
    need(0 <= rank < world, f"rank is {rank} of {world}; 0 to {world - 1} is allowed")
    need(0 <= balance <= 1, f"balance is {balance}; a share from 0 to 1 is needed")
    need(0 <= hue <= 1, f"hue is {hue}; a probability from 0 to 1 is needed")
    source = Batches(pictures, batch=batch, seed=seed, rank=rank, world=world, flips=flips, hue=hue, balance=balance)
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
        flips: bool,
        hue: float,
        balance: float,
    ) -> None:
        self.pictures, self.batch, self.seed, self.rank, self.world = pictures, batch, seed, rank, world
        self.flips, self.hue, self.balance = flips, hue, balance
        self.groups = [np.flatnonzero(pictures.labels == c) for c in np.unique(pictures.labels)]
        self._orders: dict[str, tuple[int, np.ndarray]] = {}

    def __getitem__(self, step: int) -> Batch:
        indices = self.indices(step)
        generator = torch.Generator().manual_seed(_number(self.seed, "turns", step, self.rank))
        images = prepare(self.pictures.read(indices), flips=self.flips, hue=self.hue, generator=generator)
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
            out[i] = self.groups[c][self._order(f"class {c}", epoch, len(self.groups[c]))[at]]
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

"""Batches of training pictures, each a pure function of (seed, step, rank): a run that resumes sees what it would have seen.

Pictures go in as bytes with straight alpha and come out as the networks take them: float32, -1..1, premultiplied where there is alpha.
"""

import hashlib
import itertools
import math

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from detailflow_onnx.errors import need

# Colour as luma and two differences, and back: a turn of hue is a rotation of the two.
_YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]], dtype=torch.float64)
_RGB = torch.linalg.inv(_YIQ)


def prepare(pictures, *, flips, hue, generator):
    """float32 [n, C, S, S] of uint8 [n, C, S, S]: -1..1, premultiplied where C is 4.

    flips: half of the pictures are mirrored left to right. hue (0..1): the probability that the colours of a picture are turned by a
    random angle at their brightness; greys and alpha stay. generator: a CPU torch.Generator, or None for the pictures as they are."""
    n, channels = pictures.shape[:2]
    need(channels in (3, 4), f"pictures have {channels} channels: 3 is RGB, 4 is RGBA")
    need(0 <= hue <= 1, f"hue is {hue}: give a probability from 0 to 1")
    x = pictures.to(torch.float32).div_(255)
    if generator is not None:
        draws = torch.rand(3, n, generator=generator, device=generator.device).to(x.device)  # always three each: what is off moves no other draw
        if hue > 0:
            chosen = (draws[1] < hue).nonzero()[:, 0]
            x[chosen, :3] = turned(x[chosen, :3], draws[2, chosen] * (2 * math.pi))
        if flips:
            chosen = (draws[0] < 0.5).nonzero()[:, 0]
            x[chosen] = x[chosen].flip(3)
    if channels == 4:
        x[:, :3] *= x[:, 3:]
    return x.mul_(2).sub_(1)


def turned(colour, angle):
    """Colour [n, 3, h, w] of 0..1 with its hue turned by `angle` [n] in radians; luma is kept where no channel has to be cut at 0 or 1."""
    angle = angle.double().cpu()
    turn = torch.zeros(len(angle), 3, 3, dtype=torch.float64)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = torch.cos(angle)
    turn[:, 2, 1] = torch.sin(angle)
    turn[:, 1, 2] = -turn[:, 2, 1]
    m = (_RGB @ turn @ _YIQ).to(colour.device, colour.dtype)[..., None, None]  # [n, 3, 3, 1, 1]
    out = torch.empty_like(colour)
    for c in range(3):  # term by term, not as a product of matrices: the same bits whatever the size of the batch
        out[:, c] = m[:, c, 0] * colour[:, 0] + m[:, c, 1] * colour[:, 1] + m[:, c, 2] * colour[:, 2]
    return out.clamp_(0, 1)


def feed(pictures, *, batch, seed, start=0, rank=0, world=1, flips, hue, balance, workers=0):
    """Iterate for ever over (step, images float32 [batch, C, S, S], labels int64 [batch]), from step `start` on.

    A step's batch depends on seed, step and rank alone. balance (0..1): the share of pictures whose class is drawn first, every class
    equally often; the others are drawn as the files lie, each once in an epoch. rank and world: which process of how many; each gets other
    pictures. workers: processes that read ahead, for pictures that are not kept in memory; they change no batch."""
    need(len(pictures), "there are no pictures to train on")
    need(batch >= 1 and start >= 0 and workers >= 0, f"batch is {batch}, start {start} and workers {workers}: give a batch of 1 or more, the others 0 or more")
    need(0 <= rank < world, f"rank is {rank} of {world}: give one from 0 to {world - 1}")
    need(0 <= balance <= 1, f"balance is {balance}: give a share from 0 to 1")
    need(0 <= hue <= 1, f"hue is {hue}: give a probability from 0 to 1")
    return _run(Batches(pictures, batch=batch, seed=seed, rank=rank, world=world, flips=flips, hue=hue, balance=balance), start, workers)


def _run(batches, start, workers):
    steps = itertools.count(start)
    if workers:
        steps = DataLoader(batches, batch_size=None, sampler=_Steps(start), num_workers=workers, prefetch_factor=4, worker_init_fn=_one_thread)
    else:
        steps = (batches[step] for step in steps)
    for step, images, labels, broken in steps:
        batches.pictures.note(broken)  # a worker's list of them is its own
        yield step, images, labels


def _one_thread(_):
    torch.set_num_threads(1)


class _Steps(Sampler):
    """start, start + 1, ..."""

    def __init__(self, start):
        self.start = start

    def __iter__(self):
        return itertools.count(self.start)


class Batches(Dataset):
    """A step's batch: (step, images, labels, [(path, reason)] of files that broke)."""

    def __init__(self, pictures, *, batch, seed, rank, world, flips, hue, balance):
        self.pictures, self.batch, self.seed, self.rank, self.world = pictures, batch, seed, rank, world
        self.flips, self.hue, self.balance = flips, hue, balance
        self.groups = [np.flatnonzero(pictures.labels == c) for c in np.unique(pictures.labels)]
        self._orders = {}

    def __getitem__(self, step):
        indices = self.indices(step)
        generator = torch.Generator().manual_seed(_number(self.seed, "turns", step, self.rank))
        images = prepare(self.pictures.read(indices), flips=self.flips, hue=self.hue, generator=generator)
        return step, images, torch.from_numpy(self.pictures.labels[indices]), list(self.pictures.bad)

    def indices(self, step):
        """The files of a step, int64 [batch]. Places 0, 1, 2, ... of the run are dealt to the ranks step by step. A place that goes to
        the balance takes the next class and the next file of it, any other the next file: within a round of classes, of a class or of the files, nothing comes twice."""
        first = (step * self.world + self.rank) * self.batch
        out = np.empty(self.batch, np.int64)
        for i in range(self.batch):
            place = first + i
            balanced = int((place + 1) * self.balance) - int(place * self.balance)  # evenly spread, and their number so far is exact
            if not balanced:
                turn, at = divmod(place - int(place * self.balance), len(self.pictures))
                out[i] = self._order("files", turn, len(self.pictures))[at]
                continue
            turn, at = divmod(int(place * self.balance), len(self.groups))
            c = int(self._order("classes", turn, len(self.groups))[at])
            turn, at = divmod(turn, len(self.groups[c]))
            out[i] = self.groups[c][self._order(f"class {c}", turn, len(self.groups[c]))[at]]
        return out

    def _order(self, what, turn, count):
        """The order of round `turn`, a permutation of `count`."""
        kept = self._orders.get(what)
        if kept is None or kept[0] != turn:
            kept = self._orders[what] = (turn, np.random.Generator(np.random.PCG64(_number(self.seed, what, turn))).permutation(count))
        return kept[1]


def _number(*parts):
    """63 bits of SHA-256 of the parts."""
    return int.from_bytes(hashlib.sha256(" ".join(map(str, parts)).encode()).digest()[:8], "big") >> 1

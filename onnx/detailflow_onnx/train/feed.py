"""Batches of training pictures, each a pure function of (seed, step, rank): a run that resumes sees what it would have seen.

Pictures go in as bytes with straight alpha and come out as the networks take them: float32, -1..1, premultiplied where there is alpha.
"""

import hashlib

import numpy as np
import torch

from ..errors import need

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
    x = pictures.to(torch.float32) / 255
    colour, alpha = x[:, :3], x[:, 3:]
    if generator is not None:
        draws = torch.rand(3, n, generator=generator, device=generator.device).to(x.device)  # always three each: what is off moves no other draw
        if hue > 0:
            colour = turned(colour, torch.where(draws[1] < hue, draws[2] * (2 * torch.pi), torch.zeros_like(draws[2])))
    if channels == 4:
        colour = colour * alpha
    x = torch.cat([colour, alpha], dim=1) * 2 - 1
    if generator is not None and flips:
        x = torch.where((draws[0] < 0.5)[:, None, None, None], x.flip(3), x)
    return x


def turned(colour, angle):
    """Colour [n, 3, h, w] of 0..1 with its hue turned by `angle` [n] in radians; luma is kept where no channel has to be cut at 0 or 1."""
    n, _, h, w = colour.shape
    moved = angle != 0
    if not moved.any():
        return colour
    cos, sin = torch.cos(angle[moved].double()).cpu(), torch.sin(angle[moved].double()).cpu()
    turn = torch.zeros(len(cos), 3, 3, dtype=torch.float64)
    turn[:, 0, 0] = 1
    turn[:, 1, 1] = turn[:, 2, 2] = cos
    turn[:, 1, 2], turn[:, 2, 1] = -sin, sin
    matrix = (_RGB @ turn @ _YIQ).to(colour.device, colour.dtype)
    colour = colour.clone()
    colour[moved] = torch.bmm(matrix, colour[moved].reshape(-1, 3, h * w)).reshape(-1, 3, h, w).clamp(0, 1)
    return colour


def feed(pictures, *, batch, seed, start=0, rank=0, world=1, flips, hue, balance, workers=0):
    """Iterate for ever over (step, images float32 [batch, C, S, S], labels int64 [batch]), from step `start` on.

    A step's batch depends on seed, step and rank alone. balance (0..1): the share of pictures whose class is drawn first, every class
    equally often; the others are drawn as the files lie. With balance 0 and one epoch of files, every file comes once.
    workers: processes that read ahead, for pictures that are not kept in memory; they change no batch."""
    need(len(pictures), "there are no pictures to train on")
    need(batch >= 1 and start >= 0 and workers >= 0, f"batch is {batch}, start {start} and workers {workers}: give a batch of 1 or more, the others 0 or more")
    need(0 <= rank < world, f"rank is {rank} of {world}: give one from 0 to {world - 1}")
    need(0 <= balance <= 1, f"balance is {balance}: give a share from 0 to 1")
    batches = Batches(pictures, batch=batch, seed=seed, start=start, rank=rank, world=world, flips=flips, hue=hue, balance=balance)
    if workers == 0:
        step = start
        while True:
            yield batches[step - start]
            step += 1
    from torch.utils.data import DataLoader

    yield from DataLoader(batches, batch_size=None, sampler=_Endless(), num_workers=workers, prefetch_factor=4, worker_init_fn=_one_thread)


def _one_thread(_):
    torch.set_num_threads(1)


class _Endless(torch.utils.data.Sampler):
    """0, 1, 2, ..."""

    def __init__(self):
        pass

    def __iter__(self):
        k = 0
        while True:
            yield k
            k += 1


class Batches(torch.utils.data.Dataset):
    """Step start + k as item k."""

    def __init__(self, pictures, *, batch, seed, start, rank, world, flips, hue, balance):
        self.pictures, self.batch, self.seed, self.start, self.rank, self.world = pictures, batch, seed, start, rank, world
        self.flips, self.hue, self.balance = flips, hue, balance
        self.groups = [g for g in (np.flatnonzero(pictures.labels == c) for c in np.unique(pictures.labels)) if len(g)]
        self._orders = {}

    def __len__(self):
        return 1 << 62

    def __getitem__(self, k):
        step = self.start + k
        indices = self.indices(step)
        generator = torch.Generator().manual_seed(_number(self.seed, "turns", step, self.rank))
        images = prepare(self.pictures.read(indices), flips=self.flips, hue=self.hue, generator=generator)
        return step, images, torch.from_numpy(self.pictures.labels[indices])

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

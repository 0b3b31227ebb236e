"""Who sees whom, and at which place: what the graphs and the PyTorch models share. (`reference` has its own, to compare with.)

`numbers` has count, group, causal; for the encoder also size and encoder.patch, for the AR model `ar`: a `Model`, or what is like it."""

import numpy as np


def rotary(numbers):
    """(cos, sin) [N, head_width/2]. Row 0 is zero: the class token's q and k vanish. Row s is grid place s-1."""
    half = numbers.ar.head_width // 2
    steps = np.arange(0, half, 2, dtype=np.float32) / np.float32(half)
    frequency = (1.0 / numbers.ar.rope_base**steps).astype(np.float32)
    place = np.arange(numbers.count - 1)
    angle = np.concatenate([np.outer(place // numbers.group, frequency), np.outer(place % numbers.group, frequency)], -1)
    zero = np.zeros((1, half))
    return [np.concatenate([zero, f(angle)]).astype(np.float32) for f in (np.cos, np.sin)]


def seen(numbers):
    """bool [N, N] of the AR model's positions: i sees j. Below c causal, from there on blocks of g."""
    place = np.arange(numbers.count)
    block = np.where(place < numbers.causal, place, numbers.causal + place // numbers.group)
    return block[None] <= block[:, None]


def last_place(numbers):
    """The last place that each place of the AR model sees; it sees all before that one."""
    return seen(numbers).sum(-1) - 1


def last_seen(numbers):
    """The last place that each place of the encoder sees: patches first, then the N latents."""
    patches, i = (numbers.size // numbers.encoder.patch) ** 2, np.arange(numbers.count)
    latents = patches + np.where(i < numbers.causal, i, (i // numbers.group + 1) * numbers.group - 1)
    return np.concatenate([np.full(patches, patches - 1), latents])

"""Rotary tables and attention masks, shared by the graphs and the PyTorch models.

`bundle.reference` has an independent implementation that the graphs are compared with.
"""

import numpy as np

from detailflow_onnx.numbers.sizes import Ar, TokenizerSizes, TokenSequence


def rotary(ar: Ar, sequence: TokenSequence) -> tuple[np.ndarray, np.ndarray]:
    """(cos, sin) [N, head_dim/2].

    Row 0 is zero, which zeroes q and k of the class token. Row s is grid position s-1.
    """
    half = ar.head_dim // 2
    steps = np.arange(0, half, 2, dtype=np.float32) / np.float32(half)
    frequency = (1.0 / ar.rope_base**steps).astype(np.float32)
    position = np.arange(sequence.count - 1)
    row, column = position // sequence.group, position % sequence.group
    angle = np.concatenate([np.outer(row, frequency), np.outer(column, frequency)], -1)
    zero = np.zeros((1, half))
    cos, sin = (np.concatenate([zero, f(angle)]).astype(np.float32) for f in (np.cos, np.sin))
    return cos, sin


def visible(sequence: TokenSequence) -> np.ndarray:
    """Bool [N, N]: position i of the AR model attends to j. Causal below c, in blocks of g from there on."""
    position = np.arange(sequence.count)
    block = np.where(position < sequence.causal, position, sequence.causal + position // sequence.group)
    return block[None] <= block[:, None]


def last_visible(sequence: TokenSequence) -> np.ndarray:
    """The last position that each position of the AR model attends to. It attends to all positions before that one."""
    return visible(sequence).sum(-1) - 1


def encoder_last_visible(numbers: TokenizerSizes) -> np.ndarray:
    """The last position that each position of the encoder attends to: patches first, then the N latents."""
    patches, i = (numbers.size // numbers.encoder.patch) ** 2, np.arange(numbers.count)
    end_of_group = (i // numbers.group + 1) * numbers.group - 1
    latents = patches + np.where(i < numbers.causal, i, end_of_group)
    return np.concatenate([np.full(patches, patches - 1), latents])

"""Self-correction: replace a token or a group by near codes, so that later tokens learn to compensate for it."""

import torch

from detailflow_onnx.numbers.sizes import TokenSequence
from detailflow_onnx.train.models.tokenizer import Tokenizer


def units(sequence: TokenSequence) -> int:
    """How many tokens and groups can be replaced: all but the last, which no later token could correct."""
    return sequence.causal + (sequence.count - sequence.causal) // sequence.group - 1


def perturbed(
    tokenizer: Tokenizer, ids: torch.Tensor, near: int, unit: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """(`ids` [B, N] with one unit replaced by near codes, the position [B] after that unit).

    `unit` [B] is 0..c-1 for a causal token, then the groups. Each token becomes one of its `near` nearest other codes.
    """
    numbers = tokenizer.numbers
    c, g = numbers.causal, numbers.group
    start = torch.where(unit < c, unit, c + (unit - c) * g)
    end = torch.where(unit < c, unit + 1, start + g)
    position = torch.arange(numbers.count, device=ids.device)
    hit = (position >= start[:, None]) & (position < end[:, None])
    book = tokenizer.quantize.rows()
    neighbours = tokenizer.quantize.nearest(book[ids[hit]], min(near + 1, numbers.codes))
    # A code is nearly always its own nearest; if two codes coincide it may not be among the neighbours at all.
    own = neighbours == ids[hit][:, None]
    neighbours = neighbours.gather(1, own.int().argsort(dim=1, stable=True))[:, :-1]
    choice = torch.randint(neighbours.shape[1], (len(neighbours), 1), device=ids.device)
    noisy = ids.clone()
    noisy[hit] = neighbours.gather(1, choice).squeeze(1)
    return noisy, end

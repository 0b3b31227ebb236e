"""Attention in PyTorch, and a KV cache of one layer."""

from collections.abc import Callable

import torch
from torch.nn import functional

Attend = Callable[[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor]


def attend_fused(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """`scaled_dot_product_attention`. Like `attend`, but q and k may have another type than v."""
    q, k = q.to(v.dtype), k.to(v.dtype)
    return functional.scaled_dot_product_attention(q, k, v, attn_mask=None if mask is None else mask.to(v.dtype))


def attend_matmul(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Matmuls and a softmax."""
    scores = (q * q.shape[-1] ** -0.5) @ k.transpose(-1, -2)
    return (scores if mask is None else scores + mask).softmax(-1) @ v


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    """Attention over [B, heads, L, head_dim]; `mask[i, j]` is added to the score of i with j.

    Fused on CUDA only: on a CPU the backward pass of the fused attention is slower for so few positions.
    """
    if q.is_cuda:
        return attend_fused(q, k, v, mask)
    return attend_matmul(q, k, v, mask)


class LayerCache:
    """Keys and values [B, kv_heads, N, head_dim] of one layer."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        self.keys, self.values = keys, values

    def update(
        self, k: torch.Tensor, v: torch.Tensor, position: int | torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the new keys and values and return those to attend to.

        `position` is the first new position: the result ends at the last new one. Or it is a tensor of all new
        positions: the result is the complete cache, whose shape is the same at each step, as compilers prefer.
        """
        if isinstance(position, int):
            end = position + k.shape[2]
            self.keys[:, :, position:end], self.values[:, :, position:end] = k, v
            return self.keys[:, :, :end], self.values[:, :, :end]
        self.keys.index_copy_(2, position, k.to(self.keys.dtype))
        self.values.index_copy_(2, position, v.to(self.values.dtype))
        return self.keys, self.values

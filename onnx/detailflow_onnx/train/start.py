"""Start the training of a model from the weights of another one, with more layers or other classes where wanted."""

import re
from collections.abc import Iterable

import numpy as np
import torch
from torch import nn

from detailflow_onnx.checkpoint.weights import Weights
from detailflow_onnx.errors import need
from detailflow_onnx.train.models.tokenizer import REFINEMENT

LAYER = re.compile(r"(.*\blayers\.)(\d+)(\..*)")
# The last linear layers of the branches: with zeros there a layer passes its input on.
LAST = ("self_attn.out_proj.weight", "mlp.fc2.weight", "attention.wo.weight", "feed_forward.w2.weight")
CLASSES = "cls_embedding.embedding_table.weight"


@torch.no_grad()
def begin_with(
    module: nn.Module, weights: Weights, theirs: tuple[str, ...] = (), ours: tuple[str, ...] = ()
) -> list[str]:
    """Copy `weights` into `module`; returns what is not in them and starts as new, in words.

    All shapes must agree, with two exceptions. Layers after the last one of `weights` pass their input on at first.
    Rows of the class table are found by name (`theirs`, `ours`); a class that is not there starts as "no class".
    """
    depths = _depths(weights.shapes)
    new: set[str] = set()
    for name, value in module.state_dict().items():
        layer = LAYER.fullmatch(name)
        if layer and int(layer[2]) >= depths.get(layer[1], 0):
            need(depths.get(layer[1], 0), f"{weights.origin}: it has no {layer[1][:-1]}")
            new.add(f"layer {layer[2]} of {layer[1][:-1]}")
            if layer[3].lstrip(".") in LAST:
                value.zero_()
            continue
        if name in REFINEMENT and name not in weights:
            # A prefix that is given counts as one that is computed, until training says otherwise.
            value.copy_(module.state_dict()["encoder.latent_tokens"]) if name.endswith("tokens") else value.zero_()
            continue
        if name == CLASSES:
            rows = weights.read(name)
            have, want = rows.shape, (len(theirs) + 1, value.shape[1])
            need(have == want, f"{weights.origin}: the tensor {name} has the shape {list(have)}, not {list(want)}")
            known = {label: i for i, label in enumerate(theirs)}
            new |= {f"class {label}" for label in ours if label not in known}
            chosen = [known.get(label, len(theirs)) for label in ours] + [len(theirs)]
            value.copy_(torch.from_numpy(rows[np.array(chosen)]))
            continue
        have, want = weights.shape(name), tuple(value.shape)
        text = f"{weights.origin}: the tensor {name} has the shape {list(have)}, but the recipe needs {list(want)}"
        need(have == want, f"{text}; a model starts from one of the same sizes, layers and classes apart")
        value.copy_(torch.from_numpy(weights.read(name)))
    for prefix, depth in depths.items():
        kept = _depths(module.state_dict()).get(prefix, 0)
        need(kept >= depth, f"{weights.origin}: {prefix[:-1]} has {depth} layers, but the recipe only {kept}")
    return sorted(new)


def _depths(names: Iterable[str]) -> dict[str, int]:
    """{prefix of the layers: how many there are}."""
    out: dict[str, int] = {}
    for match in filter(None, map(LAYER.fullmatch, names)):
        out[match[1]] = max(out.get(match[1], 0), int(match[2]) + 1)
    return out

"""The inputs and outputs that the bundle format prescribes for each graph."""

from typing import Any

import numpy as np

from detailflow_onnx.bundle.manifest import Manifest
from detailflow_onnx.bundle.reader import graphs_of
from detailflow_onnx.bundle.runner import Bundle
from detailflow_onnx.errors import need

TYPES: dict[str, Any] = {
    "tensor(float)": np.float32,
    "tensor(float16)": np.float16,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}

Values = dict[str, tuple[Any, list[int | None]]]  # name -> (type, dimensions); None is a dynamic dimension
Signature = tuple[Values, Values]  # inputs, outputs


def _ar(content: Manifest, form: str, cache_type: Any) -> Signature:
    ar, tokens = content["ar"], content["tokens"]
    layouts: dict[str, list[int | None]] = {"mha": [None, ar["heads"], tokens["count"]], "fixed": [None]}
    rows = layouts.get(form, [None, ar["kv_heads"], None])
    position: Values = {"start": (np.int64, [1])}
    if form == "fixed":
        position = {"places": (np.int64, [None, None]), "slots": (np.int64, [None, 1])}
    names = [f"{kind}_{i}" for i in range(ar["layers"]) for kind in ("key", "value")]
    shape = [*rows, ar["head_width"]]
    inputs: Values = {"ids": (np.int64, [None, None])}
    inputs |= position | {f"past_{name}": (cache_type, shape) for name in names}
    outputs: Values = {"logits": (np.float32, [None, None, tokens["codes"]])}
    return inputs, outputs | {f"present_{name}": (cache_type, shape) for name in names}


def signatures(content: Manifest, form: str, cache_type: Any) -> dict[str, Signature]:
    """Graph -> signature, for the graphs of a bundle."""
    tokens, image = content["tokens"], content["image"]
    n, picture = tokens["count"], [None, image["channels"], image["size"], image["size"]]
    draw: Values = {
        "logits": (np.float32, [None, None, tokens["codes"]]),
        "cond": (np.int64, [None]),
        "uncond": (np.int64, [None]),
        "settings": (np.float32, [None, 6]),
        "cut": (np.bool_, [1]),
    }
    decoder: Values = {"ids": (np.int64, [None, None]), "size": (np.int64, [1])}
    out: dict[str, Signature] = {
        "draw": (draw, {"drawn": (np.float32, [None, 2])}),
        "decoder": (decoder, {"pixels": (np.float32, [None, image["channels"], None, None])}),
        "encoder": (
            {"image": (np.float32, picture)},
            {"ids": (np.int64, [None, n]), "latents": (np.float32, [None, n, None])},
        ),
    }
    return out | ({"ar": _ar(content, form, cache_type)} if "ar" in graphs_of(content) else {})


def check_signatures(bundle: Bundle) -> None:
    """Check the inputs and outputs of every graph of a variant."""
    wanted = signatures(bundle.content, bundle.variant["form"], bundle.cache_type)
    for graph in [*graphs_of(bundle.content), *(["draw"] if "draw" in bundle.content else [])]:
        session, path = bundle.graph(graph), bundle.path(graph)
        for values, want in zip((session.get_inputs(), session.get_outputs()), wanted[graph]):
            have = {value.name: value for value in values}
            odd = sorted(set(have) ^ set(want))
            need(not odd, f"{path}: {odd[:1]} is in the graph or in the bundle format, but not in both")
            for name, (kind, shape) in want.items():
                got = have[name]
                same = len(shape) == len(got.shape) and all(w is None or w == h for w, h in zip(shape, got.shape))
                text = f"{path}: {name} is {got.type} {got.shape}, but {kind.__name__} {shape} is needed"
                need(TYPES.get(got.type) is kind and same, text)

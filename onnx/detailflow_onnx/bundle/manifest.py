"""Build and write `detailflow.json`, the manifest of a bundle."""

import json
import math
import re
from pathlib import Path
from typing import Any

from detailflow_onnx import __version__
from detailflow_onnx.bundle.variants import variants
from detailflow_onnx.checkpoint.identity import tokenizer_id
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.graphs import sampler
from detailflow_onnx.numbers import ladder
from detailflow_onnx.numbers.sizes import Side
from detailflow_onnx.output import MANIFEST

FORMAT = 1

Manifest = dict[str, Any]


def _side(side: Side) -> dict[str, Any]:
    return {"layers": side.depth, "width": side.width, "heads": side.heads, "hidden": side.hidden}


def _networks(model: Model, graphs: tuple[str, ...]) -> dict[str, Any]:
    """The sizes of the graphs in the bundle: of the KV cache, and what multiply-adds are counted from."""
    out: dict[str, Any] = {}
    if "ar" in graphs:
        ar, _ = model.autoregressive
        cache = {"layers": ar.depth, "heads": ar.heads, "kv_heads": ar.kv_heads, "head_width": ar.head_dim}
        out["ar"] = cache | {"width": ar.width, "hidden": ar.hidden}
    out["decoder"] = _side(model.decoder)
    if "encoder" in graphs:
        out["encoder"] = _side(model.encoder) | {"patch": model.encoder.patch, "code_width": model.code_width}
    return out


def build(
    model: Model,
    *,
    license: str,
    origins: dict[str, str],
    sampling: dict[str, Any],
    finish: dict[str, Any],
    precisions: list[str],
    graphs: tuple[str, ...],
    files: list[dict[str, Any]],
) -> Manifest:
    """The manifest of a bundle of `files`."""
    content = {
        "format": FORMAT,
        "name": model.name,
        "license": license,
        "tokenizer_id": tokenizer_id(model),
        "provenance": {"exporter": f"detailflow_onnx {__version__}"} | origins,
        "image": {
            "size": model.size,
            "channels": model.channels,
            "alpha": "premultiplied" if model.channels == 4 else "none",
            "patch": model.decoder.patch,
        },
        "tokens": {
            "count": model.count,
            "group": model.group,
            "causal": model.causal,
            "codes": model.codes,
            "bits": max(1, math.ceil(math.log2(model.codes))),
        },
        "ids": {
            "class": model.first_class,
            "no_class": model.no_class,
            "special": model.special,
            "total": model.embedding_rows,
        },
        "classes": list(model.classes),
        "ladder": {"power": model.power, "prefixes": ladder.table_of(model)},
        "sampling": sampling,
        "finish": finish,
        "draw": sampler.NAME,
        **_networks(model, graphs),
        "variants": variants(precisions, graphs),
        "files": files,
    }
    if not finish:
        del content["finish"]
    if "ar" not in graphs:
        for key in ("draw", "ids", "sampling"):
            del content[key]
    return content


def write(folder: Path, content: Manifest) -> None:
    """Write the manifest, with lists of numbers on one line each."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    numbers = r"\[\s+(-?[\d.][-+\d.eE,\s]*?)\s+\]"
    text = re.sub(numbers, lambda found: "[" + " ".join(found[1].split()) + "]", text)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def add_quality(folder: Path, content: Manifest, measured: dict[str, Any]) -> None:
    """Add the quality of each variant, and the pictures it was measured on, to the manifest and write it."""
    for variant in content["variants"]:
        for row in measured["quality"]:
            if (row["precision"], row["form"]) == (variant["precision"], variant["form"]):
                variant["quality"] = row["quality"]
    if measured["judged"]:
        content["judged"] = measured["judged"]
    write(folder, content)

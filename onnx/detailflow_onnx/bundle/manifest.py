"""`detailflow.json`: what a bundle says about itself."""

import hashlib
import json
import math

from detailflow_onnx.graphs import sampler as draw
from detailflow_onnx.numbers import ladder
from detailflow_onnx import __version__
from detailflow_onnx.checkpoint.model import Model, shapes

FORMAT = 1
FORMS = ("native", "mha", "plain", "fixed")
# Up to 1.30 MultiHeadAttention writes past the end of a kept buffer on the CPU.
MIN_RUNTIME = {"native": "1.24", "mha": "1.31", "plain": "1.20", "fixed": "1.20"}
PRECISIONS = ("fp32", "fp16", "int8", "int4")
# What has fast products of 16 bits. On a processor fp16 would be converted to and fro.
ACCELERATORS = ["cuda", "tensorrt", "directml", "coreml", "webgpu", "openvino", "migraphx"]
# Where keys and values stay in a memory of the device's own, and are written there in place.
APART = ["cuda", "tensorrt", "directml", "webgpu", "migraphx"]
DEVICES = {"native": ["cpu"], "mha": ["cpu"], "plain": ["*"], "fixed": APART}
# Where a graph of a precision is written in another one. The decoder and the encoder feed hundreds of rows at once: there
# int8 is faster than int4 and nearer to fp32.
WRITTEN_AS = {("int4", "decoder"): "int8", ("int4", "encoder"): "int8"}
GRAPHS = ("ar", "decoder", "encoder")


def tokenizer_id(model: Model):
    """Which tokenizer the tokens belong to: a hash of its numbers and source weights, one for all precisions."""
    numbers = {
        "causal": model.causal, "channels": model.channels, "codes": model.codes, "count": model.count, "group": model.group,
        "l2_norm": model.l2_norm, "patch": model.decoder.patch, "power": model.power, "size": model.size,
    }  # fmt: skip
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    for name, shape in sorted(shapes(model)[0].items()):
        digest.update(f"{name}\n{'x'.join(map(str, shape))}\n".encode())
        digest.update(memoryview(model.tokenizer.read(name).astype("<f4", copy=False)).cast("B"))
    return digest.hexdigest()[:16]


def graph_file(graph, precision, form):
    """What is the same in two forms is one file: beside the kept keys, forms `native` and `fixed` differ from `mha` and `plain`
    in their int8 layers alone."""
    if graph != "ar" and WRITTEN_AS.get((precision, graph), precision) != "int8":
        form = {"native": "mha", "fixed": "plain"}.get(form, form)
    return f"{graph}.{precision}.{form}.onnx"


def forms(precision):
    """The forms that a precision is written in, the fused one first."""
    return ("plain", "fixed") if precision == "fp16" else FORMS


def variants(precisions, graphs):
    """Every precision in its forms, the fastest on a CPU first."""
    return [_variant(p, f, graphs) for p in precisions for f in forms(p)]


def _variant(precision, form, graphs):
    devices = ACCELERATORS if (precision, form) == ("fp16", "plain") else DEVICES[form]
    kept = {"keys": "fp16"} if precision == "fp16" and "ar" in graphs else {}
    head = {"precision": precision, "form": form, "devices": devices, "min_runtime": MIN_RUNTIME[form]}
    return head | kept | {graph: graph_file(graph, precision, form) for graph in graphs}


def _side(side):
    return {"layers": side.depth, "width": side.width, "heads": side.heads, "hidden": side.hidden}


def _networks(model: Model, graphs):
    """The sizes of what is in the bundle: what is kept between steps, and what it takes to count multiply-adds."""
    ar, out = model.ar, {}
    if "ar" in graphs:
        kept = {"layers": ar.depth, "heads": ar.heads, "kv_heads": ar.kv_heads, "head_width": ar.head_width}
        out["ar"] = kept | {"width": ar.width, "hidden": ar.hidden}
    out["decoder"] = _side(model.decoder)
    if "encoder" in graphs:
        out["encoder"] = _side(model.encoder) | {"patch": model.encoder.patch, "code_width": model.code_width}
    return out


def build(model: Model, *, license, origins, sampling, precisions, graphs, files):
    rows = ladder.table(
        size=model.size, patch=model.decoder.patch, count=model.count, group=model.group, causal=model.causal, power=model.power
    )  # fmt: skip
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
        "ids": {"class": model.first_class, "no_class": model.no_class, "special": model.special, "total": model.rows},
        "classes": list(model.classes),
        "ladder": {"power": model.power, "prefixes": rows},
        "sampling": sampling,
        "draw": draw.NAME,
        **_networks(model, graphs),
        "variants": variants(precisions, graphs),
        "files": files,
    }
    return content if "ar" in graphs else {key: value for key, value in content.items() if key not in ("draw", "ids", "sampling")}

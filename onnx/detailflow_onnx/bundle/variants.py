"""Which variants a bundle holds: precisions, forms (attention backend and KV layout), devices and file names."""

from typing import Any

FORMS = ("native", "mha", "plain", "fixed")
# Up to ONNX Runtime 1.30, MultiHeadAttention writes beyond the end of the KV cache on the CPU.
MIN_RUNTIME = {"native": "1.24", "mha": "1.31", "plain": "1.20", "fixed": "1.20"}
PRECISIONS = ("fp32", "fp16", "int8", "int4")
# Devices with fast fp16 matmuls. A CPU would convert fp16 to fp32 and back.
ACCELERATORS = ["cuda", "tensorrt", "directml", "coreml", "webgpu", "openvino", "migraphx"]
# Devices on which the KV cache stays in device memory and is written in place.
OWN_MEMORY = ["cuda", "tensorrt", "directml", "webgpu", "migraphx"]
DEVICES = {"native": ["cpu"], "mha": ["cpu"], "plain": ["*"], "fixed": OWN_MEMORY}
# Graphs written in another precision. The decoder and the encoder process hundreds of rows at once, for which int8 is
# faster than int4 and closer to fp32.
WRITTEN_AS = {("int4", "decoder"): "int8", ("int4", "encoder"): "int8"}
# Precisions whose `native` form has a KV cache of 16-bit floats, which lose far less than the weights have lost.
HALF_KEYS = ("int8", "int4")
# How int4 weights are rounded: with error feedback over pictures that the model draws, or each to the nearest value.
ROUNDING = ("feedback", "nearest")
GRAPHS = ("ar", "decoder", "encoder")


def graph_file(graph: str, precision: str, form: str) -> str:
    """The file of a graph. Graphs that are the same in two forms share a file.

    Apart from the KV cache, `native` and `fixed` differ from `mha` and `plain` in their int8 layers only.
    """
    if graph != "ar" and WRITTEN_AS.get((precision, graph), precision) != "int8":
        form = {"native": "mha", "fixed": "plain"}.get(form, form)
    return f"{graph}.{precision}.{form}.onnx"


def forms_of(precision: str) -> tuple[str, ...]:
    """The forms that a precision is written in, the fastest on a CPU first."""
    return ("plain", "fixed") if precision == "fp16" else FORMS


def variants(precisions: list[str], graphs: tuple[str, ...]) -> list[dict[str, Any]]:
    """The manifest's `variants`: every precision in its forms."""
    return [_variant(p, f, graphs) for p in precisions for f in forms_of(p)]


def _variant(precision: str, form: str, graphs: tuple[str, ...]) -> dict[str, Any]:
    devices = ACCELERATORS if (precision, form) == ("fp16", "plain") else DEVICES[form]
    half = precision == "fp16" or (form == "native" and precision in HALF_KEYS)
    cache = {"keys": "fp16"} if half and "ar" in graphs else {}
    head = {"precision": precision, "form": form, "devices": devices, "min_runtime": MIN_RUNTIME[form]}
    return head | cache | {graph: graph_file(graph, precision, form) for graph in graphs}

"""Count a graph's multiply-adds from the shapes that its products really meet: each is run with its inputs as outputs.

It knows nothing of what a model is. What the library computes from a manifest is compared with this.
"""

import itertools
import math

import numpy as np
import onnxruntime as ort
from detailflow_onnx.bundle import runner

import onnx

PRODUCTS = ("MatMul", "Gemm", "MatMulInteger", "MatMulIntegerToFloat", "MatMulNBits")


def _shapes(path, names, feeds):
    """The shapes of `names` when the graph runs."""
    model = onnx.load(path)
    shapes = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    wanted = sorted(set(names) - set(shapes))
    del model.graph.output[:]
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    feeds = {name: value for name, value in feeds.items() if name in {i.name for i in session.get_inputs()}}
    return shapes | {name: value.shape for name, value in zip(wanted, session.run(wanted, feeds))}


def count(path, feeds):
    """Multiply-adds of one run."""
    graph, total = onnx.load(path, load_external_data=False).graph, 0
    nodes = [node for node in graph.node if node.op_type in (*PRODUCTS, "MultiHeadAttention")]
    assert nodes
    shapes = _shapes(path, itertools.chain(*(node.input[:2] for node in nodes)), feeds)
    for node in nodes:
        a, b = (shapes[name] for name in node.input[:2])
        if node.op_type == "MultiHeadAttention":
            past = int(feeds["start"][0]) if len(node.input) > 6 and node.input[6] else 0
            # Scores, and what they weigh: two products of the queries with every key.
            total += 2 * math.prod(a) * (past + b[1])
        elif node.op_type == "MatMulNBits":
            k, n = (next(a.i for a in node.attribute if a.name == name) for name in "KN")
            assert a[-1] == k, node
            total += math.prod(a) * n
        else:
            assert a[-1] == b[-2], node
            total += math.prod(np.broadcast_shapes(a[:-2], b[:-2])) * a[-2] * a[-1] * b[-1]
    return total


def _step(content, variant, rows, start, query):
    """What the graph `ar` is fed at a step; keys and values of zeros."""
    ar, n = content["ar"], content["tokens"]["count"]
    if variant["form"] == "fixed":
        past = np.zeros((rows * ar["kv_heads"] * n, ar["head_width"]), runner.CACHE_TYPES[variant.get("keys", "fp32")])
        places = np.tile(start + np.arange(query), (rows, 1))
        slots = (np.arange(rows * ar["kv_heads"])[:, None] * n + places[0]).reshape(-1, 1)
        feeds = {f"past_{kind}_{i}": past for kind in ("key", "value") for i in range(ar["layers"])}
        return feeds | {"ids": np.zeros((rows, query), np.int64), "places": places, "slots": slots}
    kept = (rows, ar["heads"], n) if variant["form"] == "mha" else (rows, ar["kv_heads"], start)
    past = np.zeros((*kept, ar["head_width"]), runner.CACHE_TYPES[variant.get("keys", "fp32")])
    feeds = {f"past_{kind}_{i}": past for kind in ("key", "value") for i in range(ar["layers"])}
    return feeds | {"ids": np.zeros((rows, query), np.int64), "start": np.array([start])}


def _unseen(content, variant, rows, start, query):
    """What form `fixed` multiplies with beyond what a step sees: all places up to N."""
    ar = content["ar"]
    beyond = content["tokens"]["count"] - start - query if variant["form"] == "fixed" else 0
    return 2 * ar["layers"] * ar["heads"] * ar["head_width"] * rows * query * beyond


def cases(folder, content, variant):
    """Counts of one variant, as JSON: a few steps, decodes and the encoder."""
    tokens, image, rows = content["tokens"], content["image"], content["ladder"]["prefixes"]
    n, g, c = tokens["count"], tokens["group"], tokens["causal"]
    steps = [(1, 0, 1), (3, c - 1, 1), (2, c, g), (1, n - g, g)]
    out = {"steps": [], "decodes": []}
    for batch, start, query in steps:
        work = count(folder / variant["ar"], _step(content, variant, batch, start, query))
        work -= _unseen(content, variant, batch, start, query)
        out["steps"].append({"rows": batch, "start": start, "query": query, "work": work})
    for row in (rows[0], rows[c - 1], rows[len(rows) // 2], rows[-1]):
        feeds = {"ids": np.zeros((1, row["tokens"]), np.int64), "size": np.array([row["size"]])}
        out["decodes"].append(
            {"tokens": row["tokens"], "size": row["size"], "work": count(folder / variant["decoder"], feeds)}
        )
    picture = np.zeros((1, image["channels"], image["size"], image["size"]), np.float32)
    return out | {"encode": count(folder / variant["encoder"], {"image": picture})}

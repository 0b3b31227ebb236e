"""Form `fixed`: the same results as `plain`, from a KV cache written in place and without shape computations."""

import numpy as np
import pytest
from detailflow_onnx.bundle import runner
from detailflow_onnx.numbers import schedule
from detailflow_onnx.numbers.sizes import TokenSequence
from helpers import layout
from helpers.bundles import DATA, open_model, read_manifest, write_bundle

import onnx

# What a device may be told once and for all: no shape is taken, and none is computed.
DYNAMIC = {"Shape", "Size", "Range", "Expand", "ConstantOfShape", "NonZero", "Slice", "Tile", "Concat", "Loop", "If"}


def variant(folder, precision, form):
    content = read_manifest(folder)
    return runner.Bundle(
        folder, content, next(v for v in content["variants"] if (v["precision"], v["form"]) == (precision, form))
    )


def drawn(bundle, rows, seed=3):
    rng, classes = np.random.default_rng(seed), len(bundle.content["classes"])
    return [*range(rows - 1), -1] if classes >= rows - 1 else [0] * rows, rng.integers(
        0, bundle.codes, (rows, bundle.sequence.count)
    )


@pytest.mark.parametrize("name", ["tiny-16/bundle", "tiny-32/bundle", "small"])
def test_fixed_matches_plain(name):
    fixed, plain = (variant(DATA / name, "fp32", form) for form in ("fixed", "plain"))
    for rows in (1, 3):
        classes, tokens = drawn(fixed, rows)
        want, got = plain.logits(classes, tokens), fixed.logits(classes, tokens)
        assert np.abs(want - got).max() < 5e-5  # norms add in another order
    assert (plain.greedy([0, 1], 1.5, True) == fixed.greedy([0, 1], 1.5, True)).all()


@pytest.mark.parametrize("more", [{}, {"ar": (32, 2, 4, 2, 48)}, {"ar": (32, 1, 4, 1, 48)}])
def test_fixed_with_grouped_keys_matches_plain(more, tmp_path):
    n = layout.numbers(**more)
    write_bundle(open_model(layout.write(tmp_path / "model", n), n), tmp_path / "out", ["fp32", "fp16", "int4"])
    # The norms of `fixed` round differently in the last bit. With int4, an activation at the border of two integers is
    # then rounded to the other one, which moves the later logits of its row, by a hundredth of what int4 itself does:
    # most logits are equal there.
    for precision, most, largest in (("fp32", 1e-5, 1e-5), ("fp16", 0.05, 0.05), ("int4", 1e-5, 0.1)):
        fixed, plain = (variant(tmp_path / "out", precision, form) for form in ("fixed", "plain"))
        classes, tokens = drawn(fixed, 3)
        apart = np.abs(plain.logits(classes, tokens) - fixed.logits(classes, tokens))
        assert np.median(apart) < most and apart.mean() < max(most, 0.005) and apart.max() < largest, precision


def test_fixed_int8_is_closer_than_integer_matmuls(small, tmp_path):
    n, folder = small
    write_bundle(open_model(folder, n), tmp_path / "out", ["fp32", "int8"])
    truth = variant(tmp_path / "out", "fp32", "plain")
    classes, tokens = drawn(truth, 3)
    want = truth.logits(classes, tokens)
    off = {
        form: np.sqrt(((variant(tmp_path / "out", "int8", form).logits(classes, tokens) - want) ** 2).mean())
        for form in ("plain", "fixed")
    }
    assert off["fixed"] < off["plain"]
    for graph in ("ar", "decoder", "encoder"):
        nodes = onnx.load(tmp_path / "out" / f"{graph}.int8.fixed.onnx", load_external_data=False).graph.node
        kinds = {node.op_type for node in nodes}
        assert not kinds & {"MatMulInteger", "Round"}
        fused = {"SkipSimplifiedLayerNormalization", "RotaryEmbedding", "QuickGelu"} if graph == "ar" else set()
        assert {node.op_type for node in nodes if node.domain} == fused
        # Not an operator of ONNX, though ONNX Runtime has it in that domain.
        assert ("SimplifiedLayerNormalization" in kinds) == (graph == "ar")


def test_fixed_rows_can_be_at_different_positions(tmp_path, small):
    """Two pictures at different places in one call, a row of the memory for each place of each head."""
    n, folder = small
    write_bundle(open_model(folder, n), tmp_path / "out", ["fp32"])
    bundle = variant(tmp_path / "out", "fp32", "fixed")
    ar = bundle.content["ar"]
    classes, tokens = drawn(bundle, 2)
    want = bundle.logits(classes, tokens)
    memory = {
        f"past_{kind}_{i}": np.zeros((2 * ar["kv_heads"] * bundle.sequence.count, ar["head_width"]), np.float32)
        for i in range(ar["layers"])
        for kind in ("key", "value")
    }

    def step(rows, places, ids):
        heads = (np.array(rows)[:, None] * ar["kv_heads"] + np.arange(ar["kv_heads"]))[..., None]
        slots = (heads * bundle.sequence.count + np.array(places)[:, None, None]).reshape(-1, 1)
        places = np.array(places)[:, None]
        logits, *present = bundle.graph("ar").run(
            None, {"ids": np.array(ids)[:, None], "places": places, "slots": slots} | memory
        )
        names = [o.name.replace("present", "past") for o in bundle.graph("ar").get_outputs()][1:]
        memory.update(zip(names, present))
        return logits[:, 0]

    first = bundle.class_ids(classes)
    got = step([0, 1], [0, 0], first)
    assert np.abs(got - want[:, 0]).max() < 1e-5
    got = step([0, 1], [1, 0], [tokens[0, 0], first[1]])
    assert np.abs(got[0] - want[0, 1]).max() < 1e-5 and np.abs(got[1] - want[1, 0]).max() < 1e-5
    got = step([0, 1], [2, 1], [tokens[0, 1], tokens[1, 0]])
    assert np.abs(got[0] - want[0, 2]).max() < 1e-5 and np.abs(got[1] - want[1, 1]).max() < 1e-5


@pytest.mark.parametrize(
    "name, precision", [("small", "fp32"), ("small", "int8"), ("precisions", "fp16"), ("precisions", "int4")]
)
def test_fixed_graph_computes_no_shapes(name, precision):
    graph = onnx.load(DATA / name / f"ar.{precision}.fixed.onnx", load_external_data=False).graph
    constant = {t.name for t in graph.initializer}
    for node in graph.node:  # of constants alone ONNX Runtime computes them when it loads the graph
        if all(i in constant for i in node.input):
            constant.update(node.output)
        elif node.op_type != "Concat":  # of the halves of a head, not of shapes
            assert node.op_type not in DYNAMIC, node.name
    shapes = {i for node in graph.node if node.op_type == "Reshape" for i in node.input[1:]}
    assert shapes <= constant
    # Nothing stands between the memory that goes in, what writes, and the memory that comes out.
    for node in (node for node in graph.node if node.op_type == "ScatterND"):
        assert node.input[0].replace("past", "present") == node.output[0]
    assert sum(node.op_type == "ScatterND" for node in graph.node) == 4


def test_fixed_cache_is_written_in_place():
    bundle = variant(DATA / "small", "fp32", "fixed")
    state = bundle.start(2)
    state.run(bundle.class_ids([0, 1])[:, None])
    memory = state.buffers
    places = {value.data_ptr() for value in state.binding.get_outputs()[:-1]}
    assert places == {array.ctypes.data for array in memory}
    written = [np.flatnonzero(np.abs(array).sum(-1)) for array in memory]
    rows = np.arange(2 * bundle.content["ar"]["kv_heads"]) * bundle.sequence.count
    # The class token's keys vanish by its rotation: of the keys nothing is seen, of the values one place a head.
    assert any(len(where) for where in written) and all(set(where) <= set(rows) for where in written)


def test_last_visible_agrees_with_visible():
    numbers = TokenSequence(count=32, group=4, causal=8)
    last = schedule.last_visible(numbers)
    assert (schedule.visible(numbers) == (np.arange(numbers.count)[None] <= last[:, None])).all()

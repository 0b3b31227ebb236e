"""The graph `decoder`: a prefix of tokens to pixels, at any decode size of the ladder.

Values that depend on the size only are one constant: mask token plus positions, the sizes stacked. Values that depend
on the code only are another: codebook times `post_quant_conv`.
"""

import numpy as np

import onnx
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.graphs.builder import FLOAT, INT64
from detailflow_onnx.graphs.linear import Builder
from detailflow_onnx.graphs.siglip import Layers
from detailflow_onnx.graphs.store import Store
from detailflow_onnx.numbers import ladder, resize


def codebook(model: Model) -> np.ndarray:
    """The codebook as it is looked up: with normalized rows if the model says so."""
    book = model.tokenizer.read("quantize.embedding.weight")
    return book / np.maximum(np.linalg.norm(book, axis=-1, keepdims=True), 1e-12) if model.l2_norm else book


def _sides(model: Model) -> list[int]:
    """Patches per side, for each decode size of the ladder."""
    return [size // model.decoder.patch for size in ladder.sizes(ladder.table_of(model))]


def _patches(model: Model) -> np.ndarray:
    read = model.tokenizer.read
    table = read("decoder.visual_model.embeddings.position_embedding.weight")
    mask = read("decoder.mask_token")[0]
    return np.concatenate([mask + resize.positions(table, side) for side in _sides(model)])


def _code_table(model: Model) -> np.ndarray:
    read = model.tokenizer.read
    return codebook(model) @ read("post_quant_conv.weight").T + read("post_quant_conv.bias")


def _starts(model: Model) -> np.ndarray:
    """Row of the patch table at which each side begins. A side that is not on the ladder has no rows."""
    known, row = _sides(model), 0
    starts = np.full(max(known) + 1, sum(s * s for s in known), np.int64)
    for side in known:
        starts[side] = row
        row += side * side
    return starts


def build(model: Model, store: Store, form: str, precision: str) -> onnx.ModelProto:
    """Build the graph `decoder` in one form and precision."""
    b, side, read = Builder("decoder", store, form, precision), model.decoder, model.tokenizer.read
    ids, size = b.input("ids", INT64, ["batch", "t"]), b.input("size", INT64, [1])
    batch, t = b.dim(ids, 0), b.dim(ids, 1)
    across = b.op("Div", size, b.const([side.patch]))
    count = b.op("Mul", across, across)
    first = b.op("Gather", b.const(_starts(model)), across, axis=0)
    table = b.weight("decoder.patches", lambda: _patches(model))
    patches = b.slice(table, 0, first, b.op("Add", first, count))
    patches = b.repeat(b.op("Unsqueeze", patches, b.const([0])), batch)
    positions = b.weight("decoder.latent_pos_embed", lambda: read("decoder.latent_pos_embed")[0])
    codes = b.op("Gather", b.weight("decoder.codes", lambda: _code_table(model)), ids, axis=0)
    codes = b.op("Add", codes, b.slice(positions, 0, b.const([0]), t))
    layers = Layers(b, side, read, batch)
    x = layers.run(b.op("Concat", patches, codes, axis=1), lambda x: b.slice(x, 1, b.const([0]), count))
    y = layers.linear(x, "decoder.to_pixel.model")
    y = b.reshape(b.to_float(y), batch, across, across, side.patch, side.patch, model.channels)
    y = b.op("Transpose", y, perm=[0, 5, 1, 3, 2, 4])
    rows = b.op("Mul", across, b.const([side.patch]))
    pixels = b.output("pixels", FLOAT, ["batch", model.channels, "side", "side"])
    b.reshape(y, batch, model.channels, rows, rows, out=pixels)
    return b.model()

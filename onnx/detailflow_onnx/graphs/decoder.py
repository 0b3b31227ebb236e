"""The graph `decoder`: a prefix of tokens to pixels, at any size of the ladder.

Everything that depends on the size alone is one constant: mask token plus positions for each size, one below the
other. Everything that depends on the code alone is another: codebook times `post_quant_conv`.
"""

import numpy as np

from detailflow_onnx.numbers import ladder
from detailflow_onnx.numbers import resize
from detailflow_onnx.graphs.builder import FLOAT, INT64, Builder
from detailflow_onnx.graphs.siglip import Layers


def codebook(model):
    """The codebook as it is looked up: its rows normalised where the model says so."""
    book = model.tokenizer.read("quantize.embedding.weight")
    return book / np.maximum(np.linalg.norm(book, axis=-1, keepdims=True), 1e-12) if model.l2_norm else book


def sides(model):
    """Patches a side, for each decode size of the ladder."""
    rows = ladder.table(
        size=model.size, patch=model.decoder.patch, count=model.count, group=model.group, causal=model.causal, power=model.power
    )  # fmt: skip
    return [size // model.decoder.patch for size in ladder.sizes(rows)]


def _patches(model):
    read = model.tokenizer.read
    table, mask = read("decoder.visual_model.embeddings.position_embedding.weight"), read("decoder.mask_token")[0]
    return np.concatenate([mask + resize.positions(table, side) for side in sides(model)])


def _code_table(model):
    read = model.tokenizer.read
    return codebook(model) @ read("post_quant_conv.weight").T + read("post_quant_conv.bias")


def _starts(model):
    """Row of the patch table where each side begins; a side that is not of the ladder gets none, and no rows."""
    known, row = sides(model), 0
    starts = np.full(max(known) + 1, sum(s * s for s in known), np.int64)
    for side in known:
        starts[side] = row
        row += side * side
    return starts


def build(model, store, form, precision):
    b, side, read = Builder("decoder", store, form, precision), model.decoder, model.tokenizer.read
    ids, size = b.input("ids", INT64, ["batch", "t"]), b.input("size", INT64, [1])
    batch, t = b.dim(ids, 0), b.dim(ids, 1)
    across = b.op("Div", size, b.const([side.patch]))
    count = b.op("Mul", across, across)
    first = b.op("Gather", b.const(_starts(model)), across, axis=0)
    patches = b.rows_of(b.weight("decoder.patches", lambda: _patches(model)), 0, first, b.op("Add", first, count))
    patches = b.repeat(b.op("Unsqueeze", patches, b.const([0])), batch)
    places = b.weight("decoder.latent_pos_embed", lambda: read("decoder.latent_pos_embed")[0])
    codes = b.op("Gather", b.weight("decoder.codes", lambda: _code_table(model)), ids, axis=0)
    codes = b.op("Add", codes, b.rows_of(places, 0, b.const([0]), t))
    layers = Layers(b, side, read, batch)
    x = layers.run(b.op("Concat", patches, codes, axis=1), lambda x: b.rows_of(x, 1, b.const([0]), count))
    y = layers.linear(x, "decoder.to_pixel.model")
    y = b.reshape(b.wide(y), batch, across, across, side.patch, side.patch, model.channels)
    y = b.op("Transpose", y, perm=[0, 5, 1, 3, 2, 4])
    rows = b.op("Mul", across, b.const([side.patch]))
    b.reshape(y, batch, model.channels, rows, rows, out=b.output("pixels", FLOAT, ["batch", model.channels, "side", "side"]))
    return b.model()

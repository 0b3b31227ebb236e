"""The graph `encoder`: a picture to its tokens.

Patches attend to all patches. A latent attends to all patches and to the latents that the schedule makes visible.
"""

import numpy as np

import onnx
from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.graphs.builder import FLOAT, INT64
from detailflow_onnx.graphs.decoder import codebook
from detailflow_onnx.graphs.linear import Builder
from detailflow_onnx.graphs.siglip import Layers
from detailflow_onnx.graphs.store import Store
from detailflow_onnx.numbers import resize
from detailflow_onnx.numbers.schedule import encoder_last_visible


def _patch_bias(model: Model) -> np.ndarray:
    read, e = model.tokenizer.read, "encoder.visual_model.embeddings."
    positions = resize.positions(read(e + "position_embedding.weight"), model.size // model.encoder.patch)
    return positions + read(e + "patch_embedding.bias")


def _lookup(model: Model) -> tuple[np.ndarray, np.ndarray | None]:
    """(matrix, bias): the nearest code maximizes z @ matrix + bias. Normalized codes need no bias."""
    book = codebook(model)
    return np.ascontiguousarray(book.T), None if model.l2_norm else -0.5 * (book**2).sum(-1)


def build(model: Model, store: Store, form: str, precision: str) -> onnx.ModelProto:
    """Build the graph `encoder` in one form and precision."""
    b, side, read, n = Builder("encoder", store, form, precision), model.encoder, model.tokenizer.read, model.count
    p, across = side.patch, model.size // side.patch
    patches = across * across
    image = b.input("image", FLOAT, ["batch", model.channels, model.size, model.size])
    x = b.reshape(b.to_compute(image), 0, model.channels, across, p, across, p)
    x = b.op("Transpose", x, perm=[0, 2, 4, 3, 5, 1])
    batch, name = b.dim(image, 0), "encoder.visual_model.embeddings.patch_embedding"
    x = b.linear(b.flat(x, p * p * model.channels), name, lambda: np.ascontiguousarray(read(name + ".weight").T))
    b.zero_points = None
    bias = b.reshape(x, batch, patches, side.width), b.weight("encoder.patches", lambda: _patch_bias(model))
    x = b.op("Add", *bias)
    tokens = b.weight("encoder.latents", lambda: read("encoder.latent_tokens") + read("encoder.latent_pos_embed"))
    x = b.op("Concat", x, b.repeat(tokens, batch), axis=1)
    end = b.const([patches + n])
    layers = Layers(b, side, read, batch)
    mask = layers.mask(encoder_last_visible(model))
    x = layers.run(x, lambda x: b.slice(x, 1, b.const([patches]), end), mask)
    weight = b.weight("quant_conv.weight", lambda: np.ascontiguousarray(read("quant_conv.weight").T), exact=True)
    z = b.op("Gemm", b.to_float(x), weight, b.weight("quant_conv.bias", lambda: read("quant_conv.bias"), exact=True))
    ids = b.output("ids", INT64, ["batch", n])
    latents = b.output("latents", FLOAT, ["batch", n, model.code_width])
    b.reshape(z, batch, n, model.code_width, out=latents)
    matrix, offset = _lookup(model)
    near = b.op("MatMul", latents, b.weight("encoder.codebook", lambda: matrix, exact=True))
    if offset is not None:
        near = b.op("Add", near, b.weight("encoder.codebook.bias", lambda: offset, exact=True))
    b.op("ArgMax", near, axis=-1, keepdims=0, out=ids)
    return b.model()

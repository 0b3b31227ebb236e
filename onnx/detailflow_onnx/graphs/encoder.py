"""The graph `encoder`: a picture to its tokens. Patches see patches; a latent sees all patches and the latents that the schedule allows."""

import numpy as np

from detailflow_onnx.numbers import resize
from detailflow_onnx.graphs.builder import FLOAT, INT64, Builder
from detailflow_onnx.graphs.decoder import codebook
from detailflow_onnx.numbers.schedule import last_seen
from detailflow_onnx.graphs.siglip import Layers


def _patch_bias(model):
    read, e = model.tokenizer.read, "encoder.visual_model.embeddings."
    places = resize.positions(read(e + "position_embedding.weight"), model.size // model.encoder.patch)
    return places + read(e + "patch_embedding.bias")


def _lookup(model):
    """(matrix, bias): the nearest code is where z @ matrix + bias is largest. Normalised rows need no bias and no normalised z."""
    book = codebook(model)
    return np.ascontiguousarray(book.T), None if model.l2_norm else -0.5 * (book**2).sum(-1)


def build(model, store, form, precision):
    b, side, read, n = Builder("encoder", store, form, precision), model.encoder, model.tokenizer.read, model.count
    p, across = side.patch, model.size // side.patch
    image = b.input("image", FLOAT, ["batch", model.channels, model.size, model.size])
    x = b.op("Transpose", b.reshape(b.narrow(image), 0, model.channels, across, p, across, p), perm=[0, 2, 4, 3, 5, 1])
    batch, name = b.dim(image, 0), "encoder.visual_model.embeddings.patch_embedding"
    x = b.linear(b.flat(x, p * p * model.channels), name, lambda: np.ascontiguousarray(read(name + ".weight").T))
    b.zero_points = None
    x = b.op("Add", b.reshape(x, batch, across * across, side.width), b.weight("encoder.patches", lambda: _patch_bias(model)))
    latents = b.weight("encoder.latents", lambda: read("encoder.latent_tokens") + read("encoder.latent_pos_embed"))
    x = b.op("Concat", x, b.repeat(latents, batch), axis=1)
    end = b.const([across * across + n])
    layers = Layers(b, side, read, batch)
    x = layers.run(x, lambda x: b.rows_of(x, 1, b.const([across * across]), end), layers.seen(last_seen(model)))
    weight = b.weight("quant_conv.weight", lambda: np.ascontiguousarray(read("quant_conv.weight").T), exact=True)
    z = b.op("Gemm", b.wide(x), weight, b.weight("quant_conv.bias", lambda: read("quant_conv.bias"), exact=True))
    ids = b.output("ids", INT64, ["batch", n])
    latents = b.output("latents", FLOAT, ["batch", n, model.code_width])
    b.reshape(z, batch, n, model.code_width, out=latents)
    matrix, bias = _lookup(model)
    near = b.op("MatMul", latents, b.weight("encoder.codebook", lambda: matrix, exact=True))
    if bias is not None:
        near = b.op("Add", near, b.weight("encoder.codebook.bias", lambda: bias, exact=True))
    b.op("ArgMax", near, axis=-1, keepdims=0, out=ids)
    return b.model()

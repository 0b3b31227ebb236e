"""Where a model comes from: a checkpoint in the published layout, or random numbers."""

from detailflow_onnx.checkpoint import published as checkpoint
from detailflow_onnx.checkpoint import random_model

# What `open_source` reads of the command line; all of it fits in JSON, so that the check can open the same model.
FIELDS = (
    "tokenizer", "ar", "tokenizer_weights", "ar_weights", "siglip_config", "encoder_heads", "decoder_heads", "labels", "name", "random", "seed", "only",
)  # fmt: skip


def open_source(options):
    if options.random:
        return random_model.random_model(options.random, options.seed, options.name, options.labels)
    return checkpoint.open_model(options)


def origins(options, model):
    """The manifest's `provenance`: names of files, never whole paths."""
    if options.random:
        out = {"tokenizer": f"{options.random}, {model.tokenizer.origin}"}
        return out if options.only else out | {"ar": f"{options.random}, {model.ar_weights.origin}"}

    def short(folder, origin):
        return f"{folder.rstrip('/').split('/')[-1]}/{origin.split('/')[-1]}"

    out = {"tokenizer": short(options.tokenizer, model.tokenizer.origin)}
    return out if options.only else out | {"ar": short(options.ar, model.ar_weights.origin)}

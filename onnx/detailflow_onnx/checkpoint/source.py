"""Open the model that a `Source` describes: a checkpoint in the published layout, or random weights."""

from detailflow_onnx.checkpoint.model import Model
from detailflow_onnx.checkpoint.published import Source, open_model
from detailflow_onnx.checkpoint.random_model import random_model


def open_source(source: Source) -> Model:
    """Open the model that the options describe."""
    if source.random:
        return random_model(source.random, source.seed, source.name, source.labels)
    return open_model(source)


def origins(source: Source, model: Model) -> dict[str, str]:
    """The manifest's `provenance`: the last folder and the file name, never a full path."""

    def short(folder: str | None, origin: str) -> str:
        if source.random:
            return f"{source.random}, {origin}"
        return f"{(folder or '').rstrip('/').split('/')[-1]}/{origin.split('/')[-1]}"

    out = {"tokenizer": short(source.tokenizer, model.tokenizer.origin)}
    if not source.only and model.ar_weights is not None:
        out["ar"] = short(source.ar, model.ar_weights.origin)
    return out

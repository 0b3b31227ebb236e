"""Write the files of a bundle."""

import hashlib
import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from detailflow_onnx.bundle import manifest
from detailflow_onnx.bundle.calibrate import Moments
from detailflow_onnx.bundle.variants import GRAPHS, ROUNDING, WRITTEN_AS, forms_of, graph_file
from detailflow_onnx.checkpoint.model import Model, shapes
from detailflow_onnx.errors import exit_if_signalled
from detailflow_onnx.graphs import ar, decoder, encoder, sampler
from detailflow_onnx.graphs.store import Store
from detailflow_onnx.numbers.sizes import Shapes

BUILDERS = {"ar": ar.build, "decoder": decoder.build, "encoder": encoder.build}

File = dict[str, Any]  # an entry of the manifest's `files`


def _small_file(folder: Path, name: str, data: bytes) -> File:
    (folder / name).write_bytes(data)
    return {"path": name, "length": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _write_precision(
    model: Model, folder: Path, precision: str, graphs: tuple[str, ...], moments: Moments | None
) -> list[File]:
    """Write the weight file and the graphs of one precision. `moments` are for the rounding of int4 weights.

    The decoder comes first, so that its weights are a leading part of the weight file: a copy of that part and the
    decoder graphs, unchanged, make a bundle of the decoder alone (`dflow strip`).
    """
    store, decoder_length, forms = Store(folder, precision, moments), 0, forms_of(precision)
    files: dict[tuple[str, str], File] = {}
    for graph in sorted(graphs, key=lambda graph: graph != "decoder"):
        for form in forms:
            name = graph_file(graph, precision, form)
            if form in name:  # else the file is that of another form
                proto = BUILDERS[graph](model, store, form, WRITTEN_AS.get((precision, graph), precision))
                files[form, graph] = _small_file(folder, name, proto.SerializeToString(deterministic=True))
        if graph == "decoder":
            decoder_length = store.length
    length, digest = store.close()
    listed = [files[form, graph] for form in forms for graph in graphs if (form, graph) in files]
    return [*listed, {"path": store.name, "length": length, "sha256": digest, "decoder": decoder_length}]


def _bytes_read(model: Model, precisions: list[str], graphs: tuple[str, ...]) -> int:
    """Bytes read from the source: the tensors of every graph once per precision, and the tokenizer's for its ID."""

    def size(shapes: Shapes) -> int:
        return sum(math.prod(shape) * 4 for shape in shapes.values())

    tokenizer, autoregressive = shapes(model)
    encoder_only = {n: shape for n, shape in tokenizer.items() if n.startswith(("encoder.", "quant_conv."))}
    each = size(tokenizer)
    if "encoder" not in graphs:
        each -= size(encoder_only)
    if "ar" in graphs:
        each += size(autoregressive)
    return each * len(precisions) + size(tokenizer)


def _progress(total: int) -> AbstractContextManager[Any]:
    """A progress bar of `total` bytes; None if tqdm is not installed."""
    try:
        from tqdm import tqdm
    except ImportError:
        return nullcontext()
    return tqdm(total=total, unit="B", unit_scale=True, desc="weights", disable=None)


def write(
    model: Model,
    folder: Path,
    *,
    precisions: list[str],
    license: str,
    license_file: bytes | None,
    origins: dict[str, str],
    sampling: dict[str, Any],
    finish: dict[str, Any] | None = None,
    graphs: tuple[str, ...] = GRAPHS,
    rounding: str = ROUNDING[0],
) -> manifest.Manifest:
    """Write all files of a bundle into `folder` and return the manifest. `rounding` is one of ROUNDING, for int4."""
    sources = [weights for weights in (model.tokenizer, model.ar_weights) if weights]
    files: list[File] = []
    total = _bytes_read(model, precisions, graphs)
    with _progress(total) as bar:

        def on_read(count: int) -> None:
            exit_if_signalled()
            if bar is not None:
                bar.update(count)

        for weights in sources:
            weights.on_read = on_read
        try:
            for precision in precisions:
                calibrated = precision == "int4" and "ar" in graphs and rounding == "feedback"
                files += _write_precision(model, folder, precision, graphs, Moments(model) if calibrated else None)
            if "ar" in graphs:
                proto = sampler.build(model.codes)
                files.append(_small_file(folder, sampler.NAME, proto.SerializeToString(deterministic=True)))
            if license_file:
                files.append(_small_file(folder, "LICENSE.md", license_file))
            content = manifest.build(
                model,
                license=license,
                origins=origins,
                sampling=sampling,
                finish=finish or {},
                precisions=precisions,
                graphs=graphs,
                files=files,
            )
        finally:
            for weights in sources:
                weights.on_read = None
    manifest.write(folder, content)
    return content

"""Write a bundle: beside its place, checked, then renamed into it. Whatever fails, the place is as it was."""

import contextlib
import hashlib
import json
import math
import os
import re
import shutil
import tempfile
from pathlib import Path

from tqdm import tqdm

from detailflow_onnx.graphs import ar
from detailflow_onnx.graphs import decoder
from detailflow_onnx.graphs import sampler as draw
from detailflow_onnx.graphs import encoder
from detailflow_onnx.bundle import manifest
from detailflow_onnx.errors import Refused, need, stop_if_told
from detailflow_onnx.checkpoint.model import shapes
from detailflow_onnx.graphs.store import Store

MANIFEST = "detailflow.json"
BUILDERS = {"ar": ar.build, "decoder": decoder.build, "encoder": encoder.build}


def check_place(out):
    """Refuse a place that holds something else than a bundle."""
    if out.is_symlink() or out.exists():
        need(out.is_dir() and not out.is_symlink(), f"{out}: exists and is not a folder")
        need((out / MANIFEST).is_file() or not any(out.iterdir()), f"{out}: the folder exists and is not a bundle; it is left alone")
    need(out.parent.is_dir(), f"{out.parent}: no such folder")


@contextlib.contextmanager
def beside(out):
    """A folder beside `out` that becomes `out` when the block ends well and vanishes when it does not."""
    check_place(out)
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise Refused(f"{out.parent}: {error.strerror}") from None
    try:
        yield work
        stop_if_told()
        mask = os.umask(0)
        os.umask(mask)
        work.chmod(0o777 & ~mask)
        _exchange(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exchange(work, out):
    """Put `work` in the place of `out`; the old folder is kept aside until the new one stands."""
    if not out.exists():
        work.rename(out)
        return
    old = work.with_name(work.name + ".old")
    out.rename(old)
    try:
        work.rename(out)
    except OSError:
        old.rename(out)
        raise
    shutil.rmtree(old, ignore_errors=True)


def _small_file(folder, name, data):
    (folder / name).write_bytes(data)
    return {"path": name, "length": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def _precision(model, folder, precision, graphs):
    """The weight file and the graphs of one precision, as `files` entries.

    The decoder comes first, so that what it reads is a leading part of the weights: a copy of that part, and the
    decoder's graphs as they are, make a bundle that holds the decoder alone (`dflow strip`)."""
    store, files, decoder_length, forms = Store(folder, precision), {}, 0, manifest.forms(precision)
    for graph in sorted(graphs, key=lambda graph: graph != "decoder"):
        for form in forms:
            name = manifest.graph_file(graph, precision, form)
            if form in name:  # else it is that of another form
                proto = BUILDERS[graph](model, store, form, manifest.WRITTEN_AS.get((precision, graph), precision))
                files[form, graph] = _small_file(folder, name, proto.SerializeToString(deterministic=True))
        if graph == "decoder":
            decoder_length = store.length
    length, digest = store.close()
    listed = [files[form, graph] for form in forms for graph in graphs if (form, graph) in files]
    return listed + [{"path": store.name, "length": length, "sha256": digest, "decoder": decoder_length}]


def _bytes_read(model, precisions, graphs):
    """How much of the sources is read: every graph's tensors once for each precision, and the tokenizer's for its ID."""

    def size(shapes):
        return sum(math.prod(shape) * 4 for shape in shapes.values())

    tokenizer, autoregressive = shapes(model)
    encoder = {name: shape for name, shape in tokenizer.items() if name.startswith(("encoder.", "quant_conv."))}
    each = size(tokenizer) - (0 if "encoder" in graphs else size(encoder)) + (size(autoregressive) if "ar" in graphs else 0)
    return each * len(precisions) + size(tokenizer)


def _write_manifest(folder, content):
    """Lists of numbers on one line each."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    text = re.sub(r"\[\s+(-?[\d.][-+\d.eE,\s]*?)\s+\]", lambda found: "[" + " ".join(found[1].split()) + "]", text)
    (folder / MANIFEST).write_text(text + "\n", encoding="utf-8")


def note_quality(folder, content, measured):
    """Write into the manifest how near each variant is to the source weights, and the pictures that tell."""
    for variant in content["variants"]:
        for row in measured["quality"]:
            if (row["precision"], row["form"]) == (variant["precision"], variant["form"]):
                variant["quality"] = row["quality"]
    if measured["judged"]:
        content["judged"] = measured["judged"]
    _write_manifest(folder, content)


def write(model, folder, *, precisions, license, license_file, origins, sampling, graphs=manifest.GRAPHS):
    """All files of a bundle into `folder`. Returns the manifest."""
    sources = [weights for weights in (model.tokenizer, model.ar_weights) if weights]
    files = []
    with tqdm(total=_bytes_read(model, precisions, graphs), unit="B", unit_scale=True, desc="weights", disable=None) as bar:

        def on_read(count):
            stop_if_told()
            bar.update(count)

        for weights in sources:
            weights.on_read = on_read
        try:
            for precision in precisions:
                files += _precision(model, folder, precision, graphs)
            if "ar" in graphs:
                files.append(_small_file(folder, draw.NAME, draw.build(model.codes).SerializeToString(deterministic=True)))
            if license_file:
                files.append(_small_file(folder, "LICENSE.md", license_file))
            content = manifest.build(
                model, license=license, origins=origins, sampling=sampling, precisions=precisions, graphs=graphs, files=files
            )  # fmt: skip
        finally:
            for weights in sources:
                weights.on_read = None
    _write_manifest(folder, content)
    return content

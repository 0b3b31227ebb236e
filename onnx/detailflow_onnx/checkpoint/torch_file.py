"""Read a `.pt` file without PyTorch and without executing code from it.

A `.pt` file is a zip of stored entries: one pickle that describes the tensors, and one entry per storage. `archive`
finds the entries, `unpickler` interprets the pickle; both bound what they read. Storages stay in the file: a tensor is
only a location in it until it is read.
"""

from pathlib import Path
from typing import Any, BinaryIO

from detailflow_onnx.checkpoint.archive import Archive
from detailflow_onnx.checkpoint.unpickler import MAX_PICKLE, Entries, Unpickler
from detailflow_onnx.errors import Refused, need, shown
from detailflow_onnx.files import open_regular

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."


def _parts(file: BinaryIO, length: int) -> tuple[bytes, Entries]:
    """The bytes of the pickle, and the location of each storage."""
    if file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC:
        raise Refused("the file has the old format of PyTorch before 1.6; load it with PyTorch and save it again")
    archive = Archive(file, length)
    entries = archive.entries
    heads = [name for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    need(len(heads) == 1, "the zip holds no data.pkl, so it is not a PyTorch checkpoint")
    root = heads[0][: -len("data.pkl")]
    script = root + "constants.pkl" in entries or any(name.startswith(root + "code/") for name in entries)
    need(not script, "the file is a TorchScript program; a checkpoint written by torch.save is needed")
    if root + "byteorder" in entries:
        order = archive.read(entries[root + "byteorder"], 64)
        text = shown(order.decode("ascii", "replace"))
        need(order == b"little", f"the byteorder of the file is {text}; only 'little' is supported")
    data = root + "data/"
    storages = {name[len(data) :]: entry for name, entry in entries.items() if name.startswith(data)}
    return archive.read(entries[heads[0]], MAX_PICKLE), {name: archive.location(e) for name, e in storages.items()}


def load(path: Path) -> Any:
    """Return the object that `torch.load(path)` would return, with a `TensorLocation` for each tensor."""
    try:
        with open_regular(path) as file:
            data, entries = _parts(file, file.seek(0, 2) - file.seek(0))
        return Unpickler(data, entries).load()
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None

"""Read a `.pt` file without PyTorch and without executing code from it.

A `.pt` file is a zip of stored entries: one pickle that describes the tensors, and one entry per storage. The pickle's
opcodes are checked, then it is read by an unpickler that knows a dozen names. Each name maps to an object of this
module, so no other code is ever called; an unknown name is refused before it is looked up. Storages stay in the file:
a tensor is only a location in it until it is read.
"""

import io
import math
import pickle
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from detailflow_onnx.errors import Refused, need

LEGACY_MAGIC = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."
MAX_PICKLE = 256 << 20

# Storage class -> (name of the element type, bytes per element).
STORAGES = {
    "FloatStorage": ("F32", 4), "DoubleStorage": ("F64", 8), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8), "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1),
}  # fmt: skip

# fmt: off  (a list of words)
OPCODES = {
    "PROTO",
    "FRAME",
    "STOP",
    "MARK",
    "POP",
    "POP_MARK",
    "DUP",
    "NONE",
    "NEWTRUE",
    "NEWFALSE",
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE",
    "BINUNICODE8",
    "SHORT_BINBYTES",
    "BINBYTES",
    "BINBYTES8",
    "EMPTY_LIST",
    "LIST",
    "APPEND",
    "APPENDS",
    "EMPTY_TUPLE",
    "TUPLE",
    "TUPLE1",
    "TUPLE2",
    "TUPLE3",
    "EMPTY_DICT",
    "DICT",
    "SETITEM",
    "SETITEMS",
    "EMPTY_SET",
    "ADDITEMS",
    "FROZENSET",
    "GET",
    "BINGET",
    "LONG_BINGET",
    "PUT",
    "BINPUT",
    "LONG_BINPUT",
    "MEMOIZE",
    "GLOBAL",
    "STACK_GLOBAL",
    "REDUCE",
    "BUILD",
    "NEWOBJ",
    "BINPERSID",
}
# fmt: on


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor lies in its file: `offset` in bytes, `stride` in elements, `span` in bytes from first to last."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    stride: tuple[int, ...]
    span: int

    def __setstate__(self, state: object) -> None:
        raise Refused("the pickle sets the state of a tensor, which no checkpoint does")


@dataclass(frozen=True)
class _Storage:
    dtype: str
    width: int
    offset: int
    count: int

    def __setstate__(self, state: object) -> None:
        raise Refused("the pickle sets the state of a storage, which no checkpoint does")


class _Namespace:
    """Replaces argparse.Namespace: the training arguments, which nothing uses."""

    __slots__ = ("values",)

    def __setstate__(self, state: object) -> None:
        self.values = dict(state) if isinstance(state, dict) else {}


class _Ordered(dict[Any, Any]):
    """Replaces collections.OrderedDict. Its attributes (`_metadata`) are dropped."""

    __slots__ = ()

    def __setstate__(self, state: object) -> None:
        pass


class _Function:
    """Replaces a function of PyTorch or Python."""

    __slots__ = ("call",)
    call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "call", call)

    def __setattr__(self, name: str, value: object) -> None:
        raise Refused("the pickle changes a function, which no checkpoint does")

    def __setstate__(self, state: object) -> None:
        raise Refused("the pickle changes a function, which no checkpoint does")

    def __call__(self, *args: object) -> Any:
        return self.call(*args)


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any, *_unused: object) -> TensorLocation:
    need(isinstance(storage, _Storage), "the pickle builds a tensor from something that is not a storage")
    valid = _is_size(offset) and isinstance(size, tuple) and isinstance(stride, tuple) and len(size) == len(stride) <= 8
    what = f"the pickle builds a tensor of shape {size}, stride {stride} and offset {offset}"
    need(valid and all(map(_is_size, size + stride)), what)
    elements = math.prod(size)
    extent = 1 + sum((n - 1) * s for n, s in zip(size, stride)) if elements else 0
    need(
        offset + extent <= storage.count and elements <= max(storage.count, 1),
        f"{what}, which exceeds its storage of {storage.count} elements",
    )
    return TensorLocation(storage.dtype, size, storage.offset + offset * storage.width, stride, extent * storage.width)


def _rebuild_parameter(data: Any, *_unused: object) -> TensorLocation:
    need(isinstance(data, TensorLocation), "the pickle builds a parameter from something that is not a tensor")
    return data


def _encode(text: Any, encoding: Any) -> bytes:
    need(isinstance(text, str) and encoding == "latin1", "the pickle encodes something that is not bytes")
    return text.encode("latin1")


def _collection(kind: type) -> Callable[..., Any]:
    def make(items: Any = ()) -> Any:
        need(
            isinstance(items, (list, tuple, set)),
            f"the pickle builds a {kind.__name__} from something that is not a list",
        )
        return kind(items)

    return make


KNOWN: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _Function(_rebuild_tensor),
    "torch._utils._rebuild_parameter": _Function(_rebuild_parameter),
    "torch.Size": _Function(_collection(tuple)),
    "collections.OrderedDict": _Ordered,
    "argparse.Namespace": _Namespace,
    "_codecs.encode": _Function(_encode),
    **{
        f"{home}.{kind.__name__}": _Function(_collection(kind))
        for home in ("builtins", "__builtin__")
        for kind in (set, frozenset)
    },
}


class _StorageType:
    __slots__ = ("dtype", "width")
    dtype: str
    width: int

    def __init__(self, dtype: str, width: int) -> None:
        object.__setattr__(self, "dtype", dtype)
        object.__setattr__(self, "width", width)

    def __setattr__(self, name: str, value: object) -> None:
        raise Refused("the pickle changes a storage type, which no checkpoint does")

    def __setstate__(self, state: object) -> None:
        raise Refused("the pickle changes a storage type, which no checkpoint does")


KNOWN.update({f"torch.{name}": _StorageType(*kind) for name, kind in STORAGES.items()})


Entries = dict[str, tuple[int, int]]  # name -> (offset, length) of an entry's bytes


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, entries: Entries) -> None:
        super().__init__(io.BytesIO(data), encoding="latin1")
        self._entries = entries

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        need(full in KNOWN, f"the pickle asks for {full}, which is not allowed (no code was executed)")
        return KNOWN[full]

    def persistent_load(self, pid: Any) -> _Storage:
        valid = isinstance(pid, tuple) and len(pid) == 5 and pid[0] == "storage" and isinstance(pid[1], _StorageType)
        need(valid and isinstance(pid[2], str) and _is_size(pid[4]), "the pickle refers to a storage in an unknown way")
        _, kind, key, _, count = pid
        need(key in self._entries, f"storage {key!r} is missing from the archive")
        offset, length = self._entries[key]
        need(count * kind.width <= length, f"storage {key!r} must hold {count * kind.width} bytes but holds {length}")
        return _Storage(kind.dtype, kind.width, offset, count)


def _check_opcodes(data: bytes) -> None:
    """Refuse opcodes that no checkpoint needs, and memo numbers that would make the unpickler allocate gigabytes."""
    try:
        for opcode, argument, _ in pickletools.genops(data):
            need(opcode.name in OPCODES, f"the pickle uses the opcode {opcode.name}, which no checkpoint needs")
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT"):
                valid = isinstance(argument, int) and 0 <= argument <= len(data)
                need(valid, f"the pickle uses the memo number {argument}, which no checkpoint needs")
    except Refused:
        raise
    except Exception as error:
        raise Refused(f"the pickle is damaged ({error})") from None


def _entry(file: BinaryIO, info: zipfile.ZipInfo, length: int) -> tuple[int, int]:
    """(offset, length) of the bytes of a stored zip entry."""
    stored = info.compress_type == zipfile.ZIP_STORED and info.flag_bits & 1 == 0
    need(stored, f"the entry {info.filename!r} is compressed; torch.save does not compress")
    file.seek(info.header_offset)
    header = file.read(30)
    need(len(header) == 30 and header[:4] == b"PK\x03\x04", f"the entry {info.filename!r} has no header")
    name, extra = struct.unpack("<HH", header[26:30])
    start = info.header_offset + 30 + name + extra
    need(start + info.file_size <= length, f"the entry {info.filename!r} extends beyond the file")
    return start, info.file_size


def _archive(file: BinaryIO, length: int) -> tuple[bytes, Entries]:
    """The bytes of the pickle, and the location of each storage."""
    file.seek(0)
    if file.read(len(LEGACY_MAGIC)) == LEGACY_MAGIC:
        raise Refused("the file has the old format of PyTorch before 1.6; load it with PyTorch and save it again")
    try:
        archive = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, ValueError, OSError) as error:
        raise Refused(f"the file is not a PyTorch checkpoint or is truncated ({error})") from None
    with archive:
        infos = {info.filename: info for info in archive.infolist()}
        heads = [name for name in infos if name.endswith("/data.pkl") and name.count("/") == 1]
        need(len(heads) == 1, "the zip holds no data.pkl, so it is not a PyTorch checkpoint")
        root = heads[0][: -len("data.pkl")]
        script = root + "constants.pkl" in infos or any(name.startswith(root + "code/") for name in infos)
        need(not script, "the file is a TorchScript program; a checkpoint written by torch.save is needed")
        if root + "byteorder" in infos:
            order = archive.read(root + "byteorder")
            text = order.decode("ascii", "replace")
            need(order == b"little", f"the byteorder of the file is {text!r}; only 'little' is supported")
        need(infos[heads[0]].file_size <= MAX_PICKLE, f"the pickle of {infos[heads[0]].file_size} bytes is too large")
        locations = {name: _entry(file, info, length) for name, info in infos.items() if name.startswith(root)}
        data = root + "data/"
        entries = {name[len(data) :]: location for name, location in locations.items() if name.startswith(data)}
        try:
            return archive.read(heads[0]), entries
        except (zipfile.BadZipFile, OSError, EOFError) as error:
            raise Refused(f"data.pkl is damaged ({error})") from None


def load(path: Path) -> Any:
    """Return the object that `torch.load(path)` would return, with a `TensorLocation` for each tensor."""
    try:
        with open(path, "rb") as file:
            data, entries = _archive(file, file.seek(0, 2))
        _check_opcodes(data)
        return _Unpickler(data, entries).load()
    except Refused as error:
        raise Refused(f"{path}: {error}") from None
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    except Exception as error:  # a damaged pickle can raise any exception in the unpickler
        raise Refused(f"{path}: the pickle is damaged ({type(error).__name__}: {error})") from None

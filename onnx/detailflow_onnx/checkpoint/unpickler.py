"""Read the pickle of a checkpoint: an interpreter of the opcodes that checkpoints use. It calls no code from the file.

The opcodes are interpreted here, in a loop and not by recursion, so that every value is checked before it is used.
These are bounded: the length of the pickle, the opcodes, the nesting, the values that a walk of the result meets (a
list that occurs twice counts twice), the width of integers, and the elements that are copied. Keys of dictionaries and
elements of sets are text or integers, so that hashing them takes no time. A container is complete once it lies in
another one: changing it later is refused, so that no value contains itself. Messages show untrusted values by
`errors.shown`.
"""

import math
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from detailflow_onnx.errors import Refused, need, shown

MAX_PICKLE = 64 << 20  # bytes
MAX_OPCODES = 1 << 20  # a tensor takes about 50
MAX_DEPTH = 32
MAX_VALUES = 1 << 22
MAX_INTEGER = 32  # bytes
MAX_DIMENSIONS = 8
MAX_KEY = 1024  # characters; equal texts are compared in full

# Storage class -> (name of the element type, bytes per element).
STORAGES = {
    "FloatStorage": ("F32", 4), "DoubleStorage": ("F64", 8), "HalfStorage": ("F16", 2), "BFloat16Storage": ("BF16", 2),
    "LongStorage": ("I64", 8), "IntStorage": ("I32", 4), "ShortStorage": ("I16", 2), "CharStorage": ("I8", 1),
    "ByteStorage": ("U8", 1), "BoolStorage": ("BOOL", 1),
}  # fmt: skip

Entries = dict[str, tuple[int, int]]  # name -> (offset, length) of a storage's bytes


@dataclass(frozen=True)
class TensorLocation:
    """Where a tensor lies in its file: `offset` in bytes, `stride` in elements, `span` in bytes from first to last."""

    dtype: str
    shape: tuple[int, ...]
    offset: int
    stride: tuple[int, ...]
    span: int


@dataclass(frozen=True)
class Storage:
    """Where a storage lies in its file: `offset` in bytes, `count` in elements of `width` bytes."""

    dtype: str
    width: int
    offset: int
    count: int


class Namespace:
    """Replaces argparse.Namespace: the training arguments, which nothing uses."""

    __slots__ = ("values",)

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {}


class Ordered(dict[Any, Any]):
    """Replaces collections.OrderedDict. Its attributes (`_metadata`) are dropped."""

    __slots__ = ()


@dataclass(frozen=True)
class StorageType:
    """Replaces a storage class of PyTorch."""

    dtype: str
    width: int


@dataclass(frozen=True)
class Known:
    """Replaces a function or another class: its name and the arguments it takes, at least and at most."""

    name: str
    least: int
    most: int


KNOWN: dict[str, Known | StorageType] = {
    "torch._utils._rebuild_tensor_v2": Known("tensor", 4, 8),
    "torch._utils._rebuild_parameter": Known("parameter", 1, 4),
    "torch.Size": Known("size", 0, 1),
    "collections.OrderedDict": Known("ordered", 0, 0),
    "argparse.Namespace": Known("namespace", 0, 0),
    "_codecs.encode": Known("encode", 2, 2),
    **{f"{home}.{name}": Known(name, 0, 1) for home in ("builtins", "__builtin__") for name in ("set", "frozenset")},
    **{f"torch.{name}": StorageType(*kind) for name, kind in STORAGES.items()},
}

_CONTAINERS = (list, dict, set, Ordered, Namespace)  # those that opcodes change
_UNSIGNED = {1: struct.Struct("<B"), 2: struct.Struct("<H"), 4: struct.Struct("<I"), 8: struct.Struct("<Q")}
_SIGNED = struct.Struct("<i")
_DOUBLE = struct.Struct(">d")
_MARK = object()


def _name(value: object) -> str:
    """The type of a value, for messages."""
    names = {Ordered: "OrderedDict", Namespace: "Namespace", Known: "function", StorageType: "storage class"}
    return names.get(type(value), "MARK" if value is _MARK else type(value).__name__)


def _is_size(value: object) -> bool:
    return type(value) is int and 0 <= value < 1 << 63


def _rebuild_tensor(storage: Any, offset: Any, size: Any, stride: Any) -> TensorLocation:
    need(type(storage) is Storage, "the pickle builds a tensor from something that is not a storage")
    shapes = type(size) is tuple and type(stride) is tuple and len(size) == len(stride) <= MAX_DIMENSIONS
    text = f"the pickle builds a tensor whose shape, stride and offset are not up to {MAX_DIMENSIONS} sizes each"
    need(shapes and all(map(_is_size, (*size, *stride, offset))), text)
    need(math.prod(n or 1 for n in size) < 1 << 48, "the pickle builds a tensor of a shape with 2^48 elements or more")
    stride = tuple(s if n > 1 else 0 for n, s in zip(size, stride))
    elements = math.prod(size)
    extent = 1 + sum((n - 1) * s for n, s in zip(size, stride)) if elements else 0
    inside = offset + extent <= storage.count and elements <= max(storage.count, 1)
    what = f"the pickle builds a tensor of shape {size}, stride {stride} and offset {offset}"
    need(inside, f"{what}, which exceeds its storage of {storage.count} elements")
    return TensorLocation(storage.dtype, size, storage.offset + offset * storage.width, stride, extent * storage.width)


class Unpickler:
    """Interprets `data`; storages lie at `entries`."""

    def __init__(self, data: bytes, entries: Entries) -> None:
        need(len(data) <= MAX_PICKLE, f"the pickle has {len(data)} bytes; at most {MAX_PICKLE} are read")
        self._data, self._entries = data, entries
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[int] = []  # lengths of the stack at each mark
        self._memo: dict[int, Any] = {}
        self._weights: dict[int, tuple[int, int]] = {}  # id of a container -> (nesting, values)
        self._complete: set[int] = set()  # ids of containers that lie in another one
        self._alive: list[Any] = []  # every container, so that its id stays its own
        self._copied = 0  # elements
        self._encoded_text = 0  # characters

    # ------------------------------------------------------------ arguments
    def _take(self, count: int) -> bytes:
        end = self._at + count
        need(end <= len(self._data), "the pickle is damaged: it ends early")
        part = self._data[self._at : end]
        self._at = end
        return part

    def _unsigned(self, width: int) -> int:
        return cast(int, _UNSIGNED[width].unpack(self._take(width))[0])

    def _line(self) -> str:
        end = self._data.find(b"\n", self._at, self._at + 1024)
        need(end >= 0, "the pickle is damaged: a name has no end")
        line = self._data[self._at : end]
        self._at = end + 1
        return line.decode("utf-8", "backslashreplace")

    def _text(self, width: int) -> str:
        try:
            return self._take(self._unsigned(width)).decode("utf-8", "surrogatepass")
        except UnicodeDecodeError:
            raise Refused("the pickle is damaged: a text is not UTF-8") from None

    def _integer(self, width: int) -> int:
        size = self._unsigned(width)
        need(size <= MAX_INTEGER, f"the pickle has an integer of {size} bytes; at most {MAX_INTEGER} are read")
        return int.from_bytes(self._take(size), "little", signed=True)

    # ------------------------------------------------------------ the stack
    def _pop(self) -> Any:
        base = self._marks[-1] if self._marks else 0
        need(len(self._stack) > base, "the pickle is damaged: it takes a value that is not there")
        return self._stack.pop()

    def _pop_mark(self) -> list[Any]:
        need(self._marks, "the pickle is damaged: it ends a group that has no begin")
        base = self._marks.pop()
        items = self._stack[base:]
        del self._stack[base:]
        return items

    def _top(self) -> Any:
        value = self._pop()
        self._stack.append(value)
        return value

    # ------------------------------------------------------------ values
    def _weight(self, value: Any) -> tuple[int, int]:
        return self._weights.get(id(value), (0, 1))

    def _hold(self, container: Any, items: list[Any]) -> None:
        """Count `items` as held by `container`, and complete them."""
        depth, values = self._weight(container)
        depth = max(depth, 1)
        for item in items:
            known = self._weights.get(id(item))
            if known is None:
                values += 1
                continue
            need(item is not container, "the pickle puts a value into itself, which no checkpoint does")
            depth, values = max(depth, known[0] + 1), values + known[1]
            self._complete.add(id(item))
        need(depth <= MAX_DEPTH, f"the pickle nests values {depth} deep; at most {MAX_DEPTH} are read")
        need(values <= MAX_VALUES, f"the pickle holds more than {MAX_VALUES} values, counted where they occur")
        if id(container) not in self._weights:
            self._alive.append(container)
        self._weights[id(container)] = depth, values

    def _made(self, container: Any, items: list[Any]) -> Any:
        self._hold(container, items)
        return container

    def _changed(self, *kinds: type) -> Any:
        """The container on top of the stack, which an opcode is about to change."""
        value = self._top()
        need(type(value) in kinds, f"the pickle changes a value of type {_name(value)} as if it were another")
        need(id(value) not in self._complete, "the pickle changes a container inside another, which no checkpoint does")
        return value

    @staticmethod
    def _check_keys(keys: list[Any], subject: str) -> None:
        for key in keys:
            text = type(key) is str and len(key) <= MAX_KEY
            number = type(key) is bool or (type(key) is int and key.bit_length() < 64)
            allowed = f"text of up to {MAX_KEY} characters and integers of 64 bits are allowed"
            need(text or number, f"the pickle has {subject} of type {_name(key)}; {allowed}")

    def _set_items(self, items: list[Any]) -> None:
        target = self._changed(dict, Ordered)
        need(len(items) % 2 == 0, "the pickle is damaged: a key has no value")
        keys, values = items[::2], items[1::2]
        self._check_keys(keys, "a key")
        self._hold(target, items)
        target.update(zip(keys, values))

    def _append(self, items: list[Any]) -> None:
        target = self._changed(list)
        self._hold(target, items)
        target.extend(items)

    def _add(self, items: list[Any]) -> None:
        target = self._changed(set)
        self._check_keys(items, "an element of a set")
        self._hold(target, items)
        target.update(items)

    def _copy(self, arguments: tuple[Any, ...], kind: str) -> list[Any]:
        """The elements of the argument of `set`, `frozenset` or `torch.Size`."""
        source = arguments[0] if arguments else ()
        need(type(source) in (list, tuple, set), f"the pickle builds a {kind} from something that is not a list")
        self._copied += len(source)
        need(self._copied <= MAX_OPCODES, f"the pickle copies more than {MAX_OPCODES} elements")
        return list(source)

    def _encoded(self, text: Any, encoding: Any) -> bytes:
        valid = type(text) is str and type(encoding) is str and encoding == "latin1"
        need(valid, "the pickle encodes something that is not bytes")
        self._encoded_text += len(text)
        need(self._encoded_text <= len(self._data), "the pickle encodes more text than it has")
        try:
            return cast(str, text).encode("latin1")
        except UnicodeEncodeError:
            raise Refused("the pickle encodes something that is not bytes") from None

    # ------------------------------------------------------------ names and calls
    def _find(self, module: Any, name: Any) -> Known | StorageType:
        valid = type(module) is str and type(name) is str and len(module) + len(name) < 1024
        need(valid, "the pickle asks for a name that is not text, which is not allowed")
        full = f"{module}.{name}"
        if full not in KNOWN:
            text = full if full.isprintable() and len(full) <= 80 else shown(full)
            raise Refused(f"the pickle asks for {text}, which is not allowed (no code was executed)")
        return KNOWN[full]

    def _call(self, function: Any, arguments: Any) -> Any:
        known = type(function) is Known and type(arguments) is tuple
        need(known, f"the pickle calls a value of type {_name(function)}, which is not allowed")
        count = len(arguments)
        need(function.least <= count <= function.most, f"the pickle gives {count} arguments to {function.name}")
        name = function.name
        if name == "tensor":
            return _rebuild_tensor(*arguments[:4])
        if name == "parameter":
            data = arguments[0]
            valid = type(data) is TensorLocation
            need(valid, "the pickle builds a parameter from something that is not a tensor")
            return data
        if name == "ordered":
            return self._made(Ordered(), [])
        if name == "namespace":
            return self._made(Namespace(), [])
        if name == "encode":
            return self._encoded(*arguments)
        items = self._copy(arguments, name)
        if name == "size":
            return self._made(tuple(items), items)
        self._check_keys(items, "an element of a set")
        return self._made(set(items) if name == "set" else frozenset(items), items)

    def _new(self, kind: Any, arguments: Any) -> Any:
        allowed = type(kind) is Known and kind.name in ("ordered", "namespace")
        allowed = allowed and type(arguments) is tuple and not arguments
        need(allowed, f"the pickle creates an object of a {_name(kind)}, which is not allowed")
        return self._call(kind, arguments)

    def _build(self, state: Any) -> None:
        target = self._changed(Namespace, Ordered)
        if type(target) is Namespace and type(state) is dict:
            self._hold(target, [state])
            target.values = state

    def _storage(self, pid: Any) -> Storage:
        valid = type(pid) is tuple and len(pid) == 5 and type(pid[0]) is str and pid[0] == "storage"
        valid = valid and type(pid[1]) is StorageType and type(pid[2]) is str and _is_size(pid[4])
        need(valid, "the pickle refers to a storage in an unknown way")
        _, kind, key, _, count = pid
        need(key in self._entries, f"storage {shown(key)} is missing from the archive")
        offset, length = self._entries[key]
        text = f"storage {shown(key)} must hold {count * kind.width} bytes but holds {length}"
        need(count * kind.width <= length, text)
        return Storage(kind.dtype, kind.width, offset, count)

    # ------------------------------------------------------------ the memo
    def _put(self, index: int) -> None:
        need(index < MAX_OPCODES, f"the pickle uses the memo number {index}, which no checkpoint needs")
        self._memo[index] = self._top()

    def _get(self, index: int) -> Any:
        need(index in self._memo, f"the pickle is damaged: it asks for the memo number {index}, which is not there")
        return self._memo[index]

    def load(self) -> Any:
        """The value that the pickle describes."""
        count = 0
        while True:
            count += 1
            need(count <= MAX_OPCODES, f"the pickle has more than {MAX_OPCODES} opcodes")
            code = self._take(1)[0]
            if code == _STOP:
                value = self._pop()
                rest = self._stack or self._marks or self._at != len(self._data)
                need(not rest, "the pickle is damaged: values or bytes are left over at its end")
                return value
            step = _STEPS[code]
            if step is None:
                raise Refused(_unknown(code))
            step(self)


def _unknown(code: int) -> str:
    name = next((opcode.name for opcode in pickletools.opcodes if opcode.code == chr(code)), None)
    if name is None:
        return f"the pickle is damaged: {code} is not an opcode"
    return f"the pickle uses the opcode {name}, which no checkpoint needs"


Step = Callable[[Unpickler], None]
_STOP = ord(".")


def _protocol(self: Unpickler) -> None:
    version = self._unsigned(1)
    need(version <= 5, f"the pickle has the protocol {version}; 2 to 5 are read")


def _frame(self: Unpickler) -> None:
    size = self._unsigned(8)
    need(size <= len(self._data) - self._at, "the pickle is damaged: it ends early")


def _value(read: Callable[[Unpickler], Any]) -> Step:
    def step(self: Unpickler) -> None:
        self._stack.append(read(self))

    return step


def _tuple(self: Unpickler, items: list[Any]) -> Any:
    return self._made(tuple(items), items) if items else ()


def _of_last(count: int) -> Callable[[Unpickler], Any]:
    def read(self: Unpickler) -> Any:
        items = [self._pop() for _ in range(count)][::-1]
        return _tuple(self, items)

    return read


def _frozen(self: Unpickler) -> Any:
    items = self._pop_mark()
    self._check_keys(items, "an element of a set")
    return self._made(frozenset(items), items)


def _begin(self: Unpickler) -> None:
    self._marks.append(len(self._stack))


def _drop(self: Unpickler) -> None:
    if self._marks and self._marks[-1] == len(self._stack):
        self._marks.pop()
    else:
        self._pop()


def _set_item(self: Unpickler) -> None:
    value, key = self._pop(), self._pop()
    self._set_items([key, value])


def _called(method: Callable[[Unpickler, Any, Any], Any]) -> Callable[[Unpickler], Any]:
    def read(self: Unpickler) -> Any:
        second, first = self._pop(), self._pop()
        return method(self, first, second)

    return read


# fmt: off
_NAMED: dict[str, Step] = {
    "PROTO": _protocol,
    "FRAME": _frame,
    "MARK": _begin,
    "POP": _drop,
    "POP_MARK": lambda self: self._pop_mark().clear(),
    "DUP": _value(lambda self: self._top()),
    "NONE": _value(lambda self: None),
    "NEWTRUE": _value(lambda self: True),
    "NEWFALSE": _value(lambda self: False),
    "BININT": _value(lambda self: _SIGNED.unpack(self._take(4))[0]),
    "BININT1": _value(lambda self: self._unsigned(1)),
    "BININT2": _value(lambda self: self._unsigned(2)),
    "LONG1": _value(lambda self: self._integer(1)),
    "LONG4": _value(lambda self: self._integer(4)),
    "BINFLOAT": _value(lambda self: _DOUBLE.unpack(self._take(8))[0]),
    "SHORT_BINSTRING": _value(lambda self: self._take(self._unsigned(1)).decode("latin1")),
    "SHORT_BINUNICODE": _value(lambda self: self._text(1)),
    "BINUNICODE": _value(lambda self: self._text(4)),
    "BINUNICODE8": _value(lambda self: self._text(8)),
    "SHORT_BINBYTES": _value(lambda self: self._take(self._unsigned(1))),
    "BINBYTES": _value(lambda self: self._take(self._unsigned(4))),
    "BINBYTES8": _value(lambda self: self._take(self._unsigned(8))),
    "EMPTY_LIST": _value(lambda self: self._made([], [])),
    "EMPTY_DICT": _value(lambda self: self._made({}, [])),
    "EMPTY_SET": _value(lambda self: self._made(set(), [])),
    "EMPTY_TUPLE": _value(lambda self: ()),
    "TUPLE": _value(lambda self: _tuple(self, self._pop_mark())),
    "TUPLE1": _value(_of_last(1)),
    "TUPLE2": _value(_of_last(2)),
    "TUPLE3": _value(_of_last(3)),
    "FROZENSET": _value(_frozen),
    "APPEND": lambda self: self._append([self._pop()]),
    "APPENDS": lambda self: self._append(self._pop_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda self: self._set_items(self._pop_mark()),
    "ADDITEMS": lambda self: self._add(self._pop_mark()),
    "BINGET": _value(lambda self: self._get(self._unsigned(1))),
    "LONG_BINGET": _value(lambda self: self._get(self._unsigned(4))),
    "BINPUT": lambda self: self._put(self._unsigned(1)),
    "LONG_BINPUT": lambda self: self._put(self._unsigned(4)),
    "MEMOIZE": lambda self: self._put(len(self._memo)),
    "GLOBAL": _value(lambda self: self._find(self._line(), self._line())),
    "STACK_GLOBAL": _value(_called(Unpickler._find)),
    "REDUCE": _value(_called(Unpickler._call)),
    "NEWOBJ": _value(_called(Unpickler._new)),
    "BUILD": lambda self: self._build(self._pop()),
    "BINPERSID": _value(lambda self: self._storage(self._pop())),
}
# fmt: on
_STEPS: list[Step | None] = [None] * 256
for _opcode in pickletools.opcodes:
    if _opcode.name in _NAMED:
        _STEPS[ord(_opcode.code)] = _NAMED[_opcode.name]

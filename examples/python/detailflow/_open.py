# SPDX-License-Identifier: MIT OR Apache-2.0
"""How models are opened: options, memory, readers."""

import ctypes
import io
import sys
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from . import _handle, _library, _structs
from ._errors import Error, OutOfMemory
from ._library import HANDLE, call, init_runtime
from ._types import Status


def open_with(options: Mapping[str, Any], opener: Callable[[int], int]) -> int:
    """Calls `opener` with model options; returns the handle of the model."""
    init_runtime()
    made = _library.new("model_options_new", HANDLE, None)
    try:
        with _handle.maybe(options.get("cancel")) as cancel:
            for name, value in options.items():
                _set(made, name, cancel if name == "cancel" else value)
            return opener(made)
    finally:
        _library.free("model_options", made)


def _set(made: int, name: str, value: Any) -> None:
    if name == "device_options":
        for key, text in (value or {}).items():
            call("model_options_set_device_option", made, key.encode(), text.encode())
    elif name in ("device", "precision", "form"):
        if value is not None:
            call(f"model_options_set_{name}", made, value.encode())
    elif name in ("allow_fallback", "weights_in_memory", "encoder"):
        call(f"model_options_set_{name}", made, bool(value))
    elif name in ("threads", "spinning", "cancel"):
        call(f"model_options_set_{name}", made, value)
    else:
        raise TypeError(f"Model has no option {name!r}")


def open_memory(data: Any, made: int) -> int:
    """Opens a copy of `data`. The C library frees it, so that no thread has to call Python."""
    # Before anything is allocated, since it refuses what is not contiguous.
    source = memoryview(data).cast("B")
    size = source.nbytes
    libc = ctypes.cdll.msvcrt if sys.platform == "win32" else ctypes.CDLL(None)
    libc.malloc.argtypes, libc.malloc.restype = [ctypes.c_size_t], ctypes.c_void_p
    copy = libc.malloc(max(size, 1))
    if not copy:
        raise OutOfMemory(Status.OUT_OF_MEMORY, f"the copy of the bundle takes {size} bytes")
    memoryview((ctypes.c_char * size).from_address(copy)).cast("B")[:] = source
    # Also after a failure the library has called it.
    release = ctypes.cast(libc.free, ctypes.c_void_p)
    return _library.new("model_open_memory", copy, size, release, copy, made, HANDLE, None)


def open_reader(file: BinaryIO, made: int) -> int:
    """Opens a bundle that a file object reads. What the file object raises comes out here."""
    size = file.seek(0, io.SEEK_END)
    raised: list[BaseException] = []

    def read_at(_user: int | None, offset: int, buffer: int, count: int) -> int:
        try:
            if raised or _handle.callbacks.must_end:
                return 0
            file.seek(offset)
            target = memoryview((ctypes.c_char * count).from_address(buffer)).cast("B")
            done = 0
            while done < count:
                part = file.read(count - done)
                if not part:
                    break
                target[done : done + len(part)] = part
                done += len(part)
            return done
        except BaseException as error:  # noqa: BLE001  nothing may be raised through the library
            raised.append(error)
            return 0

    reader = _structs.Reader.new(size=size, read_at=_structs.READ_AT(read_at))
    with _handle.callbacks:
        try:
            pointer = _library.new("model_open_reader", ctypes.byref(reader), made, HANDLE, None)
        except Error as error:
            if not raised:
                raise
            raise raised[0] from error
    return pointer

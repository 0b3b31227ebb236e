# SPDX-License-Identifier: MIT OR Apache-2.0
"""Loads libdetailflow, and finds ONNX Runtime."""

import ctypes
import importlib.util
import operator
import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from ._errors import InvalidArgument, NoRuntime, error_of
from ._signatures import CALLS, SIZE, U32, U64, S, declare
from ._types import Status

# The DETAILFLOW_ABI_VERSION of the header that this package was written for.
ABI_VERSION = 1
Scalar = TypeVar("Scalar", bound=np.generic)
_NAME = {"darwin": "libdetailflow.dylib", "win32": "detailflow.dll"}.get(sys.platform, "libdetailflow.so")


def _load() -> tuple[ctypes.CDLL, str]:
    named = os.environ.get("DETAILFLOW_LIBRARY")
    package = Path(__file__).resolve().parent
    inside = [package / "native" / _NAME]
    # Imported out of a checkout, as the programs beside this folder do: what was built there.
    if package.parts[-3:] == ("examples", "python", "detailflow"):
        inside.append(package.parents[2] / "target" / "release" / _NAME)
    places = [named] if named else [*map(str, inside), _NAME]
    tried = []
    for place in places:
        if Path(place) in inside and not Path(place).is_file():
            tried.append(f"{place}: no such file")
            continue
        try:
            return ctypes.CDLL(place), place
        except OSError as error:
            tried.append(f"{place}: {error}")
    remedy = (
        "the environment variable DETAILFLOW_LIBRARY must name libdetailflow"
        if named
        else "install the wheel of examples/python, or name the library with the environment variable DETAILFLOW_LIBRARY"
    )
    raise ImportError("detailflow: libdetailflow was not found; " + remedy + "".join(f"\n    {line}" for line in tried))


def _check(library: ctypes.CDLL, place: str) -> str:
    """Refuses a library that is older than this package; returns its version."""
    try:
        library.detailflow_abi_version.restype = ctypes.c_uint32
        library.detailflow_version.restype = ctypes.c_char_p
        abi, version = int(library.detailflow_abi_version()), bytes(library.detailflow_version()).decode()
    except AttributeError:
        raise ImportError(f"detailflow: {place} is not libdetailflow") from None
    if abi < ABI_VERSION:
        raise ImportError(
            f"detailflow: {place} has ABI version {abi}, this package needs {ABI_VERSION}; install a newer library"
        )
    declare(library)
    return version


_library, library_path = _load()
version = _check(_library, library_path)
abi_version = int(_library.detailflow_abi_version())
_runtime_lock = threading.Lock()
_runtime_is_ready = False


def call(name: str, *arguments: Any) -> None:
    """Calls a function that returns a status; the GIL is released. Raises an Error when it fails.

    The message is that of the thread: a thread of Python is one of the system, so no other call comes between.
    """
    checked = [_checked(name, kind, value) for kind, value in zip(CALLS[name], arguments, strict=True)]
    status = getattr(_library, "detailflow_" + name)(*checked)
    if status != 0:
        raise error_of(status, _library.detailflow_last_message().decode("utf-8", "replace"))


def _checked(name: str, kind: Any, value: Any) -> Any:
    """An argument, when C can hold it: ctypes cuts integers, and a string of C ends at its first zero byte."""
    if kind in (U32, U64, SIZE):
        return integer(name, value, 8 * ctypes.sizeof(kind))
    if kind is S and isinstance(value, bytes) and b"\0" in value:
        raise InvalidArgument(Status.INVALID_ARGUMENT, f"{name}: {value!r} has a zero byte")
    return value


def integer(name: str, value: Any, bits: int) -> int:
    """`value`, when it is an integer that an unsigned type of so many bits holds."""
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name}: {value!r} is not an integer") from None
    if not 0 <= number < 1 << bits:
        raise InvalidArgument(Status.INVALID_ARGUMENT, f"{name}: {number} is not from 0 to {(1 << bits) - 1}")
    return number


def integers(name: str, values: Iterable[Any], kind: type[Scalar]) -> npt.NDArray[Scalar]:
    """An array of unsigned integers; numpy would cut those of another array."""
    bits = 8 * np.dtype(kind).itemsize
    return np.array([integer(name, value, bits) for value in values], kind)


def new(name: str, *arguments: Any) -> int:
    """Calls a function that makes a handle; HANDLE stands for that among the arguments."""
    handle = ctypes.c_void_p()
    call(name, *(ctypes.byref(handle) if argument is HANDLE else argument for argument in arguments))
    assert handle.value is not None
    return handle.value


# See `new`.
HANDLE = object()


def free(name: str, handle: int) -> None:
    """Calls a `_free` function."""
    getattr(_library, f"detailflow_{name}_free")(handle)


def get_array(
    name: str, kind: type[Scalar], before: tuple[Any, ...], after: tuple[Any, ...] = ()
) -> npt.NDArray[Scalar]:
    """Calls a function with an output array (array, capacity, number)."""
    count = ctypes.c_size_t()
    while True:
        call(name, *before, None, 0, ctypes.byref(count), *after)
        array = np.empty(count.value, kind)
        try:
            call(name, *before, array.ctypes.data, array.size, ctypes.byref(count), *after)
        except InvalidArgument:
            # It grew in between when another thread steps.
            call(name, *before, None, 0, ctypes.byref(count), *after)
            if count.value <= array.size:
                raise
        else:
            return array[: count.value]


def get_text(get: Callable[..., None], *before: Any, after: tuple[Any, ...] = ()) -> str:
    """Calls a function with a text as output (buffer, capacity, length)."""
    length = ctypes.c_size_t()
    get(*before, None, 0, ctypes.byref(length), *after)
    buffer = ctypes.create_string_buffer(length.value + 1)
    get(*before, buffer, len(buffer), None, *after)
    return buffer.value.decode("utf-8", "replace")


def path_bytes(path: str | os.PathLike[str]) -> bytes:
    """A path as the library takes it."""
    path = os.fspath(path)
    return path.encode("utf-8") if sys.platform == "win32" else os.fsencode(path)


def find_runtime() -> Path | None:
    """The ONNX Runtime of the pip package onnxruntime in this environment. Does not import it."""
    spec = importlib.util.find_spec("onnxruntime")
    patterns = {"win32": "onnxruntime.dll", "darwin": "libonnxruntime*.dylib"}
    for folder in spec.submodule_search_locations or [] if spec else []:
        libraries = sorted(Path(folder, "capi").glob(patterns.get(sys.platform, "libonnxruntime.so*")))
        if libraries:
            return libraries[0]
    return None


def init_runtime(library: str | os.PathLike[str] | None = None) -> None:
    """Loads ONNX Runtime, once per process. Functions that need it call this.

    Without `library`: the file that the environment variable ORT_DYLIB_PATH names; otherwise that of the pip package
    onnxruntime in this environment; otherwise what libdetailflow finds (runtime/ beside it, the system's library path).
    """
    global _runtime_is_ready
    with _runtime_lock:
        if library is not None:
            _init_with(library)
        elif not _runtime_is_ready:
            _search()
        _runtime_is_ready = True


def _search() -> None:
    found = None if os.environ.get("ORT_DYLIB_PATH") else find_runtime()
    refused = None
    if found:
        try:
            return _init_with(found)
        except NoRuntime as error:
            refused = error
    try:
        call("runtime_init", None, None)
    except NoRuntime as error:
        hint = refused.message if refused else "pip install onnxruntime puts one into this environment"
        raise NoRuntime(error.status, f"{error.message}\n{hint}") from None


def _init_with(library: str | os.PathLike[str]) -> None:
    options = new("runtime_options_new", HANDLE, None)
    try:
        call("runtime_options_set_library", options, path_bytes(library))
        call("runtime_init", options, None)
    finally:
        free("runtime_options", options)


def _renew_after_fork() -> None:
    """A lock that another thread held stays locked in the child."""
    global _runtime_lock
    _runtime_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)

"""Read files that others wrote: regular files only, up to a size, and text in UTF-8.

A FIFO without a writer would block forever and a device has no end, so neither is opened.
"""

import errno
import json
import os
import stat
from pathlib import Path
from typing import Any, BinaryIO

from detailflow_onnx.errors import Refused, brief, need, shown

TEXT = 16 << 20  # bytes of a text or JSON file, unless the caller allows more

_FLAGS = os.O_RDONLY
for _name in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
    _FLAGS |= getattr(os, _name, 0)

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def check_regular(path: Path | str, mode: int) -> None:
    """Raise an `OSError` unless the mode of `stat` is that of a regular file."""
    if not stat.S_ISREG(mode):
        kind = next((name for test, name in _KINDS if test(mode)), "of an unknown kind")
        raise OSError(errno.EINVAL, f"{kind}, not a regular file", str(path))


def open_regular(path: Path | str) -> BinaryIO:
    """Open a regular file for reading; anything else is an `OSError`. Never blocks."""
    try:
        check_regular(path, os.stat(path).st_mode)  # before opening: that alone can act on a device
        handle = os.open(path, _FLAGS)
    except ValueError:
        raise OSError(errno.EINVAL, "the path holds a NUL character", None) from None
    try:
        check_regular(path, os.fstat(handle).st_mode)
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: Path | str, limit: int) -> bytes:
    """The content of a regular file of at most `limit` bytes."""
    try:
        with open_regular(path) as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    need(len(data) <= limit, f"{path}: the file is larger than {limit} bytes, the most that is read")
    return data


def decoded(data: bytes, origin: object, errors: str = "strict") -> str:
    """UTF-8 text, with or without a byte order mark. Other encodings are refused by their name where they have one.

    `errors` is that of `bytes.decode`.
    """
    for mark, name in ((b"\xff\xfe\0\0", "UTF-32"), (b"\0\0\xfe\xff", "UTF-32"), (b"\xff\xfe", "UTF-16"),
                       (b"\xfe\xff", "UTF-16")):  # fmt: skip
        need(not data.startswith(mark), f"{origin}: {name} text; UTF-8 is needed")
    need(b"\0" not in data[:2], f"{origin}: UTF-16 text or no text (a NUL character at its start); UTF-8 is needed")
    try:
        return data.decode("utf-8-sig", errors)
    except UnicodeDecodeError as error:
        raise Refused(f"{origin}: not UTF-8 text (byte {error.start})") from None


def read_text(path: Path | str, limit: int = TEXT) -> str:
    """The content of a text file in UTF-8, without a byte order mark."""
    return decoded(read_bytes(path, limit), path)


def parsed_json(text: str, origin: object) -> Any:
    """The value of a JSON text."""

    def constant(name: str) -> Any:
        raise Refused(f"{origin}: not JSON ({name} is not a JSON number)")

    try:
        return json.loads(text, parse_constant=constant)
    except RecursionError:
        raise Refused(f"{origin}: not JSON that is read here (nested too deeply)") from None
    except ValueError as error:
        raise Refused(f"{origin}: not JSON ({brief(error)})") from None


def read_json(path: Path | str, limit: int = TEXT) -> dict[str, Any]:
    """A file that holds one JSON object."""
    value = parsed_json(read_text(path, limit), path)
    need(isinstance(value, dict), f"{path}: not a JSON object")
    return dict(value)


def check_name(name: str, subject: str) -> None:
    """Refuse a name with control characters, or one that is not valid Unicode."""
    need(name.isprintable() or not _unusable(name), f"{subject} {shown(name)} holds a control character")


def _unusable(name: str) -> bool:
    """Control characters (Cc), line and paragraph separators, and halves of surrogate pairs."""
    return any(c < " " or "\x7f" <= c <= "\x9f" or c in "\u2028\u2029" or "\ud800" <= c <= "\udfff" for c in name)

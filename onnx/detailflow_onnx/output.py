"""Write files and folders atomically: beside their destination first, then renamed. On failure it is unchanged.

Temporary names are random: `.NAME.RANDOM.part`. Each is locked while it is written, so that the next writer of NAME
can tell what a killed process left behind, and deletes that. Where the system cannot exchange two folders, the old one
is `.NAME.RANDOM.old` for a moment, and put back by the next writer if the process was killed in it.
"""

import contextlib
import ctypes
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO

from detailflow_onnx.errors import Refused, exit_if_signalled, need
from detailflow_onnx.files import check_regular

fcntl: ModuleType | None
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

MANIFEST = "detailflow.json"
UNTOUCHED = 600  # seconds after which an unlocked temporary file or folder is a leftover
ATTEMPTS = 100  # at a free name
_OPEN = getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


# ---------------------------------------------------------------- temporary names
def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.{suffix}")


def _locked(handle: int) -> bool:
    """Lock an open file or folder, without waiting. False where that is impossible."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _leftovers(folder: Path, names: str, suffix: str, age: float = UNTOUCHED) -> Iterator[Path]:
    """Temporary files and folders in `folder` that no process writes. Each is locked while the caller has it.

    `names` is a regular expression of the names that they were to replace. `age`: seconds since their last change.
    """
    name = re.compile(rf"\.(?:{names})\.[0-9a-f]{{8}}\.{suffix}", re.DOTALL)
    try:
        found = [folder / entry for entry in os.listdir(folder) if name.fullmatch(entry)]
    except OSError:
        return
    for item in found:
        with contextlib.suppress(OSError):
            state = os.lstat(item)
            if not (stat.S_ISREG(state.st_mode) or stat.S_ISDIR(state.st_mode)):
                continue
            inside = item.iterdir() if stat.S_ISDIR(state.st_mode) else ()
            touched = max([state.st_mtime, *(os.lstat(part).st_mtime for part in inside)])
            if time.time() - touched < age:
                continue
            handle = os.open(item, os.O_RDONLY | _OPEN | getattr(os, "O_NOFOLLOW", 0))
            try:
                if _locked(handle) and os.path.samestat(os.fstat(handle), os.lstat(item)):
                    yield item
            finally:
                os.close(handle)


def delete_leftovers(folder: Path, names: str) -> None:
    """Delete what killed processes left behind while they wrote files whose names match the expression `names`."""
    for item in _leftovers(folder, names, "part"):
        _delete(item)


def _delete(item: Path) -> None:
    if item.is_dir() and not item.is_symlink():
        shutil.rmtree(item, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        item.unlink()


# ---------------------------------------------------------------- files
def _create(path: Path, mode: int) -> tuple[Path, int]:
    """A new, locked file beside `path`."""
    for _ in range(ATTEMPTS):
        part = _beside(path, "part")
        try:
            handle = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL | _OPEN, mode)
        except FileExistsError:
            continue
        _locked(handle)
        if fcntl is None or os.fstat(handle).st_nlink:  # it was not taken for a leftover before it was locked
            return part, handle
        os.close(handle)
    raise FileExistsError(17, "no free temporary name", str(path.parent))


@contextlib.contextmanager
def writing(path: Path | str) -> Iterator[BinaryIO]:
    """Yield a file that replaces `path` on success and is deleted on failure. The mode of a replaced file is kept.

    A link stays a link: the file that it names is replaced.
    """
    path = Path(os.path.realpath(path))
    before = os.stat(path) if path.exists() else None
    if before:
        check_regular(path, before.st_mode)
    delete_leftovers(path.parent, re.escape(path.name))
    part, handle = _create(path, 0o600 if before else 0o666)
    try:
        with os.fdopen(handle, "w+b") as file:
            if before and hasattr(os, "fchmod"):
                os.fchmod(handle, stat.S_IMODE(before.st_mode))
            yield file
            file.flush()
            os.fsync(handle)
            exit_if_signalled()
            if os.name == "posix":
                os.replace(part, path)
        if os.name != "posix":  # Windows renames no open file
            os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


def write_text(path: Path | str, text: str) -> None:
    """Write a text file atomically, in UTF-8."""
    with writing(path) as file:
        file.write(text.encode())


# ---------------------------------------------------------------- folders
def check_destination(out: Path) -> None:
    """Refuse a destination that holds anything other than a bundle."""
    _put_back(out)
    if out.is_symlink() or out.exists():
        need(out.is_dir() and not out.is_symlink(), f"{out}: exists and is not a folder")
        replaceable = (out / MANIFEST).is_file() or not any(out.iterdir())
        need(replaceable, f"{out}: the folder exists and is not a bundle; it is left unchanged")
    need(out.parent.is_dir(), f"{out.parent}: no such folder")


def _put_back(out: Path) -> None:
    """Restore the old folder if a process was killed while it replaced it; delete it if that had succeeded."""
    if not os.path.lexists(out):
        for item in _leftovers(out.parent, re.escape(out.name), "old", age=0):
            item.rename(out)
            break
    for item in _leftovers(out.parent, re.escape(out.name), "old"):
        _delete(item)


def _make_folder(out: Path) -> tuple[Path, int | None]:
    """A new folder beside `out`, and an open handle that holds its lock."""
    for _ in range(ATTEMPTS):
        work = _beside(out, "part")
        try:
            work.mkdir(0o700)
        except FileExistsError:
            continue
        if os.name != "posix":
            return work, None
        handle = os.open(work, os.O_RDONLY | _OPEN)
        _locked(handle)
        return work, handle
    raise FileExistsError(17, "no free temporary name", str(out.parent))


@contextlib.contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`. It replaces `out` on success and is deleted on failure."""
    check_destination(out)
    with temporary(out) as work:
        yield work
        exit_if_signalled()
        work.chmod(_mode(out))
        _exchange(work, out)


@contextlib.contextmanager
def temporary(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`. It is deleted in the end, if it is still there."""
    delete_leftovers(out.parent, re.escape(out.name))
    try:
        work, handle = _make_folder(out)
    except OSError as error:
        raise Refused(f"{out.parent}: {error.strerror}") from None
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        if handle is not None:
            os.close(handle)


def _mode(out: Path) -> int:
    """The mode of the folder that is replaced, or that of a new folder."""
    if out.exists():
        return stat.S_IMODE(out.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o777 & ~mask


def _swapped(first: Path, second: Path) -> bool:
    """Exchange two paths in one step. False where the system or the file system cannot."""
    if os.name != "posix":
        return False
    library = ctypes.CDLL(None, use_errno=True)
    one, two = os.fsencode(first), os.fsencode(second)
    if hasattr(library, "renameat2"):  # Linux; -100 is AT_FDCWD, 2 RENAME_EXCHANGE
        return bool(library.renameat2(-100, one, -100, two, 2) == 0)
    if hasattr(library, "renamex_np"):  # macOS; 2 is RENAME_SWAP
        return bool(library.renamex_np(one, two, 2) == 0)
    return False


def _exchange(work: Path, out: Path) -> None:
    """Rename `work` to `out`. An old folder is deleted only after that succeeded."""
    if not out.exists():
        work.rename(out)
        return
    if _swapped(work, out):
        return  # `work` is the old folder now
    old = work.with_name(work.name.removesuffix("part") + "old")
    handle = os.open(out, os.O_RDONLY | _OPEN) if os.name == "posix" else None
    try:
        if handle is not None:
            _locked(handle)
        out.rename(old)
        try:
            work.rename(out)
        except OSError:
            old.rename(out)
            raise
        shutil.rmtree(old, ignore_errors=True)
    finally:
        if handle is not None:
            os.close(handle)

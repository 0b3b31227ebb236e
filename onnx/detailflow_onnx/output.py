"""Write a folder atomically: next to its destination first, then renamed. On failure the destination is unchanged."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from detailflow_onnx.errors import Refused, exit_if_signalled, need

MANIFEST = "detailflow.json"


def check_destination(out: Path) -> None:
    """Refuse a destination that holds anything other than a bundle."""
    if out.is_symlink() or out.exists():
        need(out.is_dir() and not out.is_symlink(), f"{out}: exists and is not a folder")
        replaceable = (out / MANIFEST).is_file() or not any(out.iterdir())
        need(replaceable, f"{out}: the folder exists and is not a bundle; it is left unchanged")
    need(out.parent.is_dir(), f"{out.parent}: no such folder")


@contextlib.contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder beside `out`. It replaces `out` on success and is deleted on failure."""
    check_destination(out)
    try:
        work = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise Refused(f"{out.parent}: {error.strerror}") from None
    try:
        yield work
        exit_if_signalled()
        mask = os.umask(0)
        os.umask(mask)
        work.chmod(0o777 & ~mask)
        _exchange(work, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _exchange(work: Path, out: Path) -> None:
    """Rename `work` to `out`. The old folder is deleted only after that succeeded."""
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

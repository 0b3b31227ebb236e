"""A bundle in a single file, `.dflow`: a zip of stored entries, the data of each at a multiple of 4096 bytes.

The file is written as a stream and read entry by entry: no file of a bundle is held in memory. ONNX Runtime for Python
takes weights from files only, so a bundle in a single file is unpacked into a temporary folder while a command uses it.
"""

import contextlib
import os
import shutil
import struct
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from detailflow_onnx.bundle.reader import is_plain, read_manifest
from detailflow_onnx.errors import Refused, brief, exit_if_signalled, need, shown
from detailflow_onnx.files import open_regular
from detailflow_onnx.output import MANIFEST, writing

ALIGNMENT = 4096
PADDING = 0xD935  # the extra field that moves the data to its place
DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold: equal bundles are equal files
MOST = 4096  # entries
BLOCK = 1 << 20
_HEADER = struct.Struct("<4s5H3L2H")  # of an entry, before its name and extra fields
_ZIP64 = 20  # bytes of the extra field with long lengths
_UTF8 = 0x800  # the flag of a name that is not ASCII


# ---------------------------------------------------------------- writing
def check_destination(path: Path) -> None:
    """Refuse a destination that is anything other than a bundle in a single file."""
    need(path.parent.is_dir(), f"{path.parent}: no such folder")
    if path.is_symlink() or path.exists():
        need(path.is_file(), f"{path}: exists and is not a file")
        need(_begins_as_bundle(path), f"{path}: the file exists and is not a bundle; it is left unchanged")


def _begins_as_bundle(path: Path) -> bool:
    with open_regular(path) as file:
        head = file.read(_HEADER.size + len(MANIFEST))
    return head.startswith(b"PK\3\4") and head.endswith(MANIFEST.encode())


def write(folder: Path, path: Path) -> None:
    """Write the bundle in `folder` as the file `path`, atomically: the manifest, and the files that it lists."""
    names = [MANIFEST, *(item["path"] for item in read_manifest(folder)["files"])]
    with writing(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name in names:
            _add(archive, file, name, folder / name)


def _add(archive: zipfile.ZipFile, file: BinaryIO, name: str, path: Path) -> None:
    with open_regular(path) as source:
        entry = zipfile.ZipInfo(name, DATE)
        entry.create_system = 3  # Unix, wherever this runs
        entry.external_attr = 0o100644 << 16
        entry.file_size = os.fstat(source.fileno()).st_size
        large = entry.file_size > zipfile.ZIP64_LIMIT // 2  # sooner than zipfile itself decides so
        header = _HEADER.size + len(name.encode()) + (_ZIP64 if large else 0)
        padding = -(file.tell() + header + 6) % ALIGNMENT
        entry.extra = struct.pack("<3H", PADDING, 2 + padding, ALIGNMENT) + bytes(padding)
        with archive.open(entry, "w", force_zip64=large) as target:
            while block := source.read(BLOCK):
                exit_if_signalled()
                target.write(block)
    entry.extra = b""  # the list at the end needs no padding


# ---------------------------------------------------------------- reading
@contextlib.contextmanager
def opened(path: Path) -> Iterator[Path]:
    """Yield the folder of a bundle: `path` itself, that of its manifest, or a temporary one with what a file holds."""
    if path.name == MANIFEST and not path.is_dir():
        yield path.parent
        return
    if not path.is_file():
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="detailflow-") as name:
        folder = Path(name)
        try:
            _unpack(path, folder)
            yield folder
        except Refused as error:
            raise Refused(str(error).replace(str(folder), str(path))) from None


def _unpack(path: Path, folder: Path) -> None:
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            _check(path, file, archive, entries)
            for entry in entries:
                with archive.open(entry) as source, (folder / entry.filename).open("xb") as target:
                    shutil.copyfileobj(source, target, BLOCK)
                exit_if_signalled()
    except Refused:
        raise
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or brief(error)}") from None
    except Exception as error:  # zipfile does not document what a damaged file raises
        raise Refused(f"{path}: not a bundle in a single file ({brief(error)})") from None


def _check(path: Path, file: BinaryIO, archive: zipfile.ZipFile, entries: list[zipfile.ZipInfo]) -> None:
    """Refuse what is not written by this module or by the library."""
    need(len(entries) <= MOST, f"{path}: {len(entries)} entries; at most {MOST} are read")
    first = bool(entries) and entries[0].orig_filename == MANIFEST and entries[0].header_offset == 0
    need(first, f"{path}: not a bundle in a single file: {MANIFEST} is not its first entry")
    names: set[str] = set()
    end = 0
    for entry in entries:
        name = entry.orig_filename
        subject = f"{path}: the entry {shown(name)}"
        need(is_plain(name), f"{subject} has no plain name")
        need(name not in names, f"{subject} occurs twice")
        names.add(name)
        need(entry.compress_type == zipfile.ZIP_STORED, f"{subject} is compressed; only stored entries are read")
        need(entry.compress_size == entry.file_size, f"{subject} has two lengths")
        need(entry.header_offset >= end, f"{subject} overlaps the one before")
        begin = _data(file, entry, subject)
        need(begin % ALIGNMENT == 0, f"{subject} begins at byte {begin}, not at a multiple of {ALIGNMENT}")
        end = begin + entry.file_size
        need(end <= archive.start_dir, f"{subject} ends beyond the data of the file")


def _data(file: BinaryIO, entry: zipfile.ZipInfo, subject: str) -> int:
    """Where the data of an entry begins, by its own header, which must agree with the list."""
    file.seek(entry.header_offset)
    head = file.read(_HEADER.size)
    need(len(head) == _HEADER.size and head.startswith(b"PK\3\4"), f"{subject} has no header")
    _, _, flags, method, _, _, _, _, _, name_length, extra_length = _HEADER.unpack(head)
    for value in (flags, entry.flag_bits):
        need(value & ~_UTF8 == 0, f"{subject} is encrypted or has a data descriptor (flags {value:#06x})")
    name = file.read(name_length)
    same = method == zipfile.ZIP_STORED and name == entry.orig_filename.encode("utf-8" if flags & _UTF8 else "cp437")
    need(same, f"{subject} has another name or method in its header")
    return entry.header_offset + _HEADER.size + name_length + extra_length

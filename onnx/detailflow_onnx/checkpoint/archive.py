"""The zip around a `.pt` file: entries by name, all stored, none inflated.

The directory is read here, not with `zipfile`, so that its size is bounded and a compressed entry is refused from the
directory alone.
"""

import struct
import zlib
from typing import BinaryIO

from detailflow_onnx.errors import Refused, need, shown

MAX_DIRECTORY = 32 << 20  # bytes
MAX_ENTRIES = 1 << 17  # torch.save writes one for each tensor
MAX_NAME = 1024

_END, _END64, _LOCATOR64 = b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x07"
_LOCAL, _CENTRAL = b"PK\x03\x04", b"PK\x01\x02"
_NOT_A_ZIP = "the file is not a PyTorch checkpoint or is truncated"


class Entry:
    """An entry: `name`, `size`, `crc`, and where its header lies."""

    __slots__ = ("crc", "header", "name", "size")

    def __init__(self, name: str, header: int, size: int, crc: int) -> None:
        self.name, self.header, self.size, self.crc = name, header, size, crc


def _read(file: BinaryIO, offset: int, size: int) -> bytes:
    file.seek(offset)
    data = file.read(size)
    need(len(data) == size, f"{_NOT_A_ZIP} (it ends early)")
    return data


def _end(file: BinaryIO, length: int) -> tuple[int, int, int]:
    """(number of entries, size of the directory, its offset)."""
    tail_at = max(0, length - 22 - 0xFFFF)
    tail = _read(file, tail_at, length - tail_at)
    at = tail.rfind(_END)
    need(at >= 0 and len(tail) - at >= 22, f"{_NOT_A_ZIP} (it has no zip directory)")
    disk, first, here, count, size, offset = struct.unpack("<HHHHII", tail[at + 4 : at + 20])
    locator = tail_at + at - 20
    if locator >= 0 and _read(file, locator, 4) == _LOCATOR64:
        end64 = struct.unpack("<Q", _read(file, locator + 8, 8))[0]
        need(end64 + 56 <= locator, f"{_NOT_A_ZIP} (the end of its zip directory is elsewhere)")
        data = _read(file, end64, 56)
        need(data[:4] == _END64, f"{_NOT_A_ZIP} (the end of its zip directory is elsewhere)")
        disk, first, here, count, size, offset = struct.unpack("<IIQQQQ", data[16:56])
    need(disk == first == 0 and here == count, "the zip is one part of several, which torch.save does not write")
    need(count <= MAX_ENTRIES, f"the zip has {count} entries; at most {MAX_ENTRIES} are read")
    need(size <= MAX_DIRECTORY, f"the zip directory has {size} bytes; at most {MAX_DIRECTORY} are read")
    need(offset + size <= tail_at + at, f"{_NOT_A_ZIP} (its zip directory exceeds the file)")
    return count, size, offset


def _wide(extra: bytes, values: list[int]) -> list[int]:
    """The values with those of 0xffffffff taken from the Zip64 field of `extra`."""
    at = 0
    while at + 4 <= len(extra):
        kind, size = struct.unpack_from("<HH", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + size]
            missing = values.count(0xFFFFFFFF)
            need(len(field) >= 8 * missing, f"{_NOT_A_ZIP} (a Zip64 field is too short)")
            wide = iter(struct.unpack_from(f"<{missing}Q", field))
            return [next(wide) if value == 0xFFFFFFFF else value for value in values]
        at += 4 + size
    return values


def _entry(header: bytes, name: str, extra: bytes) -> Entry:
    flags, method, crc, packed, size = struct.unpack("<8xHH4xIII", header[:28])
    stored = method == 0 and not flags & 1
    need(stored, f"the entry {shown(name)} is compressed; torch.save does not compress")
    size, packed, offset = _wide(extra, [size, packed, struct.unpack("<I", header[42:46])[0]])
    need(size == packed, f"the entry {shown(name)} has two lengths, {packed} and {size}")
    return Entry(name, offset, size, crc)


class Archive:
    """The entries of the zip in `file`, which has `length` bytes."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file = file
        self.entries: dict[str, Entry] = {}
        count, size, self._directory = _end(file, length)
        directory, at = _read(file, self._directory, size), 0
        for _ in range(count):
            header = directory[at : at + 46]
            need(len(header) == 46 and header[:4] == _CENTRAL, f"{_NOT_A_ZIP} (its zip directory is damaged)")
            named, extra, comment = struct.unpack("<HHH", header[28:34])
            need(named <= MAX_NAME, f"the zip has a name of {named} bytes; at most {MAX_NAME} are read")
            end = at + 46 + named + extra + comment
            need(end <= size, f"{_NOT_A_ZIP} (its zip directory is damaged)")
            name = directory[at + 46 : at + 46 + named].decode("utf-8", "backslashreplace")
            need(name not in self.entries, f"the zip has two entries named {shown(name)}")
            self.entries[name] = _entry(header, name, directory[at + 46 + named : at + 46 + named + extra])
            at = end

    def location(self, entry: Entry) -> tuple[int, int]:
        """(offset in the file, length) of the bytes of an entry."""
        subject = f"the entry {shown(entry.name)}"
        need(entry.header + 30 <= self._directory, f"{subject} extends beyond the file")
        header = _read(self._file, entry.header, 30)
        need(header[:4] == _LOCAL, f"{subject} has no header")
        named, extra = struct.unpack("<HH", header[26:30])
        start = entry.header + 30 + named + extra
        need(start + entry.size <= self._directory, f"{subject} extends beyond the file")
        return start, entry.size

    def read(self, entry: Entry, limit: int) -> bytes:
        """The bytes of an entry of at most `limit` bytes."""
        text = f"the entry {shown(entry.name)} has {entry.size} bytes; at most {limit} are read"
        need(entry.size <= limit, text)
        data = _read(self._file, *self.location(entry))
        if zlib.crc32(data) != entry.crc:
            raise Refused(f"the entry {shown(entry.name)} is damaged: its checksum differs")
        return data

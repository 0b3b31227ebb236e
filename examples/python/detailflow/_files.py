# SPDX-License-Identifier: MIT OR Apache-2.0
"""Functions without an object: picture files, token files, packs, bundles, devices."""

import ctypes
import os
from collections.abc import Iterator

import numpy as np

from . import _library, _structs
from ._handle import Handle
from ._library import HANDLE, call, get_array, get_text, init_runtime, path_bytes
from ._pixels import Pixels, Tokens, source
from ._types import NO_CLASS, Damage, Device, DeviceKind, DftInfo, FileFormat, Format, TokensKind, fill


def image_save(picture: Pixels, path: str | os.PathLike[str], *, format: Format | None = None) -> None:
    """Writes pixels to a picture file; the ending chooses the format."""
    picture, image = source(picture, format)
    call("image_save", ctypes.byref(image), path_bytes(path), None)


def image_encode(picture: Pixels, file_format: FileFormat = FileFormat.PNG, *, format: Format | None = None) -> bytes:
    """A picture file in memory."""
    picture, image = source(picture, format)
    return get_array("image_encode", np.uint8, (ctypes.byref(image), file_format), (None,)).tobytes()


def dft_info(data: bytes) -> DftInfo:
    """What a token file (.dft) says."""
    info = _structs.DftInfo.new()
    call("dft_get_info", data, len(data), ctypes.byref(info), None)
    return fill(
        DftInfo,
        info,
        damage=Damage(info.damage),
        class_index=None if info.class_index == NO_CLASS else info.class_index,
        seed=info.seed if info.has_seed else None,
    )


def dft_tokens(data: bytes) -> Tokens:
    """The intact tokens of a token file."""
    return get_array("dft_get_tokens", np.uint32, (data, len(data)), (None,))


def tokens_kind(data: bytes) -> TokensKind:
    """The kind of a file that holds tokens, from its first bytes."""
    kind = ctypes.c_uint32()
    call("tokens_get_kind", data, len(data), ctypes.byref(kind), None)
    return TokensKind(kind.value)


def bundle_pack(path: str | os.PathLike[str] | None, target: str | os.PathLike[str]) -> None:
    """Writes a bundle (None: the default one) as a single file (.dflow)."""
    call("bundle_pack", None if path is None else path_bytes(path), path_bytes(target), None)


def devices() -> list[Device]:
    """The devices of this machine."""
    init_runtime()
    devices = _library.new("device_list_new", HANDLE, None)
    try:
        count = ctypes.c_size_t()
        call("device_list_get_count", devices, ctypes.byref(count), None)
        return [_device(devices, index) for index in range(count.value)]
    finally:
        _library.free("device_list", devices)


def _device(devices: int, index: int) -> Device:
    info = _structs.DeviceInfo.new()
    call("device_list_get_info", devices, index, ctypes.byref(info), None)
    metadata: dict[str, str] = {}
    for at in range(info.metadata_count):
        key, value = ctypes.c_char_p(), ctypes.c_char_p()
        call("device_list_get_metadata", devices, index, at, ctypes.byref(key), ctypes.byref(value), None)
        metadata[(key.value or b"").decode("utf-8", "replace")] = (value.value or b"").decode("utf-8", "replace")
    return fill(Device, info, kind=DeviceKind(info.kind), metadata=metadata)


class Pack(Handle):
    """An open pack of token files (.dftpack). Any number of threads may use it."""

    __slots__ = ()
    _kind = "pack"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(_library.new("pack_open", path_bytes(path), HANDLE, None))

    def __len__(self) -> int:
        count = ctypes.c_uint32()
        with self._use() as pointer:
            call("pack_get_count", pointer, ctypes.byref(count))
        return count.value

    def __getitem__(self, entry: int | str) -> bytes:
        """The token file of an entry, by its index or its name."""
        index = self.find(entry) if isinstance(entry, str) else entry
        if not 0 <= index < len(self):
            raise IndexError(entry)
        with self._use() as pointer:
            return get_array("pack_get_entry", np.uint8, (pointer, index)).tobytes()

    def __iter__(self) -> Iterator[bytes]:
        return (self[index] for index in range(len(self)))

    def find(self, name: str) -> int:
        """The index of an entry."""
        index = ctypes.c_uint32()
        with self._use() as pointer:
            call("pack_find_entry", pointer, name.encode(), ctypes.byref(index))
        return index.value

    def name(self, index: int) -> str:
        """The name of an entry; "" when it has none."""
        with self._use() as pointer:
            return get_text(lambda *a: call("pack_get_entry_name", *a), pointer, index)


class PackWriter(Handle):
    """Writes a pack; the file appears, complete, in finish(). `with` finishes it, unless an exception leaves it."""

    __slots__ = ("_is_finished",)
    _kind = "pack_writer"

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(_library.new("pack_writer_new", path_bytes(path), HANDLE, None))
        self._is_finished = False

    def add(self, data: bytes, name: str | None = None) -> int:
        """Appends a token file; returns its index."""
        index = ctypes.c_uint32()
        with self._use() as pointer:
            text = None if name is None else name.encode()
            call("pack_writer_add", pointer, text, data, len(data), ctypes.byref(index))
        return index.value

    def finish(self) -> None:
        """Puts the file in its place."""
        self._is_finished = True
        with self._use() as pointer:
            call("pack_writer_finish", pointer)

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            if kind is None and not self._is_finished:
                self.finish()
        finally:
            self.close()

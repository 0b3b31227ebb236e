# SPDX-License-Identifier: MIT OR Apache-2.0
"""Models: opening, classes, levels, decoding, encoding."""

import ctypes
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from . import _handle, _library, _open, _structs
from ._handle import Handle
from ._library import HANDLE, call, get_array, get_text, integer, integers, path_bytes
from ._pixels import Pixels, Tokens, TokensLike, empty, source, target, tokens_array
from ._types import NO_CLASS, Format, Level, MipsSource, ModelInfo, Spinning, fill

if TYPE_CHECKING:
    from ._request import Request


class Cancel(Handle):
    """Stops a generation, the opening of a model or the encoding of a picture, from any thread."""

    __slots__ = ()
    _kind = "cancel"

    def __init__(self, pointer: int | None = None) -> None:
        super().__init__(_library.new("cancel_new", HANDLE, None) if pointer is None else pointer)

    def trigger(self) -> None:
        """Stops the work. It cannot be undone."""
        with self._use() as pointer:
            call("cancel_trigger", pointer, None)


class Model(Handle):
    """An open model. Any number of threads may use it; it runs one graph at a time."""

    __slots__ = ("_classes", "_info", "_levels")
    _kind = "model"

    def __init__(self, path: str | os.PathLike[str] | None = None, **options: Any) -> None:
        """Opens a bundle: a folder, its detailflow.json, or a single file (.dflow).

        Without `path` the default one: what the environment variable DETAILFLOW_BUNDLE names, otherwise the one in this
        package. `options`: those of `open`.
        """
        raw = None if path is None else path_bytes(path)
        self._start(_open.open_with(options, lambda made: _library.new("model_open", raw, made, HANDLE, None)))

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str] | None = None,
        *,
        device: str | None = None,
        device_options: Mapping[str, str] | None = None,
        allow_fallback: bool = False,
        threads: int = 0,
        spinning: Spinning = Spinning.DEFAULT,
        precision: str | None = None,
        form: str | None = None,
        weights_in_memory: bool = False,
        encoder: bool = True,
        cancel: Cancel | None = None,
    ) -> "Model":
        """Opens a bundle. The options are those of detailflow_model_options in detailflow.h; `threads` 0 is one per core."""
        return cls(
            path,
            device=device,
            device_options=device_options,
            allow_fallback=allow_fallback,
            threads=threads,
            spinning=spinning,
            precision=precision,
            form=form,
            weights_in_memory=weights_in_memory,
            encoder=encoder,
            cancel=cancel,
        )

    @classmethod
    def open_memory(cls, data: Any, **options: Any) -> "Model":
        """Opens a single-file bundle (.dflow) in a bytes-like object, of which the library gets a copy.

        A copy, since the library tells on any thread when it needs the memory no more: that would be a callback.
        """
        return cls._opened(_open.open_with(options, lambda made: _open.open_memory(data, made)))

    @classmethod
    def open_reader(cls, file: BinaryIO, **options: Any) -> "Model":
        """Opens a single-file bundle (.dflow) that a seekable binary file object reads, such as one in an archive.

        It is read on this thread, within this call. An exception of the file object is raised here.
        """
        return cls._opened(_open.open_with(options, lambda made: _open.open_reader(file, made)))

    @classmethod
    def _opened(cls, pointer: int) -> "Model":
        model = cls.__new__(cls)
        model._start(pointer)
        return model

    def _start(self, pointer: int) -> None:
        Handle.__init__(self, pointer)
        info = _structs.ModelInfo.new()
        call("model_get_info", pointer, ctypes.byref(info))
        self._info = fill(ModelInfo, info)
        level = _structs.Level.new()
        levels, classes = [], []
        for index in range(self._info.level_count):
            call("model_get_level", pointer, index, ctypes.byref(level))
            levels.append(fill(Level, level))
        name = ctypes.c_char_p()
        for index in range(self._info.class_count):
            call("model_get_class_name", pointer, index, ctypes.byref(name))
            classes.append((name.value or b"").decode())
        self._levels, self._classes = tuple(levels), tuple(classes)

    @property
    def info(self) -> ModelInfo:
        """Properties of the model."""
        return self._info

    @property
    def levels(self) -> tuple[Level, ...]:
        """The levels, coarse to fine; the last is the full image."""
        return self._levels

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes."""
        return self._classes

    @property
    def report(self) -> str:
        """What runs where, as lines for a person."""
        with self._use() as pointer:
            return get_text(lambda *a: call("model_get_report", *a), pointer)

    def find_class(self, name: str) -> int:
        """The index of a class. For a wrong name, the error names the nearest."""
        index = ctypes.c_uint32()
        with self._use() as pointer:
            call("model_find_class", pointer, name.encode(), ctypes.byref(index))
        return index.value

    def find_level(self, level_size: int = 0) -> Level:
        """The level of a size in pixels per side; 0 is the finest."""
        level = _structs.Level.new()
        with self._use() as pointer:
            call("model_find_level", pointer, level_size, ctypes.byref(level))
        return fill(Level, level)

    def prefix_size(self, token_count: int) -> int:
        """Pixels per side of what a prefix of `token_count` tokens decode to."""
        size = ctypes.c_uint32()
        with self._use() as pointer:
            call("model_get_prefix_size", pointer, token_count, ctypes.byref(size))
        return size.value

    def request(self, class_: str | int = 0, seed: int = 0, **settings: Any) -> "Request":
        """A request for this model: see Request."""
        from ._request import Request

        return Request(self, class_, seed, **settings)

    def decode(
        self, tokens: TokensLike, level_size: int = 0, out: Pixels | None = None, *, format: Format | None = None
    ) -> Pixels:
        """Decodes tokens at a level (0: all tokens), into `out` or a new array of RGBA8 pixels; returns it.

        The format of `out` follows from its type, unless it is named.
        """
        array = tokens_array(tokens)
        if out is None:
            out, image = empty(level_size or self.prefix_size(array.size), format)
        else:
            image = target(out, format)
        with self._use() as pointer:
            call("model_decode", pointer, array.ctypes.data, array.size, level_size, ctypes.byref(image))
        return out

    def decode_mips(
        self, tokens: TokensLike, outs: Sequence[Pixels], *, from_finest: bool = False, format: Format | None = None
    ) -> None:
        """Decodes tokens into square arrays of several sizes, such as the mip chain of a texture."""
        array = tokens_array(tokens)
        images = (_structs.Image * len(outs))(*(target(out, format) for out in outs))
        kind = MipsSource.FINEST if from_finest else MipsSource.LEVELS
        with self._use() as pointer:
            call("model_decode_mips", pointer, array.ctypes.data, array.size, kind, ctypes.byref(images), len(outs))

    def encode(
        self, picture: Pixels, *, format: Format | None = None, effort: int = 0, cancel: Cancel | None = None
    ) -> Tokens:
        """Encodes pixels into tokens: the largest square in the middle, resized to the size of the model.

        With an effort (1 to 4) it searches for tokens that decode to the picture with less error. `cancel` stops that, which
        raises Cancelled.
        """
        picture, image = source(picture, format)
        with self._use() as pointer, _handle.maybe(cancel) as stop:
            return get_array("model_encode_with_effort", np.uint32, (pointer, ctypes.byref(image), effort, stop))

    def encode_file(
        self, path: str | os.PathLike[str], *, effort: int = 0, cancel: Cancel | None = None
    ) -> Tokens:
        """Encodes a picture file: png, jpg, webp, bmp, tga, tiff, qoi, gif, ico, pnm. See `encode`."""
        tokens = np.empty(self._info.token_count, np.uint32)
        count = ctypes.c_size_t()
        with self._use() as pointer, _handle.maybe(cancel) as stop:
            arguments = (effort, stop, tokens.ctypes.data, tokens.size, ctypes.byref(count))
            call("model_encode_file_with_effort", pointer, path_bytes(path), *arguments)
        return tokens[: count.value]

    def encode_data(self, data: bytes) -> Tokens:
        """Encodes the bytes of a picture file: png, jpg, webp, bmp, tiff, qoi."""
        tokens = np.empty(self._info.token_count, np.uint32)
        count = ctypes.c_size_t()
        with self._use() as pointer:
            arguments = (tokens.ctypes.data, tokens.size, ctypes.byref(count))
            call("model_encode_data", pointer, data, len(data), *arguments)
        return tokens[: count.value]

    def score(self, class_: str | int, tokens: TokensLike) -> npt.NDArray[np.float32]:
        """The log-probability of each token for a class."""
        array, values, count = tokens_array(tokens), np.empty(len(tokens), np.float32), ctypes.c_size_t()
        with self._use() as pointer:
            arguments = (array.ctypes.data, array.size, values.ctypes.data, values.size, ctypes.byref(count))
            call("model_score", pointer, self._class_index(class_), *arguments)
        return values[: count.value]

    def calibrate(self, batch_sizes: Iterable[int] = (1,)) -> None:
        """Measures steps and decodes, for predictions; the result is kept in the user's cache directory."""
        sizes = integers("model_calibrate", batch_sizes, np.uint32)
        with self._use() as pointer:
            call("model_calibrate", pointer, sizes.ctypes.data, sizes.size)

    def predict_decode(self, token_count: int) -> int:
        """Predicted nanoseconds to decode one image; 0 when nothing was measured yet."""
        time = ctypes.c_uint64()
        with self._use() as pointer:
            call("model_predict_decode", pointer, token_count, ctypes.byref(time))
        return time.value

    def dft_encode(self, tokens: TokensLike, class_: str | int | None = None, seed: int | None = None) -> bytes:
        """A token file (.dft) of tokens."""
        array = tokens_array(tokens)
        index = NO_CLASS if class_ is None else self._class_index(class_)
        number = None if seed is None else ctypes.byref(ctypes.c_uint64(integer("seed", seed, 64)))
        with self._use() as pointer:
            before = (pointer, array.ctypes.data, array.size, index, number)
            return get_array("dft_encode", np.uint8, before).tobytes()

    def dft_check(self, data: bytes) -> None:
        """Raises InvalidArgument when the tokens of a token file do not belong to this model."""
        with self._use() as pointer:
            call("dft_check", pointer, data, len(data))

    def _class_index(self, class_: str | int) -> int:
        return self.find_class(class_) if isinstance(class_, str) else class_

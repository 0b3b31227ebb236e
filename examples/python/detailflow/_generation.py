# SPDX-License-Identifier: MIT OR Apache-2.0
"""Generations: requests being generated, or finished."""

import asyncio
import ctypes
import os
from collections.abc import AsyncIterator, Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from . import _library, _structs
from ._errors import Error, InvalidArgument
from ._handle import Handle, close_at_exit
from ._library import HANDLE, call, get_array, integers, path_bytes
from ._model import Cancel, Model
from ._pixels import Pixels, Tokens, empty, target
from ._request import Request
from ._types import Format, Progress, fill

# Long calls are made in parts of so many nanoseconds: between two of them Python handles signals.
_SLICE_NS = 50_000_000


class Generation(Handle):
    """A request being generated, or finished.

    One thread steps it; all others may look at it meanwhile: progress, tokens, decode, decode_level, save, cancel.
    """

    __slots__ = ("_end", "_model")
    _kind = "generation"

    def __init__(self, request: Request) -> None:
        with request._use() as pointer:
            self._start(_library.new("generation_new", pointer, HANDLE), request.model, request._level_size)

    @classmethod
    def _made(cls, pointer: int, model: Model, end: int) -> "Generation":
        generation = cls.__new__(cls)
        generation._start(pointer, model, end)
        return generation

    def _start(self, pointer: int, model: Model, end: int) -> None:
        Handle.__init__(self, pointer)
        self._model = model
        # The level at which it ends; 0 is the finest.
        self._end = end
        close_at_exit(self)

    def _interrupt(self, pointer: int) -> None:
        _trigger(pointer)

    @property
    def model(self) -> Model:
        """The model that generates it."""
        return self._model

    @property
    def progress(self) -> Progress:
        """Its state after the last finished step."""
        return self._progress("get_progress")

    def step(self) -> Progress:
        """Does one step: one token of each image in the causal part, a group of tokens after it."""
        return self._progress("step")

    def advance(self, seconds: float) -> Progress:
        """Does at least one step, and further ones as long as the next should end within the time."""
        return self._progress("advance", max(0, int(seconds * 1e9)))

    def advance_to_level(self, level_size: int = 0) -> Progress:
        """Does steps until a level is complete; 0 is the one that the request ends at."""
        if level_size in (0, self._end):
            return self.finish()
        sizes = [level.level_size for level in self._model.levels]
        # In steps, so that Control-C ends it; what does not fit is refused before the first.
        if level_size in sizes and level_size < (self._end or sizes[-1]):
            progress = self.progress
            while progress.level_size < level_size:
                progress = self.step()
        return self._progress("advance_to_level", level_size)

    def finish(self) -> Progress:
        """Does all steps that are left. Control-C ends it between two of them."""
        progress = self._progress("advance", _SLICE_NS)
        while progress.steps_left > 0:
            progress = self._progress("advance", _SLICE_NS)
        return progress

    def levels(self) -> "Levels":
        """Steps from level to level: `for progress in generation.levels()`, or `async for`."""
        return Levels(self)

    def tokens(self, image: int = 0) -> Tokens:
        """The tokens of one image so far."""
        with self._use() as pointer:
            return get_array("generation_get_tokens", np.uint32, (pointer, image))

    def decode(self, image: int = 0, out: Pixels | None = None, *, format: Format | None = None) -> Pixels:
        """Decodes all tokens of one image so far, into `out` or a new array of RGBA8 pixels; returns it."""
        return self._decode("decode", lambda progress: progress.prefix_size, image, out, format)

    def decode_level(self, image: int = 0, out: Pixels | None = None, *, format: Format | None = None) -> Pixels:
        """Decodes the finest complete level of one image, into `out` or a new array of RGBA8 pixels; returns it."""
        return self._decode("decode_level", lambda progress: progress.level_size, image, out, format)

    def save(self, path: str | os.PathLike[str], image: int = 0) -> None:
        """Writes one image, of all tokens so far, to a picture file; the ending chooses the format."""
        with self._use() as pointer:
            call("generation_save", pointer, image, path_bytes(path))

    def source(self, image: int = 0) -> tuple[int, int]:
        """Class and seed of one image."""
        index, seed = ctypes.c_uint32(), ctypes.c_uint64()
        with self._use() as pointer:
            call("generation_get_image_source", pointer, image, ctypes.byref(index), ctypes.byref(seed))
        return index.value, seed.value

    def log_probabilities(self, image: int = 0) -> npt.NDArray[np.float32]:
        """The log-probability of each generated token, when the request records them."""
        with self._use() as pointer:
            return get_array("generation_get_log_probabilities", np.float32, (pointer, image))

    def mean_log_probability(self, image: int = 0) -> float:
        """The mean of log_probabilities."""
        mean = ctypes.c_float()
        with self._use() as pointer:
            call("generation_get_mean_log_probability", pointer, image, ctypes.byref(mean))
        return mean.value

    def fork(self, seeds: Sequence[int]) -> "Generation":
        """One with the same tokens so far, which goes on with other seeds: one for each image."""
        array = integers("generation_fork", seeds, np.uint64)
        with self._use() as pointer:
            made = _library.new("generation_fork", pointer, array.ctypes.data, array.size, HANDLE)
        return self._made(made, self._model, self._end)

    def retain(self, images: Sequence[int]) -> None:
        """Goes on with these images only, numbered from 0 in this order."""
        array = integers("generation_retain_images", images, np.uint32)
        with self._use() as pointer:
            call("generation_retain_images", pointer, array.ctypes.data, array.size)

    def set_level_size(self, level_size: int) -> None:
        """Changes the level at which it ends; 0 is the finest."""
        with self._use() as pointer:
            call("generation_set_level_size", pointer, level_size)
        self._end = level_size

    def cancel(self) -> None:
        """Stops it within one step, from any thread: that step and later ones raise Cancelled. Tokens are kept."""
        with self._use() as pointer:
            _trigger(pointer)

    def cancel_handle(self) -> Cancel:
        """What cancels it, also after it was given to a worker."""
        with self._use() as pointer:
            return Cancel(_library.new("generation_get_cancel", pointer, HANDLE))

    def _progress(self, name: str, *values: int) -> Progress:
        progress = _structs.Progress.new()
        with self._use() as pointer:
            call(f"generation_{name}", pointer, *values, ctypes.byref(progress))
        return fill(Progress, progress)

    def _decode(
        self,
        name: str,
        side_of: Callable[[Progress], int],
        image: int,
        out: Pixels | None,
        format: Format | None,
    ) -> Pixels:
        with self._use() as pointer:
            if out is not None:
                given = target(out, format)
                call(f"generation_{name}", pointer, image, ctypes.byref(given))
                return out
            while True:
                # At least 1, so that the library says what is wrong when there is no level yet.
                side = max(1, side_of(self.progress))
                array, struct = empty(side, format)
                try:
                    call(f"generation_{name}", pointer, image, ctypes.byref(struct))
                    return array
                except InvalidArgument:
                    # Another thread has completed a level in between.
                    if side_of(self.progress) == side:
                        raise

    def _next_level(self, shown: int) -> Progress | None:
        progress = self.progress
        while progress.steps_left > 0:
            progress = self.step()
            if progress.level_size > shown:
                return progress
        return None


def _trigger(pointer: int) -> None:
    cancel = _library.new("generation_get_cancel", pointer, HANDLE)
    try:
        call("cancel_trigger", cancel, None)
    finally:
        _library.free("cancel", cancel)


class Levels(Iterator[Progress], AsyncIterator[Progress]):
    """The levels that a generation completes from now on.

    With `async for`, steps are done on a thread of the event loop's executor. When the task is cancelled, so is the
    generation, and the thread has left it before CancelledError goes on.
    """

    def __init__(self, generation: Generation) -> None:
        self._generation = generation
        self._shown = generation.progress.level_size

    def __iter__(self) -> "Levels":
        return self

    def __next__(self) -> Progress:
        progress = self._generation._next_level(self._shown)
        if progress is None:
            raise StopIteration
        self._shown = progress.level_size
        return progress

    def __aiter__(self) -> "Levels":
        return self

    async def __anext__(self) -> Progress:
        steps = asyncio.get_running_loop().run_in_executor(None, self._generation._next_level, self._shown)
        try:
            progress = await asyncio.shield(steps)
        except asyncio.CancelledError:
            if not self._generation.closed:
                self._generation.cancel()
            await asyncio.wait([steps])
            if not steps.cancelled() and isinstance(steps.exception(), Error):
                pass  # Cancelled, which nobody waits for any more
            raise
        if progress is None:
            raise StopAsyncIteration
        self._shown = progress.level_size
        return progress

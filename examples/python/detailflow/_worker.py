# SPDX-License-Identifier: MIT OR Apache-2.0
"""Workers: requests generated in the background, or within the frames of a game. Events are polled.

Callbacks of a worker are not bound: they come on its threads, and a thread that enters Python while that ends is stopped by
pthread_exit in the middle of the library, which aborts the process.
"""

import asyncio
import ctypes
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

import numpy as np

from . import _library, _structs
from ._errors import Error, error_of
from ._generation import Generation
from ._handle import Handle, close_at_exit
from ._library import HANDLE, call, get_array, get_text
from ._model import Model
from ._pixels import Pixels, Tokens, empty, target
from ._request import Request
from ._types import EventKind, Format, Status, SubmitFlag, TickReport, WorkerOrder, fill

# wait() returns to Python after so many nanoseconds, to handle signals.
_SLICE_NS = 50_000_000
# How often `async for` looks for events, in seconds.
_POLL = 0.004


class Event(Handle):
    """Something that happened to a job, with its tokens at that moment. It stays valid after its worker was closed."""

    __slots__ = ("_info",)
    _kind = "event"

    def __init__(self, pointer: int) -> None:
        super().__init__(pointer)
        self._info = _structs.EventInfo.new()
        call("event_get_info", pointer, ctypes.byref(self._info), None)

    def __repr__(self) -> str:
        return f"<Event {self.kind.name} of job {self.job}, {self.level_size} px>"

    @property
    def kind(self) -> EventKind:
        """What happened."""
        return EventKind(self._info.kind)

    @property
    def is_last(self) -> bool:
        """True for the last event of its job."""
        return self.kind != EventKind.LEVEL

    @property
    def job(self) -> int:
        """The number of the job."""
        return int(self._info.job)

    @property
    def user(self) -> int:
        """What was given to submit."""
        return int(self._info.user)

    @property
    def image_count(self) -> int:
        """Images of the job."""
        return int(self._info.image_count)

    @property
    def token_count(self) -> int:
        """Tokens of each image."""
        return int(self._info.token_count)

    @property
    def level_size(self) -> int:
        """Pixels per side of the finest level that was complete; 0 before the first."""
        return int(self._info.level_size)

    @property
    def steps_left(self) -> int:
        """Steps that were left."""
        return int(self._info.steps_left)

    @property
    def is_decoded(self) -> bool:
        """True when the worker has decoded the level already."""
        return bool(self._info.decoded)

    @property
    def message(self) -> str:
        """Why the job was cancelled or failed."""
        with self._use() as pointer:
            return get_text(lambda *a: call("event_get_job_message", *a), pointer, after=(None,))

    @property
    def error(self) -> Error | None:
        """Why the job was cancelled or failed, as an exception to raise; None for other events."""
        status = self._info.status
        return None if status == Status.OK else error_of(status, self.message)

    def tokens(self, image: int = 0) -> Tokens:
        """The tokens that one image had."""
        with self._use() as pointer:
            return get_array("event_get_tokens", np.uint32, (pointer, image), (None,))

    def decode(self, image: int = 0, out: Pixels | None = None, *, format: Format | None = None) -> Pixels:
        """The finest complete level of one image, in `out` or a new array of RGBA8 pixels; returns it."""
        if out is None:
            out, struct = empty(max(1, self.level_size), format)
        else:
            struct = target(out, format)
        with self._use() as pointer:
            call("event_decode_level", pointer, image, ctypes.byref(struct), None)
        return out


class Worker(Handle):
    """Generates submitted requests on threads of its own; with `threads` 0 within tick(), on the thread that calls it."""

    __slots__ = ("_jobs", "_jobs_lock")
    _kind = "worker"

    def __init__(
        self,
        threads: int = 1,
        *,
        order: WorkerOrder = WorkerOrder.DEFAULT,
        batch_size: int = 0,
        batch_bytes: int | None = None,
        event_bytes: int | None = None,
    ) -> None:
        """Starts a worker. The settings are those of detailflow_worker_options in detailflow.h."""
        options = _library.new("worker_options_new", HANDLE, None)
        try:
            settings = {"threads": threads, "order": order, "batch_size": batch_size}
            more = {"batch_bytes": batch_bytes, "event_bytes": event_bytes}
            for name, value in {**settings, **more}.items():
                if value is not None:
                    call(f"worker_options_set_{name}", options, value)
            super().__init__(_library.new("worker_new", options, HANDLE, None))
        finally:
            _library.free("worker_options", options)
        # What jobs need until their last event was taken: their model, and the memory of their targets.
        self._jobs: dict[int, tuple[Model, list[Pixels]]] = {}
        self._jobs_lock = threading.Lock()
        close_at_exit(self)

    def submit(
        self,
        work: Request | Generation,
        user: int = 0,
        *,
        flags: SubmitFlag | int = 0,
        priority: float = 0,
        targets: Mapping[int, Pixels | Sequence[Pixels]] | None = None,
        format: Format | None = None,
    ) -> int:
        """Submits a request, or a generation, which is used up: it is closed afterwards. Returns the number of the job.

        `targets`: where the pixels of an image go, an array or a chain of them; each level that is reported is written
        there before its event. The arrays are kept until the last event of the job was taken.
        """
        if isinstance(work, Generation):
            if priority != 0 or targets:
                raise ValueError("a generation is submitted without priority and targets; see set_priority")
            return self._submit_generation(work, user, flags)
        kept = {image: [out] if isinstance(out, np.ndarray) else list(out) for image, out in (targets or {}).items()}
        options = _library.new("submit_options_new", HANDLE, None)
        try:
            call("submit_options_set_user", options, user)
            call("submit_options_set_flags", options, flags)
            call("submit_options_set_priority", options, priority)
            for image, outs in kept.items():
                images = (_structs.Image * len(outs))(*(target(out, format) for out in outs))
                call("submit_options_set_target", options, image, ctypes.byref(images), len(outs))
            job = ctypes.c_uint64()
            with self._use() as pointer, work._use() as request, self._jobs_lock:
                call("worker_submit_with", pointer, request, options, ctypes.byref(job))
                self._jobs[job.value] = (work.model, [out for outs in kept.values() for out in outs])
        finally:
            _library.free("submit_options", options)
        return job.value

    def _submit_generation(self, generation: Generation, user: int, flags: int) -> int:
        job = ctypes.c_uint64()
        generation._check()
        with self._use() as pointer, self._jobs_lock:
            given = generation._take()
            try:
                call("worker_submit_generation", pointer, given, user, flags, ctypes.byref(job))
            except BaseException:
                generation._give_back(given)
                raise
            self._jobs[job.value] = (generation.model, [])
        return job.value

    def poll(self) -> Event | None:
        """Takes the next event; None when there is none."""
        return self._take_event("poll")

    def wait(self, timeout: float | None = None) -> Event | None:
        """Takes the next event, and waits for it: `timeout` seconds, None without limit. None when there was none.

        Control-C ends it within 50 ms, and so does close() from another thread.
        """
        deadline = None if timeout is None else time.monotonic_ns() + int(timeout * 1e9)
        while True:
            left = _SLICE_NS if deadline is None else max(0, deadline - time.monotonic_ns())
            event = self._take_event("wait", min(left, _SLICE_NS))
            if event is not None or left == 0:
                return event

    def events(self) -> "Events":
        """Events until no job is pending: `for event in worker.events()`, or `async for`."""
        return Events(self)

    def _take_event(self, name: str, *values: int) -> Event | None:
        pointer = ctypes.c_void_p()
        with self._use() as worker:
            call(f"worker_{name}", worker, *values, ctypes.byref(pointer))
        if pointer.value is None:
            return None
        event = Event(pointer.value)
        if event.is_last:
            with self._jobs_lock:
                kept = self._jobs.pop(event.job, None)
            del kept
        return event

    @property
    def pending(self) -> int:
        """Jobs whose last event was not taken yet."""
        count = ctypes.c_size_t()
        with self._use() as pointer:
            call("worker_get_pending", pointer, ctypes.byref(count))
        return count.value

    def tick(self, seconds: float) -> TickReport:
        """Drives a worker without threads for one frame: does what should fit into the time, at least one unit."""
        report = _structs.TickReport.new()
        with self._use() as pointer:
            call("worker_tick", pointer, max(0, int(seconds * 1e9)), ctypes.byref(report))
        return fill(TickReport, report)

    def cancel(self, job: int) -> None:
        """Cancels a job; its last event follows."""
        self._call("cancel", job)

    def cancel_all(self) -> None:
        """Cancels all jobs that were submitted so far."""
        self._call("cancel_all")

    def set_priority(self, job: int, priority: float) -> None:
        """Changes the priority of a job."""
        self._call("set_priority", job, priority)

    def pause(self, job: int) -> None:
        """Pauses a job; it keeps its tokens."""
        self._call("pause", job)

    def resume(self, job: int) -> None:
        """Lets a paused job go on."""
        self._call("resume", job)

    def continue_to(self, job: int, level_size: int = 0) -> None:
        """Changes the level at which a job ends or is held; 0 is the finest. A held job goes on."""
        self._call("continue", job, level_size)

    def _call(self, name: str, *values: float) -> None:
        with self._use() as pointer:
            call(f"worker_{name}", pointer, *values)

    def _interrupt(self, pointer: int) -> None:
        # Cancels the jobs; without a callback nothing is waited for.
        call("worker_close", pointer, 0)

    def _free(self, pointer: int) -> None:
        super()._free(pointer)
        with self._jobs_lock:
            kept, self._jobs = self._jobs, {}
        del kept


class Events(Iterator[Event], AsyncIterator[Event]):
    """The events of a worker until no job is pending. An event of a failed job is given like any other: see its `error`.

    `async for` looks for events every few milliseconds, on the event loop's own thread.
    """

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    def __iter__(self) -> "Events":
        return self

    def __next__(self) -> Event:
        while self._worker.pending > 0:
            event = self._worker.wait(_SLICE_NS / 1e9)
            if event is not None:
                return event
        raise StopIteration

    def __aiter__(self) -> "Events":
        return self

    async def __anext__(self) -> Event:
        while self._worker.pending > 0:
            event = self._worker.poll()
            if event is not None:
                return event
            await asyncio.sleep(_POLL)
        raise StopAsyncIteration

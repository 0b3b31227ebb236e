# SPDX-License-Identifier: MIT OR Apache-2.0
"""What all owners have in common: `with`, close, threads, the end of the process, fork."""

import atexit
import contextlib
import os
import threading
import weakref
from collections.abc import Iterator
from types import TracebackType
from typing import NoReturn, Self

from ._errors import Closed, WrongState
from ._library import free
from ._types import Status


class Handle:
    """Owns a handle of the library.

    close() may come at any time, from any thread: while another thread is inside a call with the handle, that call ends
    first, and frees it. Later calls raise Closed.
    """

    __slots__ = ("__weakref__", "_is_closed", "_lock", "_pid", "_pointer", "_users")
    # The functions of the library are detailflow_KIND_*.
    _kind = ""

    def __init__(self, pointer: int) -> None:
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._users = 0
        self._is_closed = False
        self._pointer: int | None = pointer

    @property
    def closed(self) -> bool:
        """True once close() was called."""
        return self._is_closed

    def close(self) -> None:
        """Frees the handle. Again: does nothing."""
        if self._pid != os.getpid():
            self._is_closed = True
            return
        with self._lock:
            was_closed, self._is_closed = self._is_closed, True
            users, pointer = self._users, self._pointer
            if was_closed or pointer is None:
                return
            if users == 0:
                self._pointer = None
            else:
                self._users += 1
        if users == 0:
            self._free(pointer)
        else:
            try:
                self._interrupt(pointer)
            finally:
                self._leave()

    def _free(self, pointer: int) -> None:
        free(self._kind, pointer)

    def _interrupt(self, pointer: int) -> None:
        """Called by close() while another thread is inside a call."""

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Without attributes when __init__ did not come so far. After the exit hook the process ends anyway; later still
        # the globals of this module are None.
        if _ended is False and getattr(self, "_pointer", None) is not None:
            self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{type(self).__name__} cannot be pickled: open one in each process")

    def _check(self) -> None:
        if self._pid != os.getpid():
            raise WrongState(
                Status.WRONG_STATE,
                f"{type(self).__name__} belongs to the parent of this process, and cannot be used after fork(); "
                'start processes with multiprocessing.get_context("spawn")',
            )
        if self._is_closed:
            raise Closed(Status.WRONG_STATE, f"{type(self).__name__} is closed")

    def _use(self) -> "Use":
        return Use(self)

    def _enter(self) -> int:
        self._check()
        with self._lock:
            if self._is_closed or self._pointer is None:
                raise Closed(Status.WRONG_STATE, f"{type(self).__name__} is closed")
            self._users += 1
            return self._pointer

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            pointer = self._pointer if self._is_closed and self._users == 0 else None
            if pointer is not None:
                self._pointer = None
        if pointer is not None:
            self._free(pointer)

    def _take(self) -> int:
        """Gives the pointer away: the handle is closed, and is not freed here. Nobody may be inside a call."""
        with self._lock:
            if self._is_closed or self._pointer is None or self._users > 0:
                raise Closed(Status.WRONG_STATE, f"{type(self).__name__} is closed, or another thread uses it")
            self._is_closed, pointer = True, self._pointer
            self._pointer = None
            return pointer

    def _give_back(self, pointer: int) -> None:
        with self._lock:
            self._is_closed, self._pointer = False, pointer


class Use:
    """A call with a handle: `with handle._use() as pointer`."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle) -> None:
        self._handle = handle

    def __enter__(self) -> int:
        return self._handle._enter()

    def __exit__(self, *_: object) -> None:
        self._handle._leave()


# Workers and generations, which work in other threads.
_working: "weakref.WeakSet[Handle]" = weakref.WeakSet()
_working_lock = threading.RLock()
_ended = False


def close_at_exit(handle: Handle) -> None:
    """Closes the handle when the process ends, if it is still there."""
    with _working_lock:
        _working.add(handle)


class Callbacks:
    """Calls in which the library calls Python, on the thread that made them. The end of Python waits for them.

    A thread that enters Python when it has ended is stopped by pthread_exit, in the middle of the library.
    """

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._count = 0
        self.must_end = False

    def __enter__(self) -> None:
        with self._condition:
            if self.must_end:
                raise WrongState(Status.WRONG_STATE, "Python is ending")
            self._count += 1

    def __exit__(self, *_: object) -> None:
        with self._condition:
            self._count -= 1
            self._condition.notify_all()

    def end(self) -> None:
        """Waits for all. They end soon: `must_end` makes their callbacks fail."""
        with self._condition:
            self.must_end = True
            self._condition.wait_for(lambda: self._count == 0)


callbacks = Callbacks()


def _at_exit() -> None:
    global _ended
    callbacks.end()
    with _working_lock:
        working = list(_working)
    for handle in working:
        handle.close()
    _ended = True


def _renew_after_fork() -> None:
    """In the child, locks that other threads of the parent held would stay locked."""
    global callbacks, _working_lock
    callbacks, _working_lock = Callbacks(), threading.RLock()


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)


@contextlib.contextmanager
def maybe(handle: Handle | None) -> Iterator[int | None]:
    """A call with a handle that may be missing."""
    if handle is None:
        yield None
    else:
        with handle._use() as pointer:
            yield pointer

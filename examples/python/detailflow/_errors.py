# SPDX-License-Identifier: MIT OR Apache-2.0
"""Exceptions: one for each status that a program may want to tell apart."""

from ._types import Status


class Error(Exception):
    """A call failed. `status` is for the program, `message` for a person."""

    status: Status
    message: str

    def __init__(self, status: int, message: str) -> None:
        super().__init__(status, message)
        try:
            self.status = Status(status)
        except ValueError:  # that of a newer library
            self.status = Status.FAILED
        self.message = message

    @property
    def name(self) -> str:
        """The name of the status, such as DETAILFLOW_STATUS_BUSY."""
        return f"DETAILFLOW_STATUS_{self.status.name}"

    def __str__(self) -> str:
        return f"{self.status.name}: {self.message}"


class InvalidArgument(Error, ValueError):
    """An argument is out of range, or does not fit the model."""


class NotFound(Error):
    """A named file, folder or entry does not exist, or there is no default bundle."""


class NoRuntime(Error):
    """ONNX Runtime is missing, unusable or too old."""


class NoDevice(Error):
    """The device cannot be used."""


class OutOfMemory(Error, MemoryError):
    """Memory could not be allocated. A smaller request may work."""


class Cancelled(Error):
    """The work was cancelled."""


class WrongState(Error):
    """The call does not fit the state of the object or of the process, such as a child of fork()."""


class Closed(WrongState, ValueError):
    """The object was closed."""


class Busy(Error):
    """Another thread is inside a call with this object."""


_KINDS: dict[int, type[Error]] = {
    Status.INVALID_ARGUMENT: InvalidArgument,
    Status.NOT_FOUND: NotFound,
    Status.NO_RUNTIME: NoRuntime,
    Status.NO_DEVICE: NoDevice,
    Status.OUT_OF_MEMORY: OutOfMemory,
    Status.CANCELLED: Cancelled,
    Status.WRONG_STATE: WrongState,
    Status.BUSY: Busy,
}


def error_of(status: int, message: str) -> Error:
    """The exception for a status."""
    return _KINDS.get(status, Error)(status, message)

"""This process among those of a training run: its device and rank, its random numbers, and requests to stop."""

import contextlib
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import Any

import torch
from torch import distributed

from detailflow_onnx.errors import Refused


def _default_device(local: int) -> str:
    if torch.cuda.is_available():
        return f"cuda:{local}"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class Process:
    """Device and rank; `torchrun` sets the environment variables of the latter."""

    def __init__(self, device: str | None = None) -> None:
        self.rank, self.world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        local = int(os.environ.get("LOCAL_RANK", 0))
        if device == "cuda" and self.world > 1:
            device = f"cuda:{local}"
        if device is None:
            device = _default_device(local)
        try:
            self.device = torch.device(device)
            torch.empty(1, device=self.device)
        except (RuntimeError, AssertionError) as error:
            raise Refused(f"--device {device}: {str(error).splitlines()[0]}") from None
        if self.world > 1 and not distributed.is_initialized():
            distributed.init_process_group("nccl" if self.device.type == "cuda" else "gloo")

    @property
    def first(self) -> bool:
        """Whether this process writes files and messages."""
        return self.rank == 0

    def leave(self, status: int) -> None:
        """Exit if this is one of several processes, after all of them are done.

        `os._exit` is used because tearing down the threads of the connection with the interpreter can abort.
        """
        if self.world > 1:
            distributed.barrier()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)

    def autocast(self, precision: str) -> contextlib.AbstractContextManager[Any]:
        """The context of forward passes in a precision."""
        if precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()


def seed_all(seed: int, step: int, rank: int = 0) -> None:
    """Seed the global generators for a step."""
    torch.manual_seed((seed * 1_000_003 + step) * 4099 + rank)


class StopRequest:
    """Whether Ctrl-C or SIGTERM asked to stop: the step is then finished and saved. A second one stops at once."""

    def __init__(self) -> None:
        self.stop, self.since = False, 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "StopRequest":
        if threading.current_thread() is threading.main_thread():
            signals = (signal.SIGINT, signal.SIGTERM)
            self._before = {number: signal.signal(number, self._on_signal) for number in signals}
        return self

    def agreed(self, process: Process) -> bool:
        """Whether to stop after this step; several processes agree on the same step."""
        if process.world > 1:
            told = torch.tensor([float(self.stop)], device=process.device)
            distributed.all_reduce(told)
            self.stop = bool(told.item())
        return self.stop

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.stop and time.monotonic() > self.since + 2:  # torchrun repeats a signal that the terminal already sent
            raise KeyboardInterrupt
        if self.stop:
            return
        self.stop, self.since = True, time.monotonic()
        print("stopping after this step; a second signal stops at once", file=sys.stderr, flush=True)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

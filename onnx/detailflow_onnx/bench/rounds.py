"""Timing in interleaved rounds, so that a machine whose speed changes treats all contestants alike.

`measure` runs the rounds in this process. `serve` runs one round for each line on standard input, for a process that
takes turns with others; `Served` is such a process seen from outside.
"""

import contextlib
import json
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from detailflow_onnx.errors import Refused

About = dict[str, Any]  # describes a contestant; `batch` is the number of pictures per round
Times = Mapping[str, Any]  # milliseconds of a round: `ms`, and parts of it
Contestant = tuple[About, Callable[[], Times]]
Spread = tuple[float, float, float]  # median, least, most


def spread(values: Sequence[float]) -> Spread:
    """(median, least, most)."""
    return statistics.median(values), min(values), max(values)


def summary(about: About, rounds: Sequence[Times]) -> dict[str, Any]:
    """One entry of `results`: the contestant and the medians of its rounds."""
    each = [entry["ms"] / about["batch"] for entry in rounds]
    median, least, most = spread(each)
    out = dict(about, ms_per_image=median, min_ms_per_image=least, max_ms_per_image=most)
    out |= {"images_per_second": 1e3 / median, "rounds_ms": [entry["ms"] for entry in rounds]}
    for key in rounds[0]:
        if key.endswith("_ms"):
            values = [entry[key] for entry in rounds]
            steps = isinstance(values[0], list)
            out[key] = [statistics.median(c) for c in zip(*values)] if steps else statistics.median(values)
    return out


def measure(contestants: Sequence[Contestant], repeat: int, warmup: int) -> list[dict[str, Any]]:
    """Results of interleaved rounds."""
    for _ in range(warmup):
        for _, generate in contestants:
            generate()
    rounds: list[list[Times]] = [[] for _ in contestants]
    for _ in range(repeat):
        for (_, generate), results in zip(contestants, rounds):
            results.append(dict(generate()))
    return [summary(about, results) for (about, _), results in zip(contestants, rounds)]


def serve(common: dict[str, Any], contestants: Sequence[Contestant]) -> None:
    """Print the contestants, then run the one whose number each line of standard input gives."""
    print(json.dumps({**common, "timed": [about for about, _ in contestants]}), flush=True)
    for line in sys.stdin:
        print(json.dumps(contestants[int(line)][1]()), flush=True)


class Served:
    """A process that runs `serve`. `common` and `timed` are what it printed first."""

    def __init__(self, command: Sequence[object], name: str) -> None:
        self.name = name
        arguments = [str(part) for part in command]
        self.process = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.common: dict[str, Any] = self._read()
        self.timed: list[About] = self.common.pop("timed")

    def _read(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"{self.name}: its process ended with status {self.process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, number: int) -> dict[str, Any]:
        """The times of one round of the contestant at `number` in `timed`."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # the process printed the reason to standard error
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
        return self._read()

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None and self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

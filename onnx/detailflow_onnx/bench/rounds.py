"""Timing in turns: several ways to draw a picture, round by round, so that a machine whose pace changes is fair to all.

`measure` does the rounds in this process. `serve` does one when a line on standard input names its number, for a process
that has others take turns with it; `Served` is that process seen from the other side."""

import json
import statistics
import subprocess
import sys

from detailflow_onnx.errors import Refused


def spread(values):
    """(median, least, most)."""
    return statistics.median(values), min(values), max(values)


def summary(about, rounds):
    """One entry of `results`: what was timed, and the rounds of it, a dictionary of milliseconds each."""
    each = [entry["ms"] / about["batch"] for entry in rounds]
    median, least, most = spread(each)
    out = dict(about, ms_per_image=median, min_ms_per_image=least, max_ms_per_image=most, images_per_second=1e3 / median)
    out["rounds_ms"] = [entry["ms"] for entry in rounds]
    for key in rounds[0]:
        if key.endswith("_ms"):
            values = [entry[key] for entry in rounds]
            out[key] = [statistics.median(column) for column in zip(*values)] if isinstance(values[0], list) else statistics.median(values)
    return out


def measure(timed, repeat, warmup):
    """Results of [(about, draw)], in turns."""
    for _ in range(warmup):
        for _, draw in timed:
            draw()
    rounds = [[] for _ in timed]
    for _ in range(repeat):
        for (_, draw), into in zip(timed, rounds):
            into.append(dict(draw()))
    return [summary(about, into) for (about, _), into in zip(timed, rounds)]


def serve(common, timed):
    """Say what there is to time, then draw what each line of standard input asks for."""
    print(json.dumps({**common, "timed": [about for about, _ in timed]}), flush=True)
    for line in sys.stdin:
        print(json.dumps(timed[int(line)][1]()), flush=True)


class Served:
    """A process that serves. `common` and `timed` are what it said first."""

    def __init__(self, command, name):
        self.name = name
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.common = self._hear()
        self.timed = self.common.pop("timed")

    def _hear(self):
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"{self.name}: its process ended with status {self.process.wait()}")
        return json.loads(line)

    def draw(self, number):
        """The times of one round of what stands at `number` in `timed`."""
        try:
            self.process.stdin.write(f"{number}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it said why on its standard error
        return self._hear()

    def close(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

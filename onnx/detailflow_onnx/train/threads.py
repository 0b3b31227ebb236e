"""The number of CPU threads: measured on a step, unless it is given.

A parallel region ends when its last thread does. If another program runs on that thread's core, the others wait, and
several threads can take many times as long as one. How often that happens depends on the machine and its load.
"""

import math
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

CGROUPS = Path("/sys/fs/cgroup")
ROUNDS = 3  # that every candidate runs
SECONDS = 3.0  # after which no further round begins
LONGEST = 1.0  # seconds of one call; a longer one gets half the pictures
MARGIN = 1.1  # more threads must be this much faster than fewer

Work = Callable[[int], Any]  # computes that many pictures of a batch


def available(groups: Path = CGROUPS) -> int:
    """The CPUs that this process may use: its affinity mask and the CPU quota of its control groups."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return max(1, min([count, *(math.ceil(quota) for quota in _quotas(groups))]))


def _entries() -> list[list[str]]:
    """[number, controllers, path] of each control group of this process."""
    try:
        return [line.split(":", 2) for line in Path("/proc/self/cgroup").read_text().splitlines()]
    except (OSError, ValueError):
        return []


def _quotas(groups: Path) -> list[float]:
    """The quotas, in CPUs, of the control group of this process and those above it (version 1 and 2)."""
    out = []
    for _, controllers, path in (entry for entry in _entries() if len(entry) == 3):
        if controllers and "cpu" not in controllers.split(","):
            continue
        own = groups / controllers / path.strip("/")
        # In a container the path can be that of the host, which is not visible: the root then is the own group.
        for folder in (own, *own.parents):
            if folder in groups.parents:
                break
            out += _quota(folder)
    return out


def _quota(folder: Path) -> list[float]:
    """The quota of one control group in CPUs, if it has one."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota, period = ((folder / f"cpu.cfs_{name}_us").read_text() for name in ("quota", "period"))
        return [int(quota) / int(period)] if int(quota) > 0 and int(period) > 0 else []
    except (OSError, ValueError):  # no file, or "max"
        return []


def measured(work: Work, pictures: int, most: int, clock: Callable[[], float] = time.perf_counter) -> dict[int, float]:
    """{threads: median seconds of `work`} for 1, 2, 4, ... and `most` threads, measured in turns."""
    counts = sorted({1 << k for k in range(most.bit_length())} | {most})

    def timed(count: int) -> float:
        torch.set_num_threads(count)
        begun = clock()
        work(pictures)
        return clock() - begun

    timed(counts[0])  # allocates memory
    while timed(counts[0]) > LONGEST and pictures > 1:
        pictures = -(-pictures // 2)
    times: dict[int, list[float]] = {count: [] for count in counts}
    begun = clock()
    for _ in range(ROUNDS):
        for count in counts:
            times[count].append(timed(count))
        if clock() - begun > SECONDS:
            break
    return {count: sorted(seconds)[len(seconds) // 2] for count, seconds in times.items()}


def best(times: dict[int, float]) -> int:
    """The least number of threads that no larger number beats by more than `MARGIN`."""
    fastest = min(times.values())
    return min(count for count, seconds in times.items() if seconds <= MARGIN * fastest)


def settle(
    work: Work,
    pictures: int,
    *,
    device: torch.device,
    given: int | None = None,
    before: int | None = None,
    say: bool = True,
) -> int:
    """Set the number of threads and print it. Returns it.

    In this order: `given` (--threads), OMP_NUM_THREADS, `before` (that of the run that is resumed, whose results then
    stay the same bit for bit), and on a CPU that of `measured`. `work` must have no effect.
    """
    count, reason = _settled(work, pictures, device, given, before)
    torch.set_num_threads(count)
    if say:
        print(f"threads: {count} ({reason})", file=sys.stderr, flush=True)
    return count


def _of_openmp() -> int | None:
    """The threads of the outermost region in OMP_NUM_THREADS, as in "4" or "4,2"; None without a valid number.

    Read from the variable, since `torch.get_num_threads` gives what was set last.
    """
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return int(first) if re.fullmatch("0*[1-9][0-9]{0,3}", first) else None


def _settled(work: Work, pictures: int, device: torch.device, given: int | None, before: int | None) -> tuple[int, str]:
    """(threads, why)."""
    if given:
        return given, "--threads"
    most = available()
    if (count := _of_openmp()) is not None:
        return count, "OMP_NUM_THREADS"
    if before and before <= most:
        return before, "as in the steps before; --threads changes it"
    if device.type != "cpu" or most == 1:
        return most, f"available for work beside {device}" if most > 1 else "one CPU is available"
    times = measured(work, pictures, most)
    figures = ", ".join(f"{count}: {1000 * seconds:.0f} ms" for count, seconds in times.items())
    return best(times), f"measured on a batch, {figures}; --threads replaces it"

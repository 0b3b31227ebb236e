# SPDX-License-Identifier: MIT OR Apache-2.0
"""Statistics of frames."""

# The length of a frame at 60 Hz, in seconds.
FRAME = 1 / 60


def percentile(times: list[float], percent: float) -> float:
    """In milliseconds."""
    ordered = sorted(times)
    return ordered[round((len(ordered) - 1) * percent / 100)] * 1e3 if ordered else 0.0


class Frames:
    """The times of frames without the wait for the next one, and of the ticks in them."""

    def __init__(self) -> None:
        self.all: list[float] = []
        self.ticked: list[float] = []

    def add(self, took: float, ticked: float | None) -> None:
        """Adds a frame, in seconds."""
        self.all.append(took)
        if ticked is not None:
            self.ticked.append(ticked)

    def __str__(self) -> str:
        missed = sum(took > FRAME for took in self.all) / max(1, len(self.all))
        middle, late = percentile(self.all, 50), percentile(self.all, 99)
        return f"{len(self.all)} frames, {missed:.2%} missed at 60 Hz, p50 {middle:.2f} ms, p99 {late:.2f} ms"

    def ticks(self) -> str:
        """The times of the ticks."""
        times = [percentile(self.ticked, percent) for percent in (50, 99, 100)]
        return "{} ticks, p50 {:.2f} ms, p99 {:.2f} ms, worst {:.2f} ms".format(
            len(self.ticked), *times
        )

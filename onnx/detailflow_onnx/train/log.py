"""The log of a run: standard error, log.jsonl, and TensorBoard if it is installed."""

import json
import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from detailflow_onnx.files import read_text
from detailflow_onnx.output import write_text

Figures = Mapping[str, float]
MAX_LOG = 1 << 30  # bytes of log.jsonl


def _step(line: str) -> float:
    """The step of a line of the log; infinite if it is damaged."""
    try:
        step = json.loads(line)["step"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return math.inf
    return step if isinstance(step, (int, float)) else math.inf


class Log:
    """Means of figures between lines. Only the first process writes."""

    def __init__(self, folder: Path, steps: int, start: int, first: bool) -> None:
        self.steps, self.start, self.first = steps, start, first
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self._begun, self._pictures = time.monotonic(), 0
        self._board: Any = None
        self._path = folder / "log.jsonl"
        if not first:
            return
        lines = []
        if self._path.exists():
            every = read_text(self._path, MAX_LOG).splitlines()
            lines = [line for line in every if line.endswith("}") and _step(line) <= start]
        write_text(self._path, "".join(line + "\n" for line in lines))
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            return
        self._board = SummaryWriter(folder / "tensorboard", purge_step=start + 1 if start else None)

    def add(self, figures: Figures, pictures: int) -> None:
        """Add the figures of a step."""
        for key, value in figures.items():
            self.sums[key], self.counts[key] = self.sums.get(key, 0.0) + value, self.counts.get(key, 0) + 1
        self._pictures += pictures

    def line(self, step: int) -> None:
        """Write the means since the last line."""
        seconds = time.monotonic() - self._begun
        means = {key: value / self.counts[key] for key, value in self.sums.items()}
        self.sums, self.counts = {}, {}
        if not self.first:
            return
        left = (self.steps - step) * seconds / max(1, step - self.start)
        speed = self._pictures / seconds
        text = f"  {speed:.1f} pictures/s  {left / 60:.0f} min left"
        self._write(step, means, {"pictures_per_second": round(speed, 2)}, text)

    def measured(self, step: int, figures: Figures) -> None:
        """Write a line of figures of held-out pictures."""
        if figures:
            self._write(step, figures, {}, "")

    def _write(self, step: int, figures: Figures, more: Figures, text: str) -> None:
        with open(self._path, "a") as file:
            file.write(json.dumps({"step": step, **more, **figures}) + "\n")
        values = " ".join(f"{key} {value:.4g}" for key, value in figures.items())
        print(f"{step}/{self.steps}  {values}{text}", file=sys.stderr, flush=True)
        if self._board:
            for key, value in figures.items():
                self._board.add_scalar(key, value, step)

    @staticmethod
    def sheet(folder: Path, step: int, image: Image.Image) -> None:
        """Write a sheet of pictures."""
        (folder / "sheets").mkdir(exist_ok=True)
        image.save(folder / "sheets" / f"{step:07d}.png")

"""Cut sprite sheets and strips into frames: a class folder of frames for each class folder of sheets."""

import collections
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from detailflow_onnx import output
from detailflow_onnx.errors import need, printable
from detailflow_onnx.files import check_name
from detailflow_onnx.train.data.folder import class_folders, files_below
from detailflow_onnx.train.data.image import read_whole, reason_of, without_warnings

MOST = 1 << 16  # frames of a sheet

Sheet = tuple[str, str]  # (class, path relative to the source)


@dataclass(frozen=True)
class Grid:
    """Frames of `width` x `height` pixels, `margin` pixels from the left and the top edge, `spacing` pixels apart."""

    width: int
    height: int
    margin: int = 0
    spacing: int = 0

    def counts(self, width: int, height: int) -> tuple[int, int]:
        """(rows, columns) of whole frames in a picture of that size."""
        space = self.spacing
        rows, columns = (
            (side - self.margin + space) // (frame + space)
            for side, frame in ((height, self.height), (width, self.width))
        )
        return max(rows, 0), max(columns, 0)

    def frames(self, pixels: np.ndarray) -> Iterator[tuple[int, int, np.ndarray]]:
        """(row, column, pixels) of each frame, row by row."""
        rows, columns = self.counts(pixels.shape[1], pixels.shape[0])
        for row in range(rows):
            for column in range(columns):
                top = self.margin + row * (self.height + self.spacing)
                left = self.margin + column * (self.width + self.spacing)
                yield row, column, pixels[top : top + self.height, left : left + self.width]

    def remainder(self, width: int, height: int) -> bool:
        """Whether pixels are left beyond the last whole frame, more than the margin."""
        rows, columns = self.counts(width, height)
        sides = ((height, rows, self.height), (width, columns, self.width))
        return any(
            side - self.margin - n * (frame + self.spacing) + self.spacing > self.margin for side, n, frame in sides
        )


def cut(source: Path | str, out: Path | str, grid: Grid) -> dict[str, Any]:
    """Write the frames of the sheets in `source` to `out`, as OUT/CLASS/SHEET-ROW-COLUMN.png, and OUT/data.json.

    The class of a sheet is the folder of `source` that holds it, or its own name if it lies in `source` itself. Folders
    below a class folder are kept. Frames of one colour, transparent ones among them, are left out, and so are pixels
    beyond the last whole frame. Returns the content of data.json.
    """
    source, out = Path(source).absolute(), Path(out).absolute()
    need(source.is_dir(), f"{source} is not a folder")
    inside = out.resolve() == source.resolve() or source.resolve() in out.resolve().parents
    need(not inside, f"{out}: lies in {source}; the frames need a folder of their own")
    sheets = _sheets(source)
    stems = collections.Counter(_stem(kind, path).casefold() for kind, path in sheets)
    counts: collections.Counter[str] = collections.Counter()
    left_out: list[list[str]] = []
    written: set[str] = set()
    blank = 0
    with output.replacing(out) as work, without_warnings():
        for kind, path in sheets:
            pixels, reason = _read(source / path, grid)
            if pixels is None:
                left_out.append([path, reason])
                continue
            if grid.remainder(pixels.shape[1], pixels.shape[0]):
                left_out.append([path, "pixels beyond the last whole frame"])
            stem = _stem(kind, path)
            if stems[stem.casefold()] > 1:
                stem += "-" + PurePosixPath(path).suffix[1:]
            for row, column, frame in grid.frames(pixels):
                if not (frame != frame[:1, :1]).any():
                    blank += 1
                    continue
                name = f"{kind}/{stem}-{row:02d}-{column:02d}.png"
                need(name.casefold() not in written, f"{source / path}: another sheet also makes the frame {name}")
                written.add(name.casefold())
                (work / name).parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(np.ascontiguousarray(frame)).save(work / name)
                counts[kind] += 1
        need(counts, f"{source}: no frame of {grid.width}x{grid.height} pixels in it; {_first(left_out)}")
        summary = {
            "tile": [grid.width, grid.height],
            "margin": grid.margin,
            "spacing": grid.spacing,
            "counts": dict(sorted(counts.items())),
            "blank": blank,
            "left_out": left_out,
        }
        (work / "data.json").write_text(json.dumps(summary, indent=1) + "\n")
    return summary


def _sheets(source: Path) -> list[Sheet]:
    """(class, path) of every file, sorted."""
    below = [(kind, f"{kind}/{path}") for kind in class_folders(source) for path in files_below(source / kind)]
    above = [(p.stem, p.name) for p in sorted(source.iterdir()) if not p.is_dir() and not p.name.startswith(".")]
    found = sorted(below + above, key=lambda sheet: sheet[1])
    need(found, f"{source} holds no files")
    for kind, path in found:
        check_name(kind, f"{source}: the name of the class")
        check_name(path, f"{source}: the name")
    return found


def _stem(kind: str, path: str) -> str:
    """The path of a sheet below its class, without the extension."""
    whole = PurePosixPath(path)
    inside = whole.relative_to(kind) if len(whole.parts) > 1 else whole
    return inside.with_suffix("").as_posix()


def _read(path: Path, grid: Grid) -> tuple[np.ndarray | None, str]:
    """(the pixels, "") or (None, why there is no frame)."""
    try:
        pixels, _ = read_whole(path)
    except Exception as error:  # Pillow does not document what a broken file raises
        return None, reason_of(error)
    rows, columns = grid.counts(pixels.shape[1], pixels.shape[0])
    if not 1 <= rows * columns <= MOST:
        return None, f"is {pixels.shape[1]}x{pixels.shape[0]}, which makes {rows * columns} frames"
    return pixels, ""


def _first(left_out: list[list[str]]) -> str:
    path, reason = left_out[0] if left_out else ("", "every frame is of one colour")
    return printable(f"{path} {reason}".strip())

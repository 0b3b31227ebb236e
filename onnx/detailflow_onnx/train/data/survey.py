"""What is odd about the pictures of a folder: pictures that are left out, and those that are changed more than usual.

Duplicates are pictures of the same pixels at the size of the model. One that is held out and one to train on are the
same whatever their classes: the held-out one is left out, so that nothing is on both sides of the split.
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from detailflow_onnx.train.data.image import Seen

BANNER = 2  # a side more than so many times the other: more than half of the picture is cropped

Notes = list[tuple[str, str]]  # (path, what is said of it)

DUPLICATE, BLANK = "duplicate of", "transparent throughout"
PLAIN, ENLARGED, BANNERS, STRIPS, ANIMATED = "one colour", "enlarged", "cropped", "cropped, frames?", "first frame"


def _key(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).tobytes(), digest_size=16).digest()


def is_blank(pixels: np.ndarray) -> bool:
    """Whether a picture [channels, h, w] shows nothing: alpha 0 everywhere, or black without an alpha channel."""
    return not bool(pixels[3:].any() if len(pixels) == 4 else pixels.any())


def blanks(paths: Sequence[str], pixels: np.ndarray) -> dict[int, str]:
    """{index: BLANK} of the pictures that show nothing."""
    return {i: BLANK for i in range(len(paths)) if is_blank(pixels[i])}


class Duplicates:
    """Finds pictures of the same pixels, first among those to train on, then among those held out."""

    def __init__(self) -> None:
        self._of_class: dict[tuple[int, bytes], str] = {}
        self._trained: dict[bytes, str] = {}

    def train(self, paths: Sequence[str], labels: np.ndarray, pixels: np.ndarray) -> dict[int, str]:
        """{index: why it is left out} of later pictures of the same class and pixels."""
        out = {}
        for i, path in enumerate(paths):
            key = _key(pixels[i])
            self._trained.setdefault(key, path)
            first = self._of_class.setdefault((int(labels[i]), key), path)
            if first != path:
                out[i] = f"{DUPLICATE} {first}"
        return out

    def held_out(self, paths: Sequence[str], labels: np.ndarray, pixels: np.ndarray) -> dict[int, str]:
        """{index: why it is left out} of pictures that are trained on, in whatever class, or that occurred before."""
        out = {}
        for i, path in enumerate(paths):
            key = _key(pixels[i])
            first = self._trained.get(key) or self._of_class.setdefault((int(labels[i]), key), path)
            if first != path:
                out[i] = f"{DUPLICATE} {first}"
        return out


def notes(paths: Sequence[str], held: Sequence[Seen], size: int, pixels: np.ndarray | None) -> Notes:
    """What is said of pictures that are used."""
    out: Notes = []
    for i, (path, one) in enumerate(zip(paths, held)):
        short, long = sorted((one.width, one.height))
        if short < size:
            out.append((path, f"{ENLARGED} from {one.width}x{one.height}"))
        if long > BANNER * short:
            out.append((path, f"{STRIPS if long % short == 0 else BANNERS}: {one.width}x{one.height}"))
        if one.animated:
            out.append((path, ANIMATED))
        if pixels is not None and not (pixels[i] != pixels[i][:, :1, :1]).any():
            out.append((path, PLAIN))
    return out


def summary(every: Notes, size: int, searched: bool) -> str:
    """One line of the notes, "" if there are none. `searched`: whether duplicates and blank pictures were sought."""

    def count(start: str) -> int:
        return sum(1 for _, text in every if text.startswith(start))

    strips = count(STRIPS)
    may_be = f" ({strips} may be strips of frames: `train data cut`)" if strips else ""
    parts = [
        (count(DUPLICATE), "duplicates left out", ""),
        (count(BLANK), "blank left out", ""),
        (count(PLAIN), "of one colour", ""),
        (count(ENLARGED), f"enlarged to {size} px", ""),
        (count(BANNERS), "cropped to less than half", may_be),
        (count(ANIMATED), "with several frames, of which the first is used", ""),
    ]
    said = [f"{number} {text}{more}" for number, text, more in parts if number]
    if not searched:
        said.append("not searched for duplicates and blank pictures, as it is read while training")
    return ", ".join(said)

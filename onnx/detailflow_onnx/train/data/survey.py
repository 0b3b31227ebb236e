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

# What the notes begin with.
DUPLICATE, BLANK, PLAIN = "duplicate of", "transparent throughout", "one colour throughout"
ENLARGED, BANNER_CUT, STRIP_CUT = "enlarged from", "cropped to the middle", "cropped to the middle, perhaps of a strip"
ANIMATED = "only the first of several frames is used"


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
            out.append((path, f"{ENLARGED} {one.width}x{one.height}"))
        if long > BANNER * short:
            kind = STRIP_CUT if long % short == 0 else BANNER_CUT
            out.append((path, f"{kind}: {one.width}x{one.height}"))
        if one.animated:
            out.append((path, ANIMATED))
        if pixels is not None and not (pixels[i] != pixels[i][:, :1, :1]).any():
            out.append((path, PLAIN))
    return out


def summary(every: Notes, size: int, searched: bool) -> str:
    """One line of the notes, "" if there are none. `searched`: whether duplicates and blank pictures were sought."""

    def count(start: str) -> int:
        return sum(1 for _, text in every if text.startswith(start))

    strips = count(STRIP_CUT)
    may_be = f" ({strips} of them perhaps strips of frames: `train data cut`)" if strips else ""
    parts = [
        (count(DUPLICATE), "left out as duplicates"),
        (count(BLANK), "left out as blank"),
        (count(PLAIN), "of one colour"),
        (count(ENLARGED), f"enlarged to {size} px"),
        (count(BANNER_CUT), f"cropped to less than half{may_be}"),
        (count(ANIMATED), "with several frames, of which the first is used"),
    ]
    said = [f"{number} {text}" for number, text in parts if number]
    if not searched:
        said.append("not searched for duplicates and blank pictures, as it is read while training")
    return ", ".join(said)

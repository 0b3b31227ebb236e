"""Read one picture file as square uint8 pixels."""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from detailflow_onnx.errors import brief
from detailflow_onnx.files import open_regular

PIXELS = 1 << 26  # files that declare more pixels are not opened: they are broken, or meant to exhaust memory
COLOUR_MODES = ("CMYK", "YCbCr", "HSV", "LAB")
# Others are not opened: Pillow gives EPS to Ghostscript, for instance.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM", "TGA", "ICO", "PCX", "QOI", "JPEG2000", "AVIF")
MODES = ("RGB", "RGBA", "L", "LA", "P", "PA", "1", *COLOUR_MODES)


def reason_of(error: Exception) -> str:
    """Why a picture cannot be read, as the predicate of a sentence about its path."""
    text = brief(str(error).replace("\n", " "))
    if isinstance(error, UnidentifiedImageError):
        return "is not a picture in a known format"
    if isinstance(error, OSError) and error.strerror:
        text = error.strerror
    return f"cannot be read: {text or type(error).__name__}"


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Suppress Pillow's warnings about odd files. Warning filters belong to the process, so use one block at a time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def open_image(file: BinaryIO) -> Image.Image:
    """Open a picture without decoding it; refused if it declares too many pixels."""
    Image.init()
    image = Image.open(file, formats=[name for name in FORMATS if name in Image.OPEN])
    if image.width < 1 or image.height < 1 or image.width * image.height > PIXELS:
        image.close()
        raise ValueError(f"its size is {image.width}x{image.height}")
    return image


@dataclass(frozen=True)
class Seen:
    """What a file held: its size in pixels, and whether it has more pictures than the first."""

    width: int
    height: int
    animated: bool


def seen(image: Image.Image) -> Seen:
    """What an opened file holds."""
    return Seen(image.width, image.height, bool(getattr(image, "is_animated", False)))


def read_whole(path: Path) -> tuple[np.ndarray, Seen]:
    """(straight RGBA uint8 [h, w, 4], what the file held): the first frame, with EXIF orientation applied."""
    with open_regular(path) as file, open_image(file) as image:
        held = seen(image)
        image.seek(0)
        image.load()
        return _rgba(ImageOps.exif_transpose(image)), held


def read_seen(path: Path, size: int, channels: int) -> tuple[np.ndarray, Seen]:
    """(what `read` gives, what the file held)."""
    pixels, held = read_whole(path)
    pixels = fit(pixels, size)
    if channels == 3:
        colour = pixels[..., :3].astype(np.float32) * (pixels[..., 3:].astype(np.float32) / 255)
        pixels = np.floor(colour + 0.5).astype(np.uint8)
    return np.ascontiguousarray(pixels.transpose(2, 0, 1)), held


def read(path: Path, size: int, channels: int) -> np.ndarray:
    """Read a file as uint8 [channels, size, size]: straight RGBA, or RGB over black where it is transparent.

    Other sizes are resized (antialiased, colours weighted by alpha) until the shorter side is `size`, and
    centre-cropped. Of an animation the first frame is read; EXIF orientation is applied.
    """
    return read_seen(path, size, channels)[0]


def _grey_range(mode: str, largest: float) -> float:
    """The value that stands for white in a one-channel picture of 16 bits or floats."""
    if mode != "F" or largest > 255:
        return 65535.0
    return 1.0 if largest <= 1 else 255.0


def _rgba(image: Image.Image) -> np.ndarray:
    """uint8 [h, w, 4], straight, black where alpha is 0."""
    if image.mode.startswith(("I", "F")):  # one channel of 16 bits or floats
        values = np.asarray(image).astype(np.float64)
        white = _grey_range(image.mode, values.max(initial=0))
        grey = np.floor(np.clip(np.nan_to_num(values) / white, 0, 1) * 255 + 0.5).astype(np.uint8)
        return np.stack([grey, grey, grey, np.full_like(grey, 255)], axis=-1)
    if image.mode not in MODES:
        image = image.convert("RGBA" if image.mode in ("La", "RGBa") else "RGB")
    if image.mode in COLOUR_MODES:
        image = image.convert("RGB")
    pixels = np.array(image.convert("RGBA"))
    pixels[pixels[..., 3] == 0] = 0
    return pixels


def fit(pixels: np.ndarray, size: int) -> np.ndarray:
    """Straight RGBA uint8 [h, w, 4] as [size, size, 4]; unchanged if it has that size."""
    h, w = pixels.shape[:2]
    if (h, w) == (size, size):
        return pixels
    scale = size / min(h, w)
    width, height = max(size, round(w * scale)), max(size, round(h * scale))
    left, top = (width - size) // 2, (height - size) // 2
    # The crop, in coordinates of the source.
    box = (left * w / width, top * h / height, (left + size) * w / width, (top + size) * h / height)

    def resize(plane: np.ndarray) -> np.ndarray:
        return np.asarray(Image.fromarray(plane).resize((size, size), Image.Resampling.BILINEAR, box=box))

    if bool((pixels[..., 3] == 255).all()):
        colour = resize(np.ascontiguousarray(pixels[..., :3]))
        return np.dstack([colour, np.full((size, size), 255, np.uint8)])
    alpha = pixels[..., 3].astype(np.float32)
    planes = [resize((pixels[..., c] * (alpha / 255)).astype(np.float32)) for c in range(3)]
    exact = resize(alpha)
    alpha = np.floor(np.clip(exact, 0, 255) + 0.5)
    colour = np.stack(planes, axis=-1)
    weight = exact[..., None]
    colour = np.divide(colour * 255, weight, out=np.zeros_like(colour), where=weight > 0)
    colour = np.floor(np.clip(colour, 0, 255) + 0.5) * (alpha > 0)[..., None]
    return np.dstack([colour, alpha]).astype(np.uint8)

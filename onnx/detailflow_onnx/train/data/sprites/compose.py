"""Pictures composed from tiles: layered figures, recoloured rings, adventurers."""

import colorsys
import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from detailflow_onnx.train.data.sprites.tables import BANDS, BASES, HAIRY, LAYERS, NOT_WORN, PARTS, STONES
from detailflow_onnx.train.data.sprites.tiles import SIDE, Tiles, matches

ADVENTURERS = 1000

T = TypeVar("T")
Picture = tuple[str, str, np.ndarray]  # class, name, pixels


def file_name(name: str) -> str:
    """The path of a tile as one file name."""
    return name.replace("/", "-")


def over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """Straight RGBA `above` composited over `below`, both uint8 [h, w, 4]."""
    b, a = below.astype(np.float64) / 255, above.astype(np.float64) / 255
    alpha = a[..., 3:] + b[..., 3:] * (1 - a[..., 3:])
    colour = a[..., :3] * a[..., 3:] + b[..., :3] * b[..., 3:] * (1 - a[..., 3:])
    colour = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
    return np.floor(np.concatenate([colour, alpha], axis=-1) * 255 + 0.5).astype(np.uint8)


def layers(tiles: Tiles) -> list[Picture]:
    """Figures and ground that the game draws in two layers."""
    made = []
    for kind, below, above in LAYERS:
        for low in tiles.match(below):
            for high in tiles.match(above):
                a, b = tiles.tile(low), tiles.tile(high)
                if a is not None and b is not None:
                    made.append((kind, f"{file_name(low)}+{high.rsplit('/', 1)[1]}", over(a, b)))
    return made


def rings(tiles: Tiles) -> list[Picture]:
    """Rings of other metals and stones: the tiles have few, which differ in little but their colours."""
    made = []
    for name in tiles.match(("item/ring/ruby", "item/ring/tourmaline")):
        pixels = tiles.tile(name)
        if pixels is None:
            continue
        flat = (pixels[..., :3].reshape(-1, 3) / 255).tolist()
        colours = np.array([colorsys.rgb_to_hsv(*p) for p in flat]).reshape(SIDE, SIDE, 3)
        hue, saturation, value = colours[..., 0] * 360, colours[..., 1], colours[..., 2]
        painted = (pixels[..., 3] > 0) & (value > 0)
        stone = painted & (saturation > 0.3) & ((hue > 300) | ((hue < 14) & (saturation > 0.9)))
        band = painted & ~stone
        for metal, (band_hue, band_saturation, brightest) in BANDS.items():
            for gem, (stone_hue, factor) in STONES.items():
                hsv = colours.copy()
                hsv[stone, 0], hsv[stone, 1] = stone_hue / 360, saturation[stone] * factor
                if factor < 0.5:
                    hsv[stone, 2] = 0.45 + 0.55 * value[stone]  # clear stones are light
                hsv[band, 0], hsv[band, 1] = band_hue / 360, band_saturation
                hsv[band, 2] = value[band] * brightest / value[band].max()
                rgb = [colorsys.hsv_to_rgb(*p) for p in hsv.reshape(-1, 3).tolist()]
                picture = pixels.copy()
                picture[painted, :3] = np.floor(np.array(rgb).reshape(SIDE, SIDE, 3)[painted] * 255 + 0.5)
                made.append(("ring", f"{file_name(name)}+{metal}-{gem}", picture))
    return made


def adventurers(tiles: Tiles, seed: int) -> list[Picture]:
    """`ADVENTURERS` different figures with random clothes."""
    worn = []
    for folders, probability in PARTS:
        every = [n for folder in folders for n in tiles.folders.get(folder, ())]
        names = [n for n in every if not any(matches(n, p) for p in NOT_WORN)]
        worn.append((folders[0], probability, [n for n in names if tiles.tile(n) is not None]))
    bases = next(names for folder, _, names in worn if folder == "player/base")
    by_family = {family: [n for n in bases if matches(n, f"player/base/{family}_*")] for family in sorted(BASES)}
    families = [family for family in by_family if by_family[family]]
    families += 2 * [family for family in families if family in HAIRY]
    random = _Random(seed)
    made: list[Picture] = []
    known = set()
    # The number of attempts suffices unless the source has few parts.
    for _ in range(20 * ADVENTURERS if families else 0):
        if len(made) == ADVENTURERS:
            break
        family = random.choice(families)
        figure = np.zeros((SIDE, SIDE, 4), np.uint8)
        for folder, probability, parts in worn:
            # Always two numbers, so that one part does not change the choice of the next.
            chance, which = random.share(), random.share()
            choices = by_family[family] if folder == "player/base" else parts
            bald = folder in ("player/hair", "player/beard") and family not in HAIRY
            if choices and chance < probability and not bald:
                part = tiles.tile(choices[int(which * len(choices))])
                assert part is not None
                figure = over(figure, part)
        if figure.tobytes() not in known:
            known.add(figure.tobytes())
            made.append(("adventurer", f"{len(made):04d}", figure))
    return made


class _Random:
    """Random numbers from the SHA-256 of the seed and a counter: independent of library versions."""

    def __init__(self, seed: int) -> None:
        self._seed, self._count = seed, 0

    def share(self) -> float:
        """A number in 0 <= share < 1."""
        self._count += 1
        digest = hashlib.sha256(f"adventurer {self._seed} {self._count}".encode()).digest()
        return int.from_bytes(digest[:6], "big") / (1 << 48)

    def choice(self, items: Sequence[T]) -> T:
        """One of `items`."""
        return items[int(self.share() * len(items))]

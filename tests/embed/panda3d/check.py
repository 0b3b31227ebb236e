# SPDX-License-Identifier: MIT OR Apache-2.0
"""Compares a screenshot of examples/panda3d/wall.py with sprites that are generated here: check.py FOLDER/NAME MODE."""

import json
import sys
from pathlib import Path

import detailflow
import numpy as np
from panda3d.core import PNMImage, Texture


def read(path):
    """The pixels of a PNG, RGB, the highest row first."""
    image, texture = PNMImage(str(path)), Texture()
    texture.load(image)
    shape = (image.get_y_size(), image.get_x_size(), 3)
    return np.frombuffer(texture.get_ram_image_as("RGB"), np.uint8).reshape(shape)[::-1].astype(int)


def middles(level, side):
    """Where to compare: the pixel in the middle of each pixel of the level, which no rounding of coordinates moves.

    Those on the diagonal are left out: there two triangles meet, and the software renderer blends both.
    """
    middle = (np.arange(level) * 2 + 1) * (side // level) // 2
    rows, columns = np.meshgrid(middle, middle, indexing="ij")
    apart = np.abs(rows + columns - side) > 2
    return rows[apart], columns[apart]


def main():
    """Exits with a message when something is not where it should be."""
    path, mode = Path(sys.argv[1]), sys.argv[2]
    shot, wall = read(path.with_suffix(".png")), json.loads(path.with_suffix(".json").read_text())
    side, background = wall["side"], np.array(wall["background"])
    outside = np.ones(shot.shape[:2], bool)
    seen, levels = set(), []
    with detailflow.Model() as model:
        for index, cell in enumerate(wall["cells"]):
            level = cell["level_size"]
            with model.request(index % model.info.class_count, index, level_size=level).generate() as generation:
                sprite = generation.decode_level().repeat(side // level, 0).repeat(side // level, 1).astype(int)
            place = np.s_[cell["y"] : cell["y"] + side, cell["x"] : cell["x"] + side]
            # An edge may be rounded to the next pixel.
            outside[cell["y"] - 1 : cell["y"] + side + 1, cell["x"] - 1 : cell["x"] + side + 1] = False
            shown = shot[place]
            alpha = sprite[..., 3:]
            expected = (sprite[..., :3] * alpha + background * (255 - alpha)) / 255
            wrong = np.abs(shown - expected).max(axis=2)[middles(level, side)]
            # Colour and blending are rounded down.
            assert wrong.max() <= 3, f"sprite {index}: {(wrong > 3).sum()} of {wrong.size} pixels differ"
            assert (shown != background).any(axis=2).mean() > 0.05, f"sprite {index} is not shown"
            seen.add(shown.tobytes())
            levels.append(level)
    assert (shot[outside] == background).all(), "something is shown between the sprites"
    assert len(seen) == len(levels), "two places show the same"
    finest = model.levels[-1].level_size
    assert (min(levels) < finest) if mode == "coarse" else (min(levels) == finest), f"levels {sorted(set(levels))}"
    print(f"{path.name}: {len(levels)} sprites of {sorted(set(levels))} px where they should be")


if __name__ == "__main__":
    main()

#!/usr/bin/env python3
# SPDX-License-Identifier: MIT OR Apache-2.0
"""Checks the screenshot of an engine: each sprite is where it should be, and shows the level that it should.

    tests/embed/sprites.py FOLDER [--sprites N]

FOLDER has screenshot.png, background.png (the same without sprites), and sprites.json: a list of objects with class,
seed, level (pixels per side), x, y (of the left top corner) and side in pixels of the window, depth (nearer is smaller;
the same for all where nothing overlaps), and light, the part of its colour that is left (the rest is black).

The pictures are generated again, here, from class and seed. Compared are the pixels in the middle of each texel, where
sprites are magnified with sharp texels, nothing nearer covers them, and what is behind them is known. All other pixels
of the window must be as they are without sprites.
"""

import argparse
import ctypes
import json
import os
import struct
import sys
import zlib
from pathlib import Path

# Rounding of light, of alpha, and of blending.
TOLERANCE = 6
RGBA8 = 2


class Image(ctypes.Structure):
    """detailflow_image"""

    _fields_ = [
        ("struct_size", ctypes.c_uint32),
        ("format", ctypes.c_uint32),
        ("width", ctypes.c_uint32),
        ("height", ctypes.c_uint32),
        ("stride", ctypes.c_size_t),
        ("pixels", ctypes.c_void_p),
        ("capacity", ctypes.c_size_t),
    ]


class Pictures:
    """Generates pictures of the default model."""

    def __init__(self):
        self.library = ctypes.CDLL(os.environ["DETAILFLOW_LIBRARY"])
        self.library.detailflow_last_message.restype = ctypes.c_char_p
        self.model = ctypes.c_void_p()
        self.call("model_open", None, None, ctypes.byref(self.model), None)

    def call(self, name, *arguments):
        if getattr(self.library, "detailflow_" + name)(*arguments) != 0:
            sys.exit(f"{name}: {self.library.detailflow_last_message().decode()}")

    def get(self, class_name, seed, level):
        """RGBA bytes at a level."""
        index, request, generation = ctypes.c_uint32(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("model_find_class", self.model, class_name.encode(), ctypes.byref(index))
        self.call("request_new", self.model, ctypes.byref(request))
        self.call("request_set_class", request, index)
        self.call("request_set_seed", request, ctypes.c_uint64(seed))
        self.call("request_set_level_size", request, ctypes.c_uint32(level))
        self.call("generate", request, ctypes.byref(generation))
        pixels = ctypes.create_string_buffer(level * level * 4)
        memory = ctypes.cast(pixels, ctypes.c_void_p)
        image = Image(ctypes.sizeof(Image), RGBA8, level, level, 0, memory, len(pixels))
        self.call("generation_decode_level", generation, ctypes.c_uint32(0), ctypes.byref(image))
        self.library.detailflow_generation_free(generation)
        self.library.detailflow_request_free(request)
        return pixels.raw


def read_png(path):
    """Width, height and RGB bytes of a PNG of 8 bits per channel, with or without alpha."""
    data = path.read_bytes()
    at, parts = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        if kind == b"IHDR":
            width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", body)
        elif kind == b"IDAT":
            parts += body
        at += length + 12
    if depth != 8 or colour not in (2, 6) or interlaced:
        sys.exit(f"{path}: not a plain PNG of RGB or RGBA")
    size = 3 if colour == 2 else 4
    raw, stride = zlib.decompress(parts), width * size
    before, rgb = bytearray(stride), bytearray()
    for y in range(height):
        start = y * (stride + 1)
        kind, row = raw[start], bytearray(raw[start + 1 : start + 1 + stride])
        for x in range(stride if kind else 0):
            left, corner = (row[x - size], before[x - size]) if x >= size else (0, 0)
            if kind == 1:
                guess = left
            elif kind == 2:
                guess = before[x]
            elif kind == 3:
                guess = (left + before[x]) // 2
            else:
                sides = (left, before[x], corner)
                guess = min(sides, key=lambda side: abs(left + before[x] - corner - side))
            row[x] = (row[x] + guess) & 255
        before = row
        rgb += row if size == 3 else bytes(value for x, value in enumerate(row) if x % 4 != 3)
    return width, height, bytes(rgb)


def covers(sprite, x, y, margin=0.0):
    """Whether a pixel lies within the square of a sprite."""
    return (
        sprite["x"] - margin <= x < sprite["x"] + sprite["side"] + margin
        and sprite["y"] - margin <= y < sprite["y"] + sprite["side"] + margin
    )


def differ(one, other):
    """The largest difference of three channels."""
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def check_sprite(sprite, others, texels, window, screenshot, background):
    """Compares a sprite's texels. Counts those compared, opaque, unlike the background, and wrong."""
    width, height = window
    level = sprite["level"]
    texel = sprite["side"] / level
    near = [other for other in others if other["depth"] < sprite["depth"]]
    compared = opaque = seen = wrong = 0
    for index in range(level * level):
        x = int(sprite["x"] + (index % level + 0.5) * texel)
        y = int(sprite["y"] + (index // level + 0.5) * texel)
        if not (0 <= x < width and 0 <= y < height) or any(covers(other, x, y, 1) for other in near):
            continue
        *colour, alpha = texels[index * 4 : index * 4 + 4]
        if alpha < 255 and any(covers(other, x, y, 1) for other in others if other is not sprite):
            continue
        at = (y * width + x) * 3
        behind = background[at : at + 3]
        part = alpha / 255
        wanted = [
            value * part * sprite["light"] + below * (1 - part) for value, below in zip(colour, behind, strict=True)
        ]
        compared += 1
        opaque += alpha == 255
        seen += differ(screenshot[at : at + 3], behind) > TOLERANCE
        wrong += differ(screenshot[at : at + 3], wanted) > TOLERANCE
    return compared, opaque, seen, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sprites", type=int, default=1, help="at least so many must have been compared: 1")
    arguments = parser.parse_args()
    width, height, screenshot = read_png(arguments.folder / "screenshot.png")
    other_width, other_height, background = read_png(arguments.folder / "background.png")
    if (width, height) != (other_width, other_height):
        sys.exit("screenshot and background differ in size")
    sprites = json.loads((arguments.folder / "sprites.json").read_text())
    pictures, failures, checked, levels = Pictures(), [], 0, {}

    for sprite in sprites:
        if sprite["level"] == 0 or sprite["side"] < 2 * sprite["level"]:
            continue
        texels = pictures.get(sprite["class"], sprite["seed"], sprite["level"])
        compared, opaque, seen, wrong = check_sprite(sprite, sprites, texels, (width, height), screenshot, background)
        if compared < 16:
            continue
        checked += 1
        levels[sprite["level"]] = levels.get(sprite["level"], 0) + 1
        name = f"{sprite['class']} {sprite['seed']} at {sprite['x']:.0f}, {sprite['y']:.0f}, {sprite['level']} px"
        if wrong > compared // 50:
            failures.append(f"{name}: {wrong} of {compared} texels are not those of the picture")
        if opaque >= 16 and seen < opaque // 10:
            failures.append(f"{name}: {seen} of {opaque} opaque texels differ from the background")

    stray = 0
    for y in range(height):
        row = [sprite for sprite in sprites if sprite["y"] - 2 <= y < sprite["y"] + sprite["side"] + 2]
        for x in range(width):
            at = (y * width + x) * 3
            if screenshot[at : at + 3] != background[at : at + 3] and not any(
                covers(sprite, x, y, 2) for sprite in row
            ):
                stray += 1
    if stray > 0:
        failures.append(f"{stray} pixels outside of all sprites differ from the background")
    if checked < arguments.sprites:
        failures.append(f"only {checked} sprites could be compared")
    counts = ", ".join(f"{levels[level]} at {level} px" for level in sorted(levels))
    print(f"{checked} of {len(sprites)} sprites compared: {counts}")
    if failures:
        sys.exit("\n".join(failures))


main()

# SPDX-License-Identifier: MIT OR Apache-2.0
"""A wall of sprites in Panda3D: textures that come in coarse and sharpen, within 4 ms of each frame.

python wall.py                                       in a window, until it is closed
python wall.py --offscreen --screenshots FOLDER      without a display, until all sprites are sharp
python wall.py --offscreen --seconds 20              prints frame times, with and without generation in turns
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
from frames import FRAME, Frames
from panda3d.core import (
    CardMaker,
    NodePath,
    PNMImage,
    SamplerState,
    Texture,
    TextureStage,
    TransparencyAttrib,
    load_prc_file_data,
)

import detailflow

COLUMNS, ROWS, SIDE, GAP = 8, 5, 96, 6
WIDTH, HEIGHT = COLUMNS * (SIDE + GAP) + GAP, ROWS * (SIDE + GAP) + GAP
BACKGROUND = (24, 25, 30)


class Cell:
    """One sprite of the wall: a card, and the texture that it shows."""

    def __init__(self, index: int, parent: NodePath, image_size: int) -> None:
        self.x = GAP + index % COLUMNS * (SIDE + GAP)
        self.y = GAP + index // COLUMNS * (SIDE + GAP)
        self.level_size = 0
        # A power of two, which every display takes. A level fills the corner of it.
        self.texture_size = 1 << (image_size - 1).bit_length()
        self.texture = Texture()
        self.texture.setup_2d_texture(
            self.texture_size,
            self.texture_size,
            Texture.T_unsigned_byte,
            Texture.F_rgba,
        )
        self.texture.set_minfilter(SamplerState.FT_nearest)
        self.texture.set_magfilter(SamplerState.FT_nearest)
        maker = CardMaker(f"cell {index}")
        maker.set_frame(0, SIDE, -SIDE, 0)
        # Panda3D has the lowest row first in memory, the library the highest: the card shows it upside down.
        maker.set_uv_range((0, 1), (1, 0))
        self.card = parent.attach_new_node(maker.generate())
        self.card.set_pos(self.x, 0, -self.y)
        self.card.set_transparency(TransparencyAttrib.M_alpha)
        self.card.set_texture(self.texture)
        self.card.hide()

    def show(self, event: detailflow.Event) -> None:
        """Decodes the level of an event straight into the memory of the texture, and shows it."""
        side = self.level_size = event.level_size
        size = self.texture_size
        memory = np.frombuffer(self.texture.modify_ram_image(), np.uint8).reshape(
            size, size, 4
        )
        event.decode(out=memory[:side, :side], format=detailflow.Format.BGRA8)
        self.card.set_tex_scale(TextureStage.get_default(), side / size)
        self.card.show()


class Wall:
    """The window, its cells, and the worker that draws their sprites."""

    def __init__(self, offscreen: bool, budget: float) -> None:
        load_prc_file_data(
            "",
            f"win-size {WIDTH} {HEIGHT}\naudio-library-name null\nshow-frame-rate-meter 0",
        )
        load_prc_file_data("", "sync-video 0\nnotify-level-device fatal")
        if offscreen:
            load_prc_file_data(
                "", "load-display p3tinydisplay\naux-display\nwindow-type offscreen"
            )
        from direct.showbase.ShowBase import ShowBase

        self.base = ShowBase()
        self.base.set_background_color(*(channel / 255 for channel in BACKGROUND))
        self.budget = budget
        # One thread gives the steadiest frame times; a worker without threads works inside tick().
        self.model = detailflow.Model(threads=1)
        self.worker = detailflow.Worker(threads=0)
        size = self.model.info.image_size
        self.cells = [
            Cell(index, self.base.pixel2d, size) for index in range(COLUMNS * ROWS)
        ]
        self.seed = 0

    def submit(self) -> None:
        """One job for each cell, each with a class and a seed of its own."""
        with self.model.request() as request:
            for index in range(len(self.cells)):
                request.set_image_source(
                    0, index % self.model.info.class_count, self.seed + index
                )
                self.worker.submit(
                    request, user=index, flags=detailflow.SubmitFlag.DECODE
                )
        self.seed += len(self.cells)

    def frame(self, generates: bool, frames: Frames | None = None) -> bool:
        """One frame: a tick, its events, and Panda3D's own work. Returns whether jobs are left."""
        begun = time.perf_counter()
        ticked = None
        if generates:
            self.worker.tick(self.budget)
            ticked = time.perf_counter() - begun
            while (event := self.worker.poll()) is not None:
                if event.error is not None:
                    raise event.error
                if event.kind == detailflow.EventKind.LEVEL:
                    self.cells[event.user].show(event)
        self.base.task_mgr.step()
        took = time.perf_counter() - begun
        if frames is not None:
            frames.add(took, ticked)
        time.sleep(max(0.0, FRAME - took))
        return self.worker.pending > 0

    def screenshot(self, path: Path) -> None:
        """Writes what is shown to PATH.png, and where the sprites are to PATH.json."""
        self.base.graphics_engine.render_frame()
        image = PNMImage()
        found = self.base.win.get_screenshot(image)
        image.remove_alpha()
        if not found or not image.write(path.with_suffix(".png")):
            raise SystemExit(f"{path}: no screenshot")
        cells = [
            {"x": cell.x, "y": cell.y, "level_size": cell.level_size}
            for cell in self.cells
        ]
        path.with_suffix(".json").write_text(
            json.dumps({"side": SIDE, "background": BACKGROUND, "cells": cells})
        )

    def screenshots(self, folder: Path) -> None:
        """A screenshot when each sprite has come in, coarse, and one when all are sharp."""
        self.submit()
        while not all(cell.level_size for cell in self.cells):
            self.frame(True)
        self.screenshot(folder / "coarse")
        while self.frame(True):
            pass
        self.screenshot(folder / "sharp")

    def measure(self, seconds: float) -> None:
        """Frame times, a second with generation and a second without in turns; the first pair is not counted."""
        pairs = [(Frames(), Frames()), (Frames(), Frames())]
        for second in range(2 + 2 * round(seconds)):
            generates, counted = second % 2 == 0, second >= 2
            end = time.perf_counter() + 1
            while time.perf_counter() < end:
                if generates and self.worker.pending == 0:
                    self.submit()
                self.frame(generates, pairs[counted][generates])
        without, with_generation = pairs[True]
        print(f"without generation: {without}")
        print(f"with generation:    {with_generation}")
        print(f"tick, budget {self.budget * 1e3:g} ms: {with_generation.ticks()}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--offscreen", action="store_true", help="render in software, without a display"
    )
    parser.add_argument(
        "--budget-ms",
        type=float,
        default=4,
        help="milliseconds of each frame for generating: 4",
    )
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER")
    parser.add_argument(
        "--seconds", type=float, help="of each kind of frames to measure"
    )
    options = parser.parse_args()
    wall = Wall(options.offscreen, options.budget_ms / 1e3)
    if options.screenshots:
        wall.screenshots(options.screenshots)
    if options.seconds:
        wall.measure(options.seconds)
    if not options.screenshots and not options.seconds:
        wall.submit()
        while not wall.base.win.is_closed():
            wall.frame(True)


if __name__ == "__main__":
    main()

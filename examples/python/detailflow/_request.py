# SPDX-License-Identifier: MIT OR Apache-2.0
"""Requests: what to generate."""

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from . import _library, _structs
from ._handle import Handle
from ._library import HANDLE, call, integers
from ._pixels import Pixels, TokensLike, source, tokens_array
from ._types import Cost, Format, fill

if TYPE_CHECKING:
    from ._generation import Generation
    from ._model import Model

# A number, or a curve over the tokens: pairs of a token and the value there.
Curve: TypeAlias = float | Sequence[tuple[int, float]]


class Request(Handle):
    """What to generate: how many images, of which classes, from which seeds, how sampled.

    Settings that are None stay as they are: at first those of the model.
    """

    __slots__ = ("_level_size", "_model")
    _kind = "request"

    def __init__(
        self,
        model: "Model",
        class_: str | int = 0,
        seed: int = 0,
        *,
        images: int = 1,
        level_size: int = 0,
        guidance: Curve | None = None,
        gradual_guidance: bool | None = None,
        temperature: Curve | None = None,
        top_k: Curve | None = None,
        top_p: Curve | None = None,
        log_probabilities: bool = False,
    ) -> None:
        """A request for `images` images of one class, with the seeds `seed`, `seed` + 1, ..."""
        with model._use() as pointer:
            super().__init__(_library.new("request_new", pointer, HANDLE))
        # A model that is collected cancels the jobs that workers have of it.
        self._model = model
        self._level_size = 0
        self.set(
            class_=class_,
            seed=seed,
            images=images,
            level_size=level_size,
            guidance=guidance,
            gradual_guidance=gradual_guidance,
            temperature=temperature,
            top_k=top_k,
            top_p=top_p,
            log_probabilities=log_probabilities,
        )

    @property
    def model(self) -> "Model":
        """The model that it is for."""
        return self._model

    def set(
        self,
        *,
        class_: str | int | None = None,
        seed: int | None = None,
        images: int | None = None,
        level_size: int | None = None,
        guidance: Curve | None = None,
        gradual_guidance: bool | None = None,
        temperature: Curve | None = None,
        top_k: Curve | None = None,
        top_p: Curve | None = None,
        log_probabilities: bool | None = None,
    ) -> None:
        """Changes settings; `level_size` 0 is the finest level."""
        if class_ is not None:
            self._set("class", self._model._class_index(class_))
        if seed is not None:
            self._set("seed", seed)
        if images is not None:
            self._set("image_count", images)
        if level_size is not None:
            self._set("level_size", level_size)
            self._level_size = level_size
        if gradual_guidance is not None:
            self._set("gradual_guidance", int(gradual_guidance))
        if log_probabilities is not None:
            self._set("log_probabilities", int(log_probabilities))
        curves = {"guidance": guidance, "temperature": temperature, "top_k": top_k, "top_p": top_p}
        for name, value in curves.items():
            if isinstance(value, Sequence):
                indices = integers(f"{name}_curve", (index for index, _ in value), np.uint32)
                values = np.array([number for _, number in value], np.float32)
                self._set(f"{name}_curve", indices.ctypes.data, values.ctypes.data, len(value))
            elif value is not None:
                self._set(name, int(value) if name == "top_k" and float(value).is_integer() else value)

    def set_image_source(self, image: int, class_: str | int, seed: int) -> None:
        """Class and seed of one image."""
        self._set("image_source", image, self._model._class_index(class_), seed)

    def set_prefix(self, tokens: TokensLike, level_size: int = 0) -> None:
        """The tokens that every image begins with: those of a level, or (0) all that are given."""
        array = tokens_array(tokens)
        self._set("prefix", array.ctypes.data, array.size, level_size)

    def set_prefix_picture(self, picture: Pixels, level_size: int = 0, *, format: Format | None = None) -> None:
        """Encodes pixels; every image begins with their tokens: those of a level, or (0) all."""
        picture, image = source(picture, format)
        self._set("prefix_picture", ctypes.byref(image), level_size)

    @property
    def cost(self) -> Cost:
        """What it costs, without generating anything."""
        cost = _structs.Cost.new()
        with self._use() as pointer:
            call("request_get_cost", pointer, ctypes.byref(cost))
        return fill(Cost, cost)

    def begin(self) -> "Generation":
        """A generation that has not started."""
        from ._generation import Generation

        return Generation(self)

    def generate(self) -> "Generation":
        """A generation with all its steps done."""
        generation = self.begin()
        try:
            generation.finish()
        except BaseException:
            generation.close()
            raise
        return generation

    def _set(self, name: str, *values: object) -> None:
        with self._use() as pointer:
            call(f"request_set_{name}", pointer, *values)

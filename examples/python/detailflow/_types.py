# SPDX-License-Identifier: MIT OR Apache-2.0
"""Constants, and what functions return, with the names of detailflow.h."""

import dataclasses
import enum
from typing import Any, TypeVar

T = TypeVar("T")
NO_CLASS = 0xFFFFFFFF


class Status(enum.IntEnum):
    """Status codes."""

    OK = 0
    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    BAD_BUNDLE = 3
    NO_RUNTIME = 4
    NO_DEVICE = 5
    OUT_OF_MEMORY = 6
    IO = 7
    BAD_FORMAT = 8
    CANCELLED = 9
    WRONG_STATE = 10
    BUSY = 11
    FAILED = 12
    INTERNAL = 13


class Spinning(enum.IntEnum):
    """When threads that wait for work keep a CPU core busy."""

    DEFAULT = 0
    NEVER = 1
    RUNS = 2


class DeviceKind(enum.IntEnum):
    """Kinds of devices."""

    CPU = 1
    GPU = 2
    NPU = 3


class Format(enum.IntEnum):
    """Pixel formats."""

    RGB8 = 1
    RGBA8 = 2
    RGBA32F = 3
    BGRA8 = 4
    RGBA8_PREMULTIPLIED = 5
    BGRA8_PREMULTIPLIED = 6
    RGBA16F_LINEAR = 7
    RGBA16F_LINEAR_PREMULTIPLIED = 8


class FileFormat(enum.IntEnum):
    """Formats of picture files."""

    PNG = 1
    JPEG = 2
    WEBP = 3
    BMP = 4
    TGA = 5
    TIFF = 6
    QOI = 7


class MipsSource(enum.IntEnum):
    """What mips are made from."""

    DEFAULT = 0
    LEVELS = 1
    FINEST = 2


class SubmitFlag(enum.IntFlag):
    """How a worker reports a job."""

    DECODE = 1
    LAST_ONLY = 2
    HOLD = 4


class WorkerOrder(enum.IntEnum):
    """Which jobs of a worker come first."""

    DEFAULT = 0
    COARSE_FIRST = 1
    PRIORITY_FIRST = 2


class EventKind(enum.IntEnum):
    """Kinds of events. All but LEVEL are the last of their job."""

    LEVEL = 1
    DONE = 2
    CANCELLED = 3
    FAILED = 4


class Damage(enum.IntEnum):
    """What is wrong with a token file."""

    NONE = 0
    CUT = 1
    GROUP = 2
    SURPLUS = 3


class TokensKind(enum.IntEnum):
    """Kinds of files that hold tokens."""

    NONE = 0
    DFT = 1
    PACK = 2
    JSON = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Device:
    """A device of this machine. `device` is what Model takes; None when nothing here can use it."""

    kind: DeviceKind
    vendor_id: int
    device_id: int
    device: str | None
    vendor: str
    name: str
    provider: str
    metadata: dict[str, str]


@dataclasses.dataclass(frozen=True, slots=True)
class ModelInfo:
    """Properties of a model."""

    image_size: int
    channels: int
    token_count: int
    group_size: int
    causal_count: int
    codebook_size: int
    bits_per_token: int
    class_count: int
    level_count: int
    guidance: float
    temperature: float
    top_p: float
    top_k: int
    gradual_guidance: bool
    can_generate: bool
    can_encode: bool
    name: str
    license: str
    tokenizer_id: str
    precision: str
    form: str
    device: str
    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Level:
    """One of the ladder's sizes, in pixels per side, with the largest number of tokens that decodes to it."""

    level_size: int
    token_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Progress:
    """The state of a generation."""

    steps_done: int
    steps_left: int
    token_count: int
    prefix_size: int
    level_size: int
    image_count: int
    level_token_count: int
    next_step_ns: int
    next_decode_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class TickReport:
    """What a tick of a worker did, and what is left."""

    unit_count: int
    step_count: int
    decode_count: int
    image_count: int
    more: bool
    time_ns: int
    longest_unit_ns: int
    next_unit_ns: int
    ready_count: int
    parked_count: int


@dataclasses.dataclass(frozen=True, slots=True)
class Cost:
    """What a request costs."""

    step_count: int
    multiply_adds: int
    kv_cache_bytes: int
    output_bytes: int
    time_ns: int


@dataclasses.dataclass(frozen=True, slots=True)
class DftInfo:
    """What a token file says. `class_index` and `seed` are None when it has none."""

    damage: Damage
    intact_count: int
    written_count: int
    token_count: int
    group_size: int
    causal_count: int
    bits_per_token: int
    class_index: int | None
    seed: int | None
    tokenizer_id: str


def fill(made: type[T], struct: Any, **other: Any) -> T:
    """An instance of the dataclass `made` from the fields of a C struct, and those in `other`."""
    values = dict(other)
    for field in dataclasses.fields(made):  # type: ignore[arg-type]
        if field.name not in values:
            value = getattr(struct, field.name)
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            elif field.type is bool:
                value = bool(value)
            values[field.name] = value
    return made(**values)

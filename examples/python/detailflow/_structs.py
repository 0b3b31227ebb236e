# SPDX-License-Identifier: MIT OR Apache-2.0
"""The structs of detailflow.h. tests/test_header.py compares their layout with a C compiler's."""

import ctypes
from ctypes import c_char, c_char_p, c_float, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any, Self

STRUCT_SIZE = ("struct_size", c_uint32)
READ_AT = ctypes.CFUNCTYPE(c_size_t, c_void_p, c_uint64, c_void_p, c_size_t)


def u32(*names: str) -> list[tuple[str, Any]]:
    """Fields of type uint32_t."""
    return [(name, c_uint32) for name in names]


def u64(*names: str) -> list[tuple[str, Any]]:
    """Fields of type uint64_t."""
    return [(name, c_uint64) for name in names]


def text(*names: str) -> list[tuple[str, Any]]:
    """Fields of type const char *."""
    return [(name, c_char_p) for name in names]


class Struct(ctypes.Structure):
    """A plain struct of the C API."""

    @classmethod
    def new(cls, **fields: Any) -> Self:
        """One with its size set."""
        return cls(struct_size=ctypes.sizeof(cls), **fields)


class DeviceInfo(Struct):
    """detailflow_device_info."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("kind", "vendor_id", "device_id", "metadata_count", "reserved"),
        *text("device", "vendor", "name", "provider"),
    ]


class Image(Struct):
    """detailflow_image."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("format", "width", "height"),
        ("stride", c_size_t),
        ("pixels", c_void_p),
        ("capacity", c_size_t),
    ]


class Reader(Struct):
    """detailflow_reader."""

    _fields_ = [STRUCT_SIZE, *u32("reserved"), *u64("size"), ("read_at", READ_AT), ("user", c_void_p)]


class ModelInfo(Struct):
    """detailflow_model_info."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("image_size", "channels", "token_count", "group_size", "causal_count", "codebook_size"),
        *u32("bits_per_token", "class_count", "level_count"),
        ("guidance", c_float),
        ("temperature", c_float),
        ("top_p", c_float),
        *u32("top_k", "gradual_guidance", "can_generate", "can_encode", "reserved"),
        *text("name", "license", "tokenizer_id", "precision", "form", "device", "path"),
    ]


class Level(Struct):
    """detailflow_level."""

    _fields_ = [STRUCT_SIZE, *u32("level_size", "token_count", "reserved")]


class Progress(Struct):
    """detailflow_progress."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("steps_done", "steps_left", "token_count", "prefix_size", "level_size", "image_count"),
        *u32("level_token_count"),
        *u64("next_step_ns", "next_decode_ns"),
    ]


class TickReport(Struct):
    """detailflow_tick_report."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("unit_count", "step_count", "decode_count", "image_count", "more"),
        *u64("time_ns", "longest_unit_ns", "next_unit_ns", "ready_count", "parked_count"),
    ]


class EventInfo(Struct):
    """detailflow_event_info."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("kind"),
        *u64("job", "user"),
        ("status", c_int32),
        *u32("image_count", "token_count", "level_size", "level_token_count", "steps_done", "steps_left", "decoded"),
    ]


class Cost(Struct):
    """detailflow_cost."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("step_count"),
        *u64("multiply_adds", "kv_cache_bytes", "output_bytes", "time_ns"),
    ]


class DftInfo(Struct):
    """detailflow_dft_info."""

    _fields_ = [
        STRUCT_SIZE,
        *u32("damage", "intact_count", "written_count", "token_count", "group_size", "causal_count"),
        *u32("bits_per_token", "class_index", "has_seed"),
        *u64("seed"),
        ("tokenizer_id", c_char * 24),
    ]


class Error(Struct):
    """detailflow_error."""

    _fields_ = [STRUCT_SIZE, ("status", c_int32), ("message", c_char * 1016)]

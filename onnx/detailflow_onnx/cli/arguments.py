"""Argument types of the command line."""

import argparse
import math
from collections.abc import Callable
from typing import Any

# What `add_subparsers` returns; argparse has no public name for it.
Commands = Any


def _unique(text: str) -> list[str]:
    return list(dict.fromkeys(text.split(",")))


def choices(*allowed: str) -> Callable[[str], list[str]]:
    """A comma-separated list of allowed words."""

    def read(text: str) -> list[str]:
        out = _unique(text)
        if not set(out) <= set(allowed):
            raise argparse.ArgumentTypeError(f"{text!r}: a comma-separated list of {', '.join(allowed)} is needed")
        return out

    return read


def words(what: str) -> Callable[[str], list[str]]:
    """A comma-separated list of names that the bundle defines."""

    def read(text: str) -> list[str]:
        out = _unique(text)
        if not all(out):
            raise argparse.ArgumentTypeError(f"{text!r}: a comma-separated list of {what}s is needed")
        return out

    return read


def number(kind: type, least: float, most: float = math.inf, *, above: bool = False) -> Callable[[str], Any]:
    """A number from `least` (or above it) to `most`."""

    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            value = math.nan
        low = least < value if above else least <= value
        if not low or not value <= most or math.isinf(value):
            bound = f"{'above' if above else 'at least'} {least}" + (f" and at most {most}" if most < math.inf else "")
            raise argparse.ArgumentTypeError(f"{text!r}: a number {bound} is needed")
        return value

    return read


def numbers(kind: type, least: float) -> Callable[[str], list[Any]]:
    """A comma-separated list of numbers of at least `least`."""
    one = number(kind, least)
    return lambda text: list(dict.fromkeys(one(part) for part in text.split(",")))


def sides(text: str) -> tuple[int, int]:
    """Width and height in pixels: WxH, or one number for both."""
    one = number(int, 1, 1 << 16)
    parts = [one(part) for part in text.lower().split("x")]
    if len(parts) > 2:
        raise argparse.ArgumentTypeError(f"{text!r}: a width and a height are needed, such as 32x32")
    return parts[0], parts[-1]

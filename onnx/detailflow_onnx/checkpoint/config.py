"""config.json and config.yaml of a checkpoint."""

import math
import os
from pathlib import Path
from typing import Any, TypeVar

from detailflow_onnx.errors import need, shown
from detailflow_onnx.files import decoded, read_bytes, read_json

T = TypeVar("T")
_MISSING: Any = object()
MOST = 1 << 20  # of a count or a width
MAX_YAML = 1 << 20  # bytes


def _scalar(text: str) -> Any:
    """A YAML scalar on one line: quoted text, null, boolean, number, or the text itself."""
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text
    text = text.split(" #")[0].strip()
    words = {"": None, "null": None, "~": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float) if len(text) < 100 else ():
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_yaml(text: str) -> dict[str, Any]:
    """The top-level `key: scalar` lines of a YAML file. Lists, mappings and indented lines are skipped."""
    out = {}
    for line in text.split("\n"):
        line = line.removesuffix("\r")
        key, colon, value = line.partition(":")
        plain = colon and key and not key[0].isspace() and key[0] not in "#-[{}]"
        scalar = value.strip()[:1] not in ("[", "{", "|", ">", "&", "*", "!")
        if plain and scalar and (not value or value[0].isspace()):
            out[key.strip("'\" ")] = _scalar(value.strip())
    return out


def read_yaml_file(path: Path) -> dict[str, Any]:
    """`read_yaml` of a file; {} if there is none. Text that is not UTF-8 is tolerated in what is not read."""
    if not os.path.lexists(path):
        return {}
    return read_yaml(decoded(read_bytes(path, MAX_YAML), path, "replace"))


class Config:
    """The keys of config.json and, where they are missing there, of config.yaml."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.json"
        self.values = read_json(self.path)
        self.values = read_yaml_file(folder / "config.yaml") | self.values

    def get(self, key: str, kind: type[T], default: T = _MISSING) -> T:
        """The value of `key`; refused if it is missing without a default or is not of type `kind`."""
        value: Any = self.values.get(key)
        if value is None:
            need(default is not _MISSING, f"{self.path}: the key {key} is missing")
            return default
        if kind is float and type(value) is int and abs(value) < 1 << 53:
            value = float(value)
        valid = isinstance(value, kind) and (kind is not int or not isinstance(value, bool))
        valid = valid and (not isinstance(value, float) or math.isfinite(value))
        need(valid, f"{self.path}: the key {key} is {shown(value)}; {kind.__name__} is needed")
        if kind is int:
            need(abs(value) <= MOST, f"{self.path}: the key {key} is {shown(value)}; at most {MOST} is allowed")
        out: T = value
        return out

    def require(self, key: str, kind: type[T], allowed: T, default: T = _MISSING) -> None:
        """Refuse any value of `key` other than `allowed`."""
        value = self.get(key, kind, default)
        need(value == allowed, f"{self.path}: {key} is {shown(value)}; only {allowed!r} can be exported")

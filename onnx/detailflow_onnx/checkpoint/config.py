"""config.json and config.yaml of a checkpoint."""

import json
from pathlib import Path
from typing import Any, TypeVar

from detailflow_onnx.errors import Refused, need

T = TypeVar("T")
_MISSING: Any = object()


def _scalar(text: str) -> Any:
    """A YAML scalar on one line: quoted text, null, boolean, number, or the text itself."""
    if text[:1] in ("'", '"'):
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text
    text = text.split(" #")[0].strip()
    words = {"": None, "null": None, "~": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def read_yaml(text: str) -> dict[str, Any]:
    """The top-level `key: scalar` lines of a YAML file. Lists, mappings and indented lines are skipped."""
    out = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        plain = colon and key and not key[0].isspace() and key[0] not in "#-[{}]"
        scalar = value.strip()[:1] not in ("[", "{", "|", ">", "&", "*", "!")
        if plain and scalar and (not value or value[0].isspace()):
            out[key.strip("'\" ")] = _scalar(value.strip())
    return out


def read_json(path: Path) -> dict[str, Any]:
    """A file that holds one JSON object."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Refused(f"{path}: not JSON ({error})") from None
    need(isinstance(value, dict), f"{path}: not a JSON object")
    return dict(value)


class Config:
    """The keys of config.json and, where they are missing there, of config.yaml."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "config.json"
        self.values = read_json(self.path)
        extra = folder / "config.yaml"
        if extra.is_file():
            self.values = read_yaml(extra.read_text(encoding="utf-8", errors="replace")) | self.values

    def get(self, key: str, kind: type[T], default: T = _MISSING) -> T:
        """The value of `key`; refused if it is missing without a default or is not of type `kind`."""
        value: Any = self.values.get(key)
        if value is None:
            need(default is not _MISSING, f"{self.path}: the key {key} is missing")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        valid = isinstance(value, kind) and (kind is not int or not isinstance(value, bool))
        need(valid, f"{self.path}: the key {key} is {value!r}; {kind.__name__} is needed")
        out: T = value
        return out

    def require(self, key: str, kind: type[T], allowed: T, default: T = _MISSING) -> None:
        """Refuse any value of `key` other than `allowed`."""
        value = self.get(key, kind, default)
        need(value == allowed, f"{self.path}: {key} is {value!r}; only {allowed!r} can be exported")

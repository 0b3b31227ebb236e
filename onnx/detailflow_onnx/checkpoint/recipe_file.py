"""What the recipe of a training run, `recipe.yaml` beside its checkpoint, says about a bundle."""

import os
from pathlib import Path
from typing import Any

from detailflow_onnx.errors import need, shown
from detailflow_onnx.files import check_name, read_bytes

NAME = "recipe.yaml"
TEXTS = ("name", "license")
# Keys of `ar.train`: (whether the least value is allowed, the largest one).
SAMPLING = {"guidance": (True, 1e9), "temperature": (True, 1e9), "top_p": (False, 1.0)}


def bundle_defaults(folder: str | Path) -> tuple[dict[str, Any], str]:
    """(name, license, guidance, temperature and top_p of the recipe in `folder`; why it is not read, or "").

    Keys that the recipe does not have are missing.
    """
    path = Path(folder) / NAME
    if not os.path.lexists(path):
        return {}, ""
    try:
        from detailflow_onnx import yaml_file
    except ImportError:
        return {}, f"{path}: not read, as PyYAML is not installed (pip install pyyaml)"
    values = yaml_file.parse(read_bytes(path, yaml_file.MAX_BYTES), str(path))[1]
    out: dict[str, Any] = {}
    for key in TEXTS:
        value = _section(values, "the file", path).get(key)
        if value not in (None, ""):
            need(isinstance(value, str), f"{path}: {key} is {shown(value)}; text is needed")
            check_name(value, f"{path}: the value of {key},")
            out[key] = value
    train = _section(_section(_section(values, "the file", path).get("ar"), "ar", path).get("train"), "ar.train", path)
    for key, (least, most) in SAMPLING.items():
        if train.get(key) is not None:
            out[key] = _number(train[key], least, most, f"{path}: ar.train.{key}")
    return out, ""


def _section(value: Any, name: str, path: Path) -> dict[str, Any]:
    need(value is None or isinstance(value, dict), f"{path}: {name} is not a mapping")
    return value or {}


def _number(value: Any, least: bool, most: float, subject: str) -> float:
    if isinstance(value, str):  # YAML reads 1e-4 as text
        try:
            value = float(value)
        except ValueError:
            pass
    valid = type(value) in (int, float) and (value > 0 or (least and value == 0)) and value <= most
    bound = f"{'from 0' if least else 'above 0'}" + (f" to {most:g}" if most < 1e9 else "")
    need(valid, f"{subject} is {shown(value)}; a number {bound} is needed")
    return float(value)

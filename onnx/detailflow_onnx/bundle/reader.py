"""Read the manifest of a bundle and check its files."""

import hashlib
import json
from pathlib import Path
from typing import Any

from detailflow_onnx.bundle.manifest import FORMAT, Manifest
from detailflow_onnx.bundle.variants import GRAPHS
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.output import MANIFEST

CACHE_PRECISIONS = ("fp32", "fp16")  # values of a variant's `keys`: the type of the KV cache


def graphs_of(content: Manifest) -> list[str]:
    """The graphs that a bundle holds; all variants hold the same."""
    return [graph for graph in GRAPHS if graph in content["variants"][0]]


def _check_variant(path: Path, variant: dict[str, Any]) -> None:
    keys, form = variant.get("keys", "fp32"), variant["form"]
    subject = f"{path}: {variant['precision']} {form}"
    need(keys in CACHE_PRECISIONS, f"{subject}: keys {keys!r} is unknown; allowed are {' and '.join(CACHE_PRECISIONS)}")
    fits = keys == "fp32" or form in ("plain", "fixed")
    need(fits, f"{subject}: keys is {keys}, but form {form} has an fp32 KV cache")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle; refused if keys that every bundle has are missing."""
    path = folder / MANIFEST
    try:
        content: Manifest = json.loads(path.read_text(encoding="utf-8"))
        version = content["format"]
        need(version == FORMAT, f"{path}: format {version!r} is unknown; this exporter supports {FORMAT}")
        content["tokens"]["count"], content["variants"][0]["decoder"], content["files"][0]["sha256"]
        for variant in content["variants"]:
            _check_variant(path, variant)
        if "ar" in graphs_of(content):
            content["ar"]["layers"], content["ids"]["class"]
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: not the manifest of a bundle ({type(error).__name__}: {error})") from None
    return content


def check_files(folder: Path, content: Manifest) -> None:
    """Check that every file exists with its length and SHA-256."""
    for item in content["files"]:
        path = folder / item["path"]
        need(path.name == item["path"], f"{folder}: the file name {item['path']!r} is not a plain name")
        need(path.is_file(), f"{path}: the file is missing")
        length = path.stat().st_size
        need(length == item["length"], f"{path}: the length is {length}, but the manifest says {item['length']}")
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        need(digest.hexdigest() == item["sha256"], f"{path}: the SHA-256 differs from the manifest")

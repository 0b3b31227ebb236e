"""Read the manifest of a bundle and check its files."""

import hashlib
from pathlib import Path
from typing import Any

from detailflow_onnx.bundle.manifest import FORMAT, Manifest
from detailflow_onnx.bundle.variants import GRAPHS
from detailflow_onnx.errors import Refused, brief, need, shown
from detailflow_onnx.files import check_name, open_regular, parsed_json, read_text
from detailflow_onnx.output import MANIFEST

CACHE_PRECISIONS = ("fp32", "fp16")  # values of a variant's `keys`: the type of the KV cache


def graphs_of(content: Manifest) -> list[str]:
    """The graphs that a bundle holds; all variants hold the same."""
    return [graph for graph in GRAPHS if graph in content["variants"][0]]


MAX_MANIFEST = 16 << 20  # bytes
MOST = 1 << 20  # of a count or a width
LARGEST = 1 << 14  # pixels per side
# Keys that every bundle has, and those of a bundle that generates: counts from 1 on.
COUNTS = {"tokens": ("count", "group", "causal", "codes"), "image": ("size", "channels")}
AR_COUNTS = {"ar": ("layers", "heads", "kv_heads", "head_width"), "ids": ("class", "no_class", "special")}


def _text(owner: Any, key: str, subject: str) -> str:
    value = owner[key]
    need(isinstance(value, str) and len(value) <= 4096, f"{subject}: {key} is {shown(value)}; text is needed")
    check_name(value, f"{subject}: the value of {key},")
    return str(value)


def _check_counts(path: Path, content: Manifest, keys: dict[str, tuple[str, ...]]) -> None:
    for section, names in keys.items():
        for name in names:
            value, most = content[section][name], LARGEST if name == "size" else MOST * 4
            valid = type(value) is int and 1 <= value <= most
            need(valid, f"{path}: {section}.{name} is {shown(value)}; 1 to {most} are allowed")


def _check_variant(path: Path, variant: dict[str, Any], files: set[str]) -> None:
    form, precision = _text(variant, "form", str(path)), _text(variant, "precision", str(path))
    subject = f"{path}: {brief(precision)} {brief(form)}"
    keys = variant.get("keys", "fp32")
    known = isinstance(keys, str) and keys in CACHE_PRECISIONS
    need(known, f"{subject}: keys {shown(keys)} is unknown; allowed are {' and '.join(CACHE_PRECISIONS)}")
    for graph in (graph for graph in GRAPHS if graph in variant):
        listed = _text(variant, graph, subject) in files
        need(listed, f"{subject}: {graph} is {shown(variant[graph])}, which is not one of the files")
    version = _text(variant, "min_runtime", subject).split(".")[:2]
    numbers = len(version) == 2 and all(part.isascii() and part.isdigit() and len(part) < 9 for part in version)
    need(numbers, f"{subject}: min_runtime is {shown(variant['min_runtime'])}; a version as 1.20 is needed")
    fits = keys == "fp32" or form != "mha"
    need(fits, f"{subject}: keys is {keys}, but form {form} has an fp32 KV cache")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a bundle; refused if keys that every bundle has are missing."""
    path = folder / MANIFEST
    text = read_text(path, MAX_MANIFEST)
    try:
        content: Manifest = parsed_json(text, path)
    except Refused as error:
        raise Refused(f"{error}; it is not the manifest of a bundle") from None
    try:
        version = content["format"]
        need(version == FORMAT, f"{path}: format {shown(version)} is unknown; this exporter supports {FORMAT}")
        _check_counts(path, content, COUNTS)
        content["variants"][0]["decoder"]
        for item in content["files"]:
            _check_file(path, item)
        files = {item["path"] for item in content["files"]}
        for variant in content["variants"]:
            _check_variant(path, variant, files)
        need(
            "draw" not in content or _text(content, "draw", str(path)) in files, f"{path}: draw is not one of the files"
        )
        for name in content["classes"]:
            need(isinstance(name, str), f"{path}: a class is {shown(name)}; text is needed")
            check_name(name, f"{path}: the class")
        _text(content, "tokenizer_id", str(path))
        if "ar" in graphs_of(content):
            _check_counts(path, content, AR_COUNTS)
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: not the manifest of a bundle ({type(error).__name__}: {brief(error)})") from None
    return content


def is_plain(name: str) -> bool:
    """Whether a name is that of a file in a folder, and not of a path."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0") and len(name) < 256


def _check_file(path: Path, item: Any) -> None:
    """Check an entry of `files`: a plain name, a length and a hash."""
    name, length = _text(item, "path", str(path)), item["length"]
    need(is_plain(name), f"{path}: the file name {shown(name)} is not a plain name")
    valid = type(length) is int and 0 <= length < 1 << 53
    need(valid, f"{path}: {name}: the length is {shown(length)}; a number of bytes is needed")
    _text(item, "sha256", f"{path}: {name}")


def check_files(folder: Path, content: Manifest) -> None:
    """Check that every file exists with its length and SHA-256."""
    for item in content["files"]:
        path = folder / item["path"]
        need(path.is_file(), f"{path}: the file is missing")
        length = path.stat().st_size
        need(length == item["length"], f"{path}: the length is {length}, but the manifest says {item['length']}")
        with open_regular(path) as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        need(digest.hexdigest() == item["sha256"], f"{path}: the SHA-256 differs from the manifest")

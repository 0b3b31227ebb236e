"""The command `checkpoint`: a bundle as a checkpoint that training starts from, or that is exported again."""

import argparse
import dataclasses
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detailflow_onnx.cli.arguments import Commands
from detailflow_onnx.errors import need, printable, shown

if TYPE_CHECKING:
    from detailflow_onnx.bundle.manifest import Manifest
    from detailflow_onnx.checkpoint.model import Model


def add_commands(commands: Commands) -> None:
    """Add the command."""
    help_ = "turn a bundle into a checkpoint, to train further (train --start) or to export again"
    p = commands.add_parser("checkpoint", help=help_)
    p.set_defaults(run=run)
    p.add_argument("bundle", metavar="BUNDLE", help="the bundle: a folder or a .dflow file, in fp32, fp16 or int8")
    out = "new folder: tokenizer/, ar/ if the bundle has an autoregressive model, and recipe.yaml"
    p.add_argument("--out", required=True, metavar="DIR", help=out)


def run(options: argparse.Namespace) -> int:
    """The command."""
    from detailflow_onnx.bundle.reader import read_manifest
    from detailflow_onnx.bundle.single import opened
    from detailflow_onnx.bundle.weights import open_bundle
    from detailflow_onnx.checkpoint import layout
    from detailflow_onnx.output import temporary

    out = Path(options.out)
    need(out.absolute().parent.is_dir(), f"{out.absolute().parent}: no such folder")
    empty = not out.is_symlink() and (not out.exists() or (out.is_dir() and not any(out.iterdir())))
    need(empty, f"{out}: exists and is not an empty folder; it is left unchanged")
    with opened(Path(options.bundle)) as folder, temporary(out) as work:
        content, model = read_manifest(folder), open_bundle(folder)
        layout.check_tokenizer(model, options.bundle)
        _write(work, model, content)
        if out.exists():
            out.rmdir()
        work.chmod(0o755)
        work.rename(out)
    parts = "tokenizer" if model.ar is None else "tokenizer, ar"
    print(printable(f"{out}: {parts} of the model {model.name}, {len(model.classes)} classes"))
    return 0


def _write(work: Path, model: "Model", content: "Manifest") -> None:
    from detailflow_onnx.checkpoint import layout
    from detailflow_onnx.numbers.sizes import ArSizes
    from detailflow_onnx.output import write_text

    recipe = "".join(_yaml(_recipe(model, content)))
    tokenizer = work / "tokenizer"
    tokenizer.mkdir()
    layout.write_description(tokenizer, layout.describe_tokenizer(model), model.classes)
    layout.write_weights(tokenizer, model.tokenizer, "model")
    for folder in (work, tokenizer):
        write_text(folder / "recipe.yaml", recipe)
    if model.ar is None or model.ar_weights is None:
        return
    ar = work / "ar"
    ar.mkdir()
    sizes = ArSizes(model.count, model.group, model.causal, model.codes, len(model.classes), model.ar)
    layout.write_description(ar, layout.describe_ar(sizes, model.name), model.classes)
    layout.write_weights(ar, model.ar_weights, "ema")
    write_text(ar / "recipe.yaml", recipe)


def _recipe(model: "Model", content: "Manifest") -> dict[str, Any]:
    """The sizes of the model as a recipe, with the name, the licence and the sampling that `export` reads."""

    def side(side: Any) -> dict[str, int]:
        return {key: getattr(side, key) for key in ("width", "depth", "heads", "hidden", "patch")}

    tokenizer = {
        "count": model.count,
        "group": model.group,
        "causal": model.causal,
        "codes": model.codes,
        "code_width": model.code_width,
        "l2_norm": model.l2_norm,
        "power": float(model.power),
        "encoder": side(model.encoder),
        "decoder": side(model.decoder),
    }
    text = content.get("license")
    need(isinstance(text, str), f"the manifest: license is {shown(text)}; text is needed")
    recipe: dict[str, Any] = {
        "name": model.name,
        "license": text,
        "data": {"size": model.size, "channels": model.channels},
        "tokenizer": {"model": tokenizer},
    }
    if model.ar:
        sizes = dataclasses.asdict(model.ar)
        keys = ("width", "depth", "heads", "kv_heads", "hidden", "rope_base")
        sampling = {key: _sampling(content, key) for key in ("guidance", "temperature", "top_p")}
        recipe["ar"] = {"model": {key: sizes[key] for key in keys}, "train": sampling}
    return recipe


def _sampling(content: "Manifest", key: str) -> float:
    sampling = content.get("sampling")
    value: Any = sampling.get(key) if isinstance(sampling, dict) else None
    valid = type(value) in (int, float) and math.isfinite(value)
    need(valid, f"the manifest: sampling.{key} is {shown(value)}; a number is needed")
    return float(value)


def _yaml(values: dict[str, Any], indent: str = "") -> list[str]:
    """The lines of a YAML mapping. JSON scalars are YAML scalars."""
    lines = []
    for key, value in values.items():
        if isinstance(value, dict):
            lines += [f"{indent}{key}:\n", *_yaml(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}\n")
    return lines

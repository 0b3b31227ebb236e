"""Make the fixtures beside this file, from the reference folder (argument 1) and the exporter.

    PYTHONPATH=onnx python tests/data/make.py REFERENCE

It needs an ONNX Runtime that runs form `mha`, and onnx/bundles/sprites. tiny-16 and tiny-32 hold checkpoints in the
published layout with only what inference needs, numbers that the authors' code computed for them (expected.npz,
golden.json, pictures), and the fp32 bundle. `small` is a minimal bundle of random weights, `precisions` the same model
in fp16 and int4. work.json has the multiply-adds measured in the graphs.
"""

import json
import shutil
import struct
import sys
import tempfile
import zlib
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent.parent / "onnx")]

from detailflow_onnx import cli  # noqa: E402  (found on the path set above)
from detailflow_onnx.bundle import runner  # noqa: E402  (as above)
from detailflow_onnx.checkpoint.model import shapes  # noqa: E402  (as above)
from helpers import bundles, layout, multiply_adds  # noqa: E402  (as above)

CHECKPOINTS = {"tiny-16": "pt", "tiny-32": "safetensors"}  # how the tokenizer's weights are kept
SMALL = layout.numbers(
    codes=16, classes=3, ar=(16, 2, 2, 2, 16), enc=(16, 2, 2, 16, 2), dec=(16, 2, 2, 16, 2), seed=20250521
)


def png(path, pixels):
    """uint8 [H, W, 3 or 4] as a PNG."""
    height, width, channels = pixels.shape
    raw = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    head = struct.pack(">IIBBBBB", width, height, 8, {3: 2, 4: 6}[channels], 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw, 9)) + chunk(b"IEND", b"")
    )


def trimmed_checkpoint(source, out, kind):
    """The published layout with the tensors that inference uses, and the weights in the format `kind`."""
    for part in ("tokenizer", "ar"):
        (out / part).mkdir(parents=True)
        for name in ("config.json", "config.yaml"):
            shutil.copyfile(source / part / name, out / part / name)
    shutil.copyfile(source / "siglip2_vision_config.json", out / "siglip2_vision_config.json")
    opened = bundles.open_checkpoint(source)
    for part, key, tensors, names in zip(
        ("tokenizer", "ar"), ("model", "ema"), (opened.tokenizer, opened.ar_weights), shapes(opened)
    ):
        form = kind if part == "tokenizer" else "pt"
        layout.write_weights(out / part, {name: tensors.read(name) for name in names}, key, layout.numbers(format=form))


def expected(source, out):
    """One image and one class of each, without the largest pictures."""
    with np.load(source / "expected.npz") as file:
        e = {key: file[key] for key in file.files}
    kept = {key: value for key, value in e.items() if key.startswith("greedy")}
    kept |= {
        key: e[key][:1]
        for key in (
            "ar_tokens",
            "ar_classes",
            "ar_logits_cond",
            "ar_logits_uncond",
            "tok_images",
            "tok_latents",
            "tok_indices",
        )
    }
    kept |= {
        f"dec{t}_pixels": e[f"dec{t}_pixels"][:1] for t in e["dec_token_counts"] if e[f"dec{t}_pixels"].shape[-1] <= 100
    }
    np.savez_compressed(out / "expected.npz", **kept)
    return e


def golden(e, out):
    """For the library's tests: plain JSON and pictures."""
    greedy = []
    for j in range(sum(k.startswith("greedy") and k.endswith("_tokens") for k in e)):
        case = {
            name: e[f"greedy{j}_{key}"].tolist()
            for name, key in (("classes", "classes"), ("gradual", "gradual"), ("tokens", "tokens"))
        }
        greedy.append(case | {"guidance": round(float(e[f"greedy{j}_cfg_scale"]), 6)})
    decode = []
    for t in e["dec_token_counts"].tolist():
        pixels = e[f"dec{t}_u8"][0]
        png(out / f"dec{t}_0.png", pixels)
        decode.append({"tokens": t, "size": pixels.shape[0], "pngs": [f"dec{t}_0.png"]})
    png(out / "image_0.png", e["tok_images"][0])
    filters = []
    for j in range(sum(k.startswith("filter") and k.endswith("_tkp") for k in e)):
        t, k, p = e[f"filter{j}_tkp"].tolist()
        rows = {"logits": e["filter_logits"][j % 4].tolist(), "probs": e[f"filter{j}_probs"][j % 4].tolist()}
        filters.append({"temperature": round(t, 6), "top_k": int(k), "top_p": round(p, 6)} | rows)
    content = {
        "greedy": greedy,
        "indices": e["tok_indices"][:1].tolist(),
        "decode": decode,
        "images": ["image_0.png"],
        "filter": filters,
    }
    (out / "golden.json").write_text(json.dumps(content) + "\n")


def export(*arguments):
    if cli.main([*map(str, arguments)]) != 0:
        sys.exit(1)


def small(out):
    with tempfile.TemporaryDirectory() as folder:
        layout.write(Path(folder) / "small", SMALL)
        export(
            *layout.arguments(Path(folder) / "small", SMALL),
            "--name",
            "small",
            "--precision",
            "int8,fp32",
            "--license",
            "CC0-1.0",
            "--out",
            out,
        )


def precisions(out):
    """The model of `small` in the precisions that are not in it."""
    with tempfile.TemporaryDirectory() as folder:
        layout.write(Path(folder) / "small", SMALL)
        export(
            *layout.arguments(Path(folder) / "small", SMALL),
            "--name",
            "small",
            "--precision",
            "int4,fp16",
            # Error feedback goes by pictures that are drawn from floats, whose last bits differ between machines.
            "--rounding",
            "nearest",
            "--license",
            "CC0-1.0",
            "--out",
            out,
        )


def works():
    """The multiply-adds of three bundles, for the library's own count to be compared with."""
    places = {
        "small": HERE / "small",
        "tiny-16": HERE / "tiny-16" / "bundle",
        "sprites": HERE.parent.parent / "onnx" / "bundles" / "sprites",
    }
    out = {}
    for name, folder in places.items():
        content = json.loads((folder / "detailflow.json").read_text())
        out[name] = multiply_adds.cases(folder, content, next(filter(runner.runs_here, content["variants"])))
    (HERE / "work.json").write_text(json.dumps(out, indent=1) + "\n")


def main(reference):
    for name, kind in CHECKPOINTS.items():
        out = HERE / name
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        trimmed_checkpoint(reference / name, out / "checkpoint", kind)
        golden(expected(reference / name, out), out)
        home = out / "checkpoint"
        export(
            "export",
            "--tokenizer",
            home / "tokenizer",
            "--ar",
            home / "ar",
            "--name",
            name,
            "--license",
            "CC0-1.0",
            "--out",
            out / "bundle",
        )
    small(HERE / "small")
    precisions(HERE / "precisions")
    works()


if __name__ == "__main__":
    # Before anything is deleted.
    if len(sys.argv) != 2 or not (Path(sys.argv[1]) / "tiny-16" / "tokenizer").is_dir():
        sys.exit("usage: make.py REFERENCE (a folder with tiny-16/tokenizer)")
    main(Path(sys.argv[1]))

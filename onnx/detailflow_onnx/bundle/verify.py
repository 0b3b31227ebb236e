"""Compare a bundle with expected numbers: every variant, every graph, each figure with its tolerance."""

import math
import os
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np

from detailflow_onnx.bundle.reader import check_files, read_manifest
from detailflow_onnx.bundle.runner import Bundle, runs_here, to_floats
from detailflow_onnx.bundle.signatures import check_signatures
from detailflow_onnx.errors import Refused, brief, need, shown
from detailflow_onnx.files import open_regular
from detailflow_onnx.numbers.figures import Bounds, kl_of, psnr, within

# By precision. Figures without a bound are reported only. README.md says where the int8 bounds come from.
TOLERANCES: dict[str, Bounds] = {
    "fp32": {
        "logits": ("most", 1e-3),
        "greedy": ("least", 1.0),
        "indices": ("least", 1.0),
        "latents": ("most", 1e-3),
        "pixels": ("most", 1e-3),
    },
    "fp16": {"kl": ("most", 1e-3), "indices": ("least", 0.97), "psnr": ("least", 50.0)},
    "int8": {"kl": ("most", 0.02), "indices": ("least", 0.9), "psnr": ("least", 32.0)},
    "int4": {"kl": ("most", 0.2), "indices": ("least", 0.9), "psnr": ("least", 32.0)},
}

Arrays = dict[str, np.ndarray]
MAX_ARRAYS = 10_000
MAX_BYTES = 1 << 30  # of all arrays of a file, and of the file


def _ar_figures(bundle: Bundle, expected: Arrays) -> dict[str, float]:
    if "ar" not in bundle.variant:
        return {}
    out: dict[str, float] = {}
    if {"ar_tokens", "ar_classes", "ar_logits_cond"} <= set(expected):
        tokens, classes, want = expected["ar_tokens"], expected["ar_classes"], expected["ar_logits_cond"]
        if "ar_logits_uncond" in expected:
            want = np.concatenate([want, expected["ar_logits_uncond"]])
        both = [*classes, *[-1] * (len(want) - len(classes))]
        got = bundle.logits(both, np.tile(tokens, (len(want) // len(classes), 1)))
        out |= {"logits": float(np.abs(got - want).max()), "kl": float(kl_of(want, got).mean())}
    same, total = 0, 0
    for key in (k for k in expected if k.startswith("greedy") and k.endswith("_tokens")):
        case = key[: -len("tokens")]
        scale, gradual = float(expected[case + "cfg_scale"]), bool(expected[case + "gradual"])
        got = bundle.greedy(list(expected[case + "classes"]), scale, gradual)
        same, total = same + int((got == expected[key]).sum()), total + got.size
    return out | ({"greedy": same / total} if total else {})


def _tokenizer_figures(bundle: Bundle, expected: Arrays) -> dict[str, float]:
    out: dict[str, float] = {}
    if "tok_images" in expected and "encoder" in bundle.variant:
        latents, ids = bundle.encode(to_floats(expected["tok_images"]))
        if "tok_latents" in expected:
            out["latents"] = float(np.abs(latents - expected["tok_latents"]).max())
        if "tok_indices" in expected:
            out["indices"] = float((ids == expected["tok_indices"]).mean())
    for key in (k for k in expected if k.startswith("dec") and k.endswith("_pixels")):
        want, count = expected[key], int(key[3 : -len("_pixels")])
        got = bundle.decode(expected["tok_indices"][:, :count], want.shape[-1])
        out["pixels"] = max(out.get("pixels", 0.0), float(np.abs(got - want).max()))
        out["psnr"] = min(out.get("psnr", np.inf), psnr(want, got))
        if key.replace("_pixels", "_u8") in expected:
            image = np.clip(127.5 * got + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
            same = float((image == expected[key.replace("_pixels", "_u8")]).mean())
            out["bytes"] = min(out.get("bytes", 1.0), same)
    return out


def figures(bundle: Bundle, expected: Arrays) -> dict[str, float]:
    """The errors and agreements of one variant that `expected` allows to compute."""
    try:
        out = _ar_figures(bundle, expected) | _tokenizer_figures(bundle, expected)
    except (KeyError, ValueError, IndexError, TypeError, OverflowError) as error:
        text = f"{type(error).__name__}: {brief(error)}"
        raise Refused(f"the expected numbers do not fit {bundle.folder} ({text})") from None
    except Exception as error:  # the exceptions of ONNX Runtime have no common base class
        text = brief(str(error).partition("\n")[0])
        raise Refused(f"{bundle.folder}: the expected numbers do not run ({text})") from None
    known = "ar_logits_cond, greedy0_tokens, tok_images, dec8_pixels, ..."
    need(out, f"the expected file holds no known arrays ({known})")
    return out


def read_arrays(path: Path) -> Arrays:
    """The arrays of an .npz file. The sizes that its headers declare are checked before anything is allocated."""
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            infos, total = archive.infolist(), 0
            need(os.fstat(file.fileno()).st_size <= MAX_BYTES, f"{path}: more than {MAX_BYTES} bytes")
            need(len(infos) <= MAX_ARRAYS, f"{path}: {len(infos)} arrays; at most {MAX_ARRAYS} are read")
            for info in infos:
                total += info.file_size
                need(total <= MAX_BYTES, f"{path}: its arrays have more than {MAX_BYTES} bytes")
                with archive.open(info) as member:
                    _check_array(member, info, path)
            file.seek(0)
            with np.load(file) as arrays:
                return {key: arrays[key] for key in arrays.files}
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or brief(error)}") from None
    except Refused:
        raise
    except Exception as error:  # zipfile and NumPy do not document what a damaged file raises
        raise Refused(f"{path}: not an .npz file ({brief(error)})") from None


def _check_array(member: IO[bytes], info: zipfile.ZipInfo, path: Path) -> None:
    """Refuse arrays of objects, and headers that declare more than the entry holds."""
    version = np.lib.format.read_magic(member)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, kind = read(member)
    size = math.prod(shape) * kind.itemsize
    fits = not kind.hasobject and len(shape) <= 8 and 0 <= size <= info.file_size
    need(fits, f"{path}: the array {shown(info.filename)} is not one of {info.file_size} bytes of numbers")


def verify(folder: Path, expected_path: Path) -> list[dict[str, Any]]:
    """Rows {precision, form, figure, value, tolerance, ok}."""
    content = read_manifest(folder)
    check_files(folder, content)
    expected = read_arrays(expected_path)
    rows, usable = [], list(filter(runs_here, content["variants"]))
    need(usable, f"{folder}: every variant needs a newer ONNX Runtime than the one installed")
    for variant in usable:
        bundle, precision = Bundle(folder, content, variant), variant["precision"]
        check_signatures(bundle)
        bounds = TOLERANCES.get(precision, {})
        for name, value in figures(bundle, expected).items():
            row = {"precision": precision, "form": variant["form"], "figure": name, "value": value}
            tolerance = bounds[name][1] if name in bounds else None
            rows.append(row | {"tolerance": tolerance, "ok": within(bounds, name, value)})
    return rows

"""Measure a bundle against expected numbers: every variant, every graph, each figure with its tolerance."""

import hashlib
import json
from pathlib import Path

import numpy as np

from detailflow_onnx.bundle import manifest
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.bundle.quality import log_softmax, psnr
from detailflow_onnx.bundle.runner import KEPT, KINDS, Bundle, graphs, runs_here, unit_images

# Figure -> ("most" or "least", bound). What has no bound is reported only. How the int8 bounds came about: README.md.
TOLERANCES = {
    "fp32": {
        "logits": ("most", 1e-3), "greedy": ("least", 1.0), "indices": ("least", 1.0), "latents": ("most", 1e-3), "pixels": ("most", 1e-3),
    },
    "fp16": {"kl": ("most", 1e-3), "indices": ("least", 0.97), "psnr": ("least", 50.0)},
    "int8": {"kl": ("most", 0.02), "indices": ("least", 0.9), "psnr": ("least", 32.0)},
    "int4": {"kl": ("most", 0.2), "indices": ("least", 0.9), "psnr": ("least", 32.0)},
}  # fmt: skip


def read_manifest(folder):
    path = folder / "detailflow.json"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        need(content["format"] == manifest.FORMAT, f"{path}: format {content['format']!r} is unknown; this exporter knows {manifest.FORMAT}")
        content["tokens"]["count"], content["variants"][0]["decoder"], content["files"][0]["sha256"]
        for variant in content["variants"]:
            keys, name = variant.get("keys", "fp32"), f"{variant['precision']} {variant['form']}"
            need(keys in KEPT, f"{path}: {name}: keys {keys!r} are unknown; there are {' and '.join(KEPT)}")
            need(keys == "fp32" or variant["form"] in ("plain", "fixed"), f"{path}: {name}: keys are {keys}, and form {variant['form']} keeps them in fp32")
        if "ar" in graphs(content):
            content["ar"]["layers"], content["ids"]["class"]
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise Refused(f"{path}: not a bundle's manifest ({type(error).__name__}: {error})") from None
    return content


def check_files(folder, content):
    """Every file there, with its length and hash."""
    for item in content["files"]:
        path = folder / item["path"]
        need(path.name == item["path"], f"{folder}: the file name {item['path']!r} is not plain")
        need(path.is_file(), f"{path}: the file is missing")
        need(path.stat().st_size == item["length"], f"{path}: the length is {path.stat().st_size} and should be {item['length']}")
        with open(path, "rb") as file:
            digest = hashlib.sha256()
            while block := file.read(1 << 20):
                digest.update(block)
        need(digest.hexdigest() == item["sha256"], f"{path}: the SHA-256 is wrong")


def _signatures(content, form, kept):
    """Graph -> (inputs, outputs), each {name: (type, dimensions)}; a dimension that may vary is None."""
    real, whole, tokens, image = np.float32, np.int64, content["tokens"], content["image"]
    n, picture = tokens["count"], [None, image["channels"], image["size"], image["size"]]

    def step():
        ar = content["ar"]
        rows = {"mha": [None, ar["heads"], n], "fixed": [None]}.get(form, [None, ar["kv_heads"], None])
        where = {"places": (whole, [None, None]), "slots": (whole, [None, 1])} if form == "fixed" else {"start": (whole, [1])}
        keys = [f"{kind}_{i}" for i in range(ar["layers"]) for kind in ("key", "value")]
        cache = {k: (kept, [*rows, ar["head_width"]]) for k in keys}
        return (
            {"ids": (whole, [None, None])} | where | {f"past_{k}": v for k, v in cache.items()},
            {"logits": (real, [None, None, tokens["codes"]])} | {f"present_{k}": v for k, v in cache.items()},
        )

    draw = (
        {"logits": (real, [None, None, tokens["codes"]]), "cond": (whole, [None]), "uncond": (whole, [None]), "settings": (real, [None, 6]), "cut": (np.bool_, [1])},
        {"drawn": (real, [None, 2])},
    )  # fmt: skip
    return ({"ar": step()} if "ar" in graphs(content) else {}) | {
        "draw": draw,
        "decoder": ({"ids": (whole, [None, None]), "size": (whole, [1])}, {"pixels": (real, [None, image["channels"], None, None])}),
        "encoder": ({"image": (real, picture)}, {"ids": (whole, [None, n]), "latents": (real, [None, n, None])}),
    }


def check_signatures(bundle):
    """Inputs and outputs of every graph as the format page has them."""
    signatures = _signatures(bundle.content, bundle.variant["form"], bundle.kept)
    for graph, sides in ((graph, signatures[graph]) for graph in [*graphs(bundle.content), *(["draw"] if "draw" in bundle.content else [])]):
        session = bundle.graph(graph)
        for have, want in zip((session.get_inputs(), session.get_outputs()), sides):
            path = bundle.path(graph)
            names = {v.name: v for v in have}
            odd = sorted(set(names) ^ set(want))
            need(not odd, f"{path}: {odd[:1]} is in the graph or in the format, and should be in both")
            for name, (kind, shape) in want.items():
                same = len(shape) == len(names[name].shape) and all(w is None or w == h for w, h in zip(shape, names[name].shape))
                need(KINDS.get(names[name].type) is kind and same, f"{path}: {name} is {names[name].type} {names[name].shape}, not {kind.__name__} {shape}")


def kl(want, got):
    """Mean over the rows of KL(want || got), in nats, of two arrays of logits."""
    p, q = log_softmax(want), log_softmax(got)
    return float((np.exp(p) * (p - q)).sum(-1).mean())


def _ar_figures(bundle, expected):
    if "ar" not in bundle.variant:
        return {}
    out = {}
    if {"ar_tokens", "ar_classes", "ar_logits_cond"} <= set(expected):
        tokens, classes, want = expected["ar_tokens"], expected["ar_classes"], expected["ar_logits_cond"]
        if "ar_logits_uncond" in expected:
            want = np.concatenate([want, expected["ar_logits_uncond"]])
        got = bundle.logits([*classes, *[-1] * (len(want) - len(classes))], np.tile(tokens, (len(want) // len(classes), 1)))
        out |= {"logits": float(np.abs(got - want).max()), "kl": kl(want, got)}
    same, total = 0, 0
    for key in (k for k in expected if k.startswith("greedy") and k.endswith("_tokens")):
        case = key[: -len("tokens")]
        scale, gradual = float(expected[case + "cfg_scale"]), bool(expected[case + "gradual"])
        got = bundle.greedy(expected[case + "classes"], scale, gradual)
        same, total = same + int((got == expected[key]).sum()), total + got.size
    return out | ({"greedy": same / total} if total else {})


def _tokenizer_figures(bundle, expected):
    out = {}
    if "tok_images" in expected and "encoder" in bundle.variant:
        latents, ids = bundle.encode(unit_images(expected["tok_images"]))
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
            bytes_ = np.clip(127.5 * got + 128, 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)
            out["bytes"] = min(out.get("bytes", 1.0), float((bytes_ == expected[key.replace("_pixels", "_u8")]).mean()))
    return out


def figures(bundle, expected):
    """Every figure that `expected` allows: error and agreement of one variant."""
    try:
        out = _ar_figures(bundle, expected) | _tokenizer_figures(bundle, expected)
    except (KeyError, ValueError, IndexError) as error:
        raise Refused(f"the expected numbers do not fit {bundle.folder} ({type(error).__name__}: {error})") from None
    except Exception as error:  # ONNX Runtime refuses shapes with exceptions of its own
        raise Refused(f"{bundle.folder}: the expected numbers do not run ({str(error).splitlines()[0]})") from None
    need(out, "the expected file holds nothing that is known (ar_logits_cond, greedy0_tokens, tok_images, dec8_pixels, ...)")
    return out


def within(precision, name, value):
    """True, False, or None where there is no tolerance."""
    rule = TOLERANCES.get(precision, {}).get(name)
    if rule is None:
        return None
    return bool(value <= rule[1]) if rule[0] == "most" else bool(value >= rule[1])


def verify(folder, expected_path):
    """Rows {precision, form, figure, value, tolerance, ok}."""
    folder = Path(folder)
    content = read_manifest(folder)
    check_files(folder, content)
    try:
        with np.load(expected_path) as file:
            expected = {key: file[key] for key in file.files}
    except (OSError, ValueError, EOFError, AttributeError) as error:
        raise Refused(f"{expected_path}: not an .npz file ({error})") from None
    rows, fit = [], list(filter(runs_here, content["variants"]))
    need(fit, f"{folder}: every variant needs a newer ONNX Runtime than the one installed")
    for variant in fit:
        bundle = Bundle(folder, content, variant)
        check_signatures(bundle)
        for name, value in figures(bundle, expected).items():
            precision = variant["precision"]
            bound = TOLERANCES.get(precision, {}).get(name, (None, None))
            ok = within(precision, name, value)
            rows.append({"precision": precision, "form": variant["form"], "figure": name, "value": value, "tolerance": bound[1], "ok": ok})
    return rows

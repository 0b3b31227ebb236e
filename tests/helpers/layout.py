"""Write checkpoints in the published layout without PyTorch: random weights, any shapes, `.pt` or `.safetensors`."""

import argparse
import io
import json
import pickle
import struct
import sys
import types
import zipfile
from collections import OrderedDict
from contextlib import contextmanager

import numpy as np
from detailflow_onnx.numbers.sizes import Ar, Side, ar_shapes, tokenizer_shapes

STORAGE = {
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
}


# ---------------------------------------------------------------- a stand-in for torch, only while a pickle is written
class Tensor:
    def __init__(self, array, dtype="float32"):
        self.array, self.dtype = array, dtype


def bytes_of(array, dtype):
    if dtype == "bfloat16":
        bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()
    return np.ascontiguousarray(array).astype(np.dtype(dtype).newbyteorder("<")).tobytes()


@contextmanager
def fake_torch():
    """Modules `torch` and `torch._utils` with just the names that a pickle refers to."""
    root, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")

    def _rebuild_tensor_v2(*args):
        raise AssertionError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    for name in STORAGE.values():
        setattr(root, name, type(name, (), {"__module__": "torch"}))
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    sys.modules.update({"torch": root, "torch._utils": utils})
    try:
        yield root, utils
    finally:
        for name, module in before.items():
            sys.modules.pop(name) if module is None else sys.modules.update({name: module})


def pickled(state):
    """(the bytes of data.pkl, [bytes of each storage])."""
    storages, out = [], io.BytesIO()
    with fake_torch() as (root, utils):

        class Pointer:
            def __init__(self, pid):
                self.pid = pid

        class Pickler(pickle.Pickler):
            def persistent_id(self, value):
                return value.pid if isinstance(value, Pointer) else None

            def reducer_override(self, value):
                if not isinstance(value, Tensor):
                    return NotImplemented
                shape = value.array.shape
                stride = tuple(int(np.prod(shape[i + 1 :])) for i in range(len(shape)))
                storages.append(bytes_of(value.array, value.dtype))
                pid = ("storage", getattr(root, STORAGE[value.dtype]), str(len(storages) - 1), "cpu", value.array.size)
                return utils._rebuild_tensor_v2, (Pointer(pid), 0, shape, stride, False, OrderedDict())

        Pickler(out, 2).dump(state)
    return out.getvalue(), storages


def write_zip(path, data, storages, root="archive", compression=zipfile.ZIP_STORED, extra=()):
    """What torch.save writes around a pickle."""
    entries = [
        ("data.pkl", data),
        ("byteorder", b"little"),
        *((f"data/{i}", raw) for i, raw in enumerate(storages)),
        ("version", b"3\n"),
        *extra,
    ]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, raw in entries:
            archive.writestr(zipfile.ZipInfo(f"{root}/{name}"), raw, compression)


def write_pt(path, state):
    """`torch.save(state, path)`; tensors in `state` are `Tensor`."""
    write_zip(path, *pickled(state))


def write_safetensors(path, tensors):
    """{name: Tensor}; float32, float16 or bfloat16."""
    header, data = {}, b""
    for name, value in tensors.items():
        raw = bytes_of(value.array, value.dtype)
        kind = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}[value.dtype]
        header[name] = {
            "dtype": kind,
            "shape": list(value.array.shape),
            "data_offsets": [len(data), len(data) + len(raw)],
        }
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


# ---------------------------------------------------------------- models
BASE = {
    "size": 32,
    "patch": 8,
    "enc_patch": 8,
    "channels": 4,
    "count": 16,
    "group": 4,
    "causal": None,
    "codes": 24,
    "code_width": 4,
    "l2": True,
    "power": 1.5,
    "classes": 4,
    "enc": (32, 2, 4, 48, 4),
    "dec": (32, 2, 4, 48, 4),
    "ar": (32, 2, 4, None, 48),
    "rope_base": 10000,
    "eps": 1e-5,
    "dtype": "float32",
    "prefix": "",
    "format": "pt",
    "seed": 1,
}


def numbers(**changes):
    assert not set(changes) - set(BASE), changes
    return BASE | changes


def sides(n):
    """The encoder and the decoder: (width, depth, heads, hidden, side of the position table)."""
    (ew, ed, eh, ef, eg), (dw, dd, dh, df, dg) = n["enc"], n["dec"]
    return Side("encoder", ew, ed, eh, ef, n["enc_patch"], eg, 1e-6), Side(
        "decoder", dw, dd, dh, df, n["patch"], dg, 1e-6
    )


def tensors(n):
    """(tokenizer, ar): {name: float32 array}, lively enough that an error in any of them shows."""
    rng = np.random.default_rng(n["seed"])
    width, depth, heads, kv, hidden = n["ar"]
    shapes = (
        tokenizer_shapes(
            *sides(n), channels=n["channels"], count=n["count"], codes=n["codes"], code_width=n["code_width"]
        ),
        ar_shapes(
            Ar(width, depth, heads, kv or heads, hidden, 1e4, 1e-5),
            codes=n["codes"],
            group=n["group"],
            classes=n["classes"],
        ),
    )

    def draw(name, shape):
        x = rng.standard_normal(shape).astype(np.float32)
        if "norm" in name:
            return (1 + 0.2 * x if name.endswith("weight") else 0.1 * x).astype(np.float32)
        if name.endswith("bias"):
            return 0.1 * x
        if "embed" in name or "token" in name:
            return x
        return (x * 1.4 / np.sqrt(shape[-1])).astype(np.float32)

    return [{name: draw(name, shape) for name, shape in part.items()} for part in shapes]


def configs(n):
    """(tokenizer config.json, tokenizer config.yaml, ar config.json)."""
    tokenizer = {
        "image_size": n["size"],
        "max_image_size": n["size"],
        "codebook_size": n["codes"],
        "codebook_embed_dim": n["code_width"],
        "codebook_l2_norm": n["l2"],
        "num_codebooks": 1,
        "enc_type": "siglip2",
        "dec_type": "siglip2",
        "encoder_model": "siglip2",
        "decoder_model": "siglip2",
        "num_latent_tokens": n["count"],
        "enc_pretrained": True,
        "dec_pretrained": True,
        "enc_patch_size": n["enc_patch"],
        "dec_patch_size": n["patch"],
        "vq_mean": 0.0,
        "vq_std": 1.0,
        "causal_encoder": True,
        "causal_decoder": False,
        "group_size": n["group"],
        "causal_num": n["causal"],
        "in_channels": n["channels"],
    }
    yaml = {
        "vq_model": "VQ-16",
        "content_degradation": "resolution_power",
        "degradation_power": n["power"],
        "max_image_size": n["size"],
    }
    width, depth, heads, kv, _ = n["ar"]
    ar = {
        "dim": width,
        "n_layer": depth,
        "n_head": heads,
        "n_kv_head": kv,
        "rope_base": n["rope_base"],
        "norm_eps": n["eps"],
        "num_classes": n["classes"],
        "class_dropout_prob": 0.1,
        "model_type": "c2i",
        "vocab_size": n["codes"],
        "cls_token_num": 1,
        "block_size": n["count"],
        "group_size": n["group"],
        "causal_num": n["causal"],
    }
    return tokenizer, yaml, ar


def write_weights(folder, values, key, n):
    (folder / "checkpoints").mkdir(exist_ok=True)
    named = {n["prefix"] + name: Tensor(value, n["dtype"]) for name, value in values.items()}
    if n["format"] == "safetensors":
        write_safetensors(folder / "checkpoints" / "model.safetensors", named)
    else:
        write_pt(
            folder / "checkpoints" / "model.pt",
            {key: OrderedDict(named), "steps": 7, "args": argparse.Namespace(lr=1e-4, name="x")},
        )


def write(folder, n, parts=None):
    """A checkpoint in `folder`/tokenizer and `folder`/ar. `parts` replaces (tokenizer tensors, ar tensors)."""
    tokenizer, yaml, ar = configs(n)
    for name, config, values, key in zip(("tokenizer", "ar"), (tokenizer, ar), parts or tensors(n), ("model", "ema")):
        home = folder / name
        home.mkdir(parents=True, exist_ok=True)
        (home / "config.json").write_text(json.dumps(config, indent=1))
        write_weights(home, values, key, n)
    (folder / "tokenizer" / "config.yaml").write_text("".join(f"{k}: {v}\n" for k, v in yaml.items()))
    return folder


def arguments(folder, n):
    """What `export` needs for a checkpoint of `write`."""
    heads = ["--encoder-heads", str(n["enc"][2]), "--decoder-heads", str(n["dec"][2])]
    return ["export", "--tokenizer", str(folder / "tokenizer"), "--ar", str(folder / "ar"), *heads]

"""Read a checkpoint in the published layout into a `Model`. Variants that cannot be exported are refused."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detailflow_onnx.checkpoint import weights
from detailflow_onnx.checkpoint.config import MOST, Config
from detailflow_onnx.checkpoint.model import Model, check
from detailflow_onnx.checkpoint.weights import Weights
from detailflow_onnx.errors import Refused, need, shown
from detailflow_onnx.files import read_json
from detailflow_onnx.labels import class_names
from detailflow_onnx.numbers.sizes import Ar, Side

Backbone = tuple[Path, dict[str, Any]] | None  # config.json of the SigLIP2 backbone and its content


@dataclass(frozen=True)
class Source:
    """The options that choose a model. All values fit in JSON, so that a subprocess can open the same model."""

    tokenizer: str | None = None
    ar: str | None = None
    tokenizer_weights: str | None = None
    ar_weights: str | None = None
    siglip_config: str | None = None
    encoder_heads: int | None = None
    decoder_heads: int | None = None
    labels: str | None = None
    name: str | None = None
    random: str | None = None
    seed: int = 0
    only: str | None = None  # "decoder": the AR model may be missing and the encoder's head count does not matter


def _weights_file(folder: Path, given: str | None, flag: str) -> Path:
    if given:
        need(Path(given).is_file(), f"{given}: no such file")
        return Path(given)
    home = folder / "checkpoints"
    found = sorted(p for p in home.glob("*") if p.suffix in (".pt", ".safetensors"))
    need(found, f"{home}: no .pt or .safetensors file found")
    need(len(found) == 1, f"{home}: several files ({', '.join(p.name for p in found)}); choose one with {flag}")
    return found[0]


def _check_tokenizer(config: Config) -> None:
    config.require("causal_encoder", bool, True)
    config.require("causal_decoder", bool, False)
    config.require("num_codebooks", int, 1, 1)
    config.require("vq_mean", float, 0.0, 0.0)
    config.require("vq_std", float, 1.0, 1.0)
    config.require("enc_type", str, "siglip2", "siglip2")
    config.require("dec_type", str, "siglip2", "siglip2")
    config.require("content_degradation", str, "resolution_power", "resolution_power")


def _check_ar(config: Config, tensors: Weights) -> None:
    config.require("model_type", str, "c2i", "c2i")
    config.require("cls_token_num", int, 1, 1)
    marks = ("cap_proj", "caption", "uncond_embedding")
    caption = [name for name in tensors.shapes if any(mark in name for mark in marks)]
    if caption:
        text = "belongs to a text-conditioned model; only class-conditional models (c2i) can be exported"
        raise Refused(f"{tensors.origin}: the tensor {caption[0]} {text}")


def _backbone(folder: Path, given: str | None) -> Backbone:
    """The config of the SigLIP2 backbone: the file given, or the one in or above the tokenizer folder."""
    if given:
        return Path(given), read_json(Path(given))
    for home in (folder, folder.resolve().parent):
        path = home / "siglip2_vision_config.json"
        if path.is_file():
            return path, read_json(path)
    return None


def _depth(tensors: Weights, root: str) -> int:
    """The number of layers below `root`: more than the largest index, and no more than there are tensors."""
    marks = {name[len(root) :].split(".")[0] for name in tensors.shapes if name.startswith(root)}
    layers = [int(m) for m in marks if m.isascii() and m.isdigit() and len(m) < 10]
    depth = max(layers, default=-1) + 1
    text = f"{tensors.origin}: {root}{depth - 1} is the last of {depth} layers, but only {len(layers)} exist"
    need(depth == len(set(layers)), text)
    return depth


def _heads(prefix: str, width: int, config: Config, backbone: Backbone, given: int | None) -> tuple[int, float]:
    """(heads, eps) of a side.

    In this order: the flag, the backbone config if its width fits, the key of the checkpoint, the published rules.
    """
    eps = 1e-6
    flag = f"--{prefix}-heads"
    if backbone:
        path, values = backbone
        values = values.get("vision_config", values)
        need(isinstance(values, dict), f"{path}: vision_config is not an object")
        if values.get("hidden_size") == width:
            eps = values.get("layer_norm_eps", eps)
            valid = type(eps) in (int, float) and 0 <= eps < 1
            need(valid, f"{path}: layer_norm_eps is {shown(eps)}; a number from 0 to below 1 is needed")
            eps = float(eps)
            heads = values.get("num_attention_heads")
            if not given and heads is not None:
                valid = type(heads) is int and 0 < heads <= MOST
                need(valid, f"{path}: num_attention_heads is {shown(heads)}; 1 to {MOST} are allowed")
                return heads, eps
    if given:
        return given, eps
    own = config.get("num_heads", int, 0)
    if own:
        return own, eps
    if config.get(f"{prefix}_model", str, "") == "siglip2_base":
        if width == 1152 and config.get(f"{prefix[:3]}_pretrained", bool, False):
            return 16, eps
        if width == 768:
            return 12, eps
    subject = f"the head count of the {prefix} (width {width})"
    raise Refused(f"{subject} does not follow from its weights; give --siglip-config FILE or {flag} N")


def _side(
    prefix: str, config: Config, tensors: Weights, backbone: Backbone, given: int | None, *, heads_matter: bool = True
) -> Side:
    root = f"{prefix}.visual_model."
    width = tensors.shape(f"{prefix}.latent_pos_embed")[-1]
    table = root + "embeddings.position_embedding.weight"
    rows = tensors.shape(table)[0]
    grid = round(rows**0.5)
    square = grid >= 1 and grid * grid == rows
    need(square, f"{tensors.origin}: the tensor {table} has {rows} rows; a square number is needed")
    depth = _depth(tensors, root + "encoder.layers.")
    hidden = tensors.shape(f"{root}encoder.layers.0.mlp.fc1.weight")[0]
    patch = config.get(f"{prefix[:3]}_patch_size", int)
    if not heads_matter:
        return Side(prefix, width, depth, None, hidden, patch, grid, 1e-6)
    heads, eps = _heads(prefix, width, config, backbone, given)
    return Side(prefix, width, depth, heads, hidden, patch, grid, eps)


def _agree(name: str, tokenizer: int, other: str, ar: int) -> None:
    need(tokenizer == ar, f"{name} is {tokenizer} in the tokenizer, but {other} is {ar} in the AR model")


def open_ar(home: Path, given: str | None = None) -> tuple[Ar, int, Weights]:
    """(sizes, number of classes, weights) of the AR model in `home`. `given` chooses one of several weight files."""
    config = Config(home)
    tensors = weights.open_file(_weights_file(home, given, "--ar-weights"), "ema")
    layers = config.get("n_layer", int)
    count = len(tensors.shapes)
    need(layers <= count, f"{config.path}: n_layer is {layers}, but the file of weights holds {count} tensors")
    _check_ar(config, tensors)
    heads = config.get("n_head", int)
    ar = Ar(
        width=config.get("dim", int),
        depth=config.get("n_layer", int),
        heads=heads,
        kv_heads=config.get("n_kv_head", int, heads),
        hidden=tensors.shape("layers.0.feed_forward.w1.weight")[0],
        rope_base=config.get("rope_base", float),
        eps=config.get("norm_eps", float),
    )
    return ar, config.get("num_classes", int), tensors


def _open_matching_ar(source: Source, config: Config) -> tuple[Ar, int, Weights]:
    """Open the AR model; its sizes must agree with the `config` of the tokenizer."""
    home = Path(source.ar or "")
    opened, ar_config = open_ar(home, source.ar_weights), Config(home)
    group, ar_group = config.get("group_size", int), ar_config.get("group_size", int)
    causal, ar_causal = config.get("causal_num", int, group), ar_config.get("causal_num", int, ar_group)
    _agree("num_latent_tokens", config.get("num_latent_tokens", int), "block_size", ar_config.get("block_size", int))
    _agree("group_size", group, "group_size", ar_group)
    _agree("causal_num", causal, "causal_num", ar_causal)
    _agree("codebook_size", config.get("codebook_size", int), "vocab_size", ar_config.get("vocab_size", int))
    return opened


def _labels_of(home: str | None) -> str | None:
    """The labels.txt that training writes into the folder of an AR model."""
    file = Path(home) / "labels.txt" if home else None
    return str(file) if file and os.path.lexists(file) else None


def open_model(source: Source) -> Model:
    """Open the checkpoint folders `tokenizer` and `ar` of `source`."""
    home = Path(source.tokenizer or "")
    config = Config(home)
    _check_tokenizer(config)
    tensors = weights.open_file(_weights_file(home, source.tokenizer_weights, "--tokenizer-weights"), "model")
    ar, classes, ar_tensors = _open_matching_ar(source, config) if source.ar else (None, None, None)
    backbone = _backbone(home, source.siglip_config)
    group = config.get("group_size", int)
    return check(
        Model(
            name=source.name or home.resolve().parent.name or home.resolve().name,
            size=config.get("max_image_size", int),
            channels=config.get("in_channels", int, 3),
            count=config.get("num_latent_tokens", int),
            group=group,
            causal=config.get("causal_num", int, group),
            codes=config.get("codebook_size", int),
            code_width=config.get("codebook_embed_dim", int),
            l2_norm=config.get("codebook_l2_norm", bool),
            power=config.get("degradation_power", float),
            classes=class_names(source.labels or _labels_of(source.ar), classes),
            encoder=_side("encoder", config, tensors, backbone, source.encoder_heads, heads_matter=not source.only),
            decoder=_side("decoder", config, tensors, backbone, source.decoder_heads),
            ar=ar,
            tokenizer=tensors,
            ar_weights=ar_tensors,
        )
    )

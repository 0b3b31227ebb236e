"""Write a checkpoint in the published layout: config.json, config.yaml, checkpoints/NNNNNNN.safetensors."""

import json
import math
from pathlib import Path
from typing import Any

from detailflow_onnx.checkpoint.weights import Weights
from detailflow_onnx.errors import need
from detailflow_onnx.numbers.sizes import ArSizes, TokenizerSizes
from detailflow_onnx.output import write_text

EPS = 1e-6  # of the norms of a tokenizer, unless a config of its backbone says otherwise
PUBLISHED = (1152, 16), (768, 12)  # width and heads of the published encoder and decoder
Description = tuple[dict[str, Any], dict[str, Any]]  # config.json, config.yaml


def describe_tokenizer(n: TokenizerSizes) -> Description:
    """What `published.open_model` reads of a tokenizer of these sizes."""
    published = n.encoder.width == 1152
    heads = {"num_heads": n.encoder.heads} if n.encoder.heads == n.decoder.heads else {}
    shared = {
        "enc_type": "siglip2",
        "dec_type": "siglip2",
        "image_size": n.size,
        "max_image_size": n.size,
        "num_latent_tokens": n.count,
        "group_size": n.group,
        "causal_num": None if n.causal == n.group else n.causal,
        "codebook_size": n.codes,
        "codebook_embed_dim": n.code_width,
        "codebook_l2_norm": n.l2_norm,
    }
    config = shared | {
        "num_codebooks": 1,
        "encoder_model": "siglip2_base" if published else "siglip2",
        "decoder_model": "siglip2_base" if n.decoder.width == 768 else "siglip2",
        "enc_tuning_method": "full",
        "dec_tuning_method": "full",
        "enc_pretrained": published,
        "dec_pretrained": False,
        "enc_patch_size": n.encoder.patch,
        "dec_patch_size": n.decoder.patch,
        "vq_mean": 0.0,
        "vq_std": 1.0,
        "causal_encoder": True,
        "causal_decoder": False,
        "in_channels": n.channels,
    }
    yaml = shared | {
        "vq_model": "VQ-16",
        "content_degradation": "resolution_power",
        "min_image_size": n.size,
        "degradation_power": n.power,
        "encoder_patch_size": n.encoder.patch,
        "decoder_patch_size": n.decoder.patch,
    }
    return config | heads, yaml


def describe_ar(n: ArSizes, name: str) -> Description:
    """What `published.open_model` reads of an AR model of these sizes."""
    ar = n.ar
    config = {
        "dim": ar.width,
        "n_layer": ar.depth,
        "n_head": ar.heads,
        "n_kv_head": None if ar.kv_heads == ar.heads else ar.kv_heads,
        "multiple_of": 64,
        "rope_base": ar.rope_base,
        "norm_eps": ar.eps,
        "num_classes": n.classes,
        "model_type": "c2i",
        "vocab_size": n.codes,
        "cls_token_num": 1,
        "block_size": n.count,
        "group_size": n.group,
        "causal_num": None if n.causal == n.group else n.causal,
    }
    yaml = {"gpt_model": f"GPT-{name}", "gpt_type": "c2i", "num_classes": n.classes, "cls_token_num": 1}
    return config, yaml


def check_heads(encoder: tuple[int, int | None], decoder: tuple[int, int | None], origin: str) -> None:
    """Refuse (width, heads) of the two sides that a checkpoint cannot describe."""
    text = f"{origin}: the encoder has {encoder[1]} heads and the decoder {decoder[1]}"
    advice = "a checkpoint stores one number for both (except widths 1152 and 768 with 16 and 12 heads)"
    need(encoder[1] == decoder[1] or (encoder, decoder) == PUBLISHED, f"{text}; {advice}")


def check_tokenizer(n: TokenizerSizes, origin: str) -> None:
    """Refuse a tokenizer that a checkpoint cannot describe: heads and epsilon follow from no tensor."""
    check_heads((n.encoder.width, n.encoder.heads), (n.decoder.width, n.decoder.heads), origin)
    for side in (n.encoder, n.decoder):
        usual = math.isclose(side.eps, EPS, rel_tol=1e-5)
        need(usual, f"{origin}: the epsilon of its {side.prefix} is {side.eps:g}; a checkpoint cannot store it")


def write_description(folder: Path, description: Description, classes: tuple[str, ...] | list[str]) -> None:
    """Write config.json, config.yaml and labels.txt."""
    config, yaml = description
    write_text(folder / "labels.txt", "".join(f"{name}\n" for name in classes))
    write_text(folder / "config.json", json.dumps(config, indent=1) + "\n")
    write_text(folder / "config.yaml", "".join(f"{key}: {_yaml_value(value)}\n" for key, value in yaml.items()))


def _yaml_value(value: object) -> str:
    if value is None:
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_weights(folder: Path, weights: Weights, key: str) -> None:
    """Write all tensors as checkpoints/0000000.safetensors, under `key`."""
    from safetensors.numpy import save_file

    home = folder / "checkpoints"
    home.mkdir()
    save_file({f"{key}.{name}": weights.read(name) for name in weights.shapes}, home / "0000000.safetensors")

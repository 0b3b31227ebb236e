"""Initialize a tokenizer from a SigLIP2 vision backbone (section 4.1 of the paper).

The first layers of the backbone become those of the encoder, and those of the decoder if it has the same width. Names
are those of Hugging Face: `vision_model.embeddings.patch_embedding`, `.position_embedding`,
`vision_model.encoder.layers.N`, `vision_model.post_layernorm`. Other tensors of the file are ignored.
"""

import math
import os
from pathlib import Path
from typing import Any

import torch

from detailflow_onnx.checkpoint import weights
from detailflow_onnx.checkpoint.weights import Weights
from detailflow_onnx.errors import Refused, brief, need, shown
from detailflow_onnx.files import read_json
from detailflow_onnx.numbers import resize
from detailflow_onnx.numbers.sizes import Side, TokenizerSizes
from detailflow_onnx.train.models.tokenizer import Tokenizer, VisualModel

FILES = ("model.safetensors", "model.pt", "pytorch_model.bin")  # of a folder, in this order
KEYS = ("model", "state_dict", "module")  # that may wrap the tensors of a .pt file
ROOT = "vision_model."


@torch.no_grad()
def load_backbone(tokenizer: Tokenizer, path: Path | str) -> None:
    """Copy the backbone in the file or folder `path` into `tokenizer`.

    Tensors that the backbone lacks keep their values: latent tokens, mask token, codebook, output layer. With four
    channels, the patch weights apply to the premultiplied colour and the weights of alpha start at zero.
    """
    backbone, config = open_backbone(Path(path))
    numbers, width = tokenizer.numbers, backbone.shape("embeddings.position_embedding.weight")[-1]
    fits = width == numbers.encoder.width
    need(fits, f"{backbone.origin}: its width is {width}, but tokenizer.model.encoder.width is {numbers.encoder.width}")
    _copy_patches(tokenizer.encoder.visual_model, numbers, backbone)
    sides = (numbers.encoder, tokenizer.encoder.visual_model), (numbers.decoder, tokenizer.decoder.visual_model)
    for side, visual in sides:
        if side.width == width:
            _copy_layers(visual, side, backbone, config)
            _copy_positions(visual, side, backbone)


def open_backbone(path: Path) -> tuple[Weights, dict[str, Any]]:
    """(tensors by their names below `vision_model.`, the `vision_config` of the folder's config.json or {})."""
    config: dict[str, Any] = {}
    if path.is_dir():
        home = path
        found = next((home / name for name in FILES if (home / name).is_file()), None)
        sharded = "; its weights are in several files: save them as one" if list(home.glob("*.index.json")) else ""
        need(found, f"{home}: none of {', '.join(FILES)} found{sharded}")
        path = found or home
        config = _config(home / "config.json")
    advice = "set tokenizer.model.backbone to a file of SigLIP2 weights, or leave it empty for random weights"
    need(path.is_file(), f"{path}: no such file or folder; {advice}")
    if path.suffix == ".safetensors":
        return weights.open_file(path, ROOT[:-1]), config
    return _torch_file(path), config


def _config(path: Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        return {}
    values = read_json(path)
    config = values.get("vision_config", values)
    need(isinstance(config, dict), f"{path}: vision_config is not an object")
    return dict(config)


def _torch_file(path: Path) -> Weights:
    """The tensors of a state dictionary written by torch.save. `weights_only` keeps code from being executed."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load does not document what a damaged file raises
        text = brief(str(error).partition("\n")[0])
        raise Refused(f"{path}: not a file of tensors written by torch.save ({text})") from None
    inner = state
    if isinstance(state, dict):
        inner = next((state[key] for key in KEYS if isinstance(state.get(key), dict)), state)
    items = inner.items() if isinstance(inner, dict) else ()
    tensors: dict[str, torch.Tensor] = {name: value for name, value in items if torch.is_tensor(value)}
    below = {name[len(ROOT) :]: value for name, value in tensors.items() if name.startswith(ROOT)} or tensors
    shapes = {name: tuple(value.shape) for name, value in below.items()}
    return Weights(str(path), shapes, lambda name: below[name].float().numpy())


def _copy(value: torch.Tensor, backbone: Weights, name: str, section: str) -> None:
    """Copy the tensor `name` into `value`, whose shape follows from `section` of the recipe."""
    have, want = backbone.shape(name), tuple(value.shape)
    need(have == want, f"{backbone.origin}: the tensor {name} has the shape {have}, but {section} needs {want}")
    value.copy_(torch.from_numpy(backbone.read(name)))


def _copy_layers(visual: VisualModel, side: Side, backbone: Weights, config: dict[str, Any]) -> None:
    """Copy the first `side.depth` layers, and the norm after them."""
    section, origin = f"tokenizer.model.{side.prefix}", backbone.origin
    layers = len({name.split(".")[2] for name in backbone.shapes if name.startswith("encoder.layers.")})
    need(layers >= side.depth, f"{origin}: it has {layers} layers, but {section}.depth is {side.depth}")
    heads = config.get("num_attention_heads", side.heads)
    need(
        heads == side.heads, f"{origin}: its config.json says {shown(heads)} heads, but {section}.heads is {side.heads}"
    )
    hidden = backbone.shape("encoder.layers.0.mlp.fc1.weight")[0]
    need(hidden == side.hidden, f"{origin}: its MLP width is {hidden}, but {section}.hidden is {side.hidden}")
    for name, value in visual.state_dict().items():
        if not name.startswith("embeddings."):
            _copy(value, backbone, name, section)


def _copy_patches(visual: VisualModel, numbers: TokenizerSizes, backbone: Weights) -> None:
    """Copy the patch embedding: a convolution [width, 3, p, p], or [width, p*p*3] in row, column, channel order."""
    name, patch, channels = "embeddings.patch_embedding.weight", numbers.encoder.patch, numbers.channels
    shape, width = backbone.shape(name), numbers.encoder.width
    wanted = f"patches of {patch} pixels (tokenizer.model.encoder.patch) in RGB are needed"
    fits = shape in ((width, 3, patch, patch), (width, patch * patch * 3))
    need(fits, f"{backbone.origin}: the tensor {name} has the shape {shape}; {wanted}")
    value = torch.from_numpy(backbone.read(name))
    value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value.view(width, patch, patch, 3)
    own = visual.embeddings.patch_embedding
    rows = own.weight.view(width, patch, patch, channels)
    rows.zero_()
    rows[..., :3] = value
    _copy(own.bias, backbone, "embeddings.patch_embedding.bias", "tokenizer.model.encoder")


def _copy_positions(visual: VisualModel, side: Side, backbone: Weights) -> None:
    """Copy the position table, resized to the grid of the recipe."""
    name = "embeddings.position_embedding.weight"
    table = backbone.read(name)
    grid = math.isqrt(len(table))
    need(grid * grid == len(table), f"{backbone.origin}: the tensor {name} has {len(table)} rows; a square is needed")
    table = table if grid == side.grid else resize.positions(table, side.grid)
    visual.embeddings.position_embedding.weight.copy_(torch.from_numpy(table))

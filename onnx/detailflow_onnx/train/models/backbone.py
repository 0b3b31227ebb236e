"""A tokenizer that does not begin at random but with a SigLIP2 vision backbone (section 4.1 of the paper): its first layers
become the encoder's, and the decoder's where that is as wide.

Names are those of Hugging Face: `vision_model.embeddings.patch_embedding`, `.position_embedding`, `vision_model.encoder.layers.N`,
`vision_model.post_layernorm`. Other tensors of the file (the text half, the head, later layers) are not looked at.
"""

import json
import math
from pathlib import Path

import torch

from detailflow_onnx.numbers import resize
from detailflow_onnx.checkpoint import weights
from detailflow_onnx.errors import Refused, need

FILES = ("model.safetensors", "model.pt", "pytorch_model.bin")  # of a folder, in this order
KEYS = ("model", "state_dict", "module")  # that a .pt may have around its tensors
ROOT = "vision_model."


@torch.no_grad()
def begin(tokenizer, path):
    """Give `tokenizer`, whose weights were just drawn, those of the backbone in the file or folder `path`.

    What the backbone does not have stays as drawn: latent tokens, mask token, codebook, output. With four channels it looks at the
    premultiplied colour, and the weights of alpha begin at zero."""
    backbone, config = opened(Path(path))
    numbers, width = tokenizer.numbers, backbone.shape("embeddings.position_embedding.weight")[-1]
    need(width == numbers.encoder.width, f"{backbone.origin}: it is {width} wide, and tokenizer.model.encoder.width is {numbers.encoder.width}")
    _patches(tokenizer.encoder.visual_model, numbers, backbone)
    for side, half in ((numbers.encoder, tokenizer.encoder), (numbers.decoder, tokenizer.decoder)):
        if side.width == width:
            _layers(half.visual_model, side, backbone, config)
            _positions(half.visual_model, side, backbone)


def opened(path):
    """(tensors by their names below `vision_model.`, the `vision_config` of the folder's config.json or {})."""
    config = {}
    if path.is_dir():
        home = path
        path = next((home / name for name in FILES if (home / name).is_file()), None)
        cut = "; it is in several pieces: save it again as one" if list(home.glob("*.index.json")) else ""
        need(path, f"{home}: none of {', '.join(FILES)} is there{cut}")
        config = _config(home / "config.json")
    need(path.is_file(), f"{path}: no such file or folder, and tokenizer.model.backbone names it: give a file of SigLIP2 weights, or leave the key empty to begin at random")
    if path.suffix == ".safetensors":
        return weights.open_file(path, ROOT[:-1]), config
    return _pickled(path), config


def _config(path):
    if not path.is_file():
        return {}
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        return values.get("vision_config", values)
    except (ValueError, AttributeError):
        raise Refused(f"{path}: not a JSON object") from None


def _pickled(path):
    """The tensors of a state dictionary that torch.save wrote; nothing else in it is loaded."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what a damaged or foreign file provokes is not said anywhere
        raise Refused(f"{path}: not a file of tensors that torch.save wrote ({str(error).splitlines()[0]})") from None
    inner = next((state[key] for key in KEYS if isinstance(state, dict) and isinstance(state.get(key), dict)), state)
    tensors = {name: value for name, value in inner.items() if torch.is_tensor(value)} if isinstance(inner, dict) else {}
    below = {name[len(ROOT) :]: value for name, value in tensors.items() if name.startswith(ROOT)} or tensors
    return weights.Weights(str(path), {name: tuple(value.shape) for name, value in below.items()}, lambda name: below[name].float().numpy())


def _copy(value, backbone, name, what):
    """The tensor `name` into `value`, whose shape follows from the recipe's `what`."""
    have = backbone.shape(name)
    need(have == tuple(value.shape), f"{backbone.origin}: the tensor {name} has the shape {have}, and {what} asks for {tuple(value.shape)}")
    value.copy_(torch.from_numpy(backbone.read(name)))


def _layers(visual, side, backbone, config):
    """The first `side.depth` layers, and the norm after them."""
    what = f"tokenizer.model.{side.prefix}"
    marks = {name.split(".")[2] for name in backbone.shapes if name.startswith("encoder.layers.")}
    need(len(marks) >= side.depth, f"{backbone.origin}: it has {len(marks)} layers, and {what}.depth is {side.depth}")
    heads = config.get("num_attention_heads", side.heads)
    need(heads == side.heads, f"{backbone.origin}: its config.json says {heads} heads, and {what}.heads is {side.heads}")
    hidden = backbone.shape("encoder.layers.0.mlp.fc1.weight")[0]
    need(hidden == side.hidden, f"{backbone.origin}: its feed-forward part is {hidden} wide, and {what}.hidden is {side.hidden}")
    for name, value in visual.state_dict().items():
        if not name.startswith("embeddings."):
            _copy(value, backbone, name, what)


def _patches(visual, numbers, backbone):
    """The patches' weights, from a convolution [width, 3, p, p] or a product [width, p*p*3]: row, column, channel here."""
    name, patch, channels = "embeddings.patch_embedding.weight", numbers.encoder.patch, numbers.channels
    shape, width = backbone.shape(name), numbers.encoder.width
    need(shape in ((width, 3, patch, patch), (width, patch * patch * 3)),
         f"{backbone.origin}: the tensor {name} has the shape {shape}, and patches of {patch} pixels (tokenizer.model.encoder.patch) in RGB are needed")  # fmt: skip
    value = torch.from_numpy(backbone.read(name))
    value = value.permute(0, 2, 3, 1) if value.ndim == 4 else value.view(width, patch, patch, 3)
    own = visual.embeddings.patch_embedding
    rows = own.weight.view(width, patch, patch, channels)
    rows.zero_()
    rows[..., :3] = value
    _copy(own.bias, backbone, "embeddings.patch_embedding.bias", "tokenizer.model.encoder")


def _positions(visual, side, backbone):
    """The position table, resized to the grid of our pictures."""
    name = "embeddings.position_embedding.weight"
    table = backbone.read(name)
    grid = math.isqrt(len(table))
    need(grid * grid == len(table), f"{backbone.origin}: the tensor {name} has {len(table)} rows, which is no square of places")
    visual.embeddings.position_embedding.weight.copy_(torch.from_numpy(table if grid == side.grid else resize.positions(table, side.grid)))

"""A tokenizer is initialized from a SigLIP2 backbone: a small random one in the names and shapes of Hugging Face."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from detailflow_onnx.errors import Refused
from detailflow_onnx.train import recipe
from detailflow_onnx.train.models import backbone
from detailflow_onnx.train.models.tokenizer import Tokenizer, patches
from detailflow_onnx.train.process import Process
from detailflow_onnx.train.stages.tokenizer import TokenizerStage
from safetensors.torch import save_file
from torch.nn import functional

WIDTH, HIDDEN, PATCH, LAYERS, GRID = 12, 20, 4, 3, 5
MODEL = """
data: {size: 16, channels: %d}
tokenizer:
  model:
    count: 8
    group: 4
    causal: 4
    codes: 16
    encoder: {width: 12, depth: 2, heads: 3, hidden: 20, patch: 4}
    decoder: {width: %d, depth: 1, heads: 3, hidden: 20, patch: 8}
    backbone: "%s"
  train: {batch: 2, precision: fp32}
"""


def made(convolution):
    """{name: tensor} of a backbone with a text half and a head beside the vision model."""
    random = torch.Generator().manual_seed(4)
    shapes = {
        "embeddings.patch_embedding.weight": (WIDTH, 3, PATCH, PATCH) if convolution else (WIDTH, PATCH * PATCH * 3),
        "embeddings.patch_embedding.bias": (WIDTH,),
        "embeddings.position_embedding.weight": (GRID**2, WIDTH),
        "post_layernorm.weight": (WIDTH,),
        "post_layernorm.bias": (WIDTH,),
        "head.probe": (1, 1, WIDTH),
    }
    for i in range(LAYERS):
        parts = {
            "layer_norm1": (WIDTH,),
            "layer_norm2": (WIDTH,),
            "mlp.fc1": (HIDDEN, WIDTH),
            "mlp.fc2": (WIDTH, HIDDEN),
        }
        parts |= {f"self_attn.{n}_proj": (WIDTH, WIDTH) for n in "qkv"} | {"self_attn.out_proj": (WIDTH, WIDTH)}
        for part, shape in parts.items():
            shapes |= {f"encoder.layers.{i}.{part}.weight": shape, f"encoder.layers.{i}.{part}.bias": shape[:1]}
    out = {"vision_model." + name: torch.randn(shape, generator=random) for name, shape in shapes.items()}
    return out | {
        "text_model.embeddings.token_embedding.weight": torch.randn(4, WIDTH, generator=random),
        "logit_scale": torch.ones(1),
    }


@pytest.fixture
def folder(tmp_path):
    """A folder as it is downloaded."""
    save_file(made(True), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text(
        json.dumps({"model_type": "siglip2", "vision_config": {"num_attention_heads": 3, "hidden_size": WIDTH}})
    )
    return tmp_path


def read(tmp_path, path, channels=3, decoder=WIDTH):
    file = tmp_path / "recipe.yaml"
    file.write_text(MODEL % (channels, decoder, path))
    return recipe.read(file)


def tokenizer(tmp_path, path, **how):
    module = Tokenizer(read(tmp_path, path, **how).numbers)
    backbone.load_backbone(module, path)
    return module


def as_before(tmp_path, path, **how):
    """The module without a backbone, from the same draws."""
    torch.manual_seed(1)
    plain = Tokenizer(read(tmp_path, path, **how).numbers)
    torch.manual_seed(1)
    return plain, tokenizer(tmp_path, path, **how)


def check_layers(visual, depth, source):
    for name, value in visual.state_dict().items():
        if not name.startswith("embeddings."):
            assert torch.equal(value, source["vision_model." + name]), name
    assert len(visual.encoder.layers) == depth


def test_backbone_layers_patches_and_positions_are_copied(tmp_path, folder):
    source, module = made(True), tokenizer(tmp_path, folder)
    check_layers(module.encoder.visual_model, 2, source)
    check_layers(module.decoder.visual_model, 1, source)
    images = torch.rand(2, 3, 16, 16) * 2 - 1
    want = functional.conv2d(
        images,
        source["vision_model.embeddings.patch_embedding.weight"],
        source["vision_model.embeddings.patch_embedding.bias"],
        stride=PATCH,
    )
    got = module.encoder.visual_model.embeddings.patch_embedding(patches(images, PATCH))
    assert torch.allclose(got, want.flatten(2).transpose(1, 2), atol=1e-5)
    table = source["vision_model.embeddings.position_embedding.weight"].T.reshape(1, WIDTH, GRID, GRID)
    for half, side in ((module.encoder, 4), (module.decoder, 2)):
        want = (
            functional.interpolate(table, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
            .flatten(2)[0]
            .T
        )
        assert torch.allclose(half.visual_model.embeddings.position_embedding.weight, want, atol=1e-5)


def test_backbone_other_tensors_keep_their_random_values(tmp_path, folder):
    plain, module = as_before(tmp_path, folder)
    source = made(True)
    after = module.state_dict()
    same = [name for name, value in plain.state_dict().items() if torch.equal(value, after[name])]
    assert {name.split(".")[0] for name in same} == {
        "encoder",
        "decoder",
        "quantize",
        "quant_conv",
        "post_quant_conv",
        "refine_conv",
    }
    assert not any("visual_model" in name for name in same)
    assert "encoder.latent_tokens" in same and "decoder.to_pixel.model.weight" in same and source


def test_backbone_decoder_of_another_width_keeps_its_random_values(tmp_path, folder):
    plain, module = as_before(tmp_path, folder, decoder=24)
    after = module.state_dict()
    decoder = [name for name in after if name.startswith("decoder.")]
    assert decoder and all(torch.equal(plain.state_dict()[name], after[name]) for name in decoder)
    check_layers(module.encoder.visual_model, 2, made(True))


def test_backbone_with_four_channels_starts_alpha_weights_at_zero(tmp_path, folder):
    module = tokenizer(tmp_path, folder, channels=4)
    rgb = tokenizer(tmp_path, folder)
    images = torch.rand(1, 4, 16, 16) * 2 - 1
    a = module.encoder.visual_model.embeddings.patch_embedding(patches(images, PATCH))
    b = rgb.encoder.visual_model.embeddings.patch_embedding(patches(images[:, :3], PATCH))
    assert torch.allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("around", [None, "model", "state_dict"])
def test_backbone_torch_file_with_flat_patches_is_read(tmp_path, around):
    """As SigLIP2-NaFlex has them: row, column, channel already; names with and without `vision_model.`."""
    state = made(False)
    if around == "model":
        state = {
            name.removeprefix("vision_model."): value
            for name, value in state.items()
            if name.startswith("vision_model.")
        }
    path = tmp_path / "backbone.pt"
    torch.save({around: state} if around else state, path)
    module = tokenizer(tmp_path, path)
    check_layers(module.encoder.visual_model, 2, made(False))
    assert torch.equal(
        module.encoder.visual_model.embeddings.patch_embedding.weight,
        made(False)["vision_model.embeddings.patch_embedding.weight"],
    )


def test_backbone_in_half_precision_is_read(tmp_path):
    path = tmp_path / "half.safetensors"
    save_file({name: value.bfloat16() for name, value in made(True).items()}, path)
    module = tokenizer(tmp_path, path)
    want = made(True)["vision_model.encoder.layers.1.mlp.fc2.weight"].bfloat16().float()
    assert torch.equal(module.encoder.visual_model.encoder.layers[1].mlp.fc2.weight, want)


class Held:
    """Two pictures, as a folder has them."""

    classes, labels = ["a"], np.zeros(2, np.int64)

    def __len__(self):
        return 2


def test_tokenizer_stage_with_backbone_starts_from_it(tmp_path, folder):
    stage = TokenizerStage(
        read(tmp_path, folder), SimpleNamespace(train=Held(), held_out=Held(), classes=["one"]), Process("cpu")
    )
    check_layers(stage.module.encoder.visual_model, 2, made(True))
    figures = stage.losses(0, torch.rand(2, 3, 16, 16) * 2 - 1)
    assert (
        torch.isfinite(figures["loss"])
        and stage.module.encoder.visual_model.encoder.layers[0].mlp.fc1.weight.grad.abs().sum() > 0
    )


def changed(numbers, side, **sizes):
    """The same numbers with a side of other sizes."""
    return dataclasses.replace(numbers, **{side: dataclasses.replace(getattr(numbers, side), **sizes)})


@pytest.mark.parametrize(
    "side, sizes, said",
    [
        ("encoder", {"width": 24}, "its width is 12, but tokenizer.model.encoder.width is 24"),
        ("encoder", {"depth": 4}, "it has 3 layers, but tokenizer.model.encoder.depth is 4"),
        ("encoder", {"hidden": 32}, "its MLP width is 20, but tokenizer.model.encoder.hidden is 32"),
        ("encoder", {"heads": 6}, "its config.json says 3 heads, but tokenizer.model.encoder.heads is 6"),
        ("encoder", {"patch": 8}, "patches of 8 pixels"),
        ("decoder", {"depth": 5}, "it has 3 layers, but tokenizer.model.decoder.depth is 5"),
    ],
)
def test_backbone_of_other_sizes_is_refused(tmp_path, folder, side, sizes, said):
    numbers = changed(read(tmp_path, folder).numbers, side, **sizes)
    with pytest.raises(Refused, match=said):
        backbone.load_backbone(Tokenizer(numbers), folder)


def test_backbone_file_that_is_damaged_or_missing_is_refused(tmp_path, folder):
    with pytest.raises(Refused, match="no such file or folder"):
        tokenizer(tmp_path, tmp_path / "nothing.safetensors")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(Refused, match="none of model.safetensors"):
        tokenizer(tmp_path, empty)
    (empty / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(Refused, match="in several files"):
        tokenizer(tmp_path, empty)
    other = tmp_path / "text.txt"
    other.write_text("not tensors")
    with pytest.raises(Refused, match="not a file of tensors"):
        tokenizer(tmp_path, other)
    torn = {name: value for name, value in made(True).items() if "layers.1.self_attn.k_proj" not in name}
    save_file(torn, tmp_path / "torn.safetensors")
    with pytest.raises(Refused, match="the tensor encoder.layers.1.self_attn.k_proj.weight is missing"):
        tokenizer(tmp_path, tmp_path / "torn.safetensors")
    uneven = made(True)
    uneven["vision_model.embeddings.position_embedding.weight"] = torch.zeros(7, WIDTH)
    save_file(uneven, tmp_path / "uneven.safetensors")
    with pytest.raises(Refused, match="has 7 rows; a square is needed"):
        tokenizer(tmp_path, tmp_path / "uneven.safetensors")
    (folder / "config.json").write_text("[1]")
    with pytest.raises(Refused, match="not a JSON object"):
        tokenizer(tmp_path, folder)

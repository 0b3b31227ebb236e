"""The weights of a bundle, under the names of a checkpoint: the inverse of what `graphs` does with them.

Tables that the graphs hold are taken apart again. Where a sum was stored, one part gets all of it and the other is
zero, which computes the same. int8 weights become the floats that they stand for. What no graph holds is missing: the
tensors that only training with self-correction has, and position tables of another size than that of the full image.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

import onnx
from detailflow_onnx.bundle.manifest import Manifest
from detailflow_onnx.bundle.reader import check_files, graphs_of, read_manifest
from detailflow_onnx.bundle.variants import FORMS
from detailflow_onnx.checkpoint.model import Model, check
from detailflow_onnx.checkpoint.weights import Weights
from detailflow_onnx.errors import Refused, brief, need
from detailflow_onnx.numbers.quantize import unpack_int8
from detailflow_onnx.numbers.sizes import Ar, Shapes, Side, ar_shapes, tokenizer_shapes
from onnx import numpy_helper

READ = ("fp32", "fp16", "int8")  # the best first; int4 weights are too coarse to start from

USUAL_BASE = 10000.0  # of the rotary embedding


class _Tensors:
    """The tensors of the graphs of one precision, by key."""

    def __init__(self, folder: Path, content: Manifest) -> None:
        self.folder = folder
        variants = {v["precision"]: v for v in sorted(content["variants"], key=lambda v: -_rank(v["form"]))}
        precision = next((p for p in READ if p in variants), None)
        if precision is None:
            have = ", ".join(sorted(variants))
            raise Refused(f"{folder}: it has no weights of {', '.join(READ)}, only {have}; export one of them")
        self.precision = precision
        self.initializers: dict[str, onnx.TensorProto] = {}
        self.epsilon: dict[str, float] = {}
        for graph in graphs_of(content):
            self._read(graph, folder / variants[precision][graph])

    def _read(self, graph: str, path: Path) -> None:
        try:
            model = onnx.load(str(path), load_external_data=False)
        except Exception as error:  # protobuf raises several kinds
            raise Refused(f"{path}: not an ONNX graph ({brief(str(error))})") from None
        self.initializers |= {tensor.name: tensor for tensor in model.graph.initializer}
        self.epsilon[graph] = self._epsilon(model.graph, path)

    def _epsilon(self, graph: onnx.GraphProto, path: Path) -> float:
        """The number that norms add: an attribute of theirs, or what is added before the square root."""
        found = [a.f for node in graph.node for a in node.attribute if a.name == "epsilon"]
        makers = {name: node for node in graph.node for name in node.output}
        for node in graph.node if not found else ():
            added = makers.get(node.input[0]) if node.op_type == "Sqrt" else None
            if added is not None and added.op_type == "Add" and added.input[1] in self:
                found.append(float(self.get(added.input[1]).reshape(-1)[0]))
        need(found, f"{path}: none of its operators has an epsilon")
        return float(f"{found[0]:.6g}")  # of the 32 bits, the decimal number that was written

    def __contains__(self, key: str) -> bool:
        return key in self.initializers

    def get(self, key: str) -> np.ndarray:
        """The tensor `key`."""
        need(key in self.initializers, f"{self.folder}: its graphs have no tensor {key}")
        tensor = self.initializers[key]
        try:
            value = numpy_helper.to_array(tensor, str(self.folder))
        except Exception as error:  # lengths and places that contradict the file
            raise Refused(f"{self.folder}: the tensor {key} cannot be read ({brief(str(error))})") from None
        return value.astype(np.float32) if value.dtype == np.float16 else value

    def matrix(self, key: str, inputs: int) -> np.ndarray:
        """The weight [out, in] of a linear layer. `inputs`: in, which the padding of a packed weight hides."""
        if f"{key}.int8" not in self:
            return np.ascontiguousarray(self.get(key).T)
        scale = self.get(f"{key}.scale")
        integers = unpack_int8(self.get(f"{key}.int8"), inputs, len(scale))
        return np.ascontiguousarray((integers * scale).T)


def _rank(form: str) -> int:
    return FORMS.index(form) if form in FORMS else len(FORMS)


def _side(name: str, section: dict[str, Any], size: int, eps: float, patch: int, most: int) -> Side:
    values = [section[key] for key in ("width", "layers", "heads", "hidden")]
    width, layers, heads, hidden = map(int, values)
    _check_layers(name, layers, most)
    return Side(name, width, layers, heads, hidden, patch, size // patch, eps)


def _check_layers(name: str, layers: int, most: int) -> None:
    """Refuse more layers than there are tensors, before anything is made for each."""
    need(1 <= layers <= most, f"the manifest gives the {name} {layers} layers, but the graphs have {most} tensors")


def _layers(tensors: _Tensors, side: Side) -> dict[str, np.ndarray]:
    out: dict[str, np.ndarray] = {}
    root = side.prefix + ".visual_model."
    for i in range(side.depth):
        p = f"{root}encoder.layers.{i}."
        for norm in ("layer_norm1", "layer_norm2"):
            out |= {f"{p}{norm}.{part}": tensors.get(f"{p}{norm}.{part}") for part in ("weight", "bias")}
        qkv, bias = tensors.matrix(p + "self_attn.qkv", side.width), tensors.get(p + "self_attn.qkv.bias")
        for name, weight, shift in zip("qkv", np.split(qkv, 3), np.split(bias, 3)):
            out |= {f"{p}self_attn.{name}_proj.weight": weight, f"{p}self_attn.{name}_proj.bias": shift}
        for name, inputs in (("self_attn.out_proj", side.width), ("mlp.fc1", side.width), ("mlp.fc2", side.hidden)):
            out |= {
                p + name + ".weight": tensors.matrix(p + name, inputs),
                p + name + ".bias": tensors.get(p + name + ".bias"),
            }
    norm = root + "post_layernorm"
    return out | {f"{norm}.{part}": tensors.get(f"{norm}.{part}") for part in ("weight", "bias")}


def _tokenizer(tensors: _Tensors, encoder: Side, decoder: Side, count: int, channels: int) -> dict[str, np.ndarray]:
    out = _layers(tensors, encoder) | _layers(tensors, decoder)
    # Decoder: the last rows of the table are those of the full size, mask token and positions in one.
    table = tensors.get("decoder.patches")[-(decoder.grid**2) :]
    mask = table.mean(0, keepdims=True)
    out |= {"decoder.mask_token": mask[None], "decoder.visual_model.embeddings.position_embedding.weight": table - mask}
    out["decoder.latent_pos_embed"] = tensors.get("decoder.latent_pos_embed")[None]
    pixel = "decoder.to_pixel.model"
    out |= {pixel + ".weight": tensors.matrix(pixel, decoder.width), pixel + ".bias": tensors.get(pixel + ".bias")}
    # Encoder: patches hold positions and bias, latents hold tokens and positions.
    embedding = "encoder.visual_model.embeddings."
    out[embedding + "patch_embedding.weight"] = tensors.matrix(
        embedding + "patch_embedding", encoder.patch**2 * channels
    )
    out[embedding + "patch_embedding.bias"] = np.zeros(encoder.width, np.float32)
    out[embedding + "position_embedding.weight"] = tensors.get("encoder.patches")
    out["encoder.latent_tokens"] = tensors.get("encoder.latents")
    out["encoder.latent_pos_embed"] = np.zeros((1, count, encoder.width), np.float32)
    out |= {"quant_conv.weight": tensors.get("quant_conv.weight").T, "quant_conv.bias": tensors.get("quant_conv.bias")}
    book = np.ascontiguousarray(tensors.get("encoder.codebook").T)
    out["quantize.embedding.weight"] = book
    # The decoder's table is an affine function of the codebook.
    rows = np.concatenate([book, np.ones((len(book), 1), np.float32)], 1).astype(np.float64)
    solved = np.linalg.lstsq(rows, tensors.get("decoder.codes").astype(np.float64), rcond=None)[0].astype(np.float32)
    return out | {"post_quant_conv.weight": solved[:-1].T, "post_quant_conv.bias": solved[-1]}


def _ar(tensors: _Tensors, ar: Ar, content: Manifest) -> dict[str, np.ndarray]:
    ids = content["ids"]
    rows = tensors.get("ar.embeddings")
    out = {
        "tok_embeddings.weight": rows[: content["tokens"]["codes"]],
        "cls_embedding.embedding_table.weight": rows[ids["class"] : ids["no_class"] + 1],
    }
    if content["tokens"]["group"] > 1:
        out["spe_tok_embeddings.special_embeddings.weight"] = rows[ids["special"] : ids["total"]]
    rotated = (ar.heads + ar.kv_heads) * ar.head_dim
    for i in range(ar.depth):
        p = f"layers.{i}."
        for norm in ("attention_norm", "ffn_norm"):
            out[f"{p}{norm}.weight"] = tensors.get(f"ar.{p}{norm}.weight")
        qkv = tensors.matrix(f"ar.{p}wqkv", ar.width)
        pairs = qkv[:rotated].reshape(-1, 2, ar.head_dim // 2, ar.width)
        qkv[:rotated] = pairs.transpose(0, 2, 1, 3).reshape(rotated, ar.width)
        both = tensors.matrix(f"ar.{p}feed_forward.w13", ar.width)
        out |= {p + "attention.wqkv.weight": qkv}
        out |= {p + "attention.wo.weight": tensors.matrix(f"ar.{p}attention.wo.weight", ar.width)}
        out |= {f"{p}feed_forward.{name}.weight": part for name, part in zip(("w1", "w3"), np.split(both, 2))}
        out |= {p + "feed_forward.w2.weight": tensors.matrix(f"ar.{p}feed_forward.w2.weight", ar.hidden)}
    out["norm.weight"] = tensors.get("ar.norm.weight")
    out["output.weight"] = tensors.matrix("ar.output.weight", ar.width)
    return out


def _ar_sizes(tensors: _Tensors, given: dict[str, Any], group: int) -> Ar:
    """The sizes of the AR model. Manifests may leave out the hidden width, which the activation halves."""
    key = "ar.layers.0.feed_forward.w13"
    both = tensors.get(key + (".scale" if key + ".scale" in tensors else "")).shape[-1]
    head_width, heads, layers = given["head_width"], given["heads"], given["layers"]
    _check_layers("ar", layers, len(tensors.initializers))
    base = _rope_base(tensors, head_width, group)
    return Ar(heads * head_width, layers, heads, given["kv_heads"], both // 2, base, tensors.epsilon["ar"])


def _rope_base(tensors: _Tensors, head_width: int, group: int) -> float:
    """The base of the rotary embedding, from the angle of the second pair at the first position that turns."""
    cos, sin = tensors.get("ar.cos"), tensors.get("ar.sin")
    pairs = head_width // 2
    if group + 1 >= len(cos) or pairs < 4:
        return USUAL_BASE  # no pair but the first one turns
    angle = math.atan2(float(sin[group + 1, 1]), float(cos[group + 1, 1]))
    base = angle ** (-pairs / 2)
    usual = abs(base / USUAL_BASE - 1) < 0.01  # the angles of fp16 are exact to a thousandth
    return USUAL_BASE if usual else float(f"{base:.4g}")


def _checked(values: dict[str, np.ndarray], shapes: Shapes, origin: str) -> Weights:
    for name, shape in shapes.items():
        have = values[name].shape
        need(have == shape, f"{origin}: the tensor {name} has the shape {list(have)}; its sizes ask for {list(shape)}")
    return Weights(origin, shapes, lambda name: np.array(values[name], np.float32, order="C"))


def open_bundle(folder: Path) -> Model:
    """The model in a bundle; without AR model if the bundle has none. Bundles without encoder are refused."""
    content = read_manifest(folder)
    graphs = graphs_of(content)
    need("encoder" in graphs, f"{folder}: it has no encoder, so its tokenizer is incomplete")
    check_files(folder, content)
    try:
        return _model(folder, content, _Tensors(folder, content))
    except (KeyError, TypeError, ValueError, IndexError, ArithmeticError) as error:
        reason = f"{type(error).__name__}: {brief(str(error))}"
        raise Refused(f"{folder}: its manifest and its graphs do not agree ({reason})") from None


def _model(folder: Path, content: Manifest, tensors: _Tensors) -> Model:
    tokens, image = content["tokens"], content["image"]
    size, channels, count, group = image["size"], image["channels"], tokens["count"], tokens["group"]
    eps, most = tensors.epsilon, len(tensors.initializers)
    encoder = _side("encoder", content["encoder"], size, eps["encoder"], content["encoder"]["patch"], most)
    decoder = _side("decoder", content["decoder"], size, eps["decoder"], image["patch"], most)
    width, codes = content["encoder"]["code_width"], tokens["codes"]
    shapes = tokenizer_shapes(encoder, decoder, channels=channels, count=count, codes=codes, code_width=width)
    origin = str(folder)
    tokenizer = _checked(_tokenizer(tensors, encoder, decoder, count, channels), shapes, origin)
    ar, ar_weights = None, None
    if "ar" in graphs_of(content):
        ar = _ar_sizes(tensors, content["ar"], group)
        wanted = ar_shapes(ar, codes=codes, group=group, classes=len(content["classes"]))
        ar_weights = _checked(_ar(tensors, ar, content), wanted, origin)
    return check(
        Model(
            name=content["name"],
            size=size,
            channels=channels,
            count=count,
            group=group,
            causal=tokens["causal"],
            codes=codes,
            code_width=width,
            l2_norm="encoder.codebook.bias" not in tensors,
            power=content["ladder"]["power"],
            classes=tuple(content["classes"]),
            encoder=encoder,
            decoder=decoder,
            ar=ar,
            tokenizer=tokenizer,
            ar_weights=ar_weights,
        )
    )

"""Read a checkpoint in the published layout into a `Model`, and refuse what is not DetailFlow as exported here."""

import json
from pathlib import Path

from detailflow_onnx.checkpoint import weights
from detailflow_onnx.errors import Refused, need
from detailflow_onnx.labels import class_names
from detailflow_onnx.checkpoint.model import Ar, Model, Side, check

MISSING = object()


def _scalar(text):
    """A YAML scalar on one line: quoted text, null, boolean, number, or the text itself."""
    if text[:1] in "'\"" and text[:1]:
        end = text.find(text[0], 1)
        return text[1:end] if end > 0 else text
    text = text.split(" #")[0].strip()
    words = {"": None, "null": None, "~": None, "true": True, "false": False}
    if text.lower() in words:
        return words[text.lower()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return text


def read_yaml(text):
    """The top-level `key: scalar` lines of a YAML file. Lists, mappings and anything indented are skipped."""
    out = {}
    for line in text.splitlines():
        key, colon, value = line.partition(":")
        plain = colon and key and not key[0].isspace() and key[0] not in "#-[{}]"
        if plain and (not value or value[0].isspace()) and value.strip()[:1] not in ("[", "{", "|", ">", "&", "*", "!"):
            out[key.strip("'\" ")] = _scalar(value.strip())
    return out


def _json(path):
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from None
    except ValueError as error:
        raise Refused(f"{path}: not JSON ({error})") from None
    need(isinstance(value, dict), f"{path}: not a JSON object")
    return value


class Config:
    """config.json, then config.yaml, with a sentence for each key that is missing or of the wrong kind."""

    def __init__(self, folder):
        self.path = folder / "config.json"
        self.values = _json(self.path)
        extra = folder / "config.yaml"
        if extra.is_file():
            self.values = read_yaml(extra.read_text(encoding="utf-8", errors="replace")) | self.values

    def get(self, key, kind, default=MISSING):
        value = self.values.get(key)
        if value is None:
            need(default is not MISSING, f"{self.path}: the key {key} is missing")
            return default
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        sound = isinstance(value, kind) and (kind is not int or not isinstance(value, bool))
        need(sound, f"{self.path}: the key {key} is {value!r}, and {kind.__name__} is needed")
        return value

    def only(self, key, kind, allowed, default):
        value = self.get(key, kind, default)
        need(value == allowed, f"{self.path}: {key} is {value!r}; only {allowed!r} can be exported")


def _weights_file(folder, given, flag):
    if given:
        need(Path(given).is_file(), f"{given}: no such file")
        return Path(given)
    found = sorted(p for p in (folder / "checkpoints").glob("*") if p.suffix in (".pt", ".safetensors"))
    need(found, f"{folder / 'checkpoints'}: no .pt or .safetensors file there")
    need(len(found) == 1, f"{folder / 'checkpoints'}: several files ({', '.join(p.name for p in found)}); name one with {flag}")
    return found[0]


def _refuse_tokenizer(config):
    config.only("causal_encoder", bool, True, MISSING)
    config.only("causal_decoder", bool, False, MISSING)
    config.only("num_codebooks", int, 1, 1)
    config.only("vq_mean", float, 0.0, 0.0)
    config.only("vq_std", float, 1.0, 1.0)
    config.only("enc_type", str, "siglip2", "siglip2")
    config.only("dec_type", str, "siglip2", "siglip2")
    config.only("content_degradation", str, "resolution_power", "resolution_power")


def _refuse_ar(config, tensors):
    config.only("model_type", str, "c2i", "c2i")
    config.only("cls_token_num", int, 1, 1)
    caption = [name for name in tensors.shapes if "cap_proj" in name or "caption" in name or "uncond_embedding" in name]
    need(not caption, f"{tensors.origin}: the tensor {(caption or [''])[0]} belongs to a text-conditioned model; only classes (c2i) can be exported")


def _siglip(folder, given):
    """The backbone's own config: the file named, or the one beside the tokenizer. (path, values) or None."""
    if given:
        return Path(given), _json(Path(given))
    for place in (folder, folder.resolve().parent):
        path = place / "siglip2_vision_config.json"
        if path.is_file():
            return path, _json(path)
    return None


def _depth(tensors, root):
    marks = [name[len(root) :].split(".")[0] for name in tensors.shapes if name.startswith(root)]
    return max((int(m) for m in marks if m.isdigit()), default=-1) + 1


def _heads(prefix, width, config, siglip, given):
    """(heads, eps): a flag, the backbone's config where its width fits, the checkpoint's own key, or the published rules."""
    eps = 1e-6
    flag = f"--{prefix}-heads"
    if siglip:
        path, values = siglip
        values = values.get("vision_config", values)
        if values.get("hidden_size") == width:
            eps = float(values.get("layer_norm_eps", eps))
            heads = values.get("num_attention_heads")
            if not given and heads is not None:
                need(isinstance(heads, int) and heads > 0, f"{path}: num_attention_heads is {heads!r}")
                return heads, eps
    if given:
        return given, eps
    own = config.get("num_heads", int, None)
    if own:
        return own, eps
    if config.get(f"{prefix}_model", str, "") == "siglip2_base":
        if width == 1152 and config.get(f"{prefix[:3]}_pretrained", bool, False):
            return 16, eps
        if width == 768:
            return 12, eps
    raise Refused(f"the head count of the {prefix} (width {width}) cannot be known from its weights; give --siglip-config FILE or {flag} N")


def _side(prefix, config, tensors, siglip, given, heads_matter=True):
    root = f"{prefix}.visual_model."
    width = tensors.shape(f"{prefix}.latent_pos_embed")[-1]
    rows = tensors.shape(root + "embeddings.position_embedding.weight")[0]
    grid = round(rows**0.5)
    need(grid >= 1 and grid * grid == rows, f"{tensors.origin}: the tensor {root}embeddings.position_embedding.weight has {rows} rows, which is no square")
    depth = _depth(tensors, root + "encoder.layers.")
    hidden = tensors.shape(f"{root}encoder.layers.0.mlp.fc1.weight")[0]
    patch = config.get(f"{prefix[:3]}_patch_size", int)
    heads, eps = _heads(prefix, width, config, siglip, given) if heads_matter else (None, 1e-6)
    return Side(prefix, width, depth, heads, hidden, patch, grid, eps)


def _agree(name, tokenizer, other, ar):
    need(tokenizer == ar, f"{name} is {tokenizer} in the tokenizer, but {other} is {ar} in the AR model")


def open_ar(home, given=None):
    """(numbers, number of classes, weights) of the AR model in the folder `home`; `given` is its file of weights where there
    are several."""
    config = Config(home)
    tensors = weights.open_file(_weights_file(home, given, "--ar-weights"), "ema")
    _refuse_ar(config, tensors)
    heads = config.get("n_head", int)
    hidden = tensors.shape("layers.0.feed_forward.w1.weight")[0]
    ar = Ar(
        config.get("dim", int), config.get("n_layer", int), heads, config.get("n_kv_head", int, heads), hidden,
        config.get("rope_base", float), config.get("norm_eps", float),
    )  # fmt: skip
    return ar, config.get("num_classes", int), tensors


def _open_ar(options, config):
    """The same for a bundle: the AR model must fit the tokenizer's `config`."""
    home = Path(options.ar)
    opened, ar_config = open_ar(home, options.ar_weights), Config(home)
    group, ar_group = config.get("group_size", int), ar_config.get("group_size", int)
    _agree("num_latent_tokens", config.get("num_latent_tokens", int), "block_size", ar_config.get("block_size", int))
    _agree("group_size", group, "group_size", ar_group)
    _agree("causal_num", config.get("causal_num", int, group), "causal_num", ar_config.get("causal_num", int, ar_group))
    _agree("codebook_size", config.get("codebook_size", int), "vocab_size", ar_config.get("vocab_size", int))
    return opened


def _labels(home):
    """The class names that a training run leaves beside its AR model."""
    file = Path(home) / "labels.txt" if home else None
    return file if file and file.is_file() else None


def open_model(options):
    """The model that the export options describe: folders `tokenizer` and `ar`, and what was given beside them.

    With `only` there may be no `ar`, and how many heads the encoder has does not matter."""
    home = Path(options.tokenizer)
    config = Config(home)
    _refuse_tokenizer(config)
    tensors = weights.open_file(_weights_file(home, options.tokenizer_weights, "--tokenizer-weights"), "model")
    ar, classes, ar_tensors = _open_ar(options, config) if options.ar else (None, None, None)
    siglip = _siglip(home, options.siglip_config)
    group = config.get("group_size", int)
    return check(
        Model(
            name=options.name or home.resolve().parent.name or home.resolve().name,
            size=config.get("max_image_size", int),
            channels=config.get("in_channels", int, 3),
            count=config.get("num_latent_tokens", int),
            group=group,
            causal=config.get("causal_num", int, group),
            codes=config.get("codebook_size", int),
            code_width=config.get("codebook_embed_dim", int),
            l2_norm=config.get("codebook_l2_norm", bool),
            power=config.get("degradation_power", float),
            classes=class_names(options.labels or _labels(options.ar), classes),
            encoder=_side("encoder", config, tensors, siglip, options.encoder_heads, heads_matter=not options.only),
            decoder=_side("decoder", config, tensors, siglip, options.decoder_heads),
            ar=ar,
            tokenizer=tensors,
            ar_weights=ar_tensors,
        )
    )

"""The tokenizer ID: which tokenizer a token sequence belongs to."""

import hashlib
import json

from detailflow_onnx.checkpoint.model import Model, shapes


def tokenizer_id(model: Model) -> str:
    """Hash of the sizes and the source weights of the tokenizer, the same for all precisions."""
    numbers = {
        "causal": model.causal,
        "channels": model.channels,
        "codes": model.codes,
        "count": model.count,
        "group": model.group,
        "l2_norm": model.l2_norm,
        "patch": model.decoder.patch,
        "power": model.power,
        "size": model.size,
    }
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    for name, shape in sorted(shapes(model)[0].items()):
        digest.update(f"{name}\n{'x'.join(map(str, shape))}\n".encode())
        digest.update(model.tokenizer.read(name).astype("<f4", copy=False).data.cast("B"))
    return digest.hexdigest()[:16]

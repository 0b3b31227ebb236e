"""Models of the published sizes with random weights, for benchmarks. Tensors are generated when they are read."""

import math

from detailflow_onnx.checkpoint import weights
from detailflow_onnx.checkpoint.model import Model, check
from detailflow_onnx.labels import class_names
from detailflow_onnx.numbers.sizes import Ar, Side, ar_shapes, tokenizer_shapes

TOKENS = {"detailflow-16": 128, "detailflow-32": 256, "detailflow-64": 512}
ENCODER = Side("encoder", width=1152, depth=12, heads=16, hidden=4304, patch=16, grid=16, eps=1e-6)
DECODER = Side("decoder", width=768, depth=12, heads=12, hidden=3072, patch=16, grid=16, eps=1e-6)
GPT_L = Ar(width=1024, depth=24, heads=16, kv_heads=16, hidden=2816, rope_base=10000.0, eps=1e-5)


def _spread(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """(mean, standard deviation) that keep the activations near 1."""
    if "norm" in name:
        return (1.0, 0.1) if name.endswith("weight") else (0.0, 0.1)
    if name.endswith("bias"):
        return 0.0, 0.02
    if "embed" in name or "token" in name:
        return 0.0, 0.5
    ends_branch = any(part in name for part in ("wo.", "w2.", "out_proj", "fc2"))
    gain = 2.0 if name.startswith("output") else 0.3 if ends_branch else 1.0
    return 0.0, gain / math.sqrt(shape[-1])


def random_model(kind: str, seed: int, name: str | None = None, labels: str | None = None) -> Model:
    """The model `kind` (a key of TOKENS) with random weights that follow from `seed`."""
    count, codes, width = TOKENS[kind], 8192, 8
    tokenizer = tokenizer_shapes(ENCODER, DECODER, channels=3, count=count, codes=codes, code_width=width)
    return check(
        Model(
            name=name or f"random-{kind}",
            size=256,
            channels=3,
            count=count,
            group=8,
            causal=8,
            codes=codes,
            code_width=width,
            l2_norm=True,
            power=1.5,
            classes=class_names(labels, 1000),
            encoder=ENCODER,
            decoder=DECODER,
            ar=GPT_L,
            tokenizer=weights.random(tokenizer, seed, _spread),
            ar_weights=weights.random(ar_shapes(GPT_L, codes=codes, group=8, classes=1000), seed, _spread),
        )
    )

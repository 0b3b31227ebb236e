"""Data to checkpoint: DetailFlow's three stages in PyTorch (arXiv 2505.21473, section 3), in the published layout.

Beside the exporter, and known to it only through the checkpoints that it writes: `tokenizer` and `transformer` are the two
models, `recipe` reads a YAML configuration, `folder` and `feed` give pictures, `run` is the one training loop with its
checkpoints, `stage_tokenizer`, `stage_codes` and `stage_ar` are what is trained in it, `evaluate` measures the result.
Needs the extra `train`: pip install './onnx[train]'.
"""

from detailflow_onnx.errors import Refused

try:
    import torch  # noqa: F401
except ImportError as error:
    raise Refused(f"training needs PyTorch: pip install './onnx[train]' ({error})") from None

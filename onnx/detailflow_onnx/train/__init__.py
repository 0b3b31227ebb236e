"""From pictures to a checkpoint: the three training stages of DetailFlow in PyTorch (arXiv 2505.21473, section 3).

`recipe` reads a YAML configuration; `data` reads pictures; `models` are the tokenizer and the autoregressive model;
`loop` is the training loop, with `process`, `log`, `losses` and `optimise`; `stages` are what it trains; `evaluation`
measures the result; `sheets` draws pictures of many pictures. Needs the extra `train`: pip install './onnx[train]'.
"""

import os

from detailflow_onnx.errors import Refused

# GNU OpenMP, which PyTorch uses on Linux, otherwise waits actively for milliseconds at every barrier. With two other
# programs on two cores, a step with two threads took three times as long; on an idle machine nothing is lost. It is
# read when the library is loaded.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")

try:
    import torch  # noqa: F401  (only to say that it is missing)
except ImportError as error:
    raise Refused(f"training needs PyTorch: pip install './onnx[train]' ({error})") from None

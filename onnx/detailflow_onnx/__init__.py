"""Make DetailFlow bundles: ONNX graphs, weights and a manifest, from a checkpoint in the published layout.

`python -m detailflow_onnx export` writes a bundle, `python -m detailflow_onnx verify` measures one. In the order in
which data flows: `checkpoint` (with `pickled` and `weights`) reads a `Model`; `ar`, `decoder` and `encoder` build
its graphs with `builder`, `siglip`, `quantize` and `store`; `bundle` writes the folder; `check` compares it with
`reference`, and `judge` tells how near to it each variant is; `runner` runs a bundle, and `verify` compares what comes
out with expected numbers. `baseline` is the model in PyTorch; `speed` and `compare` time it, plain ONNX Runtime and
`dflow` in `turns`.
"""

__version__ = "0.1.0"

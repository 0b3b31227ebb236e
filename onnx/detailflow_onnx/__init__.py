"""Exporter, verifier, benchmarks and training for DetailFlow models.

The packages, lowest first. A package imports only packages above it in this list:

- `errors`, `output`: the exception `Refused`; writing a folder atomically.
- `numbers`: pure arithmetic on sizes, schedules, position tables, quantization and figures. NumPy only.
- `labels`: class names.
- `checkpoint`: reads a checkpoint in the published layout into a `Model`, without PyTorch.
- `graphs`: builds the ONNX graphs `ar`, `decoder`, `encoder` and `draw` from a `Model`.
- `bundle`: writes a bundle (graphs, weights, manifest), checks it, measures its quality, runs and verifies it.
- `train`: trains models in PyTorch and writes checkpoints. It imports `checkpoint` and `numbers`, never `graphs`.
- `bench`: times PyTorch (the modules of `train`), plain ONNX Runtime and `dflow`.
- `cli`: the command line, `python -m detailflow_onnx`.
"""

__version__ = "0.1.0"

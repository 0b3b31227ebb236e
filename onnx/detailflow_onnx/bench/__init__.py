"""Benchmarks: `baseline` (PyTorch) and `runtime` (plain ONNX Runtime) each generate pictures; `compare` times both and
`dflow` in interleaved `rounds`.
"""

"""Bundles: a folder with a manifest, graphs and weights.

`variants` says which precisions and forms are written; `manifest` builds `detailflow.json` and `writer` all files;
`reader` reads and checks a bundle; `runner` runs its graphs in ONNX Runtime with a KV `cache`, and `signatures` checks
their inputs and outputs. `reference` computes a model in NumPy. `self_check` compares a new bundle with it in a
subprocess and `quality` measures how close each variant is; `verify` compares a bundle with expected numbers.
"""

"""The ONNX graphs of a bundle, written directly from the weights.

`builder` adds nodes, constants and weights (kept in a `store`); `linear` adds linear layers of every precision;
`siglip` has the SigLIP2 layers of `decoder` and `encoder`; `ar` is one step of the autoregressive model; `sampler` is
the graph `draw`, which samples tokens on a device.

A graph is written in up to four forms. The form chooses the attention backend and the KV layout:

- `native`: the library's own CPU operators (domain `detailflow`) beside the fused ones.
- `mha`: the fused operators of ONNX Runtime (domain `com.microsoft`).
- `plain`: standard operators, except for int4 matmuls. The KV cache grows by concatenation.
- `fixed`: for devices with their own memory: no node depends on a shape, and matmuls are in float, also those of int8
  weights. Standard operators, but fused norms, rotation and activation in `ar`.

All forms read the same weights.
"""

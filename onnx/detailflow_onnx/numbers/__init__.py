"""Pure arithmetic in NumPy: no files, no ONNX, no PyTorch.

`sizes` names the sizes of a model and the shapes that follow from them; `ladder` maps tokens to resolution; `schedule`
says which positions attend to which; `resize` resizes position tables; `quantize` computes int8 and int4 weights;
`figures` compares outputs.
"""

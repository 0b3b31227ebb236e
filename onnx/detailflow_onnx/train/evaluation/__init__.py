"""Evaluation of a trained model: `run` measures and writes the report.

`metrics` is the arithmetic; `classifier` gives the feature space; `reconstruction` measures the tokenizer and
`generation` samples of the AR model; `pictures` holds the sets of pictures they compare; `report` writes the figures.

Pictures are float tensors [n, C, S, S] in 0..1, premultiplied if C is 4, unless stated otherwise.
"""

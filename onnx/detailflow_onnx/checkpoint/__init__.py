"""Checkpoints in the published layout, read without PyTorch.

`torch_file` reads `.pt` files without executing their code; `weights` gives named tensors one at a time; `config` reads
config.json and config.yaml; `published` combines them into a `model.Model`; `random_model` makes one with random
weights; `source` chooses between the two; `identity` computes the tokenizer ID.
"""

"""The three stages: `tokenizer` (with its `codebook` and `correction`), `codes`, `ar`.

`loop` trains the first and the last.
"""

"""Training: pictures to a checkpoint in the published layout. `folder`, `feed` and `sprites` are the data, `tokenizer` and
`transformer` the two networks as PyTorch modules, `run` the loop. Needs PyTorch, which the exporter itself does not."""

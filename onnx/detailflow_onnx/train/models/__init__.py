"""The two models as PyTorch modules whose `state_dict` is the published layout, and the backbone to start from."""

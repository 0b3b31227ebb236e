"""Make tests/data/torch: what PyTorch itself writes and computes. Needs PyTorch; run it only to change the fixture.

checkpoint.pt is written by torch.save; expected.npz holds the values of its tensors, and position tables resized by
torch.nn.functional.interpolate(mode="bilinear", antialias=True, align_corners=False).
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch

HERE = Path(__file__).resolve().parent / "torch"
RESIZES = [(4, 1), (4, 3), (4, 7), (5, 5), (6, 2), (7, 4), (3, 16)]


def main():
    torch.manual_seed(3)
    HERE.mkdir(exist_ok=True)
    base = torch.randn(6, 8)
    model = OrderedDict(
        float=base,
        half=torch.randn(3, 5).half(),
        bfloat=torch.randn(4, 4).bfloat16(),
        double=torch.randn(2, 3).double(),
        long=torch.arange(7),
        bool=torch.tensor([True, False]),
        byte=torch.arange(5, dtype=torch.uint8),
        scalar=torch.tensor(2.5),
        transposed=base.t(),
        slice=base[2:4, 1:7:2],
        empty=torch.zeros(0, 4),
        parameter=torch.nn.Parameter(torch.randn(3)),
    )
    layer = torch.nn.Linear(4, 2)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=1e-3)
    layer(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    state = {
        "model": model,
        "ema": layer.state_dict(),
        "optimizer": optimizer.state_dict(),
        "steps": 12,
        "args": argparse.Namespace(lr=1e-3, name="x", sizes=[1, 2], flags={"a", "b"}, none=None, raw=b"\x00\xff"),
        "shape": base.shape,
    }
    torch.save(state, HERE / "checkpoint.pt")
    values = {"model." + name: tensor.detach().float().numpy() for name, tensor in model.items()}
    for n, side in RESIZES:
        table = torch.randn(n * n, 2)
        grid = table.reshape(1, n, n, 2).permute(0, 3, 1, 2)
        out = torch.nn.functional.interpolate(
            grid, size=(side, side), mode="bilinear", align_corners=False, antialias=True
        )
        values[f"table.{n}.{side}"], values[f"resized.{n}.{side}"] = (
            table.numpy(),
            out[0].permute(1, 2, 0).reshape(side * side, 2).numpy(),
        )
    np.savez_compressed(HERE / "expected.npz", **values)


if __name__ == "__main__":
    main()

"""Mutate small checkpoints and read them: the result is a value or `Refused`, never another exception.

    PYTHONPATH=onnx:tests python -m helpers.mutations COUNT [SEED]

runs longer than the tests do. A failure is printed with the seed and the number of its mutation.
"""

import argparse
import math
import sys
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import numpy as np
from detailflow_onnx.checkpoint import unpickler, weights
from detailflow_onnx.errors import Refused

from helpers import layout

NUMBERS = [0, 1, 2, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 1 << 62, (1 << 64) - 1]
# Parts of pickles, zips and safetensors headers.
PARTS = [
    *(bytes([code]) for code, step in enumerate(unpickler._STEPS) if step),
    *(name.encode().replace(b".", b"\n", 1) for name in unpickler.KNOWN),
    *(b"PK\1\2", b"PK\3\4", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"archive/data.pkl", b"archive/data/0", b"cos\nsystem\n"),
    *(b"2\x86" * 20, b"2\x86s", b"]" * 40, b"\x85" * 40, b"}(K\1K\2u", b"\x8a\xff", b"\x8d", b"\x8b\xff\xff\xff\x7f"),
    *(b'"shape":', b'"data_offsets":', b'"dtype":"F64"', b"[" * 50, b"-1", b"1e99", b"99999999999999999999", b"null"),
]


def small_checkpoint(folder: Path, kind: str) -> bytes:
    """A checkpoint with several element types, shared objects and training arguments."""
    rng = np.random.default_rng(3)
    types = ("float32", "float16", "bfloat16")
    tensors = {f"a.{i}.weight": layout.Tensor(rng.random((2, i + 1)), kind) for i, kind in enumerate(types)}
    if kind == "safetensors":
        layout.write_safetensors(folder / "good", tensors)
    else:
        shared = [1, "x"]
        arguments = argparse.Namespace(lr=1e-4, betas=(0.9, 0.95), name="x", parts=[shared, shared], raw=b"\xff\0")
        state = {"model": OrderedDict(tensors), "steps": 7, "args": arguments, "seen": {1, 2}, "big": 1 << 60}
        layout.write_pt(folder / "good", state)
    return (folder / "good").read_bytes()


def mutated(good: bytes, random: Random) -> bytes:
    """`good` after one to four changes."""
    data = bytearray(good)
    for _ in range(random.choice((1, 1, 1, 2, 3, 4))):
        at, size = random.randrange(len(data) + 1), random.choice((1, 2, 4, 8, 30, random.randrange(1, 400)))
        match random.randrange(8):
            case 0:
                data[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                data[at : at + 1] = bytes([data[at] ^ 1 << random.randrange(8)]) if at < len(data) else b""
            case 2:
                del data[at : at + size]
            case 3:
                data[at:at] = data[at : at + size] * random.choice((1, 1, 2, 50))
            case 4:
                data[at:at] = random.choice(PARTS)
            case 5:
                part = random.choice(PARTS)
                data[at : at + len(part)] = part
            case 6:
                width = random.choice((1, 2, 4, 8))
                value = random.choice(NUMBERS) + random.randrange(-2, 3)
                data[at : at + width] = (value % (1 << 8 * width)).to_bytes(width, random.choice(("little", "big")))
            case 7:
                other = random.randrange(len(data) + 1)
                data[at : at + size] = data[other : other + size]
        if not data:
            break
    return bytes(data)


def files(folder: Path, kind: str, random: Random) -> Iterator[Callable[[Path], object]]:
    """Endless writers of mutated files: of the whole file, and of a pickle in a valid zip."""
    good = small_checkpoint(folder, kind)
    state = {
        "model": OrderedDict(a=layout.Tensor(np.zeros((2, 3)))),
        "args": argparse.Namespace(x=[1, (2, {3})], y=b"z"),
    }
    pickle, storages = layout.pickled(state)
    while True:
        if kind == "pt" and random.randrange(3):
            data = mutated(pickle, random)
            yield lambda path, data=data: layout.write_zip(path, data, storages)
        else:
            data = mutated(good, random)
            yield lambda path, data=data: path.write_bytes(data)


def read(path: Path) -> int:
    """Read every tensor of a file; the number of values."""
    opened, count = weights.open_file(path, "model"), 0
    for name, shape in opened.shapes.items():
        count += math.prod(shape)
        if count < 1 << 20:
            opened.read(name)
    return count


def run(folder: Path, kind: str, count: int, seed: int) -> tuple[int, int, float]:
    """(files that were read, files that were refused, seconds of the slowest)."""
    path, good, bad, slowest = folder / f"mutated.{kind}", 0, 0, 0.0
    random = Random(seed)
    makers = files(folder, kind, random)
    for number in range(count):
        next(makers)(path)
        begun = time.monotonic()
        try:
            read(path)
            good += 1
        except Refused as error:
            bad += 1
            sentence = str(error)
            if not (sentence.startswith(str(path)) and len(sentence) < len(str(path)) + 600 and sentence.isprintable()):
                raise AssertionError(f"seed {seed}, mutation {number}: {sentence[:2000]!r}") from error
        except Exception as error:
            raise AssertionError(f"seed {seed}, mutation {number}: {type(error).__name__}: {error}") from error
        slowest = max(slowest, time.monotonic() - begun)
    return good, bad, slowest


def main() -> None:
    """The longer run."""
    count, seed = int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("pt", "safetensors"):
            good, bad, slowest = run(Path(folder), kind, count, seed)
            print(f"{kind}: {good} read, {bad} refused, {slowest * 1000:.0f} ms for the slowest")


if __name__ == "__main__":
    main()

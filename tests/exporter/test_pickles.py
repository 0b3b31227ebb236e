"""`.pt` files are untrusted input: code and inconsistent tensors are refused, and nothing is executed."""

import argparse
import os
import pickle
import struct
import zipfile
from collections import OrderedDict

import numpy as np
import pytest
from detailflow_onnx.checkpoint import torch_file, unpickler
from detailflow_onnx.errors import Refused
from helpers import layout

STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"


def write(path, data, storages=(bytes(24),), **more):
    layout.write_zip(path, data, list(storages), **more)
    return path


def tensor(offset, size, stride):
    """A pickle of {"t": tensor} over storage 0."""
    arguments = STORAGE + pickle.dumps(offset, 2)[2:-1] + pickle.dumps(size, 2)[2:-1] + pickle.dumps(stride, 2)[2:-1]
    return (
        b"\x80\x02}X\x01\x00\x00\x00tctorch._utils\n_rebuild_tensor_v2\n("
        + arguments
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )


def test_torch_file_with_one_tensor_is_read(tmp_path):
    place = torch_file.load(write(tmp_path / "a.pt", tensor(0, (2, 3), (3, 1))))["t"]
    assert place.shape == (2, 3) and place.dtype == "F32" and place.span == 24


def test_torch_file_with_plain_objects_is_read(tmp_path):
    state = {
        "a": [1, 2.5, "x", None, True],
        "b": (1, (2,)),
        "c": OrderedDict(k=1),
        "d": {1, 2},
        "e": argparse.Namespace(x=1, y={"z": b"\x00\xff"}),
        3: frozenset({4}),
    }
    for protocol in (2, 3, 4, 5):
        out = torch_file.load(write(tmp_path / f"{protocol}.pt", pickle.dumps(state, protocol)))
        assert (
            out["a"] == state["a"]
            and out["b"] == state["b"]
            and dict(out["c"]) == {"k": 1}
            and out["d"] == {1, 2}
            and out[3] == {4}
        )
        assert out["e"].values == {"x": 1, "y": {"z": b"\x00\xff"}}


class Runs:
    def __init__(self, function, *arguments):
        self.parts = function, arguments

    def __reduce__(self):
        return self.parts


def command(mark):
    return f"touch {mark}"


ATTACKS = {
    "os.system": lambda m: pickle.dumps({"model": Runs(os.system, command(m))}, 2),
    "os.system, protocol 4": lambda m: pickle.dumps([Runs(os.system, command(m))], 4),
    "eval": lambda m: pickle.dumps(Runs(eval, f"__import__('os').system('touch {m}')"), 2),
    "exec": lambda m: pickle.dumps(Runs(exec, f"open({str(m)!r}, 'w')"), 2),
    "getattr": lambda m: pickle.dumps(Runs(getattr, "x", "join"), 2),
    "INST": lambda m: b"(S'touch " + str(m).encode() + b"'\nios\nsystem\n.",
    "OBJ": lambda m: b"(cos\nsystem\nS'touch " + str(m).encode() + b"'\no.",
    "EXT1": lambda m: b"\x80\x02\x82\x01.",
    "text persistent id": lambda m: b"Pos.system\n.",
    "dotted name": lambda m: b"\x80\x04\x8c\x08argparse\x8c\x13Namespace.__class__\x93.",
    "argparse._sys": lambda m: b"\x80\x04\x8c\x08argparse\x8c\x04_sys\x93.",
    "torch.load": lambda m: b"\x80\x02ctorch\nload\n(X\x01\x00\x00\x00xtR.",
    "numpy": lambda m: pickle.dumps(np.float64(1), 2),
}


@pytest.mark.parametrize("case", ATTACKS)
def test_torch_file_with_code_is_refused(case, tmp_path):
    mark = tmp_path / "ran"
    path = write(tmp_path / "a.pt", ATTACKS[case](mark))
    with pytest.raises(Refused, match="not allowed|no checkpoint needs|damaged"):
        torch_file.load(path)
    assert not mark.exists()


def test_torch_file_refusal_names_the_function(tmp_path):
    with pytest.raises(Refused, match=r"a\.pt: the pickle asks for (posix|nt)\.system, which is not allowed"):
        torch_file.load(write(tmp_path / "a.pt", ATTACKS["os.system"](tmp_path / "ran")))


BUILDS = {
    "a function's defaults": b"ctorch._utils\n_rebuild_tensor_v2\n}X\x0c\x00\x00\x00__defaults__(K\x01tsb.",
    "a function's slots": b"ctorch._utils\n_rebuild_tensor_v2\n(N}X\x04\x00\x00\x00callccollections\nOrderedDict\nstb.",
    "a storage type": b"ctorch\nFloatStorage\n(N}X\x05\x00\x00\x00widthK\x00stb.",
    "a storage": STORAGE + b"(N}X\x05\x00\x00\x00countJ\xff\xff\xff\x7fstb.",
    "a class": b"cargparse\nNamespace\n}X\x0b\x00\x00\x00__setstate__K\x01sb.",
    "a number": b"K\x01}X\x01\x00\x00\x00xK\x01sb.",
    "a tensor": tensor(0, (6,), (1,))[:-2][3 + 6 :] + b"(N}X\x06\x00\x00\x00offsetK\x00stb.",
}


@pytest.mark.parametrize("case", BUILDS)
def test_torch_file_setting_state_is_refused(case, tmp_path):
    before = {name: repr(value) for name, value in unpickler.KNOWN.items()}
    with pytest.raises(Refused):
        torch_file.load(write(tmp_path / "a.pt", b"\x80\x02" + BUILDS[case]))
    assert {name: repr(value) for name, value in unpickler.KNOWN.items()} == before
    assert torch_file.load(write(tmp_path / "b.pt", tensor(0, (6,), (1,))))["t"].span == 24


def test_torch_file_namespace_state_has_no_effect(tmp_path):
    data = b"\x80\x02cargparse\nNamespace\n)\x81}(X\x09\x00\x00\x00__class__K\x01X\x0c\x00\x00\x00__setstate__K\x02ub."
    out = torch_file.load(write(tmp_path / "a.pt", data))
    assert type(out) is unpickler.Namespace and out.values == {"__class__": 1, "__setstate__": 2}


@pytest.mark.parametrize(
    "offset, size, stride",
    [
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 3), (4, 1)),
        (0, (2,), (6,)),
        (-1, (2,), (1,)),
        (0, (-2,), (1,)),
        (0, (2,), (-1,)),
        (7, (), ()),
        (0, (1 << 40,), (0,)),
        (0, (3, 1 << 62, 1 << 62), (0, 0, 0)),
        (0, (2, 3), (1,)),
        (0, (1,) * 9, (1,) * 9),
        (True, (2,), (1,)),
        (0, (2.0,), (1,)),
        (1 << 70, (1,), (1,)),
    ],
)
def test_torch_file_tensor_beyond_its_storage_is_refused(tmp_path, offset, size, stride):
    with pytest.raises(Refused, match="shape"):
        torch_file.load(write(tmp_path / "a.pt", tensor(offset, size, stride)))


FILES = {
    "legacy": (lambda p: p.write_bytes(torch_file.LEGACY_MAGIC + b"rest"), "old format"),
    "text": (lambda p: p.write_text("hello"), "not a PyTorch checkpoint"),
    "empty": (lambda p: p.write_bytes(b""), "not a PyTorch checkpoint"),
    "cut short": (lambda p: p.write_bytes(write(p, tensor(0, (6,), (1,))).read_bytes()[:-40]), "truncated"),
    "a zip of something else": (lambda p: zipfile.ZipFile(p, "w").close(), "holds no data.pkl"),
    "TorchScript": (lambda p: write(p, tensor(0, (6,), (1,)), extra=[("constants.pkl", b"x")]), "TorchScript"),
    "compressed": (lambda p: write(p, tensor(0, (6,), (1,)), compression=zipfile.ZIP_DEFLATED), "is compressed"),
    "missing storage": (lambda p: write(p, tensor(0, (6,), (1,)), storages=()), "storage '0' is missing"),
    "short storage": (
        lambda p: write(p, tensor(0, (6,), (1,)), storages=(bytes(20),)),
        "must hold 24 bytes but holds 20",
    ),
    "cut pickle": (lambda p: write(p, tensor(0, (6,), (1,))[:-9]), "damaged"),
    "memo bomb": (lambda p: write(p, b"\x80\x02}r\xff\xff\xff\x7f."), "memo number"),
    "unknown storage": (
        lambda p: write(p, tensor(0, (6,), (1,)).replace(b"FloatStorage", b"QuiltStorage")),
        "torch.QuiltStorage",
    ),
    "no such file": (lambda p: None, "No such file"),
}


@pytest.mark.parametrize("case", FILES)
def test_torch_file_of_another_kind_is_refused(case, tmp_path):
    make, sentence = FILES[case]
    make(tmp_path / "a.pt")
    with pytest.raises(Refused, match=sentence):
        torch_file.load(tmp_path / "a.pt")


def test_torch_file_in_big_endian_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("x/data.pkl", tensor(0, (6,), (1,)))
        archive.writestr("x/byteorder", b"big")
        archive.writestr("x/data/0", bytes(24))
    with pytest.raises(Refused, match="byteorder of the file is 'big'"):
        torch_file.load(tmp_path / "a.pt")


def test_torch_file_truncated_or_damaged_is_read_or_refused(tmp_path):
    """No damage gets past the reader as another exception."""
    good = write(tmp_path / "good.pt", tensor(0, (2, 3), (3, 1))).read_bytes()
    rng = np.random.default_rng(0)
    cases = [good[:i] for i in range(0, len(good), 17)]
    for _ in range(300):
        data = bytearray(good)
        data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        cases.append(bytes(data))
    path = tmp_path / "bad.pt"
    for data in cases:
        path.write_bytes(data)
        try:
            torch_file.load(path)
        except Refused as error:
            assert str(error).startswith(str(path))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        struct.pack("<Q", 1 << 60) + b"{}",
        struct.pack("<Q", 2) + b"{}x",
        struct.pack("<Q", 60) + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}   ',
    ],
)
def test_safetensors_file_that_is_damaged_is_refused(tmp_path, data):
    from detailflow_onnx.checkpoint import weights

    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(Refused, match="not a safetensors file or is damaged"):
        weights.open_file(tmp_path / "a.safetensors", "model")

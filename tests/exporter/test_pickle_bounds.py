"""Hostile `.pt` files cost neither time nor memory: each is refused in one sentence, in a process with limits."""

import os
import pickle
import resource
import struct
import subprocess
import sys
import zipfile

import pytest
from helpers import layout, mutations
from helpers.bundles import ROOT

MEMORY = 1 << 30
HANG = 120  # seconds; a refusal takes a few on an idle machine
STORAGE = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x06tQ"
REBUILD = b"ctorch._utils\n_rebuild_tensor_v2\n"


def refusal(path):
    """The sentence with which another process refuses the file."""
    code = (
        "import pathlib, sys\n"
        "from detailflow_onnx.errors import Refused\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "try:\n"
        "    if path.suffix == '.pt':\n"
        "        from detailflow_onnx.checkpoint import torch_file\n"
        "        torch_file.load(path)\n"
        "    else:\n"
        "        from detailflow_onnx.checkpoint import weights\n"
        "        weights.open_file(path, 'model')\n"
        "except Refused as error:\n"
        "    print(error)\n"
    )

    def limit():
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))

    done = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "onnx"), "OPENBLAS_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=HANG,
        preexec_fn=limit,
    )
    assert done.returncode == 0 and done.stderr == "", (done.returncode, done.stderr[-2000:])
    sentence = done.stdout.removesuffix("\n")
    assert sentence.startswith(str(path)) and len(sentence) < len(str(path)) + 300 and sentence.isprintable()
    return sentence


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value


def tensor(offset=b"K\x00", size=b"K\x06\x85", stride=b"K\x01\x85"):
    return REBUILD + b"(" + STORAGE + offset + size + stride + b"\x89})tR"


def long(width, value=b"\x7f"):
    return b"\x8b" + struct.pack("<I", width) + value * width


BOUNDS = {
    "exponential hash": (b"})" + b"2\x86" * 60 + b"K\1s", "holds more than 4194304 values"),
    "exponential hash of a set": (b"\x8f()" + b"2\x86" * 60 + b"\x90", "holds more than 4194304 values"),
    "exponential hash of a frozen set": (b"()" + b"2\x86" * 15 + b"\x91", "an element of a set of type tuple"),
    "tuples as keys": (b"})K\1s", "a key of type tuple"),
    "nested tuples as a key": (b"})" + b"\x85" * 1_000_000 + b"K\1s", "nests values 33 deep"),
    "nested lists": (b"](" * 100_000 + b"e" * 100_000, "nests values 33 deep"),
    "lists nested from outside": (b"]" + b"]q\0ah\0" * 100_000, "changes a container inside another"),
    "a list in itself": (b"]q\0h\0a", "puts a value into itself"),
    "nested marks": (b"(" * 2_000_000, "more than 1048576 opcodes"),
    "many opcodes": (b"N0" * 1_000_000 + b"}", "more than 1048576 opcodes"),
    "wide representation": (tensor(size=b")" + b"2\x86" * 18), "shape, stride and offset"),
    "representation of a shape of text": (tensor(size=text(b"x" * 50_000_000) + b"\x85"), "shape, stride and offset"),
    "representation of a storage key": (
        b"(" + text(b"storage") + b"ctorch\nFloatStorage\n" + text(b"\x1b[2J" * 10_000_000) + text(b"cpu") + b"K\6tQ",
        "storage '\\x1b[2J",
    ),
    "representation of a name": (b"cos\n" + b"s" * 10_000_000 + b"\n", "a name has no end"),
    "long name on the stack": (text(b"os") + text(b"s" * 10_000_000) + b"\x93", "a name that is not text"),
    "long name of a key": (b"}" + text(b"x" * 2000) + b"K\1s", "a key of type str"),
    "long integer": (tensor(offset=long(10_000_000)), "an integer of 10000000 bytes"),
    "long integer as a key": (b"}" + long(4_000_000) + b"K\1s", "an integer of 4000000 bytes"),
    "integers of one hash": (
        b"}("
        + b"".join(b"\x8a\x1f" + (k * (2**61 - 1)).to_bytes(31, "little") + b"N" for k in range(1, 200_000))
        + b"u",
        "a key of type int",
    ),
    "memo number": (b"}r\xff\xff\xff\x7f", "the memo number 2147483647"),
    "missing memo number": (b"}h\7", "the memo number 7, which is not there"),
    "copies of a list": (
        b"ctorch\nSize\nq\0](" + b"N" * 100_000 + b"eq\1(" + b"h\0h\1\x85R" * 50_000 + b"t",
        "copies more than 1048576 elements",
    ),
    "encodings of a text": (
        b"c_codecs\nencode\nq\0" + text(b"x" * 1_000_000) + b"q\1" + text(b"latin1") + b"q\2("
        + b"h\0h\1h\2\x86R" * 50_000 + b"t",
        "encodes more text than it has",
    ),
    "comparisons of a key": (
        b"}" + text(b"k" * 1_000_000) + b"q\0N" + b"s" + text(b"k" * 1_000_000) + b"q\1Ns" + b"h\1Ns" * 200_000,
        "a key of type str",
    ),
    "claimed length": (b"\x8e" + struct.pack("<Q", 1 << 62), "it ends early"),
    "claimed frame": (b"\x95" + struct.pack("<Q", 1 << 62), "it ends early"),
    "text opcode": (b"I" + b"1" * 10_000_000 + b"\n", "the opcode INT"),
    "stride beyond 64 bits": (b"}" + tensor(size=b"K\1\x85", stride=long(9)) + b"0", "shape, stride and offset"),
    "shape of no elements": (
        tensor(size=b"K\0\x8a\7" + b"\xff" * 6 + b"\x7f\x86", stride=b"K\1K\1\x86"),
        "2^48 elements",
    ),
    "protocol": (b"\x80\x09}", "the protocol 9"),
    "tensor without a storage": (REBUILD + b"(NK\0))tR", "not a storage"),
    "left over": (b"NN", "left over"),
}  # fmt: skip


@pytest.mark.parametrize("case", BOUNDS)
def test_torch_file_that_would_cost_time_or_memory_is_refused(case, tmp_path):
    data, sentence = BOUNDS[case]
    layout.write_zip(tmp_path / "a.pt", b"\x80\x02" + data + b".", [bytes(24)])
    assert sentence in refusal(tmp_path / "a.pt")


def one_tensor():
    return b"\x80\x02}" + text(b"model") + b"}" + text(b"t") + tensor() + b"ss."


def compressed(path, name, size):
    """A checkpoint whose entry `name` is compressed."""
    with zipfile.ZipFile(path, "w") as archive:
        for entry, data in (("data.pkl", one_tensor()), ("data/0", bytes(24)), (name, bytes(size))):
            if entry != name or data == bytes(size):
                kind = zipfile.ZIP_DEFLATED if entry == name else zipfile.ZIP_STORED
                archive.writestr(zipfile.ZipInfo(f"a/{entry}"), data, kind)


@pytest.mark.parametrize("name", ["data.pkl", "byteorder", "data/0", "version"])
def test_torch_file_with_a_compressed_entry_is_refused_before_it_is_inflated(name, tmp_path):
    compressed(tmp_path / "a.pt", name, 64 << 20)
    assert f"the entry 'a/{name}' is compressed" in refusal(tmp_path / "a.pt")


def central(name, size=0, offset=0, extra=b""):
    head = struct.pack("<I16xIIHH10xI", 0x02014B50, size, size, len(name), len(extra), offset)
    return head + name + extra


def end(count, size, offset):
    return struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, min(count, 0xFFFF), min(count, 0xFFFF), size, offset, 0)


def end64(count, size, offset):
    record = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 0, 0, 0, 0, count, count, size, offset)
    return record + struct.pack("<IIQI", 0x07064B50, 0, offset + size, 1)


def directory(count):
    return b"".join(central(b"a/%d" % i) for i in range(count))


def zip64(count):
    entries = directory(count)
    return entries + end64(count, len(entries), 0) + end(count, 0xFFFFFFFF, 0xFFFFFFFF)


ZIPS = {
    "many entries": (lambda: zip64(200_000), "the zip has 200000 entries"),
    "large directory": (lambda: bytes(40 << 20) + end(1, 40 << 20, 0), "the zip directory has 41943040 bytes"),
    "two of a name": (lambda: central(b"a/x") * 2 + end(2, 98, 0), "two entries named 'a/x'"),
    "long name": (lambda: central(b"x" * 2000) + end(1, 2046, 0), "a name of 2000 bytes"),
    "claimed directory": (lambda: b"x" * 100 + end(9, 5000, 0), "its zip directory exceeds the file"),
    "fewer entries": (lambda: central(b"a/x") + end(2, 49, 0), "its zip directory is damaged"),
    "two lengths": (
        lambda: central(b"a/x")[:20] + b"\1" + central(b"a/x")[21:] + end(1, 49, 0),
        "two lengths, 1 and 0",
    ),
    "entry beyond the file": (
        lambda: central(b"a/data.pkl", 1 << 30) + end(1, 56, 0),
        "at most 67108864 are read",
    ),
    "header beyond the file": (lambda: central(b"a/data.pkl", 9, 1 << 30) + end(1, 56, 0), "beyond the file"),
    "escapes in a name": (
        lambda: b"".join(central(name) for name in (b"a/\x1b]0;x\x07", b"a/\x1b]0;x\x07")) + end(2, 108, 0),
        r"two entries named 'a/\x1b]0;x\x07'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", ZIPS)
def test_torch_file_with_a_hostile_directory_is_refused(case, tmp_path):
    make, sentence = ZIPS[case]
    (tmp_path / "a.pt").write_bytes(make())
    assert sentence in refusal(tmp_path / "a.pt")


def test_torch_file_with_wide_offsets_is_read(tmp_path):
    """As torch.save writes more than 4 GB: offsets in Zip64 fields, the place of the directory in a Zip64 record."""
    layout.write_zip(tmp_path / "a.pt", one_tensor(), [bytes(24)])
    data = (tmp_path / "a.pt").read_bytes()
    with zipfile.ZipFile(tmp_path / "a.pt") as archive:
        start = archive.start_dir
        entries = b""
        for info in archive.infolist():
            extra = struct.pack("<HHQQQ", 1, 24, info.file_size, info.file_size, info.header_offset)
            entry = central(info.filename.encode(), 0xFFFFFFFF, 0xFFFFFFFF, extra)
            entries += entry[:16] + struct.pack("<I", info.CRC) + entry[20:]
        count = len(archive.infolist())
    tail = end64(count, len(entries), start) + end(0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF)
    (tmp_path / "b.pt").write_bytes(data[:start] + entries + tail)
    from detailflow_onnx.checkpoint import weights

    assert weights.open_file(tmp_path / "b.pt", "model").read("t").tolist() == [0.0] * 6


HEADERS = {
    "nesting": (b'{"a":' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", "a.safetensors: "),
    "long header": (b" " * (20 << 20), "its header has 20971520 bytes"),
    "control character in a name": (
        b'{"a\\u001b[2J":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        r"the tensor name 'a\x1b[2J' holds a control character",
    ),
    "shape of no elements": (
        b'{"a":{"dtype":"F32","shape":[0,4294967296,4294967296],"data_offsets":[0,0]},'
        b'"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        "2^48 elements",
    ),
}


@pytest.mark.parametrize("case", HEADERS)
def test_safetensors_file_with_a_hostile_header_is_refused(case, tmp_path):
    header, sentence = HEADERS[case]
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    assert sentence in refusal(tmp_path / "a.safetensors")


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder", "socket"])
@pytest.mark.parametrize("suffix", ["pt", "safetensors"])
def test_weight_file_that_is_not_a_regular_file_is_refused_at_once(kind, suffix, tmp_path):
    import socket

    path = tmp_path / f"a.{suffix}"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        with socket.socket(socket.AF_UNIX) as listening:
            before = os.getcwd()
            os.chdir(tmp_path)  # the path of a socket is short
            try:
                listening.bind(path.name)
            finally:
                os.chdir(before)
    assert refusal(path) == f"{path}: a {kind}, not a regular file"


@pytest.mark.parametrize("kind", ["pt", "safetensors"])
def test_mutated_weight_file_is_read_or_refused(kind, tmp_path):
    """More: PYTHONPATH=onnx:tests python -m helpers.mutations 100000"""
    good, bad, _ = mutations.run(tmp_path, kind, 2000, 1)
    assert good > 20 and bad > 1000


def test_torch_file_with_a_large_training_state_is_read(tmp_path):
    """Far more tensors and arguments than a published checkpoint has."""
    names = [f"layers.{i}.weight" for i in range(4000)]
    body = b"".join(text(name.encode()) + tensor() for name in names)
    data = b"\x80\x02}(" + text(b"model") + b"}(" + body + b"u" + text(b"args") + pickle.dumps([1, 2], 2)[2:-1] + b"u."
    layout.write_zip(tmp_path / "a.pt", data, [bytes(24)])
    from detailflow_onnx.checkpoint import weights

    assert sorted(weights.open_file(tmp_path / "a.pt", "model").shapes) == sorted(names)

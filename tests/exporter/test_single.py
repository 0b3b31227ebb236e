"""A bundle in a single file: aligned, stored, the same bytes for the same bundle; hostile files are refused."""

import os
import shutil
import struct
import subprocess
import zipfile

import pytest
from detailflow_onnx import output
from detailflow_onnx.bundle import single
from detailflow_onnx.errors import Refused
from helpers.bundles import ROOT

SMALL = ROOT / "tests" / "data" / "small"
HEADS = ("--encoder-heads", 4, "--decoder-heads", 4)


@pytest.fixture
def packed(tmp_path):
    path = tmp_path / "small.dflow"
    single.write(SMALL, path)
    return path


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def listed():
    return {path.name: path.read_bytes() for path in SMALL.iterdir()}


def data_offset(path, entry):
    with path.open("rb") as file:
        file.seek(entry.header_offset + 26)
        return entry.header_offset + 30 + sum(struct.unpack("<2H", file.read(4)))


def test_entries_are_stored_at_multiples_of_4096_with_the_manifest_first(packed):
    with zipfile.ZipFile(packed) as archive:
        entries = archive.infolist()
        assert archive.testzip() is None
    assert entries[0].filename == "detailflow.json" and entries[0].header_offset == 0
    raw = packed.read_bytes()
    for entry in entries:
        offset = data_offset(packed, entry)
        assert offset % 4096 == 0 and entry.compress_type == zipfile.ZIP_STORED and entry.flag_bits == 0
        assert entry.date_time == (1980, 1, 1, 0, 0, 0)
        assert raw[offset : offset + entry.file_size] == (SMALL / entry.filename).read_bytes()
        assert struct.unpack_from("<H", raw, entry.header_offset + 30 + len(entry.filename))[0] == 0xD935


def test_unpacked_files_equal_those_of_the_folder(packed):
    with single.opened(packed) as folder:
        found = contents(folder)
        assert folder.is_dir()
    assert not folder.exists()
    assert found == {name: data for name, data in listed().items() if name in found}
    assert {"detailflow.json", "weights.int8.bin", "draw.onnx"} <= set(found)


def test_equal_bundles_are_equal_files(packed, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(SMALL, copy)
    for path in copy.iterdir():
        os.utime(path, (0, 1))
        path.chmod(0o600)
    single.write(copy, tmp_path / "other.dflow")
    assert (tmp_path / "other.dflow").read_bytes() == packed.read_bytes()


def test_unzip_takes_it(packed, tmp_path):
    if shutil.which("unzip") is None:
        pytest.skip("SKIPPED: unzip is not installed")
    subprocess.run(["unzip", "-tq", packed], check=True, capture_output=True)
    subprocess.run(["unzip", "-q", packed, "-d", tmp_path / "out"], check=True)
    assert contents(tmp_path / "out").items() <= listed().items()


def test_files_beyond_4_gb_are_zip64(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 2000)  # as if it were reached
    single.write(SMALL, tmp_path / "large.dflow")
    monkeypatch.undo()
    with single.opened(tmp_path / "large.dflow") as folder:
        assert contents(folder).items() <= listed().items()
    with zipfile.ZipFile(tmp_path / "large.dflow") as archive:
        assert all(data_offset(tmp_path / "large.dflow", entry) % 4096 == 0 for entry in archive.infolist())


def test_failed_write_leaves_what_was_there(packed, tmp_path):
    before = packed.read_bytes()
    damaged = tmp_path / "damaged"
    shutil.copytree(SMALL, damaged)
    (damaged / "weights.int8.bin").unlink()
    with pytest.raises(OSError):
        single.write(damaged, packed)
    assert packed.read_bytes() == before and sorted(p.name for p in tmp_path.iterdir()) == ["damaged", "small.dflow"]


def test_export_writes_a_single_file_equal_to_the_folder(run, small, tmp_path):
    _, checkpoint = small
    common = ("export", "--tokenizer", checkpoint / "tokenizer", "--ar", checkpoint / "ar", "--judge", "none", *HEADS)
    out = tmp_path / "model.dflow"
    status, _, error = run(*common, "--single", out)
    assert status == 0, error
    assert run(*common, "--out", tmp_path / "folder")[0] == 0
    with single.opened(out) as folder:
        assert contents(folder) == contents(tmp_path / "folder")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "model.dflow"]
    # Replaced, and in two ways wrong.
    assert run(*common, "--single", out)[0] == 0
    assert run(*common, "--single", out, "--out", tmp_path / "folder")[0] == 2
    (tmp_path / "text.dflow").write_text("something else")
    status, _, error = run(*common, "--single", tmp_path / "text.dflow")
    assert status == 1 and "not a bundle; it is left unchanged" in error
    assert (tmp_path / "text.dflow").read_text() == "something else"
    assert run(*common, "--single", tmp_path / "missing" / "a.dflow")[0] == 1
    assert run(*common, "--single", tmp_path)[0] == 1


def test_commands_take_a_single_file_and_the_path_of_a_manifest(run, packed):
    for path in (SMALL, SMALL / "detailflow.json", packed):
        status, out, error = run("runtime", path, "--precision", "fp32", "--form", "plain", "--repeat", "1")
        assert status == 0 and "fp32" in out, error
    status, _, error = run("verify", packed, "--expected", packed)
    assert status == 1 and str(packed) in error


# ---------------------------------------------------------------- what is refused
def entries_of(path):
    with zipfile.ZipFile(path) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def rewrite(path, change=lambda entries: entries, *, align=True, method=zipfile.ZIP_STORED):
    """Write the entries again, as another program would."""
    entries = change(entries_of(path))
    with path.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, data in entries:
            entry = zipfile.ZipInfo(name)
            entry.compress_type = method
            if align:
                padding = -(file.tell() + 30 + len(name.encode()) + 4) % 4096
                entry.extra = struct.pack("<2H", 0xD935, padding) + bytes(padding)
            archive.writestr(entry, data)


def refused(path, text):
    with pytest.raises(Refused, match=text), single.opened(path):
        pass


def test_file_of_another_program_is_read(packed):
    rewrite(packed)
    with single.opened(packed) as folder:
        assert contents(folder).items() <= listed().items()


@pytest.mark.parametrize("name", ["../a", "a/b", "a\\b", "/a", "..", "C:a", "a" * 300])
def test_path_instead_of_a_name_is_refused(packed, name):
    rewrite(packed, lambda entries: [*entries, (name, b"x")])
    refused(packed, "no plain name")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(packed):
    rewrite(packed, lambda entries: [*entries, entries[1]])
    refused(packed, "occurs twice")


def test_manifest_that_is_not_first_is_refused(packed):
    rewrite(packed, lambda entries: [*entries[1:], entries[0]])
    refused(packed, "not its first entry")


def test_compressed_entries_are_refused(packed):
    rewrite(packed, method=zipfile.ZIP_DEFLATED)
    refused(packed, "compressed")


def test_unaligned_entries_are_refused(packed):
    rewrite(packed, align=False)
    refused(packed, "not at a multiple of 4096")


def test_something_before_the_first_entry_is_refused(packed):
    packed.write_bytes(bytes(4096) + packed.read_bytes())
    refused(packed, "not its first entry|has no header")


def patched(path, signature, offset, value):
    """Change two bytes behind the first occurrence of a signature."""
    raw = bytearray(path.read_bytes())
    struct.pack_into("<H", raw, raw.index(signature) + offset, value)
    path.write_bytes(raw)


@pytest.mark.parametrize("flags", [1, 8, 0x2001])
def test_encryption_and_data_descriptors_are_refused(packed, flags):
    before = packed.read_bytes()
    patched(packed, b"PK\1\2", 8, flags)
    refused(packed, "encrypted or has a data descriptor|not a bundle")
    packed.write_bytes(before)
    patched(packed, b"PK\3\4", 6, flags)
    refused(packed, "encrypted or has a data descriptor")


def test_header_that_contradicts_the_list_is_refused(packed):
    patched(packed, b"PK\3\4", 8, 8)
    refused(packed, "another name or method")


def test_lengths_beyond_the_file_are_refused(packed):
    for offset in (20, 24):
        patched(packed, b"PK\1\2", offset + 2, 0x7FFF)
    refused(packed, "beyond the data|overlaps")


def test_damaged_and_cut_files_are_refused(packed, tmp_path):
    raw = packed.read_bytes()
    for length in (0, 1, 21, 22, 4096, len(raw) // 2, len(raw) - 1):
        packed.write_bytes(raw[:length])
        refused(packed, "not a bundle in a single file|no header")
    changed = bytearray(raw)
    changed[4096 + 10] ^= 1
    packed.write_bytes(changed)
    refused(packed, "CRC")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["small.dflow"]


def test_fifo_is_refused_at_once(tmp_path):
    if not hasattr(os, "mkfifo"):
        pytest.skip("SKIPPED: no FIFOs here")
    os.mkfifo(tmp_path / "a.dflow")
    with single.opened(tmp_path / "a.dflow") as folder, pytest.raises(Refused):
        single.read_manifest(folder)
    assert output.MANIFEST == "detailflow.json"

"""Files and folders are replaced in one step; what a killed process left behind is deleted when it is no one's."""

import os
import signal
import stat
import subprocess
import sys
import time

import pytest
from detailflow_onnx import output
from detailflow_onnx.errors import Refused
from helpers.bundles import ROOT

OLD = time.time() - 3600


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def aged(path):
    os.utime(path, (OLD, OLD))
    return path


def bundle(path, text="old"):
    path.mkdir()
    (path / output.MANIFEST).write_text(text)
    return path


def killed(code, *arguments):
    """Run code in another process, which kills itself in the middle."""
    done = subprocess.run(
        [sys.executable, "-c", "import os, signal, sys\nfrom pathlib import Path\n" + code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": str(ROOT / "onnx")},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr


def test_file_that_is_replaced_keeps_its_mode(tmp_path):
    path = tmp_path / "a"
    output.write_text(path, "one")
    mask = os.umask(0)
    os.umask(mask)
    assert path.read_text() == "one" and mode(path) == 0o666 & ~mask
    for kept in (0o600, 0o640, 0o444):
        path.chmod(kept)
        output.write_text(path, "two é")
        assert path.read_text(encoding="utf-8") == "two é" and mode(path) == kept and names(tmp_path) == ["a"]


def test_file_behind_a_link_is_replaced_and_the_link_stays(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real/a")
    for text in ("one", "two"):
        output.write_text(tmp_path / "link", text)
        assert (tmp_path / "link").is_symlink() and (tmp_path / "real/a").read_text() == text
    assert names(tmp_path) == ["link", "real"] and names(tmp_path / "real") == ["a"]


@pytest.mark.parametrize("failure", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(1)])
def test_file_after_a_failure_has_its_old_content(failure, tmp_path):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(type(failure)), output.writing(path) as file:
        file.write(b"new")
        raise failure
    assert path.read_text() == "old" and names(tmp_path) == ["a"]


@pytest.mark.parametrize("kind", ["FIFO", "device", "folder"])
def test_file_that_is_not_regular_is_not_replaced(kind, tmp_path):
    path = tmp_path / "a"
    {"FIFO": os.mkfifo, "device": lambda p: p.symlink_to("/dev/null"), "folder": os.mkdir}[kind](path)
    with pytest.raises(OSError, match=f"a {kind}, not a regular file"):
        output.write_text(path, "x")
    assert names(tmp_path) == ["a"]


def test_file_written_by_two_processes_is_whole(tmp_path):
    code = "import sys\nfrom detailflow_onnx import output\n"
    code += "for _ in range(300): output.write_text(sys.argv[1], sys.argv[2] * 5000)"
    environment = os.environ | {"PYTHONPATH": str(ROOT / "onnx")}
    path = tmp_path / "a"
    running = [subprocess.Popen([sys.executable, "-c", code, str(path), letter], env=environment) for letter in "ab"]
    while any(process.poll() is None for process in running):
        assert not path.exists() or path.read_text() in ("a" * 5000, "b" * 5000)
    assert [process.wait() for process in running] == [0, 0] and names(tmp_path) == ["a"]


def test_leftover_of_a_killed_process_is_deleted_by_the_next_writer(tmp_path):
    code = "from detailflow_onnx import output\n"
    killed(code + "with output.writing(sys.argv[1]): os.kill(os.getpid(), signal.SIGKILL)", tmp_path / "a")
    (left,) = names(tmp_path)
    output.write_text(tmp_path / "a", "x")  # the leftover is recent: its process may be on another machine
    assert names(tmp_path) == [left, "a"]
    aged(tmp_path / left)
    output.write_text(tmp_path / "a", "x")
    assert names(tmp_path) == ["a"]


def test_leftover_is_deleted_only_if_it_is_no_ones(tmp_path):
    """Another name, another file's, a link, a FIFO, or locked by a process: it stays."""
    other = [".a.0123abcd.par", ".a.0123abc.part", ".a.0123ABCD.part", ".b.0123abcd.part", "a.0123abcd.part", ".a.part"]
    for name in other:
        aged_file = tmp_path / name
        aged_file.write_text("x")
        aged(aged_file)
    (tmp_path / ".a.00000000.part").symlink_to("elsewhere")
    os.mkfifo(tmp_path / ".a.00000001.part")
    aged(tmp_path / ".a.00000001.part")
    with output.writing(tmp_path / "a"):
        (mine,) = set(names(tmp_path)) - {*other, ".a.00000000.part", ".a.00000001.part"}
        aged(tmp_path / mine)
        output.write_text(tmp_path / "a", "by another")
    assert names(tmp_path) == sorted([*other, ".a.00000000.part", ".a.00000001.part", "a"])


def test_taken_names_do_not_matter(tmp_path, monkeypatch):
    """As of a process with the same number in another container."""
    tokens = iter(["00000000", "00000000", "11111111", "00000000", "22222222"])
    monkeypatch.setattr(output.secrets, "token_hex", lambda _: next(tokens))
    (tmp_path / ".a.00000000.part").write_text("of another")
    output.write_text(tmp_path / "a", "x")
    assert (tmp_path / "a").read_text() == "x" and (tmp_path / ".a.00000000.part").read_text() == "of another"
    (tmp_path / ".b.00000000.part").mkdir()
    with output.replacing(tmp_path / "b") as work:
        assert work.name == ".b.22222222.part"


def test_folder_that_is_replaced_keeps_its_mode_and_is_never_absent(tmp_path):
    out = bundle(tmp_path / "out")
    out.chmod(0o750)
    with output.replacing(out) as work:
        (work / output.MANIFEST).write_text("new")
    assert (out / output.MANIFEST).read_text() == "new" and mode(out) == 0o750 and names(tmp_path) == ["out"]


KILLED = """
from detailflow_onnx import output
import shutil
def stop(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
WHERE
out = Path(sys.argv[1])
with output.replacing(out) as work:
    (work / output.MANIFEST).write_text("new")
"""


def test_folder_whose_replacement_is_killed_is_the_old_or_the_new_one(tmp_path):
    """The folders are exchanged in one step. A process killed just after it leaves the old one to the next writer."""
    out = bundle(tmp_path / "out")
    if not output._swapped(bundle(tmp_path / "x"), bundle(tmp_path / "y")):
        pytest.skip("the file system cannot exchange two folders (use another one for temporary files)")
    output.shutil.rmtree(tmp_path / "x")
    output.shutil.rmtree(tmp_path / "y")
    killed(KILLED.replace("WHERE", "shutil.rmtree = stop"), out)
    assert (out / output.MANIFEST).read_text() == "new"
    left = next(path for path in tmp_path.iterdir() if path != out)
    assert (left / output.MANIFEST).read_text() == "old"
    for path in (left / output.MANIFEST, left):
        aged(path)
    with output.replacing(out) as work:
        (work / output.MANIFEST).write_text("newer")
    assert (out / output.MANIFEST).read_text() == "newer" and names(tmp_path) == ["out"]


def test_folder_whose_replacement_is_killed_between_renames_is_put_back(tmp_path):
    """Where folders cannot be exchanged, two renames are needed."""
    out = bundle(tmp_path / "out")
    where = "output._swapped = lambda *_: False\nrename = Path.rename\n"
    where += "Path.rename = lambda self, to: (rename(self, to), stop())"
    killed(KILLED.replace("WHERE", where), out)
    assert not out.exists() and len(names(tmp_path)) == 2
    output.check_destination(out)
    assert (out / output.MANIFEST).read_text() == "old"
    for path in [*tmp_path.glob(".out.*/*"), *tmp_path.glob(".out.*")]:
        aged(path)
    with output.replacing(out) as work:
        (work / output.MANIFEST).write_text("newer")
    assert (out / output.MANIFEST).read_text() == "newer" and names(tmp_path) == ["out"]


def test_folder_destination_of_another_kind_is_refused(tmp_path):
    os.mkfifo(tmp_path / "out")
    with pytest.raises(Refused, match="exists and is not a folder"):
        output.check_destination(tmp_path / "out")

# SPDX-License-Identifier: MIT OR Apache-2.0
"""Runs examples/ray/generate.py, kills a worker and the driver, and compares with what `dflow batch` makes.

    check.py GENERATE DFLOW

The working folder has the jobs and what they name.
"""

import contextlib
import fcntl
import importlib
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import detailflow
import pyarrow.parquet as pq

GENERATE, DFLOW = sys.argv[1:]
sys.path.insert(0, str(Path(GENERATE).parent))
generate = importlib.import_module("generate")
PART = 8
ACTOR = b"ray::MapWorker"


def main() -> None:
    """Runs all checks."""
    refusals()
    worker_is_killed()
    driver_is_killed()


def refusals() -> None:
    """What ends at the start, and why."""
    out = Path("refused")
    (out / ".detailflow-ray").mkdir(parents=True)
    with (out / ".detailflow-ray/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        expect(1, "another process fills this folder", "pictures.toml", out)
    job = Path("selects.toml")
    job.write_text('[[row]]\nclass = "potion"\ncount = 4\nselect = { best = 2 }\n')
    expect(1, "row 0 selects", job, out)
    job.write_text('[[row]]\nclass = "potion"\noutput = "{seed}.dds"\n')
    expect(1, "dds files", job, out)


def worker_is_killed() -> None:
    """An actor is killed; the other one and its successor do the rest."""
    drawn, out = batch("pictures.toml"), Path("worker")
    with start("pictures.toml", out) as driver:
        wait_for(lambda: count(out) >= 3, driver)
        actors = [pid for pid in family(driver.pid) if arguments(pid).startswith(ACTOR)]
        assert len(actors) == 2, actors
        os.kill(actors[0], signal.SIGKILL)
        left = 25 - count(out)
        assert left > 2, left
        assert driver.wait() == 0
    print(f"worker: killed one of two with {left} of 25 parts left")
    compare(drawn, out, 200, pack_tokens(drawn))
    # This job has nothing left to do.
    expect(0, "200 of 200 pictures done (0 now)", "pictures.toml", out)
    expect(1, "no part of 200 pictures with --part 9", "pictures.toml", out, part=9)
    text = Path("pictures.toml").read_text().replace("seed = 900", "seed = 901")
    Path("changed.toml").write_text(text)
    expect(1, "another job", "changed.toml", out)


def driver_is_killed() -> None:
    """The driver is killed, and with it Ray; the next start leaves out what is done."""
    drawn, out = batch("sidecars.toml"), Path("driver")
    with start("sidecars.toml", out) as driver:
        wait_for(lambda: count(out) >= 3, driver)
        # All processes of this Ray: they end with their driver.
        processes = [(pid, began(pid)) for pid in family(driver.pid)]
        driver.kill()
    wait_for(lambda: not any(when and began(pid) == when for pid, when in processes))
    before = state(out)
    assert 3 <= len(before) <= 24, len(before)
    with start("sidecars.toml", out) as driver:
        assert driver.wait() == 0
    assert f"210 of 210 pictures done ({210 - PART * len(before)} now" in Path("driver.log").read_text()
    after = state(out)
    assert before == {name: after[name] for name in before}, "parts that were done were written again"
    print(f"driver: killed with {27 - len(before)} of 27 parts left")
    tokens = [detailflow.dft_tokens(path.read_bytes()).tolist() for path in sorted(drawn.glob("*.dft"))]
    compare(drawn, out, 210, tokens)


def command(job: str | Path, out: Path, part: int = PART) -> list[str]:
    """The program with two workers."""
    program = [sys.executable, GENERATE, str(job), "-o", str(out), "--dflow", DFLOW]
    return [*program, "--workers", "2", "--part", str(part)]


def start(job: str, out: Path) -> subprocess.Popen[bytes]:
    """Starts the program, and Ray: again where that gives up after its 30 seconds, on a busy machine."""
    path = Path(f"{out}.log")
    while True:
        with path.open("wb") as log:
            driver = subprocess.Popen(command(job, out), stdout=log, stderr=log)
        while b"Started a local Ray instance" not in path.read_bytes():
            if driver.poll() is not None:
                break
            time.sleep(0.1)
        else:
            return driver
        assert b"timed out during startup" in path.read_bytes(), "Ray does not start"


def expect(status: int, words: str, job: str | Path, out: Path, part: int = PART) -> None:
    """Calls the program, where it has no need of Ray; it must end so and say that."""
    said = io.StringIO()
    sys.argv = command(job, out, part)[1:]
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            generate.main()
            ended: object = 0
        except SystemExit as error:
            ended = error.code
    assert ended == status and words in said.getvalue(), f"{ended}\n{said.getvalue()}"


def batch(job: str) -> Path:
    """What `dflow batch` makes of a job."""
    out = Path(job).with_suffix("")
    subprocess.run([DFLOW, "batch", job, "-o", out], check=True)
    return out


def compare(drawn: Path, out: Path, total: int, tokens: list[list[int]]) -> None:
    """Fails unless `out` has the files of `drawn`, and each row once."""
    tables = [pq.read_table(path) for path in sorted((out / "tokens").glob("*.parquet"))]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [row["number"] for row in rows] == list(range(total))
    assert [row["tokens"] for row in rows] == tokens
    assert all(row["log_probability"] < 0 for row in rows)
    named = [name for row in rows for name in row["files"]]
    assert len(named) == len(set(named))
    expected, found = pictures(drawn), pictures(out)
    assert expected.keys() == found.keys() and set(named) <= found.keys()
    different = sorted(name for name in expected if expected[name] != found[name])
    assert not different, f"{len(different)} files differ: {different[:5]}"
    print(f"{out}: {total} rows, {len(found)} files, the same bytes as dflow batch")


def pictures(out: Path) -> dict[str, bytes]:
    """The files of the pictures of a folder."""
    own = {"report.json", "timings.json", "tokens.dftpack", "index.html", "index_files"}
    paths = (path.relative_to(out) for path in out.rglob("*") if path.is_file())
    kept = (path for path in paths if path.parts[0] not in own | {"tokens", ".dflow-batch", ".detailflow-ray"})
    return {str(path): (out / path).read_bytes() for path in kept}


def pack_tokens(out: Path) -> list[list[int]]:
    """The tokens of the pictures, by number."""
    with detailflow.Pack(out / "tokens.dftpack") as pack:
        return [detailflow.dft_tokens(data).tolist() for data in pack]


def count(out: Path) -> int:
    """Parts that are done."""
    return len(list((out / "tokens").glob("*.parquet")))


def state(out: Path) -> dict[str, tuple[int, int]]:
    """Which files the parts are that are done."""
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (out / "tokens").glob("*.parquet")}


def family(pid: int) -> Iterator[int]:
    """The processes that this one started, and those that they started."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == pid:
                yield (child := int(path.parent.name))
                yield from family(child)


def arguments(pid: int) -> bytes:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def began(pid: int) -> str | None:
    """When a process began; None when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def wait_for(condition: Callable[[], bool], process: subprocess.Popen[bytes] | None = None) -> None:
    """Waits until something is so, while a process runs."""
    for _ in range(30_000):
        if condition():
            return
        assert process is None or process.poll() is None, "the driver has ended too early"
        time.sleep(0.004)
    raise AssertionError("waited for 2 minutes")


main()

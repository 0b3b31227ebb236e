# SPDX-License-Identifier: MIT OR Apache-2.0
"""Generates the pictures of a job file of `dflow batch` on the workers of a Ray cluster, or of one machine.

    python generate.py JOB -o OUT --workers 8
    python generate.py JOB -o OUT --gpus

`dflow batch JOB --list` prints a line for each picture. A number of lines (--part) are a part, which is a row of the
dataset. One actor generates it: picture files, and then OUT/tokens/FIRST-LAST.parquet. That file is complete when it
appears, and marks the part as done. If a worker is killed, another one generates its part; if the driver is killed, the
next start generates the parts that are not done. They write the same bytes.
"""

import argparse
import fcntl
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import actor
import pyarrow.parquet as pq
import ray
import ray.cloudpickle
import ray.data
import ray.exceptions
from actor import LINES, PRIVATE, Generator, digest, refuse


def main() -> None:
    """Runs the command."""
    args = arguments()
    out = args.output.absolute()
    (out / "tokens").mkdir(parents=True, exist_ok=True)
    (out / PRIVATE).mkdir(exist_ok=True)
    with (out / PRIVATE / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            fail(f"{out}: another process fills this folder")
        try:
            run(args, out)
        except ray.exceptions.RayError as error:
            fail(str(error))


def arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description="Generates the pictures of a job file with Ray.")
    add = parser.add_argument
    add("job", help="job file of `dflow batch`: .toml, .jsonl or .csv")
    add("-o", "--output", type=Path, required=True, help="folder that is filled; all machines see it")
    add("--workers", type=int, metavar="N", help="actors [default: as many as the cluster has room for]")
    add("--threads", type=int, metavar="K", default=1, help="cores of each actor [default: 1, best for small models]")
    add("--gpus", action="store_true", help="an actor for each GPU")
    add("--device", help="device of the actors [default: cpu, with --gpus cuda]")
    add("--bundle", help="bundle of dflow and of the actors [default: the default one of each]")
    add("--part", type=int, metavar="N", default=256, help="pictures of a part [default: 256]")
    add("--batch", type=int, metavar="N", default=64, help="most pictures that step together [default: 64]")
    add("--address", help="a running Ray cluster [default: RAY_ADDRESS, else Ray is started on this machine]")
    add("--dflow", metavar="PROGRAM", default="dflow", help="the program dflow [default: the one on the PATH]")
    args = parser.parse_args()
    for name in ("workers", "threads", "part", "batch"):
        value = getattr(args, name)
        if value is not None and value < 1:
            parser.error(f"--{name} {value}: at least 1 is allowed")
    return args


def run(args: argparse.Namespace, out: Path) -> None:
    """Generates what is left of a job, and says how it went."""
    dflow = shutil.which(args.dflow) or fail(f"{args.dflow}: no such program; --dflow names it")
    bundle = [] if args.bundle is None else ["--bundle", args.bundle]
    total, left_out = count([dflow, "batch", args.job, "--dry-run", *bundle])
    before = pictures_of(done(out), args.part, total)
    # The actors write pictures as they are decoded.
    listing = [dflow, "batch", args.job, "--list", "--raw", *bundle]
    survey(listing, done(out), args.part)
    # Incomplete files of killed processes.
    for path in (out / PRIVATE).glob("*"):
        if path.name != "lock":
            path.unlink(missing_ok=True)
    made, failed, started = 0, 0, time.monotonic()
    if before < total:
        pool = start(args)
        started = time.monotonic()
        for part in dataset(args, listing, out, pool):
            if part["fatal"]:
                fail(f"{part['fatal']}; the same command goes on")
            made += part["pictures"]
            for error in filter(None, part["errors"].split("\n")):
                failed += 1
                print(error, file=sys.stderr)
            if sys.stderr.isatty():
                print(f"\r{before + made} of {total} pictures ", end="", file=sys.stderr)
    settled = pictures_of(done(out), args.part, total)
    rate = f", {made / (time.monotonic() - started):.1f} a second" if made else ""
    print(f"{out}: {settled} of {total} pictures done ({made} now{rate})")
    if settled < total or left_out:
        fail(f"{failed} pictures failed, {left_out} rows were left out; the same command tries them again", 3)


def count(command: list[str]) -> tuple[int, int]:
    """How many pictures a job has, and how many rows are wrong; `dflow` prints what is wrong with them."""
    answer = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if answer.returncode != 0:
        sys.exit(answer.returncode)
    fields = dict(line.split("  ", 1) for line in answer.stdout.splitlines())
    return int(fields["pictures"]), int(fields.get("rows left out", 0))


def done(out: Path) -> dict[int, tuple[int, Path]]:
    """The parts that are done: the number of the first picture, with that of the last one and the file."""
    parts = {}
    for path in (out / "tokens").glob("*-*.parquet"):
        first, last = path.stem.split("-")
        parts[int(first)] = (int(last), path)
    return parts


def pictures_of(parts: dict[int, tuple[int, Path]], size: int, total: int) -> int:
    """How many pictures these parts have. Refuses parts that are cut otherwise."""
    for first, (last, path) in parts.items():
        if first % size != 0 or last != min(first + size, total) - 1:
            fail(
                f"{path} is no part of {total} pictures with --part {size}: use the same job and --part, or another "
                "folder"
            )
    return sum(last + 1 - first for first, (last, _) in parts.items())


def survey(listing: list[str], parts: dict[int, tuple[int, Path]], size: int) -> None:
    """Reads the list once before the start: refuses what this program does not make, and parts of another job."""
    for text in read_parts(listing, os.getcwd(), size):
        pictures = [json.loads(line) for line in text.split("\n")]
        for picture in pictures:
            try:
                refuse(picture)
            except ValueError as error:
                fail(str(error))
        _, path = parts.get(pictures[0]["number"], (0, None))
        if path is not None and pq.read_schema(path).metadata.get(LINES) != digest(text):
            fail(f"{path} is of another job, bundle or version: use another folder")


def read_parts(command: list[str], folder: str, size: int) -> Iterator[str]:
    """The lines that `dflow` prints, in parts."""
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as lines:
        assert lines.stdout is not None
        while part := list(itertools.islice(lines.stdout, size)):
            yield b"".join(part).decode().rstrip("\n")
    if lines.returncode != 0:
        raise ValueError(f"status {lines.returncode} of: {' '.join(command)}")


def start(args: argparse.Namespace) -> dict[str, Any]:
    """Connects to Ray, or starts it. Returns the pool of actors in the words of map_batches."""
    address = args.address or os.environ.get("RAY_ADDRESS")
    if address is None:
        cores = max(len(os.sched_getaffinity(0)), 0 if args.gpus else args.threads * (args.workers or 0))
        ray.init("local", num_cpus=cores, include_dashboard=False)
    else:
        ray.init(address)
    # Other machines need no copy of that file.
    ray.cloudpickle.register_pickle_by_value(actor)
    # A part goes to a worker as soon as it was read: each is a block.
    context = ray.data.DataContext.get_current()
    context.target_max_block_size = 1
    context.enable_progress_bars = False
    resources = ray.cluster_resources()
    most = int(resources.get("GPU", 0)) if args.gpus else int(resources.get("CPU", 0)) // args.threads
    size = args.workers or most
    if not 1 <= size <= most:
        fail(f"{max(1, size)} workers: the cluster has room for {most}")
    needs = {"num_gpus": 1} if args.gpus else {"num_cpus": args.threads}
    return {"compute": ray.data.ActorPoolStrategy(size=size), **needs}


def dataset(args: argparse.Namespace, listing: list[str], out: Path, pool: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Generates what is left; gives a row for each part."""
    folder = os.getcwd()
    settings = {
        "out": out,
        "folder": folder,
        "bundle": args.bundle,
        "device": args.device or ("cuda" if args.gpus else None),
        "threads": 0 if args.gpus else args.threads,
        "batch": args.batch,
    }
    left = {"command": listing, "folder": folder, "out": out, "size": args.part}
    # The list takes no core from the actors.
    parts = ray.data.from_items([{"job": args.job}]).map_batches(list_parts, fn_kwargs=left, num_cpus=0)
    made = parts.map_batches(Generator, batch_size=1, fn_constructor_kwargs=settings, **pool)
    yield from made.iter_rows()


def list_parts(
    _job: dict[str, Any], command: list[str], folder: str, out: Path, size: int
) -> Iterator[dict[str, list[str]]]:
    """The parts that are not done, one after the other; each is the text of its lines."""
    ready = done(out)
    for text in read_parts(command, folder, size):
        if json.loads(text.split("\n", 1)[0])["number"] not in ready:
            yield {"lines": [text]}


def fail(message: str, status: int = 1) -> NoReturn:
    """Ends the program."""
    print(f"generate.py: {message}", file=sys.stderr)
    sys.exit(status)


if __name__ == "__main__":
    main()

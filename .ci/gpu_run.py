"""Checks and measures the library on this machine's card, from the files of `make gpu-kit` beside this script.

    python3 run.py [--out FOLDER] [--total SECONDS] [--steps NAME,...]

It unpacks the kit, runs the tests of devices on CUDA, exports the published size with random weights, and times `dflow`
and PyTorch; the first table has batches 1 and 32 in fp16. Then follow int8, WebGPU by Vulkan, the other batches, and
PyTorch compiled. Python 3.10 with NumPy, onnx and PyTorch is needed, and no network.

Each step has a time limit of its own. A step that fails or runs over is reported, and the next one runs. A step whose
result is in FOLDER/results.json as done is not run again, so that a second call goes on where the first had no time
left. FOLDER gets `results.json` after each step, `table.txt`, and `log.txt` with the output of every command.
"""

import argparse
import concurrent.futures
import glob
import hashlib
import io
import json
import lzma
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
VULKAN_DRIVERS = ("/usr/share/vulkan/icd.d", "/etc/vulkan/icd.d", "/usr/local/nvidia/share/vulkan/icd.d")
DRIVER_FOLDERS = ("/usr/local/nvidia/lib64", "/usr/local/nvidia/lib", "/usr/local/cuda/lib64")


NO_BATCH = "none of its batch sizes was asked for"
MARK = "unpacked"  # a file in the unpacked kit


Variables = dict[str, str]  # of the environment


class Failed(Exception):
    """A step could not do its work; the text says why. `out` is what a command printed until it was stopped."""

    out = ""


class Chain(io.RawIOBase):
    """The parts of a file, one after the other, their hashes checked."""

    def __init__(self, parts: list[dict[str, Any]]) -> None:
        self.parts = list(parts)
        self.data = memoryview(b"")

    def readable(self) -> bool:
        """It is for reading only."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a part of the buffer."""
        if not self.data and self.parts:
            part = self.parts.pop(0)
            data = (HERE / part["name"]).read_bytes()
            if hashlib.sha256(data).hexdigest() != part["sha256"]:
                raise Failed(f"{part['name']} is damaged: {len(data)} bytes, {part['length']} are expected")
            self.data = memoryview(data)
        count = min(len(buffer), len(self.data))
        buffer[:count] = self.data[:count]
        self.data = self.data[count:]
        return count


def missing(parts: list[dict[str, Any]]) -> str:
    """The names of parts that are not here."""
    return ", ".join(part["name"] for part in parts if not (HERE / part["name"]).is_file())


class Kit:
    """The unpacked kit, the options, and the results so far."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.content = json.loads((HERE / "kit.json").read_text(encoding="utf-8"))
        self.root: Path = options.work.resolve()
        self.out: Path = options.out.resolve()
        self.out.mkdir(parents=True, exist_ok=True)
        self.begun = time.monotonic()
        self.end = self.begun + options.total
        self.limit = self.end  # of the step in progress
        self.file = self.out / "results.json"
        self.results: dict[str, Any] = {"steps": {}, "times": []}
        if self.file.is_file() and not options.again:
            self.results = json.loads(self.file.read_text(encoding="utf-8"))
        self.log = (self.out / "log.txt").open("a", encoding="utf-8")
        self.exporting: concurrent.futures.Future[str] | None = None
        self.pool = concurrent.futures.ThreadPoolExecutor(1)
        self.processes: list[subprocess.Popen[str]] = []

    # --- what is said and kept ---

    def say(self, text: str) -> None:
        """One line for the reader and the log."""
        line = f"[{time.monotonic() - self.begun:6.1f} s] {text}"
        print(line, flush=True)
        self.log.write(line + "\n")
        self.log.flush()

    def keep(self) -> None:
        """Write the results so far."""
        self.file.write_text(json.dumps(self.results, indent=1) + "\n", encoding="utf-8")
        (self.out / "table.txt").write_text(table(self.results), encoding="utf-8")

    def note(self, name: str, batch: int, milliseconds: list[float], **more: Any) -> None:
        """Times per picture of one contestant at one batch size, one for each round."""
        rows = [row for row in self.results["times"] if (row["name"], row["batch"]) != (name, batch)]
        rows.append({"name": name, "batch": batch, "ms": milliseconds, **more})
        self.results["times"] = rows
        self.keep()
        self.say(f"    {name}, batch {batch}: {statistics.median(milliseconds):.2f} ms per picture")

    # --- commands ---

    def environment(self) -> dict[str, str]:
        """Where the libraries of CUDA, the kit and the exporter are found."""
        folders = [str(self.root / "target/release"), *cuda_folders(), *DRIVER_FOLDERS, str(self.root / "lib")]
        before = os.environ.get("LD_LIBRARY_PATH", "")
        return {
            **os.environ,
            "LD_LIBRARY_PATH": ":".join([before] * bool(before) + [f for f in folders if os.path.isdir(f)]),
            "ORT_DYLIB_PATH": str(self.root / "target/runtime-cuda/libonnxruntime.so"),
            "PYTHONPATH": str(self.root / "onnx"),
            "PYTHONUNBUFFERED": "1",
            "DETAILFLOW_TEST_ROOT": str(self.root),
            "DETAILFLOW_BUNDLE": str(self.root / "onnx/bundles/sprites"),
        }

    def run(
        self, command: list[Any], variables: Variables | None = None, limit: float | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command within the time of the step, or of `limit` seconds from now."""
        left = (time.monotonic() + limit if limit else self.limit) - time.monotonic()
        words = [str(word) for word in command]
        process = subprocess.Popen(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=self.environment() | (variables or {}),
            cwd=self.root,
            start_new_session=True,
        )
        self.processes.append(process)
        try:
            out, err = process.communicate(timeout=max(left, 0.1))
        except subprocess.TimeoutExpired:
            kill(process)
            out, err = process.communicate()
            self.log.write(f"$ {' '.join(words)}\n{out}{err}\nstopped after {left:.0f} s\n")
            error = Failed(f"{Path(words[0]).name} {words[1]} did not end within {left:.0f} s")
            error.out = out
            raise error from None
        self.log.write(f"$ {' '.join(words)}\n{out}{err}\nexit status {process.returncode}\n")
        return subprocess.CompletedProcess(words, process.returncode, out, err)

    def ok(self, command: list[Any], variables: Variables | None = None, limit: float | None = None) -> str:
        """Standard output of a command that must succeed."""
        done = self.run(command, variables, limit)
        if done.returncode != 0:
            raise Failed(last_line(done.stderr) or last_line(done.stdout) or f"exit status {done.returncode}")
        return done.stdout

    def dflow(self, *arguments: Any, variables: Variables | None = None) -> str:
        """Standard output of `dflow`."""
        return self.ok([self.root / "target/release/dflow", *arguments], variables)

    def check_time(self) -> None:
        """For steps that run no command."""
        if time.monotonic() > self.limit:
            raise Failed("did not end within its time limit")

    def close(self) -> None:
        """End what still runs."""
        for process in self.processes:
            if process.poll() is None:
                kill(process)
        self.pool.shutdown()

    def model(self) -> Path:
        """The bundle that is measured."""
        if self.options.bundle:
            return Path(self.options.bundle).resolve()
        path = self.root / "gpt-l"
        if not (path / "detailflow.json").is_file():
            raise Failed("there is no model to measure: the step export has not made it")
        return path


def kill(process: "subprocess.Popen[str]") -> None:
    """End a process and those that it has started."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def last_line(text: str) -> str:
    """The last line that is not empty."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""


def cuda_folders() -> list[str]:
    """Where pip packages have put CUDA's libraries."""
    command = "import json, site, sys; print(json.dumps([*sys.path, *site.getsitepackages()]))"
    found = json.loads(subprocess.run([sys.executable, "-c", command], capture_output=True, text=True).stdout)
    folders = [folder for place in dict.fromkeys(found) for folder in glob.glob(f"{place}/nvidia/*/lib")]
    return sorted(folder for folder in folders if glob.glob(f"{folder}/*.so*"))


# --- the steps ---


def mark() -> str:
    """What a folder holds into which this kit was unpacked to its end."""
    return hashlib.sha256((HERE / "kit.json").read_bytes()).hexdigest()


def unpack(kit: Kit) -> str:
    """The files of the kit."""
    parts, done = kit.content["kit"], kit.root / MARK
    if done.is_file() and done.read_text(encoding="utf-8") == mark():
        return f"was there, in {kit.root}"
    if missing(parts):
        raise Failed(f"missing: {missing(parts)}")
    kit.root.mkdir(parents=True, exist_ok=True)
    buffered = io.BufferedReader(Chain(parts), 1 << 20)
    with lzma.open(buffered) as unpacked, tarfile.open(fileobj=unpacked, mode="r|") as archive:
        for member in archive:
            kit.check_time()
            source = archive.extractfile(member)
            if source is None or Path(member.name).is_absolute() or ".." in Path(member.name).parts:
                raise Failed(f"{member.name} is no file below the kit")
            path = kit.root / member.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                shutil.copyfileobj(source, file, 1 << 20)
            path.chmod(0o755 if member.mode & 0o100 else 0o644)
    (kit.root / MARK).write_text(mark(), encoding="utf-8")
    return f"{sum(part['length'] for part in parts) / 1e6:.0f} MB into {kit.root}"


def machine(kit: Kit) -> str:
    """The card, the driver, and the packages."""
    said = [f"{platform.machine()}, {os.cpu_count()} CPUs", f"Python {platform.python_version()}"]
    for name in ("numpy", "onnx", "torch", "onnxruntime"):
        done = kit.run([sys.executable, "-c", f"import {name}; print({name}.__version__)"])
        said.append(f"{name} {done.stdout.strip() if done.returncode == 0 else 'missing'}")
    said.append(f"CUDA's libraries in {', '.join(cuda_folders()) or 'no package'}")
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total,compute_cap", "--format=csv,noheader"]
        card = kit.ok(query).strip()
    except (OSError, Failed) as error:
        card = f"no card: nvidia-smi: {error}"
    kit.results["machine"] = {"card": card, "about": said}
    return "; ".join([card, *said])


def opens(kit: Kit, device: str, variables: Variables | None = None) -> str:
    """Open the small bundle on a device; what `dflow doctor` reports."""
    command = [kit.root / "target/release/dflow", "doctor", "--json", "--device", device]
    done = kit.run([*command, "--bundle", kit.root / "tests/data/small"], variables)
    said: dict[str, Any] = json.loads(done.stdout) if done.stdout else {"missing": [last_line(done.stderr)]}
    report = said.get("report")
    if done.returncode != 0 or not report:
        raise Failed("; ".join(said["missing"]) or f"exit status {done.returncode}")
    return f"{report['device']} opens, KV cache in {report['graphs'][0].get('keys_in', 'the memory of the CPU')}"


def restore(kit: Kit) -> None:
    """Put back the code for other cards."""
    provider, parts = kit.content["provider"], kit.content["rest"]
    if missing(parts):
        raise Failed(f"the whole provider needs more parts: {missing(parts)}")
    path = kit.root / provider["path"]
    with lzma.open(io.BufferedReader(Chain(parts), 1 << 20)) as rest, path.open("r+b") as file:
        for offset, length in provider["holes"]:
            kit.check_time()
            file.seek(offset)
            file.write(rest.read(length))
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(1 << 20), b""):
            digest.update(block)
    if digest.hexdigest() != provider["sha256"]:
        raise Failed(f"{provider['path']} is not what was packed after the code of other cards was put back")


def cuda_opens(kit: Kit) -> str:
    """The CUDA provider: without the code for other cards, and if that does not open, with it."""
    try:
        return opens(kit, "cuda")
    except Failed as error:
        arch = kit.content["arch"]
        thinned = f"with device code for {arch // 10}.{arch % 10} alone: {error}"
        kit.results["thinned"] = thinned
    # A library or a card that is missing is missing for the whole provider too.
    if "cannot open shared object file" in thinned or "no CUDA-capable device" in thinned:
        raise Failed(thinned)
    kit.say(f"    {thinned}")
    restore(kit)
    return f"{opens(kit, 'cuda')} (whole; {thinned})"


def tests(kit: Kit, prefix: str, variables: Variables | None = None) -> str:
    """The tests of tests/devices.rs whose names begin with `prefix`."""
    command = [kit.root / "tests/devices", prefix, "--test-threads", "4"]
    everything = {"DETAILFLOW_EVERYTHING": "1", "DETAILFLOW_CARD": "1"}
    late = None
    try:
        done = kit.run(command, everything | (variables or {}))
        out, ended = done.stdout, done.returncode == 0
    except Failed as error:  # those that have ended count
        late, out, ended = error, error.out, False
    results = re.findall(r"^test (\w+) \.\.\. (?:.*?)(ok|FAILED|ignored[^\n]*)$", out, re.MULTILINE | re.DOTALL)
    results = [(name, result) for name, result in results if not result.startswith("ignored")]
    kit.results.setdefault("tests", {})[prefix] = dict(results)
    for name, result in results:
        kit.say(f"    {name}: {result}")
    reasons = re.findall(r"panicked at [^\n]*\n([^\n]*)", out)
    for reason in reasons:
        kit.say(f"    {reason[:1000]}")
    passed = sum(result == "ok" for _, result in results)
    if not ended or not results:
        why = str(late) if late else reasons[0][:300] if reasons else last_line(out)
        raise Failed(f"{passed} of {len(results)} tests passed: {why}")
    return f"{passed} tests passed"


def export(kit: Kit) -> str:
    """The published size with random weights, as `make bench` has it; it was begun when the kit was unpacked."""
    if kit.options.bundle:
        return f"not needed, {kit.options.bundle} is measured"
    if (kit.root / "gpt-l/detailflow.json").is_file():
        return "was there"
    if kit.exporting is None:
        kit.exporting = begin_export(kit)
    return kit.exporting.result()


def begin_export(kit: Kit) -> "concurrent.futures.Future[str]":
    """Export beside the steps that use the card."""
    command = [sys.executable, "-m", "detailflow_onnx", "export", "--random", "detailflow-16"]
    command += ["--precision", ",".join(kit.options.precision), "--unchecked", "--out", str(kit.root / "gpt-l")]
    left = min(limit_of("export"), kit.end - time.monotonic())
    return kit.pool.submit(lambda: last_line(kit.ok(command, limit=left)))


def bench(kit: Kit, device: str, precisions: list[str], batches: list[int], variables: Variables | None = None) -> str:
    """`dflow bench`, one process for each batch, so that each result is kept as it comes."""
    if not batches:
        return NO_BATCH
    bundle, done, refused = kit.model(), 0, []
    for batch in batches:
        for precision in precisions:
            command = ["bench", "--json", "--bundle", bundle, "--device", device, "--precision", precision]
            command += ["--batch", batch, "--repeat", kit.options.repeat]
            try:
                result = json.loads(kit.dflow(*command, variables=variables))["results"][0]
            except Failed as error:
                if time.monotonic() > kit.limit - 1:
                    raise
                kit.say(f"    dflow {device} {precision}, batch {batch}: {error}")
                refused.append(f"{precision}, batch {batch}: {error}")
                continue
            name = f"dflow {result['device']} {precision} {result['form']}"
            rounds = [ms / batch for ms in result["rounds_ms"]]
            kit.note(name, batch, rounds, open_ms=result["open_ms"], ours=True)
            done += 1
    if refused:
        raise Failed(f"{done} of {done + len(refused)} measured; {refused[0]}")
    return f"{done} measured"


def torch(kit: Kit, batches: list[int], compiled: bool) -> str:
    """The model in PyTorch, one process that is asked for one round after the other."""
    if not batches:
        return NO_BATCH
    command = [sys.executable, "-m", "detailflow_onnx", "baseline", "--random", "detailflow-16", "--turns"]
    command += ["--precision", "bf16", "--cache", "none,kept", "--device", kit.options.torch_device]
    command += ["--batch", ",".join(map(str, batches))] + ["--compile"] * compiled
    kit.log.write(f"$ {' '.join(command)}\n")
    kit.log.flush()
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=kit.environment(),
        cwd=kit.root,
        start_new_session=True,
    )
    kit.processes.append(process)
    assert process.stdin and process.stdout and process.stderr
    errors: list[str] = []
    reader = threading.Thread(target=lambda: errors.extend(process.stderr or []), daemon=True)
    reader.start()
    begun, stopped = time.monotonic(), threading.Event()

    def stop() -> None:
        stopped.set()
        kill(process)

    timer = threading.Timer(max(kit.limit - begun, 0.1), stop)
    timer.start()

    def answer() -> dict[str, Any]:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            reader.join(5)
            kit.log.write("".join(errors))
            raise Failed(
                f"did not end within {kit.limit - begun:.0f} s" if stopped.is_set() else last_line("".join(errors))
            )
        out: dict[str, Any] = json.loads(line)
        return out

    done = 0
    try:
        timed = answer()["timed"]
        for number, about in enumerate(timed):
            rounds = []
            for round_ in range(1 + kit.options.repeat):
                process.stdin.write(f"{number}\n")
                process.stdin.flush()
                ms = answer()["ms"] / about["batch"]
                if round_ > 0:  # the first one warms up
                    rounds.append(ms)
            words = ["torch", about["device"], about["precision"], "compiled" if compiled else "eager"]
            words.append("KV cache" if about["cache"] == "kept" else "no cache")
            kit.note(" ".join(words), about["batch"], rounds)
            done += 1
    except BrokenPipeError:
        raise Failed("its process ended") from None
    except Failed as error:
        raise Failed(f"{done} measured; {error}") from None
    finally:
        timer.cancel()
        kill(process)
        process.wait()
    return f"{done} measured"


def scores(kit: Kit) -> str:
    """Log-probabilities of the same tokens on the card and on the CPU."""
    bundle, device = kit.model(), kit.options.device
    folder = kit.root / "scores"
    folder.mkdir(exist_ok=True)
    given = ["--bundle", bundle, "--precision", "int8"]
    kit.dflow("generate", "1", "--seed", "7", *given, "--tokens-out", folder / "t.json", "-o", folder / "a.png")

    def numbers(*arguments: Any) -> list[float]:
        said = json.loads(kit.dflow("score", folder / "t.json", "--json", "--bundle", bundle, *arguments))
        return [float(number) for picture in said for number in picture["log_probabilities"]]

    cpu, out = numbers("--precision", "int8"), {}
    for precision in kit.options.precision:
        there = numbers("--device", device, "--precision", precision)
        off = [abs(a - b) for a, b in zip(cpu, there)]
        out[precision] = {"mean": statistics.mean(off), "largest": max(off)}
    kit.results["scores"] = out
    kit.keep()
    return "; ".join(
        f"{device} {p}: {v['mean']:.3g} nats in the mean, {v['largest']:.3g} at most" for p, v in out.items()
    )


def vulkan(kit: Kit) -> dict[str, str]:
    """What WebGPU needs in the environment."""
    given = os.environ.get("VK_ICD_FILENAMES") or os.environ.get("VK_DRIVER_FILES")
    found = [given] if given else [path for folder in VULKAN_DRIVERS for path in glob.glob(f"{folder}/nvidia*.json")]
    if not found:
        raise Failed(f"no Vulkan driver of NVIDIA in {', '.join(VULKAN_DRIVERS)}; VK_ICD_FILENAMES names another")
    return {"VK_ICD_FILENAMES": found[0], "ORT_DYLIB_PATH": str(kit.root / "target/webgpu/libonnxruntime.so")}


def webgpu_tests(kit: Kit) -> str:
    """The tests of WebGPU on the card. ONNX Runtime with WebGPU is the reference on the CPU too."""
    return tests(kit, "webgpu_", vulkan(kit))


def webgpu_bench(kit: Kit) -> str:
    """`dflow bench` on WebGPU, in the first precision."""
    return bench(kit, "webgpu", kit.options.precision[:1], batches_of(kit, (1, 8)), vulkan(kit))


Step = tuple[str, float, Callable[[Kit], str]]
SMALL, LARGE = (1, 32), (8, 128)  # batches of the first table, and the others


def batches_of(kit: Kit, wanted: tuple[int, ...]) -> list[int]:
    """Those of `wanted` that the options name."""
    return [batch for batch in wanted if batch in kit.options.batch]


def dflow_step(precision: int, wanted: tuple[int, ...]) -> Callable[[Kit], str]:
    """`dflow bench` in one of the precisions."""

    def run(kit: Kit) -> str:
        chosen = kit.options.precision[precision : precision + 1]
        return bench(kit, kit.options.device, chosen, batches_of(kit, wanted))

    return run


STEPS: list[Step] = [
    ("unpack", 60, unpack),
    ("machine", 45, machine),
    ("cuda-opens", 60, cuda_opens),
    ("cuda-tests", 110, lambda kit: tests(kit, "cuda_")),
    ("export", 150, export),
    ("dflow-fp16", 60, dflow_step(0, SMALL)),
    ("torch-eager", 75, lambda kit: torch(kit, batches_of(kit, SMALL), False)),
    ("first-table", 5, lambda kit: "batches 1 and 32"),
    ("dflow-int8", 60, dflow_step(1, SMALL)),
    ("scores", 60, scores),
    ("webgpu-opens", 30, lambda kit: opens(kit, "webgpu", vulkan(kit))),
    ("webgpu-tests", 110, webgpu_tests),
    ("dflow-fp16-more", 75, dflow_step(0, LARGE)),
    ("dflow-int8-more", 75, dflow_step(1, LARGE)),
    ("torch-eager-more", 100, lambda kit: torch(kit, batches_of(kit, LARGE), False)),
    ("webgpu-bench", 60, webgpu_bench),
    ("torch-compiled", 200, lambda kit: torch(kit, batches_of(kit, SMALL), True)),
    ("torch-compiled-more", 150, lambda kit: torch(kit, batches_of(kit, LARGE), True)),
]


def limit_of(name: str) -> float:
    """The time limit of a step, in seconds."""
    return next(limit for step, limit, _ in STEPS if step == name)


# --- the table ---


def table(results: dict[str, Any]) -> str:
    """What was checked, and milliseconds per picture by batch."""
    lines = [results.get("machine", {}).get("card", "")]
    for name, step in results["steps"].items():
        lines.append(f"{name:<20} {step['state']:<8} {step['seconds']:6.1f} s  {step['said']}")
    times = results["times"]
    if times:
        batches = sorted({row["batch"] for row in times})
        names = list(dict.fromkeys(row["name"] for row in times))
        median = {(row["name"], row["batch"]): statistics.median(row["ms"]) for row in times}
        ours = next((row["name"] for row in times if row.get("ours")), None)
        width = max(map(len, names)) + 2
        lines += ["", f"ms per picture, medians (times as long as {ours or 'dflow'})"]
        lines.append(" " * width + "".join(f"{f'batch {batch}':>20}" for batch in batches))
        for name in names:
            cells = []
            for batch in batches:
                ms, base = median.get((name, batch)), median.get((ours or "", batch))
                ratio = f" ({ms / base:.2f})" if ms and base else ""
                cells.append(f"{f'{ms:.2f}{ratio}' if ms else '-':>20}")
            lines.append(f"{name:<{width}}" + "".join(cells))
    return "\n".join(lines) + "\n"


def chosen(kit: Kit) -> Iterator[Step]:
    """The steps to run."""
    wanted = kit.options.steps
    for name, limit, run in STEPS:
        done = kit.results["steps"].get(name, {}).get("state") == "done"
        if wanted and name not in wanted:
            continue
        # What the other steps need is checked again: the machine may be another one.
        if wanted or not done or name == "unpack":
            yield name, limit, run


def run_steps(kit: Kit) -> int:
    """Run the steps and print the table; the number of those that did not do their work."""
    worst = 0
    for name, limit, run in chosen(kit):
        begun = time.monotonic()
        left = kit.end - begun
        if left < 2:
            state, said = "no time", f"none of the {kit.options.total:.0f} s are left; call again to go on"
        else:
            kit.limit = begun + min(limit, left)
            kit.say(f"{name}, at most {min(limit, left):.0f} s")
            try:
                state, said = "done", run(kit)
            except (Failed, OSError, ValueError, KeyError, IndexError, lzma.LZMAError, tarfile.TarError) as error:
                state, said = "failed", str(error) if isinstance(error, (Failed, OSError)) else repr(error)
        seconds = time.monotonic() - begun
        kit.results["steps"][name] = {"state": state, "seconds": round(seconds, 1), "said": said}
        kit.say(f"{name} {state} in {seconds:.1f} s: {said}")
        kit.keep()
        worst += state != "done"
        if name == "unpack":
            if state != "done":
                break
            if not kit.options.steps and not kit.options.bundle and not (kit.root / "gpt-l/detailflow.json").is_file():
                kit.exporting = begin_export(kit)
        if name == "first-table":  # the last one follows at the end
            print(table(kit.results), flush=True)
    print(table(kit.results), flush=True)
    return worst


def main() -> int:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Checks and measures the library on this machine's card.")
    out = Path(os.environ.get("OUT") or HERE / "results")
    names = [name for name, _, _ in STEPS]

    def words(text: str) -> list[str]:
        return text.split(",")

    parser.add_argument("--out", type=Path, default=out, help="folder of the results (default $OUT, else results)")
    parser.add_argument("--work", type=Path, default=HERE / "unpacked", help="folder to unpack into")
    parser.add_argument("--total", type=float, default=570, metavar="S", help="seconds for all steps (default 570)")
    parser.add_argument("--steps", type=words, metavar="A,B", help=f"only these of {', '.join(names)}")
    parser.add_argument("--again", action="store_true", help="forget earlier results")
    parser.add_argument("--device", default="cuda", help="device of dflow bench; cpu tries the script without a card")
    parser.add_argument("--torch-device", default="cuda", choices=["cuda", "cpu"], help="device of PyTorch")
    parser.add_argument("--bundle", help="measure this bundle; nothing is exported")
    parser.add_argument(
        "--precision", type=words, metavar="A,B", default=["fp16", "int8"], help="of dflow (default fp16,int8)"
    )
    parser.add_argument("--batch", type=lambda text: [int(n) for n in text.split(",")], default=[1, 8, 32, 128])
    parser.add_argument("--repeat", type=int, default=3, help="rounds of each measurement (default 3)")
    options = parser.parse_args()
    unknown = [name for name in options.steps or [] if name not in names]
    if unknown:
        parser.error(f"no step {', '.join(unknown)}; there are {', '.join(names)}")
    kit = Kit(options)
    try:
        return 1 if run_steps(kit) else 0
    finally:
        kit.close()


if __name__ == "__main__":
    sys.exit(main())

"""The kit for a machine with a card (`make gpu-kit`), made of small stand-ins and run without a card."""

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from helpers import layout, requirements
from helpers.bundles import DATA, DFLOW, NO_DFLOW, ROOT

RUNTIME = ROOT / "target/runtime/libonnxruntime.so"
PROVIDER = "target/runtime-cuda/libonnxruntime_providers_cuda.so"
NEEDED = b"code for 9.0" * 100
OTHERS = (b"code for 8.0" * 64, b"code for 12.0" * 64)

# Stands for dflow: CUDA opens where the provider is whole.
DFLOW_STAND_IN = f"""#!/bin/sh
case "$1" in
doctor)
    if grep -q 'code for 12.0' {PROVIDER}; then
        echo '{{"report": {{"device": "cuda:0", "graphs": [{{"keys_in": "Cuda"}}]}}}}'
    else
        echo 'CUDA failure 209: no kernel image is available' >&2
        exit 1
    fi ;;
bench) sleep 100 ;;
*) exit 1 ;;
esac
"""
# Stands for tests/devices.rs.
DEVICES_STAND_IN = """#!/bin/sh
printf 'test cuda_a ... ok\\ntest cuda_b ... FAILED\\n\\n'
printf 'thread cuda_b panicked at tests/devices.rs:1:1:\\nlog-probabilities are 3 off\\n'
exit 101
"""


def fatbin():
    """Two fatbins with code for three cards, and bytes between them."""
    out = bytearray()
    for entries in ([(80, OTHERS[0]), (90, NEEDED)], [(90, NEEDED), (120, OTHERS[1])]):
        body = bytearray()
        for arch, code in entries:
            code += bytes(-len(code) % 8)
            head = struct.pack("<HHIQIIHHII", 2, 0x101, 64, len(code), 0, 0, 1, 1, arch, 0)
            body += head.ljust(64, b"\1") + code
        out += struct.pack("<IHHQ", 0xBA55ED50, 1, 16, len(body)) + body + bytes(16)
    return bytes(out)


def elf(section):
    """A 64-bit ELF file with one section `.nv_fatbin`."""
    names = b"\0.nv_fatbin\0.shstrtab\0"
    at = 64 + len(section)
    table = at + len(names) + -(at + len(names)) % 8
    head = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    head += struct.pack("<HHIQQQIHHHHHH", 3, 62, 1, 0, 0, table, 0, 64, 0, 0, 64, 3, 2)
    headers = [(0, 0, 0, 0), (1, 1, 64, len(section)), (12, 3, at, len(names))]
    rows = b"".join(struct.pack("<IIQQQQIIQQ", n, kind, 0, 0, o, size, 0, 0, 1, 0) for n, kind, o, size in headers)
    return (head + section + names).ljust(table, b"\0") + rows


def script(path, text):
    path.write_text(text)
    path.chmod(0o755)
    return path


def make(folder, dflow, runtime, *more):
    """A kit in folder/kit; returns the list of its files."""
    cuda = folder / "cuda"
    cuda.mkdir()
    (cuda / Path(PROVIDER).name).write_bytes(elf(fatbin()))
    (cuda / "libonnxruntime_providers_shared.so").write_bytes(b"shared")
    (cuda / "libonnxruntime.so").symlink_to(runtime)
    devices = script(folder / "devices", DEVICES_STAND_IN)
    command = [sys.executable, ROOT / ".ci/gpu_kit.py", folder / "kit", "--dflow", dflow, "--library", folder / "none"]
    command += ["--devices", devices, "--program", devices, "--cuda", cuda, "--webgpu", runtime, "--preset", 0]
    command += ["--tree", "onnx/detailflow_onnx", "tests/data/small"]
    subprocess.run([str(word) for word in [*command, *more]], check=True, capture_output=True)
    return json.loads((folder / "kit/kit.json").read_text())


def run_kit(folder, *arguments, **variables):
    """The script of the kit: (exit status, standard output, results)."""
    environment = {k: v for k, v in os.environ.items() if k not in ("OUT", "VK_ICD_FILENAMES", "VK_DRIVER_FILES")}
    command = [sys.executable, folder / "kit/run.py", "--out", folder / "out", *arguments]
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=environment | variables, cwd=folder
    )
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout, json.loads((folder / "out/results.json").read_text())


def test_kit_leaves_out_code_of_other_cards_and_puts_it_back(tmp_path):
    dflow = script(tmp_path / "dflow", DFLOW_STAND_IN)
    content = make(tmp_path, dflow, dflow, "--part", 100_000)
    files = content["kit"] + content["rest"]
    assert len(content["kit"]) > 3
    for part in files:
        data = (tmp_path / "kit" / part["name"]).read_bytes()
        assert len(data) == part["length"] <= 100_000
        assert hashlib.sha256(data).hexdigest() == part["sha256"]

    whole = elf(fatbin())
    status, _, results = run_kit(tmp_path, "--steps", "unpack")
    assert (status, results["steps"]["unpack"]["state"]) == (0, "done")
    thinned = tmp_path / "kit/unpacked" / PROVIDER
    data = thinned.read_bytes()
    assert len(data) == len(whole) and data.count(NEEDED) == 2
    assert not any(code in data for code in OTHERS)
    # Nothing else has changed.
    assert all(a == b or a == 0 for a, b in zip(data, whole))
    assert sum(a != b for a, b in zip(data, whole)) == sum(len(code) for code in OTHERS)

    # It opens only when it is whole.
    status, said, results = run_kit(tmp_path, "--steps", "cuda-opens")
    assert status == 0 and "no kernel image" in said, said
    assert thinned.read_bytes() == whole
    assert "device code for 9.0 alone: CUDA failure 209" in results["thinned"]


def test_kit_names_parts_that_are_missing_or_damaged(tmp_path):
    dflow = script(tmp_path / "dflow", DFLOW_STAND_IN)
    make(tmp_path, dflow, dflow)
    rest = tmp_path / "kit/rest.00"
    rest.rename(tmp_path / "rest.00")
    status, _, results = run_kit(tmp_path, "--steps", "unpack,cuda-opens")
    assert status == 1 and results["steps"]["unpack"]["state"] == "done"
    assert "needs more parts: rest.00" in results["steps"]["cuda-opens"]["said"]
    kit = tmp_path / "kit/kit.00"
    data = bytearray(kit.read_bytes())
    data[len(data) // 2] ^= 1
    kit.write_bytes(data)
    status, _, results = run_kit(tmp_path, "--steps", "unpack", "--work", tmp_path / "other")
    assert status == 1 and "kit.00 is damaged" in results["steps"]["unpack"]["said"]
    kit.unlink()
    _, _, results = run_kit(tmp_path, "--work", tmp_path / "other", "--again")
    assert results["steps"]["unpack"]["said"] == "missing: kit.00" and list(results["steps"]) == ["unpack"]


def test_kit_reports_a_failing_step_and_runs_the_next_within_the_time(tmp_path):
    dflow = script(tmp_path / "dflow", DFLOW_STAND_IN)
    make(tmp_path, dflow, dflow)
    steps = "unpack,cuda-tests,dflow-fp16,dflow-int8"
    status, said, results = run_kit(tmp_path, "--steps", steps, "--bundle", DATA / "small", "--total", 25)
    states = {name: step["state"] for name, step in results["steps"].items()}
    assert status == 1
    assert states == {"unpack": "done", "cuda-tests": "failed", "dflow-fp16": "failed", "dflow-int8": "no time"}
    assert "1 of 2 tests passed: log-probabilities are 3 off" in results["steps"]["cuda-tests"]["said"]
    assert results["tests"] == {"cuda_": {"cuda_a": "ok", "cuda_b": "FAILED"}}
    assert "dflow bench did not end within" in results["steps"]["dflow-fp16"]["said"]
    # Every step says how long it took.
    assert len(re.findall(r"^\[ *[\d.]+ s\] [\w-]+ (?:done|failed|no time) in [\d.]+ s: ", said, re.MULTILINE)) == 4
    assert "did not end" in (tmp_path / "out/table.txt").read_text()
    assert "$ " in (tmp_path / "out/log.txt").read_text()


def test_kit_counts_tests_that_ended_before_the_time_was_up(tmp_path):
    dflow = script(tmp_path / "dflow", DFLOW_STAND_IN)
    make(tmp_path, dflow, dflow)
    assert run_kit(tmp_path, "--steps", "unpack")[0] == 0
    text = "#!/bin/sh\nprintf 'test cuda_a ... ok\\n'\nsleep 100\n"
    script(tmp_path / "kit/unpacked/tests/devices", text)
    status, _, results = run_kit(tmp_path, "--steps", "cuda-tests", "--total", 10)
    assert status == 1 and results["tests"] == {"cuda_": {"cuda_a": "ok"}}
    assert "1 of 1 tests passed: devices cuda_ did not end within" in results["steps"]["cuda-tests"]["said"]


def test_kit_without_a_card_says_what_each_step_refuses(tmp_path):
    if not (DFLOW.is_file() and RUNTIME.is_file()):
        requirements.skip(NO_DFLOW)
    make(tmp_path, DFLOW, RUNTIME)
    small = ["--bundle", DATA / "small", "--batch", "1,32", "--repeat", 1]
    # The CPU stands for the card in the benchmark.
    here = [*small, "--device", "cpu", "--precision", "fp32,int8", "--torch-device", "cuda", "--total", 300]
    status, said, results = run_kit(tmp_path, *here)
    steps = {name: (step["state"], step["said"]) for name, step in results["steps"].items()}
    assert status == 1 and steps["unpack"][0] == steps["machine"][0] == "done", said
    for step, device in (("cuda-opens", "CUDAExecutionProvider"), ("webgpu-opens", "Vulkan driver")):
        assert steps[step][0] == "failed" and device in steps[step][1], said
    assert steps["torch-eager"][0] == steps["torch-compiled"][0] == "failed"
    assert re.search("PyTorch finds no CUDA device|needs PyTorch", steps["torch-eager"][1]), said
    for step in ("dflow-fp16", "dflow-int8", "first-table", "scores"):
        assert steps[step][0] == "done", said
    # Both tables: the first as soon as it is there.
    assert len(re.findall(r"batch 1 +batch 32", said)) == 2
    measured = {(row["name"], row["batch"]): row["ms"] for row in results["times"]}
    forms = {"fp32": "native", "int8": "native"}
    assert set(measured) == {(f"dflow cpu {p} {forms[p]}", batch) for p in forms for batch in (1, 32)}
    assert all(len(rounds) == 1 and rounds[0] > 0 for rounds in measured.values())
    assert results["scores"]["int8"] == {"mean": 0, "largest": 0} and results["scores"]["fp32"]["mean"] > 0

    # What is done is not done again.
    (tmp_path / "kit/unpacked/target/release/dflow").unlink()
    status, said, again = run_kit(tmp_path, *here)
    assert again["times"] == results["times"] and "dflow-fp16, at most" not in said
    assert "cuda-opens failed" in said


@pytest.mark.parametrize("arguments", [["--steps", "unpack,tea"], ["--torch-device", "tea"]])
def test_kit_refuses_unknown_options(tmp_path, arguments):
    command = [sys.executable, ROOT / ".ci/gpu_run.py", *arguments]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2 and "tea" in done.stderr
    assert not list(tmp_path.iterdir())


def test_export_unchecked_needs_no_onnxruntime_and_writes_the_same_files(tmp_path, small, run):
    n, folder = small
    arguments = layout.arguments(folder, n)
    status, _, error = run(*arguments, "--judge", "none", "--out", tmp_path / "checked")
    assert status == 0, error
    # Neither is importable there.
    for name in ("onnxruntime", "tqdm"):
        (tmp_path / "path" / name).mkdir(parents=True)
        (tmp_path / "path" / name / "__init__.py").write_text("raise ImportError('not here')\n")
    command = [sys.executable, "-m", "detailflow_onnx", *arguments, "--unchecked", "--out", tmp_path / "unchecked"]
    path = os.pathsep.join([str(tmp_path / "path"), str(ROOT / "onnx")])
    done = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path}
    )
    assert done.returncode == 0, done.stderr
    files = sorted(file.name for file in (tmp_path / "checked").iterdir())
    assert files == sorted(file.name for file in (tmp_path / "unchecked").iterdir())
    for name in files:
        assert (tmp_path / "checked" / name).read_bytes() == (tmp_path / "unchecked" / name).read_bytes(), name


def test_export_unchecked_with_judge_is_refused(tmp_path, small, run):
    n, folder = small
    arguments = [*layout.arguments(folder, n), "--unchecked", "--judge", "tokens.json", "--out", tmp_path / "out"]
    status, _, error = run(*arguments)
    assert status == 2 and "--unchecked cannot be combined with --judge" in error

"""How many CPU threads are used: given, kept, limited by the system, or measured."""

import os
import subprocess
import sys

import pytest
import torch
from detailflow_onnx.train import threads
from helpers.bundles import ROOT

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def as_before(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    count = torch.get_num_threads()
    yield
    torch.set_num_threads(count)


class Machine:
    """A clock, and work whose duration depends on the number of threads."""

    def __init__(self, seconds):
        self.seconds, self.now, self.calls = seconds, 0.0, []

    def clock(self):
        return self.now

    def work(self, pictures):
        self.calls.append((torch.get_num_threads(), pictures))
        self.now += pictures * self.seconds(torch.get_num_threads())


@pytest.mark.parametrize(
    "seconds, want",
    [
        (lambda count: 0.01 / count, 4),
        (lambda count: 0.01 * count, 1),  # barriers
        (lambda count: 0.01 / min(count, 2), 2),  # two of the cores are busy
        (lambda count: 0.0105 if count == 1 else 0.01, 1),  # the others are left to the system
    ],
)
def test_measured_threads_are_the_fewest_that_are_fast(seconds, want):
    machine = Machine(seconds)
    times = threads.measured(machine.work, 8, 4, machine.clock)
    assert list(times) == [1, 2, 4] and threads.best(times) == want
    assert [times[count] for count in times] == pytest.approx([8 * seconds(count) for count in times])


def test_measured_threads_of_three_cpus_include_three():
    assert list(threads.measured(lambda _: None, 1, 3)) == [1, 2, 3]


def test_measuring_a_slow_model_takes_fewer_pictures():
    machine = Machine(lambda count: 0.5)
    threads.measured(machine.work, 64, 2, machine.clock)
    assert machine.calls[-1][1] == 2 and machine.now < 64 + 64 + 40


def test_threads_of_a_run_are_given_or_kept(monkeypatch, capsys):
    monkeypatch.setattr(threads, "available", lambda: 4)

    def settled(**options):
        ran = []
        count = threads.settle(ran.append, 8, device=CPU, **options)
        assert torch.get_num_threads() == count
        return count, bool(ran), capsys.readouterr().err

    assert settled(given=3, before=2) == (3, False, "threads: 3 (--threads)\n")
    assert settled(before=2)[:2] == (2, False)
    count, ran, said = settled(before=8)  # of a larger machine
    assert ran and count <= 4 and said.startswith(f"threads: {count} (measured on a batch, 1: ")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    assert settled(before=3) == (2, False, "threads: 2 (OMP_NUM_THREADS)\n")
    assert settled(say=False)[2] == ""


@pytest.mark.parametrize("now", [1, 2, 3, 4])
@pytest.mark.parametrize(
    "text, want",
    [
        ("2", 2),
        (" 3 ", 3),
        ("4,2", 4),
        ("0", None),
        ("-1", None),
        ("many", None),
        ("", None),
        ("²", None),
        ("9" * 5000, None),
    ],
)
def test_openmp_variable_counts_whatever_was_set_before(monkeypatch, text, want, now):
    monkeypatch.setattr(threads, "available", lambda: 1)
    monkeypatch.setenv("OMP_NUM_THREADS", text)
    torch.set_num_threads(now)
    count = threads.settle(lambda _: None, 1, device=CPU, say=False)
    assert count == (want or 1) == torch.get_num_threads()


def test_available_cpus_are_limited_by_the_affinity_mask_and_quota(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    own = tmp_path / "a" / "b"
    own.mkdir(parents=True)
    monkeypatch.setattr(threads, "_entries", lambda: [["0", "", "/a/b"]])
    assert threads.available(tmp_path) == 16
    (own / "cpu.max").write_text("max 100000\n")
    assert threads.available(tmp_path) == 16
    (tmp_path / "a" / "cpu.max").write_text("250000 100000\n")  # of the group above
    assert threads.available(tmp_path) == 3
    (own / "cpu.max").write_text("50000 100000\n")
    assert threads.available(tmp_path) == 1
    old = tmp_path / "cpu,cpuacct"
    old.mkdir()
    (old / "cpu.cfs_quota_us").write_text("400000\n")
    (old / "cpu.cfs_period_us").write_text("100000\n")
    monkeypatch.setattr(threads, "_entries", lambda: [["4", "cpu,cpuacct", "/host/path"], ["3", "pids", "/a"]])
    assert threads.available(tmp_path) == 4


def test_barriers_wait_passively_unless_the_user_says_otherwise():
    code = "import os, detailflow_onnx.train; print(os.environ.get('GOMP_SPINCOUNT'))"
    plain = {k: v for k, v in os.environ.items() if k not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    plain["PYTHONPATH"] = str(ROOT / "onnx")
    for more, want in (({}, "1000"), ({"OMP_WAIT_POLICY": "active"}, "None"), ({"GOMP_SPINCOUNT": "7"}, "7")):
        done = subprocess.run([sys.executable, "-c", code], env=plain | more, capture_output=True, text=True)
        assert done.stdout.strip() == want, done.stderr

"""The results of the benchmark commands are consistent. No test depends on how long anything takes."""

import json
import sys

import pytest
from detailflow_onnx.bench import compare, rounds
from detailflow_onnx.bundle import runner
from detailflow_onnx.errors import Refused
from helpers import requirements
from helpers.bundles import DATA, DFLOW, NO_DFLOW, read_manifest

SMALL = DATA / "small"


def runs(form):
    return any(v["form"] == form and runner.runs_here(v) for v in read_manifest(SMALL)["variants"])


@pytest.mark.parametrize("form", ["mha", "plain"])
def test_runtime_results_are_consistent(run, form):
    if not runs(form):
        requirements.skip(f"A newer ONNX Runtime than {runner.RUNTIME} is not installed (form {form} needs it)")
    status, text, error = run(
        "runtime",
        SMALL,
        "--form",
        form,
        "--batch",
        "1,3",
        "--precision",
        "fp32,int8",
        "--repeat",
        "2",
        "--threads",
        "1",
        "--json",
    )
    assert status == 0, error
    results = json.loads(text)["results"]
    assert [(r["batch"], r["precision"], r["form"]) for r in results] == [
        (b, p, form) for b in (1, 3) for p in ("fp32", "int8")
    ]
    for entry in results:
        assert entry["images_per_second"] == pytest.approx(1000 / entry["ms_per_image"])
        assert sum(entry["rounds_ms"]) / 2 / entry["batch"] == pytest.approx(entry["ms_per_image"])
        assert len(entry["steps_ms"]) == 7 and 0 < entry["graphs_ms"] < entry["ms_per_image"] * entry["batch"]
    status, text, error = run("runtime", SMALL, "--form", form, "--repeat", "1")
    assert status == 0 and f"onnxruntime cpu int8 {form}" in text, error


def test_compare_results_are_consistent(run):
    if not DFLOW.is_file():
        requirements.skip(NO_DFLOW)
    if not runs("mha"):
        requirements.skip("ONNX Runtime 1.31 is not installed (form mha needs it)")
    command = [
        "compare",
        SMALL,
        "--dflow",
        DFLOW,
        "--no-baseline",
        "--runtime",
        "--batch",
        "1,2",
        "--repeat",
        "2",
        "--threads",
        "1",
    ]
    status, text, error = run(*command, "--json")
    assert status == 0, error
    said = json.loads(text)
    # The form of dflow's own choice, and the one that plain ONNX Runtime runs.
    names = [f"dflow cpu {p} {f}" for p in ("int8", "fp32") for f in ("native", "mha")] + [
        "onnxruntime cpu int8 mha",
        "onnxruntime cpu fp32 mha",
    ]
    assert [(r["batch"], r["name"]) for r in said["results"]] == [(b, n) for b in (1, 2) for n in names]
    assert len(said["ratios"]) == 2 * 4 * 2 and said["rounds"] == 2 and said["threads"] == 1
    for row in said["ratios"]:
        assert 0 < row["ratio"]["min"] <= row["ratio"]["median"] <= row["ratio"]["max"]
        assert row["graphs_ratio"]["median"] > 0
    same = {(row["batch"], row["ours"], row["theirs"]) for row in said["slower"]}
    assert same <= {(b, f"dflow cpu {p} mha", f"onnxruntime cpu {p} mha") for b in (1, 2) for p in ("int8", "fp32")}
    status, text, error = run(*command, "--form", "plain")
    assert status == 0 and "no graphs are the same" in text and "takes 1" in text, error
    status, _, error = run(*command, "--precision", "fp7")
    assert status == 1 and "fp7" in error


def test_bench_with_invalid_arguments_is_refused(run):
    for arguments, status, word in [
        (["runtime", DATA], 1, "not a bundle"),
        (["runtime", SMALL, "--precision", "fp7"], 1, "fp7"),
        (["runtime", SMALL, "--form", "native"], 2, "--form"),
        (["runtime", SMALL, "--batch", "1,0"], 2, "--batch"),
        (["runtime", SMALL, "--repeat", "0"], 2, "--repeat"),
        (["compare", SMALL, "--dflow", "/nonexistent/dflow"], 1, "--dflow"),
    ]:
        got, _, error = run(*arguments)
        assert got == status and word in error, (arguments, error)


def entry(name, ours, implementation, ms, **about):
    made = compare.Entry(name, ours, {"implementation": implementation, "device": "cpu", "form": "mha", **about})
    made.ms, made.graphs = ms, []
    return made


def test_ratios_are_of_the_same_round():
    """A machine that becomes twice as slow changes no ratio."""
    ours = entry("a", True, "dflow", [10.0, 20.0, 10.0], precision="int8")
    theirs = entry("b", False, "onnxruntime", [30.0, 60.0, 40.0], precision="int8")
    ((_, _, whole, graphs),) = compare.ratios([ours, theirs])
    assert whole == (3.0, 3.0, 4.0) and graphs is None
    assert compare.same_graphs(ours, theirs)
    assert not compare.same_graphs(ours, entry("c", False, "onnxruntime", [], precision="fp32"))
    assert not compare.same_graphs(ours, entry("d", False, "torch", [], precision="int8"))


def test_measure_interleaves_the_rounds():
    order = []

    def timed(name):
        return {
            "batch": 2,
            "name": name,
        }, lambda: order.append(name) or {"ms": 8.0 if name == "a" else 4.0, "steps_ms": [1.0, 2.0]}

    a, b = rounds.measure([timed("a"), timed("b")], repeat=2, warmup=1)
    assert order == ["a", "b"] * 3
    assert (a["ms_per_image"], a["images_per_second"], a["rounds_ms"], a["steps_ms"]) == (
        4.0,
        250.0,
        [8.0, 8.0],
        [1.0, 2.0],
    )
    assert b["ms_per_image"] == 2.0


def test_served_process_that_ends_is_refused():
    code = (
        "import json, sys; print(json.dumps({'timed': [{'batch': 1}]}), flush=True); sys.stdin.readline(); sys.exit(3)"
    )
    served = rounds.Served([sys.executable, "-c", code], "it")
    assert served.timed == [{"batch": 1}] and served.common == {}
    with pytest.raises(Refused, match="status 3"):
        served.run(0)
    served.close()
    with pytest.raises(Refused, match="status 0"):
        rounds.Served([sys.executable, "-c", ""], "it")

#!/usr/bin/env bash
# Ray: examples/ray with two workers, one of which is killed, and with a driver that is killed; its pictures and tokens are those
# of `dflow batch`.
# packages: python3 python3-venv
. tests/embed/common.sh
needs python3
dflow=$ROOT/target/release/dflow
[ -x "$dflow" ] || skip "target/release/dflow missing: make"
. tests/embed/python/environment.sh

cp tests/embed/ray/*.toml "$WORK"
cd "$WORK"
# One model for both programs.
export DETAILFLOW_BUNDLE=$ROOT/onnx/bundles/sprites
"$dflow" generate potion --seed 7 -o start.png --tokens-out start.dft >/dev/null
# Ray reports its use to its makers unless told otherwise, leaves a token in the home folder, and logs in /tmp. The paths of its
# sockets must be short.
RAY_TMPDIR=$(mktemp -d)
trap 'rm -rf "$RAY_TMPDIR"' EXIT
export RAY_USAGE_STATS_ENABLED=0 RAY_AUTH_MODE=disabled RAY_TMPDIR
# A busy machine is no dead node.
export RAY_health_check_timeout_ms=600000 RAY_worker_register_timeout_seconds=600
"$python" "$ROOT/tests/embed/ray/check.py" "$ROOT/examples/ray/generate.py" "$dflow" || {
    tail -n 40 worker.log driver.log >&2
    exit 1
}

# The tasks of an array, at once, as Slurm starts them; then what is left.
tasks=()
for task in 1 2 3; do
    PATH=$(dirname "$dflow"):$PATH SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_COUNT=3 \
        "$ROOT/examples/ray/slurm_array.sh" pictures.toml array &
    tasks+=($!)
done
for task in "${tasks[@]}"; do wait "$task"; done
"$dflow" batch pictures.toml -o array | tee left.txt
grep -q 'none to do' left.txt
diff -r --exclude=.dflow-batch --exclude=timings.json pictures array

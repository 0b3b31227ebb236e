#!/usr/bin/env bash
# Python: the wheel of examples/python in a new virtual environment, its scenario and its tests.
# packages: python3 python3-venv gcc
. tests/embed/common.sh
needs python3 cc

python3 -m venv "$WORK/venv"
python=$WORK/venv/bin/python
pip() { "$python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install --require-hashes --only-binary=:all: --requirement tests/embed/python/requirements.txt
# As a user does: library and bundle out of the checkout into the wheel, ONNX Runtime that of pip.
export PYTHONDONTWRITEBYTECODE=1
find examples/python | sort >"$WORK/before.txt"
pip install ./examples/python
find examples/python | sort | diff "$WORK/before.txt" -
unset DETAILFLOW_LIBRARY

cd "$WORK"
cp "$ROOT/examples/python/scenario.py" .
"$python" scenario.py >output.txt
same_output output.txt
"$WORK/venv/bin/mypy" --strict --cache-dir "$WORK/mypy" --package detailflow
"$WORK/venv/bin/mypy" --strict --cache-dir "$WORK/mypy" scenario.py

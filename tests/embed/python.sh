#!/usr/bin/env bash
# Python: the wheel of examples/python in a virtual environment, its scenario and its tests.
# packages: python3 python3-venv gcc
. tests/embed/common.sh
needs python3 cc
. tests/embed/python/environment.sh

cp examples/python/scenario.py "$WORK"
cd "$WORK"
"$python" scenario.py >output.txt
same_output output.txt
DETAILFLOW_CHECKOUT=$ROOT "$python" -m unittest discover --start-directory "$ROOT/examples/python/tests" 2>tests.txt || {
    cat tests.txt >&2
    exit 1
}
# All of them ran: that of Python 3.11 accepts a folder without tests.
tail -n 3 tests.txt
[ "$(sed -n 's/^Ran \([0-9]*\) tests in .*/\1/p' tests.txt)" -ge 60 ]
grep -qx OK tests.txt
mypy=$(dirname "$python")/mypy
"$mypy" --strict --cache-dir "$WORK/mypy" --package detailflow
"$mypy" --strict --cache-dir "$WORK/mypy" scenario.py

# Out of an installed prefix, with the layout of Debian; and the error when nothing is built.
mkdir -p prefix/lib/triplet prefix/share/detailflow empty wheels
cp "$LIBRARIES/libdetailflow.so" prefix/lib/triplet
cp "$ROOT"/onnx/bundles/sprites/* prefix/share/detailflow
wheel() { "$python" -m pip --quiet --disable-pip-version-check wheel --no-deps -w "$1" "$ROOT/examples/python"; }
DETAILFLOW_PREFIX=$WORK/prefix wheel wheels
ls wheels/detailflow-*-py3-none-*.whl
if DETAILFLOW_PREFIX=$WORK/empty wheel empty 2>error.txt; then
    echo "python: a wheel without a library" >&2
    exit 1
fi
grep -q 'no library; set DETAILFLOW_PREFIX to the PREFIX of `make install`' error.txt

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
documents=prefix/share/doc/detailflow
mkdir -p prefix/lib/triplet prefix/share/detailflow "$documents" empty wheels
cp "$LIBRARIES/libdetailflow.so" prefix/lib/triplet
cp "$ROOT"/onnx/bundles/sprites/* prefix/share/detailflow
cp "$ROOT"/target/licenses/{LICENSE-*,RUST_*} "$documents"
wheel() { "$python" -m pip --quiet --disable-pip-version-check wheel --no-deps -w "$1" "$ROOT/examples/python"; }
DETAILFLOW_PREFIX=$WORK/prefix wheel wheels
ls wheels/detailflow-*-py3-none-*.whl
# The library is in it, and so are the licences of what that contains.
cat >inside.py <<'END'
import sys
import zipfile
from pathlib import Path

with zipfile.ZipFile(sys.argv[1]) as wheel:
    inside = {name: wheel.read(name) for name in wheel.namelist()}
[info] = {name.split("/")[0] for name in inside if ".dist-info/" in name}
assert "detailflow/native/libdetailflow.so" in inside
named = [line.split()[1] for line in inside[f"{info}/METADATA"].decode().splitlines() if line.startswith("License-File:")]
folder = f"{info}/licenses/"
assert sorted(folder + name for name in named) == sorted(name for name in inside if name.startswith(folder)), named
for name in ("LICENSE-MIT", "LICENSE-APACHE", "RUST_CRATES.txt"):
    assert inside[folder + name] == Path(sys.argv[2], name).read_bytes(), name
assert {"RUST_STANDARD_LIBRARY.html"} & set(named) == {path.name for path in Path(sys.argv[2]).glob("*.html")}
END
"$python" inside.py wheels/detailflow-*.whl "$ROOT/target/licenses"
"$python" -m pip --quiet --disable-pip-version-check wheel --no-deps -w checkout "$ROOT/examples/python"
"$python" inside.py checkout/detailflow-*.whl "$ROOT/target/licenses"
# As the zips have them.
mv "$documents" prefix/licenses
DETAILFLOW_PREFIX=$WORK/prefix wheel zip
"$python" inside.py zip/detailflow-*.whl "$ROOT/target/licenses"
rm prefix/licenses/RUST_CRATES.txt
if DETAILFLOW_PREFIX=$WORK/prefix wheel empty 2>error.txt; then
    echo "python: a wheel without the licences of the crates" >&2
    exit 1
fi
grep -q 'no licences of the crates; set DETAILFLOW_PREFIX to a complete prefix' error.txt
if DETAILFLOW_PREFIX=$WORK/empty wheel empty 2>error.txt; then
    echo "python: a wheel without a library" >&2
    exit 1
fi
grep -q 'no library; set DETAILFLOW_PREFIX to the PREFIX of `make install`' error.txt

# shellcheck shell=bash
# Sourced by the scripts that run Python: installs what tests/embed/$NAME/requirements.txt pins, and examples/python as a user
# does. Sets `python`. The environment stays in target/venv-embed-NAME until the requirements change.
environment=$ROOT/target/venv-embed-$NAME
python=$environment/bin/python
requirements=$ROOT/tests/embed/$NAME/requirements.txt
export PYTHONDONTWRITEBYTECODE=1
unset DETAILFLOW_LIBRARY

if ! cmp -s "$requirements" "$environment/requirements.txt"; then
    rm -rf "$environment"
    python3 -m venv "$environment"
    "$python" -m pip --quiet --disable-pip-version-check install --require-hashes --only-binary=:all: --requirement "$requirements"
    cp "$requirements" "$environment"
fi
# The library and the default bundle come out of the checkout; nothing is written there.
find examples/python | sort >"$WORK/before.txt"
"$python" -m pip --quiet --disable-pip-version-check install --force-reinstall --no-deps ./examples/python
find examples/python | sort | diff "$WORK/before.txt" -
"$python" -m pip --disable-pip-version-check check

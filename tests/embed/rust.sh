#!/usr/bin/env bash
# Rust: the scenario with the crate, as a path dependency of a project elsewhere, and with declarations made by bindgen.
# packages: libclang-dev
. tests/embed/common.sh
needs cargo
# The dependencies take minutes to build and stay. A build folder below the checkout would find bundle and runtime above itself
# if it were less deep.
export CARGO_TARGET_DIR=$ROOT/target/embed/cache/rust
export CARGO_PROFILE_RELEASE_OPT_LEVEL=1

# in_project NAME: a copy of examples/rust/NAME whose paths lead to the checkout.
in_project() {
    cp -r "examples/rust/$1" "$WORK/$1"
    sed -i "s|path = \"../../..\"|path = \"$ROOT\"|" "$WORK/$1/Cargo.toml"
    (cd "$WORK/$1" && cargo build --release --locked --quiet)
}

in_project crate
program=$CARGO_TARGET_DIR/release/detailflow-scenario
"$program" >"$WORK/crate.txt"
same_output "$WORK/crate.txt"

# A program that was copied elsewhere does not look into the checkout that it was built with.
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT
cp "$program" "$elsewhere"
if "$elsewhere/detailflow-scenario" >"$WORK/elsewhere.txt" 2>&1; then
    echo "a shipped program used the checkout" >&2
    exit 1
fi
grep -F "$elsewhere/detailflow" "$WORK/elsewhere.txt"
if grep -F "$ROOT" "$WORK/elsewhere.txt"; then exit 1; fi
# With the bundle and ONNX Runtime beside it, it runs.
cp -r onnx/bundles/sprites "$elsewhere/detailflow"
mkdir "$elsewhere/runtime"
cp target/runtime/libonnxruntime.so "$elsewhere/runtime"
"$elsewhere/detailflow-scenario" >"$WORK/shipped.txt"
same_output "$WORK/shipped.txt"

# Loaded by bindgen while it builds.
if [ -z "${LIBCLANG_PATH:-}" ] && ! PATH=$PATH:/sbin ldconfig -p | grep -E 'libclang(-[0-9.]+)?\.so' >/dev/null; then
    skip "libclang missing, for bindgen; the crate passed: tests/embed/setup.sh, or apt-get install $(packages_of "$0")"
fi
export DETAILFLOW_INCLUDE=$ROOT/include
in_project bindgen
"$CARGO_TARGET_DIR/release/detailflow-bindgen" >"$WORK/bindgen.txt"
same_output "$WORK/bindgen.txt"

#!/usr/bin/env bash
# Compiles the library with all features for systems on which nothing runs here, without warnings, and links it for macOS; and
# runs the library as consoles and iOS use it: without loading ONNX Runtime.
. tests/ports/common.sh

targets=(
    aarch64-linux-android
    aarch64-unknown-linux-gnu
    aarch64-apple-darwin
    aarch64-apple-ios
    x86_64-apple-darwin
    x86_64-pc-windows-msvc
    x86_64-unknown-linux-musl
)
log=$PORTS/checks.log
RUSTC_BOOTSTRAP=1 cargo check "-Zbuild-std=std,panic_unwind" --target-dir "$STD_TARGET_DIR" --locked --lib --bins --all-features \
    "${targets[@]/#/--target=}" 2>&1 |
    tee "$log"
# Cargo repeats the warnings of what it has checked before.
if grep -q '^warning: .detailflow. ' "$log"; then
    echo "checks: warnings" >&2
    exit 1
fi

# All functions of the C API, and an install name that is not a path of this machine. Zig's linker ignores the list of symbols
# that rustc gives it, so Rust's own are exported too; Apple's keeps to it.
build aarch64-apple-darwin
library=$BUILT/libdetailflow.dylib
exported=$(llvm-nm --extern-only --defined-only "$library" | awk '{ print $3 }' | sort)
declared=$(grep -o 'DETAILFLOW_CALL detailflow_[a-z0-9_]*' include/detailflow.h | sed 's/.* /_/' | sort)
missing=$(comm -23 <(echo "$declared") <(echo "$exported"))
if [ -n "$missing" ]; then
    echo "checks: the library for macOS lacks functions that the header declares:" "$missing" >&2
    exit 1
fi
install_name=$(llvm-objdump --macho --dylib-id "$library" | tail -n 1)
if [ "$install_name" != @rpath/libdetailflow.dylib ]; then
    echo "checks: the install name of the library for macOS is $install_name" >&2
    exit 1
fi
# ARM64 Macs load nothing that is not signed; the linker signs.
llvm-objdump --macho --private-headers "$library" | grep -q LC_CODE_SIGNATURE

# Without the feature load-runtime, on this machine.
cargo rustc --release --locked --lib --no-default-features --features ffi --crate-type cdylib --target x86_64-unknown-linux-gnu \
    --target-dir "$CARGO_TARGET_DIR/host-api"
folder=$CARGO_TARGET_DIR/host-api/x86_64-unknown-linux-gnu/release
if cargo tree --locked --no-default-features --features ffi --edges normal --invert libloading 2>/dev/null | grep -q detailflow; then
    echo "checks: the library without load-runtime depends on libloading" >&2
    exit 1
fi
cc -std=c99 -Wall -Wextra -Werror -pedantic -Iinclude tests/c/host_api.c -L"$folder" -ldetailflow -Wl,-rpath,"$folder" \
    -o "$folder/host_api"
"$folder/host_api" tests/data/small only "$(echo "$(runtime manylinux_2_28_x86_64)"/libonnxruntime.so.*)"

#!/usr/bin/env bash
# Linux x86-64 with an old glibc: what is linked for glibc 2.28 runs on Debian 11.
. tests/ports/common.sh

build x86_64-unknown-linux-gnu
needs_glibc "$BUILT/dflow" "$BUILT/libdetailflow.so"

game=$PORTS/game-old-glibc
rm -rf "$game"
mkdir -p "$game"/{bin,lib,share,runtime}
cp "$BUILT/dflow" "$game/bin/"
cp "$BUILT/libdetailflow.so" "$game/lib/"
cp -r onnx/bundles/sprites "$game/share/detailflow"
cp "$(runtime manylinux_2_28_x86_64)"/libonnxruntime.so.* "$game/runtime/libonnxruntime.so"
# shellcheck disable=SC2016 # for the loader
zig cc -target x86_64-linux-gnu.$GLIBC -std=c99 -Wall -Wextra -Werror -pedantic -Iinclude examples/c/generate.c \
    -L"$game/lib" -ldetailflow -Wl,-rpath,'$ORIGIN/../lib' -o "$game/bin/generate"
try_in_root "$PORTS/bullseye" "$game"

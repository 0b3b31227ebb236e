#!/usr/bin/env bash
# x86-64 without the newer instructions, under qemu: this machine's own `dflow` and ONNX Runtime.
. tests/ports/common.sh

export ORT_DYLIB_PATH=$PWD/target/runtime/libonnxruntime.so DETAILFLOW_BUNDLE=$PWD/onnx/bundles/sprites
work=$PORTS/x86-old
mkdir -p "$work"

# One for each instruction set of src/kernels/isa.rs that qemu emulates: SSE2, SSSE3, AVX2.
for cpu in Opteron_G3 Nehalem Haswell; do
    qemu-x86_64-static -cpu $cpu target/release/dflow generate all --seed 7 -o "$work/$cpu.png" --tokens-out "$work/$cpu.json"
    same_tokens "$work/$cpu.json"
done

#!/usr/bin/env bash
# Linux on ARM64, under qemu: the kernels of each instruction set, `dflow`, and the C example.
. tests/ports/common.sh

target=aarch64-unknown-linux-gnu
out=$CARGO_TARGET_DIR/$target/release
work=$PORTS/arm64
mkdir -p "$work"

build $target
tests=$(cargo-zigbuild test --no-run --release --locked --features cli --lib --target $target.$GLIBC --message-format json-render-diagnostics |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p')
aarch64-linux-gnu-gcc -std=c99 -Wall -Wextra -Werror -Iinclude examples/c/generate.c -L"$out" -ldetailflow -o "$work/generate"

# What qemu shows as the system: the libraries of ARM64, and a /proc/cpuinfo of its own. ONNX Runtime dies of the host's.
rm -rf "$work/system"
mkdir -p "$work/system/proc"
ln -s /usr/aarch64-linux-gnu/lib "$work/system/lib"
for ((core = 0; core < $(nproc); core++)); do
    printf 'processor\t: %d\nCPU implementer\t: 0x41\nCPU architecture: 8\nCPU variant\t: 0x3\nCPU part\t: 0xd0c\n\n' $core
done >"$work/system/proc/cpuinfo"

# emulate CPU COMMAND...
emulate() {
    local cpu=$1
    shift
    env ORT_DYLIB_PATH="$library" DETAILFLOW_BUNDLE="$bundle" \
        qemu-aarch64-static -cpu "$cpu" -L "$work/system" -E LD_LIBRARY_PATH="$out" "$@"
}
bundle=$PWD/onnx/bundles/sprites
library=$(echo "$(runtime manylinux_2_28_aarch64)"/libonnxruntime.so.*)

# A CPU for each instruction set of src/kernels/isa.rs: with matrix products, with dot products, with neither.
for cpu in max neoverse-n1 cortex-a72; do
    emulate $cpu "$tests" --test-threads 2 kernels::
done

emulate max "$out/dflow" doctor | tee "$work/doctor.txt"
grep -q 'ar.int8.native.onnx' "$work/doctor.txt"
for cpu in max neoverse-n1 cortex-a72; do
    emulate $cpu "$out/dflow" generate all --seed 7 -o "$work/$cpu.png" --tokens-out "$work/$cpu.json"
    same_tokens "$work/$cpu.json"
done

(cd "$work" && emulate max ./generate)

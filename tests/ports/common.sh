# shellcheck shell=bash
# Sourced by the scripts of this folder, from the repository root: where the tools are, and what several of them do.
#
# Each port is a script NAME.sh that builds the library for another system at opt-level 1, runs what can be run here, and
# exits with 0 only if all of it passed. What cannot run calls `skip`.
set -euo pipefail
. tests/scripts.sh

# Everything that setup.sh fetches, and what the ports build.
PORTS=${DETAILFLOW_PORTS:-$PWD/target/ports}
# Zig, and the Rust that has the sources of std.
export PATH=$PORTS/bin:$PATH
# One optimization level for all ports: a build of the release profile costs 5 to 8 minutes of CPU time each. `make dist` sets
# another.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=${CARGO_PROFILE_RELEASE_OPT_LEVEL:-1}
# Cargo has a folder for each target in it.
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PORTS/target}
# Builds with std, for which RUSTC_BOOTSTRAP is set, are apart: build scripts look at it, and cargo would build nearly
# everything again at each change.
STD_TARGET_DIR=$CARGO_TARGET_DIR/std

# Zig compiles the C library of a target once.
export ZIG_GLOBAL_CACHE_DIR=$PORTS/zig-cache ZIG_LOCAL_CACHE_DIR=$PORTS/zig-cache CARGO_ZIGBUILD_CACHE_DIR=$PORTS/zig-cache/cargo
# The least glibc that we are linked for, which is the one that ONNX Runtime needs.
GLIBC=2.28

# build TARGET: builds the shared library and, except for macOS, dflow, and sets BUILT to their folder.
build() {
    local target=$1 build=(cargo build) rustc=(cargo rustc) options=(--release --locked --target "$1") name=()
    local folder=$CARGO_TARGET_DIR
    case $target in
        *-linux-gnu) options[3]=$target.$GLIBC ;;&
        *-linux-gnu | *-apple-darwin) build=(cargo-zigbuild zigbuild) rustc=(cargo-zigbuild rustc) ;;
    esac
    # As `make libraries` names them.
    case $target in
        *-linux-gnu) name=(-- -C "link-arg=-Wl,-soname,libdetailflow.so") ;;
        *-apple-darwin) name=(-- -C "link-arg=-Wl,-install_name,@rpath/libdetailflow.dylib") ;;
    esac
    # No package has std for these: it is compiled along.
    case $target in
        *-windows-gnu | *-apple-darwin) options+=("-Zbuild-std=std,panic_unwind") && folder=$STD_TARGET_DIR ;;
    esac
    (
        export CARGO_TARGET_DIR=$folder
        export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc-posix
        if [ "${#options[@]}" -gt 4 ]; then export RUSTC_BOOTSTRAP=1; fi
        "${rustc[@]}" "${options[@]}" --lib --crate-type cdylib "${name[@]}"
        # For macOS dflow needs frameworks of Apple's SDK.
        case $target in
            *-apple-darwin) ;;
            *) "${build[@]}" "${options[@]}" --features cli ;;
        esac
    )
    # shellcheck disable=SC2034 # for the scripts
    BUILT=$folder/$target/release
}

# needs_glibc FILE...: fails where a file needs a newer glibc than $GLIBC.
needs_glibc() {
    local file newest
    for file; do
        newest=$(objdump -T "$file" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1)
        if [ "$(printf '%s\n' "${newest#GLIBC_}" $GLIBC | sort -V | tail -n 1)" != $GLIBC ]; then
            echo "$file needs $newest, more than $GLIBC" >&2
            objdump -T "$file" | grep -F "$newest" >&2
            return 1
        fi
    done
}

# try_in_root ROOT FOLDER [EMULATOR]: runs dflow and the C example of FOLDER, which is laid out as `make dist` does, in a chroot.
# It has no /proc and no /sys: under qemu ONNX Runtime must not read this machine's.
try_in_root() {
    local root=$1 run=(chroot "$1")
    rm -rf "$root/game"
    cp -r "$2" "$root/game"
    if [ -n "${3:-}" ]; then
        cp "$(command -v "$3")" "$root/emulator"
        run+=(/emulator)
    fi
    "${run[@]}" /game/bin/dflow doctor
    "${run[@]}" /game/bin/dflow generate all --seed 7 --form native -o /game/all.png --tokens-out /game/tokens.json
    same_tokens "$root/game/tokens.json"
    # Without /proc the loader does not know $ORIGIN.
    LD_LIBRARY_PATH=/game/lib "${run[@]}" /game/bin/generate
    rm -r "$root/sprite.png" "$root/game"
}

# runtime PLATFORM: the folder with the ONNX Runtime of a platform tag of PyPI, such as win_amd64.
runtime() { echo "$PORTS/ort-$1/onnxruntime/capi"; }

# The tokens that every port must draw, by this machine's own `dflow` with its fastest kernels.
reference_tokens() {
    local file=target/ports/reference.json
    mkdir -p target/ports
    target/release/dflow generate all --seed 7 --form native -o target/ports/reference.png --tokens-out "$file" >&2
    echo "$file"
}

# same_tokens FILE: fails unless the file has the bytes of `reference_tokens`.
same_tokens() {
    if ! cmp "$1" "$(reference_tokens)"; then
        echo "$1: other tokens than on this machine" >&2
        return 1
    fi
}

# skip NAME WHY
skip() { skipped ports "$@"; }

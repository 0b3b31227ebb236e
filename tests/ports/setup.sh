#!/usr/bin/env bash
# Installs what the scripts of this folder need, on Debian 12 (amd64): cross compilers, emulators, Zig, and the ONNX Runtime of
# each platform.
#   tests/ports/setup.sh          as root; takes 2 minutes, and a second when all of it is there
#   tests/ports/setup.sh check    prints what is missing, and then exits with 1
# Packages are installed by apt, everything else lies in target/ports ($DETAILFLOW_PORTS).
set -euo pipefail
cd "$(dirname "$0")/../.."
. tests/ports/common.sh

packages=(
    # Rust 1.96 with the sources of std: for systems whose std no package has, it is compiled along (-Zbuild-std).
    rustc-web cargo-web libstd-rust-web-dev rust-web-src
    gcc g++ libc6-dev make file unzip binutils llvm ca-certificates
    # ARM64: /usr/aarch64-linux-gnu is also what qemu takes as the system's libraries.
    gcc-aarch64-linux-gnu g++-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static
    # Windows. The compilers named posix are those with threads.
    gcc-mingw-w64-x86-64-posix g++-mingw-w64-x86-64-posix mingw-w64-tools wine wine64
    # Old Linux.
    debootstrap
)
std=/usr/lib/rustlib
arm64=aarch64-unknown-linux-gnu
windows=x86_64-pc-windows-gnu

missing_packages() {
    local package
    for package in "${packages[@]}"; do
        # rustc-web is what Debian 12 names a rustc that is newer than its own.
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed || echo "$package"
    done
}

# The other parts: `have_NAME` is true when it is there, `make_NAME` makes it.
parts=(arm64_std windows_objects programs runtimes bullseye bullseye_arm64)

have_arm64_std() { [ -e $std/$arm64 ]; }
# Debian's package of the other architecture, by package lists of its own, so that apt's stay as they are.
make_arm64_std() {
    download_package bookworm-security bookworm-security arm64 libstd-rust-web-dev
    cp -r "$PORTS/unpacked$std/$arm64" $std/
    rm -rf "$PORTS/unpacked"
}

# mirror CODENAME: where apt gets the packages of that part of Debian 12.
mirror() {
    # shellcheck disable=SC2016 # for apt
    apt-get indextargets --format '$(REPO_URI)' "Codename: $1" | sort -u | head -n 1
}

# download_package CODENAME SUITE ARCHITECTURE NAME...: unpacks Debian packages, from that mirror, into $PORTS/unpacked.
download_package() {
    local suite=$2 architecture=$3 lists=$PORTS/lists-$2-$3 archive
    archive=$(mirror "$1")
    shift 3
    rm -rf "$PORTS/unpacked"
    mkdir -p "$lists/partial" "$PORTS/unpacked"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $suite main" >"$lists.list"
    local options=(
        "-oAPT::Architecture=$architecture" "-oAPT::Architectures=$architecture" "-oDir::State::Lists=$lists"
        -oDir::State::status=/dev/null "-oDir::Etc::SourceList=$lists.list" -oDir::Etc::SourceParts=/dev/null
        -oAPT::Sandbox::User=root
    )
    apt-get "${options[@]}" update -qq
    (cd "$PORTS/unpacked" && apt-get "${options[@]}" download -qq "$@")
    local file
    for file in "$PORTS"/unpacked/*.deb; do
        dpkg -x "$file" "$PORTS/unpacked"
        rm "$file"
    done
}

have_windows_objects() { [ -e $std/$windows/lib/rsend.o ]; }
# Two object files that a program for Windows links, and no package has.
make_windows_objects() {
    mkdir -p $std/$windows/lib
    local name
    for name in rsbegin rsend; do
        RUSTC_BOOTSTRAP=1 rustc --target $windows --emit=obj -o $std/$windows/lib/$name.o $std/src/rust/library/rtstartup/$name.rs
    done
}

have_programs() { [ -e "$PORTS/bin/cargo-zigbuild" ] && [ -e "$PORTS/bin/rustc" ]; }
# A folder that comes first in PATH: Zig, and Debian's Rust where rustup's is found before.
make_programs() {
    wheels tools "$PORTS/zig" manylinux2014_x86_64 --platform manylinux_2_12_x86_64 --platform manylinux1_x86_64
    chmod +x "$PORTS/zig/ziglang/zig" "$PORTS"/zig/cargo_zigbuild-*.data/scripts/*
    mkdir -p "$PORTS/bin"
    ln -sf ../zig/ziglang/zig "$PORTS/bin/zig"
    (cd "$PORTS/bin" && ln -sf ../zig/cargo_zigbuild-*.data/scripts/cargo-zigbuild .)
    local name
    for name in rustc cargo rustdoc; do
        ln -sf /usr/bin/$name "$PORTS/bin/$name"
    done
    # rustc strips libraries for macOS with it.
    ln -sf /usr/bin/llvm-objcopy "$PORTS/bin/rust-objcopy"
}

# wheels LIST FOLDER PLATFORM...: unpacks the wheels that LIST.txt pins, here or in onnx/.
wheels() {
    local list=tests/ports/$1.txt folder=$2
    [ -e "$list" ] || list=onnx/$1.txt
    rm -rf "$folder" "$folder.new"
    make --no-print-directory -s target/venv/bin/python
    target/venv/bin/python -m pip download --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: \
        --python-version 3.13 --platform "${@:3}" --dest "$folder.new" --requirement "$list"
    local file
    for file in "$folder.new"/*.whl; do
        python3 -m zipfile -e "$file" "$folder.new"
        rm "$file"
    done
    mv "$folder.new" "$folder"
}

platforms=(manylinux_2_28_x86_64 manylinux_2_28_aarch64 win_amd64 macosx_14_0_arm64)

have_runtimes() {
    local platform
    for platform in "${platforms[@]}" directml; do
        [ -e "$PORTS/ort-$platform" ] || return 1
    done
}
make_runtimes() {
    local platform
    for platform in "${platforms[@]}"; do
        [ -e "$PORTS/ort-$platform" ] || wheels runtime "$PORTS/ort-$platform" "$platform"
    done
    [ -e "$PORTS/ort-directml" ] || wheels directml "$PORTS/ort-directml" win_amd64
}

have_bullseye() { [ -e "$PORTS/bullseye/bin/sh" ]; }
# Debian 11: glibc 2.31, the one of Steam Runtime sniper and Ubuntu 20.04.
make_bullseye() {
    rm -rf "$PORTS/bullseye" "$PORTS/bullseye.new"
    debootstrap --variant=minbase bullseye "$PORTS/bullseye.new" "$(mirror bookworm)" >"$PORTS/debootstrap.log"
    rm -rf "$PORTS"/bullseye.new/var/{cache/apt,lib/apt}/*
    mv "$PORTS/bullseye.new" "$PORTS/bullseye"
}

have_bullseye_arm64() { [ -e "$PORTS/bullseye-arm64/lib/ld-linux-aarch64.so.1" ]; }
# Its libraries for ARM64, for programs under qemu.
make_bullseye_arm64() {
    rm -rf "$PORTS/bullseye-arm64"
    download_package bookworm bullseye arm64 libc6 libgcc-s1 libstdc++6
    mv "$PORTS/unpacked" "$PORTS/bullseye-arm64"
}

mapfile -t missing < <(missing_packages)
if [ "${1:-}" = check ]; then
    for part in "${parts[@]}"; do
        "have_$part" || missing+=("$part")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        echo "tests/ports/setup.sh installs what is missing: ${missing[*]}"
        exit 1
    fi
    exit 0
fi

mkdir -p "$PORTS"
if [ "${#missing[@]}" -gt 0 ]; then
    # Half of the time would be dpkg's fsync of the 40,000 files of rust-web-src.
    unsafe_io=/etc/dpkg/dpkg.cfg.d/detailflow-ports
    trap 'rm -f $unsafe_io' EXIT
    echo force-unsafe-io >$unsafe_io
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
for part in "${parts[@]}"; do
    if ! "have_$part"; then
        begun=$SECONDS
        "make_$part"
        echo "setup: $part, $((SECONDS - begun)) s"
    fi
done

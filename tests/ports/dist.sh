#!/usr/bin/env bash
# The zips of `make dist`, built at opt-level 1: each lists what is in it, and is unpacked and tried.
. tests/ports/common.sh

export DETAILFLOW_DIST=$PORTS/dist
.ci/dist
(cd "$DETAILFLOW_DIST" && sha256sum --check --quiet SHA256SUMS)

unpacked=$PORTS/unpacked-dist
rm -rf "$unpacked"
for zip in "$DETAILFLOW_DIST"/*.zip; do
    unzip -q "$zip" -d "$unpacked"
    game=$unpacked/$(basename "$zip" .zip)
    # CONTENTS.txt names every file but itself.
    listed=$(grep -oE '[0-9a-f]{64}  .*' "$game/CONTENTS.txt")
    (cd "$game" && sha256sum --check --quiet <<<"$listed")
    [ "$(wc -l <<<"$listed")" -eq $(($(find "$game" -type f | wc -l) - 1)) ]
    # The licences of all parts, and the examples.
    for file in LICENSE-MIT LICENSE-APACHE RUST_CRATES.txt onnxruntime/LICENSE onnxruntime/ThirdPartyNotices.txt \
        ../share/detailflow/LICENSE.md ../examples/README.md ../examples/cpp/frame_loop.cpp \
        ../lib/cmake/detailflow/detailflow-config.cmake; do
        [ -s "$game/licenses/$file" ] || { echo "$game: no $file" >&2 && exit 1; }
    done
    python3 tests/embed/sbom/check.py "$game/sbom.cdx.json" "$game"
done

# example PLATFORM COMPILER OPTION...: builds the C example of a zip as its users do, and sets `game` to the folder.
example() {
    local compiler
    game=$(echo "$unpacked"/*-"$1")
    read -ra compiler <<<"$2"
    (cd "$game" && "${compiler[@]}" -std=c99 -Wall -Wextra -Werror -pedantic -Iinclude examples/c/generate.c "${@:3}")
}

# linux PLATFORM TARGET ROOT [EMULATOR]
linux() {
    # shellcheck disable=SC2016 # for the loader
    example "$1" "zig cc -target $2.$GLIBC" -Llib -ldetailflow -Wl,-rpath,'$ORIGIN/../lib' -o bin/generate
    try_in_root "$PORTS/$3" "$game" "${@:4}"
}
linux linux-x64 x86_64-linux-gnu bullseye
linux linux-arm64 aarch64-linux-gnu bullseye-arm64 qemu-aarch64-static

# Windows, by the import library that is for MSVC. Wine 8 lacks bcryptprimitives.dll, which is looked for beside the program.
windows() {
    local mingw=x86_64-w64-mingw32-gcc-posix program
    example windows-x64 $mingw -DDETAILFLOW_SHARED lib/detailflow.lib -o bin/generate.exe
    $mingw -O1 -shared tests/ports/bcryptprimitives_stub.c -o "$game/bin/bcryptprimitives.dll" -ladvapi32
    export WINEPREFIX=$PORTS/wine WINEDEBUG=-all LC_ALL=C.UTF-8
    # Not through a pipe: Wine's services would hold it open.
    for program in "dflow.exe doctor" "dflow.exe generate all --seed 7 -o all.png --tokens-out tokens.json" generate.exe; do
        # shellcheck disable=SC2086 # words
        (cd "$game/bin" && timeout 300 /usr/lib/wine/wine64 $program) >"$unpacked/wine.log" 2>&1 </dev/null ||
            { cat "$unpacked/wine.log" >&2 && return 1; }
    done
    same_tokens "$game/bin/tokens.json"
    [ -s "$game/bin/sprite.png" ]
}
windows

#!/usr/bin/env bash
# Windows x86-64: built with mingw-w64, run under Wine.
. tests/ports/common.sh

# Where things are run. Wine knows it as Z:$RUN.
RUN=$PORTS/run-windows
export WINEPREFIX=$PORTS/wine WINEDEBUG=-all LC_ALL=C.UTF-8
MINGW=x86_64-w64-mingw32
WINESERVER=/usr/lib/wine/wineserver64

# wine PROGRAM ARGUMENT...: at most two minutes.
wine() { LD_PRELOAD=$PORTS/amx_permission.so timeout 120 /usr/lib/wine/wine64 "$@"; }

# windows_path PATH: as programs under Wine name it.
windows_path() {
    local path
    path=$(realpath "$1")
    echo "Z:${path//\//\\}"
}

# A prefix with the one library that Wine 8 lacks.
prepare_wine() {
    local system=$WINEPREFIX/drive_c/windows/system32
    cc -shared -fPIC -O1 tests/ports/amx_permission.c -o "$PORTS/amx_permission.so"
    [ -e "$system/kernel32.dll" ] || wine wineboot -i >/dev/null 2>&1
    $MINGW-gcc-posix -O1 -shared tests/ports/bcryptprimitives_stub.c -o "$system/bcryptprimitives.dll" -ladvapi32
    # One server for all programs; there may be one from before.
    "$WINESERVER" -p >/dev/null 2>&1 </dev/null || true
}

# program FILE [OPTION...]: compiles a C or C++ program of tests/ beside the DLL.
program() {
    local file=$1 name compiler=("$MINGW-gcc-posix" -std=c11)
    shift
    name=$(basename "${file%.*}")
    [ "${file##*.}" = c ] || compiler=("$MINGW-g++-posix" -std=c++17 -Wconversion -fno-exceptions -fno-rtti)
    "${compiler[@]}" -Wall -Wextra -Werror -pedantic -D__USE_MINGW_ANSI_STDIO=1 -DDETAILFLOW_SHARED \
        -Iinclude -Itests/c "$file" "$BUILT/libdetailflow.dll.a" -static -lpsapi -o "$RUN/programs/$name.exe" "$@"
}

# in_folder NAME COMMAND ARGUMENT...: runs a program in an empty folder of its own; what it says is shown when it fails.
in_folder() {
    local folder=$RUN/runs/$1 status=0
    shift
    rm -rf "$folder"
    mkdir -p "$folder"
    # Not through a pipe: Wine's services would hold it open.
    (cd "$folder" && wine "$@") >"$folder.log" 2>&1 </dev/null || status=$?
    if [ "$status" -ne 0 ]; then
        echo "FAILED with $status: $*" >&2
        grep -v 'DXGI factory' "$folder.log" | tail -n 20 >&2
    fi
    return "$status"
}

# The programs of tests/c as tests/c_programs.rs runs them, one each.
c_program() {
    local file=$1 name small tiny run arguments how
    name=$(basename "$file" .c)
    small=$(windows_path tests/data/small)
    tiny=$(windows_path tests/data/tiny-16/bundle)
    run=$RUN/programs/$name.exe
    case $name in
    layout)
        "$MINGW-gcc-posix" -std=c11 -Wall -Wextra -Werror -pedantic -fsyntax-only -Iinclude "$file"
        return
        ;;
    plugin) return ;; # below, as it is not linked
    esac
    program "$file"
    case $name in
    oom) in_folder oom "$run" "$tiny" nolimit ;;
    worker) in_folder worker "$run" "$small" "$tiny" ;;
    decode_only)
        in_folder strip "$RUN/programs/dflow.exe" strip "$small" -o alone
        in_folder decode_only "$run" "$small" "$(windows_path "$RUN/runs/strip/alone")"
        ;;
    cost)
        in_folder cost "$run" "$small" counts
        # Windows tells a program the folder for calibrations; no variable does.
        rm -rf "$WINEPREFIX"/drive_c/users/*/AppData/Local/detailflow
        in_folder cost-unknown "$run" "$small" unknown
        in_folder cost-calibrate "$RUN/programs/dflow.exe" calibrate --bundle "$small" --threads 1 --batch 1,2
        in_folder cost-known "$run" "$small" known
        ;;
    runtime)
        # What a library needs is found beside it: one that loads so far that its functions are looked at.
        mkdir -p "$RUN/neighbours"
        echo 'int neighbour(void) { return 1; }' >"$RUN/neighbours/neighbour.c"
        echo 'int neighbour(void); int needs(void) { return neighbour(); }' >"$RUN/neighbours/needs.c"
        "$MINGW-gcc-posix" -shared "$RUN/neighbours/neighbour.c" -o "$RUN/neighbours/neighbour.dll"
        "$MINGW-gcc-posix" -shared "$RUN/neighbours/needs.c" "$RUN/neighbours/neighbour.dll" -o "$RUN/neighbours/needs.dll"
        in_folder runtime-neighbour "$run" "$small" foreign "$(windows_path "$RUN/programs/runtime/onnxruntime.dll")" \
            "$(windows_path "$RUN/neighbours/needs.dll")"
        for how in text foreign missing environment second nowhere; do
            arguments=("$small" "$how" "$(windows_path "$RUN/programs/runtime/onnxruntime.dll")" "$(windows_path "$RUN/programs/detailflow.dll")")
            if [ "$how" = nowhere ]; then
                mkdir -p "$RUN/alone"
                cp "$run" "$RUN/programs/detailflow.dll" "$RUN/alone/"
                run=$RUN/alone/runtime.exe
            fi
            in_folder "runtime-$how" "$run" "${arguments[@]}"
        done
        ;;
    host_api)
        for how in given own late; do
            in_folder "host_api-$how" "$run" "$small" "$how" "$(windows_path "$RUN/programs/runtime/onnxruntime.dll")"
        done
        ;;
    exit_in_flight)
        for how in exit return thread orphans late join worker callback inside freed; do
            in_folder "exit-$how" "$run" "$small" "$how"
        done
        program "$file" -include tests/ports/ucrt.h -o "$RUN/programs/exit_ucrt.exe"
        for how in exit thread orphans worker callback inside freed; do
            in_folder "exit-ucrt-$how" "$RUN/programs/exit_ucrt.exe" "$small" "$how"
        done
        ;;
    *)
        # shellcheck disable=SC2046 # one word each, or none
        in_folder "$name" "$run" "$small" $(sed -n "s/.*_plain: \"$name\" Plain \[\"\{0,1\}\([a-z]*\)\"\{0,1\}\];/\1/p" tests/c_programs.rs)
        ;;
    esac
}

# A game in a folder with umlauts, Japanese and emoji; nothing is set, so that all is found beside the program.
command_line() {
    local game=$RUN/'ä ö 画像 🎮' out=$RUN/runs/dflow
    mkdir -p "$game/runtime"
    cp -l "$(runtime win_amd64)/onnxruntime.dll" "$game/runtime/"
    cp -l "$RUN/programs/dflow.exe" "$game/"
    cp -r onnx/bundles/sprites "$game/detailflow"
    in_folder dflow "$game/dflow.exe" generate all --seed 7 -o '画像 🎮.png' --tokens-out 'ä.json'
    same_tokens "$out/ä.json"
    [ -s "$out/画像 🎮.png" ]
    in_folder doctor "$game/dflow.exe" doctor
    # Paths as people know them.
    grep -q "^ONNX Runtime .* Z:.*${game##*/}.runtime.onnxruntime.dll (runtime folder)" "$RUN/runs/doctor.log"
    if grep -F "\\\\?\\" "$RUN/runs/doctor.log" >&2; then return 1; fi
    # What is not there, and what to do about it.
    cp "$RUN/programs/dflow.exe" "$RUN/alone/"
    if in_folder missing "$RUN/alone/dflow.exe" doctor 2>/dev/null; then return 1; fi
    grep -q 'onnxruntime.dll' "$RUN/runs/missing.log"
    # shellcheck disable=SC2016 # PowerShell's own
    grep -qF '$env:ORT_DYLIB_PATH' "$RUN/runs/missing.log"
    if grep "libonnxruntime\|system's library search\|export ORT" "$RUN/runs/missing.log" >&2; then return 1; fi
    # A star is expanded by the program, and NUL is a device.
    in_folder nul "$game/dflow.exe" generate wand --seed 7 -o wand.png --tokens-out NUL
    [ "$(ls "$RUN/runs/nul")" = wand.png ]
    in_folder star-dft "$game/dflow.exe" encode '..\nul\wand.png' -o wand.dft
    cp "$RUN/runs/star-dft/wand.dft" "$RUN/runs/star-dft/other.dft"
    in_folder star "$game/dflow.exe" pack '..\star-dft\*.dft' -o star.dftpack
    in_folder star-list "$game/dflow.exe" unpack --list '..\star\star.dftpack'
    grep -q other "$RUN/runs/star-list.log"
    grep -q wand "$RUN/runs/star-list.log"
}

# A host elsewhere, and the library in a folder of plugins with what it needs beside it.
plugins() {
    local plugin=$RUN/plugins/x small how
    small=$(windows_path tests/data/small)
    mkdir -p "$plugin/runtime" "$RUN/host"
    "$MINGW-gcc-posix" -std=c11 -Wall -Wextra -Werror -pedantic -D__USE_MINGW_ANSI_STDIO=1 -O1 -Iinclude -Itests/c tests/c/plugin.c \
        -static -lpsapi -o "$RUN/host/plugin.exe"
    cp -l "$RUN/programs/detailflow.dll" "$plugin/"
    cp -r tests/data/small "$plugin/detailflow"
    in_folder plugin-unused "$RUN/host/plugin.exe" "$(windows_path "$plugin/detailflow.dll")" unused
    cp -l "$(runtime win_amd64)/onnxruntime.dll" "$plugin/runtime/"
    for how in finds unloads settled; do
        in_folder "plugin-$how" "$RUN/host/plugin.exe" "$(windows_path "$plugin/detailflow.dll")" "$how"
    done
    # ONNX Runtime directly beside the library.
    mv "$plugin/runtime/onnxruntime.dll" "$plugin/"
    in_folder plugin-beside "$RUN/host/plugin.exe" "$(windows_path "$plugin/detailflow.dll")" finds "$small"
}

# The C++ programs, without valgrind's.
cpp_programs() {
    program tests/cpp/owners.cpp
    in_folder owners "$RUN/programs/owners.exe" "$(windows_path tests/data/small)"
    program tests/cpp/everything.cpp
    in_folder everything "$RUN/programs/everything.exe" "$(windows_path tests/data/small)" \
        "$(windows_path "$RUN/programs/runtime/onnxruntime.dll")"
}

# What Visual C++ links with has every function of the header, and no other name.
import_library() {
    local declared=$RUN/declared exported=$RUN/exported
    gendef - "$BUILT/detailflow.dll" 2>/dev/null >"$RUN/detailflow.def"
    llvm-dlltool -m i386:x86-64 -d "$RUN/detailflow.def" -D detailflow.dll -l "$RUN/detailflow.lib"
    sed -n 's/^DETAILFLOW_API .* \(detailflow_[a-z0-9_]*\)(.*/\1/p' include/detailflow.h | sort >"$declared"
    sed -n '/^EXPORTS/,$p' "$RUN/detailflow.def" | tail -n +2 | tr -d '\r' | sort >"$exported"
    [ "$(wc -l <"$declared")" -gt 140 ]
    diff "$declared" "$exported"
    # A program that is linked with it runs.
    "$MINGW-gcc-posix" -std=c11 -DDETAILFLOW_SHARED -Iinclude examples/c/generate.c "$RUN/detailflow.lib" -static -o "$RUN/ä ö 画像 🎮/example.exe"
    cp -l "$RUN/programs/detailflow.dll" "$RUN/ä ö 画像 🎮/"
    in_folder example "$RUN/ä ö 画像 🎮/example.exe"
    [ -s "$RUN/runs/example/sprite.png" ]
}

# Forms of the ONNX Runtime with DirectML, which a game on Windows ships; on the CPU here, as Wine has no Direct3D 12.
directml() {
    local game=$RUN/directml form
    if [ ! -e "$(runtime directml)/onnxruntime.dll" ]; then
        skip windows-directml "there is no $(runtime directml)/onnxruntime.dll"
        return
    fi
    mkdir -p "$game/runtime"
    cp -l "$(runtime directml)"/*.dll "$game/runtime/"
    cp -l "$RUN/programs/dflow.exe" "$game/"
    cp -r onnx/bundles/sprites "$game/detailflow"
    for form in native plain fixed; do
        in_folder "directml-$form" "$game/dflow.exe" generate all --seed 7 --form "$form" -o x.png --tokens-out x.json
    done
    same_tokens "$RUN/runs/directml-native/x.json"
}

# job NAME COMMAND ARGUMENT...: says how long it took.
job() {
    local name=$1 begun=$SECONDS
    shift
    "$@"
    echo "windows: $name ($((SECONDS - begun)) s)"
}

build x86_64-pc-windows-gnu
prepare_wine
trap '"$WINESERVER" -k || true' EXIT
rm -rf "$RUN"
mkdir -p "$RUN/programs/runtime" "$RUN/runs" "$RUN/alone"
cp -l "$(runtime win_amd64)/onnxruntime.dll" "$RUN/programs/runtime/"
cp "$BUILT/dflow.exe" "$BUILT/detailflow.dll" "$RUN/programs/"
job dflow command_line
job import_library import_library
job plugin plugins
job directml directml
# Two at a time.
one() {
    set -euo pipefail
    case $1 in
    *.c) job "$1" c_program "$1" ;;
    *) job "$1" "$1" ;;
    esac
}
export RUN BUILT MINGW PORTS
export -f one job c_program cpp_programs program in_folder wine windows_path
printf '%s\n' cpp_programs tests/c/*.c | xargs -P 2 -I{} bash -c 'one {}'

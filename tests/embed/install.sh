#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# `make install`: into a prefix, with DESTDIR, and moved; programs outside of the checkout are built by pkg-config and CMake,
# and each draws a sprite. Then `make uninstall`.
# packages: make pkg-config cmake g++ clang lld python3-venv
. tests/embed/common.sh
needs make pkg-config cmake g++ clang++ ld.lld python3

SOURCES=$ROOT/tests/embed/install
# Not below the checkout, where the library would find the checkout's own ONNX Runtime and model.
OUTSIDE=$(mktemp -d)
trap 'rm -rf "$OUTSIDE"' EXIT
TUPLE=$(uname -m)-linux-gnu

# fail WHY
fail() { echo "install: $1" >&2 && exit 1; }

# draws NAME COMMAND...: runs it with nothing in the environment, with the name of a picture at its end, and compares that with
# the first one.
draws() {
    local picture=$OUTSIDE/pictures/$1.png
    mkdir -p "$OUTSIDE/pictures" "$OUTSIDE/empty"
    (cd "$OUTSIDE/empty" && env -i "${@:2}" "$picture")
    [ "$(head -c 4 "$picture" | tail -c 3)" = PNG ] || fail "$1: no picture"
    [ -e "$OUTSIDE/first.png" ] || cp "$picture" "$OUTSIDE/first.png"
    cmp "$picture" "$OUTSIDE/first.png" || fail "$1: another picture"
    echo "install: $1"
}

# one_symbol PLUGIN: it exports its function and nothing of the library, which is not all in it.
one_symbol() {
    local symbols
    symbols=$(nm -D --defined-only "$1" | awk '{ print $3 }')
    [ "$symbols" = plugin_draw ] || fail "$1 exports $(wc -l <<<"$symbols") symbols: $(head -n 5 <<<"$symbols" | tr '\n' ' ')"
    strip -o "$1.stripped" "$1"
    [ "$(stat -c %s "$1.stripped")" -lt 5000000 ] || fail "$1 has $(stat -c %s "$1.stripped") bytes"
}

# by_pkg_config NAME LIBDIR: C programs and a plugin.
by_pkg_config() {
    local out=$OUTSIDE/build/$1-pkg-config library=$2/libdetailflow.so flags program
    export PKG_CONFIG_PATH=$2/pkgconfig
    pkg-config --validate detailflow detailflow-static
    pkg-config --exists 'detailflow >= 0.1' 'detailflow-static >= 0.1'
    mkdir -p "$out/beside"
    local cc=(cc -std=c99 -pedantic -Wall -Wextra -Werror "$SOURCES/sprite.c")

    read -ra flags < <(pkg-config --cflags --libs detailflow)
    "${cc[@]}" "${flags[@]}" -Wl,-rpath,"$(pkg-config --variable=libdir detailflow)" -o "$out/shared"
    draws "$1-pkg-config-shared" "$out/shared"

    # Its archive is used even where the shared library is.
    read -ra flags < <(pkg-config --cflags --libs detailflow-static)
    "${cc[@]}" "${flags[@]}" -o "$out/static"
    "${cc[@]}" -DPLUGIN -fPIC -shared -fvisibility=hidden "${flags[@]}" -o "$out/beside/plugin.so"
    one_symbol "$out/beside/plugin.so"
    # What --static gives is enough where there is only the archive.
    mv "$library" "$library.aside"
    read -ra flags < <(pkg-config --static --cflags --libs detailflow)
    "${cc[@]}" "${flags[@]}" -o "$out/beside/static"
    mv "$library.aside" "$library"
    for program in "$out/static" "$out/beside/static"; do
        if readelf -d "$program" | grep -q libdetailflow; then fail "$program needs the shared library"; fi
    done
    draws "$1-pkg-config-static" ORT_DYLIB_PATH="$(pkg-config --variable=runtime detailflow-static)" \
        DETAILFLOW_BUNDLE="$(pkg-config --variable=bundle detailflow-static)" "$out/static"
    # As a game ships it.
    mkdir "$out/beside/runtime"
    cp "$(pkg-config --variable=runtime detailflow)" "$out/beside/runtime/"
    cp -r "$(pkg-config --variable=bundle detailflow)" "$out/beside/detailflow"
    draws "$1-pkg-config-beside" "$out/beside/static"
    cc -std=c99 -pedantic -Wall -Wextra -Werror "$SOURCES/host.c" -ldl -o "$out/host"
    draws "$1-pkg-config-plugin" "$out/host" "$out/beside/plugin.so"
    unset PKG_CONFIG_PATH
}

# by_cmake NAME PREFIX COMPILER KIND...: C++ programs and plugins.
by_cmake() {
    local name=$1-$3 out=$OUTSIDE/build/$1-$3 prefix=$2 kind options=()
    [ "$3" != clang++ ] || options=(-DCMAKE_{EXE,MODULE}_LINKER_FLAGS=-fuse-ld=lld)
    cmake -S "$SOURCES" -B "$out" -Ddetailflow_ROOT="$prefix" -DCMAKE_CXX_COMPILER="$3" "${options[@]}" >"$out.log" ||
        { cat "$out.log" >&2 && exit 1; }
    shift 3
    cmake --build "$out" --target host "${@/#/shared-}" "${@/#/static-}" "${@/#/plugin-}" static-plain plugin-plain >>"$out.log" ||
        { cat "$out.log" >&2 && exit 1; }
    # The programs find their own copies, even without the prefix.
    for kind; do
        draws "$name-shared-$kind" "$out/shared-$kind"
        one_symbol "$out/plugins/plugin-$kind.so"
    done
    mv "$prefix" "$prefix.away"
    for kind; do
        draws "$name-static-$kind" "$out/static/static-$kind"
        draws "$name-plugin-$kind" "$out/host" "$out/plugins/plugin-$kind.so"
    done
    mv "$prefix.away" "$prefix"
}

# A checkout with what is built and nothing else: no virtual environment appears. Its Python has no pip.
mkdir -p "$OUTSIDE/checkout/target/release" "$OUTSIDE/build"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$OUTSIDE/checkout"
ln target/release/{dflow,libdetailflow.so,libdetailflow.a} "$OUTSIDE/checkout/target/release" 2>/dev/null ||
    cp target/release/{dflow,libdetailflow.so,libdetailflow.a} "$OUTSIDE/checkout/target/release"
python3 -m venv --without-pip "$OUTSIDE/python"
# It builds nothing, since all is built.
cat >"$OUTSIDE/cargo" <<'END'
#!/bin/sh
case $1 in build | rustc) ;; *) exec cargo "$@" ;; esac
END
chmod +x "$OUTSIDE/cargo"
cd "$OUTSIDE/checkout"
# install_here install|uninstall NAME=VALUE...
install_here() { make --no-print-directory --silent "$1" PYTHON="$OUTSIDE/python/bin/python" CARGO="$OUTSIDE/cargo" "${@:2}"; }

install_here install PREFIX="$OUTSIDE/opt"
[ -z "$(find target -name pyvenv.cfg)" ] || fail "there is a virtual environment: $(find target -name pyvenv.cfg)"
install_here install PREFIX=/usr LIBDIR="/usr/lib/$TUPLE" DESTDIR="$OUTSIDE/stage"
if install_here install PREFIX="$OUTSIDE/opt" LIBDIR="$OUTSIDE/other" 2>"$OUTSIDE/refused.txt"; then
    fail "a LIBDIR that the library could not be found from was accepted"
fi
grep -q "allowed: $OUTSIDE/opt/lib," "$OUTSIDE/refused.txt"
[ "$(ls "$OUTSIDE/stage/usr")" = $'bin\ninclude\nlib\nshare' ] || fail "PREFIX=/usr: $(ls "$OUTSIDE/stage/usr")"
documents=$OUTSIDE/stage/usr/share/doc/detailflow
for file in LICENSE-MIT LICENSE-APACHE RUST_CRATES.txt onnxruntime/LICENSE onnxruntime/ThirdPartyNotices.txt sbom.cdx.json \
    ../../detailflow/LICENSE.md; do
    [ -s "$documents/$file" ] || fail "no licence $file"
done
cd "$OUTSIDE"

by_pkg_config prefix "$OUTSIDE/opt/lib"
by_cmake prefix "$OUTSIDE/opt" g++ plain
by_pkg_config stage "$OUTSIDE/stage/usr/lib/$TUPLE"
by_cmake stage "$OUTSIDE/stage/usr" g++ plain
mv opt "moved here"
rm -r build/*
by_cmake moved "$OUTSIDE/moved here" g++ plain strict lto
by_cmake moved "$OUTSIDE/moved here" clang++ plain strict lto
mv "moved here" moved
by_pkg_config moved "$OUTSIDE/moved/lib"
for prefix in moved stage/usr; do
    (cd empty && env -i "$OUTSIDE/$prefix/bin/dflow" generate 0 --seed 1 -o "$OUTSIDE/pictures/dflow.png") >/dev/null
    [ -s pictures/dflow.png ] || fail "dflow in $prefix"
    rm pictures/dflow.png
done

# With an older C++ the header has one #error, and compiling stops there.
for compiler in g++ clang++; do
    if $compiler -std=c++14 -fsyntax-only -I moved/include "$SOURCES/sprite.cpp" 2>errors.txt; then fail "C++14 was accepted"; fi
    grep 'error:' errors.txt >lines.txt
    if ! grep -q 'needs C++17 or newer' lines.txt || grep -qv 'needs C++17' lines.txt; then
        cat errors.txt >&2 && fail "C++14: other errors than the one of the header"
    fi
done

# What is not ours stays.
touch "stage/usr/lib/$TUPLE/other.so"
cd checkout
install_here uninstall PREFIX=/usr LIBDIR="/usr/lib/$TUPLE" DESTDIR="$OUTSIDE/stage"
left=$(find "$OUTSIDE/stage" -type f)
[ "$left" = "$OUTSIDE/stage/usr/lib/$TUPLE/other.so" ] || fail "uninstall leaves $left"
[ ! -e "$OUTSIDE/stage/usr/share/detailflow" ] || fail "uninstall leaves a folder"

#!/usr/bin/env bash
# Godot 3.2, under Xvfb with software rendering: a screenshot whose sprites are checked, of the project and of the
# exported game, which reads its model out of the .pck; and frame times without and with generation. MEASURE=20
# measures 20 seconds of each.
# packages: godot3 libgl1-mesa-dri xvfb xauth
. tests/embed/common.sh
needs godot3 xvfb-run cargo

# The C headers of GDNative: from a crate, pinned by Cargo.lock; fetched again when that has changed.
HEADERS=$ROOT/target/godot-headers
pins() { cat examples/godot3/headers/Cargo.{toml,lock}; }
if ! pins | cmp -s - "$HEADERS/fetched"; then
    rm -rf "$HEADERS"
    mkdir -p "$HEADERS"
    cp examples/godot3/headers/Cargo.* "$HEADERS/"
    touch "$HEADERS/none.rs"
    (cd "$HEADERS" && cargo vendor --quiet --locked vendor >/dev/null)
    pins >"$HEADERS/fetched"
fi

PROJECT=$WORK/project
mkdir -p "$PROJECT/bin" "$WORK"/home/{.config,.cache,.local/share}
export HOME=$WORK/home LANG=en_US.UTF-8
cp examples/godot3/project/* "$PROJECT/"
cp "$DETAILFLOW_LIBRARY" "$PROJECT/bin/"
ln -s "$ROOT/target/runtime" "$PROJECT/bin/runtime"
cc -std=c11 -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -Iinclude \
    -isystem "$HEADERS/vendor/gdnative-sys/godot_headers" examples/godot3/module/detailflow_godot.c \
    -L"$LIBRARIES" -ldetailflow -Wl,-rpath,"\$ORIGIN" -o "$PROJECT/bin/libdetailflow_godot.so"
target/release/dflow bundle pack onnx/bundles/sprites "$PROJECT/sprites.dflow"

# godot PROGRAM ARGUMENT...: a script error is printed, and does not end the program by itself.
godot() {
    timeout 300 xvfb-run -a -s "-screen 0 1280x720x24" "$@" 2>&1 | tee "$WORK/output.txt"
    if grep -q "SCRIPT ERROR" "$WORK/output.txt"; then return 1; fi
}

cp tests/embed/godot3/faults.gd "$PROJECT/"
# Freed memory is overwritten, so that its use is seen.
MALLOC_PERTURB_=165 godot godot3 --audio-driver Dummy --path "$PROJECT" --script res://faults.gd
grep -qx "faults: none" "$WORK/output.txt"
rm "$PROJECT/faults.gd"

mkdir -p "$WORK/screen" "$WORK/exported" "$WORK/empty"
godot godot3 --audio-driver Dummy --path "$PROJECT" "screenshot=$WORK/screen"
tests/embed/sprites.py "$WORK/screen" --sprites 140
# The check sees sprites that are missing.
cp "$WORK/screen/sprites.json" "$WORK/screen/background.png" "$WORK/empty/"
cp "$WORK/screen/background.png" "$WORK/empty/screenshot.png"
if tests/embed/sprites.py "$WORK/empty" >"$WORK/empty/output.txt" 2>&1; then
    echo "godot3: the check finds sprites in a picture without any" >&2
    exit 1
fi

# The exported game: the engine, the .pck of its name, and the libraries beside it; no model but the one inside.
GAME=$WORK/game
mkdir -p "$GAME"
godot godot3 --audio-driver Dummy --path "$PROJECT" --export-pack Linux "$GAME/dungeon.pck"
[ "$(stat -c %s "$GAME/dungeon.pck")" -gt "$(stat -c %s "$PROJECT/sprites.dflow")" ]
cp "$(command -v godot3)" "$GAME/dungeon"
cp "$PROJECT/bin/"*.so "$GAME/"
ln -s "$ROOT/target/runtime" "$GAME/runtime"
rm -r "$PROJECT"
(cd "$GAME" && godot ./dungeon --audio-driver Dummy "screenshot=$WORK/exported")
cmp "$WORK/screen/sprites.json" "$WORK/exported/sprites.json"
tests/embed/sprites.py "$WORK/exported" --sprites 140

(cd "$GAME" && godot ./dungeon --audio-driver Dummy "measure=${MEASURE:-3}" pairs=2)

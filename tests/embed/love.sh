#!/usr/bin/env bash
# LÖVE: a dungeon whose pictures come out of the .love file, under Xvfb; EMBED_SECONDS is the length of each of the
# four runs whose frames are timed (default 4).
# packages: love xvfb xauth libgl1-mesa-dri zip
. tests/embed/common.sh
needs love xvfb-run xauth zip

export LIBGL_ALWAYS_SOFTWARE=1 XDG_RUNTIME_DIR=$WORK/run XDG_DATA_HOME=$WORK/data
mkdir -m 700 "$XDG_RUNTIME_DIR"
bundle=$WORK/sprites.dflow
"$LIBRARIES/dflow" bundle pack onnx/bundles/sprites "$bundle" >"$WORK/pack.txt"
examples/love/build.sh "$bundle" "$WORK/dungeon.love"

# What fails waits with LÖVE's blue screen: hence the time limit.
dungeon() { timeout 300 xvfb-run -a -s "-screen 0 1024x768x24" love "$WORK/dungeon.love" --walk "$@"; }
check() { LUA_PATH="$ROOT/examples/lua/?.lua;;" timeout 300 love tests/embed/love/check "$@"; }

# 1. Pictures are where they should be: while the player walks, when all are finished, and at the coarsest level.
dungeon --frames 120 --screenshot "$WORK/walking.png" >"$WORK/walking.txt"
check "$WORK/walking.png" 0
dungeon --frames 120 --screenshot "$WORK/finished.png" --settle >"$WORK/finished.txt"
check "$WORK/finished.png" 10 32
dungeon --frames 120 --screenshot "$WORK/coarse.png" --settle --level 8 >"$WORK/coarse.txt"
check "$WORK/coarse.png" 10 8
# What the check does not let pass: the levels of another run.
cp "$WORK/coarse.png.txt" "$WORK/wrong.png.txt"
cp "$WORK/finished.png" "$WORK/wrong.png"
if check "$WORK/wrong.png" 10 8 >"$WORK/wrong.txt" 2>&1; then
    echo "love: the check of the screenshot lets everything pass" >&2
    exit 1
fi

# 2. The library beside the .love file.
mkdir "$WORK/beside"
ln -s "$WORK/dungeon.love" "$DETAILFLOW_LIBRARY" "$WORK/beside"
(unset DETAILFLOW_LIBRARY && ORT_DYLIB_PATH=$ROOT/target/runtime/libonnxruntime.so timeout 300 \
    xvfb-run -a -s "-screen 0 1024x768x24" love "$WORK/beside/dungeon.love" --walk --frames 5) >"$WORK/beside.txt"

# Another dungeon, and a player who walks by key.
timeout 300 xvfb-run -a -s "-screen 0 1024x768x24" love "$WORK/dungeon.love" --seed 4 --frames 5 >"$WORK/keys.txt"

# 3. It ends with 0 while pictures are made, and while the model is opened.
for how in event exit close; do
    dungeon --frames 20 --quit "$how" >"$WORK/quit.txt"
done
dungeon --quit loading >"$WORK/quit.txt"
grep -q "quit while the model is opened" "$WORK/quit.txt"

# 4. A thread of LÖVE cancels what another one generates.
mkdir "$WORK/cancel"
cp -r examples/love/cancel/*.lua examples/lua/detailflow.lua examples/lua/detailflow "$WORK/cancel"
timeout 300 love "$WORK/cancel" | tee "$WORK/cancelled.txt"
diff <(grep ^cancelled target/embed/scenario.txt) "$WORK/cancelled.txt"

# 5. The summary of many frames.
LUA_PATH="$ROOT/examples/love/game/?.lua;;" timeout 300 love tests/embed/love/frames

# 6. What a frame takes, with and without generation, in turn. Nothing is demanded here: the machine may be busy.
frames=$((${EMBED_SECONDS:-4} * 60))
for _ in 1 2; do
    dungeon --frames "$frames" >>"$WORK/with.txt"
    dungeon --frames "$frames" --no-generation >>"$WORK/without.txt"
done
for kind in without with; do
    # frames N missed N median X p99 X max X ticks N median X p99 X max X
    awk -v kind="$kind" '/^frames/ {
        frames += $2; missed += $4; ticks += $12
        if ($8 > p99) p99 = $8
        if ($14 > median) median = $14
        if ($16 > tick) tick = $16
    } END {
        printf "love: %-7s generation: %d frames, %.2f %% missed, p99 %.1f ms", kind, frames, 100 * missed / frames, p99
        if (ticks) printf "; %d ticks, median %.1f ms, p99 %.1f ms", ticks, median, tick
        print ""
    }' "$WORK/$kind.txt"
done

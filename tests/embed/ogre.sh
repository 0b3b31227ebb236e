#!/usr/bin/env bash
# OGRE 1.12, under Xvfb with software rendering: a screenshot whose sprites are checked, and frame times without and
# with generation. MEASURE=20 measures 20 seconds of each.
# packages: g++ libogre-1.12-dev libsdl2-dev libgl1-mesa-dri pkg-config xvfb xauth
. tests/embed/common.sh
needs pkg-config xvfb-run
pkg-config --exists OGRE-Bites || skip "OGRE missing: tests/embed/setup.sh ogre"

plugins=$(pkg-config --variable=plugindir OGRE)
# shellcheck disable=SC2046  # options, one word each
c++ -std=c++17 -O2 -Wall -Wextra -Werror -Iinclude examples/ogre/corridor.cpp \
    $(pkg-config --cflags --libs OGRE-Bites | sed 's/-I/-isystem /g') -DOGRE_PLUGINS="\"$plugins\"" \
    -L"$LIBRARIES" -ldetailflow -pthread -Wl,-rpath,"$LIBRARIES" -o "$WORK/corridor"

# An error on the worker's thread costs one texture, and does not end the program.
c++ -std=c++17 -O2 -Wall -Wextra -Werror -Iinclude tests/embed/ogre/failure.cpp \
    -L"$LIBRARIES" -ldetailflow -pthread -ldl -Wl,-rpath,"$LIBRARIES" -o "$WORK/failure"
timeout 300 "$WORK/failure" 2>"$WORK/failure.txt"
[ "$(wc -l <"$WORK/failure.txt")" -eq 1 ]
grep -q ^DETAILFLOW_STATUS_INVALID_ARGUMENT "$WORK/failure.txt"

corridor() { xvfb-run -a -s "-screen 0 1280x720x24" "$WORK/corridor" "$@"; }

mkdir -p "$WORK/screen"
corridor --screenshot "$WORK/screen" --frames 300
tests/embed/sprites.py "$WORK/screen" --sprites 10
# The check sees sprites that are missing.
mkdir -p "$WORK/empty"
cp "$WORK/screen/sprites.json" "$WORK/screen/background.png" "$WORK/empty/"
cp "$WORK/screen/background.png" "$WORK/empty/screenshot.png"
if tests/embed/sprites.py "$WORK/empty" >"$WORK/empty/output.txt" 2>&1; then
    echo "ogre: the check finds sprites in a picture without any" >&2
    exit 1
fi
corridor --measure "${MEASURE:-3}" --pairs 2

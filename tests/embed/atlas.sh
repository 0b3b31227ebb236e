#!/usr/bin/env bash
# Atlases of `dflow atlas`: LÖVE draws every sprite of one under Xvfb, Phaser and PixiJS load it in Chromium, and each sprite is
# compared with its picture file.
# packages: love xvfb xauth libgl1-mesa-dri chromium nodejs npm
. tests/embed/common.sh
needs love xvfb-run xauth chromium node npm

export LIBGL_ALWAYS_SOFTWARE=1 XDG_RUNTIME_DIR=$WORK/run XDG_DATA_HOME=$WORK/data
mkdir -m 700 "$XDG_RUNTIME_DIR"
dflow() { "$LIBRARIES/dflow" "$@" >>"$WORK/dflow.txt"; }

# Sprites of two sizes.
mkdir "$WORK/pictures"
dflow generate all --seed 11 --count 8 --tokens-out "$WORK/fine.dftpack" -o "$WORK/pictures/{class}-{seed}.png"
dflow generate all --seed 100 --count 2 --level 16 --tokens-out "$WORK/coarse.dftpack" -o "$WORK/pictures/{class}-{seed}.png"

# atlas FOLDER OPTION...: an atlas of both, in a game of LÖVE, which reads files of its own folder only.
atlas() {
    local folder=$1
    shift
    mkdir -p "$folder/atlas"
    cp -r tests/embed/atlas/love/*.lua "$WORK/pictures" "$folder"
    dflow atlas "$WORK/fine.dftpack" "$WORK/coarse.dftpack" "$@" -o "$folder/atlas/atlas.png"
}
play() { timeout 300 xvfb-run -a -s "-screen 0 640x480x24" love "$@"; }

formats=love,phaser,texturepacker,texturepacker-array,godot,json
atlas "$WORK/padded" --page-size 256 --padding 2 --extrude 1 --power-of-two --format $formats
play "$WORK/padded"
atlas "$WORK/exact" --page-size 300 --extrude 4 --format love
play "$WORK/exact"
# What the comparison does not let pass.
atlas "$WORK/bare" --page-size 256 --format love
play "$WORK/bare" --bleeds

mkdir "$WORK/web"
cp tests/embed/atlas/web/* "$WORK/web"
(cd "$WORK/web" && npm ci --no-audit --no-fund --loglevel=error && node check.js "$WORK/padded")

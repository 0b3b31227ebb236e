#!/usr/bin/env bash
# The commands of the pages in examples/ as they stand there, from the root of the checkout, but those that install Debian packages
# or open a window. What a page leaves to others: csharp.sh, java.sh, lua.sh and go.sh run theirs.
# packages: gcc g++ pkg-config libsdl2-dev python3-venv nodejs npm libogre-1.12-dev zip
. tests/embed/common.sh
needs cc c++ pkg-config python3 node npm zip cargo
pkg-config --exists sdl2 OGRE-Bites || skip "SDL2 or OGRE missing: apt-get install $(packages_of "$0")"
unset DETAILFLOW_LIBRARY

# commands PAGE [PATTERN]: the indented lines, without those that match; those inside of a language's block are not commands.
commands() {
    sed '/^```/,/^```$/d' "$1" | sed -n 's/^    //p' | grep -vE "^\[|^detailflow = |^apt-get ${2:+|$2}"
}
# page NAME FOLDER [PATTERN]: runs those of examples/NAME/README.md in the folder.
page() {
    commands "$ROOT/examples/$1" "${3:-}" >"$WORK/commands"
    [ -s "$WORK/commands" ]
    echo "pages: $1"
    (cd "$2" && bash -euc "$(cat "$WORK/commands")") >"$WORK/output.txt" 2>&1 || {
        cat "$WORK/output.txt"
        echo "pages: a command of examples/$1 failed" >&2
        exit 1
    }
}

page README.md . '^make$'
[ "$(tail -n 1 "$WORK/output.txt")" != "" ]
grep -q -- --stats "$WORK/output.txt"

page python/README.md .
same_output <(sed -n '/^model /,$p' "$WORK/output.txt")

mkdir "$WORK/project"
ln -s "$ROOT" "$WORK/libdetailflow"
sed -n '/^```js$/,/^```$/p' examples/javascript/README.md | sed '1d;$d' >"$WORK/project/program.js"
(cd "$WORK/project" && npm init --yes >/dev/null)
page javascript/README.md "$WORK/project"
[ -s "$WORK/project/potion.png" ]
same_output <(sed -n '/^model /,$p' "$WORK/output.txt")

page love/README.md . '^ *love '
[ -s target/dungeon.love ]
page ogre/README.md . '^LD_LIBRARY_PATH=.*corridor$'
[ -x target/corridor ]
page godot3/README.md . '^godot3 '
[ -s target/dungeon/bin/libdetailflow_godot.so ]

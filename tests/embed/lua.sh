#!/usr/bin/env bash
# Lua: LuaJIT's FFI.
# packages: luajit
. tests/embed/common.sh
needs luajit cc

export LUA_PATH="$ROOT/examples/lua/?.lua;;"

# 1. The declarations are those of the header: every function, struct and constant of it, and nothing else.
tests/embed/lua/declare.sh >"$WORK/cdef.lua"
words() { tr -s '[:space:]' '\n' <"$1"; }
if ! diff <(words examples/lua/detailflow/cdef.lua) <(words "$WORK/cdef.lua"); then
    echo "lua: examples/lua/detailflow/cdef.lua is not that of the header: tests/embed/lua/declare.sh writes it" >&2
    exit 1
fi

# 2. The scenario, with the default model and with one that is named.
luajit examples/lua/scenario.lua >"$WORK/output.txt"
same_output "$WORK/output.txt"
"$LIBRARIES/dflow" bundle pack onnx/bundles/sprites "$WORK/sprites.dflow" >"$WORK/pack.txt"
luajit examples/lua/scenario.lua "$WORK/sprites.dflow" >"$WORK/output.txt"
same_output "$WORK/output.txt"

# The first program of the README, which writes potion.png.
# shellcheck disable=SC2016 # the fences of Markdown
sed -n '/^```lua$/,/^```$/{/^```/d;p}' examples/lua/README.md >"$WORK/first.lua"
(cd "$WORK" && luajit first.lua >first.txt)
[ "$(wc -l <"$WORK/first.txt")" -eq 11 ]
"$LIBRARIES/dflow" generate potion --seed 7 --raw --no-provenance -o "$WORK/command.png" >"$WORK/command.txt"
cmp "$WORK/potion.png" "$WORK/command.png"

# 3. The binding.
luajit tests/embed/lua/test.lua "$WORK/sprites.dflow" "$WORK"
luajit -joff tests/embed/lua/test.lua "$WORK/sprites.dflow" "$WORK" >"$WORK/interpreted.txt"

# 4. Every way to end, while a worker draws and with everything open.
ends() { # ends STATUS HOW...: the program must end with the status, and say nothing but its own error.
    local expected=$1 status=0
    shift
    luajit tests/embed/lua/ends.lua "$@" >"$WORK/ends.txt" 2>&1 || status=$?
    if [ "$status" -ne "$expected" ] || [ "$(head -1 "$WORK/ends.txt")" != "drawing" ]; then
        echo "lua: ends.lua $*: status $status, expected $expected" >&2
        cat "$WORK/ends.txt" >&2
        return 1
    fi
}
for how in exit close return collect coroutine unload; do
    ends 0 "$how"
done
ends 1 error
ends 3 inside-open

# 5. A library that is not there, is no library, or is too old.
fails() { # fails TEXT COMMAND...
    local text=$1
    shift
    if "$@" >"$WORK/fails.txt" 2>&1; then
        echo "lua: no failure: $*" >&2
        return 1
    fi
    grep -qF "$text" "$WORK/fails.txt" || { cat "$WORK/fails.txt" >&2 && return 1; }
}
require=(luajit -e 'require "detailflow"')
fails "$WORK/none.so" env DETAILFLOW_LIBRARY="$WORK/none.so" "${require[@]}"
fails "Set the environment variable DETAILFLOW_LIBRARY" env DETAILFLOW_LIBRARY="$WORK/output.txt" "${require[@]}"
fails "examples/lua/libdetailflow.so" env -u DETAILFLOW_LIBRARY "${require[@]}"
fails "is too old" luajit -e 'require("detailflow.cdef").abi_version = 1000 require "detailflow"'
# Beside the binding.
mkdir -p "$WORK/beside"
cp -r examples/lua/detailflow examples/lua/detailflow.lua "$WORK/beside"
ln -s "$DETAILFLOW_LIBRARY" "$WORK/beside/libdetailflow.so"
env -u DETAILFLOW_LIBRARY LUA_PATH="$WORK/beside/?.lua;;" luajit -e 'print(require("detailflow").version)' >"$WORK/beside.txt"
(cd "$WORK/beside" && env -u DETAILFLOW_LIBRARY -u LUA_PATH luajit -e 'require "detailflow"')

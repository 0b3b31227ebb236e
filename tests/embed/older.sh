#!/usr/bin/env bash
# Programs of another version of the C API: those compiled against the header as it was frozen, and linked to a library that has
# only its functions, run on today's and print what they print when they are compiled against today's header. A program of today's
# header says on an older library what is missing.
. tests/embed/common.sh

# library FOLDER HEADER: empty functions.
library() {
    stub "$2" "$1"
    sed -i '/ detailflow_version(void)/s/return 0/return "0.0.1"/' "$1/stub.c"
    cc -std=c11 -shared -fPIC -w -o "$1/libdetailflow.so" "$1/stub.c"
}
library "$WORK/frozen" tests/data/detailflow-abi1.h
library "$WORK/today" include/detailflow.h

# build FOLDER SOURCE: with the header and the library in the folder.
build() {
    cc -std=c11 -pedantic -Wall -Wextra -Werror -I"$1" "$2" -L"$1" -ldetailflow -pthread -o "$1/$(basename "$2" .c)"
}
run() { LD_LIBRARY_PATH=$LIBRARIES "$@"; }

for source in tests/embed/older/program.c examples/c/scenario.c; do
    name=$(basename "$source" .c)
    for version in frozen today; do
        build "$WORK/$version" "$source"
        run "$WORK/$version/$name" >"$WORK/$version/$name.txt"
    done
    [ "$(wc -l <"$WORK/frozen/$name.txt")" -ge 20 ]
    if ! diff "$WORK/frozen/$name.txt" "$WORK/today/$name.txt"; then
        echo "older: $name prints something else when it is compiled against the frozen header" >&2
        exit 1
    fi
done
same_output "$WORK/frozen/scenario.txt"

# says TEXT COMMAND...: on the library of empty functions of the frozen header, whose detailflow_abi_version is 0.
says() {
    local text=$1
    shift
    if LD_LIBRARY_PATH=$WORK/frozen "$@" >"$WORK/says.txt" 2>&1 || ! grep -qF "$text" "$WORK/says.txt"; then
        echo "older: on an older library $* says: $(cat "$WORK/says.txt")" >&2
        exit 1
    fi
}
build "$WORK/today" examples/c/generate.c
says "libdetailflow 0.0.1 is older than its header" "$WORK/today/scenario"
says "libdetailflow 0.0.1 is older than its header" "$WORK/today/generate"

# Without the check, what was added since is missing when it is called.
cat >"$WORK/newer.c" <<'SOURCE'
#include <detailflow.h>
int main(void) { return (int)detailflow_worker_tick(NULL, 0, NULL); }
SOURCE
build "$WORK/today" "$WORK/newer.c"
says "undefined symbol: detailflow_worker_tick" "$WORK/today/newer"

# shellcheck shell=bash
# Sourced by the scripts of this folder, from the repository root: what several of them do.
#
# Each language or engine is a script NAME.sh that builds and runs its programs out of examples/, and exits with 0 only if all
# of it passed. A line `# packages: A B` names Debian packages, for setup.sh; `needs` skips the script without their programs.
set -euo pipefail
. tests/scripts.sh

ROOT=$PWD
NAME=$(basename "$0" .sh)
# Where the script builds and runs; empty at its start.
WORK=$ROOT/target/embed/$NAME
rm -rf "$WORK"
mkdir -p "$WORK"
# What the examples link, and what bindings load that are not told another library. ONNX Runtime and the default model are found
# in the checkout.
LIBRARIES=$ROOT/target/release
export DETAILFLOW_LIBRARY=$LIBRARIES/libdetailflow.so
unset DETAILFLOW_BUNDLE ORT_DYLIB_PATH LD_LIBRARY_PATH

# skip WHY: ends the script.
skip() {
    cd "$ROOT"
    if skipped embed "$NAME" "$1"; then exit 0; else exit 1; fi
}

# needs PROGRAM...
needs() {
    local program missing=()
    for program; do
        command -v "$program" >/dev/null || missing+=("$program")
    done
    if [ "${#missing[@]}" -gt 0 ]; then
        skip "${missing[*]} missing: tests/embed/setup.sh, or apt-get install $(packages_of "$0")"
    fi
}

# packages_of SCRIPT
packages_of() { sed -n 's/^# packages: //p' "$1"; }

# same_output FILE: fails unless the file has what the C program prints in the scenario of examples/README.md.
same_output() {
    local expected=$ROOT/target/embed/scenario.txt
    if ! diff "$expected" "$1"; then
        echo "$NAME: the scenario prints something else than in C" >&2
        return 1
    fi
}

# stub HEADER FOLDER: stub.c, the library of empty functions that a detailflow.h declares.
stub() {
    mkdir -p "$2"
    cp "$1" "$2/detailflow.h"
    {
        echo '#include "detailflow.h"'
        cc -E -P "$1" | sed 's/__attribute__((visibility("default")))//' | tr '\n' ' ' | sed 's/;/;\n/g' |
            sed -nE 's/^ *((const )?[a-z0-9_]+ [ *]*)(detailflow_[a-z0-9_]+\(.*\));/\1\3/p' |
            sed -E 's/^void ([^*].*)/void \1 { }/; t; s/$/ { return 0; }/'
    } >"$2/stub.c"
    [ "$(grep -c '^[^#].*{ .*}$' "$2/stub.c")" -eq "$(grep -c 'DETAILFLOW_CALL detailflow_' "$1")" ]
}

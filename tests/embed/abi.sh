#!/usr/bin/env bash
# The C ABI: a library of empty functions, compiled from detailflow.h, has the ABI of tests/data/detailflow.abi. (From the header, so
# that private types of the real library do not count.) After an addition to the API:
#   UPDATE_ABI=1 tests/embed/abi.sh
# And it has all of tests/data/detailflow-abi1.h, the header as it was frozen, whatever the dump says.
# packages: abigail-tools
. tests/embed/common.sh
needs abidw abidiff

dump=tests/data/detailflow.abi

# abi HEADER OUTPUT: the dump of what a header declares.
abi() {
    local folder
    folder=$(mktemp -d -p "$WORK")
    stub "$1" "$folder"
    # And a variable of every enum, which no function has.
    sed -n 's/^} \(detailflow_[a-z_]*\);/\1/p' "$1" | grep -vxFf <(sed -n 's/^typedef struct \([a-z_]*\) {/\1/p' "$1") |
        sed 's/.*/& detailflow_abi_of_&;/' >>"$folder/stub.c"
    # In the folder, whose path would be in the dump.
    (
        cd "$folder"
        cc -std=c11 -g -fno-eliminate-unused-debug-types -shared -fPIC -w -o libdetailflow.so stub.c
        abidw --no-show-locs --no-corpus-path --no-comp-dir-path --no-architecture libdetailflow.so
    ) >"$2"
    [ "$(grep -c '<function-decl name=.detailflow_' "$2")" -eq "$(grep -c 'DETAILFLOW_CALL detailflow_' "$1")" ]
    [ "$(grep -c '<enum-decl ' "$2")" -gt 10 ]
}

if [ -n "${UPDATE_ABI:-}" ]; then
    abi include/detailflow.h "$dump"
fi
abi include/detailflow.h "$WORK/now.abi"
abidiff "$dump" "$WORK/now.abi"
abi tests/data/detailflow-abi1.h "$WORK/frozen.abi"
abidiff --no-added-syms "$WORK/frozen.abi" "$WORK/now.abi"

# differs NAME SED: the check fails for a header that was changed.
differs() {
    sed -E "$2" include/detailflow.h >"$WORK/$1.h"
    if cmp -s include/detailflow.h "$WORK/$1.h"; then
        echo "abi: $1 changes nothing" >&2
        return 1
    fi
    abi "$WORK/$1.h" "$WORK/$1.abi"
    if abidiff "$dump" "$WORK/$1.abi" >"$WORK/$1.txt"; then
        echo "abi: $1 is not noticed" >&2
        return 1
    fi
    # Programs of the frozen header miss nothing when something is added, and notice everything else.
    local frozen=noticed
    abidiff --no-added-syms "$WORK/frozen.abi" "$WORK/$1.abi" >"$WORK/$1-frozen.txt" && frozen=added
    if [ "$frozen" = added ] && [ "$1" != added ] || [ "$frozen" = noticed ] && [ "$1" = added ]; then
        echo "abi: $1, compared with the frozen header, is $frozen" >&2
        return 1
    fi
}
differs removed '/ detailflow_version\(void\);/d'
differs added 's/^(.* )detailflow_version\(void\);/&\n\1detailflow_another_version(void);/'
differs renumbered 's/(DETAILFLOW_STATUS_BUSY = )11/\114/'
differs reordered 's/^    uint32_t width;$/    uint32_t swapped;/; s/^    uint32_t height;$/    uint32_t width;/; s/swapped/height/'
differs retyped 's/uint64_t budget_ns, detailflow_progress/uint32_t budget_ns, detailflow_progress/'

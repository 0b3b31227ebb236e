#!/usr/bin/env bash
# C: what the scenario prints; twice the same.
. tests/embed/common.sh

cc -std=c11 -pedantic -Wall -Wextra -Werror -Iinclude examples/c/scenario.c -L"$LIBRARIES" -ldetailflow -pthread \
    -Wl,-rpath,"$LIBRARIES" -o "$WORK/scenario"
"$WORK/scenario" >"$WORK/output.txt"
[ "$(wc -l <"$WORK/output.txt")" -ge 20 ]
cp "$WORK/output.txt" target/embed/scenario.txt
"$WORK/scenario" >"$WORK/again.txt"
same_output "$WORK/again.txt"

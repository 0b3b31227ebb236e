#!/usr/bin/env bash
# SPDX-License-Identifier: MIT OR Apache-2.0
# Doxygen: pages of both headers without a warning, by include/Doxyfile and by nearly no configuration. Every function, struct,
# constant and class is on them with a description.
# packages: doxygen
. tests/embed/common.sh
needs doxygen python3

{
    cat include/Doxyfile
    echo "OUTPUT_DIRECTORY = $WORK"
    echo "GENERATE_XML = YES"
    echo "WARN_LOGFILE = $WORK/warnings.txt"
} >"$WORK/Doxyfile"
doxygen "$WORK/Doxyfile"
[ ! -s "$WORK/warnings.txt" ] || { cat "$WORK/warnings.txt" >&2 && exit 1; }
[ -s "$WORK/html/detailflow_8h.html" ]
python3 tests/embed/doxygen/pages.py "$WORK/xml" include

# A Doxyfile that a user writes: what it warns of is parameters alone.
mkdir "$WORK/plain"
printf '%s\n' "INPUT = include" "FILE_PATTERNS = *.h *.hpp" "OUTPUT_DIRECTORY = $WORK/plain" "GENERATE_XML = YES" \
    "GENERATE_LATEX = NO" "HAVE_DOT = NO" "QUIET = YES" "WARN_LOGFILE = $WORK/plain/warnings.txt" >"$WORK/plain/Doxyfile"
doxygen "$WORK/plain/Doxyfile"
if grep 'warning:' "$WORK/plain/warnings.txt" | grep -vE 'The following parameters? of'; then
    echo "doxygen: other warnings than of parameters" >&2
    exit 1
fi
python3 tests/embed/doxygen/pages.py "$WORK/plain/xml" include

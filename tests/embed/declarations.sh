#!/usr/bin/env bash
# include/detailflow.json and include/detailflow.cdef, which bindings are generated from or read: they say what detailflow.h says.
# packages: luajit python3-cffi
. tests/embed/common.sh
needs luajit
if ! /usr/bin/python3 -c 'import cffi' 2>/dev/null; then
    skip "python3-cffi missing: tests/embed/setup.sh"
fi

# C that declares all of detailflow.json once more: a compiler refuses two declarations that differ.
python3 tests/embed/declarations/again.py include/detailflow.json >"$WORK/again.c"
[ "$(grep -c '(' "$WORK/again.c")" -gt 180 ]
cc -std=c11 -Wall -Wextra -Werror -Iinclude "$WORK/again.c" -o "$WORK/again"
"$WORK/again" >"$WORK/sizes.txt"

# What reads C without a preprocessor finds the same sizes, and a value at the end of the enums.
luajit tests/embed/declarations/sizes.lua include/detailflow.cdef <"$WORK/sizes.txt"
/usr/bin/python3 tests/embed/declarations/sizes.py include/detailflow.cdef <"$WORK/sizes.txt"
cc -std=c99 -Wall -Wextra -Werror -include stdint.h -include stddef.h -fsyntax-only -x c include/detailflow.cdef

# The comparison fails where one differs.
sed 's/"uint64_t"/"uint32_t"/' include/detailflow.json >"$WORK/wrong.json"
python3 tests/embed/declarations/again.py "$WORK/wrong.json" >"$WORK/wrong.c"
if cc -std=c11 -Iinclude -fsyntax-only "$WORK/wrong.c" 2>/dev/null; then
    echo "declarations: another type is not noticed" >&2
    exit 1
fi

#!/usr/bin/env bash
# Writes examples/lua/detailflow/cdef.lua, from the C header, to the standard output:
#   tests/embed/lua/declare.sh >examples/lua/detailflow/cdef.lua
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/../../.."

header=include/detailflow.h
abi_version=$(sed -n 's/^#define DETAILFLOW_ABI_VERSION //p' "$header")
cat <<HEAD
-- The C API for LuaJIT's FFI. Generated from include/detailflow.h by tests/embed/lua/declare.sh; do not edit.
-- SPDX-License-Identifier: MIT OR Apache-2.0
return {
    abi_version = $abi_version,
    declarations = [[
HEAD
# Without the system's headers, whose types the FFI knows.
sed '/^#include/d' "$header" | cc -E -P - | sed 's/__attribute__((visibility("default"))) //; /^[[:space:]]*$/d'
cat <<'TAIL'
]],
}
TAIL

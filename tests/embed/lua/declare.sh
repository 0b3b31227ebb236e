#!/usr/bin/env bash
# Writes examples/lua/detailflow/cdef.lua, from the declarations of the C API, to the standard output:
#   tests/embed/lua/declare.sh >examples/lua/detailflow/cdef.lua
# SPDX-License-Identifier: MIT OR Apache-2.0
set -euo pipefail
cd "$(dirname "$0")/../../.."

declarations=include/detailflow.cdef
abi_version=$(sed -n 's/^enum { DETAILFLOW_ABI_VERSION = \(.*\) };/\1/p' "$declarations")
cat <<HEAD
-- The C API for LuaJIT's FFI. Generated from include/detailflow.cdef by tests/embed/lua/declare.sh; do not edit.
-- SPDX-License-Identifier: MIT OR Apache-2.0
return {
    abi_version = $abi_version,
    declarations = [[
HEAD
cat "$declarations"
cat <<'TAIL'
]],
}
TAIL

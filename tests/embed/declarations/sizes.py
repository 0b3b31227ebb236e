"""Compares cffi's sizes of the structs in a declaration file with those on the standard input.

SPDX-License-Identifier: MIT OR Apache-2.0
"""

import sys
from pathlib import Path

import cffi

ffi = cffi.FFI()
ffi.cdef(Path(sys.argv[1]).read_text())
sizes = [line.split() for line in sys.stdin]
assert len(sizes) >= 15, sizes
for name, size in sizes:
    assert ffi.sizeof(name) == int(size), name
assert ffi.typeof("detailflow_tokens_kind").relements["DETAILFLOW_TOKENS_KIND_JSON"] == 3

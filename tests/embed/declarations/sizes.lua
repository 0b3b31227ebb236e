-- Compares LuaJIT's sizes of the structs in a declaration file with those on the standard input.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local ffi = require("ffi")
local file = assert(io.open(arg[1]))
ffi.cdef(file:read("*a"))
local count = 0
for line in io.lines() do
    local name, size = line:match("^(%S+) (%d+)$")
    assert(ffi.sizeof(name) == tonumber(size), name)
    count = count + 1
end
assert(count >= 15, count)
assert(ffi.C.DETAILFLOW_TOKENS_KIND_JSON == 3 and ffi.C.DETAILFLOW_ABI_VERSION >= 1)
assert(ffi.C.DETAILFLOW_NO_CLASS == 4294967295)

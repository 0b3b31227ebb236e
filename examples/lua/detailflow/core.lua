-- What the other files of this folder share: the library, errors, owners of handles, conversions.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local ffi = require "ffi"
local cdef = require "detailflow.cdef"

local core = { ffi = ffi }

-- The declarations stay when this file is loaded once more, as tools for live reloading do.
if not pcall(ffi.typeof, "detailflow_model_info") then
    ffi.cdef(cdef.declarations)
end

-- The folder of this file's parent, for `require "detailflow"` out of a folder of the file system.
local function own_folder()
    local source = debug.getinfo(1, "S").source
    return source:match "^@(.*)[/\\]detailflow[/\\]core%.lua$" or source:match "^@detailflow[/\\]core%.lua$" and "."
end

local function load_library()
    local file = ({ Windows = "detailflow.dll", OSX = "libdetailflow.dylib" })[ffi.os] or "libdetailflow.so"
    local places = {}
    local named = os.getenv "DETAILFLOW_LIBRARY"
    if named and named ~= "" then
        places[1] = named
    else
        -- LÖVE: beside the .love file, or beside the executable that it was fused with.
        local folder
        if rawget(_G, "love") then
            folder = require("love.filesystem").getSourceBaseDirectory()
        else
            folder = own_folder()
        end
        if folder then
            places[1] = folder .. "/" .. file
        end
        places[#places + 1] = "detailflow"
    end
    local tried = {}
    for _, place in ipairs(places) do
        local found, library = pcall(ffi.load, place)
        if found then
            return library
        end
        tried[#tried + 1] = ("\n  %s: %s"):format(place, library)
    end
    error("libdetailflow could not be loaded. Tried:" .. table.concat(tried)
        .. "\nSet the environment variable DETAILFLOW_LIBRARY to the path of " .. file
        .. ", or put the file beside the program.", 0)
end

local C = load_library()
core.C = C
if C.detailflow_abi_version() < cdef.abi_version then
    error(("libdetailflow %s is too old: it has version %d of the C API, and this module needs %d"):format(
        ffi.string(C.detailflow_version()), C.detailflow_abi_version(), cdef.abi_version), 0)
end

-- Errors: what a failed call raises. Fields: status (a number), name ("DETAILFLOW_STATUS_BUSY"), message.
local Error = {}
Error.__index = Error
core.Error = Error

function Error:__tostring()
    return self.name .. ": " .. self.message
end

function core.raise(status, message)
    error(setmetatable({
        status = status,
        name = ffi.string(C.detailflow_status_name(status)),
        message = message,
    }, Error), 0)
end

-- Raises the message of the call that returned the status, unless it was successful. Nothing may be called between.
function core.check(status)
    if status ~= 0 then
        core.raise(status, ffi.string(C.detailflow_last_message()))
    end
end

local check = core.check
local INVALID_ARGUMENT = tonumber(C.DETAILFLOW_STATUS_INVALID_ARGUMENT)
local WRONG_STATE = tonumber(C.DETAILFLOW_STATUS_WRONG_STATE)

-- An integer of 0 to `most`. The FFI itself would cut off what does not fit.
function core.integer(value, what, most)
    if type(value) ~= "number" or value < 0 or value > most or value % 1 ~= 0 then
        core.raise(INVALID_ARGUMENT, ("%s is %s; it must be an integer, 0 to %.0f"):format(what, tostring(value), most))
    end
    return value
end

function core.u32(value, what)
    return core.integer(value, what, 0xffffffff)
end

-- Numbers up to 2^53, or a uint64_t for all others.
function core.u64(value, what)
    if type(value) == "cdata" and ffi.istype("uint64_t", value) then
        return value
    end
    return ffi.cast("uint64_t", core.integer(value, what, 2 ^ 53))
end

-- The opposite: a number where it is exact.
function core.number(value)
    return value <= 2ULL ^ 53 and tonumber(value) or value
end

function core.nanoseconds(seconds)
    if seconds >= 0 and seconds < 2 ^ 33 then
        return ffi.cast("uint64_t", seconds * 1e9)
    end
    core.raise(INVALID_ARGUMENT, ("%s is no time in seconds"):format(tostring(seconds)))
end

function core.seconds(nanoseconds)
    return tonumber(nanoseconds) * 1e-9
end

-- An array of the type from a list of numbers, and its length.
function core.array(type_name, list, what)
    local array = ffi.new(type_name .. "[?]", math.max(#list, 1))
    for at, value in ipairs(list) do
        array[at - 1] = type_name == "uint32_t" and core.u32(value, what)
            or type_name == "uint64_t" and core.u64(value, what) or value
    end
    return array, #list
end

-- A list of numbers from a call with (array, capacity, count). It is called again when the list has grown in between, since
-- another thread steps.
function core.list(type_name, call)
    local count = ffi.new "size_t[1]"
    check(call(nil, 0, count))
    while true do
        local capacity = tonumber(count[0])
        local array = ffi.new(type_name .. "[?]", math.max(capacity, 1))
        local status = call(array, capacity, count)
        if status == 0 then
            local list = {}
            for at = 1, tonumber(count[0]) do
                list[at] = tonumber(array[at - 1])
            end
            return list
        end
        local message = ffi.string(C.detailflow_last_message())
        if status ~= INVALID_ARGUMENT then
            core.raise(status, message)
        end
        check(call(nil, 0, count))
        if tonumber(count[0]) <= capacity then
            core.raise(status, message)
        end
    end
end

-- A string from a call with (buffer, capacity, length).
function core.text(call)
    local length = ffi.new "size_t[1]"
    check(call(nil, 0, length))
    local capacity = tonumber(length[0]) + 1
    local buffer = ffi.new("char[?]", capacity)
    check(call(buffer, capacity, length))
    return ffi.string(buffer)
end

-- Bytes, as a string, from a call with (data, capacity, size).
function core.bytes(call)
    local size = ffi.new "size_t[1]"
    check(call(nil, 0, size))
    local capacity = tonumber(size[0])
    local buffer = ffi.new("uint8_t[?]", math.max(capacity, 1))
    check(call(buffer, capacity, size))
    return ffi.string(buffer, size[0])
end

-- A struct with its struct_size.
function core.struct(name)
    local struct = ffi.new("detailflow_" .. name)
    struct.struct_size = ffi.sizeof(struct)
    return struct
end

-- Owners. Each kind of handle is a class: objects have close(), is_closed() and address(), and are freed when they
-- become garbage.
local classes = {}

function core.class(kind)
    local class = { kind = kind }
    class.__index = class
    classes[kind] = class

    function class:close()
        local handle = self._handle
        if handle ~= nil then
            self._handle = nil
            if self._owned then
                local free = self._free
                ffi.gc(handle, nil)
                free(handle)
            end
        end
    end

    function class:is_closed()
        return self._handle == nil
    end

    function class:address()
        return tonumber(ffi.cast("uintptr_t", core.handle(self, kind)))
    end

    -- The C handle, for functions that have no method.
    function class:handle()
        return core.handle(self, kind)
    end

    function class:__tostring()
        return ("detailflow %s%s"):format(kind, self._handle == nil and " (closed)" or "")
    end

    return class
end

-- An object that frees the handle. `held` is kept alive until then.
--
-- The finalizer is a closure, which refers to C and to `held`, not the C function alone: so the library stays loaded,
-- and `held` alive, as long as there is a handle to be freed, also when all become garbage at once.
function core.own(kind, handle, object, held)
    object = object or {}
    local free = "detailflow_" .. kind .. "_free"
    local function finalizer(pointer)
        C[free](pointer)
        held = nil
    end
    object._owned = true
    object._holds = held ~= nil
    object._free = finalizer
    object._handle = ffi.gc(handle, finalizer)
    return setmetatable(object, classes[kind])
end

-- A class may have adopt(object): it sets the fields that its methods need in an object for a handle that was made
-- elsewhere, and returns what must be held until the handle is freed.
local function adopt(kind, address)
    local class = classes[kind]
    if not class then
        core.raise(INVALID_ARGUMENT, ("no handles of kind %q"):format(tostring(kind)))
    end
    local pointer = ffi.cast("detailflow_" .. kind .. " *", ffi.cast("uintptr_t", address))
    local object = setmetatable({ _handle = pointer }, class)
    return object, class.adopt and class.adopt(object)
end

-- An object for a handle that another one owns, here or in another Lua state.
function core.borrow(kind, address)
    return (adopt(kind, address))
end

-- Refused for a handle that another object or Lua state frees.
function core.owned(object)
    if not object._owned then
        core.raise(INVALID_ARGUMENT, tostring(object) .. " does not own its handle")
    end
end

-- Hands a handle to another Lua state: give() closes the object without freeing, take() makes one that frees.
-- What an object holds cannot go with its handle: a worker writes to images of this state.
function core.give(object)
    local address = object:address()
    core.owned(object)
    if object._holds then
        core.raise(INVALID_ARGUMENT, tostring(object) .. " uses memory of its Lua state, which it cannot leave")
    end
    ffi.gc(object._handle, nil)
    object._handle = nil
    return address
end

function core.take(kind, address)
    local object, held = adopt(kind, address)
    return core.own(kind, object._handle, object, held)
end

-- The handle of an object; an error when it was closed or is of another kind.
function core.handle(object, kind)
    if getmetatable(object) ~= classes[kind] then
        core.raise(INVALID_ARGUMENT, ("a %s is needed, not %s"):format(kind, tostring(object)))
    end
    return object._handle or core.raise(WRONG_STATE, kind .. " is closed")
end

-- Where a `_new` or `_open` function puts its handle.
function core.out(kind)
    return ffi.new("detailflow_" .. kind .. " *[1]")
end

-- Applies a table of settings with a table of setters. An unknown name is an error.
function core.apply(setters, settings, what, ...)
    for name in pairs(settings) do
        if not setters[name] then
            core.raise(INVALID_ARGUMENT, ("%s: no setting %q"):format(what, tostring(name)))
        end
    end
    for name, value in pairs(settings) do
        check(setters[name](value, ...))
    end
end

-- A flag: anything but nil and false is 1.
function core.flag(value)
    return value and 1 or 0
end

return core

-- libdetailflow for LuaJIT and LÖVE: see README.md beside this file.
--
--     local detailflow = require "detailflow"
--     local model = detailflow.open()
--     model:request { class = "potion", seed = 7 }:generate():save "potion.png"
--
-- Failed calls raise an error with the fields status, name and message. Indices of classes, images and tokens count
-- from 0, as in the C API; lists are Lua's own. Times are in seconds. Everything that has close() is also freed as
-- garbage.
--
-- SPDX-License-Identifier: MIT OR Apache-2.0
local core = require "detailflow.core"
local generation = require "detailflow.generation"
local image = require "detailflow.image"
local Model = require "detailflow.model"
local Worker = require "detailflow.worker"

function Model:request(settings)
    return generation.Request.new(self, settings)
end

local status = {}
for _, name in ipairs { "OK", "INVALID_ARGUMENT", "NOT_FOUND", "BAD_BUNDLE", "NO_RUNTIME", "NO_DEVICE", "OUT_OF_MEMORY", "IO",
    "BAD_FORMAT", "CANCELLED", "WRONG_STATE", "BUSY", "FAILED", "INTERNAL" } do
    status[name] = tonumber(core.C["DETAILFLOW_STATUS_" .. name])
end

return {
    version = core.ffi.string(core.C.detailflow_version()),
    status = status,

    open = Model.open,
    open_memory = Model.open_memory,
    open_reader = Model.open_reader,
    worker = Worker.new,
    image = image.new,
    wrap = image.wrap,
    cancel = core.new_cancel,
    dft = require "detailflow.dft",

    -- at(kind, address): a handle of another Lua state, as an object that does not own it. kind is "cancel", "model",
    -- "worker", ...; address is what its owner's address() gave. A worker takes no targets then, and a request no names
    -- of classes.
    at = core.borrow,
    -- give(object) ends the ownership and returns the address; take(kind, address) begins it in another Lua state.
    -- A worker cannot be given: it writes to images of its state.
    give = core.give,
    take = core.take,

    -- For functions of the C API that have no method here:
    -- detailflow.check(detailflow.C.detailflow_x(object:handle(), ...)).
    C = core.C,
    check = core.check,
    is_error = function(value) return getmetatable(value) == core.Error end,
}

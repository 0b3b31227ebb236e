-- A thread that opens the model while the game shows how far it is. The bundle is a file in the game's own file
-- system: inside the .love file.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local bundle, cancel_address, channel = ...
require "love.filesystem"
local detailflow = require "detailflow"

local function open()
    local file = assert(love.filesystem.newFile(bundle, "r"))
    local model = detailflow.open_reader({
        size = file:getSize(),
        read = function(offset, count, buffer)
            if not file:seek(offset) then
                return nil
            end
            -- Not as a string, which LuaJIT would keep and hash.
            local data, size = file:read("data", count)
            require("ffi").copy(buffer, data:getFFIPointer(), size)
            return size == count
        end,
    }, {
        -- One thread gives the steadiest frames.
        threads = 1,
        encoder = false,
        cancel = detailflow.at("cancel", cancel_address),
        progress = function(done, total, stage)
            channel:push { done = done, total = total, stage = stage }
        end,
    })
    file:close()
    return detailflow.give(model)
end

local good, result = pcall(open)
channel:push(good and { model = result } or { failure = tostring(result) })

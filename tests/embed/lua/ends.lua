-- Ends in the way that is named, while a worker draws: luajit tests/embed/lua/ends.lua HOW
-- SPDX-License-Identifier: MIT OR Apache-2.0
local how = arg[1]
local detailflow = require "detailflow"

if how == "unload" then
    -- The module and a handle become garbage at once, before ONNX Runtime is loaded, which would keep the library in
    -- memory.
    local cancels = {}
    for at = 1, 100 do
        cancels[at] = detailflow.cancel()
    end
    for name in pairs(package.loaded) do
        if name:find "^detailflow" then
            package.loaded[name] = nil
        end
    end
    cancels, detailflow = nil, nil
    print "drawing"
    for _ = 1, 5 do
        collectgarbage()
    end
    -- And once more, as tools for live reloading do.
    require("detailflow").cancel():trigger()
    return
end

local model = detailflow.open()
local worker = detailflow.worker { threads = 2 }
for at = 1, 4 do
    worker:submit(model:request { count = 64, seed = at }, { decode = true, targets = { detailflow.image(64, 64) } })
end
local generation = model:request():start()
generation:step()
local event = worker:wait()
print "drawing"
io.stdout:flush()

if how == "exit" then
    os.exit(0)
elseif how == "close" then
    -- Closes the Lua state first.
    os.exit(0, true)
elseif how == "collect" then
    model, worker, generation, event = nil, nil, nil, nil
    collectgarbage()
elseif how == "coroutine" then
    coroutine.wrap(function() os.exit(0) end)()
elseif how == "error" then
    error "at the end"
elseif how == "inside-open" then
    detailflow.open(nil, { progress = function() os.exit(3) end })
else
    assert(how == "return")
end

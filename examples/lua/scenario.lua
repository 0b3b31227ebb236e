-- The scenario of examples/README.md:
--     DETAILFLOW_LIBRARY=target/release/libdetailflow.so LUA_PATH="examples/lua/?.lua;;" luajit examples/lua/scenario.lua [MODEL]
-- SPDX-License-Identifier: MIT OR Apache-2.0
local detailflow = require "detailflow"

-- FNV-1a, 64 bits, of an image or a string.
local function hash(data)
    local h = 0xcbf29ce484222325ULL
    if type(data) == "string" then
        for at = 1, #data do
            h = bit.bxor(h, data:byte(at)) * 0x100000001b3ULL
        end
    else
        for at = 0, data.size - 1 do
            h = bit.bxor(h, data.pixels[at]) * 0x100000001b3ULL
        end
    end
    return bit.tohex(h, 16)
end

local function print_pixels(what, image)
    print(("%s %d px %s"):format(what, image.width, hash(image)))
end

-- 1. What the model is.
local function describe(model)
    local info = model:info()
    print(("model %s: %d px, %d tokens, %d classes"):format(info.name, info.image_size, info.token_count, info.class_count))
    for _, level in ipairs(model:levels()) do
        print(("level %d px: %d tokens"):format(level.size, level.token_count))
    end
end

-- 2. An error, as a program shows it.
local function provoke_an_error(model)
    local found, failure = pcall(model.class, model, "no such class")
    assert(not found and detailflow.is_error(failure))
    print(("error %s: %s"):format(failure.name, failure.message))
end

-- 3. One picture step by step; each level is shown when it is complete. Returns its tokens.
local function draw(model, class, seed)
    local generation = model:request { class = class, seed = seed }:start()
    local shown = 0
    repeat
        local progress = generation:step()
        if progress.level_size > shown then
            print_pixels("drawn", generation:decode_level())
            shown = progress.level_size
        end
    until progress.steps_left == 0
    local tokens = generation:tokens()
    print("tokens " .. table.concat(tokens, " "))
    return tokens
end

-- 4. A token file in memory, and the picture from it.
local function round_trip(model, tokens, class, seed)
    local file = detailflow.dft.encode(model, tokens, class, seed)
    local info, back = detailflow.dft.info(file), detailflow.dft.tokens(file)
    print(("file %d bytes %s: class %d, seed %d, %d tokens"):format(#file, hash(file), info.class, info.seed, #back))
    print_pixels("decoded", model:decode(back))
end

-- 5. Cancels between two steps: Lua has no threads. In LÖVE another thread can: examples/love/cancel.
local function cancel(model)
    local generation = model:request { count = 64 }:start()
    local stop = generation:cancel_handle()
    generation:step()
    stop:trigger()
    local done, failure = pcall(generation.step, generation)
    assert(not done)
    local kept = generation:progress().token_count > 0
    print(("cancelled %s: %s"):format(failure.name, kept and "tokens are kept" or "no tokens"))
end

-- 6. Jobs of a worker; its events are polled, as a game loop does.
local function work(model)
    local worker = detailflow.worker()
    for at = 0, 3 do
        worker:submit(model:request { class = at, seed = at }, { user = at, decode = true })
    end
    local lines = {}
    repeat
        local event = worker:poll()
        if event then
            assert(event.status == detailflow.status.OK, event:message())
            -- The last event of a job repeats its last level.
            if event.kind == "level" then
                lines[#lines + 1] = ("job %d: %4d px %s"):format(event.user, event.level_size, hash(event:decode()))
            end
            event:close()
        end
    until worker:pending() == 0
    worker:close()
    -- Jobs end in any order.
    table.sort(lines)
    print(table.concat(lines, "\n"))
end

-- 7. The program ends while a worker draws.
local function quit(model)
    local worker = detailflow.worker()
    worker:submit(model:request { count = 64 })
    print(("quit with %d job going on"):format(worker:pending()))
    os.exit(0)
end

local model = detailflow.open(arg[1])
describe(model)
provoke_an_error(model)
local potion = model:class "potion"
local tokens = draw(model, potion, 7)
round_trip(model, tokens, potion, 7)
cancel(model)
work(model)
quit(model)

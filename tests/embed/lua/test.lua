-- Tests of the Lua binding: luajit tests/embed/lua/test.lua SINGLE-FILE-BUNDLE SCRATCH-FOLDER
-- SPDX-License-Identifier: MIT OR Apache-2.0
local ffi = require "ffi"
local core = require "detailflow.core"
local detailflow = require "detailflow"
local status = detailflow.status
local bundle, scratch = arg[1], arg[2]

local function contents(path)
    local file = assert(io.open(path, "rb"))
    local data = file:read "*a"
    file:close()
    return data
end

-- Fails unless the call raises an error of this status; returns the error.
local function refused(expected, call, ...)
    local good, failure = pcall(call, ...)
    assert(not good, "no error")
    assert(detailflow.is_error(failure), tostring(failure))
    assert(failure.status == expected, tostring(failure))
    assert(failure.message ~= "" and tostring(failure) == failure.name .. ": " .. failure.message)
    return failure
end

local function collect()
    for _ = 1, 3 do
        collectgarbage()
    end
end

local model = detailflow.open()
local potion = model:class "potion"
local expected = model:request { class = "potion", seed = 7 }:generate():decode():string()

local tests = {}

function tests.class_unknown_is_an_error_with_a_suggestion()
    local failure = refused(status.INVALID_ARGUMENT, model.class, model, "potoin")
    assert(failure.message:find("potion", 1, true), failure.message)
end

function tests.settings_unknown_or_out_of_range_are_errors()
    refused(status.INVALID_ARGUMENT, detailflow.open, nil, { thread = 1 })
    refused(status.INVALID_ARGUMENT, model.request, model, { sed = 1 })
    refused(status.INVALID_ARGUMENT, model.request, model, { seed = -1 })
    refused(status.INVALID_ARGUMENT, model.request, model, { seed = 1.5 })
    refused(status.INVALID_ARGUMENT, model.request, model, { count = 2 ^ 32 + 1 })
    refused(status.INVALID_ARGUMENT, model.request, model, { top_k = "many" })
    refused(status.INVALID_ARGUMENT, model.request, model, { guidance = -1 })
    refused(status.INVALID_ARGUMENT, model.decode, model, { 1, 2, 2 ^ 40, 4 })
    refused(status.INVALID_ARGUMENT, detailflow.worker, { order = 99 })
    refused(status.NOT_FOUND, detailflow.open, scratch .. "/none")
end

function tests.settings_reach_the_library()
    local request = model:request {
        images = { { "potion", 1 }, { "ring", 0xfffffffffffffffeULL } },
        guidance = 1, temperature = 0, top_k = 5, top_p = 0.5, level = 16, log_probabilities = true,
        guidance_curve = { { 0, 2 }, { 8, 1 } }, gradual_guidance = false,
    }
    assert(request:cost().step_count > 0)
    local generation = request:generate()
    assert(generation:progress().level_size == 16)
    local class, seed = generation:source(1)
    assert(class == model:class "ring" and seed == 0xfffffffffffffffeULL)
    assert(#generation:log_probabilities(1) == #generation:tokens(1))
    request:set { prefix = generation:tokens(1), level = 32 }
    for at, token in ipairs(generation:tokens(1)) do
        assert(request:generate():tokens(0)[at] == token)
    end
end

function tests.classes_are_mixed_and_avoided()
    local function tokens(settings)
        settings.seed, settings.level = 7, 16
        return table.concat(model:request(settings):generate():tokens(0), " ")
    end
    local dragon = tokens { class = "dragon" }
    assert(tokens { classes = { dragon = 0.3, golem = 0 }, avoid = { plant = 0 } } == dragon)
    assert(tokens { classes = { dragon = 0.6, [model:class "golem"] = 0.4 } } ~= dragon)
    assert(tokens { class = "dragon", avoid = { humanoid = 3 } } ~= dragon)
    refused(status.INVALID_ARGUMENT, model.request, model, { classes = { dragon = -1, golem = 1 } })
    refused(status.INVALID_ARGUMENT, model.request, model, { avoid = { nothing = 1 } })
end

function tests.steps_advance_fork_and_retain_give_the_same_picture()
    local generation = model:request { class = potion, seed = 7, count = 2 }:start()
    assert(generation:step().steps_done == 1)
    local fork = generation:fork { 7, 8 }
    assert(generation:advance(0.001).steps_done >= 2)
    assert(generation:advance_to_level(24).level_size == 24)
    generation:retain { 0 }
    assert(generation:finish().steps_left == 0)
    assert(generation:decode():string() == expected)
    fork:finish()
    assert(fork:decode(0):string() == expected)
    assert(fork:decode_level(1):string() ~= expected)
    generation:save(scratch .. "/potion.png")
    assert(#model:encode_file(scratch .. "/potion.png", detailflow.cancel()) == model:info().token_count)
    assert(#model:encode_file(scratch .. "/potion.png", nil, 1) == model:info().token_count)
end

function tests.objects_closed_raise_and_close_twice()
    local opened = detailflow.open(bundle)
    local request = opened:request()
    local generation = request:start()
    local cancel = generation:cancel_handle()
    local worker = detailflow.worker()
    worker:submit(request, { decode = true })
    local event = worker:wait()
    for _, object in ipairs { opened, request, generation, cancel, worker, event } do
        assert(not object:is_closed())
        object:close()
        object:close()
        assert(object:is_closed() and tostring(object):find "closed")
        refused(status.WRONG_STATE, object.address, object)
    end
    refused(status.WRONG_STATE, opened.info, opened)
    refused(status.WRONG_STATE, request.set, request, { seed = 1 })
    refused(status.WRONG_STATE, generation.step, generation)
    refused(status.WRONG_STATE, generation.decode, generation, 0, detailflow.image(32, 32))
    refused(status.WRONG_STATE, cancel.trigger, cancel)
    refused(status.WRONG_STATE, worker.poll, worker)
    refused(status.WRONG_STATE, event.tokens, event)
    -- An object of another kind is refused as well.
    refused(status.INVALID_ARGUMENT, worker.submit, detailflow.worker(), model)
end

function tests.handles_freed_in_any_order_work()
    local opened = detailflow.open(bundle)
    local request = opened:request { class = potion, seed = 7 }
    opened:close()
    local generation = request:start()
    request:close()
    collect()
    generation:finish()
    assert(generation:decode():string() == expected)
    local worker = detailflow.worker()
    worker:submit_generation(generation, { user = 5, decode = true, last_only = true })
    assert(generation:is_closed())
    local event = worker:wait()
    worker:close()
    collect()
    assert(event.kind == "done" and event.user == 5 and event:decode():string() == expected)
end

function tests.pictures_are_decoded_into_memory_of_the_caller()
    local generation = model:request { class = potion, seed = 7 }:generate()
    local stride, offset = 40 * 4, 12
    local memory = ffi.new("uint8_t[?]", offset + stride * 32 + 8)
    ffi.fill(memory, ffi.sizeof(memory), 0xAB)
    local target = detailflow.wrap(memory + offset, stride * 32, 32, 32, "rgba8", stride, memory)
    assert(generation:decode(0, target) == target)
    for y = 0, 31 do
        local row = memory + offset + y * stride
        assert(ffi.string(row, 128) == expected:sub(y * 128 + 1, y * 128 + 128))
        assert(row[128] == 0xAB)
    end
    assert(memory[offset - 1] == 0xAB)
    refused(status.INVALID_ARGUMENT, generation.decode, generation, 0, detailflow.image(31, 31))
    assert(#detailflow.image(2, 3, "rgba16f_linear"):string() == 2 * 3 * 8)
    local file = target:encode "png"
    assert(file:sub(2, 4) == "PNG" and #model:encode_data(file) == 32 and #model:encode(target) == 32)
    assert(#model:encode(target, nil, 1) == 32 and not pcall(model.encode, model, target, nil, 5))
    assert(target:upscale(2).width == 64)
end

function tests.token_files_go_round()
    local tokens = model:request { class = potion, seed = 7 }:generate():tokens()
    local file = detailflow.dft.encode(model, tokens, potion, 0xffffffffffffffffULL)
    local info = detailflow.dft.info(file)
    assert(info.damage == "none" and info.class == potion and info.seed == 0xffffffffffffffffULL)
    detailflow.dft.check(model, file)
    file = detailflow.dft.encode(model, tokens, potion, 7)
    local cut = file:sub(1, #file - 20)
    assert(detailflow.dft.info(cut).damage == "cut" and #detailflow.dft.tokens(cut) < 32)
    assert(detailflow.dft.repair(model:request(), cut) == file)
    refused(status.BAD_FORMAT, detailflow.dft.info, "no token file")
    assert(detailflow.dft.info(detailflow.dft.encode(model, tokens)).class == nil)
    assert(#model:score(potion, tokens) == 32)
end

function tests.bundles_open_from_memory_and_through_a_reader()
    local data = contents(bundle)
    local opened = detailflow.open_memory(data, { threads = 1, encoder = false })
    assert(opened:info().path == "(memory)")
    data = nil -- luacheck: ignore
    collect()
    assert(opened:request { class = potion, seed = 7 }:generate():decode():string() == expected)
    refused(status.BAD_BUNDLE, detailflow.open_memory, "no bundle")

    local file = assert(io.open(bundle, "rb"))
    local stages = {}
    local size = file:seek "end"
    opened = detailflow.open_reader({
        size = size,
        read = function(offset, count, buffer)
            assert(file:seek("set", offset) == offset)
            local read = file:read(count)
            if count % 2 == 0 then
                return read
            end
            ffi.copy(buffer, read, count)
            return true
        end,
    }, { progress = function(done, total, stage) stages[#stages + 1] = ("%d/%d %s"):format(done, total, stage) end })
    file:close()
    assert(#stages > 2 and opened:info().path == "(reader)")
    assert(opened:request { class = potion, seed = 7 }:generate():decode():string() == expected)
end

-- More often than it takes until LuaJIT compiles what is called, and first with sizes for which nothing is called
-- back: LuaJIT knows a function that calls back when it has done so. A compiled one that calls back ends the process.
function tests.readers_are_called_by_the_interpreter_alone()
    local calls, size = 0, {}
    local reader = { read = function() calls = calls + 1; return nil end }
    for at = 1, 400 do
        size[at] = at > 300 and 1000 or 0
    end
    for at = 1, 400 do
        reader.size = size[at]
        assert(not pcall(detailflow.open_reader, reader))
    end
    assert(calls == 100)
end

function tests.readers_that_fail_are_errors_however_often()
    local thrown = { "an error of the reader" }
    local calls = 0
    local function failing() calls = calls + 1; error(thrown) end
    local size = #contents(bundle)
    for _ = 1, 300 do
        local good, failure = pcall(detailflow.open_reader, { size = size, read = failing })
        assert(not good and failure == thrown)
        refused(status.IO, detailflow.open_reader, { size = size, read = function() return "short" end })
        refused(status.IO, detailflow.open_reader, { size = size, read = function() return nil end })
        refused(status.BAD_BUNDLE, detailflow.open_reader, { size = 8, read = function(_, count) return ("x"):rep(count) end })
        -- From a coroutine, and one that wants to yield in the reader.
        good = coroutine.wrap(function()
            return pcall(detailflow.open_reader, { size = size, read = function() coroutine.yield() end })
        end)()
        assert(not good)
    end
    assert(calls == 300)
end

function tests.progress_that_fails_cancels_the_opening()
    local good, failure = pcall(detailflow.open, bundle, { progress = function() error("stop here", 0) end })
    assert(not good and failure == "stop here")
    local cancel = detailflow.cancel()
    cancel:trigger()
    refused(status.CANCELLED, detailflow.open, bundle, { cancel = cancel })
    for _ = 1, 100 do
        refused(status.NOT_FOUND, detailflow.open, scratch .. "/none", { progress = function() end })
    end
end

function tests.generations_are_cancelled_between_steps()
    local generation = model:request { count = 8 }:start()
    generation:step()
    generation:cancel()
    refused(status.CANCELLED, generation.step, generation)
    refused(status.CANCELLED, generation.finish, generation)
    assert(#generation:tokens() == 1)
end

function tests.workers_hold_pause_continue_and_cancel_jobs()
    local worker = detailflow.worker { threads = 0, batch_size = 4, order = "priority_first", event_bytes = 1e6 }
    local request = model:request { class = potion, seed = 7, level = 8 }
    local held = worker:submit(request, { user = 1, hold = true, decode = true })
    local paused = worker:submit(request, { user = 2, priority = 3 })
    worker:pause(paused)
    local function run()
        local kinds = {}
        repeat
            local report = worker:tick(0.01)
            for event in worker:events() do
                kinds[#kinds + 1] = event.user .. event.kind .. event.level_size
            end
        until not report.more
        return table.concat(kinds, " ")
    end
    assert(run() == "1level8")
    assert(worker:pending() == 2 and worker:tick(0).parked_count == 2)
    worker:continue(held, 16)
    assert(run() == "1level16")
    worker:resume(paused)
    worker:set_priority(paused, -1)
    assert(run() == "2level8 2done8")
    worker:cancel(held)
    assert(run() == "1cancelled16")
    worker:submit(request)
    worker:cancel_all()
    assert(run() == "0cancelled0")
    refused(status.WRONG_STATE, worker.wait, worker, 0)
    refused(status.INVALID_ARGUMENT, worker.cancel, worker, 99)
    refused(status.INVALID_ARGUMENT, worker.submit, worker, request, { priorty = 1 })
    worker:stop()
    refused(status.WRONG_STATE, worker.submit, worker, request)
    local threaded = detailflow.worker()
    refused(status.WRONG_STATE, threaded.tick, threaded, 0)
    assert(threaded:wait(0.001) == nil and threaded:poll() == nil)
end

function tests.levels_are_written_to_targets()
    local worker = detailflow.worker { threads = 0 }
    local target = detailflow.image(32, 32)
    worker:submit(model:request { class = potion, seed = 7 }, { targets = { target } })
    local seen = {}
    while worker:pending() > 0 do
        worker:tick(0.01)
        for event in worker:events() do
            seen[#seen + 1] = target:string()
        end
    end
    assert(#seen == 5 and seen[1] ~= seen[2] and seen[4] == expected and seen[5] == expected)
end

function tests.workers_close_while_they_draw()
    for threads = 0, 3 do
        local worker = detailflow.worker { threads = threads }
        local job = worker:submit(model:request { count = 64 }, { decode = true })
        local waiting = worker:submit(model:request { count = 64 }, { priority = -1 })
        local event
        if threads == 0 then
            worker:tick(0.001)
        else
            event = worker:wait()
        end
        if threads == 2 then
            worker:stop()
            assert(worker:pending() > 0)
        end
        worker:close()
        refused(status.WRONG_STATE, worker.cancel, worker, job)
        refused(status.WRONG_STATE, worker.set_priority, worker, waiting, 1)
        assert(not event or #event:tokens(63) > 0, "the event has no tokens")
    end
end

function tests.garbage_is_freed_under_load()
    local request = model:request { count = 4 }
    for round = 1, 20 do
        local worker = detailflow.worker { threads = 1 + round % 2 }
        for at = 1, 8 do
            local opened = at == 1 and round % 5 == 0 and detailflow.open(bundle, { threads = 1 })
            -- The worker's thread writes to the targets, which become garbage together with the worker.
            worker:submit((opened or model):request { seed = at }, { targets = { detailflow.image(256, 256) }, decode = true })
        end
        local generation = request:start()
        generation:step()
        generation:cancel_handle()
        worker:submit_generation(generation)
        worker:wait()
        worker, generation = nil, nil
        collect()
        local junk = {}
        for at = 1, 64 do
            junk[at] = detailflow.image(256, 256)
        end
    end
end

-- Freeing a model ends its jobs: one that is garbage while its jobs run must not.
function tests.model_of_a_job_is_not_collected()
    local models = setmetatable({}, { __mode = "v" })
    local function submit(worker)
        models[1], models[2] = detailflow.open(bundle, { threads = 1 }), detailflow.open(bundle, { threads = 1 })
        local request = models[1]:request { count = 4 }
        for _ = 1, 10 do
            worker:submit(request, { last_only = true })
        end
        worker:submit_generation(models[2]:request():start(), { last_only = true })
    end
    -- It works in tick only: nothing is done before the garbage is collected.
    local worker = detailflow.worker { threads = 0 }
    submit(worker)
    collect()
    while worker:tick(1).more do end
    local done = 0
    for event in worker:events() do
        assert(event.kind == "done", event.kind)
        done = done + 1
    end
    assert(done == 11, done)
    -- Nothing keeps them when the last events were taken, or the worker was closed.
    collect()
    assert(not models[1] and not models[2])
    submit(worker)
    worker:close()
    collect()
    assert(not models[1] and not models[2])
end

-- Another thread steps between the question for the number and the reading.
function tests.tokens_may_grow_while_they_are_read()
    local generation = model:request():start()
    local capacities = {}
    local tokens = core.list("uint32_t", function(array, capacity, count)
        if array ~= nil and #capacities < 2 then
            capacities[#capacities + 1] = capacity
            generation:step()
        end
        return core.C.detailflow_generation_get_tokens(generation._handle, 0, array, capacity, count)
    end)
    assert(table.concat(capacities, " ") == "0 1")
    assert(#tokens == 2 and table.concat(tokens, " ") == table.concat(generation:tokens(), " "))
end

function tests.handles_go_to_another_owner()
    local generation = model:request { class = potion, seed = 7 }:start()
    local cancel = generation:cancel_handle()
    local same = detailflow.at("cancel", cancel:address())
    same:trigger()
    same:close()
    refused(status.CANCELLED, generation.step, generation)
    refused(status.INVALID_ARGUMENT, detailflow.give, detailflow.at("cancel", cancel:address()))
    local address = detailflow.give(cancel)
    assert(cancel:is_closed())
    collect()
    local taken = detailflow.take("cancel", address)
    taken:trigger()
    taken:close()
    -- A borrowed handle whose owner has gone is an error, and no crash.
    refused(status.INVALID_ARGUMENT, function() detailflow.at("cancel", address):trigger() end)
    refused(status.INVALID_ARGUMENT, detailflow.at, "nothing", 1)
end

-- The worker writes to the targets, which only its object keeps alive.
function tests.workers_are_not_given_away()
    local worker = detailflow.worker { threads = 0 }
    local image = detailflow.image(32, 32)
    local images = setmetatable({ image }, { __mode = "v" })
    worker:submit(model:request { class = potion, seed = 7 }, { targets = { image } })
    image = nil -- luacheck: ignore
    refused(status.INVALID_ARGUMENT, detailflow.give, worker)
    assert(not worker:is_closed())
    collect()
    assert(images[1], "the target is garbage, and the worker will write to it")
    while worker:tick(1).more do end
    assert(images[1]:string() == expected)
end

function tests.borrowed_workers_take_jobs_without_targets()
    local worker = detailflow.worker { threads = 0 }
    local borrowed = detailflow.at("worker", worker:address())
    local request = model:request { class = potion, seed = 7 }
    refused(status.INVALID_ARGUMENT, borrowed.submit, borrowed, request, { targets = { detailflow.image(32, 32) } })
    assert(worker:pending() == 0)
    local job = borrowed:submit(request, { decode = true, last_only = true })
    assert(worker:pending() == 1)
    while worker:tick(1).more do end
    local event = borrowed:poll()
    assert(event.job == job and event.kind == "done" and event:decode():string() == expected)
    -- An event that goes to another owner has its fields there.
    local taken = detailflow.take("event", detailflow.give(event))
    assert(taken.job == job and taken.kind == "done" and taken:decode():string() == expected)
end

-- One that was made through the C API.
function tests.workers_taken_keep_what_their_jobs_need()
    local out = core.out "worker"
    detailflow.check(core.C.detailflow_worker_new(nil, out, nil))
    local worker = detailflow.take("worker", tonumber(ffi.cast("uintptr_t", out[0])))
    local image = detailflow.image(32, 32)
    local images = setmetatable({ image }, { __mode = "v" })
    worker:submit(model:request { class = potion, seed = 7 }, { targets = { image } })
    image = nil -- luacheck: ignore
    assert(worker:pending() == 1)
    refused(status.INVALID_ARGUMENT, detailflow.give, worker)
    collect()
    assert(images[1], "the target is garbage, and the worker writes to it")
    while worker:pending() > 0 do
        worker:wait()
    end
    worker:close()
    collect()
    assert(not images[1])
end

function tests.requests_taken_find_no_class_by_name()
    local request = detailflow.take("request", detailflow.give(model:request { class = potion, seed = 7 }))
    local failure = refused(status.INVALID_ARGUMENT, request.set, request, { class = "potion" })
    assert(failure.message:find("index", 1, true), failure.message)
    refused(status.INVALID_ARGUMENT, request.set, request, { images = { { "potion", 7 } } })
    assert(request:set { class = potion }:generate():decode():string() == expected)
end

-- The worker frees what it is given, and so would the owner.
function tests.generations_borrowed_are_not_submitted()
    local worker = detailflow.worker { threads = 0 }
    local generation = model:request { class = potion, seed = 7 }:start()
    local borrowed = detailflow.at("generation", generation:address())
    refused(status.INVALID_ARGUMENT, worker.submit_generation, worker, borrowed)
    assert(worker:pending() == 0 and not borrowed:is_closed())
    generation:finish()
    assert(generation:decode():string() == expected)
end

local names = {}
for name in pairs(tests) do
    if not arg[3] or name:find(arg[3], 1, true) then
        names[#names + 1] = name
    end
end
table.sort(names)
local failed = 0
for _, name in ipairs(names) do
    local good, failure = xpcall(tests[name], function(failure) return debug.traceback(tostring(failure), 2) end)
    collect()
    print((good and "ok     " or "FAILED ") .. name .. (good and "" or "\n" .. failure))
    failed = failed + (good and 0 or 1)
end
assert(#names > 0)
os.exit(failed == 0, true)

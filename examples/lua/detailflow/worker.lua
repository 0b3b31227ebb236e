-- Workers, and the events that tell about their jobs. They are polled: callbacks would come on threads that Lua does
-- not know.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local core = require "detailflow.core"
local image = require "detailflow.image"
local ffi, C, check = core.ffi, core.C, core.check

local Worker, Event = core.class "worker", core.class "event"
core.class "worker_options"
core.class "submit_options"

local orders = {
    default = C.DETAILFLOW_WORKER_ORDER_DEFAULT,
    coarse_first = C.DETAILFLOW_WORKER_ORDER_COARSE_FIRST,
    priority_first = C.DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST,
}
local kinds = {
    [tonumber(C.DETAILFLOW_EVENT_KIND_LEVEL)] = "level",
    [tonumber(C.DETAILFLOW_EVENT_KIND_DONE)] = "done",
    [tonumber(C.DETAILFLOW_EVENT_KIND_CANCELLED)] = "cancelled",
    [tonumber(C.DETAILFLOW_EVENT_KIND_FAILED)] = "failed",
}

local setters = {
    threads = function(value, options)
        return C.detailflow_worker_options_set_threads(options, core.u32(value, "threads"))
    end,
    batch_size = function(value, options)
        return C.detailflow_worker_options_set_batch_size(options, core.u32(value, "batch_size"))
    end,
    batch_bytes = function(value, options)
        return C.detailflow_worker_options_set_batch_bytes(options, core.u64(value, "batch_bytes"))
    end,
    event_bytes = function(value, options)
        return C.detailflow_worker_options_set_event_bytes(options, core.u64(value, "event_bytes"))
    end,
    order = function(value, options)
        return C.detailflow_worker_options_set_order(options, orders[value] or core.u32(value, "order"))
    end,
}

-- A worker with { threads =, batch_size =, batch_bytes =, event_bytes =, order = }; all are optional. With
-- `threads = 0` it works in tick().
function Worker.new(settings)
    local out = core.out "worker_options"
    check(C.detailflow_worker_options_new(out, nil))
    local options = core.own("worker_options", out[0])
    core.apply(setters, settings or {}, "worker", options._handle)
    local worker = core.out "worker"
    check(C.detailflow_worker_new(options._handle, worker, nil))
    options:close()
    local object = {}
    return core.own("worker", worker[0], object, Worker.adopt(object))
end

-- What jobs need, by job: the images that they write to, and their model, since freeing a model ends its jobs. Alive
-- as long as the worker is, until it is closed; of a borrowed worker as long as the object is.
function Worker.adopt(object)
    object._jobs = {}
    return object._jobs
end

local close = Worker.close

function Worker:close()
    close(self)
    self._jobs = {}
end

local function bits(settings)
    local flags = 0
    if settings.decode then flags = flags + tonumber(C.DETAILFLOW_SUBMIT_FLAG_DECODE) end
    if settings.last_only then flags = flags + tonumber(C.DETAILFLOW_SUBMIT_FLAG_LAST_ONLY) end
    if settings.hold then flags = flags + tonumber(C.DETAILFLOW_SUBMIT_FLAG_HOLD) end
    return flags
end

local known = { user = true, decode = true, last_only = true, hold = true, priority = true, targets = true }

local function check_names(settings)
    for name in pairs(settings) do
        if not known[name] then
            core.raise(tonumber(C.DETAILFLOW_STATUS_INVALID_ARGUMENT), ("submit: no setting %q"):format(tostring(name)))
        end
    end
end

-- Submits a request: { user = a number that its events have, priority =, decode =, last_only =, hold =, targets = }.
-- `targets` is a list of square images, one for each image of the request: each level is written there, scaled to the
-- size of the target, before its event. They must not be read but between a level's event and the next tick, or after the
-- last event. A borrowed worker takes none: it may write to them when this Lua state has ended. Returns the job.
function Worker:submit(request, settings)
    settings = settings or {}
    check_names(settings)
    if settings.targets and not self._owned then
        core.raise(tonumber(C.DETAILFLOW_STATUS_INVALID_ARGUMENT), "submit: targets need a worker of this Lua state")
    end
    local handle, request_handle = core.handle(self, "worker"), core.handle(request, "request")
    local out = core.out "submit_options"
    check(C.detailflow_submit_options_new(out, nil))
    local options = core.own("submit_options", out[0])
    local pointer = options._handle
    check(C.detailflow_submit_options_set_user(pointer, core.u64(settings.user or 0, "user")))
    check(C.detailflow_submit_options_set_flags(pointer, bits(settings)))
    check(C.detailflow_submit_options_set_priority(pointer, settings.priority or 0))
    for index, target in ipairs(settings.targets or {}) do
        check(C.detailflow_submit_options_set_target(pointer, index - 1, target._struct, 1))
    end
    local job = ffi.new "uint64_t[1]"
    check(C.detailflow_worker_submit_with(handle, request_handle, pointer, job))
    options:close()
    local number = tonumber(job[0])
    self._jobs[number] = { model = request._model, unpack(settings.targets or {}) }
    return number
end

-- Submits a generation, started or not, which the worker continues: { user =, decode =, last_only =, hold = }. The
-- object is closed then.
function Worker:submit_generation(generation, settings)
    settings = settings or {}
    check_names(settings)
    if settings.priority or settings.targets then
        core.raise(tonumber(C.DETAILFLOW_STATUS_INVALID_ARGUMENT), "submit_generation: priority and targets are for requests")
    end
    local handle, generation_handle = core.handle(self, "worker"), core.handle(generation, "generation")
    -- The worker frees it.
    core.owned(generation)
    local job = ffi.new "uint64_t[1]"
    check(C.detailflow_worker_submit_generation(handle, generation_handle, core.u64(settings.user or 0, "user"),
        bits(settings), job))
    ffi.gc(generation_handle, nil)
    generation._handle = nil
    local number = tonumber(job[0])
    self._jobs[number] = { model = generation._model }
    return number
end

function Event.adopt(object)
    local info = core.struct "event_info"
    check(C.detailflow_event_get_info(object._handle, info, nil))
    object.kind = kinds[info.kind]
    object.is_last = object.kind ~= "level"
    object.job = tonumber(info.job)
    object.user = core.number(info.user)
    object.status = info.status
    object.image_count = info.image_count
    object.token_count = info.token_count
    object.level_size = info.level_size
    object.level_token_count = info.level_token_count
    object.steps_done = info.steps_done
    object.steps_left = info.steps_left
    object.decoded = info.decoded == 1
end

-- The event of a handle, or nil.
local function event(self, handle)
    if handle == nil then
        return nil
    end
    local object = core.own("event", handle)
    object:adopt()
    if object.is_last then
        self._jobs[object.job] = nil
    end
    return object
end

-- The next event, or nil.
function Worker:poll()
    local out = core.out "event"
    check(C.detailflow_worker_poll(core.handle(self, "worker"), out))
    return event(self, out[0])
end

-- The next event; waits for it, at most so many seconds (nil: without limit). Lua stands still meanwhile.
function Worker:wait(seconds)
    local out = core.out "event"
    local timeout = seconds and core.nanoseconds(seconds) or 0xffffffffffffffffULL
    check(C.detailflow_worker_wait(core.handle(self, "worker"), timeout, out))
    return event(self, out[0])
end

-- An iterator over the events that are there.
function Worker:events()
    return function() return self:poll() end
end

-- Works for so many seconds: for a worker without threads.
function Worker:tick(seconds)
    local report = core.struct "tick_report"
    check(C.detailflow_worker_tick(core.handle(self, "worker"), core.nanoseconds(seconds), report))
    return {
        unit_count = report.unit_count,
        step_count = report.step_count,
        decode_count = report.decode_count,
        image_count = report.image_count,
        more = report.more == 1,
        seconds = core.seconds(report.time_ns),
        longest_unit = core.seconds(report.longest_unit_ns),
        next_unit = core.seconds(report.next_unit_ns),
        ready_count = tonumber(report.ready_count),
        parked_count = tonumber(report.parked_count),
    }
end

function Worker:cancel(job)
    check(C.detailflow_worker_cancel(core.handle(self, "worker"), core.u64(job, "job")))
end

function Worker:cancel_all()
    check(C.detailflow_worker_cancel_all(core.handle(self, "worker")))
end

function Worker:set_priority(job, priority)
    check(C.detailflow_worker_set_priority(core.handle(self, "worker"), core.u64(job, "job"), priority))
end

function Worker:pause(job)
    check(C.detailflow_worker_pause(core.handle(self, "worker"), core.u64(job, "job")))
end

function Worker:resume(job)
    check(C.detailflow_worker_resume(core.handle(self, "worker"), core.u64(job, "job")))
end

-- Lets a job end, or be held, at another level; nil is the finest.
function Worker:continue(job, level_size)
    check(C.detailflow_worker_continue(core.handle(self, "worker"), core.u64(job, "job"), core.u32(level_size or 0, "level")))
end

-- The number of jobs whose last event was not taken yet.
function Worker:pending()
    local count = ffi.new "size_t[1]"
    check(C.detailflow_worker_get_pending(core.handle(self, "worker"), count))
    return tonumber(count[0])
end

-- Cancels all jobs, and refuses new ones; events can still be polled. close() frees the worker.
function Worker:stop()
    check(C.detailflow_worker_close(core.handle(self, "worker"), 0xffffffffffffffffULL))
end

-- The tokens of an image.
function Event:tokens(index)
    local handle, at = core.handle(self, "event"), core.u32(index or 0, "image")
    return core.list("uint32_t", function(tokens, capacity, count)
        return C.detailflow_event_get_tokens(handle, at, tokens, capacity, count, nil)
    end)
end

-- Decodes the level of an image into `target` or a new image.
function Event:decode(index, target)
    local handle = core.handle(self, "event")
    local made, struct = image.target(target, self.level_size)
    check(C.detailflow_event_decode_level(handle, core.u32(index or 0, "image"), struct, nil))
    return made
end

-- Why the job was cancelled or failed; "" otherwise.
function Event:message()
    local handle = core.handle(self, "event")
    return core.text(function(buffer, capacity, length)
        return C.detailflow_event_get_job_message(handle, buffer, capacity, length, nil)
    end)
end

return Worker

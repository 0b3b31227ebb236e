-- Requests, generations and their cancel handles.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local core = require "detailflow.core"
local image = require "detailflow.image"
local ffi, C, check = core.ffi, core.C, core.check

local Request, Generation, Cancel = core.class "request", core.class "generation", core.class "cancel"

-- Stops the work, here or on another thread.
function Cancel:trigger()
    check(C.detailflow_cancel_trigger(core.handle(self, "cancel"), nil))
end

-- A cancel handle for opening a model or for encoding a file.
function core.new_cancel()
    local out = core.out "cancel"
    check(C.detailflow_cancel_new(out, nil))
    return core.own("cancel", out[0])
end

-- A curve is a list of points { token index, value }.
local function curve(setter)
    return function(points, request)
        local indices, values = {}, {}
        for at, point in ipairs(points) do
            indices[at], values[at] = point[1], point[2]
        end
        return setter(request, core.array("uint32_t", indices, "token index"), core.array("float", values), #points)
    end
end

local function class_index(model, class)
    if type(class) ~= "string" then
        return core.u32(class, "class")
    elseif not model then
        core.raise(tonumber(C.DETAILFLOW_STATUS_INVALID_ARGUMENT),
            ("class %q: a request that came by its address takes the index of a class"):format(class))
    end
    return model:class(class)
end

-- Classes with a number for each: { dragon = 0.6, golem = 0.4 }, by name or index.
local function weighted(setter)
    return function(value, request, model)
        local indices, numbers = {}, {}
        for class, number in pairs(value) do
            indices[#indices + 1], numbers[#numbers + 1] = class_index(model, class), number
        end
        return setter(request, core.array("uint32_t", indices, "class"), core.array("float", numbers), #indices)
    end
end

local setters = {
    count = function(value, request) return C.detailflow_request_set_image_count(request, core.u32(value, "count")) end,
    class = function(value, request, model)
        return C.detailflow_request_set_class(request, class_index(model, value))
    end,
    -- Several classes in one image with their weights, and classes to keep away from.
    classes = weighted(C.detailflow_request_set_classes),
    avoid = weighted(C.detailflow_request_set_avoid),
    seed = function(value, request) return C.detailflow_request_set_seed(request, core.u64(value, "seed")) end,
    -- A list of { class, seed }, one for each image.
    images = function(value, request, model)
        for at, source in ipairs(value) do
            check(C.detailflow_request_set_image_source(request, at - 1, class_index(model, source[1]),
                core.u64(source[2], "seed")))
        end
        return 0
    end,
    guidance = function(value, request) return C.detailflow_request_set_guidance(request, value) end,
    gradual_guidance = function(value, request)
        return C.detailflow_request_set_gradual_guidance(request, core.flag(value))
    end,
    temperature = function(value, request) return C.detailflow_request_set_temperature(request, value) end,
    top_k = function(value, request) return C.detailflow_request_set_top_k(request, core.u32(value, "top_k")) end,
    top_p = function(value, request) return C.detailflow_request_set_top_p(request, value) end,
    guidance_curve = curve(C.detailflow_request_set_guidance_curve),
    temperature_curve = curve(C.detailflow_request_set_temperature_curve),
    top_k_curve = curve(C.detailflow_request_set_top_k_curve),
    top_p_curve = curve(C.detailflow_request_set_top_p_curve),
    log_probabilities = function(value, request)
        return C.detailflow_request_set_log_probabilities(request, core.flag(value))
    end,
    prefix = function(value, request)
        local array, count = core.array("uint32_t", value, "token")
        return C.detailflow_request_set_prefix(request, array, count, 0)
    end,
    level = function(value, request) return C.detailflow_request_set_level_size(request, core.u32(value, "level")) end,
}

-- Changes settings, all or none of which are needed: { class =, seed =, count =, level =, ... }.
function Request:set(settings)
    local handle = core.handle(self, "request")
    -- Added images take the class and seed of the first: `count` first, and `images` after all of these.
    local rest = {}
    for name, value in pairs(settings) do
        rest[name] = value
    end
    local images = rest.images
    rest.images = nil
    local count = rest.count or images and #images
    if count then
        rest.count = nil
        core.apply(setters, { count = count }, "request", handle, self._model)
    end
    core.apply(setters, rest, "request", handle, self._model)
    if images then
        core.apply(setters, { images = images }, "request", handle, self._model)
    end
    return self
end

-- A generation that has not begun.
function Request:start()
    local out = core.out "generation"
    check(C.detailflow_generation_new(core.handle(self, "request"), out))
    return core.own("generation", out[0], { _model = self._model })
end

-- A generation that is finished.
function Request:generate()
    local out = core.out "generation"
    check(C.detailflow_generate(core.handle(self, "request"), out))
    return core.own("generation", out[0], { _model = self._model })
end

-- What the request costs: { step_count =, multiply_adds =, kv_cache_bytes =, output_bytes =, seconds = }.
function Request:cost()
    local cost = core.struct "cost"
    check(C.detailflow_request_get_cost(core.handle(self, "request"), cost))
    return {
        step_count = cost.step_count,
        multiply_adds = core.number(cost.multiply_adds),
        kv_cache_bytes = core.number(cost.kv_cache_bytes),
        output_bytes = core.number(cost.output_bytes),
        seconds = core.seconds(cost.time_ns),
    }
end

local function progress_table(progress)
    return {
        steps_done = progress.steps_done,
        steps_left = progress.steps_left,
        token_count = progress.token_count,
        prefix_size = progress.prefix_size,
        level_size = progress.level_size,
        image_count = progress.image_count,
        level_token_count = progress.level_token_count,
        next_step = core.seconds(progress.next_step_ns),
        next_decode = core.seconds(progress.next_decode_ns),
    }
end

function Generation:progress()
    local progress = core.struct "progress"
    check(C.detailflow_generation_get_progress(core.handle(self, "generation"), progress))
    return progress_table(progress)
end

-- One step; returns the progress.
function Generation:step()
    local progress = core.struct "progress"
    check(C.detailflow_generation_step(core.handle(self, "generation"), progress))
    return progress_table(progress)
end

-- Steps for about so many seconds.
function Generation:advance(seconds)
    local progress = core.struct "progress"
    check(C.detailflow_generation_advance(core.handle(self, "generation"), core.nanoseconds(seconds), progress))
    return progress_table(progress)
end

-- Steps until a level is complete; nil is the last one.
function Generation:advance_to_level(level_size)
    local progress = core.struct "progress"
    check(C.detailflow_generation_advance_to_level(core.handle(self, "generation"), core.u32(level_size or 0, "level"),
        progress))
    return progress_table(progress)
end

function Generation:finish()
    local progress = core.struct "progress"
    check(C.detailflow_generation_finish(core.handle(self, "generation"), progress))
    return progress_table(progress)
end

-- The tokens of an image so far. Images count from 0, which is the default.
function Generation:tokens(index)
    local handle, at = core.handle(self, "generation"), core.u32(index or 0, "image")
    return core.list("uint32_t", function(...) return C.detailflow_generation_get_tokens(handle, at, ...) end)
end

-- Decodes all tokens so far into `target` or a new image.
function Generation:decode(index, target)
    local handle = core.handle(self, "generation")
    local made, struct = image.target(target, not target and self:progress().prefix_size)
    check(C.detailflow_generation_decode(handle, core.u32(index or 0, "image"), struct))
    return made
end

-- Decodes the finest complete level.
function Generation:decode_level(index, target)
    local handle = core.handle(self, "generation")
    local made, struct = image.target(target, not target and self:progress().level_size)
    check(C.detailflow_generation_decode_level(handle, core.u32(index or 0, "image"), struct))
    return made
end

function Generation:save(path, index)
    check(C.detailflow_generation_save(core.handle(self, "generation"), core.u32(index or 0, "image"), path))
end

-- Class and seed of an image.
function Generation:source(index)
    local class, seed = ffi.new "uint32_t[1]", ffi.new "uint64_t[1]"
    check(C.detailflow_generation_get_image_source(core.handle(self, "generation"), core.u32(index or 0, "image"), class,
        seed))
    return class[0], core.number(seed[0])
end

function Generation:log_probabilities(index)
    local handle, at = core.handle(self, "generation"), core.u32(index or 0, "image")
    return core.list("float", function(...) return C.detailflow_generation_get_log_probabilities(handle, at, ...) end)
end

-- A generation with the same tokens that goes on with other seeds, one for each image.
function Generation:fork(seeds)
    local out = core.out "generation"
    local array, count = core.array("uint64_t", seeds, "seed")
    check(C.detailflow_generation_fork(core.handle(self, "generation"), array, count, out))
    return core.own("generation", out[0], { _model = self._model })
end

-- Goes on with some of the images only; they are numbered from 0 in this order.
function Generation:retain(indices)
    local array, count = core.array("uint32_t", indices, "image")
    check(C.detailflow_generation_retain_images(core.handle(self, "generation"), array, count))
end

-- Changes the level at which it ends; nil is the finest.
function Generation:set_level(level_size)
    check(C.detailflow_generation_set_level_size(core.handle(self, "generation"), core.u32(level_size or 0, "level")))
end

-- A handle that cancels it, from any thread; also after it was submitted to a worker.
function Generation:cancel_handle()
    local out = core.out "cancel"
    check(C.detailflow_generation_get_cancel(core.handle(self, "generation"), out))
    return core.own("cancel", out[0])
end

function Generation:cancel()
    local cancel = self:cancel_handle()
    cancel:trigger()
    cancel:close()
end

-- A request for the model, with settings.
function Request.new(model, settings)
    local out = core.out "request"
    check(C.detailflow_request_new(core.handle(model, "model"), out))
    local request = core.own("request", out[0], { _model = model })
    return settings and request:set(settings) or request
end

return { Request = Request, Generation = Generation, Cancel = Cancel }

-- Models: opening, properties, decoding, encoding.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local core = require "detailflow.core"
local image = require "detailflow.image"
local ffi, C, check = core.ffi, core.C, core.check

local Model = core.class "model"
core.class "model_options"

local spinnings = {
    default = C.DETAILFLOW_SPINNING_DEFAULT,
    never = C.DETAILFLOW_SPINNING_NEVER,
    runs = C.DETAILFLOW_SPINNING_RUNS,
}

local setters = {
    device = function(value, options) return C.detailflow_model_options_set_device(options, value) end,
    device_options = function(value, options)
        for key, text in pairs(value) do
            check(C.detailflow_model_options_set_device_option(options, key, text))
        end
        return 0
    end,
    allow_fallback = function(value, options)
        return C.detailflow_model_options_set_allow_fallback(options, core.flag(value))
    end,
    spinning = function(value, options)
        return C.detailflow_model_options_set_spinning(options, spinnings[value] or core.u32(value, "spinning"))
    end,
    threads = function(value, options)
        return C.detailflow_model_options_set_threads(options, core.u32(value, "threads"))
    end,
    precision = function(value, options) return C.detailflow_model_options_set_precision(options, value) end,
    form = function(value, options) return C.detailflow_model_options_set_form(options, value) end,
    cancel = function(value, options)
        return C.detailflow_model_options_set_cancel(options, core.handle(value, "cancel"))
    end,
    weights_in_memory = function(value, options)
        return C.detailflow_model_options_set_weights_in_memory(options, core.flag(value))
    end,
    encoder = function(value, options) return C.detailflow_model_options_set_encoder(options, core.flag(value)) end,
    -- Set by open_with.
    progress = function() return 0 end,
}

-- Opens with options; open(handle of the options, where the model goes) is the call. What it calls back is Lua, so
-- neither this function nor those that are passed to it may be compiled (jit.off): LuaJIT ends the process when
-- compiled code calls a C function that calls back.
local function open_with(settings, open)
    settings = settings or {}
    local out = core.out "model_options"
    check(C.detailflow_model_options_new(out, nil))
    local options = core.own("model_options", out[0])
    core.apply(setters, settings, "open", options._handle)

    -- An error must not pass through C: it cancels, and is raised afterwards.
    local callback, failed, failure, stop
    if settings.progress then
        if not settings.cancel then
            stop = core.new_cancel()
            check(C.detailflow_model_options_set_cancel(options._handle, stop._handle))
        end
        callback = ffi.cast("detailflow_open_progress_fn", function(_, done, total, stage)
            if not failed then
                local good, message = pcall(settings.progress, done, total, ffi.string(stage))
                if not good then
                    failed, failure = true, message
                    C.detailflow_cancel_trigger((stop or settings.cancel)._handle, nil)
                end
            end
        end)
        -- From here to callback:free() no error is raised.
        local status = C.detailflow_model_options_set_open_progress(options._handle, callback, nil)
        if status ~= 0 then
            callback:free()
            check(status)
        end
    end
    local model = core.out "model"
    local good, status = pcall(open, options._handle, model)
    local message = ffi.string(C.detailflow_last_message())
    if callback then
        callback:free()
    end
    options:close()
    if stop then
        stop:close()
    end
    local opened = good and status == 0 and core.own("model", model[0])
    if failed then
        error(failure, 0)
    elseif not good then
        error(status, 0)
    elseif status ~= 0 then
        core.raise(status, message)
    end
    return opened
end
jit.off(open_with, true)

-- Opens a bundle: a folder or a single file; nil is the default bundle.
function Model.open(path, settings)
    return open_with(settings, function(options, model)
        return C.detailflow_model_open(path, options, model, nil)
    end)
end
jit.off(Model.open, true)

ffi.cdef [[
void *malloc(size_t size);
void free(void *memory);
]]

-- Opens a single-file bundle that is a string. Its bytes are copied, into memory that the library frees.
function Model.open_memory(data, settings)
    local memory = ffi.C.malloc(math.max(#data, 1))
    if memory == nil then
        core.raise(tonumber(C.DETAILFLOW_STATUS_OUT_OF_MEMORY), ("%d bytes for a bundle"):format(#data))
    end
    ffi.copy(memory, data, #data)
    local taken = false
    local function open(options, model)
        taken = true
        -- Not a callback into Lua, which could come on any thread.
        local release = ffi.cast("detailflow_release_fn", ffi.C.free)
        return C.detailflow_model_open_memory(memory, #data, release, memory, options, model, nil)
    end
    local good, result = pcall(open_with, settings, open)
    if not taken then
        ffi.C.free(memory)
    end
    return good and result or error(result, 0)
end
jit.off(Model.open_memory, true)

-- Opens a single-file bundle that Lua reads. `reader.size` is its size; `reader.read(offset, count, buffer)` returns
-- `count` bytes from that offset as a string, or writes them to the buffer (a pointer) and returns true. It is called
-- within this call only.
function Model.open_reader(reader, settings)
    local failed, failure
    local function read(_, offset, buffer, count)
        if failed then
            return 0
        end
        local wanted = tonumber(count)
        local good, result = pcall(reader.read, tonumber(offset), wanted, ffi.cast("uint8_t *", buffer))
        if not good then
            failed, failure = true, result
            return 0
        elseif type(result) == "string" then
            ffi.copy(buffer, result, math.min(#result, wanted))
            return #result
        end
        return result and count or 0
    end
    local struct = core.struct "reader"
    struct.size = core.u64(reader.size, "reader: size")
    local callback = ffi.cast("detailflow_read_at_fn", read)
    struct.read_at = callback
    local good, result = pcall(open_with, settings, function(options, model)
        return C.detailflow_model_open_reader(struct, options, model, nil)
    end)
    callback:free()
    if failed then
        error(failure, 0)
    end
    return good and result or error(result, 0)
end
jit.off(Model.open_reader, true)

-- What the model is. The fields have the names of detailflow_model_info.
function Model:info()
    local info = core.struct "model_info"
    check(C.detailflow_model_get_info(core.handle(self, "model"), info))
    local properties = {}
    for _, name in ipairs { "image_size", "channels", "token_count", "group_size", "causal_count", "codebook_size",
        "bits_per_token", "class_count", "level_count", "guidance", "temperature", "top_p", "top_k" } do
        properties[name] = info[name]
    end
    for _, name in ipairs { "gradual_guidance", "can_generate", "can_encode" } do
        properties[name] = info[name] == 1
    end
    for _, name in ipairs { "name", "license", "tokenizer_id", "precision", "form", "device", "path" } do
        properties[name] = ffi.string(info[name])
    end
    return properties
end

-- What runs where, for a person.
function Model:report()
    local handle = core.handle(self, "model")
    return core.text(function(...) return C.detailflow_model_get_report(handle, ...) end)
end

-- The levels, coarse to fine: a list of { size =, token_count = }.
function Model:levels()
    local handle, level, levels = core.handle(self, "model"), core.struct "level", {}
    for at = 0, self:info().level_count - 1 do
        check(C.detailflow_model_get_level(handle, at, level))
        levels[at + 1] = { size = level.level_size, token_count = level.token_count }
    end
    return levels
end

-- The index of a class, counted from 0.
function Model:class(name)
    local index = ffi.new "uint32_t[1]"
    check(C.detailflow_model_find_class(core.handle(self, "model"), name, index))
    return index[0]
end

function Model:class_name(index)
    local name = ffi.new "const char *[1]"
    check(C.detailflow_model_get_class_name(core.handle(self, "model"), core.u32(index, "class"), name))
    return ffi.string(name[0])
end

-- The names of all classes: classes()[index + 1].
function Model:classes()
    local names = {}
    for index = 0, self:info().class_count - 1 do
        names[index + 1] = self:class_name(index)
    end
    return names
end

function Model:prefix_size(token_count)
    local size = ffi.new "uint32_t[1]"
    check(C.detailflow_model_get_prefix_size(core.handle(self, "model"), core.u32(token_count, "token count"), size))
    return size[0]
end

-- Decodes tokens, at a level or (nil) all of them, into `target` or a new image.
function Model:decode(tokens, level_size, target)
    local handle = core.handle(self, "model")
    local array, count = core.array("uint32_t", tokens, "token")
    level_size = core.u32(level_size or 0, "level")
    local struct
    local side = not target and (level_size > 0 and level_size or self:prefix_size(count))
    target, struct = image.target(target, side)
    check(C.detailflow_model_decode(handle, array, count, level_size, struct))
    return target
end

-- The tokens of an image, of a picture file, and of the bytes of one. With an effort (1 to 4) the first two search for
-- tokens that decode to the picture with less error; a cancel handle stops them.
function Model:encode(picture, cancel, effort)
    local handle, level = core.handle(self, "model"), core.u32(effort or 0, "effort")
    local stop = cancel and core.handle(cancel, "cancel")
    return core.list("uint32_t", function(...)
        return C.detailflow_model_encode_with_effort(handle, picture._struct, level, stop, ...)
    end)
end

function Model:encode_file(path, cancel, effort)
    local handle, level = core.handle(self, "model"), core.u32(effort or 0, "effort")
    local stop = cancel and core.handle(cancel, "cancel")
    return core.list("uint32_t", function(...)
        return C.detailflow_model_encode_file_with_effort(handle, path, level, stop, ...)
    end)
end

function Model:encode_data(data)
    local handle = core.handle(self, "model")
    return core.list("uint32_t", function(...) return C.detailflow_model_encode_data(handle, data, #data, ...) end)
end

-- How likely tokens are for a class: a list of natural logarithms.
function Model:score(class, tokens)
    local handle, index = core.handle(self, "model"), core.u32(class, "class")
    local array, count = core.array("uint32_t", tokens, "token")
    return core.list("float", function(...) return C.detailflow_model_score(handle, index, array, count, ...) end)
end

return Model

-- Token files (.dft), as strings.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local core = require "detailflow.core"
local ffi, C, check = core.ffi, core.C, core.check

local dft = {}
local damages = { [0] = "none", "cut", "group", "surplus" }

-- The bytes of a token file. `class` is the index of the class, or nil; `seed` is optional.
function dft.encode(model, tokens, class, seed)
    local handle = core.handle(model, "model")
    local array, count = core.array("uint32_t", tokens, "token")
    local class_index = class and core.u32(class, "class") or 0xffffffff
    local seeds = seed and ffi.new("uint64_t[1]", core.u64(seed, "seed"))
    return core.bytes(function(data, capacity, size)
        return C.detailflow_dft_encode(handle, array, count, class_index, seeds, data, capacity, size)
    end)
end

-- What a token file says. `class` and `seed` are nil when it has none.
function dft.info(data)
    local info = core.struct "dft_info"
    check(C.detailflow_dft_get_info(data, #data, info, nil))
    return {
        damage = damages[info.damage],
        intact_count = info.intact_count,
        written_count = info.written_count,
        token_count = info.token_count,
        group_size = info.group_size,
        causal_count = info.causal_count,
        bits_per_token = info.bits_per_token,
        class = info.class_index ~= 0xffffffff and info.class_index or nil,
        seed = info.has_seed == 1 and core.number(info.seed) or nil,
        tokenizer_id = ffi.string(info.tokenizer_id),
    }
end

-- Its intact tokens.
function dft.tokens(data)
    return core.list("uint32_t", function(tokens, capacity, count)
        return C.detailflow_dft_get_tokens(data, #data, tokens, capacity, count, nil)
    end)
end

-- Raises an error unless its tokens belong to the model.
function dft.check(model, data)
    check(C.detailflow_dft_check(core.handle(model, "model"), data, #data))
end

-- A token file that lost tokens, as it was: those that are missing are generated.
function dft.repair(request, data, token_count)
    local handle = core.handle(request, "request")
    return core.bytes(function(target, capacity, size)
        return C.detailflow_dft_repair(handle, data, #data, core.u32(token_count or 0, "token count"), target, capacity, size)
    end)
end

return dft

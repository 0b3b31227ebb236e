-- A thread of LÖVE cancels what another one generates. The handle passes as a number; examples/love/README.md has the
-- command.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local detailflow = require "detailflow"

function love.load()
    local model = detailflow.open()
    local generation = model:request { count = 64 }:start()
    local cancel = generation:cancel_handle()
    local channel = love.thread.newChannel()
    local thread = love.thread.newThread "thread.lua"
    thread:start(cancel:address(), channel)

    -- This thread is inside one call for seconds, unless the other one cancels it.
    generation:step()
    channel:push "now"
    local done, failure = pcall(generation.finish, generation)
    thread:wait()
    assert(not thread:getError(), thread:getError())
    local kept = generation:progress().token_count > 0
    print(("cancelled %s: %s"):format(failure and failure.name, kept and "tokens are kept" or "no tokens"))
    os.exit(not done and failure.status == detailflow.status.CANCELLED and 0 or 1)
end

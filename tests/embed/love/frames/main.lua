-- The summary of a long game: more frames than unpack returns values.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local good, failure = pcall(function()
    local frames = require "frames"
    local count = 100000
    for at = 1, count do
        -- In an order that is not sorted: 0 to 99999 microseconds, each once.
        local work = (at * 7919 % count) * 1e-6
        frames.add(work, work)
    end
    local line = frames.line()
    assert(line == "frames 100000 missed 83333 median 50.00 p99 99.00 max 100.00 "
        .. "ticks 99999 median 50.00 p99 99.00 max 100.00", line)
end)
if not good then
    io.stderr:write(tostring(failure), "\n")
end
os.exit(good and 0 or 1)

-- The frames of the game: their rhythm, and how long each took.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local frames = { count = 0, work = {}, tick = {}, PERIOD = 1 / 60 }

-- A frame ends: `work` seconds in all, `tick` of them in the worker.
function frames.add(work, tick)
    frames.count = frames.count + 1
    frames.work[frames.count], frames.tick[frames.count] = work, tick
end

local function part(values, share)
    -- Not with unpack, which returns some thousand values at most.
    local sorted = {}
    for at = 1, #values do
        sorted[at] = values[at]
    end
    table.sort(sorted)
    return sorted[math.max(1, math.ceil(#sorted * share))] or 0
end

-- One line: what the frames took. A frame is missed when it took longer than a sixtieth of a second.
function frames.line()
    local missed, ticks = 0, {}
    for at = 1, frames.count do
        missed = missed + (frames.work[at] > frames.PERIOD and 1 or 0)
        if frames.tick[at] > 0 then
            ticks[#ticks + 1] = frames.tick[at]
        end
    end
    return ("frames %d missed %d median %.2f p99 %.2f max %.2f ticks %d median %.2f p99 %.2f max %.2f"):format(
        frames.count, missed, part(frames.work, 0.5) * 1e3, part(frames.work, 0.99) * 1e3, part(frames.work, 1) * 1e3,
        #ticks, part(ticks, 0.5) * 1e3, part(ticks, 0.99) * 1e3, part(ticks, 1) * 1e3)
end

-- The loop of LÖVE, with a rhythm of its own where there is no vertical sync. `frame(dt)` does everything of one
-- frame but drawing and returns the time of the worker.
function frames.run(frame)
    love.load(love.arg.parseGameArguments(arg), arg)
    love.timer.step()
    local next_begin = love.timer.getTime()
    return function()
        local begun = love.timer.getTime()
        love.event.pump()
        for name, a, b, c, d, e, f in love.event.poll() do
            if name == "quit" and not (love.quit and love.quit()) then
                return a or 0
            end
            love.handlers[name](a, b, c, d, e, f)
        end
        local tick = frame(love.timer.step())
        love.graphics.origin()
        love.draw()
        love.graphics.present()
        local now = love.timer.getTime()
        if tick and not frames.stopped then
            frames.add(now - begun, tick)
        end
        next_begin = math.max(next_begin + frames.PERIOD, now)
        if love.window.getVSync() == 0 and next_begin > now then
            love.timer.sleep(next_begin - now)
        end
    end
end

return frames

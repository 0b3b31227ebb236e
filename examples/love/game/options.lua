-- The command line, for trials and tests; a player needs none of it.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local frames = require "frames"

local options = { seed = 18, generation = true }

local HELP = [[
--walk               walk by itself
--seed N             another dungeon
--frames N           end after N frames, and print what frames took
--settle             with --frames: end when all pictures are finished too
--screenshot FILE    write the last frame as a PNG file, and FILE.txt with the pictures in it
--level N            the finest level of pictures
--no-generation      no pictures, for comparison
--quit HOW           how to end: event (default), exit, close, or loading: while the model is opened
]]

function options.read(arguments)
    local at = 1
    local function value()
        at = at + 1
        return arguments[at] or error("a value is missing after " .. arguments[at - 1], 0)
    end
    while arguments[at] do
        local name = arguments[at]
        if name == "--walk" then options.walk = true
        elseif name == "--seed" then options.seed = tonumber(value())
        elseif name == "--frames" then options.frames = tonumber(value())
        elseif name == "--settle" then options.settle = true
        elseif name == "--screenshot" then options.screenshot = value()
        elseif name == "--level" then options.level = tonumber(value())
        elseif name == "--no-generation" then options.generation = false
        elseif name == "--quit" then options.quit = value()
        else
            print(HELP)
            os.exit(name == "--help" and 0 or 2)
        end
        at = at + 1
    end
end

local function quit()
    print(frames.line())
    io.stdout:flush()
    if options.quit == "exit" then
        os.exit(0)
    elseif options.quit == "close" then
        os.exit(0, true)
    end
    love.event.quit()
end

local last

-- Is the frame that is drawn now to be captured?
function options.captures()
    return last and options.screenshot
end

-- Called in each frame before it is drawn: frames so far, and jobs that have not ended.
function options.after_frame(count, pending)
    if last then
        quit()
    elseif options.frames and count >= options.frames and not (options.settle and pending > 0) then
        last, frames.stopped = true, true
    end
end

-- Captures the frame; `drawn` has a line for each picture in it.
function options.capture(drawn)
    love.graphics.captureScreenshot(function(image)
        local function write(path, data)
            local file = assert(io.open(path, "wb"))
            file:write(data)
            file:close()
        end
        write(options.screenshot, image:encode("png"):getString())
        write(options.screenshot .. ".txt", table.concat(drawn, "\n") .. "\n")
    end)
end

return options

-- A dungeon whose pictures are generated while the player walks: see README.md.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local detailflow = require "detailflow"
local dungeon = require "dungeon"
local frames = require "frames"
local options = require "options"
local pictures = require "pictures"
local sight = require "sight"
local view = require "view"

local BUDGET, SIGHT, SPEED = 0.004, 9, 4 -- Seconds of a frame, cells, cells per second.
local map, player, thread, cancel
local channel = love.thread.newChannel()
local loading = { done = 0, total = 1, stage = "" }
local drawn -- The pictures of the frame that is captured.

-- What is seen is remembered, and its pictures are wanted, the nearest first.
local function look()
    for _, cell in pairs(map.cells) do
        cell.visible = false
    end
    sight.each(map, player.cell_x, player.cell_y, SIGHT, function(cell)
        local distance = math.sqrt((cell.x - player.cell_x) ^ 2 + (cell.y - player.cell_y) ^ 2)
        if not cell.visible then
            cell.visible = true
            -- Many cells have one picture; the first one counts.
            cell.picture = cell.picture or pictures.want(cell.class, cell.seed, distance, true)
            if cell.thing then
                cell.thing.picture = pictures.want(cell.thing.class, cell.thing.seed, distance)
            end
        end
    end)
end

local function start(model)
    pictures.start { model = model, level = options.level }
    view.start()
    map = dungeon.new(options.seed)
    local first = map.walk[1]
    player = { x = first.x, y = first.y, cell_x = first.x, cell_y = first.y, step = 1 }
    player.picture = pictures.want("adventurer", 19, 0)
    look()
end

-- The next cell of the walk, or the one that the keys say.
local function next_cell()
    if options.walk then
        local cell = map.walk[player.step + 1]
        if cell then
            player.step = player.step + 1
            return cell.x, cell.y
        end
        return
    end
    for key, way in pairs { left = { -1, 0 }, right = { 1, 0 }, up = { 0, -1 }, down = { 0, 1 } } do
        local x, y = player.cell_x + way[1], player.cell_y + way[2]
        if love.keyboard.isDown(key) and map:is_free(x, y) then
            return x, y
        end
    end
end

local function move(dt)
    local way = SPEED * dt
    while way > 0 do
        local dx, dy = player.cell_x - player.x, player.cell_y - player.y
        local left = math.abs(dx) + math.abs(dy)
        if left > way then
            player.x, player.y = player.x + dx / left * way, player.y + dy / left * way
            return
        end
        player.x, player.y = player.cell_x, player.cell_y
        way = way - left
        local x, y = next_cell()
        if not x then
            return
        end
        player.cell_x, player.cell_y = x, y
        look()
    end
end

-- Takes what the thread says about the opening, one message in each frame.
local function load_on()
    local message = channel:pop()
    if message and message.model then
        thread:wait()
        start(detailflow.take("model", message.model))
    elseif message and message.failure then
        error(message.failure, 0)
    elseif message then
        loading = message
    end
    if options.quit == "loading" and message then
        print("quit while the model is opened: " .. tostring(message.stage))
        love.event.quit()
    end
end

function love.load(arguments)
    options.read(arguments)
    if options.frames then
        love.window.setVSync(0)
    end
    if options.generation then
        cancel = detailflow.cancel()
        thread = love.thread.newThread "loader.lua"
        thread:start("sprites.dflow", cancel:address(), channel)
    else
        start(nil)
    end
end

function love.run()
    return frames.run(function(dt)
        if not map then
            load_on()
            return nil
        end
        -- A trial ends at the same place on a slow machine as on a fast one.
        if not options.frames then
            move(math.min(dt, 0.1))
        elseif frames.count < options.frames then
            move(frames.PERIOD)
        end
        local took = pictures.work(BUDGET)
        options.after_frame(frames.count + 1, pictures.pending())
        return took
    end)
end

function love.draw()
    if not map then
        return view.draw_loading(loading.done, loading.total, loading.stage)
    end
    drawn = options.captures() and {}
    view.draw(map, player, drawn)
    view.draw_map(map, player)
    view.draw_panel(BUDGET)
    if drawn then
        options.capture(drawn)
    end
end

function love.keypressed(key)
    if key == "escape" then
        love.event.quit()
    end
end

-- The thread must not read from the .love file any more when LÖVE closes it. Jobs of the worker may go on.
function love.quit()
    if thread then
        cancel:trigger()
        thread:wait()
    end
end

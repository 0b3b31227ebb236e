-- Draws the dungeon around the player, by torchlight, and what the game is doing below it.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local frames = require "frames"
local pictures = require "pictures"

local view = { TILE = 64, WIDTH = 960, HEIGHT = 576 }
local TILE = view.TILE
local ground, things, font, small

function view.start()
    ground = love.graphics.newSpriteBatch(pictures.texture, 512, "stream")
    things = love.graphics.newSpriteBatch(pictures.texture, 512, "stream")
    font, small = love.graphics.newFont(16), love.graphics.newFont(12)
end

-- The light on a cell: that of the torch where it is seen, and little where it is only remembered. It changes
-- gradually.
local function lit(cell, player)
    local wanted = 0.16
    if cell.visible then
        local distance = math.sqrt((cell.x - player.x) ^ 2 + (cell.y - player.y) ^ 2)
        wanted = math.max(0.36, math.min(1, 1.3 - distance / 9))
    end
    cell.light = cell.light + (wanted - cell.light) * 0.12
    local light = cell.light
    return light, light * (0.90 + 0.06 * light), light * (0.84 + 0.08 * light)
end

-- Adds a picture to a batch; `drawn`, if it is there, gets a line about it.
local function add(batch, picture, x, y, r, g, b, drawn)
    batch:setColor(r, g, b, 1)
    local scale = TILE / pictures.size
    batch:add(picture.quad, x, y, 0, scale, scale)
    if drawn then
        drawn[#drawn + 1] = ("%s %d %d %d %d %.4f %.4f %.4f"):format(picture.class, picture.seed, picture.level, x, y, r, g, b)
    end
end

-- `drawn`, if it is there, gets a line for each picture: class, seed, level, x, y, and the colour of the light.
function view.draw(map, player, drawn)
    love.graphics.clear(0.035, 0.03, 0.045)
    local left = math.floor((player.x + 0.5) * TILE - view.WIDTH / 2)
    local top = math.floor((player.y + 0.5) * TILE - view.HEIGHT / 2)
    ground:clear()
    things:clear()
    for y = math.floor(top / TILE), math.floor((top + view.HEIGHT) / TILE) do
        for x = math.floor(left / TILE), math.floor((left + view.WIDTH) / TILE) do
            local cell = map:at(x, y)
            if cell and cell.picture then
                local r, g, b = lit(cell, player)
                add(ground, cell.picture, x * TILE - left, y * TILE - top, r, g, b, drawn)
                if cell.thing then
                    add(things, cell.thing.picture, x * TILE - left, y * TILE - top, r, g, b, drawn)
                end
            end
        end
    end
    local x, y = math.floor(player.x * TILE + 0.5) - left, math.floor(player.y * TILE + 0.5) - top
    add(things, player.picture, x, y, 1, 0.96, 0.92, drawn)
    love.graphics.setColor(1, 1, 1)
    -- The pixels are premultiplied with their alpha.
    love.graphics.setBlendMode("alpha", "premultiplied")
    love.graphics.setScissor(0, 0, view.WIDTH, view.HEIGHT)
    love.graphics.draw(ground)
    love.graphics.draw(things)
    love.graphics.setScissor()
    love.graphics.setBlendMode("alpha")
end

-- The part of the dungeon that was seen, in the corner.
function view.draw_map(map, player)
    local scale = 2
    local left, top = view.WIDTH - map.width * scale - 12, 12
    love.graphics.setColor(0, 0, 0, 0.65)
    love.graphics.rectangle("fill", left - 6, top - 6, map.width * scale + 12, map.height * scale + 12, 6)
    for _, cell in pairs(map.cells) do
        if cell.picture then
            local light = cell.visible and 1 or 0.55
            if cell.ground == "wall" then
                love.graphics.setColor(0.42 * light, 0.40 * light, 0.46 * light)
            elseif cell.ground == "water" then
                love.graphics.setColor(0.15 * light, 0.45 * light, 0.75 * light)
            elseif cell.thing then
                love.graphics.setColor(0.95 * light, 0.70 * light, 0.25 * light)
            else
                love.graphics.setColor(0.17 * light, 0.16 * light, 0.20 * light)
            end
            love.graphics.rectangle("fill", left + cell.x * scale - scale, top + cell.y * scale - scale, scale, scale)
        end
    end
    love.graphics.setColor(1, 1, 1)
    love.graphics.rectangle("fill", left + player.x * scale - scale - 1, top + player.y * scale - scale - 1, scale + 2, scale + 2)
end

-- How many pictures there are at each level, and the time of the last frames.
function view.draw_panel(budget)
    local top = view.HEIGHT
    love.graphics.setColor(0.075, 0.07, 0.085)
    love.graphics.rectangle("fill", 0, top, view.WIDTH, 64)
    love.graphics.setColor(0.25, 0.23, 0.28)
    love.graphics.rectangle("fill", 0, top, view.WIDTH, 1)

    love.graphics.setFont(font)
    love.graphics.setColor(0.93, 0.90, 0.84)
    love.graphics.print(("%d pictures, %d finished"):format(pictures.count, pictures.finished), 16, top + 10)
    love.graphics.setFont(small)
    love.graphics.setColor(0.62, 0.60, 0.58)
    love.graphics.print("arrow keys walk   esc quits", 16, top + 36)

    local x = 270
    for _, level in ipairs { 8, 16, 24, 32 } do
        local count = pictures.levels[level] or 0
        love.graphics.setColor(0.62, 0.60, 0.58)
        love.graphics.printf(("%d px"):format(level), x, top + 36, 60, "center")
        love.graphics.setColor(0.98, 0.78 - level * 0.008, 0.40 - level * 0.004)
        love.graphics.setFont(font)
        love.graphics.printf(tostring(count), x, top + 10, 60, "center")
        love.graphics.setFont(small)
        x = x + 64
    end

    -- A bar for each frame: grey all of it, orange the part of the worker. The line is the budget of the worker.
    local left, bottom, height = 590, top + 58, 2.6
    local last = frames.count
    for at = math.max(1, last - 176), last do
        local bar = left + at - math.max(1, last - 176)
        love.graphics.setColor(0.36, 0.35, 0.40)
        love.graphics.rectangle("fill", bar, bottom, 1, -math.min(50, frames.work[at] * 1e3 * height))
        love.graphics.setColor(0.98, 0.58, 0.20)
        love.graphics.rectangle("fill", bar, bottom, 1, -math.min(50, frames.tick[at] * 1e3 * height))
    end
    love.graphics.setColor(0.93, 0.90, 0.84, 0.5)
    love.graphics.rectangle("fill", left, bottom - budget * 1e3 * height, 177, 1)
    love.graphics.setColor(0.62, 0.60, 0.58)
    love.graphics.print(("worker %4.1f ms"):format((frames.tick[last] or 0) * 1e3), left + 190, top + 12)
    love.graphics.print(("frame %4.1f of 16.7 ms"):format((frames.work[last] or 0) * 1e3), left + 190, top + 34)
    love.graphics.setColor(1, 1, 1)
end

-- The screen while the model is opened.
function view.draw_loading(done, total, stage)
    love.graphics.clear(0.035, 0.03, 0.045)
    local width, left, top = 360, (view.WIDTH - 360) / 2, 320
    love.graphics.setColor(0.25, 0.23, 0.28)
    love.graphics.rectangle("fill", left, top, width, 10, 5)
    love.graphics.setColor(0.98, 0.58, 0.20)
    love.graphics.rectangle("fill", left, top, math.max(10, width * done / math.max(1, total)), 10, 5)
    love.graphics.setColor(0.62, 0.60, 0.58)
    love.graphics.printf("opening the model: " .. stage, 0, top - 32, view.WIDTH, "center")
    love.graphics.setColor(1, 1, 1)
end

return view

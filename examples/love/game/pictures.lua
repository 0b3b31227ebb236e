-- The pictures of the game: one job for each class and seed that is wanted, worked on in the frames of the game.
-- Their pixels go into one texture, coarse first, and again at each finer level.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local detailflow = require "detailflow"

local pictures = { size = 32, count = 0, finished = 0, levels = {}, all = {} }
local SIDE = 24 -- Pictures in a row, and rows, of the texture.

local worker, model, texture, finest

-- What is shown before the first level: dim ground, and a shadow where a thing will be.
local function placeholder(is_ground)
    local data = love.image.newImageData(pictures.size, pictures.size)
    local middle = pictures.size / 2 - 0.5
    data:mapPixel(function(x, y)
        if is_ground then
            return 0.08, 0.08, 0.09, 1
        end
        local distance = math.sqrt((x - middle) ^ 2 + (1.6 * (y - middle - 5)) ^ 2) / middle
        return 0, 0, 0, math.max(0, 0.7 - distance)
    end)
    return data
end

-- `settings.level` is the level at which jobs end; nil is the finest. Without a model no job is submitted.
function pictures.start(settings)
    model, finest = settings.model, settings.level
    if model then
        pictures.size = model:info().image_size
        worker = detailflow.worker { threads = 0 }
    end
    texture = love.graphics.newImage(love.image.newImageData(SIDE * pictures.size, SIDE * pictures.size))
    texture:setFilter("nearest", "nearest")
    pictures.texture = texture
end

local function put(picture)
    texture:replacePixels(picture.data, 1, 1, picture.x, picture.y)
end

-- The picture of a class and seed, which is made from now on if it was not wanted before. `distance` says how soon.
function pictures.want(class, seed, distance, is_ground)
    local key = class .. ":" .. seed
    local picture = pictures.all[key]
    if not picture then
        local at, size = pictures.count, pictures.size
        assert(at < SIDE * SIDE, "more pictures than the texture has room for")
        pictures.count = at + 1
        local x, y = at % SIDE * size, math.floor(at / SIDE) * size
        picture = {
            class = class, seed = seed, level = 0, x = x, y = y,
            quad = love.graphics.newQuad(x, y, size, size, texture:getDimensions()),
            data = placeholder(is_ground),
        }
        pictures.all[key], pictures.all[at + 1] = picture, picture
        put(picture)
        if worker then
            -- The worker writes each level into this memory, coarse ones enlarged.
            picture.pixels = love.image.newImageData(size, size)
            local target = detailflow.wrap(picture.pixels:getFFIPointer(), picture.pixels:getSize(), size, size,
                "rgba8_premultiplied", nil, picture.pixels)
            local request = model:request { class = class, seed = seed, level = finest }
            picture.job = worker:submit(request, { user = at + 1, priority = -distance, targets = { target } })
            request:close()
        end
    elseif picture.job and picture.distance ~= distance then
        worker:set_priority(picture.job, -distance)
    end
    picture.distance = distance
    return picture
end

-- Works for at most about so many seconds. Returns the time that it took.
function pictures.work(seconds)
    if not worker or worker:pending() == 0 then
        return 0
    end
    local begun = love.timer.getTime()
    worker:tick(seconds)
    local took = love.timer.getTime() - begun
    for event in worker:events() do
        local picture = pictures.all[event.user]
        if event.kind == "level" then
            pictures.levels[picture.level] = (pictures.levels[picture.level] or 1) - 1
            picture.level, picture.data = event.level_size, picture.pixels
            pictures.levels[picture.level] = (pictures.levels[picture.level] or 0) + 1
            put(picture)
        else
            assert(event.kind == "done", event:message())
            pictures.finished = pictures.finished + 1
            picture.job = nil
        end
        event:close()
    end
    return took
end

-- Jobs that have not ended.
function pictures.pending()
    return worker and worker:pending() or 0
end

return pictures

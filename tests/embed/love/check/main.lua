-- Looks whether the pictures of a screenshot are where they should be, and are what the default model gives for their
-- class, seed and level:
--     love tests/embed/love/check SCREENSHOT.png LEAST [LEVEL]
-- SCREENSHOT.png.txt has a line for each picture: class, seed, level, x, y, colour of the light. At least LEAST
-- things have to be there, and with LEVEL all pictures have that level.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local SIDE, SCALE, WIDTH, HEIGHT = 32, 2, 960, 576
-- What is seen through pictures that are not opaque: the colour of examples/love/game/view.lua.
local BACKGROUND = { 0.035 * 255, 0.03 * 255, 0.045 * 255 }
local detailflow = require "detailflow"
local model = detailflow.open()

local function contents(path)
    local file = assert(io.open(path, "rb"))
    local data = file:read "*a"
    file:close()
    return data
end

local known = {}

-- The pixels (premultiplied bytes) of a picture, enlarged to SIDE between the centres of pixels.
local function pixels(class, seed, level)
    local key = class .. seed .. ":" .. level
    if not known[key] then
        local generation = model:request { class = class, seed = seed, level = level }:generate()
        local image = generation:decode_level(0, detailflow.image(level, level, "rgba8_premultiplied"))
        local function along(at)
            local place = math.max(0, (at + 0.5) * level / SIDE - 0.5)
            local first = math.floor(place)
            return first, math.min(first + 1, level - 1), place - first
        end
        known[key] = function(x, y, channel)
            local left, right, across = along(x)
            local above, below, down = along(y)
            local function of(column, row) return image.pixels[(row * level + column) * 4 + channel] end
            local top = of(left, above) * (1 - across) + of(right, above) * across
            return top * (1 - down) + (of(left, below) * (1 - across) + of(right, below) * across) * down
        end
    end
    return known[key]
end

local function read(path)
    local grounds, things = {}, {}
    for line in contents(path):gmatch "[^\n]+" do
        local picture = {}
        local field = line:gmatch "%S+"
        picture.class = field()
        for _, name in ipairs { "seed", "level", "x", "y" } do
            picture[name] = tonumber(field())
        end
        picture.light = { tonumber(field()), tonumber(field()), tonumber(field()) }
        local is_ground = picture.class == "floor" or picture.class == "wall" or picture.class == "water"
        if is_ground then
            grounds[picture.x .. "," .. picture.y] = picture
        end
        things[#things + 1] = picture
        picture.is_ground = is_ground
    end
    return grounds, things
end

-- The share of pixels of a picture that the screenshot has, over its ground; nil when it cannot be told: where it is
-- cut off, under the map in the corner, under the player, or without a level.
local function share(screenshot, picture, ground, player, seed)
    local under_map = picture.x + 64 > WIDTH - 160 and picture.y < 120
    local under_player = picture ~= player
        and math.abs(picture.x - player.x) < 64 and math.abs(picture.y - player.y) < 64
    local cut = picture.x < 0 or picture.y < 0 or picture.x + 64 > WIDTH or picture.y + 64 > HEIGHT
    if cut or under_map or under_player then
        return nil
    end
    if picture.level == 0 or not ground or ground.level == 0 then
        return nil
    end
    local over = pixels(picture.class, seed or picture.seed, picture.level)
    local layers = { { over, picture.light } }
    if picture ~= ground then
        table.insert(layers, 1, { pixels(ground.class, ground.seed, ground.level), ground.light })
    end
    local equal = 0
    for y = 0, SIDE - 1 do
        for x = 0, SIDE - 1 do
            local found = { screenshot:getPixel(picture.x + x * SCALE, picture.y + y * SCALE) }
            local good = true
            for channel = 1, 3 do
                local wanted = BACKGROUND[channel]
                for _, layer in ipairs(layers) do
                    local of, light = layer[1], layer[2]
                    wanted = of(x, y, channel - 1) * light[channel] + wanted * (1 - of(x, y, 3) / 255)
                end
                good = good and math.abs(wanted - found[channel] * 255) <= 3
            end
            equal = equal + (good and 1 or 0)
        end
    end
    return equal / (SIDE * SIDE)
end

function love.load(arguments)
    local path, least, level = arguments[1], tonumber(arguments[2]), tonumber(arguments[3])
    local screenshot = love.image.newImageData(love.filesystem.newFileData(contents(path), path))
    local grounds, pictures = read(path .. ".txt")
    local player = pictures[#pictures]
    assert(player.class == "adventurer" and screenshot:getWidth() == WIDTH)
    local count, things, levels, told = 0, 0, {}, 0
    for _, picture in ipairs(pictures) do
        local ground = picture.is_ground and picture or grounds[picture.x .. "," .. picture.y]
        -- The ground of a thing is looked at together with it.
        local covered = false
        for _, other in ipairs(pictures) do
            covered = covered or picture.is_ground and other ~= picture and other.x == picture.x and other.y == picture.y
        end
        local equal = not covered and share(screenshot, picture, ground, player)
        if equal then
            -- The library enlarges what is not clamped to bytes yet, so that a few pixels of coarse levels differ.
            if equal < (picture.level == SIDE and 1 or 0.97) then
                error(("%s %d at %d, %d, level %d: %.1f %% of the pixels are right"):format(picture.class, picture.seed,
                    picture.x, picture.y, picture.level, equal * 100), 0)
            end
            count = count + 1
            levels[picture.level] = (levels[picture.level] or 0) + 1
            if not picture.is_ground then
                things = things + 1
                -- The same check with another seed has to fail.
                told = told + (share(screenshot, picture, ground, player, picture.seed + 1) < 0.9 and 1 or 0)
            end
        end
        assert(not level or picture.level == level, "a picture of another level")
    end
    local seen = {}
    for size, number in pairs(levels) do
        seen[#seen + 1] = ("%d at %d px"):format(number, size)
    end
    table.sort(seen)
    print(("%s: %d pictures are right, %d of them things (%s)"):format(path:match "[^/]+$", count, things,
        table.concat(seen, ", ")))
    assert(things >= least, "too few things")
    -- Some seeds give nearly the same picture; most do not.
    assert(told >= things * 0.7, "pictures of other seeds pass as well")
    os.exit(0)
end

function love.errorhandler(message)
    io.stderr:write("check: ", tostring(message), "\n")
    return function() return 1 end
end

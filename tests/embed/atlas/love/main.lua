-- Draws every sprite of an atlas, and compares its pixels with the picture file of that name:
--     love FOLDER [--bleeds]
-- FOLDER has this file, atlas/atlas.lua with its pages, and pictures/NAME.png. Magnified between the centres of pixels, sprites
-- must look as their files alone do; with --bleeds they must not, which shows that the comparison can fail.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local FACTOR = 3

local function draw_on(canvas, draw)
    love.graphics.setCanvas(canvas)
    love.graphics.clear(0, 0, 0, 0)
    -- Pixels as they are, with their alpha.
    love.graphics.setBlendMode("replace", "premultiplied")
    draw()
    love.graphics.setCanvas()
    return canvas:newImageData()
end

-- The largest difference of two pictures, in steps of 255.
local function difference(one, other)
    assert(one:getWidth() == other:getWidth() and one:getHeight() == other:getHeight())
    local largest = 0
    one:mapPixel(function(x, y, ...)
        local wanted = { other:getPixel(x, y) }
        for channel = 1, 4 do
            largest = math.max(largest, math.abs(select(channel, ...) - wanted[channel]) * 255)
        end
        return ...
    end)
    return largest
end

local function check(arguments)
    local bleeds = arguments[1] == "--bleeds"
    local atlas = require("atlas.atlas").load("atlas/")
    local compared, bled, pages = 0, 0, {}
    for name, sprite in pairs(atlas.sprites) do
        local page = atlas.pages[sprite.page]
        assert(page.texture:getWidth() == page.width and page.texture:getHeight() == page.height, page.image)
        local file = love.image.newImageData("pictures/" .. name .. ".png")
        assert(file:getWidth() == sprite.width, name)
        assert(name == sprite.class .. "-" .. sprite.seed, name)
        page.texture:setFilter("nearest")
        local canvas = love.graphics.newCanvas(sprite.width, sprite.height)
        local alone = draw_on(canvas, function() atlas.draw(name, 0, 0) end)
        assert(difference(alone, file) == 0, name .. " differs from its file")

        local picture = love.graphics.newImage(file)
        picture:setFilter("linear")
        picture:setWrap("clamp")
        page.texture:setFilter("linear")
        local large = love.graphics.newCanvas(sprite.width * FACTOR, sprite.height * FACTOR)
        local wanted = draw_on(large, function() love.graphics.draw(picture, 0, 0, 0, FACTOR) end)
        local found = draw_on(large, function() atlas.draw(name, 0, 0, 0, FACTOR, FACTOR) end)
        if difference(found, wanted) > 2 then
            bled = bled + 1
            assert(bleeds, name .. " is blended with what is beside it")
        end
        compared = compared + 1
        pages[sprite.page] = true
    end
    assert(compared > 100 and #pages > 1, compared .. " sprites on " .. #pages .. " pages")
    assert(not bleeds or bled > compared / 2, "only " .. bled .. " sprites are blended with what is beside them")
    print(compared .. " sprites on " .. #pages .. " pages compared, " .. bled .. " blended with others")
end

function love.load(arguments)
    local fine, message = xpcall(check, debug.traceback, arguments)
    if not fine then io.stderr:write(message, "\n") end
    os.exit(fine and 0 or 1)
end

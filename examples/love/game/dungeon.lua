-- A dungeon from a seed: rooms, corridors, ponds, things, and a walk through all rooms. Pictures are named here, and
-- made elsewhere.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local dungeon = {}

local WIDTH, HEIGHT, ROOMS = 64, 46, 16

-- Seeds of the classes "floor" and "wall" that go well together; the first is that of corridors.
local themes = {
    { floor = 6, wall = 11 },
    { floor = 15, wall = 1 },
    { floor = 14, wall = 10 },
    { floor = 5, wall = 20 },
    { floor = 0, wall = 25 },
    { floor = 11, wall = 27 },
}

-- What stands in rooms, and how often. Those that block cannot be walked through.
local kinds = {
    { class = "treasure", weight = 4 }, { class = "potion", weight = 4 }, { class = "weapon", weight = 3 },
    { class = "book", weight = 2 }, { class = "ring", weight = 2 }, { class = "amulet", weight = 2 },
    { class = "wand", weight = 2 }, { class = "armour", weight = 1 },
    { class = "plant", weight = 3, blocks = true }, { class = "structure", weight = 3, blocks = true },
    { class = "dragon", weight = 3, blocks = true }, { class = "golem", weight = 2, blocks = true },
    { class = "humanoid", weight = 2, blocks = true }, { class = "undead", weight = 2, blocks = true },
}

local function pick_kind(random)
    local total = 0
    for _, kind in ipairs(kinds) do
        total = total + kind.weight
    end
    local at = random:random(total)
    for _, kind in ipairs(kinds) do
        at = at - kind.weight
        if at <= 0 then
            return kind
        end
    end
end

local function place_rooms(random)
    local rooms = {}
    for _ = 1, 4000 do
        local w, h = random:random(7, 11), random:random(5, 8)
        local room = { x = random:random(2, WIDTH - w - 1), y = random:random(2, HEIGHT - h - 1), w = w, h = h }
        local free = true
        for _, other in ipairs(rooms) do
            free = free and (room.x > other.x + other.w + 1 or other.x > room.x + room.w + 1
                or room.y > other.y + other.h + 1 or other.y > room.y + room.h + 1)
        end
        if free then
            room.cx, room.cy = math.floor(room.x + w / 2), math.floor(room.y + h / 2)
            rooms[#rooms + 1] = room
            if #rooms == ROOMS then
                break
            end
        end
    end
    -- In the order in which they are walked through: each time to the nearest.
    for at = 1, #rooms - 1 do
        local nearest, least = at + 1, math.huge
        for other = at + 1, #rooms do
            local distance = math.abs(rooms[at].cx - rooms[other].cx) + math.abs(rooms[at].cy - rooms[other].cy)
            if distance < least then
                nearest, least = other, distance
            end
        end
        rooms[at + 1], rooms[nearest] = rooms[nearest], rooms[at + 1]
    end
    return rooms
end

-- From room to room: along the row first, then along the column. Every cell of it becomes floor.
local function carve(map, rooms)
    for at, room in ipairs(rooms) do
        room.theme = themes[at % #themes + 1]
        for y = room.y, room.y + room.h - 1 do
            for x = room.x, room.x + room.w - 1 do
                map:set(x, y, "floor", room.theme)
                map:at(x, y).room = room
            end
        end
    end
    local x, y = rooms[1].cx, rooms[1].cy
    map.walk[1] = { x = x, y = y }
    for at = 2, #rooms do
        while x ~= rooms[at].cx or y ~= rooms[at].cy do
            if x ~= rooms[at].cx then
                x = x + (x < rooms[at].cx and 1 or -1)
            else
                y = y + (y < rooms[at].cy and 1 or -1)
            end
            local cell = map:at(x, y)
            if not cell or cell.ground ~= "floor" then
                map:set(x, y, "floor", themes[1])
            end
            map:at(x, y).walked = true
            map.walk[#map.walk + 1] = { x = x, y = y }
        end
    end
    map:at(map.walk[1].x, map.walk[1].y).walked = true
end

-- Walls around all floor, in the theme of a neighbour.
local function build_walls(map)
    for y = 1, HEIGHT do
        for x = 1, WIDTH do
            if not map:at(x, y) then
                local theme
                for dy = -1, 1 do
                    for dx = -1, 1 do
                        local cell = map:at(x + dx, y + dy)
                        if cell and cell.ground == "floor" and not (theme and not cell.room) then
                            theme = cell.theme
                        end
                    end
                end
                if theme then
                    map:set(x, y, "wall", theme)
                end
            end
        end
    end
end

local function furnish(map, rooms, random)
    local seed = 0
    for at, room in ipairs(rooms) do
        if at % 3 == 0 then
            local px, py = random:random(room.x + 1, room.x + room.w - 3), random:random(room.y + 1, room.y + room.h - 3)
            for y = py, py + 1 do
                for x = px, px + 2 do
                    if not map:at(x, y).walked then
                        map:set(x, y, "water", room.theme)
                        map:at(x, y).room = room
                    end
                end
            end
        end
        local wanted = random:random(13, 17)
        for _ = 1, 80 do
            local x, y = random:random(room.x, room.x + room.w - 1), random:random(room.y, room.y + room.h - 1)
            local cell = map:at(x, y)
            if wanted > 0 and cell.ground == "floor" and not cell.walked and not cell.thing then
                local kind = pick_kind(random)
                seed = seed + 1
                cell.thing = { class = kind.class, seed = seed, blocks = kind.blocks }
                wanted = wanted - 1
            end
        end
    end
end

function dungeon.new(seed)
    local random = love.math.newRandomGenerator(seed)
    local map = { width = WIDTH, height = HEIGHT, cells = {}, walk = {} }

    function map:at(x, y)
        if x >= 1 and x <= WIDTH and y >= 1 and y <= HEIGHT then
            return self.cells[y * WIDTH + x]
        end
    end

    function map:set(x, y, ground, theme)
        self.cells[y * WIDTH + x] = {
            x = x, y = y, ground = ground, theme = theme, light = 0,
            walked = self.cells[y * WIDTH + x] and self.cells[y * WIDTH + x].walked,
            -- The class and seed of its picture.
            class = ground, seed = ground == "water" and 10 or theme[ground],
        }
    end

    function map:is_free(x, y)
        local cell = self:at(x, y)
        return cell ~= nil and cell.ground == "floor" and not (cell.thing and cell.thing.blocks)
    end

    local rooms = place_rooms(random)
    carve(map, rooms)
    build_walls(map)
    furnish(map, rooms, random)
    return map
end

return dungeon

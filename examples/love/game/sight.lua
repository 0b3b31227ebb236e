-- Which cells are seen from a cell: shadow casting in eight octants.
-- SPDX-License-Identifier: MIT OR Apache-2.0
local sight = {}

local octants = {
    { 1, 0, 0, 1 }, { 0, 1, 1, 0 }, { 0, -1, 1, 0 }, { -1, 0, 0, 1 },
    { -1, 0, 0, -1 }, { 0, -1, -1, 0 }, { 0, 1, -1, 0 }, { 1, 0, 0, -1 },
}

local function cast(map, cx, cy, row, start, stop, radius, octant, see)
    for distance = row, radius do
        local blocked, next_start = false, start
        for dx = -distance, 0 do
            local left, right = (dx - 0.5) / (-distance + 0.5), (dx + 0.5) / (-distance - 0.5)
            if right <= start and left >= stop then
                local x = cx + dx * octant[1] - distance * octant[2]
                local y = cy + dx * octant[3] - distance * octant[4]
                local cell = map:at(x, y)
                if cell and dx * dx + distance * distance <= radius * radius then
                    see(cell)
                end
                local opaque = not cell or cell.ground == "wall"
                if blocked then
                    if opaque then
                        next_start = right
                    else
                        blocked = false
                        start = next_start
                    end
                elseif opaque then
                    blocked = true
                    cast(map, cx, cy, distance + 1, start, left, radius, octant, see)
                    next_start = right
                end
            end
        end
        if blocked then
            return
        end
    end
end

-- Calls see(cell) for every cell that is seen from (x, y), some of them twice.
function sight.each(map, x, y, radius, see)
    see(map:at(x, y))
    for _, octant in ipairs(octants) do
        cast(map, x, y, 1, 1, 0, radius, octant, see)
    end
end

return sight

-- SPDX-License-Identifier: MIT OR Apache-2.0
function love.conf(t)
    t.window.width, t.window.height = 320, 240
    t.modules.audio = false
    t.gammacorrect = false
end

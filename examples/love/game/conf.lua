-- SPDX-License-Identifier: MIT OR Apache-2.0
function love.conf(t)
    t.identity = "detailflow-dungeon"
    t.version = "11.4"
    t.window.title = "A dungeon that sharpens as you walk"
    t.window.width = 960
    t.window.height = 640
    t.modules.audio = false
    t.modules.joystick = false
    t.modules.physics = false
    t.modules.sound = false
    t.modules.touch = false
    t.modules.video = false
end

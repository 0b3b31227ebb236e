// SPDX-License-Identifier: MIT OR Apache-2.0
// A plugin that has the library in it, and one function.
#include "sprite.hpp"

extern "C" __attribute__((visibility("default"))) int plugin_draw(const char *path);

int plugin_draw(const char *path) { return draw_sprite(path) ? 0 : 1; }

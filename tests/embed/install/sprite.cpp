// SPDX-License-Identifier: MIT OR Apache-2.0
// sprite FILE.png: a program that links the library.
#include "sprite.hpp"

int main(int argc, char **argv) { return argc == 2 && draw_sprite(argv[1]) ? 0 : 1; }

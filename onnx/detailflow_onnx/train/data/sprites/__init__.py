"""The sprite set: 32x32 RGBA pictures of 21 classes from the tiles of Dungeon Crawl Stone Soup.

The source is the CC0 part of the tiles (github.com/crawl/tiles: a release folder, or all of it as .tar.gz), or a
checkout of Crawl with the same folders (`rltiles`). Folder names give the classes. Tiles that do not show their class
(icons drawn over items, edges drawn over ground, parts of figures, fragments) are left out. Some figures are drawn in
layers by the game; those are composed here in the same way. The same source gives the same pictures on every machine.

`tables` lists tiles, `tiles` reads them, `compose` composes pictures, `build` writes the set.
"""

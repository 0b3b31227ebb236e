//! A Lua module for LÖVE 11 and later: a table of sprites, and functions that make quads of them and draw.
//!
//! Sprites are added by functions of at most [`PART`] sprites: LuaJIT limits the constants of a function to 65,536.

use std::path::{Path, PathBuf};

use super::metadata::{self, Metadata, Page};
use super::options::Options;
use crate::pipeline::text_file::TextFile;
use crate::support::error::Result;

/// Sprites in one function.
const PART: usize = 1000;
/// Integers up to this one are exact as numbers of Lua.
const EXACT: u64 = 1 << 53;

/// How a module begins.
const HEAD: &str = "\
-- Sprites of libdetailflow for LÖVE 11 and later:
--   local atlas = require(\"NAME\").load(\"folder/of/the/pages/\")
--   atlas.draw(\"SPRITE\", x, y)
-- atlas.sprites[\"SPRITE\"] has page, x, y, width, height, class, seed (a string from 2^53 on), tags, and quad after load;
-- atlas.pages has image, width, height, and texture after load.
local atlas = {pages = {}, sprites = {}}
local pages, sprites = atlas.pages, atlas.sprites

local function page(image, width, height)
    pages[#pages + 1] = {image = image, width = width, height = height}
end

local function sprite(name, x, y, side, class, seed, ...)
    sprites[name] = {page = #pages, x = x, y = y, width = side, height = side, class = class, seed = seed, tags = {...}}
end

-- Loads the pages out of a folder, \"\" or one that ends with \"/\"; settings are those of love.graphics.newImage.
function atlas.load(folder, settings)
    for _, page in ipairs(pages) do
        page.texture = love.graphics.newImage((folder or \"\") .. page.image, settings)
    end
    for _, sprite in pairs(sprites) do
        local page = pages[sprite.page]
        sprite.quad = love.graphics.newQuad(sprite.x, sprite.y, sprite.width, sprite.height, page.width, page.height)
    end
    return atlas
end

-- Draws a sprite with its pivot (without one its left top corner) at x, y; the rest is as in love.graphics.draw.
function atlas.draw(name, x, y, turn, scale_x, scale_y)
    local sprite = assert(sprites[name], name)
    local pivot = atlas.pivot or {0, 0}
    local origin_x, origin_y = pivot[1] * sprite.width, pivot[2] * sprite.height
    love.graphics.draw(pages[sprite.page].texture, sprite.quad, x, y, turn, scale_x, scale_y, origin_x, origin_y)
end
";

pub(super) struct Writer {
    file: TextFile,
}

impl Writer {
    pub fn create(folder: &Path, options: &Options) -> Result<Self> {
        let mut file = TextFile::create(folder.join(format!("{}.lua", options.name)))?;
        // It stands in a comment, which a line break would end.
        let name: String = options.name.chars().filter(|c| !c.is_control()).collect();
        file.push(&HEAD.replace("NAME", &name))?;
        file.push(&format!("\natlas.premultiplied = {}\n", options.premultiplied))?;
        if let Some([x, y]) = options.pivot {
            file.push(&format!("atlas.pivot = {{{x}, {y}}}\n"))?;
        }
        if let Some([left, top, right, bottom]) = options.nine_slice {
            let parts = format!("left = {left}, top = {top}, right = {right}, bottom = {bottom}");
            file.push(&format!("atlas.nine_slice = {{{parts}}}\n"))?;
        }
        Ok(Self { file })
    }
}

impl Metadata for Writer {
    fn page(&mut self, page: &Page, _: &Options) -> Result<()> {
        self.file.push(&format!("\npage({}, {}, {})\n", quoted(page.image), page.width, page.height))?;
        for part in page.sprites.chunks(PART) {
            self.file.push("do\n    local function part()\n")?;
            for placed in part {
                let sprite = placed.sprite;
                let seed = match sprite.seed {
                    None => "nil".to_owned(),
                    Some(seed) if seed < EXACT => seed.to_string(),
                    Some(seed) => quoted(&seed.to_string()),
                };
                let tags: String = sprite.tags.iter().map(|tag| format!(", {}", quoted(tag))).collect();
                let (name, class) = (quoted(&sprite.name), quoted(&sprite.class));
                let (x, y, side) = (placed.x, placed.y, sprite.side);
                self.file.push(&format!("        sprite({name}, {x}, {y}, {side}, {class}, {seed}{tags})\n"))?;
            }
            self.file.push("    end\n    part()\nend\n")?;
        }
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Options) -> Result<Vec<PathBuf>> {
        let mut file = self.file;
        file.push("\nreturn atlas\n")?;
        Ok(vec![file.finish()?])
    }
}

/// A string literal of Lua.
fn quoted(text: &str) -> String {
    metadata::quoted(text, |c| if c.is_ascii() { format!("\\{:03}", u32::from(c)) } else { c.to_string() })
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quoted_escapes_what_ends_a_literal() {
        assert_eq!(quoted("a\"b\\c\n1 é"), r#""a\"b\\c\0101 é""#);
    }
}

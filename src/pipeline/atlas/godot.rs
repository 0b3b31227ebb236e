//! Resources of Godot 4: for each page SpriteFrames with an animation of one frame for each sprite, whose name is the sprite's.
//! Godot loads them without a plugin; the path of the page is relative to the file.

use std::path::{Path, PathBuf};

use super::metadata::{self, Metadata, Page};
use super::options::Options;
use crate::pipeline::text_file::TextFile;
use crate::support::error::Result;

pub(super) struct Writer {
    folder: PathBuf,
    files: Vec<PathBuf>,
}

impl Writer {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), files: Vec::new() }
    }
}

impl Metadata for Writer {
    fn page(&mut self, page: &Page, options: &Options) -> Result<()> {
        let mut file = TextFile::create(self.folder.join(format!("{}-{}.tres", options.name, page.number)))?;
        // The texture, the sprites, and the resource itself.
        file.push(&format!(
            "[gd_resource type=\"SpriteFrames\" load_steps={} format=3]\n\n\
             [ext_resource type=\"Texture2D\" path={} id=\"1\"]\n",
            page.sprites.len() + 2,
            quoted(page.image)
        ))?;
        for (at, placed) in page.sprites.iter().enumerate() {
            let (x, y, side) = (placed.x, placed.y, placed.sprite.side);
            file.push(&format!(
                "\n[sub_resource type=\"AtlasTexture\" id=\"{at}\"]\natlas = ExtResource(\"1\")\n\
                 region = Rect2({x}, {y}, {side}, {side})\n"
            ))?;
            if options.extrude == 0 {
                // Nothing beside the sprite is sampled.
                file.push("filter_clip = true\n")?;
            }
        }
        file.push("\n[resource]\nanimations = [")?;
        for (at, placed) in page.sprites.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            file.push(&format!(
                "{comma}{{\n\"frames\": [{{\n\"duration\": 1.0,\n\"texture\": SubResource(\"{at}\")\n}}],\n\
                 \"loop\": true,\n\"name\": &{},\n\"speed\": 5.0\n}}",
                quoted(&placed.sprite.name)
            ))?;
        }
        file.push("]\n")?;
        if let Some([x, y]) = options.pivot {
            file.push(&format!("metadata/pivot = Vector2({x}, {y})\n"))?;
        }
        if let Some([left, top, right, bottom]) = options.nine_slice {
            file.push(&format!("metadata/nine_slice = PackedInt32Array({left}, {top}, {right}, {bottom})\n"))?;
        }
        file.push(&format!("metadata/premultiplied = {}\n", options.premultiplied))?;
        self.files.push(file.finish()?);
        Ok(())
    }

    fn finish(self: Box<Self>, _: &Options) -> Result<Vec<PathBuf>> {
        Ok(self.files)
    }
}

/// A string literal of Godot.
fn quoted(text: &str) -> String {
    metadata::quoted(text, |c| format!("\\u{:04x}", u32::from(c)))
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn quoted_escapes_what_ends_a_literal() {
        assert_eq!(quoted("a\"b\\c\nd é"), r#""a\"b\\c\u000ad é""#);
    }
}

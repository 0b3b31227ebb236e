//! The multi-atlas of Phaser 3: one file for all pages, for `this.load.multiatlas`.

use std::path::{Path, PathBuf};

use super::metadata::{Frame, Maker, Metadata, Page, Size, json};
use super::options::Options;
use crate::pipeline::text_file::TextFile;
use crate::support::error::Result;

pub(super) struct Writer {
    file: TextFile,
}

impl Writer {
    pub fn create(folder: &Path, options: &Options) -> Result<Self> {
        let mut file = TextFile::create(folder.join(format!("{}.phaser.json", options.name)))?;
        file.push("{\"textures\": [")?;
        Ok(Self { file })
    }
}

impl Metadata for Writer {
    fn page(&mut self, page: &Page, options: &Options) -> Result<()> {
        let comma = if page.number > 0 { "," } else { "" };
        let size = Size { w: page.width, h: page.height };
        self.file.push(&format!(
            "{comma}\n{{\"image\": {}, \"format\": \"RGBA8888\", \"size\": {}, \"scale\": 1, \"frames\": [\n",
            json(&page.image)?,
            json(&size)?
        ))?;
        for (at, placed) in page.sprites.iter().enumerate() {
            let frame = Frame { filename: Some(&placed.sprite.name), ..Frame::new(placed, options) };
            let comma = if at + 1 < page.sprites.len() { "," } else { "" };
            self.file.push(&format!("{}{comma}\n", json(&frame)?))?;
        }
        self.file.push("]}")
    }

    fn finish(self: Box<Self>, _: &Options) -> Result<Vec<PathBuf>> {
        let mut file = self.file;
        file.push(&format!("\n],\n\"meta\": {}}}\n", json(&Maker::THIS)?))?;
        Ok(vec![file.finish()?])
    }
}

//! Our own layout: everything that is known of each sprite, in one file.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::metadata::{Metadata, Page, json};
use super::options::Options;
use crate::pipeline::text_file::TextFile;
use crate::support::error::Result;

/// A sprite, with the names that `dflow atlas --json` has.
#[derive(Serialize)]
struct Item<'a> {
    name: &'a str,
    class: &'a str,
    seed: Option<u64>,
    tags: &'a [String],
    page: u32,
    x: u32,
    y: u32,
    width: u32,
    height: u32,
}

#[derive(Serialize)]
struct PageItem {
    image: String,
    width: u32,
    height: u32,
}

/// What holds for all sprites.
#[derive(Serialize)]
struct Common<'a> {
    pages: &'a [PageItem],
    premultiplied: bool,
    extrude: u32,
    pivot: Option<[f32; 2]>,
    nine_slice: Option<[u32; 4]>,
}

pub(super) struct Writer {
    file: TextFile,
    pages: Vec<PageItem>,
}

impl Writer {
    pub fn create(folder: &Path, options: &Options) -> Result<Self> {
        let mut file = TextFile::create(folder.join(format!("{}.json", options.name)))?;
        file.push("{\"sprites\": [")?;
        Ok(Self { file, pages: Vec::new() })
    }
}

impl Metadata for Writer {
    fn page(&mut self, page: &Page, _: &Options) -> Result<()> {
        for (at, placed) in page.sprites.iter().enumerate() {
            let sprite = placed.sprite;
            let item = Item {
                name: &sprite.name,
                class: &sprite.class,
                seed: sprite.seed,
                tags: &sprite.tags,
                page: page.number,
                x: placed.x,
                y: placed.y,
                width: sprite.side,
                height: sprite.side,
            };
            let comma = if page.number > 0 || at > 0 { "," } else { "" };
            self.file.push(&format!("{comma}\n{}", json(&item)?))?;
        }
        self.pages.push(PageItem { image: page.image.to_owned(), width: page.width, height: page.height });
        Ok(())
    }

    fn finish(self: Box<Self>, options: &Options) -> Result<Vec<PathBuf>> {
        let common = json(&Common {
            pages: &self.pages,
            premultiplied: options.premultiplied,
            extrude: options.extrude,
            pivot: options.pivot,
            nine_slice: options.nine_slice,
        })?;
        let mut file = self.file;
        // After the sprites, because the pages are known only now.
        file.push(&format!("\n],\n{}\n", &common[1..]))?;
        Ok(vec![file.finish()?])
    }
}

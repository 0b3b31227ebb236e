//! Atlases: sprites in the order of their numbers to pages of limited size (`atlas-0.png` …), and files that say where each
//! sprite is, in the layouts that engines read.
//!
//! A page is packed and written as soon as the sprites that came fill it, so memory is bounded by two pages whatever the number of
//! sprites. The same sprites and options give the same bytes.

mod draw;
mod godot;
mod list;
mod love;
mod metadata;
mod options;
mod packing;
mod phaser;
mod texture_packer;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::pixels::{FileFormat, PixelFormat, encode};
use crate::support::error::{Error, Result};
use crate::support::files::write_file;
use metadata::{Metadata, Page, Placed};
pub use options::{Format, LARGEST_EXTRUSION, LARGEST_PADDING, Options, PAGE_SIZES};
use packing::{Cells, pack};

/// One square picture that goes into an atlas.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sprite {
    /// What the metadata call it: the name of its file without extension, with `/` between folders. Each name once.
    pub name: String,
    /// The name of its class.
    pub class: String,
    /// Its seed, if known.
    pub seed: Option<u64>,
    /// Words of the artist's.
    pub tags: Vec<String>,
    /// Pixels per side, at least 1.
    pub side: u32,
    /// `side` x `side` pixels RGBA8, straight or premultiplied as [`Options::premultiplied`] says, rows without gaps.
    pub pixels: Vec<u8>,
}

/// What [`write`] has written.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Written {
    /// Number of pages.
    pub pages: u32,
    /// Number of sprites.
    pub sprites: u64,
    /// Every file, pages first.
    pub files: Vec<PathBuf>,
}

/// Packs `sprites` in their order into pages and writes these and the metadata into `folder`, which must exist. Each file
/// replaces an older one atomically. Without sprites nothing is written.
///
/// # Errors
/// [`Error::Invalid`] when the options are out of range ([`Options::check`]), a sprite is larger than a page, its pixels are not as
/// many as its side says, or two sprites of a page have one name; [`Error::Io`] and [`Error::OutOfMemory`]; the first error among
/// `sprites`. Pages that were complete before an error stay; metadata that describe all pages are not written then.
pub fn write(folder: &Path, options: &Options, sprites: impl IntoIterator<Item = Result<Sprite>>) -> Result<Written> {
    options.check()?;
    let cells = Cells { extrude: options.extrude, padding: options.padding };
    let mut writer = Writer { folder, options, cells, metadata: Vec::new(), written: Written::default() };
    let mut waiting = Vec::new();
    let mut area = 0u64;
    for sprite in sprites {
        let sprite = sprite?;
        check(&sprite, options)?;
        area += cells.area(sprite.side);
        waiting.push(sprite);
        // Cells of that many pixels cannot lie on one page.
        if area > Cells::page_area(options.page_size, options.padding) {
            area = writer.page(&mut waiting, options.page_size)?;
        }
    }
    while !waiting.is_empty() {
        writer.page(&mut waiting, options.page_size)?;
    }
    writer.finish()
}

/// Checks one sprite before it waits for its page.
fn check(sprite: &Sprite, options: &Options) -> Result<()> {
    let Sprite { name, side, pixels, .. } = sprite;
    let allowed = options.page_size.saturating_sub(2 * options.extrude);
    if *side == 0 || *side > allowed {
        return Err(Error::Invalid(format!(
            "sprite {name}: {side} px per side; an atlas page of {} px takes 1 to {allowed} px with {} px of extrusion",
            options.page_size, options.extrude
        )));
    }
    let wanted = *side as usize * *side as usize * 4;
    if pixels.len() != wanted {
        let count = pixels.len();
        return Err(Error::Invalid(format!("sprite {name}: {count} bytes; {side} x {side} pixels RGBA8 are {wanted}")));
    }
    Ok(())
}

struct Writer<'a> {
    folder: &'a Path,
    options: &'a Options,
    cells: Cells,
    metadata: Vec<Box<dyn Metadata>>,
    written: Written,
}

impl Writer<'_> {
    /// Writes one page of the first of `waiting`, as many as fit, and takes them out. Returns the area of the rest.
    fn page(&mut self, waiting: &mut Vec<Sprite>, page_size: u32) -> Result<u64> {
        let sides: Vec<u32> = waiting.iter().map(|sprite| sprite.side).collect();
        let packed = pack(&sides, self.cells, page_size, self.options.power_of_two)?;
        let mut names = HashSet::new();
        if let Some(twice) = waiting[..packed.corners.len()].iter().find(|sprite| !names.insert(&sprite.name)) {
            return Err(Error::Invalid(format!("sprite {}: another sprite of the atlas has this name", twice.name)));
        }
        let mut pixels = draw::clear(packed.width, packed.height)?;
        let mut placed = Vec::with_capacity(packed.corners.len());
        for (sprite, &(x, y)) in waiting.iter().zip(&packed.corners) {
            draw::sprite(&mut pixels, packed.width, (x, y), sprite, self.options.extrude);
            placed.push(Placed { sprite, x: x + self.options.extrude, y: y + self.options.extrude });
        }
        let number = self.written.pages;
        let image = format!("{}-{number}.png", self.options.name);
        let (width, height) = (packed.width, packed.height);
        let bytes = encode(FileFormat::Png, width, height, PixelFormat::Rgba8, &pixels, width as usize * 4)?;
        drop(pixels);
        let path = self.folder.join(&image);
        write_file(&path, &bytes)?;
        self.written.files.push(path);
        if self.metadata.is_empty() {
            self.metadata = metadata::open(self.folder, self.options)?;
        }
        let page = Page { number, image: &image, width, height, sprites: &placed };
        for metadata in &mut self.metadata {
            metadata.page(&page, self.options)?;
        }
        self.written.pages += 1;
        self.written.sprites += placed.len() as u64;
        waiting.drain(..packed.corners.len());
        Ok(waiting.iter().map(|sprite| self.cells.area(sprite.side)).sum())
    }

    fn finish(mut self) -> Result<Written> {
        for metadata in self.metadata {
            self.written.files.extend(metadata.finish(self.options)?);
        }
        Ok(self.written)
    }
}

#[cfg(test)]
mod tests;

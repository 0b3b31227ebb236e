//! Thumbnails of a page in sheets: for each level one sheet at a time is in memory.

use std::path::PathBuf;

use serde::Serialize;

use super::{FOLDER, Item, LARGEST_THUMBNAIL, Thumbnail};
use crate::pixels::{FileFormat, PixelFormat, encode};
use crate::support::error::{Error, Result};
use crate::support::files::write_file;
use crate::support::memory::filled;

/// The most pixels per side of a sheet: small enough that a browser decodes it in a few milliseconds.
const SHEET: u32 = 1024;
/// The most thumbnails in a row.
const COLUMNS: u32 = 32;
/// The most levels that a page shows.
const LEVELS: usize = 32;

/// A level and its sheets. The thumbnail of the picture with index i on the page is in sheet i / (columns * columns).
#[derive(Serialize)]
pub(super) struct Level {
    level: u32,
    side: u32,
    columns: u32,
    /// Paths from the page.
    sheets: Vec<String>,
}

/// A level whose present sheet is being filled.
struct Open {
    level: Level,
    pixels: Vec<u8>,
    /// Sheets that were written or skipped.
    done: u64,
}

pub(super) struct Sheets {
    folder: PathBuf,
    page: u64,
    /// How many pictures the page will have.
    pictures: u64,
    added: u64,
    levels: Vec<Open>,
}

impl Sheets {
    pub fn new(folder: PathBuf, page: u64, pictures: u64) -> Self {
        Self { folder, page, pictures, added: 0, levels: Vec::new() }
    }

    /// Takes the thumbnails of the next picture. Returns a bit for each level that it has.
    pub fn add(&mut self, item: &Item) -> Result<u32> {
        let mut shown = 0;
        for thumbnail in &item.thumbnails {
            let level = self.level(item, thumbnail)?;
            shown |= 1 << level;
            let Open { level, pixels, .. } = &mut self.levels[level];
            let cell = (self.added % u64::from(level.columns * level.columns)) as u32;
            let (x, y) = (cell % level.columns, cell / level.columns);
            let row = thumbnail.side as usize * 4;
            let stride = row * level.columns as usize;
            for (at, line) in thumbnail.pixels.chunks(row).enumerate() {
                let start = (y * level.side) as usize * stride + at * stride + x as usize * row;
                pixels[start..start + row].copy_from_slice(line);
            }
        }
        self.added += 1;
        for at in 0..self.levels.len() {
            let columns = u64::from(self.levels[at].level.columns);
            if self.added.is_multiple_of(columns * columns) || self.added == self.pictures {
                self.write(at)?;
            }
        }
        Ok(shown)
    }

    /// All levels.
    pub fn finish(self) -> Result<Vec<Level>> {
        Ok(self.levels.into_iter().map(|open| open.level).collect())
    }

    /// The index of a thumbnail's level, which begins here if it is new.
    fn level(&mut self, item: &Item, thumbnail: &Thumbnail) -> Result<usize> {
        let &Thumbnail { level, side, ref pixels } = thumbnail;
        let invalid = |text: String| Err(Error::Invalid(format!("picture {}: {text}", item.number)));
        if side == 0 || side > LARGEST_THUMBNAIL || pixels.len() != side as usize * side as usize * 4 {
            let bytes = pixels.len();
            return invalid(format!(
                "a thumbnail of {side} px and {bytes} bytes; 1 to {LARGEST_THUMBNAIL} px with 4 bytes a pixel are allowed"
            ));
        }
        if let Some(at) = self.levels.iter().position(|open| open.level.level == level) {
            let before = self.levels[at].level.side;
            if before != side {
                return invalid(format!("the thumbnail of level {level} has {side} px, others of this level {before}"));
            }
            return Ok(at);
        }
        if self.levels.len() == LEVELS {
            return invalid(format!("level {level} is one more than the {LEVELS} levels that a page shows"));
        }
        let columns = (SHEET / side).min(COLUMNS);
        let each = u64::from(columns * columns);
        // Sheets of pictures before this one have no thumbnail of the level.
        let done = self.added / each;
        let sheets = vec![String::new(); done as usize];
        self.levels.push(Open { level: Level { level, side, columns, sheets }, pixels: Vec::new(), done });
        let at = self.levels.len() - 1;
        self.clear(at)?;
        Ok(at)
    }

    /// A transparent sheet, as high as the pictures that are left need.
    fn clear(&mut self, at: usize) -> Result<()> {
        let open = &mut self.levels[at];
        let (columns, side) = (u64::from(open.level.columns), u64::from(open.level.side));
        let left = self.pictures.saturating_sub(open.done * columns * columns).min(columns * columns);
        let rows = left.div_ceil(columns);
        open.pixels = filled("a sheet of thumbnails", (rows * side * columns * side * 4) as usize, 0)?;
        Ok(())
    }

    /// Writes the present sheet of a level and begins the next.
    fn write(&mut self, at: usize) -> Result<()> {
        let open = &mut self.levels[at];
        let width = open.level.side * open.level.columns;
        let stride = width as usize * 4;
        let height = (open.pixels.len() / stride) as u32;
        let name = format!("{}-{}-{}.png", self.page, open.level.level, open.done);
        let bytes = encode(FileFormat::Png, width, height, PixelFormat::Rgba8, &open.pixels, stride)?;
        write_file(&self.folder.join(&name), &bytes)?;
        open.level.sheets.push(format!("{FOLDER}/{name}"));
        open.done += 1;
        if self.added < self.pictures {
            self.clear(at)?;
        }
        Ok(())
    }
}

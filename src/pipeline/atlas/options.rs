//! What an atlas is to be like.

use std::ops::RangeInclusive;

use crate::support::error::{Error, Result};

/// The sides in pixels that a page may have.
pub const PAGE_SIZES: RangeInclusive<u32> = 16..=8192;
/// The most pixels of padding between sprites.
pub const LARGEST_PADDING: u32 = 256;
/// The most pixels of extrusion around a sprite.
pub const LARGEST_EXTRUSION: u32 = 8;

/// A layout of metadata: which files say where the sprites are. NAME is [`Options::name`], N the number of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Format {
    /// `NAME-N.json` for each page: "JSON (Hash)" of TexturePacker, which PixiJS, Babylon.js and many others read. The first page
    /// names the others in `related_multi_packs`.
    TexturePacker,
    /// `NAME-N.array.json` for each page: "JSON (Array)" of TexturePacker.
    TexturePackerArray,
    /// `NAME.phaser.json`: a multi-atlas of Phaser 3.
    Phaser,
    /// `NAME.lua`: a module for LÖVE with a table of sprites, which makes quads and draws.
    Love,
    /// `NAME-N.tres` for each page: SpriteFrames of Godot 4 with an animation for each sprite.
    Godot,
    /// `NAME.json`: pages and a list of sprites with class, seed and tags.
    List,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 6] =
        [Self::TexturePacker, Self::TexturePackerArray, Self::Phaser, Self::Love, Self::Godot, Self::List];

    /// Its name in job files and on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::TexturePacker => "texturepacker",
            Self::TexturePackerArray => "texturepacker-array",
            Self::Phaser => "phaser",
            Self::Love => "love",
            Self::Godot => "godot",
            Self::List => "json",
        }
    }

    /// The format with this name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other name; the message lists these.
    pub fn from_name(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            Error::Invalid(format!("atlas format {name} is unknown: {names} are allowed"))
        })
    }
}

/// How sprites are packed and described.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// What the names of all files begin with; a file name without folders.
    pub name: String,
    /// The largest side of a page in pixels, 16 to 8192; a power of two if pages must be. A page takes 4 bytes a pixel.
    pub page_size: u32,
    /// Transparent pixels between sprites, 0 to 256.
    pub padding: u32,
    /// How many times the outermost pixels of a sprite are repeated around it, 0 to 8, with the colour of transparent ones: neither
    /// bilinear filtering nor so many halvings of the page (log2) blend in what is beside it.
    pub extrude: u32,
    /// Whether both sides of a page are powers of two. Otherwise a page is as small as its sprites allow.
    pub power_of_two: bool,
    /// Whether colour is premultiplied with alpha; the metadata say so.
    pub premultiplied: bool,
    /// The layouts of metadata, each once.
    pub formats: Vec<Format>,
    /// The point of a sprite that engines place and turn it by, from 0, 0 (left top) to 1, 1.
    pub pivot: Option<[f32; 2]>,
    /// Widths in pixels of the left, top, right and lower border of sprites that are stretched in nine parts.
    pub nine_slice: Option<[u32; 4]>,
}

impl Default for Options {
    /// Pages of 2048 pixels, powers of two, 2 pixels of padding and 1 of extrusion, straight alpha; no metadata.
    fn default() -> Self {
        Self {
            name: "atlas".to_owned(),
            page_size: 2048,
            padding: 2,
            extrude: 1,
            power_of_two: true,
            premultiplied: false,
            formats: Vec::new(),
            pivot: None,
            nine_slice: None,
        }
    }
}

impl Options {
    /// Checks all ranges.
    ///
    /// # Errors
    /// [`Error::Invalid`], which names the value and what is allowed.
    pub fn check(&self) -> Result<()> {
        let invalid = |text: String| Err(Error::Invalid(text));
        let Self { name, page_size, padding, extrude, .. } = self;
        if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\', ':', '\0']) {
            return invalid(format!("atlas name {name:?}: a file name without folders is allowed"));
        }
        let (least, most) = (PAGE_SIZES.start(), PAGE_SIZES.end());
        if !PAGE_SIZES.contains(page_size) {
            return invalid(format!("atlas page size {page_size} is out of range: {least} to {most} px are allowed"));
        }
        if self.power_of_two && !page_size.is_power_of_two() {
            let below = page_size.next_power_of_two() / 2;
            return invalid(format!(
                "atlas page size {page_size} is no power of two, which pages must be: {below} and {} are the nearest",
                below * 2
            ));
        }
        if *padding > LARGEST_PADDING {
            return invalid(format!("atlas padding {padding} is out of range: 0 to {LARGEST_PADDING} px are allowed"));
        }
        if *extrude > LARGEST_EXTRUSION {
            return invalid(format!(
                "atlas extrusion {extrude} is out of range: 0 to {LARGEST_EXTRUSION} px are allowed"
            ));
        }
        if let Some(pivot) = self.pivot.filter(|pivot| !pivot.iter().all(|value| (0.0..=1.0).contains(value))) {
            return invalid(format!("atlas pivot {}, {} is out of range: 0 to 1 are allowed", pivot[0], pivot[1]));
        }
        let twice = self.formats.iter().enumerate().find(|&(at, format)| self.formats[..at].contains(format));
        if let Some((_, format)) = twice {
            return invalid(format!("atlas format {} is named twice", format.name()));
        }
        Ok(())
    }
}

//! What all layouts of metadata share.

use std::path::PathBuf;

use serde::Serialize;

use super::Sprite;
use super::options::Options;
use crate::support::error::{Error, Result};

/// A sprite and the corner of its own pixels on its page.
pub(super) struct Placed<'a> {
    pub sprite: &'a Sprite,
    pub x: u32,
    pub y: u32,
}

/// A page that was written.
pub(super) struct Page<'a> {
    pub number: u32,
    /// Its file name.
    pub image: &'a str,
    pub width: u32,
    pub height: u32,
    pub sprites: &'a [Placed<'a>],
}

/// Writes one layout.
pub(super) trait Metadata {
    /// The next page.
    fn page(&mut self, page: &Page, options: &Options) -> Result<()>;

    /// There are no more pages. Returns the files that were written.
    fn finish(self: Box<Self>, options: &Options) -> Result<Vec<PathBuf>>;
}

/// The JSON of a value on one line.
pub(super) fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::Internal(format!("atlas metadata: {error}")))
}

/// A rectangle as TexturePacker writes it.
#[derive(Serialize)]
pub(super) struct Rectangle {
    pub x: u32,
    pub y: u32,
    pub w: u32,
    pub h: u32,
}

/// A size as TexturePacker writes it.
#[derive(Serialize)]
pub(super) struct Size {
    pub w: u32,
    pub h: u32,
}

/// A point as TexturePacker writes it.
#[derive(Serialize, Clone, Copy)]
pub(super) struct Point {
    pub x: f32,
    pub y: f32,
}

/// Widths of the borders of a sprite in nine parts, as PixiJS reads them.
#[derive(Serialize)]
pub(super) struct Borders {
    pub left: u32,
    pub top: u32,
    pub right: u32,
    pub bottom: u32,
}

/// A frame as TexturePacker, PixiJS and Phaser read it. Nothing is trimmed or rotated.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Frame<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filename: Option<&'a str>,
    pub frame: Rectangle,
    pub rotated: bool,
    pub trimmed: bool,
    pub sprite_source_size: Rectangle,
    pub source_size: Size,
    /// TexturePacker's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pivot: Option<Point>,
    /// The name of PixiJS and Phaser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchor: Option<Point>,
    /// The middle of the nine parts: the name of TexturePacker and Phaser.
    #[serde(skip_serializing_if = "Option::is_none", rename = "scale9Borders")]
    pub scale9_borders: Option<Rectangle>,
    /// The name of PixiJS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub borders: Option<Borders>,
}

impl<'a> Frame<'a> {
    /// The frame of a sprite, without its name.
    pub fn new(placed: &Placed<'a>, options: &Options) -> Self {
        let side = placed.sprite.side;
        let point = options.pivot.map(|[x, y]| Point { x, y });
        let nine = options.nine_slice.map(|slice| slice.map(|width| width.min(side)));
        Self {
            filename: None,
            frame: Rectangle { x: placed.x, y: placed.y, w: side, h: side },
            rotated: false,
            trimmed: false,
            sprite_source_size: Rectangle { x: 0, y: 0, w: side, h: side },
            source_size: Size { w: side, h: side },
            pivot: point,
            anchor: point,
            scale9_borders: nine.map(|[left, top, right, bottom]| {
                let middle = |first: u32, last: u32| side.saturating_sub(first).saturating_sub(last);
                Rectangle { x: left, y: top, w: middle(left, right), h: middle(top, bottom) }
            }),
            borders: nine.map(|[left, top, right, bottom]| Borders { left, top, right, bottom }),
        }
    }
}

/// What made the file, as TexturePacker has it.
#[derive(Serialize)]
pub(super) struct Maker {
    app: &'static str,
    version: &'static str,
}

impl Maker {
    pub const THIS: Self = Self { app: "libdetailflow", version: env!("CARGO_PKG_VERSION") };
}

/// A string literal in double quotes. Quotes and backslashes get a backslash, control characters are written by `escape`.
pub(super) fn quoted(text: &str, escape: impl Fn(char) -> String) -> String {
    let mut literal = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => literal.extend(['\\', c]),
            c if c.is_control() => literal.push_str(&escape(c)),
            c => literal.push(c),
        }
    }
    literal.push('"');
    literal
}

//! Options of finishing: what makes pixel art of decoded pictures.

use std::path::PathBuf;

use clap::Args;
use detailflow::pixels::Finish;
use detailflow::pixels::finish::{Color, FinishOverrides, Palette};
use detailflow::{Bundle, Error};

use crate::Failure;

#[derive(Args)]
pub struct FinishArgs {
    /// Write pictures as they are decoded. By default they are finished as the bundle (or the job) says, with the options below
    /// in place of its settings: alpha is cut, stray pixels are removed, colours are reduced, an outline is drawn, opaque
    /// pictures are made to repeat, in this order
    #[arg(long, conflicts_with_all = ["alpha_cut", "colors", "palette", "dither", "outline", "despeckle", "tile"])]
    raw: bool,
    /// Make pixels with at least this alpha (1 to 255) opaque and all others transparent; 0 keeps alpha [default: the bundle's]
    #[arg(long, value_name = "A")]
    alpha_cut: Option<u8>,
    /// Reduce each picture to at most K of its colours, 2 to 256; 0 keeps them all [default: the bundle's; any number with
    /// --palette]
    #[arg(long, value_name = "K", value_parser = colors)]
    colors: Option<u32>,
    /// Use only the colours of this file: a PNG file, a GIMP palette (.gpl), or lines of hex digits (.hex)
    #[arg(long, value_name = "FILE")]
    palette: Option<PathBuf>,
    /// Dither where colours are reduced, with a pattern of 4 x 4 pixels
    #[arg(long)]
    dither: bool,
    /// Draw an outline of one pixel in this colour, RRGGBB or #RRGGBB
    #[arg(long, value_name = "COLOR")]
    outline: Option<Color>,
    /// Remove visible pixels that stand alone and fill holes of one pixel
    #[arg(long)]
    despeckle: bool,
    /// Make opaque pictures (floors, walls, water) repeat without a visible seam: where opposite edges do not fit, they are
    /// covered by other parts of the picture. A frame or a bevel around a picture goes, too
    #[arg(long)]
    tile: bool,
}

fn colors(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count @ (0 | 2..=256)) => Ok(count),
        _ => Err("0, or a number from 2 to 256 is allowed".to_owned()),
    }
}

impl FinishArgs {
    /// How pictures of a bundle are finished.
    pub fn of(&self, bundle: &Bundle) -> Result<Finish, Failure> {
        self.over(bundle.finish())
    }

    /// The settings `default` with those of the options.
    pub fn over(&self, default: &Finish) -> Result<Finish, Failure> {
        if self.raw {
            return Ok(Finish::default());
        }
        let overrides = FinishOverrides {
            alpha_cut: self.alpha_cut,
            colors: self.colors,
            palette: self.palette.as_ref().map(Palette::open).transpose()?,
            dither: self.dither.then_some(true),
            outline: self.outline,
            despeckle: self.despeckle.then_some(true),
            tile: self.tile.then_some(true),
        };
        overrides.over(default).map_err(|error| match error {
            Error::Invalid(text) => Failure::Usage(Error::Invalid(format!("--{text}"))),
            other => other.into(),
        })
    }
}

/// Settings of finishing in words.
pub fn words(finish: &Finish) -> String {
    let Finish { alpha_cut, colors, palette, dither, outline, despeckle, tile } = finish;
    let mut words = Vec::new();
    words.extend(alpha_cut.map(|least| format!("alpha cut at {least}")));
    words.extend(despeckle.then(|| "stray pixels removed".to_owned()));
    words.extend(colors.map(|count| format!("at most {count} colours")));
    words.extend(palette.as_ref().map(|palette| format!("a palette of {}", palette.colors().len())));
    words.extend(dither.then(|| "dithered".to_owned()));
    words.extend(outline.map(|color| format!("outline {color}")));
    words.extend(tile.then(|| "repeating".to_owned()));
    if words.is_empty() { "none".to_owned() } else { words.join(", ") }
}

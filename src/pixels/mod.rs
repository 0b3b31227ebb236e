//! Pixels: what the decoder gives, as RGB8, RGBA8 or RGBA32F in anyone's memory or in a file; and pictures of any
//! size and mode on their way in.
//!
//! RGB models use the authors' byte rule, `trunc(clamp(127.5 x + 128, 0, 255))`. RGBA models give premultiplied
//! colour: `p = clamp((x + 1) / 2, 0, 1)`, alpha is p3, straight colour `min(p / alpha, 1)` (0 where alpha is 0), a
//! byte `round(255 v)`.
//!
//! Downscaling is by area, in linear light and weighted by alpha; upscaling is by whole factors, each pixel a square.

mod atlas;
mod canvas;
mod downscale;
mod file;
mod image;
mod picture;

pub use atlas::{Layout, layout};
pub(crate) use atlas::{Square, check_squares};
pub(crate) use canvas::check_factor;
pub use canvas::{Canvas, LARGEST_FACTOR};
pub(crate) use downscale::Downscale;
pub use file::{check_ending, save};
pub use image::Image;
pub use picture::Picture;

use crate::support::error::{Error, Result};

/// How pixels lie in memory. Rows go from top to bottom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PixelFormat {
    /// Three bytes, sRGB. An RGBA model's picture is shown over black.
    Rgb8,
    /// Four bytes, sRGB with straight (not premultiplied) alpha; 255 for RGB models.
    Rgba8,
    /// Four `f32` of 0 to 1, sRGB-encoded colour with straight alpha; 1 for RGB models.
    Rgba32F,
}

impl PixelFormat {
    /// Bytes of one pixel: 3, 4 or 16.
    pub fn bytes(self) -> usize {
        match self {
            Self::Rgb8 => 3,
            Self::Rgba8 => 4,
            Self::Rgba32F => 16,
        }
    }
}

/// Whether `rows` rows of `row` bytes, `stride` apart, lie within `length` bytes. Gives the bytes that they take.
pub(crate) fn check_rows(row: usize, rows: usize, stride: usize, length: usize) -> Result<usize> {
    if stride < row {
        return Err(Error::Invalid(format!("a stride of {stride} bytes is less than a row of {row}")));
    }
    let needed = stride.checked_mul(rows.saturating_sub(1)).and_then(|bytes| bytes.checked_add(row));
    needed
        .filter(|&needed| needed <= length)
        .ok_or_else(|| Error::Invalid(format!("{length} bytes are too few for {rows} rows {stride} bytes apart")))
}

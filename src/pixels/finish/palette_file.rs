//! Palette files: PNG, GIMP (.gpl) and .hex.

use std::path::Path;

use super::color::Color;
use super::palette::{LARGEST_PALETTE, Palette};
use crate::support::error::{Error, Result};
use crate::support::files::read;

/// The most bytes of a palette file.
const LARGEST: u64 = 64 << 20;
/// The first line of a GIMP palette.
const GIMP: &str = "GIMP Palette";

impl Palette {
    /// Reads a palette file, told by its content:
    ///
    /// - PNG: the palette in the file, else its different colours row by row; without those of alpha 0. Needs the feature
    ///   `image-files`.
    /// - A GIMP palette (.gpl): lines of red, green and blue from 0 to 255, a name after them is ignored.
    /// - Any other text (.hex): lines of six hex digits, with or without `#` before them.
    ///
    /// In text, empty lines and all from a `;` on are ignored, in a GIMP palette lines that begin with `#`. A colour that is there
    /// twice is taken once.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`]; [`Error::Format`], which names the line, if it is none of these, or has no colour or
    /// more than 256; [`Error::OutOfMemory`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Self::from_bytes(&read(path, LARGEST)?, path)
    }

    /// Reads a palette file in memory, as [`open`](Self::open) does.
    ///
    /// # Errors
    /// [`Error::Format`], [`Error::OutOfMemory`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::from_bytes(bytes, Path::new("palette in memory"))
    }

    fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        if bytes.starts_with(b"\x89PNG") {
            return png::palette(bytes, path);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| {
            Error::format(path, "it is no palette: PNG, GIMP palettes and lines of hex digits are read")
        })?;
        let text = text.trim_start_matches('\u{feff}');
        let gimp = text.lines().next().is_some_and(|line| line.trim_end() == GIMP);
        let mut colors = Colors::default();
        for (number, line) in text.lines().enumerate().skip(usize::from(gimp)) {
            let fail = |reason: String| Error::format(path, format!("line {}: {reason}", number + 1));
            let line = line.split(';').next().unwrap_or_default().trim();
            let color = match gimp {
                _ if line.is_empty() => continue,
                true if line.starts_with('#') || is_header(line) => continue,
                true => numbers(line).ok_or_else(|| {
                    fail(format!("\"{}\" is not a colour: three numbers from 0 to 255 are allowed", short(line)))
                })?,
                false => short(line).parse().map_err(|error: Error| fail(error.to_string()))?,
            };
            colors.add(color).map_err(|error| fail(error.to_string()))?;
        }
        colors.palette(path)
    }
}

/// The start of a line, for errors.
fn short(line: &str) -> &str {
    line.char_indices().nth(40).map_or(line, |(end, _)| &line[..end])
}

/// What a GIMP palette says before its colours.
fn is_header(line: &str) -> bool {
    ["Name:", "Columns:", "Channels:"].iter().any(|key| line.starts_with(key))
}

fn numbers(line: &str) -> Option<Color> {
    let mut values = line.split_ascii_whitespace().map(|value| value.parse().ok());
    let mut next = || values.next().flatten();
    Some(Color([next()?, next()?, next()?]))
}

/// Different colours, no more than a palette may have.
#[derive(Default)]
struct Colors(Vec<Color>);

impl Colors {
    fn add(&mut self, color: Color) -> Result<()> {
        if self.0.last() != Some(&color) && !self.0.contains(&color) {
            if self.0.len() == LARGEST_PALETTE {
                return Err(Error::Invalid(format!("more than {} different colours", self.0.len())));
            }
            self.0.push(color);
        }
        Ok(())
    }

    fn palette(self, path: &Path) -> Result<Palette> {
        Palette::new(self.0).map_err(|error| match error {
            Error::Invalid(reason) => Error::format(path, reason),
            other => other,
        })
    }
}

#[cfg(not(feature = "image-files"))]
mod png {
    use super::{Error, Palette, Path, Result};

    pub fn palette(_: &[u8], path: &Path) -> Result<Palette> {
        Err(Error::format(path, "PNG palettes are read by builds with the feature `image-files` only"))
    }
}

#[cfg(feature = "image-files")]
mod png {
    use std::io::Cursor;

    use png::{ColorType, Decoder, Limits, Transformations};

    use super::{Color, Colors, Error, Palette, Path, Result};
    use crate::support::memory::filled;

    /// A larger picture is no palette.
    const LARGEST_SIDE: u32 = 4096;
    const WORKING_MEMORY: usize = 4 << 20;

    pub fn palette(bytes: &[u8], path: &Path) -> Result<Palette> {
        let fail = |error: png::DecodingError| Error::format(path, error.to_string());
        let mut decoder = Decoder::new(Cursor::new(bytes));
        decoder.set_limits(Limits { bytes: bytes.len().saturating_mul(2).saturating_add(WORKING_MEMORY) });
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        decoder.set_transformations(Transformations::normalize_to_color8());
        let (width, height) = decoder.read_header_info().map_err(fail)?.size();
        if width.max(height) > LARGEST_SIDE {
            let reason = format!("{width} x {height} pixels; a palette has at most {LARGEST_SIDE} per side");
            return Err(Error::format(path, reason));
        }
        let mut reader = decoder.read_info().map_err(fail)?;
        let refuse = |error: Error| match error {
            Error::Invalid(reason) => Error::format(path, format!("it has {reason}")),
            other => other,
        };
        let mut colors = Colors::default();
        // Pictures of other kinds can have one too, as a suggestion.
        if let Some(palette) = &reader.info().palette
            && reader.info().color_type == ColorType::Indexed
        {
            let alpha = reader.info().trns.as_deref().unwrap_or_default();
            for (at, color) in palette.as_chunks::<3>().0.iter().enumerate() {
                if alpha.get(at).is_none_or(|&alpha| alpha > 0) {
                    colors.add(Color(*color)).map_err(refuse)?;
                }
            }
            return colors.palette(path);
        }
        let size = reader.output_buffer_size().ok_or_else(|| Error::format(path, "the picture is too large"))?;
        let mut buffer = filled("a palette file", size, 0)?;
        let frame = reader.next_frame(&mut buffer).map_err(fail)?;
        let pixels = &buffer[..frame.buffer_size()];
        let mut take = |color: [u8; 3], alpha: u8| if alpha > 0 { colors.add(Color(color)) } else { Ok(()) };
        match frame.color_type {
            ColorType::Grayscale => pixels.iter().try_for_each(|&v| take([v; 3], 255)),
            ColorType::GrayscaleAlpha => pixels.as_chunks().0.iter().try_for_each(|&[v, a]| take([v; 3], a)),
            ColorType::Rgb => pixels.as_chunks().0.iter().try_for_each(|&[r, g, b]| take([r, g, b], 255)),
            _ => pixels.as_chunks().0.iter().try_for_each(|&[r, g, b, a]| take([r, g, b], a)),
        }
        .map_err(refuse)?;
        colors.palette(path)
    }
}

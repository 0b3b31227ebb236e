//! Pixels in the caller's memory that pictures are written into.

use super::format::{PixelFormat, check_rows, check_sides};
use super::image::Image;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::filled;

/// The largest upscaling factor.
pub const LARGEST_FACTOR: u32 = 64;

/// Pixels in the caller's memory: `height` rows of `width` pixels, `stride` bytes apart. Bytes between rows and pixels
/// that no picture covers are left unchanged.
#[derive(Debug)]
pub struct Canvas<'a> {
    format: PixelFormat,
    width: u32,
    height: u32,
    stride: usize,
    pixels: &'a mut [u8],
}

impl<'a> Canvas<'a> {
    /// A canvas over `pixels`, which need no alignment.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a side is 0, `stride` is less than a row, or `pixels` is too short for the rows.
    pub fn new(format: PixelFormat, width: u32, height: u32, pixels: &'a mut [u8], stride: usize) -> Result<Self> {
        check_sides(width, height)?;
        check_rows(format.row(width), height as usize, stride, pixels.len())?;
        Ok(Self { format, width, height, stride, pixels })
    }

    /// The pixel format.
    #[must_use]
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Width in pixels.
    #[must_use]
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Writes a picture with its upper left corner at `x`, `y`, each of its pixels as a square of `factor` pixels per
    /// side.
    ///
    /// # Errors
    /// [`Error::Invalid`] if it does not lie within the canvas, or `factor` is not 1 to 64.
    pub fn put(&mut self, image: &Image, x: u32, y: u32, factor: u32) -> Result<()> {
        let _host = host::enter();
        self.check_place(x, y, image.size(), image.size(), factor)?;
        let (format, size) = (self.format, image.size() as usize);
        self.fill((x, y), (size, size), factor, |row, pixels| image.write_row(row, format, pixels));
        Ok(())
    }

    /// Writes each pixel of `source` as a square of `factor` pixels per side: nearest-neighbour upscaling. `source` is
    /// `width` x `height` pixels in the format of the canvas, its rows `stride` bytes apart; the canvas must be `factor`
    /// times as wide and high.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the sizes do not match, `factor` is not 1 to 64, or `source` is not as [`Canvas::new`]
    /// requires.
    pub fn upscale(&mut self, width: u32, height: u32, source: &[u8], stride: usize, factor: u32) -> Result<()> {
        let _host = host::enter();
        check_sides(width, height)?;
        check_rows(self.format.row(width), height as usize, stride, source.len())?;
        check_factor(factor)?;
        let wanted = [width, height].map(|side| u64::from(side) * u64::from(factor));
        if [self.width, self.height].map(u64::from) != wanted {
            let [wide, high] = wanted;
            return Err(Error::Invalid(format!(
                "{width} x {height} pixels upscaled by {factor} are {wide} x {high}; the canvas is {} x {}",
                self.width, self.height
            )));
        }
        self.fill((0, 0), (width as usize, height as usize), factor, |row, pixels| {
            pixels.copy_from_slice(&source[row * stride..][..pixels.len()]);
        });
        Ok(())
    }

    fn check_place(&self, x: u32, y: u32, width: u32, height: u32, factor: u32) -> Result<()> {
        check_factor(factor)?;
        let end = |start: u32, side: u32| u64::from(start) + u64::from(side) * u64::from(factor);
        let (right, bottom) = (end(x, width), end(y, height));
        if right <= u64::from(self.width) && bottom <= u64::from(self.height) {
            return Ok(());
        }
        Err(Error::Invalid(format!(
            "{} x {} pixels at {x}, {y} do not lie within the canvas of {} x {}",
            right - u64::from(x),
            bottom - u64::from(y),
            self.width,
            self.height
        )))
    }

    /// Fills `size` squares (columns, rows) of `factor` pixels per side from `corner` on: `paint` writes a row of `size.0`
    /// pixels. The caller has checked that they lie within the canvas, so nothing here overflows.
    fn fill(&mut self, corner: (u32, u32), size: (usize, usize), factor: u32, mut paint: impl FnMut(usize, &mut [u8])) {
        let (bytes, factor) = (self.format.bytes(), factor as usize);
        let length = size.0 * factor * bytes;
        for row in 0..size.1 {
            let start = (corner.1 as usize + row * factor) * self.stride + corner.0 as usize * bytes;
            let line = &mut self.pixels[start..start + length];
            paint(row, &mut line[..size.0 * bytes]);
            if factor > 1 {
                repeat(line, bytes, factor);
            }
            for copy in 1..factor {
                self.pixels.copy_within(start..start + length, start + copy * self.stride);
            }
        }
    }
}

/// The first pixels of `line`, of `bytes` each, become `factor` pixels each: as many as fill it.
fn repeat(line: &mut [u8], bytes: usize, factor: usize) {
    // The last first: what was not repeated yet is not overwritten.
    for column in (0..line.len() / (bytes * factor)).rev() {
        let first = column * factor * bytes;
        line.copy_within(column * bytes..(column + 1) * bytes, first);
        for copy in 1..factor {
            line.copy_within(first..first + bytes, first + copy * bytes);
        }
    }
}

/// Checks an upscaling factor.
pub(crate) fn check_factor(factor: u32) -> Result<()> {
    if (1..=LARGEST_FACTOR).contains(&factor) {
        return Ok(());
    }
    Err(Error::Invalid(format!("factor {factor} is out of range: 1 to {LARGEST_FACTOR} is allowed")))
}

impl Image {
    /// Writes the picture as `format` into `target`, whose rows are `stride` bytes apart. Bytes between rows are left
    /// unchanged.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `stride` is less than a row, or `target` is too short for the rows.
    pub fn write(&self, format: PixelFormat, target: &mut [u8], stride: usize) -> Result<()> {
        self.write_upscaled(format, 1, target, stride)
    }

    /// As [`write`](Self::write), each pixel as a square of `factor` pixels per side, for pixel art: `target` takes
    /// `factor` times as many pixels per side.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and [`Error::Invalid`] if `factor` is not 1 to 64.
    pub fn write_upscaled(&self, format: PixelFormat, factor: u32, target: &mut [u8], stride: usize) -> Result<()> {
        check_factor(factor)?;
        let side = self.size().saturating_mul(factor);
        Canvas::new(format, side, side, target, stride)?.put(self, 0, 0, factor)
    }

    /// The pixels as `format`, rows without gaps.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn to_vec(&self, format: PixelFormat) -> Result<Vec<u8>> {
        let row = format.row(self.size());
        let mut pixels = filled("a picture", row.saturating_mul(self.size() as usize), 0)?;
        self.write(format, &mut pixels, row)?;
        Ok(pixels)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn put_writes_squares_and_nothing_else() {
        // 2 x 1: black, white; on 6 x 4 pixels with two bytes between rows.
        let image = Image::new(2, 3, &[-1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0]).unwrap();
        let mut bytes = [7u8; 20 * 5];
        let mut canvas = Canvas::new(PixelFormat::Rgb8, 6, 5, &mut bytes, 20).unwrap();
        canvas.put(&image, 1, 1, 2).unwrap();
        for (y, row) in bytes.chunks(20).enumerate() {
            for (x, &byte) in row.iter().enumerate() {
                let wanted = match (x / 3, y) {
                    (1 | 2, 1..=4) => 0,
                    (3 | 4, 1..=4) => 255,
                    _ => 7,
                };
                assert_eq!(byte, wanted, "byte {x} of row {y}");
            }
        }
    }

    #[test]
    fn put_outside_the_canvas_is_refused() {
        let image = Image::new(2, 3, &[0.0; 12]).unwrap();
        let mut bytes = [7u8; 12 * 4];
        let mut canvas = Canvas::new(PixelFormat::Rgb8, 4, 4, &mut bytes, 12).unwrap();
        for (x, y, factor) in [(3, 0, 1), (0, 3, 1), (1, 0, 2), (0, 0, 3), (u32::MAX, 0, 1), (0, u32::MAX, 64)] {
            let error = canvas.put(&image, x, y, factor).unwrap_err().to_string();
            assert!(error.contains("4 x 4"), "{error}");
        }
        for factor in [0, 65, u32::MAX] {
            assert!(canvas.put(&image, 0, 0, factor).unwrap_err().to_string().contains("factor"));
        }
        assert_eq!(bytes, [7; 48]);
        let mut few = [0u8; 47];
        assert!(Canvas::new(PixelFormat::Rgb8, 4, 4, &mut few, 12).is_err());
        assert!(Canvas::new(PixelFormat::Rgb8, 4, 0, &mut few, 12).is_err());
        assert!(Canvas::new(PixelFormat::Rgb8, 4, 1, &mut few, 11).is_err());
        assert!(Canvas::new(PixelFormat::Rgba32F, u32::MAX, u32::MAX, &mut few, usize::MAX).is_err());
    }

    #[test]
    fn upscale_repeats_each_pixel() {
        // Rows 5 bytes apart, the fifth no pixel's.
        let source = [1, 2, 3, 4, 99, 5, 6, 7, 8];
        let mut target = [0u8; 16 * 2 * 3];
        // One column of two RGBA pixels, by three: 3 x 6.
        let mut canvas = Canvas::new(PixelFormat::Rgba8, 3, 6, &mut target, 12).unwrap();
        canvas.upscale(1, 2, &source, 5, 3).unwrap();
        assert_eq!(target[..36], [1, 2, 3, 4].repeat(9));
        assert_eq!(target[36..72], [5, 6, 7, 8].repeat(9));
        assert_eq!(target[72..], [0; 24]);
        let mut canvas = Canvas::new(PixelFormat::Rgba8, 3, 6, &mut target, 12).unwrap();
        for (width, height, stride, factor) in [(1, 2, 5, 2), (2, 1, 8, 3), (1, 2, 3, 3), (1, 2, 6, 3), (0, 2, 5, 3)] {
            assert!(canvas.upscale(width, height, &source, stride, factor).is_err());
        }
        let error = canvas.upscale(1, 2, &source, 5, 4).unwrap_err().to_string();
        assert!(error.contains("4 x 8") && error.contains("3 x 6"), "{error}");
    }
}

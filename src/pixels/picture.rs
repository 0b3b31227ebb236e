//! Pictures of any size for the encoder.

use ndarray::{ArrayView3, ArrayViewMut3};

use super::format::{PixelFormat, check_rows, check_sides};
use super::read::read_row;
use super::resize::catmull_rom;
use super::square::{Square, Turn};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{filled, reserve};

/// A picture for the encoder: the largest centred square of a picture of any size.
#[derive(Debug, Clone)]
pub struct Picture {
    side: u32,
    /// `[y, x, channel]`: RGBA of 0 to 1, premultiplied.
    pixels: Vec<f32>,
}

impl Picture {
    /// Takes `width` x `height` pixels whose rows are `stride` bytes apart. Floats are clamped to 0 to 1, and
    /// premultiplied colour to alpha. If the shorter side has more than 4,096 pixels, boxes of k x k pixels become their mean,
    /// for the smallest k with at most 4,096.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a side is 0, `stride` is less than a row, `bytes` is too short, or a float is NaN or
    /// infinite; [`Error::OutOfMemory`].
    pub fn from_pixels(format: PixelFormat, width: u32, height: u32, bytes: &[u8], stride: usize) -> Result<Self> {
        let _host = host::enter();
        check_sides(width, height)?;
        check_rows(format.row(width), height as usize, stride, bytes.len())?;
        let mut square = Square::new("a picture", width, height, Turn::default())?;
        let columns = square.columns();
        let mut values = reserve("a picture", 4 * columns.len())?;
        let rows = square.rows();
        // The rows lie within the bytes, so that nothing below overflows.
        for (y, line) in bytes.chunks(stride).enumerate().skip(rows.start).take(rows.len()) {
            let row = &line[columns.start * format.bytes()..columns.end * format.bytes()];
            read_row(format, row, (columns.start, y), &mut values)?;
            square.push(&values);
        }
        Ok(Self::from_premultiplied(square.finish()))
    }

    /// Takes the premultiplied RGBA values of a square of `side` pixels per side, `[y, x, channel]`.
    pub(super) fn from_premultiplied((side, pixels): (u32, Vec<f32>)) -> Self {
        Self { side, pixels }
    }

    /// Its values, as they are held.
    #[cfg(all(test, feature = "image-files"))]
    pub(super) fn pixels(&self) -> &[f32] {
        &self.pixels
    }

    /// The input of the encoder, `[channel, y, x]`: `size` x `size` values of -1 to 1, 3 channels (over black) or 4
    /// (premultiplied). A picture of another size is resized (Catmull-Rom).
    pub(crate) fn planes(&self, size: u32, channels: usize) -> Result<Vec<f32>> {
        let resized;
        let pixels = if self.side == size {
            &self.pixels
        } else {
            resized = catmull_rom(&self.pixels, self.side, size)?;
            &resized
        };
        let side = size as usize;
        let mut planes = filled("a picture", channels.saturating_mul(side.saturating_mul(side)), 0.0)?;
        let internal = |error| Error::Internal(format!("the planes of a picture: {error}"));
        let pixels = ArrayView3::from_shape((side, side, 4), pixels).map_err(internal)?;
        let mut target = ArrayViewMut3::from_shape((channels, side, side), &mut planes).map_err(internal)?;
        // Both as [channel, y, x]; zip takes as many channels as the model has.
        for (mut plane, values) in target.outer_iter_mut().zip(pixels.permuted_axes([2, 0, 1]).outer_iter()) {
            plane.zip_mut_with(&values, |target, value| *target = (value.clamp(0.0, 1.0) - 0.5) / 0.5);
        }
        Ok(planes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_at_the_same_size_are_not_resized() {
        let bytes = [255, 0, 0, 128, 10, 20, 30, 255, 0, 0, 0, 0, 40, 50, 60, 255];
        let picture = Picture::from_pixels(PixelFormat::Rgba8, 2, 2, &bytes, 8).unwrap();
        let planes = picture.planes(2, 4).unwrap();
        let premultiplied = 128.0 / 255.0;
        assert_eq!(planes[0], (premultiplied - 0.5) / 0.5);
        assert_eq!(planes[12], (premultiplied - 0.5) / 0.5);
        assert_eq!(planes[2], -1.0);
    }

    #[test]
    fn planes_at_another_size_are_cropped_to_the_centre_and_resized() {
        // 6 x 2, the centre 2 x 2 is white: the rest must not contribute.
        let mut bytes = Vec::new();
        for _ in 0..2 {
            for x in 0..6 {
                bytes.extend(if x == 2 || x == 3 { [255; 3] } else { [0, 90, 0] });
            }
        }
        let picture = Picture::from_pixels(PixelFormat::Rgb8, 6, 2, &bytes, 18).unwrap();
        assert!(picture.planes(4, 3).unwrap().iter().all(|&v| (v - 1.0).abs() < 1e-5));
        assert!(Picture::from_pixels(PixelFormat::Rgb8, 0, 2, &bytes, 18).is_err());
    }

    #[test]
    fn from_pixels_refuses_sizes_beyond_the_bytes() {
        let bytes = [0; 64];
        for (width, height, stride) in [
            (u32::MAX, u32::MAX, usize::MAX),
            (u32::MAX, 1, u32::MAX as usize),
            (1, u32::MAX, usize::MAX),
            (4, 2, 60),
            (4, 1, 15),
        ] {
            let error = Picture::from_pixels(PixelFormat::Rgba8, width, height, &bytes, stride).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error}");
        }
    }
}

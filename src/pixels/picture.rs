//! Pictures on their way in: any size, any mode, as the encoder wants them.

use std::io::ErrorKind;
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageReader, Rgba32FImage};

use super::{PixelFormat, check_rows};
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};

/// A picture on its way in: the square in its middle, premultiplied `f32`.
#[derive(Debug, Clone)]
pub struct Picture {
    pixels: Rgba32FImage,
}

impl Picture {
    /// Reads a picture file of any size and mode (grey, palette, 16 bit, float, with and without alpha).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], or [`Error::Format`] when it is not a picture that can be read.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let fail = |error: ImageError| match error {
            ImageError::IoError(error)
                if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) =>
            {
                Error::reading(path, error)
            }
            error => Error::format(path, format!("not a picture that can be read: {error}")),
        };
        let mut reader = ImageReader::open(path)
            .and_then(ImageReader::with_guessed_format)
            .map_err(|error| Error::reading(path, error))?;
        // What memory there is decides, below, and not a number that somebody chose.
        reader.no_limits();
        let mut decoder = reader.into_decoder().map_err(fail)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::format(path, "the picture is empty"));
        }
        // Its decoder asks for memory in a way that cannot fail: see first whether as much is to be had, for the
        // picture, a turned copy, and what is made of it.
        let what = format!("the picture {} of {width} x {height} pixels", path.display());
        let side = width.min(height) as usize;
        let decoded = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
        drop(reserve::<u8>(
            &what,
            decoded.saturating_mul(2).saturating_add(side.saturating_mul(side).saturating_mul(32)),
        )?);
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
        picture.apply_orientation(orientation);
        Self::from_image(&picture, &what)
    }

    /// Takes the square in the middle, row by row, so that no more than it is held in full precision.
    fn from_image(picture: &DynamicImage, what: &str) -> Result<Self> {
        let (width, height) = (picture.width(), picture.height());
        let side = width.min(height);
        let mut values = reserve(what, side as usize * side as usize * 4)?;
        for y in 0..side {
            let row = picture.crop_imm((width - side) / 2, (height - side) / 2 + y, side, 1);
            values.extend_from_slice(row.into_rgba32f().as_raw());
        }
        Ok(Self::from_square(side, values))
    }

    fn from_square(side: u32, values: Vec<f32>) -> Self {
        let mut pixels = Rgba32FImage::from_raw(side, side, values).expect("the vector was filled to this size");
        for pixel in pixels.pixels_mut() {
            let alpha = pixel[3];
            (0..3).for_each(|channel| pixel[channel] *= alpha);
        }
        Self { pixels }
    }

    /// Takes `width` x `height` pixels whose rows start `stride` bytes apart. Alpha is straight; floats are taken
    /// as 0 to 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] when a side is 0, `stride` is less than a row, `bytes` are too few, or a float is not
    /// finite.
    pub fn from_pixels(format: PixelFormat, width: u32, height: u32, bytes: &[u8], stride: usize) -> Result<Self> {
        if width == 0 || height == 0 {
            return Err(Error::Invalid(format!("a picture of {width} x {height} pixels is empty")));
        }
        let row = width as usize * format.bytes();
        check_rows(row, height as usize, stride, bytes.len())?;
        let side = width.min(height) as usize;
        let (left, top) = ((width as usize - side) / 2, (height as usize - side) / 2);
        let mut values = reserve("a picture", side.saturating_mul(side).saturating_mul(4))?;
        for line in bytes.chunks(stride).skip(top).take(side) {
            for pixel in line[left * format.bytes()..][..side * format.bytes()].chunks_exact(format.bytes()) {
                let byte = |c: usize| f32::from(pixel[c]) / 255.0;
                let float =
                    |c: usize| f32::from_ne_bytes([pixel[4 * c], pixel[4 * c + 1], pixel[4 * c + 2], pixel[4 * c + 3]]);
                values.extend(match format {
                    PixelFormat::Rgb8 => [byte(0), byte(1), byte(2), 1.0],
                    PixelFormat::Rgba8 => [byte(0), byte(1), byte(2), byte(3)],
                    PixelFormat::Rgba32F => [float(0), float(1), float(2), float(3)],
                });
            }
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Invalid("a pixel is not a finite number".into()));
        }
        values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
        Ok(Self::from_square(side as u32, values))
    }

    /// What the encoder takes: planes of `size` x `size`, -1..1, 3 channels (over black) or 4 (premultiplied). A
    /// picture of that size is taken as it is; another is cropped to the square in its middle and resized
    /// (Catmull-Rom).
    pub(crate) fn planes(&self, size: u32, channels: usize) -> Result<Vec<f32>> {
        let resized;
        let square = if self.pixels.width() == size {
            &self.pixels
        } else {
            let between = (self.pixels.width() as usize).saturating_mul(size as usize).saturating_mul(16);
            drop(reserve::<u8>("a picture", between)?);
            resized = image::imageops::resize(&self.pixels, size, size, image::imageops::FilterType::CatmullRom);
            &resized
        };
        let plane = size as usize * size as usize;
        let mut planes = filled("a picture", channels * plane, 0.0)?;
        for (at, pixel) in square.pixels().enumerate() {
            for channel in 0..channels {
                planes[channel * plane + at] = (pixel[channel].clamp(0.0, 1.0) - 0.5) / 0.5;
            }
        }
        Ok(planes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_in_at_the_right_size_is_taken_as_it_is() {
        let bytes = [255, 0, 0, 128, 10, 20, 30, 255, 0, 0, 0, 0, 40, 50, 60, 255];
        let picture = Picture::from_pixels(PixelFormat::Rgba8, 2, 2, &bytes, 8).unwrap();
        let planes = picture.planes(2, 4).unwrap();
        let premultiplied = 128.0 / 255.0;
        assert_eq!(planes[0], (premultiplied - 0.5) / 0.5);
        assert_eq!(planes[12], (premultiplied - 0.5) / 0.5);
        assert_eq!(planes[2], -1.0);
    }

    #[test]
    fn other_sizes_are_cropped_in_the_middle() {
        // 6 x 2, the middle 2 x 2 is white: what is left and right must not be seen.
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
}

//! Pictures on their way in: any size, any mode, as the encoder wants them.

use std::path::Path;

use image::{DynamicImage, Rgba32FImage};

use super::{PixelFormat, check_rows};
use crate::error::{Error, Result, filled, reserve};

/// A picture on its way in: any size, premultiplied `f32`.
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
        let fail = |error| Error::io("cannot read", path, error);
        let reader = image::ImageReader::open(path).map_err(fail)?.with_guessed_format().map_err(fail)?;
        let picture = reader.decode().map_err(|error| match error {
            image::ImageError::IoError(error)
                if error.kind() != std::io::ErrorKind::UnexpectedEof
                    && error.kind() != std::io::ErrorKind::InvalidData =>
            {
                fail(error)
            }
            image::ImageError::Limits(_) => {
                Error::OutOfMemory { what: format!("the picture {}", path.display()), bytes: 0 }
            }
            error => Error::format(path, format!("not a picture that can be read: {error}")),
        })?;
        Self::from_image(&picture)
    }

    /// Row by row, so that the one large allocation is ours and can fail.
    fn from_image(picture: &DynamicImage) -> Result<Self> {
        let (width, height) = (picture.width(), picture.height());
        let mut values = reserve("a picture", (width as usize).saturating_mul(height as usize).saturating_mul(4))?;
        for y in 0..height {
            values.extend_from_slice(picture.crop_imm(0, y, width, 1).into_rgba32f().as_raw());
        }
        let mut pixels = Rgba32FImage::from_raw(width, height, values).expect("the vector was filled to this size");
        premultiply(&mut pixels);
        Ok(Self { pixels })
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
        let mut values = reserve("a picture", (width as usize).saturating_mul(height as usize).saturating_mul(4))?;
        for line in bytes.chunks(stride).take(height as usize) {
            for pixel in line[..row].chunks_exact(format.bytes()) {
                let byte = |c: usize| f32::from(pixel[c]) / 255.0;
                let float = |c: usize| {
                    f32::from_ne_bytes([pixel[4 * c], pixel[4 * c + 1], pixel[4 * c + 2], pixel[4 * c + 3]])
                        .clamp(0.0, 1.0)
                };
                values.extend(match format {
                    PixelFormat::Rgb8 => [byte(0), byte(1), byte(2), 1.0],
                    PixelFormat::Rgba8 => [byte(0), byte(1), byte(2), byte(3)],
                    PixelFormat::Rgba32F => [float(0), float(1), float(2), float(3)],
                });
            }
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(Error::Invalid("a pixel is not a number".into()));
        }
        let mut pixels = Rgba32FImage::from_raw(width, height, values).expect("the vector was filled to this size");
        premultiply(&mut pixels);
        Ok(Self { pixels })
    }

    /// What the encoder takes: planes of `size` x `size`, -1..1, 3 channels (over black) or 4 (premultiplied). A
    /// picture of that size is taken as it is; another is cropped to the square in its middle and resized
    /// (Catmull-Rom).
    pub(crate) fn planes(&self, size: u32, channels: usize) -> Result<Vec<f32>> {
        let (width, height) = self.pixels.dimensions();
        let resized;
        let square = if (width, height) == (size, size) {
            &self.pixels
        } else {
            let side = width.min(height);
            let middle = image::imageops::crop_imm(&self.pixels, (width - side) / 2, (height - side) / 2, side, side);
            resized = image::imageops::resize(&*middle, size, size, image::imageops::FilterType::CatmullRom);
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

fn premultiply(pixels: &mut Rgba32FImage) {
    for pixel in pixels.pixels_mut() {
        let alpha = pixel[3];
        for channel in 0..3 {
            pixel[channel] *= alpha;
        }
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

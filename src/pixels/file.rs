//! Picture files.

use std::path::Path;

use image::{DynamicImage, ImageFormat};

use super::{PixelFormat, check_rows};
use crate::support::error::{Error, Result};
use crate::support::files::write_file;
use crate::support::memory::reserve;

/// The kinds of picture files that are written.
const KINDS: [ImageFormat; 7] = [
    ImageFormat::Png,
    ImageFormat::Jpeg,
    ImageFormat::WebP,
    ImageFormat::Bmp,
    ImageFormat::Tga,
    ImageFormat::Tiff,
    ImageFormat::Qoi,
];

/// Whether a picture file can be called `path`, as far as its ending says.
///
/// # Errors
/// [`Error::Invalid`] listing the endings when not.
pub fn check_ending(path: &Path) -> Result<()> {
    kind(path).map(drop)
}

fn kind(path: &Path) -> Result<ImageFormat> {
    ImageFormat::from_path(path).ok().filter(|kind| KINDS.contains(kind)).ok_or_else(|| {
        let endings = "png, jpg, webp, bmp, tga, tiff, qoi";
        Error::Invalid(format!(
            "{}: its ending names no kind of picture that can be written ({endings})",
            path.display()
        ))
    })
}

/// Encodes 8-bit pixels, rows `stride` bytes apart, into the file `path`, through a neighbour that is renamed, so
/// that a failure leaves nothing half-written and nothing lost.
///
/// # Errors
/// [`Error::Invalid`] when the ending names no kind of picture, the format is not of 8 bits, or the bytes are too
/// few; [`Error::Io`] when the file cannot be written.
pub fn save(path: &Path, width: u32, height: u32, format: PixelFormat, pixels: &[u8], stride: usize) -> Result<()> {
    let kind = kind(path)?;
    if width == 0 || height == 0 {
        return Err(Error::Invalid(format!("a picture of {width} x {height} pixels is empty")));
    }
    let row = width as usize * format.bytes();
    check_rows(row, height as usize, stride, pixels.len())?;
    let mut tight = reserve("a picture", row * height as usize)?;
    pixels.chunks(stride).take(height as usize).for_each(|line| tight.extend_from_slice(&line[..row]));
    const FITS: &str = "the vector was filled to this size";
    let picture = match format {
        PixelFormat::Rgb8 => DynamicImage::ImageRgb8(image::RgbImage::from_raw(width, height, tight).expect(FITS)),
        PixelFormat::Rgba8 => DynamicImage::ImageRgba8(image::RgbaImage::from_raw(width, height, tight).expect(FITS)),
        PixelFormat::Rgba32F => return Err(Error::Invalid("picture files are written from 8-bit pixels".into())),
    };
    // JPEG has no alpha; over black, as everywhere.
    let picture = if kind == ImageFormat::Jpeg { DynamicImage::ImageRgb8(over_black(&picture)) } else { picture };
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture.write_to(&mut bytes, kind).map_err(|error| Error::Invalid(format!("{}: {error}", path.display())))?;
    write_file(path, &bytes.into_inner())
}

fn over_black(picture: &DynamicImage) -> image::RgbImage {
    let mut rgb = picture.to_rgb8();
    if let DynamicImage::ImageRgba8(rgba) = picture {
        for (target, source) in rgb.pixels_mut().zip(rgba.pixels()) {
            let alpha = u32::from(source[3]);
            target.0 = [0, 1, 2].map(|c| ((u32::from(source[c]) * alpha + 127) / 255) as u8);
        }
    }
    rgb
}

//! Pixels: what the decoder gives, as RGB8, RGBA8 or RGBA32F in anyone's memory or in a file; and pictures of any
//! size and mode on their way in.
//!
//! RGB models use the authors' byte rule, `trunc(clamp(127.5 x + 128, 0, 255))`. RGBA models give premultiplied
//! colour: `p = clamp((x + 1) / 2, 0, 1)`, alpha is p3, straight colour `min(p / alpha, 1)` (0 where alpha is 0), a
//! byte `round(255 v)`.

use std::io::Write;
use std::path::Path;

use image::{DynamicImage, ImageFormat, Rgba32FImage};

use crate::error::{Error, Result, filled, reserve};

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

/// A square picture as the decoder computed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    size: u32,
    alpha: bool,
    /// Planes R, G, B and with alpha A, row-major, about -1..1.
    planes: Vec<f32>,
}

impl Image {
    pub(crate) fn new(size: u32, channels: usize, planes: &[f32]) -> Result<Self> {
        assert_eq!(planes.len(), channels * size as usize * size as usize);
        let mut copy = reserve("a picture", planes.len())?;
        copy.extend_from_slice(planes);
        Ok(Self { size, alpha: channels == 4, planes: copy })
    }

    /// Pixels a side.
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether it can be transparent.
    pub fn has_alpha(&self) -> bool {
        self.alpha
    }

    /// The decoder's own numbers: planes R, G, B and with alpha A (premultiplied), row-major, about -1..1.
    pub fn planes(&self) -> &[f32] {
        &self.planes
    }

    /// Writes the picture as `format` into `target`, whose rows start `stride` bytes apart. Bytes between rows are
    /// left alone.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `stride` is less than a row, or `target` than the rows.
    pub fn write(&self, format: PixelFormat, target: &mut [u8], stride: usize) -> Result<()> {
        let size = self.size as usize;
        let row = size * format.bytes();
        check_rows(row, size, stride, target.len())?;
        for (y, line) in target.chunks_mut(stride).take(size).enumerate() {
            for (x, pixel) in line[..row].chunks_exact_mut(format.bytes()).enumerate() {
                self.pixel(y * size + x, format, pixel);
            }
        }
        Ok(())
    }

    /// The picture as `format`, rows without gaps.
    pub fn to_vec(&self, format: PixelFormat) -> Result<Vec<u8>> {
        let row = self.size as usize * format.bytes();
        let mut pixels = filled("a picture", row * self.size as usize, 0)?;
        self.write(format, &mut pixels, row)?;
        Ok(pixels)
    }

    /// Writes a picture file; its ending says which kind (`png`, `jpg`, `webp`, `bmp`, `tga`, `tiff`, `qoi`). With
    /// alpha where the model and the kind have it. The file appears whole or not at all.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an ending that is not known, [`Error::Io`] when it cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let format = if self.alpha { PixelFormat::Rgba8 } else { PixelFormat::Rgb8 };
        let stride = self.size as usize * format.bytes();
        save(path.as_ref(), self.size, self.size, format, &self.to_vec(format)?, stride)
    }

    fn pixel(&self, at: usize, format: PixelFormat, target: &mut [u8]) {
        let plane = self.size as usize * self.size as usize;
        let value = |channel: usize| self.planes[channel * plane + at];
        let unit = |channel| ((value(channel) + 1.0) / 2.0).clamp(0.0, 1.0);
        let byte = |v: f32| (255.0 * v).round() as u8;
        if self.alpha {
            let alpha = unit(3);
            let straight = |channel| if alpha > 0.0 { (unit(channel) / alpha).min(1.0) } else { 0.0 };
            match format {
                PixelFormat::Rgb8 => (0..3).for_each(|c| target[c] = byte(unit(c).min(alpha))),
                PixelFormat::Rgba8 => {
                    (0..3).for_each(|c| target[c] = byte(straight(c)));
                    target[3] = byte(alpha);
                }
                PixelFormat::Rgba32F => put_floats(target, [straight(0), straight(1), straight(2), alpha]),
            }
        } else {
            // `as u8` truncates, which is the authors' rule.
            let authors = |channel| (127.5 * value(channel) + 128.0).clamp(0.0, 255.0) as u8;
            match format {
                PixelFormat::Rgb8 => (0..3).for_each(|c| target[c] = authors(c)),
                PixelFormat::Rgba8 => {
                    (0..3).for_each(|c| target[c] = authors(c));
                    target[3] = 255;
                }
                PixelFormat::Rgba32F => put_floats(target, [unit(0), unit(1), unit(2), 1.0]),
            }
        }
    }
}

/// Writes through bytes, so that the caller's memory need not be aligned.
fn put_floats(target: &mut [u8], pixel: [f32; 4]) {
    for (bytes, value) in target.chunks_exact_mut(4).zip(pixel) {
        bytes.copy_from_slice(&value.to_ne_bytes());
    }
}

fn check_rows(row: usize, rows: usize, stride: usize, length: usize) -> Result<()> {
    if stride < row {
        return Err(Error::Invalid(format!("a stride of {stride} bytes is less than a row of {row}")));
    }
    let needed = stride.checked_mul(rows.saturating_sub(1)).and_then(|bytes| bytes.checked_add(row));
    if needed.is_none_or(|needed| length < needed) {
        return Err(Error::Invalid(format!("{length} bytes are too few for {rows} rows {stride} bytes apart")));
    }
    Ok(())
}

/// Encodes 8-bit pixels, rows `stride` bytes apart, into the file `path`, through a neighbour that is renamed, so
/// that a failure leaves nothing half-written and nothing lost.
///
/// # Errors
/// [`Error::Invalid`] when the ending names no kind of picture, the format is not of 8 bits, or the bytes are too
/// few; [`Error::Io`] when the file cannot be written.
pub fn save(path: &Path, width: u32, height: u32, format: PixelFormat, pixels: &[u8], stride: usize) -> Result<()> {
    let kind = ImageFormat::from_path(path).ok().filter(ImageFormat::writing_enabled).ok_or_else(|| {
        Error::Invalid(format!(
            "{}: the ending names no kind of picture that can be written (png, jpg, webp, bmp, tga, tiff, qoi)",
            path.display()
        ))
    })?;
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

/// Writes a whole file or leaves what was there: into a neighbour first, then renamed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error| Error::io("cannot write", path, error);
    let name = path.file_name().ok_or_else(|| Error::Invalid(format!("{} names no file", path.display())))?;
    // Things that are not files (a pipe, /dev/stdout) cannot be renamed over.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::write(path, bytes).map_err(fail);
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(hidden);
    let written = std::fs::File::create(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&part, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&part);
        fail(error)
    })
}

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
        let mut pixels = picture.into_rgba32f();
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
    fn rgb_bytes_follow_the_authors_rule() {
        // 127.5 x + 128, truncated: -1 gives 0 (0.5), 0 gives 128, 1 gives 255 (255.5 clamped).
        let image = Image::new(1, 3, &[-1.0, 0.0, 1.0]).unwrap();
        assert_eq!(image.to_vec(PixelFormat::Rgb8).unwrap(), [0, 128, 255]);
        assert_eq!(image.to_vec(PixelFormat::Rgba8).unwrap(), [0, 128, 255, 255]);
    }

    #[test]
    fn rgba_is_unpremultiplied() {
        // alpha 0.5, premultiplied red 0.25 -> straight 0.5; green above alpha is cut to 1.
        let image = Image::new(1, 4, &[-0.5, 0.5, -1.0, 0.0]).unwrap();
        assert_eq!(image.to_vec(PixelFormat::Rgba8).unwrap(), [128, 255, 0, 128]);
        assert_eq!(image.to_vec(PixelFormat::Rgb8).unwrap(), [64, 128, 0]);
        let clear = Image::new(1, 4, &[1.0, 1.0, 1.0, -1.0]).unwrap();
        assert_eq!(clear.to_vec(PixelFormat::Rgba8).unwrap(), [0, 0, 0, 0]);
        let floats = image.to_vec(PixelFormat::Rgba32F).unwrap();
        assert_eq!(f32::from_ne_bytes(floats[..4].try_into().unwrap()), 0.5);
    }

    #[test]
    fn strides_leave_the_gap_alone() {
        let image = Image::new(2, 3, &[0.0; 12]).unwrap();
        let mut target = [7u8; 8 + 6];
        image.write(PixelFormat::Rgb8, &mut target, 8).unwrap();
        assert_eq!(target[6..8], [7, 7]);
        assert_eq!(target[8..14], [128; 6]);
        assert!(image.write(PixelFormat::Rgb8, &mut target[..13], 8).is_err());
        assert!(image.write(PixelFormat::Rgb8, &mut target, 5).is_err());
        assert!(image.write(PixelFormat::Rgb8, &mut target, usize::MAX).is_err());
    }

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

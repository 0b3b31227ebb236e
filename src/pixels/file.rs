//! Picture files: encoding, decoding, saving and opening them.

use std::fmt;
use std::io::{BufRead, BufReader, Cursor, ErrorKind, Seek};
use std::path::Path;

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageReader};

use super::format::{PixelFormat, check_rows, check_sides};
use super::image::Image;
use super::picture::{Picture, values_of};
use crate::support::error::{Error, Result};
use crate::support::files::{open, write_file};
use crate::support::host;
use crate::support::memory::reserve;

/// A file format that pictures can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// PNG: lossless, with alpha.
    Png,
    /// JPEG: lossy. Alpha is composited over black.
    Jpeg,
    /// WebP: written lossless, with alpha.
    Webp,
    /// BMP: uncompressed, with alpha.
    Bmp,
    /// TGA: run-length encoded, with alpha.
    Tga,
    /// TIFF: uncompressed, with alpha.
    Tiff,
    /// QOI: lossless, with alpha.
    Qoi,
}

impl FileFormat {
    /// Every format.
    pub const ALL: [Self; 7] = [Self::Png, Self::Jpeg, Self::Webp, Self::Bmp, Self::Tga, Self::Tiff, Self::Qoi];

    /// The format that the extension of `path` stands for, ignoring case: `png`, `jpg` (`jpeg`, `jfif`), `webp`, `bmp`,
    /// `tga`, `tiff` (`tif`), `qoi`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other extension; the message lists these.
    pub fn from_path(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let found = ImageFormat::from_path(path).ok();
        Self::ALL.into_iter().find(|format| found == Some(format.codec())).ok_or_else(|| {
            let allowed = "png, jpg, webp, bmp, tga, tiff, qoi";
            Error::Invalid(format!(
                "{}: its extension is not that of a picture format that can be written ({allowed})",
                path.display()
            ))
        })
    }

    fn codec(self) -> ImageFormat {
        match self {
            Self::Png => ImageFormat::Png,
            Self::Jpeg => ImageFormat::Jpeg,
            Self::Webp => ImageFormat::WebP,
            Self::Bmp => ImageFormat::Bmp,
            Self::Tga => ImageFormat::Tga,
            Self::Tiff => ImageFormat::Tiff,
            Self::Qoi => ImageFormat::Qoi,
        }
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::Webp => "WebP",
            Self::Bmp => "BMP",
            Self::Tga => "TGA",
            Self::Tiff => "TIFF",
            Self::Qoi => "QOI",
        })
    }
}

/// Encodes `width` x `height` 8-bit pixels, whose rows are `stride` bytes apart, as a picture file in memory.
///
/// # Errors
/// [`Error::Invalid`] if a side is 0, `format` is not 8-bit, `stride` is less than a row, `pixels` is too short, or the
/// file format does not allow the size (JPEG: 65,535, WebP: 16,384 pixels per side); [`Error::OutOfMemory`].
pub fn encode(
    file_format: FileFormat,
    width: u32,
    height: u32,
    format: PixelFormat,
    pixels: &[u8],
    stride: usize,
) -> Result<Vec<u8>> {
    let _host = host::enter();
    check_sides(width, height)?;
    let row = format.row(width);
    check_rows(row, height as usize, stride, pixels.len())?;
    let mut tight = reserve("a picture", row.saturating_mul(height as usize))?;
    pixels.chunks(stride).take(height as usize).for_each(|line| tight.extend_from_slice(&line[..row]));
    const FITS: &str = "the vector was filled to this size";
    let picture = match format {
        PixelFormat::Rgb8 => DynamicImage::ImageRgb8(image::RgbImage::from_raw(width, height, tight).expect(FITS)),
        PixelFormat::Rgba8 => DynamicImage::ImageRgba8(image::RgbaImage::from_raw(width, height, tight).expect(FITS)),
        PixelFormat::Rgba32F => {
            return Err(Error::Invalid("picture files are written from 8-bit pixels, not from floats".into()));
        }
    };
    // JPEG has no alpha: over black, as everywhere.
    let picture = if file_format == FileFormat::Jpeg { DynamicImage::ImageRgb8(over_black(&picture)) } else { picture };
    let mut bytes = Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, file_format.codec())
        .map_err(|error| Error::Invalid(format!("{width} x {height} pixels as {file_format}: {error}")))?;
    Ok(bytes.into_inner())
}

/// Encodes pixels as [`encode`] does and writes the file `path` atomically; its extension selects the format
/// ([`FileFormat::from_path`]).
///
/// # Errors
/// As [`FileFormat::from_path`] and [`encode`], and [`Error::Io`] if the file cannot be written.
pub fn save(path: &Path, width: u32, height: u32, format: PixelFormat, pixels: &[u8], stride: usize) -> Result<()> {
    let _host = host::enter();
    let file_format = FileFormat::from_path(path)?;
    let bytes = encode(file_format, width, height, format, pixels, stride).map_err(|error| match error {
        Error::Invalid(text) => Error::Invalid(format!("{}: {text}", path.display())),
        other => other,
    })?;
    write_file(path, &bytes)
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

impl Image {
    /// Encodes the picture as a file in memory, with alpha if the model and the format have it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn encode(&self, file_format: FileFormat) -> Result<Vec<u8>> {
        let format = if self.has_alpha() { PixelFormat::Rgba8 } else { PixelFormat::Rgb8 };
        encode(file_format, self.size(), self.size(), format, &self.to_vec(format)?, format.row(self.size()))
    }

    /// Writes the picture as the file `path` atomically, with alpha if the model and the format have it. The extension
    /// selects the format: `png`, `jpg`, `webp`, `bmp`, `tga`, `tiff`, `qoi`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other extension, [`Error::Io`] if the file cannot be written, [`Error::OutOfMemory`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        write_file(path, &self.encode(FileFormat::from_path(path)?)?)
    }
}

impl Picture {
    /// Reads a picture file of any size and mode (grey, palette, 16 bit, float, with or without alpha): PNG, JPEG, WebP,
    /// BMP, TGA, TIFF, QOI, GIF, ICO or PNM. The format is detected by content; by the extension only for TGA, which has
    /// no signature.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::Format`] if it is not a picture that can be read,
    /// [`Error::OutOfMemory`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let _host = host::enter();
        let path = path.as_ref();
        let file = open(path).map_err(|error| Error::reading(path, error))?;
        let mut reader = ImageReader::new(BufReader::new(file));
        if let Ok(format) = ImageFormat::from_path(path) {
            reader.set_format(format);
        }
        let reader = reader.with_guessed_format().map_err(|error| Error::reading(path, error))?;
        Self::read(reader, path)
    }

    /// Reads a picture file in memory, as [`open`](Self::open) does. TGA cannot be detected by content and so cannot be
    /// read from memory.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not a picture that can be read, [`Error::OutOfMemory`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let _host = host::enter();
        let name = Path::new("picture in memory");
        let reader =
            ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| Error::reading(name, error))?;
        Self::read(reader, name)
    }

    fn read<R: BufRead + Seek>(mut reader: ImageReader<R>, name: &Path) -> Result<Self> {
        let fail = |error: ImageError| match error {
            ImageError::IoError(error)
                if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) =>
            {
                Error::reading(name, error)
            }
            error => Error::format(name, format!("not a picture that can be read: {error}")),
        };
        // Available memory is the limit, below, rather than fixed numbers.
        reader.no_limits();
        let mut decoder = reader.into_decoder().map_err(fail)?;
        let (width, height) = decoder.dimensions();
        if width == 0 || height == 0 {
            return Err(Error::format(name, "the picture is empty"));
        }
        // The decoder allocates infallibly: check first that there is memory for the picture, a rotated copy, and the
        // square of floats.
        let what = format!("the picture {} of {width} x {height} pixels", name.display());
        let decoded = usize::try_from(decoder.total_bytes()).unwrap_or(usize::MAX);
        let square = values_of(width.min(height)).saturating_mul(2 * size_of::<f32>());
        drop(reserve::<u8>(&what, decoded.saturating_mul(2).saturating_add(square))?);
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        let mut picture = DynamicImage::from_decoder(decoder).map_err(fail)?;
        picture.apply_orientation(orientation);
        Self::from_image(&picture, &what)
    }

    /// Takes the centred square row by row, so that no more than the square is held as floats.
    fn from_image(picture: &DynamicImage, what: &str) -> Result<Self> {
        let (width, height) = (picture.width(), picture.height());
        let side = width.min(height);
        let mut values = reserve(what, values_of(side))?;
        for y in 0..side {
            let row = picture.crop_imm((width - side) / 2, (height - side) / 2 + y, side, 1);
            values.extend_from_slice(row.into_rgba32f().as_raw());
        }
        Ok(Self::from_square(side, values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient() -> Image {
        let values: Vec<f32> = (0..4 * 16 * 16).map(|at| (at % 101) as f32 / 50.0 - 1.0).collect();
        Image::new(16, 4, &values).unwrap()
    }

    #[test]
    fn encode_writes_the_same_bytes_as_save() {
        let folder = tempfile::tempdir().unwrap();
        for (format, extension) in FileFormat::ALL.into_iter().zip(["png", "jpg", "webp", "bmp", "tga", "tif", "QOI"]) {
            let path = folder.path().join(format!("picture.{extension}"));
            assert_eq!(FileFormat::from_path(&path).unwrap(), format);
            gradient().save(&path).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), gradient().encode(format).unwrap(), "{format}");
        }
        for name in ["picture", "picture.gif", "picture.txt", "png"] {
            let error = FileFormat::from_path(name).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("webp"), "{error}");
        }
    }

    #[test]
    fn decode_from_memory_equals_open() {
        let folder = tempfile::tempdir().unwrap();
        // Under a wrong extension: the content decides.
        let path = folder.path().join("picture.gif");
        for format in FileFormat::ALL {
            let bytes = gradient().encode(format).unwrap();
            std::fs::write(&path, &bytes).unwrap();
            if format == FileFormat::Tga {
                assert!(matches!(Picture::decode(&bytes), Err(Error::Format { .. })));
                continue;
            }
            let (memory, file) = (Picture::decode(&bytes).unwrap(), Picture::open(&path).unwrap());
            assert_eq!(memory.planes(16, 4).unwrap(), file.planes(16, 4).unwrap(), "{format}");
        }
    }

    #[test]
    fn decode_refuses_what_is_no_picture() {
        let png = gradient().encode(FileFormat::Png).unwrap();
        for bytes in [&b""[..], b"something else", &png[..png.len() / 2], &png[..9]] {
            let error = Picture::decode(bytes).unwrap_err();
            assert!(matches!(error, Error::Format { .. }), "{error:?}");
            assert!(error.to_string().starts_with("picture in memory: not a picture that can be read"), "{error}");
        }
    }

    #[test]
    fn encode_refuses_floats_and_sizes_beyond_the_pixels() {
        let pixels = [0; 64];
        let encode = |width, height, format, stride| encode(FileFormat::Png, width, height, format, &pixels, stride);
        assert!(encode(4, 4, PixelFormat::Rgba8, 16).is_ok());
        for (width, height, format, stride) in [
            (1, 1, PixelFormat::Rgba32F, 16),
            (0, 4, PixelFormat::Rgba8, 16),
            (4, 0, PixelFormat::Rgba8, 16),
            (4, 5, PixelFormat::Rgba8, 16),
            (4, 4, PixelFormat::Rgba8, 15),
            (u32::MAX, u32::MAX, PixelFormat::Rgba8, usize::MAX),
            (1, u32::MAX, PixelFormat::Rgb8, 1 << 62),
        ] {
            let error = encode(width, height, format, stride).unwrap_err();
            assert!(matches!(error, Error::Invalid(_)), "{error:?}");
        }
    }
}

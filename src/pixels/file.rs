//! Picture files: encoding and saving them.

use std::fmt;
use std::io::{BufWriter, Cursor, ErrorKind, Seek, SeekFrom, Write};
use std::path::Path;

use image::codecs::bmp::BmpEncoder;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::qoi::QoiEncoder;
use image::codecs::tiff::TiffEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, GenericImageView, ImageEncoder, ImageError, ImageFormat, Rgb};

use super::format::{PixelFormat, check_rows, check_sides};
use super::image::Image;
use super::read::read_row;
use super::tga;
use super::write::byte;
use crate::support::error::{Error, Result};
use crate::support::files::NewFile;
use crate::support::host;
use crate::support::memory::{reserve, with_room};

/// What errors about memory name.
const PICTURE: &str = "a picture";
/// What the encoders allocate for any picture: tables, windows, rows.
const WORKING_MEMORY: usize = 2 << 20;

/// A file format that pictures can be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FileFormat {
    /// PNG: lossless, with alpha. A chunk says that its colour is sRGB.
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

/// 8-bit pixels, checked, with what is needed to encode them.
#[derive(Clone, Copy)]
struct Pixels<'a> {
    width: u32,
    height: u32,
    alpha: bool,
    bytes: &'a [u8],
    /// Bytes from a row to the next.
    stride: usize,
    /// Bytes of a row.
    row: usize,
}

impl<'a> Pixels<'a> {
    /// Pixels other than RGB8 and RGBA8 become RGBA8 in `converted`.
    fn new(
        width: u32,
        height: u32,
        format: PixelFormat,
        bytes: &'a [u8],
        stride: usize,
        converted: &'a mut Vec<u8>,
    ) -> Result<Self> {
        check_sides(width, height)?;
        let row = format.row(width);
        check_rows(row, height as usize, stride, bytes.len())?;
        let pixels = Self { width, height, alpha: format != PixelFormat::Rgb8, bytes, stride, row };
        if matches!(format, PixelFormat::Rgb8 | PixelFormat::Rgba8) {
            return Ok(pixels);
        }
        let row = PixelFormat::Rgba8.row(width);
        *converted = reserve(PICTURE, row.saturating_mul(height as usize))?;
        let mut values = reserve(PICTURE, row)?;
        for (y, line) in pixels.rows().enumerate() {
            read_row(format, line, (0, y), &mut values)?;
            converted.extend(values.iter().map(|&value| byte(value)));
        }
        Ok(Self { bytes: converted, stride: row, row, ..pixels })
    }

    fn rows(&self) -> impl Iterator<Item = &'a [u8]> {
        let row = self.row;
        self.bytes.chunks(self.stride).take(self.height as usize).map(move |line| &line[..row])
    }

    fn count(&self) -> usize {
        (self.width as usize).saturating_mul(self.height as usize)
    }

    /// Encodes into `writer`. The encoders allocate infallibly: there must be memory first.
    fn write(&self, file_format: FileFormat, writer: &mut (impl Write + Seek)) -> Result<(), Fault> {
        let tight;
        let pixels = match file_format {
            // These take rows, in place.
            FileFormat::Png | FileFormat::Jpeg | FileFormat::Tga => &[],
            _ if self.stride == self.row || self.height == 1 => &self.bytes[..self.row * self.height as usize],
            _ => {
                let mut copy = reserve(PICTURE, self.row.saturating_mul(self.height as usize))?;
                self.rows().for_each(|row| copy.extend_from_slice(row));
                tight = copy;
                &tight[..]
            }
        };
        let copies = match file_format {
            FileFormat::Png => self.row.saturating_mul(8),
            FileFormat::Jpeg | FileFormat::Bmp | FileFormat::Tga | FileFormat::Tiff => 0,
            // The file and its frame, at their longest.
            FileFormat::Qoi => self.count().saturating_mul(5),
            // A copy of the pixels, and the file, which is moved when it grows.
            FileFormat::Webp => self.count().saturating_mul(16),
        };
        let colour = if self.alpha { ExtendedColorType::Rgba8 } else { ExtendedColorType::Rgb8 };
        let (width, height) = (self.width, self.height);
        with_room(PICTURE, copies.saturating_add(WORKING_MEMORY), || {
            match file_format {
                FileFormat::Png => self.write_png(writer)?,
                FileFormat::Jpeg => JpegEncoder::new(writer).encode_image(self)?,
                FileFormat::Webp => WebPEncoder::new_lossless(writer).write_image(pixels, width, height, colour)?,
                FileFormat::Bmp => BmpEncoder::new(writer).write_image(pixels, width, height, colour)?,
                FileFormat::Tga => self.write_tga(writer)?,
                FileFormat::Tiff => TiffEncoder::new(writer).write_image(pixels, width, height, colour)?,
                FileFormat::Qoi => QoiEncoder::new(writer).write_image(pixels, width, height, colour)?,
            }
            Ok(())
        })?
    }

    /// Row by row, compressed as `image` does it.
    fn write_png(&self, writer: &mut impl Write) -> Result<(), Fault> {
        let mut encoder = png::Encoder::new(writer, self.width, self.height);
        encoder.set_color(if self.alpha { png::ColorType::Rgba } else { png::ColorType::Rgb });
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Fast);
        encoder.set_filter(png::Filter::Adaptive);
        encoder.set_source_srgb(png::SrgbRenderingIntent::Perceptual);
        let mut file = encoder.write_header()?;
        let mut rows = file.stream_writer()?;
        self.rows().try_for_each(|row| rows.write_all(row))?;
        rows.finish()?;
        Ok(file.finish()?)
    }

    fn write_tga(&self, writer: &mut impl Write) -> Result<(), Fault> {
        let (sides, size) = ((self.width, self.height), if self.alpha { 4 } else { 3 });
        if self.width.max(self.height) > tga::LARGEST_SIDE {
            return Err(Fault::Refused(format!("a side has at most {} pixels", tga::LARGEST_SIDE)));
        }
        Ok(tga::write(writer, sides, size, self.rows())?)
    }
}

/// The pixels as JPEG takes them: it has no alpha, so over black, as everywhere.
impl GenericImageView for Pixels<'_> {
    type Pixel = Rgb<u8>;

    fn dimensions(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    fn get_pixel(&self, x: u32, y: u32) -> Rgb<u8> {
        let size = if self.alpha { 4 } else { 3 };
        let pixel = &self.bytes[y as usize * self.stride + x as usize * size..][..size];
        Rgb([0, 1, 2].map(|c| match pixel.get(3) {
            Some(&alpha) => ((u32::from(pixel[c]) * u32::from(alpha) + 127) / 255) as u8,
            None => pixel[c],
        }))
    }
}

/// Why encoding failed.
enum Fault {
    /// The file could not be written.
    Write(std::io::Error),
    /// The format does not take such a picture.
    Refused(String),
    Other(Error),
}

impl Fault {
    /// `name`: the file's, none in memory.
    fn into_error(self, name: Option<&Path>, pixels: &Pixels<'_>, file_format: FileFormat) -> Error {
        match (self, name) {
            (Self::Write(error), _) if error.kind() == ErrorKind::OutOfMemory => Error::OutOfMemory {
                what: PICTURE.into(),
                bytes: pixels.row.saturating_mul(pixels.height as usize) as u64,
            },
            (Self::Write(error), Some(path)) => Error::writing(path, error),
            (Self::Write(error), None) => Error::Internal(format!("writing to memory: {error}")),
            (Self::Refused(reason), name) => {
                let name = name.map(|path| format!("{}: ", path.display())).unwrap_or_default();
                Error::Invalid(format!("{name}{} x {} pixels as {file_format}: {reason}", pixels.width, pixels.height))
            }
            (Self::Other(error), _) => error,
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Self::Other(error)
    }
}

impl From<std::io::Error> for Fault {
    fn from(error: std::io::Error) -> Self {
        Self::Write(error)
    }
}

impl From<ImageError> for Fault {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::IoError(error) => Self::Write(error),
            error => Self::Refused(error.to_string()),
        }
    }
}

impl From<png::EncodingError> for Fault {
    fn from(error: png::EncodingError) -> Self {
        match error {
            png::EncodingError::IoError(error) => Self::Write(error),
            error => Self::Refused(error.to_string()),
        }
    }
}

/// A file in memory that grows fallibly.
#[derive(Default)]
struct Memory {
    bytes: Vec<u8>,
    at: usize,
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let end = self.at + bytes.len();
        if end > self.bytes.len() {
            let more = end - self.bytes.len();
            self.bytes.try_reserve(more).map_err(|_| ErrorKind::OutOfMemory)?;
            self.bytes.extend(std::iter::repeat_n(0, more));
        }
        self.bytes[self.at..end].copy_from_slice(bytes);
        self.at = end;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Seek for Memory {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let mut cursor = Cursor::new(&self.bytes);
        cursor.set_position(self.at as u64);
        let at = cursor.seek(to)?;
        self.at = usize::try_from(at).map_err(|_| ErrorKind::InvalidInput)?;
        Ok(at)
    }
}

/// Encodes `width` x `height` pixels, whose rows are `stride` bytes apart, as a picture file in memory. The file has 8 bits a
/// channel, sRGB, and straight alpha where `format` has alpha: pixels other than RGB8 and RGBA8 are converted to RGBA8 first,
/// in a copy; floats are clamped to 0 to 1, and premultiplied colour to alpha.
///
/// # Errors
/// [`Error::Invalid`] if a side is 0, `stride` is less than a row, `pixels` is too short, a float is NaN or infinite, or the
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
    let mut converted = Vec::new();
    let pixels = Pixels::new(width, height, format, pixels, stride, &mut converted)?;
    let mut memory = Memory::default();
    pixels.write(file_format, &mut memory).map_err(|fault| fault.into_error(None, &pixels, file_format))?;
    Ok(memory.bytes)
}

/// Encodes pixels as [`encode`] does and writes the file `path` atomically; its extension selects the format
/// ([`FileFormat::from_path`]). The file is written while it is encoded: of PNG, JPEG, BMP and TIFF no copy is made in memory
/// where pixels are not converted.
///
/// # Errors
/// As [`FileFormat::from_path`] and [`encode`], and [`Error::Io`] if the file cannot be written.
pub fn save(path: &Path, width: u32, height: u32, format: PixelFormat, pixels: &[u8], stride: usize) -> Result<()> {
    let _host = host::enter();
    let file_format = FileFormat::from_path(path)?;
    let mut converted = Vec::new();
    let pixels = Pixels::new(width, height, format, pixels, stride, &mut converted).map_err(|error| match error {
        Error::Invalid(text) => Error::Invalid(format!("{}: {text}", path.display())),
        other => other,
    })?;
    let mut file = NewFile::create(path)?;
    let fail = |fault: Fault| fault.into_error(Some(path), &pixels, file_format);
    if file_format == FileFormat::Tiff && !file.can_seek() {
        // A pipe: TIFF goes back to its first bytes.
        let mut memory = Memory::default();
        pixels.write(file_format, &mut memory).map_err(fail)?;
        file.write(&memory.bytes)?;
    } else {
        // 8 KiB: small enough to be allocated infallibly.
        let mut writer = BufWriter::with_capacity(1 << 13, file.file());
        pixels.write(file_format, &mut writer).and_then(|()| Ok(writer.flush()?)).map_err(fail)?;
        // Flushed, and after an error there is nothing more to write.
        let _ = writer.into_parts();
    }
    file.finish()
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
        FileFormat::from_path(path)?;
        let format = if self.has_alpha() { PixelFormat::Rgba8 } else { PixelFormat::Rgb8 };
        save(path, self.size(), self.size(), format, &self.to_vec(format)?, format.row(self.size()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::Picture;

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
    fn encode_of_rows_with_gaps_equals_that_of_tight_rows() {
        let row: Vec<u8> = (0..20).collect();
        let tight = row.repeat(3);
        let gaps: Vec<u8> = row.iter().copied().chain([99; 7]).collect::<Vec<u8>>().repeat(3);
        for file_format in FileFormat::ALL {
            let wanted = encode(file_format, 5, 3, PixelFormat::Rgba8, &tight, 20).unwrap();
            let found = encode(file_format, 5, 3, PixelFormat::Rgba8, &gaps, 27).unwrap();
            assert_eq!(found, wanted, "{file_format}");
        }
    }

    #[test]
    fn jpeg_is_composed_over_black() {
        let jpeg =
            |format, pixel: &[u8]| encode(FileFormat::Jpeg, 8, 8, format, &pixel.repeat(64), 8 * pixel.len()).unwrap();
        assert_eq!(jpeg(PixelFormat::Rgba8, &[200, 100, 50, 128]), jpeg(PixelFormat::Rgb8, &[100, 50, 25]));
    }

    #[test]
    fn save_that_fails_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wide.webp");
        let error = save(&path, 20_000, 1, PixelFormat::Rgb8, &[0; 60_000], 60_000).unwrap_err();
        assert!(matches!(&error, Error::Invalid(text) if text.contains("20000 x 1")), "{error:?}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn encode_of_other_formats_equals_that_of_rgba8() {
        let image = gradient();
        let of = |image: &Image, format: PixelFormat| {
            encode(FileFormat::Png, 16, 16, format, &image.to_vec(format).unwrap(), format.row(16)).unwrap()
        };
        let file = |format| of(&image, format);
        let straight = file(PixelFormat::Rgba8);
        assert!(file(PixelFormat::Bgra8) == straight && file(PixelFormat::Rgba32F) == straight);
        assert!(file(PixelFormat::Rgba8Premultiplied) == file(PixelFormat::Bgra8Premultiplied));
        // Every byte, opaque: half floats have more bits.
        let bytes: Vec<f32> =
            (0..1024).map(|at| if at < 768 { (at % 256) as f32 / 127.5 - 1.0 } else { 1.0 }).collect();
        let bytes = Image::new(16, 4, &bytes).unwrap();
        for format in PixelFormat::ALL.into_iter().filter(|&format| format != PixelFormat::Rgb8) {
            assert!(of(&bytes, format) == of(&bytes, PixelFormat::Rgba8), "{format:?}");
        }
        // Premultiplied bytes have fewer values: a pixel of half its colour.
        let one = |format, pixel: &[u8]| encode(FileFormat::Png, 1, 1, format, pixel, pixel.len()).unwrap();
        assert_eq!(
            one(PixelFormat::Bgra8Premultiplied, &[0, 40, 80, 160]),
            one(PixelFormat::Rgba8, &[128, 64, 0, 160])
        );
        let nan = [0.5, f32::NAN, 0.0, 1.0].map(f32::to_ne_bytes);
        let error =
            encode(FileFormat::Png, 1, 1, PixelFormat::Rgba32F, nan.as_flattened(), 16).unwrap_err().to_string();
        assert!(error.contains("(0, 0)") && error.contains("NaN"), "{error}");
    }

    #[test]
    fn encode_refuses_sizes_beyond_the_pixels() {
        let pixels = [0; 64];
        let encode = |width, height, format, stride| encode(FileFormat::Png, width, height, format, &pixels, stride);
        assert!(encode(4, 4, PixelFormat::Rgba8, 16).is_ok());
        for (width, height, format, stride) in [
            (3, 2, PixelFormat::Rgba32F, 48),
            (4, 4, PixelFormat::Rgba16FLinear, 31),
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

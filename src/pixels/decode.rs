//! Reading picture files: headers are checked first, memory is reserved before a decoder allocates it, and rows go straight
//! into the square that the encoder takes.
//!
//! PNG and JPEG are read by their own crates rather than through `image`: PNG by rows, with colour profiles and texts skipped
//! instead of inflated; JPEG strictly, so that a damaged one is an error.

use std::io::{Cursor, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use image::metadata::Orientation;
use image::{ColorType, ImageDecoder, ImageError, ImageFormat, ImageReader, Limits};
use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

use super::header;
use super::picture::Picture;
use super::rows::{Rows, from_big_endian};
use super::square::{Square, Turn};
use crate::support::error::{Error, Result};
use crate::support::files::read;
use crate::support::host;
use crate::support::memory::{filled, with_room};

/// The most pixels per side of a picture file, and of a frame in it.
pub const LARGEST_FILE_SIDE: u32 = 65_535;
/// The most pixels of a picture file, and of a frame in it: 23,170 x 23,170.
pub const LARGEST_FILE_PIXELS: u64 = 1 << 29;
/// What the decoders allocate for any picture: tables, windows, rows.
const WORKING_MEMORY: usize = 4 << 20;

impl Picture {
    /// Reads a picture file of any mode (grey, palette, 16 bit, float, with or without alpha): PNG, JPEG, WebP, BMP, TGA,
    /// TIFF, QOI, GIF (its first frame), ICO or PNM. The format is detected by content; by the extension only for TGA, which
    /// has no signature. Colour is taken for sRGB; profiles and texts are not read.
    ///
    /// A picture has at most 65,535 pixels per side and 2^29 in all. If its shorter side has more than 4,096 pixels, the
    /// square is reduced while it is read: boxes of k x k pixels become their mean, for the smallest k with at most 4,096.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::Format`] if it is not a picture that can be read, is cut off, damaged or
    /// too large, [`Error::OutOfMemory`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_until(path, || false)
    }

    /// Reads a picture file as [`open`](Self::open) does, and asks `stop` between rows whether to give up.
    ///
    /// # Errors
    /// As [`open`](Self::open), and [`Error::Cancelled`] once `stop` returns true.
    pub fn open_until(path: impl AsRef<Path>, stop: impl Fn() -> bool) -> Result<Self> {
        let _host = host::enter();
        let path = path.as_ref();
        let stop = || host::call_back(&stop);
        let bytes = read(path, u64::MAX)?;
        let format = image::guess_format(&bytes).ok().or_else(|| ImageFormat::from_path(path).ok());
        let file = File { name: path, stop: &stop };
        file.go_on()?;
        file.read(&bytes, format)
    }

    /// Reads a picture file in memory, as [`open`](Self::open) does. TGA cannot be detected by content and so cannot be
    /// read from memory.
    ///
    /// # Errors
    /// [`Error::Format`] if it is not a picture that can be read, is cut off, damaged or too large; [`Error::OutOfMemory`].
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let _host = host::enter();
        File { name: Path::new("picture in memory"), stop: &|| false }.read(bytes, image::guess_format(bytes).ok())
    }
}

/// A picture file being read.
#[derive(Clone, Copy)]
struct File<'a> {
    /// What errors call it.
    name: &'a Path,
    stop: &'a dyn Fn() -> bool,
}

impl File<'_> {
    /// The decoders are those of other crates. One that panics on a damaged file is an error of the file.
    fn read(self, bytes: &[u8], format: Option<ImageFormat>) -> Result<Picture> {
        catch_unwind(AssertUnwindSafe(|| self.read_as(bytes, format)))
            .unwrap_or_else(|panic| Err(self.refuse(Error::from_panic(&*panic))))
    }

    fn read_as(self, bytes: &[u8], format: Option<ImageFormat>) -> Result<Picture> {
        match format {
            None => Err(self.refuse("its format is none of those that are known")),
            Some(ImageFormat::Png) => self.png(bytes, None),
            Some(ImageFormat::Jpeg) => self.jpeg(bytes),
            Some(ImageFormat::Ico) => match header::ico_png(bytes) {
                Some((png, sides)) => self.png(png, Some(sides)),
                None => self.other(bytes, ImageFormat::Ico),
            },
            Some(format) => self.other(bytes, format),
        }
    }

    fn refuse(self, reason: impl std::fmt::Display) -> Error {
        Error::format(self.name, format!("not a picture that can be read: {reason}"))
    }

    fn fail(self, error: ImageError) -> Error {
        match error {
            ImageError::IoError(error)
                if !matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData) =>
            {
                Error::reading(self.name, error)
            }
            error => self.refuse(error),
        }
    }

    /// Checks sides that a header gives, and returns the number of pixels; `what` names what has them.
    fn check_sides(self, what: &str, (width, height): (u32, u32)) -> Result<usize> {
        let pixels = u64::from(width) * u64::from(height);
        if pixels == 0 {
            return Err(Error::format(self.name, format!("the {what} is empty: {width} x {height} pixels")));
        }
        if width.max(height) > LARGEST_FILE_SIDE || pixels > LARGEST_FILE_PIXELS {
            let reason = format!(
                "the {what} has {width} x {height} pixels; a picture file has at most {LARGEST_FILE_SIDE} per side and \
                 {LARGEST_FILE_PIXELS} in all"
            );
            return Err(Error::format(self.name, reason));
        }
        Ok(pixels as usize)
    }

    /// What errors about memory call the picture.
    fn what(self, (width, height): (u32, u32)) -> String {
        format!("the picture {} of {width} x {height} pixels", self.name.display())
    }

    /// Runs a decoder: it allocates infallibly, so there must be memory first, for `bytes` and what every decoder takes.
    #[inline(never)] // Decoders are large: each call has the stack to itself.
    fn with_room<R>(self, what: &str, bytes: usize, run: impl FnOnce() -> Result<R>) -> Result<R> {
        with_room(what, bytes.saturating_add(WORKING_MEMORY), run)?
    }

    /// Fails if the caller wants to stop.
    fn go_on(self) -> Result<()> {
        if (self.stop)() { Err(Error::Cancelled) } else { Ok(()) }
    }

    /// `in_icon`: the sides that the directory of an ICO file gives, where only RGBA is allowed.
    #[inline(never)]
    fn png(self, bytes: &[u8], in_icon: Option<(u32, u32)>) -> Result<Picture> {
        // Besides a few rows the decoder keeps metadata, which is at most as long as the file.
        self.with_room(&self.name.display().to_string(), bytes.len(), || self.png_rows(bytes, in_icon))
    }

    #[inline(never)]
    fn png_rows(self, bytes: &[u8], in_icon: Option<(u32, u32)>) -> Result<Picture> {
        let fail = |error: png::DecodingError| match error {
            png::DecodingError::LimitsExceeded => self.refuse("its chunks are larger than the file"),
            error => self.refuse(error),
        };
        let mut decoder = png::Decoder::new(Cursor::new(bytes));
        decoder.set_limits(png::Limits { bytes: bytes.len().saturating_mul(2).saturating_add(WORKING_MEMORY) });
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        decoder.set_transformations(png::Transformations::EXPAND);
        let sides = decoder.read_header_info().map_err(fail)?.size();
        let pixels = self.check_sides("picture", sides)?;
        let what = self.what(sides);
        let mut reader = decoder.read_info().map_err(fail)?;
        let frame = reader.info().frame_control.map_or(sides, |frame| (frame.width, frame.height));
        if frame != sides {
            return Err(self.refuse("the first frame of its animation has other sides"));
        }
        let (colour, depth) = reader.output_color_type();
        let colour = match (colour, depth) {
            (png::ColorType::Grayscale, png::BitDepth::Eight) => ColorType::L8,
            (png::ColorType::Grayscale, png::BitDepth::Sixteen) => ColorType::L16,
            (png::ColorType::GrayscaleAlpha, png::BitDepth::Eight) => ColorType::La8,
            (png::ColorType::GrayscaleAlpha, png::BitDepth::Sixteen) => ColorType::La16,
            (png::ColorType::Rgb, png::BitDepth::Eight) => ColorType::Rgb8,
            (png::ColorType::Rgb, png::BitDepth::Sixteen) => ColorType::Rgb16,
            (png::ColorType::Rgba, png::BitDepth::Eight) => ColorType::Rgba8,
            (png::ColorType::Rgba, png::BitDepth::Sixteen) => ColorType::Rgba16,
            (colour, depth) => return Err(self.refuse(format!("PNG of {colour:?} with {depth:?} bits"))),
        };
        if let Some(wanted) = in_icon
            && (colour != ColorType::Rgba8 || wanted != (sides.0.min(256), sides.1.min(256)))
        {
            return Err(self.refuse("the PNG in the icon is not RGBA, or not of the size that the directory gives"));
        }
        let exif = reader.info().exif_metadata.as_deref().and_then(Orientation::from_exif_chunk);
        let mut square = Square::new(&what, sides.0, sides.1, turn(exif))?;
        let mut rows = Rows::new(&what, colour, sides.0, &square)?;
        if reader.info().interlaced {
            let mut buffer = filled(&what, pixels.saturating_mul(colour.bytes_per_pixel().into()), 0u8)?;
            reader.next_frame(&mut buffer).map_err(fail)?;
            buffer.chunks_exact_mut(rows.length).for_each(|row| from_big_endian(colour, row));
            return self.picture(&buffer, &mut rows, square);
        }
        let mut row = filled(&what, rows.length, 0u8)?;
        for y in 0..sides.1 as usize {
            self.go_on()?;
            if reader.read_row(&mut row).map_err(fail)?.is_none() {
                return Err(self.refuse("rows are missing"));
            }
            if square.rows().contains(&y) {
                from_big_endian(colour, &mut row);
                square.push(rows.convert(&row).map_err(|reason| self.refuse(reason))?);
            }
        }
        // Reads the checksums behind the last row.
        reader.read_row(&mut row).map_err(fail)?;
        Ok(Picture::from_premultiplied(square.finish()))
    }

    #[inline(never)]
    fn jpeg(self, bytes: &[u8]) -> Result<Picture> {
        let fail = |error: zune_jpeg::errors::DecodeErrors| self.refuse(format!("JPEG: {error:?}"));
        let options =
            DecoderOptions::default().set_strict_mode(true).set_max_width(usize::MAX).set_max_height(usize::MAX);
        // Metadata is at most as long as the file.
        // The decoder is large: one at a time is on the stack.
        let head = self.with_room(&self.name.display().to_string(), bytes.len(), || {
            let mut decoder = JpegDecoder::new_with_options(ZCursor::new(bytes), options);
            decoder.decode_headers().map_err(fail)?;
            let exif = decoder.exif().and_then(|exif| Orientation::from_exif_chunk(exif));
            Ok(decoder.dimensions().zip(decoder.input_colorspace()).map(|(sides, colours)| (sides, colours, exif)))
        })?;
        let ((width, height), colours, exif) = head.ok_or_else(|| self.refuse("JPEG without a header"))?;
        let sides = (width as u32, height as u32);
        let pixels = self.check_sides("picture", sides)?;
        let (target, colour) = match colours {
            ColorSpace::RGBA => (ColorSpace::RGBA, ColorType::Rgba8),
            ColorSpace::Luma => (ColorSpace::Luma, ColorType::L8),
            ColorSpace::LumaA => (ColorSpace::LumaA, ColorType::La8),
            _ => (ColorSpace::RGB, ColorType::Rgb8),
        };
        let what = self.what(sides);
        let square = Square::new(&what, sides.0, sides.1, turn(exif))?;
        let mut rows = Rows::new(&what, colour, sides.0, &square)?;
        let mut buffer = filled(&what, pixels.saturating_mul(colour.bytes_per_pixel().into()), 0u8)?;
        // Progressive files keep the coefficients of up to four components, 16 bits each, in blocks; others some rows.
        let besides = bytes.len().saturating_add(pixels.saturating_mul(8)).saturating_add(sides.0 as usize * 1024);
        self.with_room(&what, besides, || {
            let options = options.jpeg_set_out_colorspace(target);
            JpegDecoder::new_with_options(ZCursor::new(bytes), options).decode_into(&mut buffer).map_err(fail)
        })?;
        if !header::jpeg_has_end(bytes) {
            return Err(self.refuse("JPEG: cut off, its end marker is missing"));
        }
        self.picture(&buffer, &mut rows, square)
    }

    /// By the decoders of the `image` crate.
    #[inline(never)]
    fn other(self, bytes: &[u8], format: ImageFormat) -> Result<Picture> {
        // What the decoder allocates, besides the pixels.
        let mut besides = bytes.len();
        match format {
            ImageFormat::Gif => {
                if let Some(frame) = header::gif_frame(bytes) {
                    besides += self.check_sides("first frame", frame)?.saturating_mul(5);
                }
            }
            ImageFormat::WebP => {
                let frame = header::webp_frame(bytes);
                if frame != (0, 0) {
                    besides += self.check_sides("first frame", frame)?.saturating_mul(9);
                }
            }
            ImageFormat::Tiff => header::check_tiff(bytes).map_err(|reason| Error::format(self.name, reason))?,
            _ => {}
        }
        let mut decoder = self.with_room(&self.name.display().to_string(), besides, || {
            let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
            reader.no_limits();
            reader.into_decoder().map_err(|error| self.fail(error))
        })?;
        let (sides, colour) = (decoder.dimensions(), decoder.color_type());
        let pixels = self.check_sides("picture", sides)?;
        let total = pixels.saturating_mul(colour.bytes_per_pixel().into());
        if format == ImageFormat::Tiff {
            // CMYK has a third more than the RGB that comes of it; strips are decoded one at a time.
            besides = besides.saturating_add(total.saturating_mul(3));
        }
        if format == ImageFormat::WebP {
            // The canvas of an animation.
            besides = besides.saturating_add(pixels.saturating_mul(9));
        }
        let what = self.what(sides);
        let mut limits = Limits::no_limits();
        limits.max_alloc = Some(total.saturating_add(besides).saturating_add(WORKING_MEMORY) as u64);
        // A WebP's metadata is allocated by the length that it claims.
        let asked = format != ImageFormat::WebP || header::webp_is_whole(bytes);
        let orientation = self.with_room(&what, besides, || {
            decoder.set_limits(limits).map_err(|error| self.fail(error))?;
            Ok(if asked { decoder.orientation().ok() } else { None })
        })?;
        let square = Square::new(&what, sides.0, sides.1, turn(orientation))?;
        let mut rows = Rows::new(&what, colour, sides.0, &square)?;
        let mut buffer = filled(&what, total, 0u8)?;
        self.go_on()?;
        self.with_room(&what, besides, || decoder.read_image(&mut buffer).map_err(|error| self.fail(error)))?;
        self.picture(&buffer, &mut rows, square)
    }

    /// The picture of all rows, in the machine's byte order.
    fn picture(self, pixels: &[u8], rows: &mut Rows, mut square: Square) -> Result<Picture> {
        let wanted = square.rows();
        for row in pixels.chunks_exact(rows.length).skip(wanted.start).take(wanted.len()) {
            self.go_on()?;
            square.push(rows.convert(row).map_err(|reason| self.refuse(reason))?);
        }
        Ok(Picture::from_premultiplied(square.finish()))
    }
}

/// The turn that an orientation of Exif asks for.
fn turn(orientation: Option<Orientation>) -> Turn {
    let turn = |transpose, mirror_x, mirror_y| Turn { transpose, mirror_x, mirror_y };
    match orientation.unwrap_or(Orientation::NoTransforms) {
        Orientation::NoTransforms => turn(false, false, false),
        Orientation::FlipHorizontal => turn(false, true, false),
        Orientation::Rotate180 => turn(false, true, true),
        Orientation::FlipVertical => turn(false, false, true),
        Orientation::Rotate90FlipH => turn(true, false, false),
        Orientation::Rotate90 => turn(true, true, false),
        Orientation::Rotate270FlipH => turn(true, true, true),
        Orientation::Rotate270 => turn(true, false, true),
    }
}

#[cfg(test)]
mod tests {
    use image::{DynamicImage, ImageBuffer};

    use super::*;
    use crate::pixels::{FileFormat, Image, PixelFormat, encode};

    fn random() -> impl FnMut() -> u8 {
        let mut state = 3u64;
        move || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        }
    }

    /// What [`Picture`] held before it was taken by rows: turned, cropped and converted by the `image` crate.
    fn wanted(mut picture: DynamicImage, orientation: Orientation) -> Vec<u32> {
        picture.apply_orientation(orientation);
        let (width, height) = (picture.width(), picture.height());
        let side = width.min(height);
        let mut values =
            picture.crop_imm((width - side) / 2, (height - side) / 2, side, side).into_rgba32f().into_raw();
        for pixel in values.as_chunks_mut::<4>().0 {
            (0..3).for_each(|channel| pixel[channel] *= pixel[3]);
        }
        values.into_iter().map(f32::to_bits).collect()
    }

    fn found(picture: &Picture) -> Vec<u32> {
        picture.pixels().iter().map(|value| value.to_bits()).collect()
    }

    /// Pictures of every mode that a decoder can give.
    fn modes(width: u32, height: u32) -> Vec<DynamicImage> {
        let mut random = random();
        let mut bytes = |channels: u32| (0..width * height * channels).map(|_| random()).collect::<Vec<u8>>();
        let mut pictures = vec![
            DynamicImage::ImageLuma8(ImageBuffer::from_raw(width, height, bytes(1)).unwrap()),
            DynamicImage::ImageLumaA8(ImageBuffer::from_raw(width, height, bytes(2)).unwrap()),
            DynamicImage::ImageRgb8(ImageBuffer::from_raw(width, height, bytes(3)).unwrap()),
            DynamicImage::ImageRgba8(ImageBuffer::from_raw(width, height, bytes(4)).unwrap()),
        ];
        let mut words =
            |channels: u32| bytes(2 * channels).as_chunks::<2>().0.iter().map(|b| u16::from_ne_bytes(*b)).collect();
        pictures.extend([
            DynamicImage::ImageLuma16(ImageBuffer::from_raw(width, height, words(1)).unwrap()),
            DynamicImage::ImageLumaA16(ImageBuffer::from_raw(width, height, words(2)).unwrap()),
            DynamicImage::ImageRgb16(ImageBuffer::from_raw(width, height, words(3)).unwrap()),
            DynamicImage::ImageRgba16(ImageBuffer::from_raw(width, height, words(4)).unwrap()),
        ]);
        let floats: Vec<DynamicImage> = [pictures[2].to_rgb32f().into(), pictures[3].to_rgba32f().into()].into();
        pictures.extend(floats);
        pictures
    }

    fn file(picture: &DynamicImage, format: ImageFormat) -> Option<Vec<u8>> {
        let mut bytes = Cursor::new(Vec::new());
        // Not every format takes every mode.
        picture.write_to(&mut bytes, format).ok()?;
        Some(bytes.into_inner())
    }

    #[test]
    fn decode_has_the_same_bits_as_the_image_crate() {
        let formats = [
            ImageFormat::Png,
            ImageFormat::Jpeg,
            ImageFormat::WebP,
            ImageFormat::Bmp,
            ImageFormat::Tiff,
            ImageFormat::Qoi,
            ImageFormat::Gif,
            ImageFormat::Ico,
            ImageFormat::Pnm,
        ];
        let mut read = 0;
        for (width, height) in [(1, 1), (6, 6), (7, 4), (4, 9), (33, 18)] {
            for picture in modes(width, height) {
                for format in formats {
                    let Some(bytes) = file(&picture, format) else { continue };
                    let Ok(decoded) = image::load_from_memory_with_format(&bytes, format) else {
                        // An icon whose PNG is not RGBA.
                        assert!(matches!(Picture::decode(&bytes), Err(Error::Format { .. })), "{format:?}");
                        continue;
                    };
                    let ours = Picture::decode(&bytes).unwrap();
                    assert!(
                        found(&ours) == wanted(decoded, Orientation::NoTransforms),
                        "{format:?} {:?}",
                        picture.color()
                    );
                    read += 1;
                }
            }
        }
        assert!(read > 200, "{read}");
    }

    #[test]
    fn decode_turns_pictures_as_the_image_crate_does() {
        for (width, height) in [(5, 5), (7, 4), (4, 7), (9, 6), (6, 9)] {
            let picture = &modes(width, height)[3];
            for code in 1..=8 {
                let orientation = Orientation::from_exif(code).unwrap();
                let mut bytes = Cursor::new(Vec::new());
                let mut encoder = image::codecs::png::PngEncoder::new(&mut bytes);
                let exif = [&b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0"[..], &[code, 0, 0, 0], &[0; 4]].concat();
                image::ImageEncoder::set_exif_metadata(&mut encoder, exif).unwrap();
                picture.write_with_encoder(encoder).unwrap();
                let ours = Picture::decode(&bytes.into_inner()).unwrap();
                assert!(found(&ours) == wanted(picture.clone(), orientation), "{width} x {height} {orientation:?}");
            }
        }
    }

    /// Found by the fuzz target `picture`: image-webp slices beyond the end of a frame whose chunks disagree about its size.
    #[test]
    fn decode_makes_an_error_of_a_decoder_that_panics() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/picture/webp-frame-panic");
        let input = std::fs::read(path).unwrap();
        // The first byte is the format: see tests/fuzz/fuzz_targets/picture.rs.
        let error = Picture::decode(&input[1..]).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error:?}");
    }

    #[test]
    fn decode_reads_interlaced_png() {
        // 5 x 5 grey pixels in seven passes, of which the pixel at (x, y) is 10 y + x.
        let mut rows = Vec::new();
        for (x0, y0, dx, dy) in
            [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
        {
            for y in (y0..5u8).step_by(dy) {
                if x0 < 5 {
                    rows.push(0);
                    rows.extend((x0..5u8).step_by(dx).map(|x| 10 * y + x));
                }
            }
        }
        let bytes = png_of(5, 5, 1, &[], &rows);
        let picture = Picture::decode(&bytes).unwrap();
        let decoded = image::load_from_memory(&bytes).unwrap();
        assert!(found(&picture) == wanted(decoded, Orientation::NoTransforms));
        assert_eq!(picture.pixels()[4 * 13], 23.0 / 255.0);
    }

    /// A PNG of grey bytes, from filtered rows, with chunks before its data.
    fn png_of(width: u32, height: u32, interlaced: u8, chunks: &[(&[u8; 4], Vec<u8>)], rows: &[u8]) -> Vec<u8> {
        let mut bytes = header::PNG.to_vec();
        let head = [&width.to_be_bytes()[..], &height.to_be_bytes(), &[8, 0, 0, 0, interlaced]].concat();
        let data = stored(rows);
        let all =
            [(b"IHDR", head)].into_iter().chain(chunks.iter().cloned()).chain([(b"IDAT", data), (b"IEND", Vec::new())]);
        for (name, data) in all {
            bytes.extend((data.len() as u32).to_be_bytes());
            let named = [&name[..], &data].concat();
            bytes.extend(&named);
            bytes.extend(checksum(&named).to_be_bytes());
        }
        bytes
    }

    fn checksum(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |sum, &byte| {
            (0..8).fold(sum ^ u32::from(byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 })
        })
    }

    /// A zlib stream of one stored block.
    fn stored(bytes: &[u8]) -> Vec<u8> {
        let length = bytes.len() as u16;
        let (a, b) = bytes.iter().fold((1, 0), |(a, b), &byte| {
            let a = (a + u32::from(byte)) % 65521;
            (a, (b + a) % 65521)
        });
        [&[0x78, 1, 1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), bytes, &(b << 16 | a).to_be_bytes()]
            .concat()
    }

    fn refused(bytes: &[u8]) -> String {
        let error = Picture::decode(bytes).unwrap_err();
        assert!(matches!(error, Error::Format { .. }), "{error:?}");
        error.to_string()
    }

    #[test]
    fn decode_refuses_sides_beyond_the_limits_and_names_them() {
        for (width, height) in [(65_536, 1), (1, 65_536), (23_171, 23_171), (u32::MAX >> 1, u32::MAX >> 1)] {
            let error = refused(&png_of(width, height, 0, &[], &[0; 9]));
            assert!(
                error.contains(&format!("{width} x {height} pixels")) && error.contains("65535 per side"),
                "{error}"
            );
            let mut qoi = b"qoif".to_vec();
            qoi.extend(
                [&width.to_be_bytes()[..], &height.to_be_bytes(), &[4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]].concat(),
            );
            refused(&qoi);
            let pnm = format!("P5 {width} {height} 255\n");
            let error = refused(pnm.as_bytes());
            assert!(error.contains(&format!("{width} x {height}")), "{error}");
        }
        assert!(refused(&png_of(0, 3, 0, &[], &[0; 9])).contains("not a picture"));
    }

    #[test]
    fn decode_refuses_a_gif_frame_beyond_the_limits() {
        // A screen of 1 x 1, and a frame of 65535 x 65535.
        let gif = b"GIF89a\x01\0\x01\0\0\0\0,\0\0\0\0\xff\xff\xff\xff\0\x02\0;";
        let error = refused(gif);
        assert!(error.contains("the first frame has 65535 x 65535 pixels"), "{error}");
    }

    #[test]
    fn decode_skips_profiles_and_texts_of_png() {
        // What follows the names is no zlib stream; a profile that is inflated would be looked at.
        let junk = b"name\0\0not zlib".to_vec();
        let chunks =
            [(b"iCCP", junk.clone()), (b"zTXt", junk.clone()), (b"iTXt", b"name\0\x01\0\0\0not zlib".to_vec())];
        Picture::decode(&png_of(2, 2, 0, &chunks, &[0, 1, 2, 0, 3, 4])).unwrap();
    }

    #[test]
    fn decode_refuses_a_jpeg_cut_at_any_row_or_without_its_end() {
        let mut random = random();
        let pixels: Vec<u8> = (0..64 * 64 * 3).map(|_| random()).collect();
        let jpeg = encode(FileFormat::Jpeg, 64, 64, PixelFormat::Rgb8, &pixels, 64 * 3).unwrap();
        Picture::decode(&jpeg).unwrap();
        for end in (2..jpeg.len()).step_by(97).chain([jpeg.len() - 1, jpeg.len() - 2]) {
            refused(&jpeg[..end]);
        }
        let error = refused(&jpeg[..jpeg.len() - 2]);
        assert!(error.contains("JPEG"), "{error}");
    }

    #[test]
    fn decode_refuses_values_that_are_not_finite() {
        let mut picture = modes(3, 3)[8].to_rgb32f();
        picture.get_pixel_mut(1, 1)[2] = f32::NAN;
        let error = refused(&file(&picture.into(), ImageFormat::Tiff).unwrap());
        assert!(error.contains("NaN"), "{error}");
    }

    #[test]
    fn open_until_is_cancelled() {
        let folder = tempfile::tempdir().unwrap();
        for (name, format) in [("a.png", FileFormat::Png), ("a.bmp", FileFormat::Bmp)] {
            let path = folder.path().join(name);
            std::fs::write(&path, Image::new(16, 3, &[0.0; 768]).unwrap().encode(format).unwrap()).unwrap();
            let asked = std::cell::Cell::new(0);
            let stop = || asked.replace(asked.get() + 1) == 5;
            assert!(matches!(Picture::open_until(&path, stop), Err(Error::Cancelled)), "{name}");
            assert!(Picture::open_until(&path, || false).is_ok());
        }
    }

    #[test]
    fn open_refuses_what_is_not_a_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let error = Picture::open(folder.path()).unwrap_err();
        assert!(matches!(&error, Error::Io { .. }) && error.to_string().contains("regular file"), "{error}");
    }
}

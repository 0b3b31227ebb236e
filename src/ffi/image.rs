//! Pixels in the caller's memory.

use std::ffi::c_void;
use std::marker::PhantomData;

use super::call::call;
use super::error::detailflow_error;
use super::family::{Family, family};
use super::param::{In, Out, Text};
use super::plain::Plain;
use super::status::{Failure, Outcome, detailflow_status};
use crate::pixels::finish::ColorCounts;
use crate::pixels::{Canvas, FileFormat, Finish, Image, Picture, PixelFormat, check_rows, encode, save};

/// Pixel formats. Every function that takes an image takes all of them, except detailflow_image_finish and
/// detailflow_palette_make, which take RGBA8 and BGRA8.
///
/// Colour is sRGB-encoded, except in formats named LINEAR. Alpha is straight (not premultiplied), except in formats named
/// PREMULTIPLIED; it is 1 (255) for RGB models. Floats are in the byte order of the machine. In inputs they must be finite
/// and are clamped to 0 to 1, and premultiplied colour that exceeds alpha counts as alpha.
///
/// A byte is round(255 v) of a value v of 0 to 1; for RGB models it follows the rule of the authors of DetailFlow,
/// trunc(clamp(127.5 x + 128, 0, 255)) of the decoder's x.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_format {
    /// Three bytes R, G, B. The image of an RGBA model is composed over black.
    DETAILFLOW_FORMAT_RGB8 = 1,
    /// Four bytes R, G, B, A.
    DETAILFLOW_FORMAT_RGBA8 = 2,
    /// Four floats R, G, B, A, 0 to 1; 16 bytes.
    DETAILFLOW_FORMAT_RGBA32F = 3,
    /// Four bytes B, G, R, A: the values of RGBA8 in another order.
    DETAILFLOW_FORMAT_BGRA8 = 4,
    /// Four bytes R, G, B, A. Colour is the sRGB-encoded value times alpha, as in Cairo, Skia and Direct2D; no byte of it
    /// is larger than that of alpha.
    DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED = 5,
    /// Four bytes B, G, R, A: the values of RGBA8_PREMULTIPLIED in another order.
    DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED = 6,
    /// Four half floats (IEEE 754 binary16) R, G, B, A, 0 to 1; 8 bytes. Colour is linear light: the straight value v is
    /// v / 12.92 up to 0.04045 and ((v + 0.055) / 1.055)^2.4 above (sRGB, IEC 61966-2-1), computed within 0.05 units in the
    /// last place of a half and rounded to the nearest half, ties to even. The values are the same on every machine.
    DETAILFLOW_FORMAT_RGBA16F_LINEAR = 7,
    /// As RGBA16F_LINEAR, with linear light times alpha as colour, multiplied before it is rounded.
    DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED = 8,
}

family!(detailflow_format:
    DETAILFLOW_FORMAT_RGB8, DETAILFLOW_FORMAT_RGBA8, DETAILFLOW_FORMAT_RGBA32F, DETAILFLOW_FORMAT_BGRA8,
    DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED, DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED, DETAILFLOW_FORMAT_RGBA16F_LINEAR,
    DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED);

/// Formats of picture files.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_file_format {
    /// PNG, lossless, with alpha.
    DETAILFLOW_FILE_FORMAT_PNG = 1,
    /// JPEG, lossy, without alpha.
    DETAILFLOW_FILE_FORMAT_JPEG = 2,
    /// WebP, lossless, with alpha.
    DETAILFLOW_FILE_FORMAT_WEBP = 3,
    /// BMP, uncompressed.
    DETAILFLOW_FILE_FORMAT_BMP = 4,
    /// TGA, with alpha.
    DETAILFLOW_FILE_FORMAT_TGA = 5,
    /// TIFF, with alpha.
    DETAILFLOW_FILE_FORMAT_TIFF = 6,
    /// QOI, lossless, with alpha.
    DETAILFLOW_FILE_FORMAT_QOI = 7,
}

family!(detailflow_file_format:
    DETAILFLOW_FILE_FORMAT_PNG, DETAILFLOW_FILE_FORMAT_JPEG, DETAILFLOW_FILE_FORMAT_WEBP, DETAILFLOW_FILE_FORMAT_BMP,
    DETAILFLOW_FILE_FORMAT_TGA, DETAILFLOW_FILE_FORMAT_TIFF, DETAILFLOW_FILE_FORMAT_QOI);

/// Pixels in the caller's memory, rows from top to bottom.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_image {
    /// sizeof(detailflow_image).
    pub struct_size: u32,
    /// One of DETAILFLOW_FORMAT_*.
    pub format: u32,
    /// Pixels per row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from the start of one row to the start of the next; 0 when there is no gap between rows.
    pub stride: usize,
    /// The first pixel; need not be aligned. An image that is an input is only read: a cast from const is fine.
    pub pixels: *mut c_void,
    /// Bytes of memory at `pixels`.
    pub capacity: usize,
}

// SAFETY: struct_size comes first, and it holds numbers and a pointer only.
unsafe impl Plain for detailflow_image {
    const NAME: &'static str = "detailflow_image";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// What of an image was checked: a known format, memory that holds all rows.
#[derive(Clone, Copy)]
struct Checked {
    image: detailflow_image,
    format: PixelFormat,
    stride: usize,
    /// Bytes from the first pixel to the end of the last.
    length: usize,
}

/// The pixel format of the image.
fn format_of(image: &detailflow_image) -> Result<PixelFormat, Failure> {
    pixel_format(image.format, "detailflow_image.format")
}

/// The pixel format, of the numbers that there are.
pub(super) fn pixel_format(format: u32, name: &str) -> Result<PixelFormat, Failure> {
    Ok(match detailflow_format::choose(format, name)? {
        DETAILFLOW_FORMAT_RGB8 => PixelFormat::Rgb8,
        DETAILFLOW_FORMAT_RGBA8 => PixelFormat::Rgba8,
        DETAILFLOW_FORMAT_RGBA32F => PixelFormat::Rgba32F,
        DETAILFLOW_FORMAT_BGRA8 => PixelFormat::Bgra8,
        DETAILFLOW_FORMAT_RGBA8_PREMULTIPLIED => PixelFormat::Rgba8Premultiplied,
        DETAILFLOW_FORMAT_BGRA8_PREMULTIPLIED => PixelFormat::Bgra8Premultiplied,
        DETAILFLOW_FORMAT_RGBA16F_LINEAR => PixelFormat::Rgba16FLinear,
        DETAILFLOW_FORMAT_RGBA16F_LINEAR_PREMULTIPLIED => PixelFormat::Rgba16FLinearPremultiplied,
    })
}

impl Checked {
    fn new(image: detailflow_image) -> Result<Self, Failure> {
        let format = format_of(&image)?;
        if image.pixels.is_null() {
            return Err(Failure::invalid("detailflow_image.pixels is NULL"));
        }
        if image.capacity > isize::MAX as usize {
            return Err(Failure::invalid("detailflow_image.capacity is larger than an address space"));
        }
        let row = (image.width as usize).saturating_mul(format.bytes());
        let stride = if image.stride == 0 { row } else { image.stride };
        let length = check_rows(row, image.height as usize, stride, image.capacity)?;
        Ok(Self { image, format, stride, length })
    }
}

/// An image that is an input.
pub(super) struct Source<'a> {
    checked: Checked,
    bytes: &'a [u8],
}

impl<'a> In<'a, detailflow_image> {
    pub(super) fn source(self) -> Result<Source<'a>, Failure> {
        let checked = Checked::new(self.read()?)?;
        // SAFETY: the contract: `capacity` bytes that stay as they are during the call; the length is within them.
        let bytes = unsafe { std::slice::from_raw_parts(checked.image.pixels.cast(), checked.length) };
        Ok(Source { checked, bytes })
    }
}

impl<'a> In<'a, detailflow_image> {
    /// An array of inputs.
    pub(super) fn sources(self, count: usize) -> Result<Vec<Source<'a>>, Failure> {
        let images = self.read_all(count)?;
        let mut sources = crate::support::memory::reserve("images", images.len())?;
        for (at, image) in images.into_iter().enumerate() {
            let checked = Checked::new(image).map_err(|failure| failure.within("image", at))?;
            // SAFETY: as for `source`.
            let bytes = unsafe { std::slice::from_raw_parts(checked.image.pixels.cast(), checked.length) };
            sources.push(Source { checked, bytes });
        }
        Ok(sources)
    }
}

/// Whether a format of finishing has blue first.
fn is_swapped(format: PixelFormat, image: &detailflow_image) -> Result<bool, Failure> {
    match format {
        PixelFormat::Rgba8 => Ok(false),
        PixelFormat::Bgra8 => Ok(true),
        _ => Err(Failure::invalid(format!(
            "detailflow_image.format is {}; finishing takes DETAILFLOW_FORMAT_RGBA8 and DETAILFLOW_FORMAT_BGRA8",
            image.format
        ))),
    }
}

impl Source<'_> {
    /// Adds the colours of these pixels.
    pub(super) fn count(&self, finish: &Finish, counts: &mut ColorCounts) -> Outcome {
        let Checked { image, format, stride, .. } = self.checked;
        let swapped;
        let bytes = if is_swapped(format, &image)? {
            let mut copy = crate::support::memory::copied("a picture", self.bytes)?;
            for line in copy.chunks_mut(stride.max(1)) {
                let row = line.len().min(image.width as usize * format.bytes());
                line[..row].as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
            }
            swapped = copy;
            &swapped
        } else {
            self.bytes
        };
        Ok(counts.add(finish, image.width, image.height, bytes, stride)?)
    }

    /// A picture of these pixels.
    pub(super) fn picture(&self) -> Result<Picture, Failure> {
        let Checked { image, format, stride, .. } = self.checked;
        Ok(Picture::from_pixels(format, image.width, image.height, self.bytes, stride)?)
    }
}

/// An image that is an output. Its memory is checked when its size is known.
#[derive(Clone, Copy)]
pub(super) struct Target<'a>(detailflow_image, PhantomData<&'a mut [u8]>);

impl<'a> Out<'a, detailflow_image> {
    pub(super) fn target(self) -> Result<Target<'a>, Failure> {
        Ok(Target(self.read()?, PhantomData))
    }

    /// An array of outputs.
    pub(super) fn targets(self, count: usize, name: &str) -> Result<Vec<Target<'a>>, Failure> {
        let images = self.read_all(count)?;
        let mut targets = crate::support::memory::reserve(name, images.len())?;
        targets.extend(images.into_iter().map(|image| Target(image, PhantomData)));
        Ok(targets)
    }
}

// SAFETY: the contract of stored targets lets the library write their memory from any thread until the job has ended.
unsafe impl Send for Target<'static> {}
// SAFETY: as above; a description of memory is only read.
unsafe impl Sync for Target<'static> {}

impl Out<'_, detailflow_image> {
    /// An array of square outputs whose memory is written later, by a job.
    pub(super) fn stored_targets(self, count: usize, name: &str) -> Result<Vec<Target<'static>>, Failure> {
        let images = self.read_all(count)?;
        let mut targets = crate::support::memory::reserve(name, images.len())?;
        for (at, image) in images.into_iter().enumerate() {
            let target = Target(image, PhantomData);
            let checked = target.side().and_then(|size| target.fits(size));
            checked.map_err(|failure| failure.within(name, at))?;
            targets.push(target);
        }
        Ok(targets)
    }
}

impl Target<'static> {
    /// Writes a picture, resized to the image's size.
    pub(super) fn fill(self, picture: &Image) -> crate::support::error::Result<()> {
        let internal = |failure: Failure| crate::support::error::Error::Internal(failure.message);
        self.write(&picture.resize(self.0.width)?).map_err(internal)
    }

    /// Where its memory begins and ends.
    pub(super) fn span(&self) -> (usize, usize) {
        let start = self.0.pixels.addr();
        (start, start.saturating_add(Checked::new(self.0).map_or(0, |checked| checked.length)))
    }
}

impl<'a> Target<'a> {
    /// Fails when a picture of this size cannot be written: for calls that should know before the work.
    pub(super) fn fits(&self, size: u32) -> Outcome {
        let image = &self.0;
        if (image.width, image.height) != (size, size) {
            return Err(Failure::invalid(format!(
                "detailflow_image is {} x {}; the picture is {size} x {size}",
                image.width, image.height
            )));
        }
        Checked::new(self.0).map(drop)
    }

    /// Pixels per side; an error when the image is not square.
    pub(super) fn side(&self) -> Result<u32, Failure> {
        let image = &self.0;
        if image.width == image.height {
            return Ok(image.width);
        }
        Err(Failure::invalid(format!("detailflow_image is {} x {}; it must be square", image.width, image.height)))
    }

    /// The memory, to draw into.
    pub(super) fn canvas(self) -> Result<Canvas<'a>, Failure> {
        let Checked { image, format, stride, length } = Checked::new(self.0)?;
        // SAFETY: the contract: `capacity` bytes that nobody else touches during the call; the length is within them.
        let bytes = unsafe { std::slice::from_raw_parts_mut(image.pixels.cast(), length) };
        Ok(Canvas::new(format, image.width, image.height, bytes, stride)?)
    }

    /// Finishes the pixels in place.
    pub(super) fn finish(self, finish: &Finish) -> Outcome {
        let Checked { image, format, stride, length } = Checked::new(self.0)?;
        let swapped = is_swapped(format, &image)?;
        // SAFETY: as for `canvas`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(image.pixels.cast(), length) };
        let swap = |bytes: &mut [u8]| {
            for line in bytes.chunks_mut(stride.max(1)).filter(|_| swapped) {
                let row = line.len().min(image.width as usize * format.bytes());
                line[..row].as_chunks_mut::<4>().0.iter_mut().for_each(|pixel| pixel.swap(0, 2));
            }
        };
        swap(bytes);
        let finished = finish.apply(image.width, image.height, bytes, stride);
        swap(bytes);
        Ok(finished?)
    }

    /// Writes a picture, which has the image's size.
    pub(super) fn write(self, picture: &Image) -> Outcome {
        self.fits(picture.size())?;
        let Checked { image, format, stride, length } = Checked::new(self.0)?;
        // SAFETY: as for `canvas`.
        let bytes = unsafe { std::slice::from_raw_parts_mut(image.pixels.cast(), length) };
        Ok(picture.write(format, bytes, stride)?)
    }
}

/// Writes pixels to a picture file. The file appears complete or not at all. It has 8 bits a channel, sRGB, and straight
/// alpha where the format has alpha.
///
/// @param image Any format. Others than RGB8 and RGBA8 are converted to RGBA8 first, in a copy.
/// @param path Its ending chooses the file format: png, jpg, jpeg, webp, bmp, tga, tif, tiff, qoi.
/// @param error May be NULL.
/// @return IO; INVALID_ARGUMENT for another ending, or a float that is NaN or infinite.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_image_save(
    image: In<'_, detailflow_image>,
    path: Text<'_>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let (source, path) = (image.source()?, path.path("path")?);
        let Checked { image, format, stride, .. } = source.checked;
        Ok(save(&path, image.width, image.height, format, source.bytes, stride)?)
    })
}

/// Encodes pixels as a picture file in memory. It has 8 bits a channel, sRGB, and straight alpha where the format has alpha.
///
/// @param image Any format. Others than RGB8 and RGBA8 are converted to RGBA8 first, in a copy.
/// @param file_format One of DETAILFLOW_FILE_FORMAT_*.
/// @param data Receives the file; NULL with `capacity` 0 gets the size only, which takes as long as encoding.
/// @param capacity Bytes at `data`.
/// @param size Receives the number of bytes.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_image_encode(
    image: In<'_, detailflow_image>,
    file_format: u32,
    data: Out<'_, c_void>,
    capacity: usize,
    size: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let source = image.source()?;
        let file_format = match detailflow_file_format::choose(file_format, "file_format")? {
            DETAILFLOW_FILE_FORMAT_PNG => FileFormat::Png,
            DETAILFLOW_FILE_FORMAT_JPEG => FileFormat::Jpeg,
            DETAILFLOW_FILE_FORMAT_WEBP => FileFormat::Webp,
            DETAILFLOW_FILE_FORMAT_BMP => FileFormat::Bmp,
            DETAILFLOW_FILE_FORMAT_TGA => FileFormat::Tga,
            DETAILFLOW_FILE_FORMAT_TIFF => FileFormat::Tiff,
            DETAILFLOW_FILE_FORMAT_QOI => FileFormat::Qoi,
        };
        data.check_bytes(capacity, 0, "data")?;
        let Checked { image, format, stride, .. } = source.checked;
        let bytes = encode(file_format, image.width, image.height, format, source.bytes, stride)?;
        data.put_bytes(&bytes, capacity, size, ["data", "size"])
    })
}

/// Scales pixels up by a whole factor, nearest neighbour: for pixel art.
///
/// @param source Any format.
/// @param factor 1 to 64: each pixel becomes a square of `factor` x `factor`.
/// @param target Has the source's format and `factor` times its width and height. The memory of both must not overlap.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_image_upscale(
    source: In<'_, detailflow_image>,
    factor: u32,
    target: Out<'_, detailflow_image>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        // The overlap is checked before a slice of either is made.
        let (from, to) = (source.again().read()?, target.read()?);
        if format_of(&from)? != format_of(&to)? {
            return Err(Failure::invalid(format!(
                "detailflow_image.format of the source is {}, of the target {}: they must be the same",
                from.format, to.format
            )));
        }
        let (from, to) = (Checked::new(from)?, Checked::new(to)?);
        let (start, place) = (from.image.pixels as usize, to.image.pixels as usize);
        if start < place.saturating_add(to.length) && place < start.saturating_add(from.length) {
            return Err(Failure::invalid("the memory of the source and of the target overlap"));
        }
        let source = source.source()?;
        let mut canvas = target.target()?.canvas()?;
        Ok(canvas.upscale(from.image.width, from.image.height, source.bytes, from.stride, factor)?)
    })
}

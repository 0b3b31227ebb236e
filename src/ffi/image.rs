//! Pixels in the caller's memory.

use std::ffi::{c_char, c_void};

use super::call::{Outcome, call, path};
use super::plain::{Plain, read};
use super::status::{Failure, detailflow_status};
use crate::pixels::{Canvas, Image, Picture, PixelFormat, check_rows, save};

/// Pixel format: three bytes R, G, B. An RGBA model's picture is shown over black.
pub const DETAILFLOW_RGB8: u32 = 1;
/// Pixel format: four bytes R, G, B, A with straight (not premultiplied) alpha; 255 for RGB models.
pub const DETAILFLOW_RGBA8: u32 = 2;
/// Pixel format: four floats R, G, B, A of 0 to 1 with straight alpha; 1 for RGB models.
pub const DETAILFLOW_RGBA32F: u32 = 3;

/// Pixels in memory of the caller's, rows from top to bottom. Colour is sRGB-encoded in every format.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_image {
    /// sizeof(detailflow_image).
    pub struct_size: u32,
    /// DETAILFLOW_RGB8, DETAILFLOW_RGBA8 or DETAILFLOW_RGBA32F.
    pub format: u32,
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// Bytes from the start of a row to that of the next; 0 when rows follow without a gap.
    pub stride: usize,
    /// The first pixel. Need not be aligned. Where a picture goes in it is only read: a cast from const is fine.
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

impl detailflow_image {
    pub(super) fn stride_of(&self, format: PixelFormat) -> usize {
        if self.stride == 0 { (self.width as usize).saturating_mul(format.bytes()) } else { self.stride }
    }

    fn pixel_format(&self) -> Result<PixelFormat, Failure> {
        match self.format {
            DETAILFLOW_RGB8 => Ok(PixelFormat::Rgb8),
            DETAILFLOW_RGBA8 => Ok(PixelFormat::Rgba8),
            DETAILFLOW_RGBA32F => Ok(PixelFormat::Rgba32F),
            other => Err(Failure::invalid(format!(
                "detailflow_image.format is {other}; it is 1 (RGB8), 2 (RGBA8) or 3 (RGBA32F)"
            ))),
        }
    }

    pub(super) fn check_size(&self, size: u32) -> Outcome {
        if (self.width, self.height) == (size, size) {
            return Ok(());
        }
        Err(Failure::invalid(format!(
            "detailflow_image is {} x {}; the picture is {size} x {size}",
            self.width, self.height
        )))
    }

    /// The bytes from the first pixel to the end of the last, which lie within the capacity.
    fn length(&self, format: PixelFormat) -> Result<usize, Failure> {
        let row = (self.width as usize).saturating_mul(format.bytes());
        Ok(check_rows(row, self.height as usize, self.stride_of(format), self.capacity)?)
    }

    fn check_pixels(&self) -> Result<PixelFormat, Failure> {
        let format = self.pixel_format()?;
        if self.pixels.is_null() {
            return Err(Failure::invalid("detailflow_image.pixels is NULL"));
        }
        if self.capacity > isize::MAX as usize {
            return Err(Failure::invalid("detailflow_image.capacity is more than an address space"));
        }
        Ok(format)
    }
}

/// The bytes of a picture that goes in.
///
/// # Safety
/// `pixels` may be read for `capacity` bytes as long as `'a`.
pub(super) unsafe fn image_pixels<'a>(image: &detailflow_image) -> Result<(PixelFormat, &'a [u8]), Failure> {
    let format = image.check_pixels()?;
    // SAFETY: as the caller promises.
    Ok((format, unsafe { std::slice::from_raw_parts(image.pixels.cast(), image.capacity) }))
}

/// A picture that goes in.
///
/// # Safety
/// As the header asks of the pointer and what it points to.
pub(super) unsafe fn picture_of(image: *const detailflow_image) -> Result<Picture, Failure> {
    // SAFETY: as the caller promises.
    let image = unsafe { read(image) }?;
    // SAFETY: as the caller promises.
    let (format, pixels) = unsafe { image_pixels(&image) }?;
    Ok(Picture::from_pixels(format, image.width, image.height, pixels, image.stride_of(format))?)
}

/// The memory that a picture goes into: every mistake in it is told here.
///
/// # Safety
/// `pixels` may be written for `capacity` bytes as long as `'a`, and is not looked at by another way meanwhile.
pub(super) unsafe fn canvas<'a>(image: &detailflow_image) -> Result<Canvas<'a>, Failure> {
    let format = image.check_pixels()?;
    let length = image.length(format)?;
    // SAFETY: as the caller promises, and the length is within the capacity.
    let bytes = unsafe { std::slice::from_raw_parts_mut(image.pixels.cast(), length) };
    Ok(Canvas::new(format, image.width, image.height, bytes, image.stride_of(format))?)
}

/// Writes a picture where the caller wants it.
///
/// # Safety
/// `pixels` may be written for `capacity` bytes.
pub(super) unsafe fn write_image(image: &Image, target: &detailflow_image) -> Outcome {
    let format = target.check_pixels()?;
    target.check_size(image.size())?;
    // SAFETY: as the caller promises.
    let bytes = unsafe { std::slice::from_raw_parts_mut(target.pixels.cast(), target.capacity) };
    Ok(image.write(format, bytes, target.stride_of(format))?)
}

/// Writes 8-bit pixels to the picture file `path`; its ending says which kind: png, jpg, webp, bmp, tga, tiff, qoi.
/// The file appears whole or not at all.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_image_save(
    image: *const detailflow_image,
    path: *const c_char,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let (image, path) = unsafe { (read(image)?, self::path(path, "path")?) };
        // SAFETY: the contract of the header.
        let (format, bytes) = unsafe { image_pixels(&image) }?;
        Ok(save(&path, image.width, image.height, format, bytes, image.stride_of(format))?)
    })
}

/// Writes each pixel of `source` as a square of `factor` pixels a side, 1 to 64: nearest-neighbour upscaling, for pixel
/// art. `target` has the source's format and is `factor` times as wide and high; their memory must not overlap.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_image_upscale(
    source: *const detailflow_image,
    factor: u32,
    target: *const detailflow_image,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let (source, target) = unsafe { (read(source)?, read(target)?) };
        let (format, other) = (source.check_pixels()?, target.check_pixels()?);
        if format != other {
            return Err(Failure::invalid(format!(
                "detailflow_image.format of the source is {}, of the target {}: they must be the same",
                source.format, target.format
            )));
        }
        let (length, room) = (source.length(format)?, target.length(format)?);
        let (from, to) = (source.pixels as usize, target.pixels as usize);
        if from < to.saturating_add(room) && to < from.saturating_add(length) {
            return Err(Failure::invalid("the memory of the source and of the target overlap"));
        }
        // SAFETY: the contract of the header; the length is within the capacity, and apart from the target.
        let pixels = unsafe { std::slice::from_raw_parts(source.pixels.cast::<u8>(), length) };
        // SAFETY: the contract of the header.
        let mut canvas = unsafe { canvas(&target) }?;
        Ok(canvas.upscale(source.width, source.height, pixels, source.stride_of(format), factor)?)
    })
}

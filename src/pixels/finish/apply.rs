//! Finishing pictures: pixels in memory, and images of the decoder.

use super::counts::gather;
use super::reduce::reduce;
use super::settings::Finish;
use super::shape::{Pixel, cut, fill_holes, outline, remove_stray};
use super::tile::tile;
use crate::pixels::format::PixelFormat;
use crate::pixels::image::Image;
use crate::support::error::Result;
use crate::support::host;
use crate::support::memory::filled;

impl Finish {
    /// Finishes `width` x `height` RGBA8 pixels with straight alpha in place; rows are `stride` bytes apart, and bytes between
    /// them are left unchanged.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if a side is 0, `stride` is less than a row, `pixels` is too short, or a setting
    /// is out of range; [`Error::OutOfMemory`](crate::Error::OutOfMemory). The pixels are unchanged then.
    pub fn apply(&self, width: u32, height: u32, pixels: &mut [u8], stride: usize) -> Result<()> {
        let _host = host::enter();
        self.check()?;
        let mut picture = gather(width, height, pixels, stride)?;
        self.pixels(&mut picture, width as usize)?;
        for (line, row) in pixels.chunks_mut(stride).zip(picture.chunks(width as usize)) {
            line[..row.len() * PixelFormat::Rgba8.bytes()].copy_from_slice(row.as_flattened());
        }
        Ok(())
    }

    /// The image finished: an image whose pixels in the format RGBA8 are those of `image`, finished. Without settings the same image.
    ///
    /// # Errors
    /// As [`apply`](Self::apply).
    pub fn image(&self, image: &Image) -> Result<Image> {
        let _host = host::enter();
        self.check()?;
        if self.is_off() {
            return Image::new(image.size(), if image.has_alpha() { 4 } else { 3 }, image.planes());
        }
        let side = image.size() as usize;
        let mut bytes = image.to_vec(PixelFormat::Rgba8)?;
        self.apply(image.size(), image.size(), &mut bytes, side * PixelFormat::Rgba8.bytes())?;
        let plane = side * side;
        let channels = if image.has_alpha() { 4 } else { 3 };
        let mut planes = filled("a picture", channels * plane, 0.0)?;
        for (at, &[r, g, b, alpha]) in bytes.as_chunks::<4>().0.iter().enumerate() {
            // Within a hundredth of what a byte is rounded from, also where colour is divided by an alpha of 1.
            let alpha = f32::from(alpha) / 255.0;
            for (channel, value) in [r, g, b].into_iter().enumerate() {
                planes[channel * plane + at] = 2.0 * (f32::from(value) / 255.0 * alpha) - 1.0;
            }
            if image.has_alpha() {
                planes[3 * plane + at] = 2.0 * alpha - 1.0;
            }
        }
        Ok(Image::from_planes(image.size(), image.has_alpha(), planes))
    }

    /// The steps, on pixels that lie row by row.
    fn pixels(&self, pixels: &mut [Pixel], width: usize) -> Result<()> {
        cut(pixels, self.alpha_cut);
        if self.despeckle {
            remove_stray(pixels, width);
            fill_holes(pixels, width);
        }
        reduce(pixels, width, self)?;
        if let Some(color) = self.outline {
            outline(pixels, width, color);
            // Where it leaves a hole in a gap of three pixels, finishing again would fill it.
            if self.despeckle {
                fill_holes(pixels, width);
            }
        }
        // Last: an outline may fill what is transparent, and finishing again must find the same pictures opaque.
        if self.tile {
            tile(pixels, width)?;
        }
        Ok(())
    }
}

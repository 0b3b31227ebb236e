//! Pictures on their way out: what the decoder gives, in anyone's memory.

use std::path::Path;

use super::{Canvas, Downscale, PixelFormat, check_factor, save};
#[cfg(doc)]
use crate::support::error::Error;
use crate::support::error::Result;
use crate::support::memory::{filled, reserve};

/// A square picture as the decoder computed it, or a smaller one made of that.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    size: u32,
    alpha: bool,
    /// Planes R, G, B and with alpha A, row-major, about -1..1.
    planes: Vec<f32>,
}

impl Image {
    pub(crate) fn new(size: u32, channels: usize, planes: &[f32]) -> Result<Self> {
        let mut copy = reserve("a picture", planes.len())?;
        copy.extend_from_slice(planes);
        Ok(Self::from_planes(size, channels == 4, copy))
    }

    /// Takes the planes as they are.
    pub(super) fn from_planes(size: u32, alpha: bool, planes: Vec<f32>) -> Self {
        Self { size, alpha, planes }
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
        self.write_upscaled(format, 1, target, stride)
    }

    /// As [`write`](Self::write), each pixel as a square of `factor` pixels a side, for pixel art: `target` takes
    /// `factor` times as many pixels a side.
    ///
    /// # Errors
    /// As for [`write`](Self::write), and [`Error::Invalid`] when `factor` is not 1 to 64.
    pub fn write_upscaled(&self, format: PixelFormat, factor: u32, target: &mut [u8], stride: usize) -> Result<()> {
        check_factor(factor)?;
        let side = self.size.saturating_mul(factor);
        Canvas::new(format, side, side, target, stride)?.put(self, 0, 0, factor)
    }

    /// The picture at `size` pixels a side, at most its own: each new pixel is the mean of the area that it covers, in
    /// linear light and weighted by alpha, so that nothing darkens and no colour bleeds at the edges. Its own size
    /// gives the same picture.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `size` is 0 or larger than the picture.
    pub fn downscale(&self, size: u32) -> Result<Image> {
        Downscale::new(self).to(size)
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

    /// A value of a channel as 0 to 1, premultiplied as the decoder gave it.
    fn unit(&self, channel: usize, at: usize) -> f32 {
        let plane = self.size as usize * self.size as usize;
        ((self.planes[channel * plane + at] + 1.0) / 2.0).clamp(0.0, 1.0)
    }

    /// Straight colour and alpha of a pixel, 0 to 1; alpha 1 where there is none.
    pub(super) fn straight(&self, at: usize) -> ([f32; 3], f32) {
        if !self.alpha {
            return ([0, 1, 2].map(|channel| self.unit(channel, at)), 1.0);
        }
        let alpha = self.unit(3, at);
        ([0, 1, 2].map(|channel| if alpha > 0.0 { (self.unit(channel, at) / alpha).min(1.0) } else { 0.0 }), alpha)
    }

    pub(super) fn pixel(&self, at: usize, format: PixelFormat, target: &mut [u8]) {
        let byte = |v: f32| (255.0 * v).round() as u8;
        // `as u8` truncates, which is the authors' rule.
        let plane = self.size as usize * self.size as usize;
        let authors = |channel: usize| (127.5 * self.planes[channel * plane + at] + 128.0).clamp(0.0, 255.0) as u8;
        match (format, self.alpha) {
            (PixelFormat::Rgba32F, _) => {
                let ([r, g, b], alpha) = self.straight(at);
                put_floats(target, [r, g, b, alpha]);
            }
            (PixelFormat::Rgb8, true) => {
                let alpha = self.unit(3, at);
                (0..3).for_each(|c| target[c] = byte(self.unit(c, at).min(alpha)));
            }
            (PixelFormat::Rgba8, true) => {
                let (colour, alpha) = self.straight(at);
                (0..3).for_each(|c| target[c] = byte(colour[c]));
                target[3] = byte(alpha);
            }
            (PixelFormat::Rgb8, false) => (0..3).for_each(|c| target[c] = authors(c)),
            (PixelFormat::Rgba8, false) => {
                (0..3).for_each(|c| target[c] = authors(c));
                target[3] = 255;
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
}

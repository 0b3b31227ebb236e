//! Pictures from the decoder, and their conversion to pixels.

use super::format::PixelFormat;
use crate::support::error::Result;
use crate::support::memory::reserve;

/// A square picture as computed by the decoder, or downscaled from one.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    size: u32,
    alpha: bool,
    /// `[channel, y, x]`: R, G, B and with alpha A, about -1 to 1.
    planes: Vec<f32>,
}

impl Image {
    pub(crate) fn new(size: u32, channels: usize, planes: &[f32]) -> Result<Self> {
        let mut copy = reserve("a picture", planes.len())?;
        copy.extend_from_slice(planes);
        Ok(Self::from_planes(size, channels == 4, copy))
    }

    /// Takes the planes without a copy.
    pub(super) fn from_planes(size: u32, alpha: bool, planes: Vec<f32>) -> Self {
        Self { size, alpha, planes }
    }

    /// Pixels per side.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Whether it has an alpha channel.
    #[must_use]
    pub fn has_alpha(&self) -> bool {
        self.alpha
    }

    /// The output of the decoder, `[channel, y, x]`: R, G, B and with alpha A (colour premultiplied), about -1 to 1.
    #[must_use]
    pub fn planes(&self) -> &[f32] {
        &self.planes
    }

    /// The value of a channel of the pixel `at`, counted row by row.
    fn value(&self, channel: usize, at: usize) -> f32 {
        let plane = self.size as usize * self.size as usize;
        self.planes[channel * plane + at]
    }

    /// The same mapped to 0 to 1; colour is premultiplied.
    fn unit(&self, channel: usize, at: usize) -> f32 {
        ((self.value(channel, at) + 1.0) / 2.0).clamp(0.0, 1.0)
    }

    /// Straight colour and alpha of a pixel, 0 to 1; alpha is 1 for RGB models.
    pub(super) fn straight(&self, at: usize) -> ([f32; 3], f32) {
        if !self.alpha {
            return ([0, 1, 2].map(|channel| self.unit(channel, at)), 1.0);
        }
        let alpha = self.unit(3, at);
        ([0, 1, 2].map(|channel| if alpha > 0.0 { (self.unit(channel, at) / alpha).min(1.0) } else { 0.0 }), alpha)
    }

    /// Writes a pixel as `format` to `target`.
    pub(super) fn pixel(&self, at: usize, format: PixelFormat, target: &mut [u8]) {
        let byte = |v: f32| (255.0 * v).round() as u8;
        // The rule of the reference code: `as u8` truncates.
        let reference = |channel: usize| (127.5 * self.value(channel, at) + 128.0).clamp(0.0, 255.0) as u8;
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
            (PixelFormat::Rgb8, false) => (0..3).for_each(|c| target[c] = reference(c)),
            (PixelFormat::Rgba8, false) => {
                (0..3).for_each(|c| target[c] = reference(c));
                target[3] = 255;
            }
        }
    }
}

/// Writes floats as bytes, because the caller's memory need not be aligned.
fn put_floats(target: &mut [u8], pixel: [f32; 4]) {
    for (bytes, value) in target.chunks_exact_mut(4).zip(pixel) {
        bytes.copy_from_slice(&value.to_ne_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rgb_pixels_follow_the_byte_rule_of_the_reference() {
        // 127.5 x + 128, truncated: -1 gives 0 (0.5), 0 gives 128, 1 gives 255 (255.5 clamped).
        let image = Image::new(1, 3, &[-1.0, 0.0, 1.0]).unwrap();
        assert_eq!(image.to_vec(PixelFormat::Rgb8).unwrap(), [0, 128, 255]);
        assert_eq!(image.to_vec(PixelFormat::Rgba8).unwrap(), [0, 128, 255, 255]);
    }

    #[test]
    fn rgba_pixels_are_unpremultiplied() {
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
    fn write_leaves_bytes_between_rows_unchanged() {
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

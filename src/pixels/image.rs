//! Pictures from the decoder, and their conversion to pixels.

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

    /// Straight colour and alpha of the pixel `at`, counted row by row, 0 to 1; alpha is 1 for RGB models.
    pub(super) fn straight(&self, at: usize) -> ([f32; 3], f32) {
        let plane = self.size as usize * self.size as usize;
        let value = |channel: usize| self.planes[channel * plane + at];
        let [r, g, b, alpha] =
            if self.alpha { straight([0, 1, 2, 3].map(value)) } else { opaque([0, 1, 2].map(value)) };
        ([r, g, b], alpha)
    }
}

/// A value of the decoder, mapped to 0 to 1.
#[inline(always)]
pub(super) fn unit(value: f32) -> f32 {
    ((value + 1.0) / 2.0).clamp(0.0, 1.0)
}

/// A pixel of an RGB model, 0 to 1.
#[inline(always)]
pub(super) fn opaque(values: [f32; 3]) -> [f32; 4] {
    let [r, g, b] = values.map(unit);
    [r, g, b, 1.0]
}

/// Premultiplied colour, at most alpha, and alpha of a pixel of an RGBA model, 0 to 1.
#[inline(always)]
pub(super) fn premultiplied(values: [f32; 4]) -> [f32; 4] {
    let [r, g, b, alpha] = values.map(unit);
    [r.min(alpha), g.min(alpha), b.min(alpha), alpha]
}

/// Straight colour and alpha of a pixel of an RGBA model, 0 to 1.
#[inline(always)]
pub(super) fn straight(values: [f32; 4]) -> [f32; 4] {
    let [r, g, b, alpha] = values.map(unit);
    let colour = |value: f32| if alpha > 0.0 { (value / alpha).min(1.0) } else { 0.0 };
    [colour(r), colour(g), colour(b), alpha]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::PixelFormat;

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

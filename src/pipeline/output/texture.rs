//! The pixels or blocks of a texture, one level of its mip chain after another.

use std::sync::OnceLock;

use half::f16;

use super::{AlphaMode, Compression, OutputOptions, bc7, pixels_of};
use crate::pixels::{Image, PixelFormat, from_linear};
use crate::support::error::Result;
use crate::support::memory::reserve;

/// A texture: a square, with its mip chain or alone.
pub(super) struct Texture {
    /// Pixels per side of the largest level.
    pub side: u32,
    /// Whether it is of BC7 blocks, else of R8G8B8A8.
    pub compressed: bool,
    /// Whether colour is multiplied with alpha; `None` if every pixel is opaque because the model has no alpha.
    pub alpha: Option<AlphaMode>,
    /// The bytes of each level, from the largest to the smallest.
    pub levels: Vec<Vec<u8>>,
}

impl Texture {
    /// Bytes of all levels.
    pub fn bytes(&self) -> usize {
        self.levels.iter().map(Vec::len).sum()
    }
}

/// Makes a texture. `pictures` are one, or the whole mip chain from the largest on; those upscaled come before them.
pub(super) fn texture(pictures: &[Image], options: &OutputOptions) -> Result<Texture> {
    let first = &pictures[0];
    let (scale, alpha) = (options.scale, first.has_alpha().then_some(options.alpha));
    // A scale of 4 with mips: the largest picture by 4, by 2, and the chain as it is.
    let enlarged = std::iter::successors(Some(scale), |scale| Some(scale / 2)).take_while(|&scale| scale > 1);
    let enlarged = enlarged.take(if options.mips { usize::MAX } else { 1 }).map(|scale| (first, scale));
    let native =
        pictures.iter().map(|picture| (picture, 1)).take(if options.mips || scale == 1 { usize::MAX } else { 0 });
    let mut levels = reserve("a texture", pictures.len().saturating_add(16))?;
    for (picture, scale) in enlarged.chain(native) {
        let (side, pixels) = rgba8(picture, alpha, scale)?;
        levels.push(match options.compression {
            Compression::None => pixels,
            Compression::Bc7 => bc7::compress(&pixels, side, alpha)?,
        });
    }
    Ok(Texture { side: first.size() * scale, compressed: options.compression == Compression::Bc7, alpha, levels })
}

/// The side and the pixels of a level, sRGB.
fn rgba8(image: &Image, alpha: Option<AlphaMode>, scale: u32) -> Result<(u32, Vec<u8>)> {
    if alpha != Some(AlphaMode::Premultiplied) {
        return pixels_of(image, PixelFormat::Rgba8, scale);
    }
    let (side, halves) = pixels_of(image, PixelFormat::Rgba16FLinearPremultiplied, scale)?;
    let mut pixels = reserve("a texture", halves.len() / 2)?;
    for &[r, g, b, a] in
        halves.as_chunks::<8>().0.iter().map(|pixel| pixel.as_chunks::<2>().0).filter_map(|pixel| pixel.first_chunk())
    {
        pixels.extend([r, g, b].map(encoded));
        pixels.push((f16::from_ne_bytes(a).to_f32() * 255.0 + 0.5) as u8);
    }
    Ok((side, pixels))
}

/// The sRGB byte of a half float of 0 to 1 in linear light.
fn encoded(half: [u8; 2]) -> u8 {
    static TABLE: OnceLock<[u8; f16::ONE.to_bits() as usize + 1]> = OnceLock::new();
    let table = TABLE.get_or_init(|| {
        std::array::from_fn(|bits| (from_linear(f16::from_bits(bits as u16).to_f32()) * 255.0 + 0.5) as u8)
    });
    table[usize::from(u16::from_ne_bytes(half).min(f16::ONE.to_bits()))]
}

#[cfg(test)]
mod tests {
    use super::super::tests::picture;
    use super::*;

    fn options(alpha: AlphaMode, mips: bool, scale: u32) -> OutputOptions {
        OutputOptions { alpha, mips, scale, ..OutputOptions::default() }
    }

    #[test]
    fn chain_of_an_upscaled_texture_ends_with_that_of_the_picture() {
        let chain: Vec<Image> = [6, 3, 1].map(|size| picture(size, 4)).to_vec();
        let sides = |options: &OutputOptions, pictures: &[Image]| -> Vec<usize> {
            texture(pictures, options).unwrap().levels.iter().map(|level| (level.len() / 4).isqrt()).collect()
        };
        assert_eq!(sides(&options(AlphaMode::Straight, true, 1), &chain), [6, 3, 1]);
        assert_eq!(sides(&options(AlphaMode::Straight, true, 4), &chain), [24, 12, 6, 3, 1]);
        assert_eq!(sides(&options(AlphaMode::Straight, false, 1), &chain[..1]), [6]);
        assert_eq!(sides(&options(AlphaMode::Straight, false, 5), &chain[..1]), [30]);
        assert_eq!(texture(&chain, &options(AlphaMode::Straight, true, 4)).unwrap().side, 24);
    }

    #[test]
    fn premultiplied_textures_are_multiplied_in_linear_light() {
        let image = picture(32, 4);
        let plain = &texture(std::slice::from_ref(&image), &options(AlphaMode::Straight, false, 1)).unwrap().levels[0];
        assert_eq!(*plain, image.to_vec(PixelFormat::Rgba8).unwrap());
        let found =
            &texture(std::slice::from_ref(&image), &options(AlphaMode::Premultiplied, false, 1)).unwrap().levels[0];
        let straight = image.to_vec(PixelFormat::Rgba32F).unwrap();
        let straight: Vec<f32> = straight.as_chunks::<4>().0.iter().map(|&value| f32::from_ne_bytes(value)).collect();
        let linear = |v: f64| if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) };
        let srgb = |v: f64| if v <= 0.003_130_8 { v * 12.92 } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 };
        for (found, pixel) in found.chunks(4).zip(straight.chunks(4)) {
            let alpha = f64::from(pixel[3]);
            for c in 0..3 {
                let wanted = 255.0 * srgb(linear(f64::from(pixel[c])) * alpha);
                assert!((f64::from(found[c]) - wanted).abs() < 0.6, "{found:?} of {pixel:?}: {wanted}");
            }
            assert!((f64::from(found[3]) - 255.0 * alpha).abs() < 0.6);
        }
        let rgb = picture(8, 3);
        let opaque = texture(std::slice::from_ref(&rgb), &options(AlphaMode::Premultiplied, false, 1)).unwrap();
        assert_eq!((opaque.alpha, &opaque.levels[0]), (None, &rgb.to_vec(PixelFormat::Rgba8).unwrap()));
    }
}

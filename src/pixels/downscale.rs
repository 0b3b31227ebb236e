//! Downscaling: each new pixel is the mean of the area that it covers, in linear light and weighted by alpha.
//!
//! The mean is taken in linear light, because that of sRGB-encoded values would darken every fine pattern from mip to
//! mip: the mean of black and white is 188 of 255, not 128. Colour is weighted by alpha, so that the colour of transparent
//! pixels does not bleed into their neighbours.

use ndarray::{ArrayView2, ArrayView3, ArrayViewMut2, ArrayViewMut3, ShapeError};

use super::image::Image;
use super::light::{from_linear, to_linear};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{filled, reserve};

/// Makes smaller pictures of one picture, which is converted to linear light at most once.
pub(crate) struct Downscale<'a> {
    image: &'a Image,
    /// Linear light, `[channel, y, x]`.
    linear: Option<Vec<f32>>,
}

impl<'a> Downscale<'a> {
    pub fn new(image: &'a Image) -> Self {
        Self { image, linear: None }
    }

    /// The picture at `size` pixels per side; unchanged if that is its size.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `size` is 0 or larger than the picture, [`Error::OutOfMemory`].
    pub fn to(&mut self, size: u32) -> Result<Image> {
        let _host = host::enter();
        let (image, side) = (self.image, self.image.size());
        if size == 0 || size > side {
            return Err(Error::Invalid(format!(
                "a picture of {side} px cannot be downscaled to {size} px: 1 to {side} is allowed"
            )));
        }
        let channels = if image.has_alpha() { 4 } else { 3 };
        if size == side {
            return Image::new(size, channels, image.planes());
        }
        let linear = match &mut self.linear {
            Some(linear) => linear,
            empty => empty.insert(linear(image)?),
        };
        let (from, to) = (side as usize, size as usize);
        let mut planes = filled("a picture", channels.saturating_mul(to.saturating_mul(to)), 0.0)?;
        let source = ArrayView3::from_shape((channels, from, from), linear).map_err(internal)?;
        let mut target = ArrayViewMut3::from_shape((channels, to, to), &mut planes).map_err(internal)?;
        for (plane, smaller) in source.outer_iter().zip(target.outer_iter_mut()) {
            shrink(plane, smaller);
        }
        encode(&mut planes, to * to);
        Ok(Image::from_planes(size, image.has_alpha(), planes))
    }
}

impl Image {
    /// The picture at `size` pixels per side: each new pixel is the mean of the area that it covers, in linear light and
    /// weighted by alpha, so that nothing darkens and no colour bleeds at the edges. With its own size, an unchanged copy.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `size` is 0 or larger than the picture, [`Error::OutOfMemory`].
    pub fn downscale(&self, size: u32) -> Result<Image> {
        Downscale::new(self).to(size)
    }
}

fn internal(error: ShapeError) -> Error {
    Error::Internal(format!("downscaling a picture: {error}"))
}

/// The picture in linear light, `[channel, y, x]`: premultiplied colour of 0 to 1, and alpha.
fn linear(image: &Image) -> Result<Vec<f32>> {
    let plane = image.size() as usize * image.size() as usize;
    let mut planes = reserve("a picture", image.planes().len())?;
    for channel in 0..3 {
        planes.extend((0..plane).map(|at| {
            let ([r, g, b], alpha) = image.straight(at);
            to_linear([r, g, b][channel]) * alpha
        }));
    }
    if image.has_alpha() {
        planes.extend((0..plane).map(|at| image.straight(at).1));
    }
    Ok(planes)
}

/// Converts linear light back to the values of the decoder.
fn encode(planes: &mut [f32], plane: usize) {
    let (colour, alpha) = planes.split_at_mut(3 * plane);
    for (at, value) in colour.iter_mut().enumerate() {
        let alpha = alpha.get(at % plane).copied().unwrap_or(1.0);
        let straight = if alpha > 0.0 { (*value / alpha).min(1.0) } else { 0.0 };
        *value = 2.0 * from_linear(straight) * alpha - 1.0;
    }
    alpha.iter_mut().for_each(|alpha| *alpha = 2.0 * *alpha - 1.0);
}

/// Downscales one square plane, `[y, x]`.
fn shrink(plane: ArrayView2<'_, f32>, mut target: ArrayViewMut2<'_, f32>) {
    let (from, to) = (plane.nrows(), target.nrows());
    let area = (from * from) as f64;
    for ((y, x), value) in target.indexed_iter_mut() {
        let row = |old: usize| {
            let line = plane.row(old);
            covered(x, from, to).map(|(at, part)| part * f64::from(line[at])).sum::<f64>()
        };
        let sum: f64 = covered(y, from, to).map(|(at, part)| part * row(at)).sum();
        *value = (sum / area) as f32;
    }
}

/// Which of `from` pixels lie under pixel `at` of `to`, and how much of each. The unit makes every part an integer: an old
/// pixel is `to` wide and a new one `from`. So the parts add up to `from` exactly, and areas of one colour keep it.
fn covered(at: usize, from: usize, to: usize) -> impl Iterator<Item = (usize, f64)> {
    let (start, end) = (at * from, (at + 1) * from);
    (start / to..end.div_ceil(to)).map(move |old| (old, (end.min((old + 1) * to) - start.max(old * to)) as f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pixels::PixelFormat;

    /// A grey picture of RGB from values of 0 to 1.
    fn grey(size: u32, values: &[f32]) -> Image {
        let plane: Vec<f32> = values.iter().map(|v| 2.0 * v - 1.0).collect();
        Image::new(size, 3, &plane.repeat(3)).unwrap()
    }

    /// A picture from straight RGBA of 0 to 1.
    fn rgba(size: u32, pixels: &[[f32; 4]]) -> Image {
        let channel = |c: usize| pixels.iter().map(move |p| 2.0 * if c < 3 { p[c] * p[3] } else { p[3] } - 1.0);
        Image::new(size, 4, &(0..4).flat_map(channel).collect::<Vec<f32>>()).unwrap()
    }

    fn floats(image: &Image) -> Vec<f32> {
        let bytes = image.to_vec(PixelFormat::Rgba32F).unwrap();
        bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().unwrap())).collect()
    }

    fn near(found: &[f32], wanted: &[f32], tolerance: f32) {
        assert_eq!(found.len(), wanted.len());
        for (at, (a, b)) in found.iter().zip(wanted).enumerate() {
            assert!((a - b).abs() <= tolerance, "value {at} is {a}, wanted {b}");
        }
    }

    #[test]
    fn downscale_averages_in_linear_light() {
        // Half the light is 0.735357 in sRGB: 188 of 255 (and 187.5 + 0.5 by the authors' rule). 128 would be too dark.
        let image = grey(2, &[0.0, 1.0, 1.0, 0.0]).downscale(1).unwrap();
        near(&floats(&image), &[0.735_357, 0.735_357, 0.735_357, 1.0], 1e-6);
        assert_eq!(image.to_vec(PixelFormat::Rgb8).unwrap(), [188; 3]);
        // A quarter of the light: 0.537099.
        near(&floats(&grey(2, &[0.0, 0.0, 1.0, 0.0]).downscale(1).unwrap())[..1], &[0.537_099], 1e-6);
    }

    #[test]
    fn downscale_ignores_the_colour_of_transparent_pixels() {
        // One red pixel among clear ones: red all the same, a quarter of the cover.
        let clear = [0.0, 0.0, 0.0, 0.0];
        let image = rgba(2, &[[1.0, 0.0, 0.0, 1.0], clear, clear, clear]).downscale(1).unwrap();
        near(&floats(&image), &[1.0, 0.0, 0.0, 0.25], 1e-6);
        assert_eq!(image.to_vec(PixelFormat::Rgba8).unwrap(), [255, 0, 0, 64]);
        // A green one of a third of its cover: light 3 to 1, alpha (1 + 1/3) / 4.
        let image = rgba(2, &[[1.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.0, 1.0 / 3.0], clear, clear]).downscale(1).unwrap();
        near(&floats(&image), &[from_linear(0.75), from_linear(0.25), 0.0, 1.0 / 3.0], 1e-6);
        // Nothing at all stays nothing, whatever colour the decoder gave it.
        let nothing =
            Image::new(2, 4, &[0.9, 0.9, 0.9, 0.9, 0.2, 0.2, 0.2, 0.2, 0.0, 0.0, 0.0, 0.0, -1.0, -1.0, -1.0, -1.0]);
        assert_eq!(nothing.unwrap().downscale(1).unwrap().planes(), [-1.0; 4]);
        // Half-transparent everywhere is the same colour and the same cover.
        let image = rgba(4, &[[0.2, 0.6, 1.0, 0.5]; 16]).downscale(3).unwrap();
        near(&floats(&image), &[0.2, 0.6, 1.0, 0.5].repeat(9), 1e-6);
    }

    #[test]
    fn downscale_weights_partly_covered_pixels_by_area() {
        // 3 to 2: a new pixel is one old one and half of the next. Rows the same, so only columns matter.
        let linear = [0.9_f32, 0.3, 0.0];
        let row: Vec<f32> = linear.iter().map(|&v| from_linear(v)).collect();
        let image = grey(3, &row.repeat(3)).downscale(2).unwrap();
        let wanted = [(0.9 + 0.5 * 0.3) / 1.5, (0.5 * 0.3) / 1.5].map(from_linear);
        let found: Vec<f32> = floats(&image).chunks(4).map(|pixel| pixel[0]).collect();
        near(&found, &[wanted[0], wanted[1], wanted[0], wanted[1]], 1e-6);
        // 48 to 32 has the same pattern, 176 to 128 a longer one; the parts always make a whole new pixel.
        let parts: Vec<_> = covered(1, 48, 32).collect();
        assert_eq!(parts, [(1, 16.0), (2, 32.0)]);
        assert_eq!(covered(0, 176, 128).collect::<Vec<_>>(), [(0, 128.0), (1, 48.0)]);
        assert_eq!(covered(1, 176, 128).collect::<Vec<_>>(), [(1, 80.0), (2, 96.0)]);
        for (from, to) in [(48, 32), (176, 128), (7, 5), (256, 1), (13, 13), (1000, 999), (1, 1)] {
            let mut seen = vec![0.0; from];
            for at in 0..to {
                assert_eq!(covered(at, from, to).map(|(_, part)| part).sum::<f64>(), from as f64);
                covered(at, from, to).for_each(|(old, part)| seen[old] += part);
            }
            assert!(seen.iter().all(|&part| part == to as f64), "{from} to {to}: every old pixel counts the same");
        }
    }

    #[test]
    fn downscale_preserves_the_mean_light() {
        let noise = |at: usize| ((at * 2_654_435_761) % 1000) as f32 / 999.0;
        let light = |image: &Image| {
            let linear = linear(image).unwrap();
            let plane = linear.len() / 4;
            [0, 1, 2, 3].map(|c| linear[c * plane..][..plane].iter().map(|&v| f64::from(v)).sum::<f64>() / plane as f64)
        };
        let pixels: Vec<[f32; 4]> = (0..48 * 48).map(|at| [4, 5, 6, 7].map(|c| noise(c * 7919 + at * 4 + c))).collect();
        let image = rgba(48, &pixels);
        let before = light(&image);
        for size in [47, 32, 24, 17, 5, 2, 1] {
            let after = light(&image.downscale(size).unwrap());
            for (a, b) in before.iter().zip(after) {
                assert!((a - b).abs() < 1e-6, "{size} px: {before:?} became {after:?}");
            }
        }
    }

    #[test]
    fn downscale_keeps_uniform_colour_and_copies_the_same_size() {
        for value in [0.0, 0.03, 0.5, 0.77, 1.0] {
            let image = grey(48, &[value; 48 * 48]);
            near(&floats(&image.downscale(32).unwrap()), &[value, value, value, 1.0].repeat(1024), 1e-6);
        }
        // Beyond -1..1 too, where a filter would have cut.
        let odd = Image::new(2, 3, &[-1.5, 3.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]).unwrap();
        assert_eq!(odd.downscale(2).unwrap(), odd);
        assert!(odd.downscale(3).is_err());
        assert!(odd.downscale(0).is_err());
    }
}

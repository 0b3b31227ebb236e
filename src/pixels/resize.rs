//! Resizing with a Catmull-Rom filter, bit for bit as `resize` of the `image` crate 0.25 does it on 32-bit floats: rows
//! first, then columns, each in `f32`. The encoder's tokens depend on these bits.

use ndarray::{ArrayView3, ArrayViewMut3, Axis, ShapeError};

use crate::support::error::{Error, Result};
use crate::support::memory::filled;

/// Channels of a pixel: RGBA.
const CHANNELS: usize = 4;
/// How far the filter reaches on either side of its centre.
const SUPPORT: f32 = 2.0;

/// Resizes a picture of `from` x `from` RGBA pixels (`[y, x, channel]`) to `to` x `to`; values are clamped to 0 to 1.
pub(super) fn catmull_rom(pixels: &[f32], from: u32, to: u32) -> Result<Vec<f32>> {
    let (old, new) = (from as usize, to as usize);
    let length = |rows: usize, columns: usize| rows.saturating_mul(columns).saturating_mul(CHANNELS);
    let mut between = filled("a picture", length(new, old), 0.0)?;
    let mut resized = filled("a picture", length(new, new), 0.0)?;
    let source = ArrayView3::from_shape((old, old, CHANNELS), pixels).map_err(internal)?;
    resample(source, &mut view((new, old), &mut between)?, Axis(0), from, to);
    let source = ArrayView3::from_shape((new, old, CHANNELS), &between).map_err(internal)?;
    resample(source, &mut view((new, new), &mut resized)?, Axis(1), from, to);
    resized.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    Ok(resized)
}

fn view((rows, columns): (usize, usize), values: &mut [f32]) -> Result<ArrayViewMut3<'_, f32>> {
    ArrayViewMut3::from_shape((rows, columns, CHANNELS), values).map_err(internal)
}

fn internal(error: ShapeError) -> Error {
    Error::Internal(format!("resizing a picture: {error}"))
}

/// Makes `to` rows (or columns, by `axis`) of `from`: each is a weighted sum of those under the filter.
fn resample(source: ArrayView3<'_, f32>, target: &mut ArrayViewMut3<'_, f32>, axis: Axis, from: u32, to: u32) {
    let ratio = from as f32 / to as f32;
    let scale = if ratio < 1.0 { 1.0 } else { ratio };
    let reach = SUPPORT * scale;
    let mut weights = Vec::new();
    for (at, mut lane) in target.axis_iter_mut(axis).enumerate() {
        let centre = (at as f32 + 0.5) * ratio;
        let left = ((centre - reach).floor() as i64).clamp(0, i64::from(from) - 1);
        let right = ((centre + reach).ceil() as i64).clamp(left + 1, i64::from(from));
        let centre = centre - 0.5;
        weights.clear();
        weights.extend((left..right).map(|old| kernel((old as f32 - centre) / scale)));
        let mut sum = 0.0;
        weights.iter().for_each(|weight| sum += weight);
        for (old, weight) in (left as usize..).zip(&weights) {
            let weight = weight / sum;
            lane.zip_mut_with(&source.index_axis(axis, old), |value, old| *value += old * weight);
        }
    }
}

/// The cubic of Mitchell and Netravali with b = 0 and c = 0.5.
fn kernel(x: f32) -> f32 {
    let (b, c) = (0.0f32, 0.5f32);
    let a = x.abs();
    let k = if a < 1.0 {
        (12.0 - 9.0 * b - 6.0 * c) * a.powi(3) + (-18.0 + 12.0 * b + 6.0 * c) * a.powi(2) + (6.0 - 2.0 * b)
    } else if a < 2.0 {
        (-b - 6.0 * c) * a.powi(3)
            + (6.0 * b + 30.0 * c) * a.powi(2)
            + (-12.0 * b - 48.0 * c) * a
            + (8.0 * b + 24.0 * c)
    } else {
        0.0
    };
    k / 6.0
}

#[cfg(all(test, feature = "image-files"))]
mod tests {
    use image::Rgba32FImage;
    use image::imageops::{FilterType, resize};

    use super::*;

    #[test]
    fn catmull_rom_has_the_same_bits_as_the_image_crate() {
        let mut state = 1u64;
        let mut random = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Beyond 0 to 1 too.
            (state >> 40) as f32 / (1u64 << 24) as f32 * 1.4 - 0.2
        };
        for (from, to) in [(1, 1), (1, 7), (7, 1), (2, 3), (13, 32), (32, 13), (48, 32), (97, 64), (256, 80), (5, 5)] {
            let values: Vec<f32> = (0..from * from * 4).map(|_| random()).collect();
            let picture = Rgba32FImage::from_raw(from, from, values.clone()).unwrap();
            let wanted = resize(&picture, to, to, FilterType::CatmullRom).into_raw();
            // Pictures of the right size are not resized, by either.
            let found = if from == to { values } else { catmull_rom(&values, from, to).unwrap() };
            let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<u32>>();
            assert!(bits(&found) == bits(&wanted), "{from} to {to}");
        }
    }
}

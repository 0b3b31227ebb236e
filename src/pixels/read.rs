//! From pixels in memory to straight RGBA, a row at a time.

use half::f16;

use super::format::PixelFormat;
use super::light::from_linear;
use crate::support::error::{Error, Result};

/// Replaces `values` by the pixels of `row`: sRGB-encoded colour and straight alpha, clamped to 0 to 1. `corner` is the
/// column and row of the first pixel, for the error. Reserve room for four values each.
///
/// # Errors
/// [`Error::Invalid`] if a float is NaN or infinite.
pub(super) fn read_row(
    format: PixelFormat,
    row: &[u8],
    (left, y): (usize, usize),
    values: &mut Vec<f32>,
) -> Result<()> {
    values.clear();
    let unit = |byte: u8| f32::from(byte) / 255.0;
    let bytes = row.as_chunks::<4>().0;
    match format {
        PixelFormat::Rgb8 => {
            values.extend(row.as_chunks::<3>().0.iter().flat_map(|&[r, g, b]| [unit(r), unit(g), unit(b), 1.0]));
        }
        PixelFormat::Rgba8 | PixelFormat::Rgba8Premultiplied => {
            values.extend(bytes.iter().flat_map(|pixel| pixel.map(unit)));
        }
        PixelFormat::Bgra8 | PixelFormat::Bgra8Premultiplied => {
            values.extend(bytes.iter().flat_map(|&[b, g, r, a]| [r, g, b, a].map(unit)));
        }
        PixelFormat::Rgba32F => values.extend(bytes.iter().map(|&value| f32::from_ne_bytes(value))),
        PixelFormat::Rgba16FLinear | PixelFormat::Rgba16FLinearPremultiplied => {
            values.extend(row.as_chunks::<2>().0.iter().map(|&value| f16::from_ne_bytes(value).to_f32()));
        }
    }
    if let Some(at) = values.iter().position(|value| !value.is_finite()) {
        let (x, value) = (left + at / 4, values[at]);
        return Err(Error::Invalid(format!("the pixel ({x}, {y}) has the value {value}, not a finite number")));
    }
    values.iter_mut().for_each(|value| *value = value.clamp(0.0, 1.0));
    let pixels = values.as_chunks_mut::<4>().0;
    if matches!(
        format,
        PixelFormat::Rgba8Premultiplied | PixelFormat::Bgra8Premultiplied | PixelFormat::Rgba16FLinearPremultiplied
    ) {
        for [r, g, b, alpha] in pixels.iter_mut() {
            let alpha = *alpha;
            let straight = |value: &mut f32| *value = if alpha > 0.0 { (*value / alpha).min(1.0) } else { 0.0 };
            [r, g, b].map(straight);
        }
    }
    if matches!(format, PixelFormat::Rgba16FLinear | PixelFormat::Rgba16FLinearPremultiplied) {
        pixels.iter_mut().flat_map(|pixel| &mut pixel[..3]).for_each(|value| *value = from_linear(*value));
    }
    Ok(())
}

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
            [r, g, b].into_iter().for_each(straight);
        }
    }
    if matches!(format, PixelFormat::Rgba16FLinear | PixelFormat::Rgba16FLinearPremultiplied) {
        pixels.iter_mut().flat_map(|pixel| &mut pixel[..3]).for_each(|value| *value = from_linear(*value));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(format: PixelFormat, row: &[u8]) -> Vec<f32> {
        let mut values = vec![7.0];
        read_row(format, row, (0, 0), &mut values).unwrap();
        values
    }

    fn halves(values: [f32; 4]) -> Vec<u8> {
        values.map(|value| f16::from_f32(value).to_ne_bytes()).concat()
    }

    #[test]
    fn every_byte_is_read_back() {
        for value in 0..=255 {
            let straight = [value, 255 - value, 7, 255].map(|byte| f32::from(byte) / 255.0);
            assert_eq!(read(PixelFormat::Rgba8, &[value, 255 - value, 7, 255]), straight);
            assert_eq!(read(PixelFormat::Bgra8, &[7, 255 - value, value, 255]), straight);
            assert_eq!(read(PixelFormat::Rgba8Premultiplied, &[value, 255 - value, 7, 255]), straight);
            assert_eq!(read(PixelFormat::Bgra8Premultiplied, &[7, 255 - value, value, 255]), straight);
            assert_eq!(read(PixelFormat::Rgb8, &[value, 255 - value, 7]), straight);
        }
    }

    #[test]
    fn premultiplied_colour_is_divided_and_cut_at_alpha() {
        let pixel = read(PixelFormat::Rgba8Premultiplied, &[50, 100, 200, 100]);
        assert_eq!(pixel, [0.5, 1.0, 1.0, 100.0 / 255.0]);
        assert_eq!(read(PixelFormat::Bgra8Premultiplied, &[9, 8, 7, 0]), [0.0; 4]);
        let pixel = read(PixelFormat::Rgba16FLinearPremultiplied, &halves([0.125, 0.5, 1.0, 0.5]));
        assert_eq!(pixel, [from_linear(0.25), from_linear(1.0), from_linear(1.0), 0.5]);
    }

    #[test]
    fn half_floats_are_clamped_and_converted_from_linear_light() {
        let pixel = read(PixelFormat::Rgba16FLinear, &halves([0.25, -3.0, 5.0, 0.5]));
        assert_eq!(pixel, [from_linear(0.25), 0.0, from_linear(1.0), 0.5]);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for format in [PixelFormat::Rgba16FLinear, PixelFormat::Rgba16FLinearPremultiplied] {
                let row = [halves([0.0; 4]), halves([0.0, 0.0, 0.0, bad])].concat();
                let error = read_row(format, &row, (5, 3), &mut Vec::new()).unwrap_err().to_string();
                assert!(error.contains("(6, 3)") && error.contains("not a finite number"), "{error}");
            }
        }
    }
}

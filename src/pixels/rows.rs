//! Rows of a picture file in every colour mode of the decoders, and their conversion to floats.

use image::ColorType;

use super::square::Square;
use crate::support::error::Result;
use crate::support::memory::filled;

/// Rows of samples, and their conversion to RGBA of 0 to 1.
pub(super) struct Rows {
    colour: ColorType,
    /// Bytes of a row.
    pub length: usize,
    columns: std::ops::Range<usize>,
    values: Vec<f32>,
}

impl Rows {
    pub fn new(what: &str, colour: ColorType, width: u32, square: &Square) -> Result<Self> {
        let columns = square.columns();
        let values = filled(what, columns.len() * 4, 0.0)?;
        Ok(Self { colour, length: width as usize * usize::from(colour.bytes_per_pixel()), columns, values })
    }

    /// The square's columns of a row, bit for bit as `into_rgba32f` of the `image` crate.
    pub fn convert(&mut self, row: &[u8]) -> Result<&[f32], String> {
        let size = usize::from(self.colour.bytes_per_pixel());
        let row = &row[self.columns.start * size..self.columns.end * size];
        let byte = |value: u8| f32::from(value) / 255.0;
        let word = |value: &[u8; 2]| f32::from(u16::from_ne_bytes(*value));
        // That crate divides colours and multiplies greys.
        const GREY8: f32 = 1.0 / 255.0;
        const GREY16: f32 = 1.0 / 65535.0;
        let float = |value: &[u8; 4]| f32::from_ne_bytes(*value);
        let grey = |value: f32, alpha: f32| [value, value, value, alpha];
        let targets = self.values.as_chunks_mut::<4>().0.iter_mut();
        // One loop for each mode: there are too many pixels to choose at each.
        macro_rules! each {
            ($size:literal, |$pixel:ident| $rgba:expr) => {
                targets.zip(row.as_chunks::<$size>().0).for_each(|(target, $pixel)| *target = $rgba)
            };
        }
        macro_rules! words {
            ($size:literal, |$samples:ident| $rgba:expr) => {
                each!($size, |pixel| {
                    let samples = pixel.as_chunks::<2>().0;
                    let $samples = |at: usize| word(&samples[at]);
                    $rgba
                })
            };
        }
        macro_rules! floats {
            ($size:literal, |$samples:ident| $rgba:expr) => {
                each!($size, |pixel| {
                    let samples = pixel.as_chunks::<4>().0;
                    let $samples = |at: usize| float(&samples[at]);
                    $rgba
                })
            };
        }
        match self.colour {
            ColorType::L8 => each!(1, |p| grey(f32::from(p[0]) * GREY8, 1.0)),
            ColorType::La8 => each!(2, |p| grey(f32::from(p[0]) * GREY8, f32::from(p[1]) * GREY8)),
            ColorType::Rgb8 => each!(3, |p| [byte(p[0]), byte(p[1]), byte(p[2]), 1.0]),
            ColorType::Rgba8 => each!(4, |p| [byte(p[0]), byte(p[1]), byte(p[2]), byte(p[3])]),
            ColorType::L16 => words!(2, |s| grey(s(0) * GREY16, 1.0)),
            ColorType::La16 => words!(4, |s| grey(s(0) * GREY16, s(1) * GREY16)),
            ColorType::Rgb16 => words!(6, |s| [s(0) / 65535.0, s(1) / 65535.0, s(2) / 65535.0, 1.0]),
            ColorType::Rgba16 => words!(8, |s| [s(0), s(1), s(2), s(3)].map(|value| value / 65535.0)),
            ColorType::Rgb32F => floats!(12, |s| [s(0), s(1), s(2), 1.0]),
            ColorType::Rgba32F => floats!(16, |s| [s(0), s(1), s(2), s(3)]),
            other => return Err(format!("its pixels are {other:?}")),
        }
        let is_float = matches!(self.colour, ColorType::Rgb32F | ColorType::Rgba32F);
        if is_float && let Some(value) = self.values.iter().find(|value| !value.is_finite()) {
            return Err(format!("a pixel value is {value}, not a finite number"));
        }
        Ok(&self.values)
    }
}

/// PNG has its 16-bit samples in network order.
pub(super) fn from_big_endian(colour: ColorType, row: &mut [u8]) {
    if matches!(colour, ColorType::L16 | ColorType::La16 | ColorType::Rgb16 | ColorType::Rgba16) {
        row.as_chunks_mut::<2>().0.iter_mut().for_each(|sample| *sample = u16::from_be_bytes(*sample).to_ne_bytes());
    }
}

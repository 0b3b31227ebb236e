//! From the values of the decoder to pixels, a row at a time. Each format has a loop of its own, without branches.

use super::format::PixelFormat;
use super::image::Image;
use super::light::{LinearTable, to_half};

impl Image {
    /// Writes row `y` as `format` to `target`, which has room for it and no more.
    pub(super) fn write_row(&self, y: usize, format: PixelFormat, target: &mut [u8]) {
        let side = self.size() as usize;
        let channel = |channel: usize| &self.planes()[(channel * side + y) * side..][..side];
        let [r, g, b] = [0, 1, 2].map(channel);
        if self.has_alpha() {
            write_alpha(format, [r, g, b, channel(3)], target);
        } else {
            write_opaque(format, [r, g, b], target);
        }
    }
}

/// Pixels of RGB models.
fn write_opaque(format: PixelFormat, [r, g, b]: [&[f32]; 3], target: &mut [u8]) {
    let planes = [r, g, b, b];
    let bytes = |[r, g, b, _]: [f32; 4]| [reference(r), reference(g), reference(b), 255];
    let values = |[r, g, b, _]: [f32; 4]| opaque([r, g, b]);
    match format {
        PixelFormat::Rgb8 => each(planes, target, |x| rgb(bytes(x))),
        PixelFormat::Rgba8 | PixelFormat::Rgba8Premultiplied => each(planes, target, bytes),
        PixelFormat::Bgra8 | PixelFormat::Bgra8Premultiplied => each(planes, target, |x| bgra(bytes(x))),
        PixelFormat::Rgba32F => each(planes, target, |x| floats(values(x))),
        PixelFormat::Rgba16FLinear | PixelFormat::Rgba16FLinearPremultiplied => {
            let table = LinearTable::get();
            each(planes, target, |x| halves(linear(table, values(x))));
        }
    }
}

/// Pixels of RGBA models.
fn write_alpha(format: PixelFormat, planes: [&[f32]; 4], target: &mut [u8]) {
    match format {
        PixelFormat::Rgb8 => each(planes, target, |x| rgb(premultiplied(x).map(byte))),
        PixelFormat::Rgba8 => each(planes, target, |x| straight(x).map(byte)),
        PixelFormat::Bgra8 => each(planes, target, |x| bgra(straight(x).map(byte))),
        PixelFormat::Rgba8Premultiplied => each(planes, target, |x| premultiplied(x).map(byte)),
        PixelFormat::Bgra8Premultiplied => each(planes, target, |x| bgra(premultiplied(x).map(byte))),
        PixelFormat::Rgba32F => each(planes, target, |x| floats(straight(x))),
        PixelFormat::Rgba16FLinear => {
            let table = LinearTable::get();
            each(planes, target, |x| halves(linear(table, straight(x))));
        }
        PixelFormat::Rgba16FLinearPremultiplied => {
            let table = LinearTable::get();
            each(planes, target, |x| {
                let [r, g, b, alpha] = linear(table, straight(x));
                halves([r * alpha, g * alpha, b * alpha, alpha])
            });
        }
    }
}

/// Writes pixels of `N` bytes, each from its values in the four planes.
#[inline(always)]
fn each<const N: usize>([r, g, b, a]: [&[f32]; 4], target: &mut [u8], pixel: impl Fn([f32; 4]) -> [u8; N]) {
    let pixels = target.as_chunks_mut::<N>().0;
    for ((((target, &r), &g), &b), &a) in pixels.iter_mut().zip(r).zip(g).zip(b).zip(a) {
        *target = pixel([r, g, b, a]);
    }
}

/// A value of the decoder, mapped to 0 to 1.
#[inline(always)]
fn unit(value: f32) -> f32 {
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
fn premultiplied(values: [f32; 4]) -> [f32; 4] {
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

/// Straight colour in linear light.
#[inline(always)]
fn linear(table: &LinearTable, [r, g, b, alpha]: [f32; 4]) -> [f32; 4] {
    [table.linear(r), table.linear(g), table.linear(b), alpha]
}

/// The rule of the reference code, for RGB models: cut off, not rounded.
#[inline(always)]
fn reference(value: f32) -> u8 {
    (127.5 * value + 128.0).clamp(0.0, 255.0) as i32 as u8
}

/// `round(255 v)` of a value of 0 to 1, by integers: the function `round` takes a call for each value.
#[inline(always)]
pub(super) fn byte(value: f32) -> u8 {
    let value = 255.0 * value;
    let whole = value as i32;
    (whole + i32::from(value - whole as f32 >= 0.5)) as u8
}

#[inline(always)]
fn rgb([r, g, b, _]: [u8; 4]) -> [u8; 3] {
    [r, g, b]
}

#[inline(always)]
fn bgra([r, g, b, a]: [u8; 4]) -> [u8; 4] {
    [b, g, r, a]
}

/// Floats as bytes, because the caller's memory need not be aligned.
#[inline(always)]
fn floats(pixel: [f32; 4]) -> [u8; 16] {
    let mut bytes = [0; 16];
    bytes.as_chunks_mut::<4>().0.iter_mut().zip(pixel).for_each(|(bytes, value)| *bytes = value.to_ne_bytes());
    bytes
}

#[inline(always)]
fn halves(pixel: [f32; 4]) -> [u8; 8] {
    let mut bytes = [0; 8];
    let halves = bytes.as_chunks_mut::<2>().0.iter_mut();
    halves.zip(pixel).for_each(|(bytes, value)| *bytes = to_half(value).to_ne_bytes());
    bytes
}

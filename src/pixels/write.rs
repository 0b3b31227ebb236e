//! From the values of the decoder to pixels, a row at a time. Each format has a loop of its own, without branches.

use super::format::PixelFormat;
use super::image::{Image, opaque, premultiplied, straight};
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

#[cfg(test)]
mod tests {
    use half::f16;

    use super::super::image::unit;
    use super::super::light::to_linear;
    use super::*;

    /// A picture of every kind of value: beyond -1 to 1, on the borders of bytes, any.
    fn picture(channels: usize) -> Image {
        let side = 61;
        let value = |at: usize| match at % 3 {
            0 => (at * 2_654_435_761 % 100_003) as f32 / 40_000.0 - 1.25,
            1 => (at % 512) as f32 / 255.0 - 1.0,
            _ => [-1.0, 1.0, -2.0, 2.0, 0.0, f32::MIN_POSITIVE, -1.0 + 1e-7][at % 7],
        };
        let values: Vec<f32> = (0..channels * side * side).map(value).collect();
        Image::new(side as u32, channels, &values).unwrap()
    }

    /// A pixel by the rules as they are written down, one value at a time.
    fn plain(format: PixelFormat, x: &[f32]) -> Vec<u8> {
        let unit = |x: f32| ((x + 1.0) / 2.0).clamp(0.0, 1.0);
        let p: Vec<f32> = x.iter().map(|&x| unit(x)).collect();
        let alpha = p.get(3).copied().unwrap_or(1.0);
        let straight = |c: usize| if alpha > 0.0 { (p[c] / alpha).min(1.0) } else { 0.0 };
        let byte = |v: f32| (255.0 * v).round() as u8;
        let straight_byte =
            |c: usize| if x.len() == 3 { (127.5 * x[c] + 128.0).clamp(0.0, 255.0) as u8 } else { byte(straight(c)) };
        let premultiplied_byte = |c: usize| if x.len() == 3 { straight_byte(c) } else { byte(p[c].min(alpha)) };
        let half = |v: f32| f16::from_f32(v).to_ne_bytes();
        let linear = |c: usize| LinearTable::get().linear(straight(c));
        match format {
            PixelFormat::Rgb8 => [0, 1, 2].map(premultiplied_byte).to_vec(),
            PixelFormat::Rgba8 => vec![straight_byte(0), straight_byte(1), straight_byte(2), byte(alpha)],
            PixelFormat::Bgra8 => vec![straight_byte(2), straight_byte(1), straight_byte(0), byte(alpha)],
            PixelFormat::Rgba8Premultiplied => {
                vec![premultiplied_byte(0), premultiplied_byte(1), premultiplied_byte(2), byte(alpha)]
            }
            PixelFormat::Bgra8Premultiplied => {
                vec![premultiplied_byte(2), premultiplied_byte(1), premultiplied_byte(0), byte(alpha)]
            }
            PixelFormat::Rgba32F => [straight(0), straight(1), straight(2), alpha].map(f32::to_ne_bytes).concat(),
            PixelFormat::Rgba16FLinear => [half(linear(0)), half(linear(1)), half(linear(2)), half(alpha)].concat(),
            PixelFormat::Rgba16FLinearPremultiplied => {
                [half(linear(0) * alpha), half(linear(1) * alpha), half(linear(2) * alpha), half(alpha)].concat()
            }
        }
    }

    #[test]
    fn pixels_of_every_format_equal_a_plain_reference() {
        for channels in [3, 4] {
            let image = picture(channels);
            let plane = image.size() as usize * image.size() as usize;
            for format in PixelFormat::ALL {
                let found = image.to_vec(format).unwrap();
                for at in 0..plane {
                    let x: Vec<f32> = (0..channels).map(|c| image.planes()[c * plane + at]).collect();
                    let pixel = &found[at * format.bytes()..][..format.bytes()];
                    assert_eq!(pixel, plain(format, &x), "{format:?}, {channels} channels: {x:?}");
                }
            }
        }
    }

    #[test]
    fn premultiplied_bytes_are_at_most_alpha() {
        let pixels = picture(4).to_vec(PixelFormat::Rgba8Premultiplied).unwrap();
        assert!(pixels.as_chunks::<4>().0.iter().all(|[r, g, b, a]| r.max(g).max(b) <= a));
    }

    #[test]
    fn half_floats_of_every_byte_are_the_transfer_function() {
        for value in 0..=255u8 {
            let x = f32::from(value) / 127.5 - 1.0;
            let image = Image::new(1, 3, &[x; 3]).unwrap();
            let pixel = image.to_vec(PixelFormat::Rgba16FLinear).unwrap();
            let found = f16::from_ne_bytes([pixel[0], pixel[1]]);
            assert_eq!(found, f16::from_f32(to_linear(unit(x))), "{value}");
            assert_eq!(pixel[6..], f16::ONE.to_ne_bytes());
        }
    }

    #[test]
    fn byte_rounds_as_round_does() {
        for at in 0..=255 {
            for near in [at as f32 / 255.0, (at as f32 + 0.5) / 255.0] {
                for value in [near, near.next_down(), near.next_up(), near.next_up().next_up()] {
                    let value = value.clamp(0.0, 1.0);
                    assert_eq!(byte(value), (255.0 * value).round() as u8, "{value:e}");
                }
            }
        }
    }

    /// Prints the time of writing: `cargo test --release --lib -- --ignored --nocapture pixel_time`.
    #[test]
    #[ignore = "measures"]
    fn pixel_time() {
        println!("ns for a pixel, least of 50 rounds of 256 x 256: RGB model, RGBA model");
        let value = |at: usize| (at * 2_654_435_761 % 100_003) as f32 / 50_000.0 - 1.0;
        let values: Vec<f32> = (0..4 * 65536).map(value).collect();
        for format in PixelFormat::ALL {
            let least = [3, 4].map(|channels| {
                let image = Image::new(256, channels, &values[..channels * 65536]).unwrap();
                let mut target = vec![0; 65536 * format.bytes()];
                let round = || {
                    let begun = std::time::Instant::now();
                    image.write(format, std::hint::black_box(&mut target), 256 * format.bytes()).unwrap();
                    begun.elapsed().as_secs_f64() * 1e9 / 65536.0
                };
                std::iter::repeat_with(round).take(50).fold(f64::MAX, f64::min)
            });
            println!("{format:?}: {:.2} {:.2}", least[0], least[1]);
        }
    }
}

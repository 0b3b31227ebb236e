//! Pictures for tests.

use crate::pixels::Image;

/// A picture by premultiplied RGBA of 0 to 1 at the centre of each pixel, whose coordinates are 0 to 1.
pub fn picture(side: u32, channels: usize, pixel: impl Fn(f32, f32) -> [f32; 4]) -> Image {
    let side_of = side as usize;
    let mut planes = vec![0.0; channels * side_of * side_of];
    for y in 0..side_of {
        for x in 0..side_of {
            let place = |at: usize| (at as f32 + 0.5) / side as f32;
            let values = pixel(place(x), place(y));
            for (channel, value) in values.into_iter().take(channels).enumerate() {
                planes[(channel * side_of + y) * side_of + x] = value * 2.0 - 1.0;
            }
        }
    }
    Image::new(side, channels, &planes).unwrap()
}

/// An opaque disc on nothing.
pub fn disc(side: u32, x: f32, y: f32, radius: f32, [r, g, b]: [f32; 3]) -> Image {
    picture(side, 4, |px, py| if (px - x).hypot(py - y) < radius { [r, g, b, 1.0] } else { [0.0; 4] })
}

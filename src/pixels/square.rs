//! The centred square of a picture, taken row by row: cropped, reduced if it is very large, turned, premultiplied.
//!
//! A picture is held as 16 bytes per pixel. Squares of more than [`LARGEST_SIDE`] pixels per side are therefore reduced while
//! their rows arrive: each box of `factor` x `factor` pixels becomes its mean. Smaller ones keep every bit.

use crate::support::error::Result;
use crate::support::memory::{filled, reserve};

/// The most pixels per side that are held; also above the size of any model in use.
pub(super) const LARGEST_SIDE: u32 = 4096;

/// How the stored rows of a picture are turned to be upright: transposed first, then mirrored.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Turn {
    /// Rows become columns.
    pub transpose: bool,
    /// Left and right are exchanged.
    pub mirror_x: bool,
    /// Top and bottom are exchanged.
    pub mirror_y: bool,
}

/// A square that receives its rows.
#[derive(Debug)]
pub(super) struct Square {
    /// Column and row of the picture at which the square starts, and how many of each it takes.
    left: u32,
    top: u32,
    taken: u32,
    /// One box of this many pixels per side becomes a pixel.
    factor: u32,
    /// Premultiplied RGBA of finished rows.
    values: Vec<f32>,
    /// With a factor: the sums of a row of boxes, and the rows that they hold.
    sums: Vec<f32>,
    summed: u32,
    turn: Turn,
}

impl Square {
    /// Of a picture of `width` x `height` pixels as they are stored, at least 1 x 1; `what` names it.
    pub fn new(what: &str, width: u32, height: u32, turn: Turn) -> Result<Self> {
        let shorter = width.min(height);
        let factor = shorter.div_ceil(LARGEST_SIDE);
        let side = shorter / factor;
        let taken = side * factor;
        // Where the rest is odd, the square is half a pixel to the upper left of the centre of the upright picture.
        let first = |all: u32, mirrored: bool| (all - taken + u32::from(mirrored)) / 2;
        let (across, down) =
            if turn.transpose { (turn.mirror_y, turn.mirror_x) } else { (turn.mirror_x, turn.mirror_y) };
        let values = reserve(what, values_of(side))?;
        let sums = if factor > 1 { filled(what, side as usize * 4, 0.0)? } else { Vec::new() };
        Ok(Self { left: first(width, across), top: first(height, down), taken, factor, values, sums, summed: 0, turn })
    }

    /// The columns that it takes of a row.
    pub fn columns(&self) -> std::ops::Range<usize> {
        self.left as usize..(self.left + self.taken) as usize
    }

    /// The rows that it takes.
    pub fn rows(&self) -> std::ops::Range<usize> {
        self.top as usize..(self.top + self.taken) as usize
    }

    /// Takes the next row of [`rows`](Self::rows): the straight RGBA values of [`columns`](Self::columns).
    pub fn push(&mut self, row: &[f32]) {
        let premultiplied =
            |pixel: &[f32; 4]| [pixel[0] * pixel[3], pixel[1] * pixel[3], pixel[2] * pixel[3], pixel[3]];
        let pixels = row.as_chunks::<4>().0;
        if self.factor == 1 {
            self.values.extend(pixels.iter().flat_map(premultiplied));
            return;
        }
        let factor = self.factor as usize;
        for (sum, pixels) in self.sums.as_chunks_mut::<4>().0.iter_mut().zip(pixels.chunks(factor)) {
            for pixel in pixels.iter().map(premultiplied) {
                (0..4).for_each(|channel| sum[channel] += pixel[channel]);
            }
        }
        self.summed += 1;
        if self.summed == self.factor {
            let area = (factor * factor) as f32;
            self.values.extend(self.sums.iter().map(|sum| sum / area));
            self.sums.fill(0.0);
            self.summed = 0;
        }
    }

    /// Pixels per side, and the upright square as `[y, x, channel]`, premultiplied; once all rows are there.
    pub fn finish(mut self) -> (u32, Vec<f32>) {
        let side = self.taken / self.factor;
        let length = side as usize;
        let pixels = self.values.as_chunks_mut::<4>().0;
        if self.turn.transpose {
            for y in 0..length {
                for x in y + 1..length {
                    pixels.swap(y * length + x, x * length + y);
                }
            }
        }
        if self.turn.mirror_x {
            pixels.chunks_exact_mut(length).for_each(<[_]>::reverse);
        }
        if self.turn.mirror_y {
            for y in 0..length / 2 {
                let (upper, lower) = pixels.split_at_mut((length - 1 - y) * length);
                upper[y * length..][..length].swap_with_slice(&mut lower[..length]);
            }
        }
        (side, self.values)
    }
}

/// The number of values of a square of RGBA pixels; saturates.
fn values_of(side: u32) -> usize {
    let side = side as usize;
    side.saturating_mul(side).saturating_mul(4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn squared(width: u32, height: u32, pixel: impl Fn(usize, usize) -> [f32; 4]) -> (u32, Vec<f32>) {
        let mut square = Square::new("it", width, height, Turn::default()).unwrap();
        for y in square.rows() {
            square.push(&square.columns().flat_map(|x| pixel(x, y)).collect::<Vec<f32>>());
        }
        square.finish()
    }

    #[test]
    fn square_up_to_the_largest_side_keeps_every_pixel() {
        for side in [1, LARGEST_SIDE] {
            let (found, values) = squared(side, side + 1, |x, _| [x as f32, 1.0, 2.0, 0.5]);
            assert_eq!((found, values.len()), (side, values_of(side)));
            assert_eq!(values[values.len() - 4..], [(side - 1) as f32 * 0.5, 0.5, 1.0, 0.5]);
        }
    }

    #[test]
    fn square_beyond_the_largest_side_averages_boxes() {
        // 8195 is reduced by 3, to 2731 boxes of 8193 pixels: one column is left out at each side, and five rows in all.
        let (side, values) = squared(8195, 8198, |x, y| [x as f32, y as f32, 0.0, if x % 3 == 1 { 1.0 } else { 0.0 }]);
        assert_eq!((side, values.len()), (2731, values_of(2731)));
        // The first box has columns 1, 2, 3 and rows 2, 3, 4; the opaque column is 1.
        assert_eq!(values[..4], [1.0 / 3.0, 1.0, 0.0, 1.0 / 3.0]);
    }
}

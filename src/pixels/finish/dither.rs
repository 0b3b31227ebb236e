//! Ordered dithering: which of two colours a pixel takes.

use super::oklab::{Lab, nearest};

/// Thresholds of 4 x 4 pixels (Bayer), of 16.
const PATTERN: [[u32; 4]; 4] = [[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]];

/// Two colours by index, and how many of 32 parts are of the second.
pub(super) struct Mix {
    first: usize,
    second: usize,
    parts: u32,
}

impl Mix {
    /// The mixture nearest to `color`; far colours are mixed only where that gains much.
    pub fn new(color: Lab, among: &[Lab]) -> Self {
        let first = nearest(color, among);
        let mut mix = Self { first, second: first, parts: 0 };
        let Some(&base) = among.get(first) else { return mix };
        let minus = |one: Lab, other: Lab| [0, 1, 2].map(|at| i64::from(one[at] - other[at]));
        let dot = |one: [i64; 3], other: [i64; 3]| (0..3).map(|at| one[at] * other[at]).sum::<i64>();
        let rest = minus(color, base);
        // Errors of mixtures, in units that allow for 32 parts squared.
        let mut best = 1024 * dot(rest, rest);
        for (second, &other) in among.iter().enumerate() {
            let way = minus(other, base);
            let length = dot(way, way);
            let along = dot(rest, way);
            if length == 0 || along <= 0 {
                continue;
            }
            let parts = (32 * along + length / 2) / length;
            let left = [0, 1, 2].map(|at| 32 * rest[at] - parts * way[at]);
            // A sixteenth of the variance of the pattern itself.
            let error = dot(left, left) + parts * (32 - parts) * length / 16;
            if error < best {
                best = error;
                mix = Self { first, second, parts: parts.clamp(0, 32) as u32 };
            }
        }
        mix
    }

    /// The colour at a place.
    pub fn at(&self, x: usize, y: usize) -> usize {
        if self.parts > 2 * PATTERN[y % 4][x % 4] + 1 { self.second } else { self.first }
    }
}

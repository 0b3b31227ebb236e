//! What a picture looks like, in a few bytes: a perceptual hash, its mean colour, and how much of it is opaque.
//!
//! The hash is a difference hash of 8 x 8 bits: whether each of 9 x 8 cells is darker than its right neighbour, as luma over a
//! mid grey ground, so that alpha counts as colour does. Brightness is rounded to steps of 1/32 before it is compared, because
//! decoded pictures have faint noise in their transparent parts. A hash of brightness does not tell recoloured pictures apart;
//! the mean colour does.

use crate::pixels::Image;

const ROWS: usize = 8;
const COLUMNS: usize = 9;
/// What a transparent pixel looks like.
const GROUND: f32 = 0.5;
const LUMA: [f64; 3] = [0.299, 0.587, 0.114];
/// Steps of brightness that the hash tells apart.
const STEPS: f64 = 32.0;
/// The alpha from which on a pixel is opaque.
const OPAQUE: f32 = 0.5;
/// A picture whose channels vary by less than this is of one colour.
const FLAT: f32 = 4.0 / 255.0;

/// What a picture looks like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Look {
    /// The perceptual hash. Its bits are interleaved, so that each 16 of them cover the whole picture.
    pub hash: u64,
    /// Mean straight colour and mean alpha.
    pub colour: [u8; 4],
    /// Share of opaque pixels; 1 without alpha.
    pub opaque: f32,
    /// Whether opaque pixels are at all four edges. False without alpha.
    pub edges: bool,
    /// Whether all pixels have the same colour.
    pub one_colour: bool,
    /// Whether a value is NaN or infinite.
    pub broken: bool,
}

impl Look {
    /// Looks at a picture.
    pub fn of(image: &Image) -> Self {
        let side = image.size() as usize;
        let (mut cells, mut sums) = ([[0.0f64; COLUMNS]; ROWS], [0.0f64; 4]);
        let (mut low, mut high) = ([f32::INFINITY; 3], [f32::NEG_INFINITY; 3]);
        let (mut opaque, mut at_edge) = (0u64, [false; 4]);
        for y in 0..side {
            let mut line = [0.0f64; COLUMNS];
            for x in 0..side {
                let [r, g, b, alpha] = premultiplied(image, y * side + x);
                let shown = [r, g, b].map(|value| value + GROUND * (1.0 - alpha));
                for (channel, value) in shown.into_iter().enumerate() {
                    low[channel] = low[channel].min(value);
                    high[channel] = high[channel].max(value);
                }
                for (sum, value) in sums.iter_mut().zip([r, g, b, alpha]) {
                    *sum += f64::from(value);
                }
                if alpha >= OPAQUE {
                    opaque += 1;
                    let edges = [x == 0, y == 0, x + 1 == side, y + 1 == side];
                    at_edge.iter_mut().zip(edges).for_each(|(at, edge)| *at |= edge);
                }
                let luma: f64 = shown.iter().zip(LUMA).map(|(&value, weight)| f64::from(value) * weight).sum();
                overlaps(x, side, COLUMNS, |cell, weight| line[cell] += luma * weight);
            }
            overlaps(y, side, ROWS, |cell, weight| {
                cells[cell].iter_mut().zip(line).for_each(|(sum, value)| *sum += value * weight);
            });
        }
        // A cell has `side` parts of a row and of a column.
        let area = (side * side).max(1) as f64;
        let steps = cells.map(|row| row.map(|sum| (sum / area * STEPS + 0.5).floor()));
        let mut hash = 0;
        for (y, row) in steps.iter().enumerate() {
            for x in 0..COLUMNS - 1 {
                hash |= u64::from(row[x] < row[x + 1]) << ((x + y) % 4 * 16 + y * 2 + x / 4);
            }
        }
        let alpha = sums[3];
        let colour = |sum: f64| if alpha > 0.0 { byte(sum / alpha) } else { 0 };
        let mut ranges = low.iter().zip(high).map(|(low, high)| high - low);
        Self {
            hash,
            colour: [colour(sums[0]), colour(sums[1]), colour(sums[2]), byte(alpha / area)],
            opaque: (opaque as f64 / area) as f32,
            edges: image.has_alpha() && at_edge == [true; 4],
            one_colour: ranges.all(|range| range < FLAT),
            broken: image.planes().iter().any(|value| !value.is_finite()),
        }
    }
}

/// Premultiplied colour, at most alpha, and alpha of a pixel, 0 to 1.
fn premultiplied(image: &Image, at: usize) -> [f32; 4] {
    let plane = image.size() as usize * image.size() as usize;
    let value = |channel: usize| ((image.planes()[channel * plane + at] + 1.0) / 2.0).clamp(0.0, 1.0);
    let alpha = if image.has_alpha() { value(3) } else { 1.0 };
    [value(0).min(alpha), value(1).min(alpha), value(2).min(alpha), alpha]
}

/// The cells, of `cells` in all, that pixel `at` of `side` lies in, and how much of it: all cells have `side` parts.
fn overlaps(at: usize, side: usize, cells: usize, mut add: impl FnMut(usize, f64)) {
    let (start, end) = (at * cells, (at + 1) * cells);
    for cell in start / side..=(end - 1) / side {
        let weight = end.min((cell + 1) * side) - start.max(cell * side);
        add(cell, weight as f64);
    }
}

fn byte(value: f64) -> u8 {
    (value * 255.0 + 0.5) as u8
}

#[cfg(test)]
mod tests {
    use super::super::pictures::{disc, picture};
    use super::*;

    #[test]
    fn look_of_a_disc_tells_its_share_and_colour() {
        let look = Look::of(&disc(32, 0.5, 0.5, 0.3, [0.8, 0.2, 0.4]));
        assert!((look.opaque - 0.283).abs() < 0.02, "{}", look.opaque);
        assert_eq!(look.colour[..3], [204, 51, 102]);
        assert!(!look.edges && !look.one_colour && !look.broken);
        let all = Look::of(&picture(32, 4, |_, _| [0.3, 0.3, 0.3, 1.0]));
        assert!(all.edges && all.one_colour && all.opaque == 1.0);
        let clear = Look::of(&picture(32, 4, |_, _| [0.0; 4]));
        assert!(clear.one_colour && clear.opaque == 0.0 && clear.hash == 0 && clear.colour == [0; 4]);
        assert!(Look::of(&picture(8, 4, |_, _| [f32::NAN, 0.0, 0.0, 1.0])).broken);
        // Without alpha the edges say nothing.
        assert!(!Look::of(&picture(32, 3, |x, _| [x, x, x, 1.0])).edges);
    }

    #[test]
    fn hash_changes_little_with_size_and_noise_and_much_with_the_shape() {
        let differ = |a: &Image, b: &Image| (Look::of(a).hash ^ Look::of(b).hash).count_ones();
        let one = disc(32, 0.45, 0.5, 0.3, [0.8, 0.2, 0.1]);
        assert_eq!(differ(&one, &one.clone()), 0);
        assert!(differ(&one, &disc(96, 0.45, 0.5, 0.3, [0.8, 0.2, 0.1])) <= 4);
        // Faint alpha where there should be none.
        let noisy = picture(32, 4, |x, y| {
            let noise = ((x * 7919.0 + y * 104_729.0).sin().abs()) * 0.012;
            let inside = (x - 0.45).hypot(y - 0.5) < 0.3;
            if inside { [0.8 - noise, 0.2, 0.1, 1.0] } else { [0.0, 0.0, 0.0, noise] }
        });
        assert!(differ(&one, &noisy) <= 2, "{}", differ(&one, &noisy));
        assert!(differ(&one, &disc(32, 0.7, 0.3, 0.15, [0.8, 0.2, 0.1])) > 8);
    }

    #[test]
    fn look_at_any_side_stays_within_its_cells() {
        for side in [1, 2, 3, 7, 8, 9, 10, 31, 33, 257] {
            let look = Look::of(&picture(side, 4, |x, _| [x, x, x, 1.0]));
            if side >= 9 {
                // Brighter to the right in every row.
                assert_eq!(look.hash.count_ones(), 64, "{side}");
            }
        }
    }
}

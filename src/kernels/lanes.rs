//! f32 arithmetic on lanes of 16, in one order on every processor.

/// How many running values a sum or a maximum has.
pub(super) const LANES: usize = 16;
pub(super) type Lanes = [f32; LANES];

/// Adding it leaves the nearest whole number (ties to even) in the low bits of the mantissa: 1.5 * 2^23.
pub(super) const MAGIC: f32 = 12_582_912.0;

/// e^x, within 2 units of the last place; 0 below -87.3, and never infinite: from 88.0 on it stays at e^88. Not a number
/// stays so.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, the first with few bits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let whole = clamped.mul_add(LOG2_E, MAGIC);
    let n = whole - MAGIC;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let e = p.mul_add(r * r, r) + 1.0;
    // The whole number lies in the low bits; as an exponent it is shifted into place.
    let scale = f32::from_bits((whole.to_bits() << 23).wrapping_add(127 << 23));
    if x < -87.3 { 0.0 } else { e * scale }
}

/// The sum of the lanes, halves first.
#[inline(always)]
pub(super) fn sum(mut lanes: Lanes) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// The largest of the lanes.
#[inline(always)]
pub(super) fn largest(lanes: Lanes) -> f32 {
    let mut top = f32::NEG_INFINITY;
    for x in lanes {
        top = if x > top { x } else { top };
    }
    top
}

/// The values by blocks of 16, the last one filled up with zeros. No closures: what they hold would not be compiled for
/// the vectors of whoever calls them.
#[inline(always)]
pub(super) fn blocks(values: &[f32]) -> Blocks<'_> {
    let (whole, rest) = values.as_chunks::<LANES>();
    Blocks { whole, rest }
}

pub(super) struct Blocks<'a> {
    whole: &'a [Lanes],
    rest: &'a [f32],
}

impl Iterator for Blocks<'_> {
    type Item = Lanes;

    #[inline(always)]
    fn next(&mut self) -> Option<Lanes> {
        if let Some((first, others)) = self.whole.split_first() {
            self.whole = others;
            return Some(*first);
        }
        if self.rest.is_empty() {
            return None;
        }
        let mut last = [0.0; LANES];
        last[..self.rest.len()].copy_from_slice(self.rest);
        self.rest = &[];
        Some(last)
    }
}

/// `sums[i] += block[i]^2`.
#[inline(always)]
pub(super) fn add_squares(sums: &mut Lanes, block: Lanes) {
    for i in 0..LANES {
        sums[i] = block[i].mul_add(block[i], sums[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_exact_to_two_units() {
        let mut x = -87.29_f32;
        while x < 88.0 {
            let (got, want) = (exp(x), f64::from(x).exp());
            let unit = f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
            assert!((f64::from(got) - want).abs() <= 2.0 * unit, "{x}: {got} {want}");
            x += 0.003_7;
        }
        assert_eq!((exp(0.0), exp(-87.4), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp(f32::NAN).is_nan() && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn sums_and_rests() {
        let values: Vec<f32> = (0..37).map(|n| n as f32).collect();
        let mut total = [0.0; LANES];
        for block in blocks(&values) {
            (0..LANES).for_each(|i| total[i] += block[i]);
        }
        assert_eq!(sum(total), 666.0);
        assert_eq!(largest(total), 4.0 + 20.0 + 36.0);
    }
}

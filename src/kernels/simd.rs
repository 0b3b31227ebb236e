//! f32 arithmetic on 16 lanes, in one order with every instruction set.

/// Partial results of a sum or a maximum.
pub(super) const LANES: usize = 16;
pub(super) type Lanes = [f32; LANES];

/// Adding it leaves the nearest integer (ties to even) in the low bits of the mantissa: 1.5 * 2^23.
pub(super) const MAGIC: f32 = 12_582_912.0;

/// e^x, within 2 ulp; 0 below -87.3, and never infinite: from 88.0 on it stays at e^88. NaN stays NaN.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, the first with few bits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let whole = clamped.mul_add(LOG2_E, MAGIC);
    // Without it minus infinity, which excluded scores are, would be an invalid operation on the way to 0. (Of `x` itself
    // compilers remove such a limit, since the last line makes it look needless.)
    let whole = if whole < MAGIC - 126.0 { MAGIC - 126.0 } else { whole };
    let n = whole - MAGIC;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_2e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let e = p.mul_add(r * r, r) + 1.0;
    // The integer is in the low bits; it is shifted into the exponent.
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

/// Sums of the values, by lane. (Not generic over a closure, which would not be compiled for the caller's vectors.)
#[inline(always)]
pub(super) fn lane_sums(values: &[f32]) -> Lanes {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in whole {
        for i in 0..LANES {
            sums[i] += block[i];
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum += x;
    }
    sums
}

/// Sums of the values' squares, by lane.
#[inline(always)]
pub(super) fn lane_sums_of_squares(values: &[f32]) -> Lanes {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in whole {
        for i in 0..LANES {
            sums[i] = block[i].mul_add(block[i], sums[i]);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = x.mul_add(*x, *sum);
    }
    sums
}

/// The largest magnitude of the values; NaN when one of them is NaN or infinite.
#[inline(always)]
pub(super) fn max_magnitude(values: &[f32]) -> f32 {
    // Without its sign a float grows with its bits, and infinity and NaN are beyond all finite ones.
    let mut top = 0;
    for x in values {
        let magnitude = x.to_bits() & !(1 << 31);
        top = if magnitude > top { magnitude } else { top };
    }
    let top = f32::from_bits(top);
    if top < f32::INFINITY { top } else { f32::NAN }
}

/// 1 / x for x >= 1, within 2 ulp; from 1e37 on it stays at 1e-37. NaN stays NaN. (Vector divisions would take as long as
/// everything else.)
#[inline(always)]
pub(super) fn reciprocal(x: f32) -> f32 {
    let x = if x > 1e37 { 1e37 } else { x };
    // Negating the bits of exponent and mantissa is within 1/8; each Newton step squares the error.
    let mut y = f32::from_bits(0x7ef3_11c7_u32.wrapping_sub(x.to_bits()));
    for _ in 0..3 {
        y = y.mul_add((-x).mul_add(y, 1.0), y);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_ulp() {
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
    fn reciprocal_is_within_two_ulp() {
        let mut x = 1.0_f32;
        while x < 1e37 {
            let (got, want) = (reciprocal(x), 1.0 / f64::from(x));
            let unit = f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
            assert!((f64::from(got) - want).abs() <= 2.0 * unit, "{x}: {got} {want}");
            x *= 1.000_37;
        }
        assert!((reciprocal(1.0 + exp(88.0)) - 1e-37).abs() < 1e-43 && reciprocal(f32::NAN).is_nan());
    }

    #[test]
    fn sums_and_max_magnitude_include_partial_blocks() {
        let values: Vec<f32> = (0..37).map(|n| n as f32 - 9.0).collect();
        assert_eq!(sum(lane_sums(&values)), 333.0);
        assert_eq!(sum(lane_sums_of_squares(&values)), 7_215.0);
        assert_eq!(max_magnitude(&values), 27.0);
        assert_eq!(max_magnitude(&values[..12]), 9.0);
        assert_eq!(max_magnitude(&[]), 0.0);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(max_magnitude(&[1.0, bad, 2.0]).is_nan());
        }
    }
}

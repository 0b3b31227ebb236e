//! f32 arithmetic on 16 lanes, in one order with every instruction set.
//!
//! Functions with a multiply-add have a parameter `FUSED`: whether the code is compiled for a CPU that has it in one
//! instruction. Elsewhere it is [`mul_add`] here: the function `fmaf` of C libraries takes ten times as long, and not all of
//! them round once.

use std::array::from_fn;

/// Partial results of a sum or a maximum.
pub(super) const LANES: usize = 16;
pub(super) type Lanes = [f32; LANES];

/// Adding it leaves the nearest integer (ties to even) in the low bits of the mantissa: 1.5 * 2^23.
pub(super) const MAGIC: f32 = 12_582_912.0;

/// Whether every CPU of this target has fused multiply-adds.
pub(super) const FUSED: bool = cfg!(any(target_arch = "aarch64", target_feature = "fma"));

/// a * b + c, rounded once.
#[inline(always)]
pub(super) fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED {
        return a.mul_add(b, c);
    }
    // The product is exact in f64. The sum is rounded to odd: of the two neighbours of a sum that is not exact, the one with
    // an odd mantissa. So it is never halfway between two f32 unless the exact sum is, and rounding it again is harmless.
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    let other = sum - product;
    let error = (product - (sum - other)) + (c - other);
    // NaN is no error: NaN and infinity stay as they are.
    let (bits, inexact) = (sum.to_bits(), u64::from(error.abs() > 0.0));
    let even = inexact & !bits;
    let shrinks = (error.to_bits() ^ bits) >> 63;
    f64::from_bits(bits.wrapping_add(even).wrapping_sub(2 * (even & shrinks))) as f32
}

/// a * b + c of 16 lanes.
#[inline(always)]
pub(super) fn mul_add_lanes<const FUSED: bool>(a: f32, b: &Lanes, c: &Lanes) -> Lanes {
    if FUSED {
        return from_fn(|i| a.mul_add(b[i], c[i]));
    }
    // Rounding twice differs from rounding once only where the sum in f64 lies halfway between two f32, which is in the lower
    // 29 bits of its mantissa; with subnormal results it may be elsewhere.
    const LOW: u32 = (1 << 29) - 1;
    const HALFWAY: u32 = 1 << 28;
    const SMALLEST_NORMAL: u32 = (1023 - 126) << 20;
    let sums: [f64; LANES] = from_fn(|i| f64::from(a) * f64::from(b[i]) + f64::from(c[i]));
    let mut rare = false;
    for sum in sums {
        let (low, high) = (sum.to_bits() as u32, (sum.to_bits() >> 32) as u32 & !(1 << 31));
        rare |= (low & LOW == HALFWAY) | (high < SMALLEST_NORMAL);
    }
    if rare { from_fn(|i| mul_add::<false>(a, b[i], c[i])) } else { sums.map(|sum| sum as f32) }
}

/// e^x, within 2 ulp; 0 below -87.3, and never infinite: from 88.0 on it stays at e^88. NaN stays NaN.
#[inline(always)]
pub(super) fn exp<const FUSED: bool>(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    // ln 2 in two parts, the first with few bits.
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let clamped = if x > 88.0 { 88.0 } else { x };
    let whole = mul_add::<FUSED>(clamped, LOG2_E, MAGIC);
    // Without it minus infinity, which excluded scores are, would be an invalid operation on the way to 0. (Of `x` itself
    // compilers remove such a limit, since the last line makes it look needless.)
    let whole = if whole < MAGIC - 126.0 { MAGIC - 126.0 } else { whole };
    let n = whole - MAGIC;
    let r = mul_add::<FUSED>(n, -LN2_LOW, mul_add::<FUSED>(n, -LN2_HIGH, clamped));
    let mut p = 1.987_569_1e-4_f32;
    p = mul_add::<FUSED>(p, r, 1.398_2e-3);
    p = mul_add::<FUSED>(p, r, 8.333_452e-3);
    p = mul_add::<FUSED>(p, r, 4.166_579_6e-2);
    p = mul_add::<FUSED>(p, r, 1.666_666_5e-1);
    p = mul_add::<FUSED>(p, r, 0.5);
    let e = mul_add::<FUSED>(p, r * r, r) + 1.0;
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
pub(super) fn lane_sums_of_squares<const FUSED: bool>(values: &[f32]) -> Lanes {
    let (whole, rest) = values.as_chunks::<LANES>();
    let mut sums = [0.0; LANES];
    for block in whole {
        for i in 0..LANES {
            sums[i] = mul_add::<FUSED>(block[i], block[i], sums[i]);
        }
    }
    for (sum, x) in sums.iter_mut().zip(rest) {
        *sum = mul_add::<FUSED>(*x, *x, *sum);
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
pub(super) fn reciprocal<const FUSED: bool>(x: f32) -> f32 {
    let x = if x > 1e37 { 1e37 } else { x };
    // Negating the bits of exponent and mantissa is within 1/8; each Newton step squares the error.
    let mut y = f32::from_bits(0x7ef3_11c7_u32.wrapping_sub(x.to_bits()));
    for _ in 0..3 {
        y = mul_add::<FUSED>(y, mul_add::<FUSED>(-x, y, 1.0), y);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    /// a * b + c by the CPU's instruction, if it has one.
    fn hardware_mul_add(a: f32, b: f32, c: f32) -> Option<f32> {
        #[cfg(target_arch = "x86_64")]
        {
            #[target_feature(enable = "fma")]
            fn instruction(a: f32, b: f32, c: f32) -> f32 {
                a.mul_add(b, c)
            }
            // SAFETY: the CPU has the instruction.
            is_x86_feature_detected!("fma").then(|| unsafe { instruction(a, b, c) })
        }
        #[cfg(not(target_arch = "x86_64"))]
        FUSED.then(|| a.mul_add(b, c))
    }

    /// C libraries that round the sum in f64, and then again, fail here.
    #[test]
    fn mul_add_without_the_instruction_rounds_once() {
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let check = |a: f32, b: f32, c: f32, want: f32| {
            let lanes = mul_add_lanes::<false>(a, &[b; LANES], &[c; LANES]);
            for got in [mul_add::<false>(a, b, c), lanes[0], lanes[LANES - 1]] {
                assert!(same(got, want), "{a:e} * {b:e} + {c:e}: {got:e} {want:e}");
            }
            // What rounding twice would have given.
            !same((f64::from(a) * f64::from(b) + f64::from(c)) as f32, want)
        };
        let power = |n: i32| f32::from_bits(((127 + n) as u32) << 23);
        // Their product is a little less than a half: f64 has no room for the difference beside 1.
        let (a, b) = (1.0 + power(-23), 0.5 * (1.0 - power(-23)));
        for sign in [1.0, -1.0] {
            let odd = sign * (1.0 + power(-23));
            assert!(check(sign * a * power(-23), b, odd, odd) && check(-sign * a * power(-23), b, odd, odd));
        }
        let subnormal = f32::from_bits(0x0040_0001);
        assert!(check(a * power(-75), b * power(-74), subnormal, subnormal));
        for special in [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, f32::MAX] {
            for other in [0.0, -0.0, 1.5, f32::INFINITY, f32::NAN, f32::MIN] {
                check(special, other, 2.0, special * other + 2.0);
                check(1.0, special, other, special + other);
            }
        }
        let mut seed = 1u32;
        let mut random = || {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            seed ^ seed >> 15
        };
        let mut number =
            |low: u32, count: u32| f32::from_bits((random() & 0x807f_ffff) | (low + random() % count) << 23);
        for n in 0..200_000 {
            // Any numbers; numbers near one another; and then the half of the last bit of a number, nearly.
            let (x, y, c) = match n % 3 {
                0 => (number(0, 255), number(0, 255), number(0, 255)),
                1 => (number(120, 16), number(120, 16), number(110, 36)),
                _ => {
                    let c = number(30, 200);
                    (a, b * f32::from_bits(c.to_bits() & 0x7f80_0000) * power(-23), c)
                }
            };
            match hardware_mul_add(x, y, c) {
                Some(want) => _ = check(x, y, c, want),
                None => return eprintln!("SKIPPED the random part of this test: the CPU has no fused multiply-add"),
            }
        }
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let mut x = -87.29_f32;
        while x < 88.0 {
            let (got, want) = (exp::<FUSED>(x), f64::from(x).exp());
            let unit = f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
            assert!((f64::from(got) - want).abs() <= 2.0 * unit, "{x}: {got} {want}");
            x += 0.003_7;
        }
        assert_eq!((exp::<FUSED>(0.0), exp::<FUSED>(-87.4), exp::<FUSED>(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
        assert!(exp::<FUSED>(f32::NAN).is_nan() && exp::<FUSED>(f32::INFINITY).is_finite());
    }

    #[test]
    fn reciprocal_is_within_two_ulp() {
        let mut x = 1.0_f32;
        while x < 1e37 {
            let (got, want) = (reciprocal::<FUSED>(x), 1.0 / f64::from(x));
            let unit = f64::from(f32::from_bits((want as f32).to_bits() + 1)) - f64::from(want as f32);
            assert!((f64::from(got) - want).abs() <= 2.0 * unit, "{x}: {got} {want}");
            x *= 1.000_37;
        }
        assert!(
            (reciprocal::<FUSED>(1.0 + exp::<FUSED>(88.0)) - 1e-37).abs() < 1e-43
                && reciprocal::<FUSED>(f32::NAN).is_nan()
        );
    }

    #[test]
    fn sums_and_max_magnitude_include_partial_blocks() {
        let values: Vec<f32> = (0..37).map(|n| n as f32 - 9.0).collect();
        assert_eq!(sum(lane_sums(&values)), 333.0);
        assert_eq!(sum(lane_sums_of_squares::<FUSED>(&values)), 7_215.0);
        assert_eq!(max_magnitude(&values), 27.0);
        assert_eq!(max_magnitude(&values[..12]), 9.0);
        assert_eq!(max_magnitude(&[]), 0.0);
        for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert!(max_magnitude(&[1.0, bad, 2.0]).is_nan());
        }
    }
}

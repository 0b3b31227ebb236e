//! Vector arithmetic over all codes, where sampling spends its time.
//!
//! A sum of floats depends on its order, which a compiler may not change. So the order here suits vector units of any width:
//! [`LANES`] partial sums, added at the end. `exp` consists of additions and multiplications only, none of them fused, so that
//! every platform rounds alike, and has no branch. No instruction set is detected: the target's baseline is enough.

/// Partial sums. Fixed: the result of a sum depends on it.
const LANES: usize = 16;
/// Codes of a block, which is summed by lanes; the sums of blocks are added in order. Fixed, like the lanes.
pub(super) const BLOCK: usize = 256;

type PartialSums = [f32; LANES];

/// e^x for x of at most 88, within 1.1 ulp; 0 for x below -87 (e^-87 is still a normal number).
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    const LEAST: f32 = -87.0;
    /// 1.5 * 2^23: a number added to it is rounded to an integer, which is in the lowest bits of the sum.
    const ROUND: f32 = 12_582_912.0;
    // ln 2 in two parts; the first has so few bits that its product with an integer of this range is exact.
    const LN_2_HIGH: f32 = 355.0 / 512.0;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // exp(r) = 1 + r + r^2 (A0 + A1 r + ...) where |r| is at most half of ln 2, off by 1.1e-8: interpolated at the
    // Chebyshev nodes.
    const A: [f32; 5] = [0.5, 0.166_665_76, 0.041_666_556, 0.008_363_178, 0.001_392_618_2];

    let clamped = if x > LEAST { x } else { LEAST };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let whole = shifted - ROUND;
    let r = clamped - whole * LN_2_HIGH - whole * LN_2_LOW;
    let tail = A[0] + r * (A[1] + r * (A[2] + r * (A[3] + r * A[4])));
    let power = 1.0 + (r + r * r * tail);
    // 2^whole, assembled from its bits: those of `ROUND` are shifted out.
    let scale = f32::from_bits(shifted.to_bits().wrapping_add(127) << 23);
    if x < LEAST { 0.0 } else { power * scale }
}

/// The sum of the lanes, in a fixed order.
fn sum_lanes(lanes: PartialSums) -> f32 {
    let (mut lanes, mut half) = (lanes, LANES / 2);
    while half > 0 {
        for at in 0..half {
            lanes[at] += lanes[at + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// A running maximum, and whether all numbers were finite.
struct Largest {
    largest: PartialSums,
    /// NaN once a number was NaN or infinite: its product with 0 is NaN, and stays so in a sum. That is cheaper than a test.
    check: PartialSums,
}

impl Largest {
    fn new() -> Self {
        Self { largest: [f32::NEG_INFINITY; LANES], check: [0.0; LANES] }
    }

    #[inline(always)]
    fn add(&mut self, lane: usize, value: f32) {
        let largest = self.largest[lane];
        self.largest[lane] = if value > largest { value } else { largest };
        self.check[lane] += value * 0.0;
    }

    /// None when there was no number, or a NaN or infinite one.
    fn get(self) -> Option<f32> {
        let largest = self.largest.into_iter().fold(f32::NEG_INFINITY, f32::max);
        (sum_lanes(self.check) == 0.0 && largest > f32::NEG_INFINITY).then_some(largest)
    }
}

/// The largest of the values. None when there is none, or one is NaN or infinite.
pub(super) fn largest(values: &[f32]) -> Option<f32> {
    let mut running = Largest::new();
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in chunk.iter().enumerate() {
            running.add(lane, value);
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        running.add(lane, value);
    }
    running.get()
}

/// Classifier-free guidance: writes `uncond + (cond - uncond) * scale` to `mixed`, all of one length, and returns the largest
/// as [`largest`] does.
pub(super) fn mix(cond: &[f32], uncond: &[f32], scale: f32, mixed: &mut [f32]) -> Option<f32> {
    let mut running = Largest::new();
    let of = |c: f32, u: f32| u + (c - u) * scale;
    let (to, to_rest) = mixed.as_chunks_mut::<LANES>();
    let ((cs, c_rest), (us, u_rest)) = (cond.as_chunks::<LANES>(), uncond.as_chunks::<LANES>());
    for ((to, c), u) in to.iter_mut().zip(cs).zip(us) {
        for lane in 0..LANES {
            to[lane] = of(c[lane], u[lane]);
            running.add(lane, to[lane]);
        }
    }
    for (lane, ((to, &c), &u)) in to_rest.iter_mut().zip(c_rest).zip(u_rest).enumerate() {
        *to = of(c, u);
        running.add(lane, *to);
    }
    running.get()
}

/// Writes each value times `weight` to `to`, of the same length.
pub(super) fn scale_to(values: &[f32], weight: f32, to: &mut [f32]) {
    to.iter_mut().zip(values).for_each(|(to, &value)| *to = value * weight);
}

/// Adds each value times `weight` to `to`, of the same length.
pub(super) fn accumulate(values: &[f32], weight: f32, to: &mut [f32]) {
    to.iter_mut().zip(values).for_each(|(to, &value)| *to += value * weight);
}

/// Subtracts `(avoided - uncond) * push` from `guided`, all of one length, and returns the largest as [`largest`] does.
pub(super) fn push_away(avoided: &[f32], uncond: &[f32], push: f32, guided: &mut [f32]) -> Option<f32> {
    guided.iter_mut().zip(avoided).zip(uncond).for_each(|((guided, a), u)| *guided -= (a - u) * push);
    largest(guided)
}

/// The index of the first value equal to `wanted`; 0 when none is.
pub(super) fn index_of(values: &[f32], wanted: f32) -> usize {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let whole = chunks.iter().position(|chunk| chunk.iter().fold(false, |found, &value| found | (value == wanted)));
    let from = whole.map_or(values.len() - rest.len(), |chunk| chunk * LANES);
    values[from..].iter().position(|&value| value == wanted).map_or(0, |at| from + at)
}

/// Writes `of(from)` to `to`, of the same length, and appends the sum of each [`BLOCK`] of the results to `sums`.
#[inline(always)]
pub(super) fn map_and_sum(from: &[f32], to: &mut [f32], sums: &mut Vec<f32>, of: impl Fn(f32) -> f32) {
    for (from, to) in from.chunks(BLOCK).zip(to.chunks_mut(BLOCK)) {
        let mut lanes = [0.0; LANES];
        let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<LANES>(), to.as_chunks_mut::<LANES>());
        for (from, to) in from.iter().zip(to) {
            for lane in 0..LANES {
                to[lane] = of(from[lane]);
                lanes[lane] += to[lane];
            }
        }
        for (lane, (&from, to)) in from_rest.iter().zip(to_rest).enumerate() {
            *to = of(from);
            lanes[lane] += *to;
        }
        sums.push(sum_lanes(lanes));
    }
}

/// Appends the sum of each [`BLOCK`] of the values to `sums`.
pub(super) fn sum_blocks(values: &[f32], sums: &mut Vec<f32>) {
    sums.extend(values.chunks(BLOCK).map(|block| sum_block(block, |x| x)));
}

/// The sum of `of(value)`: the sums of the blocks, added in order in f64.
#[inline(always)]
pub(super) fn sum(values: &[f32], of: impl Fn(f32) -> f32) -> f64 {
    values.chunks(BLOCK).map(|block| f64::from(sum_block(block, &of))).sum()
}

/// The sum of `of(value)` of one block.
#[inline(always)]
fn sum_block(block: &[f32], of: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = block.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] += of(chunk[lane]);
        }
    }
    for (lane, &value) in rest.iter().enumerate() {
        lanes[lane] += of(value);
    }
    sum_lanes(lanes)
}

/// The sum of the values that are at least `least`, rounded.
pub(super) fn sum_from(values: &[f32], least: f32) -> f32 {
    sum(values, |x| if x >= least { x } else { 0.0 }) as f32
}

/// The value of 1 in [`exact`].
pub(super) const EXACT: f64 = (1u64 << 40) as f64;

/// A value from 0 to 1 as a multiple of 2^-40, rounded: the lowest bits of its sum with 2^12 in f64.
#[inline(always)]
pub(super) fn exact(value: f32) -> u64 {
    const ROUND: f64 = 4096.0;
    (f64::from(value) + ROUND).to_bits().wrapping_sub(ROUND.to_bits())
}

/// The exact sum of the values, each from 0 to 1, that are at least `least`, in multiples of 2^-40: independent of the order.
pub(super) fn exact_sum_from(values: &[f32], least: f32) -> u64 {
    let of = |x: f32| exact(if x >= least { x } else { 0.0 });
    let mut lanes = [0u64; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            lanes[lane] = lanes[lane].wrapping_add(of(chunk[lane]));
        }
    }
    lanes.into_iter().chain(rest.iter().map(|&x| of(x))).sum()
}

/// Calls `found` with each value in `least..end`, and its index.
#[inline(always)]
pub(super) fn each_within(values: &[f32], least: f32, end: f32, mut found: impl FnMut(usize, f32)) {
    for (chunk, values) in values.chunks(LANES).enumerate() {
        let within = |value: f32| (value >= least) & (value < end);
        // Most chunks have none.
        if values.iter().fold(false, |any, &value| any | within(value)) {
            let each = values.iter().enumerate().filter(|(_, value)| within(**value));
            each.for_each(|(at, &value)| found(chunk * LANES + at, value));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of `exp` in ulp.
    fn error(x: f32) -> f64 {
        let truth = libm::exp(f64::from(x));
        let ulp = f64::from(f32::from_bits((truth as f32).to_bits() + 1)) - f64::from(truth as f32);
        (f64::from(exp(x)) - truth).abs() / ulp
    }

    #[test]
    fn exp_is_within_1_1_ulp() {
        // Every float from -87 to 0 would take a minute: a step of 97 meets all exponents and all low bits.
        let worst = (0..=87.0f32.to_bits()).step_by(97).map(|bits| error(-f32::from_bits(bits))).fold(0.0, f64::max);
        assert!(worst < 1.1, "{worst}");
        let above = (0..=88.0f32.to_bits()).step_by(997).map(|bits| error(f32::from_bits(bits))).fold(0.0, f64::max);
        assert!(above < 1.1, "{above}");
        // Where the whole part changes.
        for half in -251..0 {
            let border = half as f32 * std::f32::consts::LN_2 / 2.0;
            let near = (-3i32..=3).map(|by| f32::from_bits(border.to_bits().wrapping_add_signed(by)));
            near.filter(|&x| x > -87.0).for_each(|x| assert!(error(x) < 1.1, "{x}"));
        }
    }

    #[test]
    fn exp_at_the_ends_of_its_range_is_one_or_zero() {
        for zero in [0.0, -0.0, 1e-30, -1e-30, f32::from_bits(1)] {
            assert_eq!(exp(zero), 1.0);
        }
        assert!(exp(-87.0) >= f32::MIN_POSITIVE, "no result is subnormal: some CPUs flush them to 0");
        for little in [-87.000_01, -88.0, -104.0, -1e10, f32::MIN, f32::NEG_INFINITY] {
            assert_eq!(exp(little).to_bits(), 0, "{little}");
        }
    }

    #[test]
    fn exp_has_pinned_bits() {
        // A change here changes pictures of published seeds.
        let pinned = [-0.1f32, -0.5, -1.0, -2.0, -10.0, -33.3, -86.9].map(|x| exp(x).to_bits());
        assert_eq!(pinned, PINNED, "{pinned:#x?}");
    }

    const PINNED: [u32; 7] =
        [0x3f67_a36d, 0x3f1b_4598, 0x3ebc_5ab2, 0x3e0a_9555, 0x383e_6bce, 0x2778_b2ea, 0x00c6_0f89];

    #[test]
    fn vector_functions_equal_plain_loops() {
        for count in [1, 2, 15, 16, 17, 255, 256, 257, 1000] {
            let value = |at: u32| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e6 - 9.0;
            let values: Vec<f32> = (0..count).map(value).collect();
            let top = values.iter().copied().fold(f32::MIN, f32::max);
            let first = values.iter().position(|&value| value == top).unwrap();
            assert_eq!(largest(&values), Some(top));
            assert_eq!(index_of(&values, top), first);
            for (at, &value) in values.iter().enumerate() {
                assert_eq!(index_of(&values, value), at);
            }
            let mut sums = Vec::new();
            let mut doubled = vec![0.0; values.len()];
            map_and_sum(&values, &mut doubled, &mut sums, |x| 2.0 * x);
            assert!(doubled.iter().zip(&values).all(|(&d, v)| d == 2.0 * v));
            assert_eq!(sums.len(), values.len().div_ceil(BLOCK));
            let exact: f64 = doubled.iter().map(|&x| f64::from(x)).sum();
            let size: f64 = doubled.iter().map(|&x| f64::from(x.abs())).sum();
            assert!((sums.iter().map(|&x| f64::from(x)).sum::<f64>() - exact).abs() < 1e-6 * size);
            assert!((sum(&values, |x| 2.0 * x) - exact).abs() < 1e-6 * size);
            let mut mixed = vec![0.0; values.len()];
            let zero = vec![1.0; values.len()];
            assert_eq!(mix(&values, &zero, 3.0, &mut mixed), Some(1.0 + (top - 1.0) * 3.0));
            assert!(mixed.iter().zip(&values).all(|(&m, v)| m == 1.0 + (v - 1.0) * 3.0));
        }
        assert_eq!(largest(&[]), None);
    }

    #[test]
    fn exact_sum_is_independent_of_the_order() {
        let values: Vec<f32> = (0..3000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 2e7).collect();
        let mut backwards = values.clone();
        backwards.reverse();
        for least in [0.0, 0.3, values[77], 0.9] {
            let wanted: f64 = values.iter().filter(|x| **x >= least).map(|&x| f64::from(x)).sum();
            let sum = exact_sum_from(&values, least);
            assert!((sum as f64 / EXACT - wanted).abs() < 1e-8);
            assert_eq!(sum, exact_sum_from(&backwards, least));
            assert!((f64::from(sum_from(&values, least)) - wanted).abs() < 1e-6 * wanted + 1e-9);
            let mut found = Vec::new();
            each_within(&values, least, 0.8, |at, value| found.push((at, value)));
            let expected = values.iter().copied().enumerate().filter(|(_, x)| (least..0.8).contains(x));
            assert_eq!(found, expected.collect::<Vec<_>>());
        }
        assert_eq!([0.0, 1.0, 0.5, 1e-13].map(exact), [0, 1 << 40, 1 << 39, 0]);
    }

    #[test]
    fn largest_is_none_with_a_nan_or_infinite_value_anywhere() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in 0..40 {
                let mut values = [1.0; 40];
                values[at] = bad;
                assert_eq!(largest(&values), None, "{bad} at {at}");
                assert_eq!(mix(&values, &[1.0; 40], 2.0, &mut [0.0; 40]), None);
                assert_eq!(mix(&[1.0; 40], &values, 2.0, &mut [0.0; 40]), None);
            }
        }
        assert_eq!(mix(&[f32::MAX], &[f32::MIN], 2.0, &mut [0.0]), None, "too large to be mixed");
        assert_eq!(largest(&[-0.0, -0.0]), Some(0.0));
    }
}

//! What comes before a product: a row is normalised or passed through its activation, and then quantised to 8 bits by
//! its own largest value.

use super::simd::{MAGIC, exp, largest_size, reciprocal, sum, sums_of, sums_of_squares};
use super::versions;

/// The largest whole number that a quantised value takes.
const STEPS: f32 = 127.0;

/// What is done to a row before it is multiplied.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Before<'a> {
    /// Nothing.
    Plain,
    /// x / sqrt(mean(x^2) + epsilon) * gain.
    RmsNorm { gain: &'a [f32], epsilon: f32 },
    /// (x - mean) / sqrt(variance + epsilon) * gain + shift.
    LayerNorm { gain: &'a [f32], shift: &'a [f32], epsilon: f32 },
    /// silu(first half) * second half: the row that comes in is twice as wide.
    SwiGlu,
    /// GELU, by tanh.
    Gelu,
}

impl Before<'_> {
    /// How wide a row is that becomes `width` wide.
    pub fn takes(&self, width: usize) -> usize {
        if matches!(self, Self::SwiGlu) { 2 * width } else { width }
    }
}

versions! {
    /// Quantises one row `x` into `to` (what is beyond its width becomes 0) and gives the scale: a value is its whole
    /// number times that. A raised one is 128 more, as an unsigned number. `work` is as wide as the row becomes. What is not a
    /// number makes the scale so.
    pub(super) fn quantize_row(isa, before: Before<'_>, x: &[f32], raised: bool, work: &mut [f32], to: &mut [i8]) -> f32 = body
}

#[inline(always)]
fn body(before: Before<'_>, x: &[f32], raised: bool, work: &mut [f32], to: &mut [i8]) -> f32 {
    let width = work.len();
    // What all values are to be multiplied by, kept out of the rounding.
    let mut factor = 1.0;
    match before {
        Before::Plain => work.copy_from_slice(x),
        Before::RmsNorm { gain, epsilon } => {
            factor = 1.0 / (sum(sums_of_squares(x)) / width as f32 + epsilon).sqrt();
            for ((to, &x), &gain) in work.iter_mut().zip(x).zip(gain) {
                *to = x * gain;
            }
        }
        Before::LayerNorm { gain, shift, epsilon } => {
            let mean = sum(sums_of(x)) / width as f32;
            for (to, &x) in work.iter_mut().zip(x) {
                *to = x - mean;
            }
            let scale = 1.0 / (sum(sums_of_squares(work)) / width as f32 + epsilon).sqrt();
            for ((to, &gain), &shift) in work.iter_mut().zip(gain).zip(shift) {
                *to = (*to * scale).mul_add(gain, shift);
            }
        }
        Before::SwiGlu => {
            let (gate, value) = x.split_at(width);
            for ((to, &gate), &value) in work.iter_mut().zip(gate).zip(value) {
                *to = gate * reciprocal(1.0 + exp(-gate)) * value;
            }
        }
        Before::Gelu => {
            for (to, &x) in work.iter_mut().zip(x) {
                // 0.5 x (1 + tanh u) is x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
                let u = 0.797_884_6 * (0.044_715 * x * x).mul_add(x, x);
                *to = x * reciprocal(1.0 + exp(-2.0 * u));
            }
        }
    }
    let top = largest_size(work);
    let inverse = if top > 0.0 { STEPS / top } else { 0.0 };
    let (whole, rest) = to.split_at_mut(width);
    // The highest bit, turned over, is 128 more.
    let raise = if raised { i8::MIN } else { 0 };
    for (to, &value) in whole.iter_mut().zip(&*work) {
        *to = value.mul_add(inverse, MAGIC).to_bits() as i8 ^ raise;
    }
    rest.fill(0);
    top / STEPS * factor
}

#[cfg(test)]
mod tests {
    use super::super::Isa;
    use super::*;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|n| {
                let bits = (n + 1).wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 8;
                bits as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    fn run(isa: Isa, before: Before<'_>, x: &[f32], width: usize) -> (Vec<i8>, f32) {
        let (mut work, mut to) = (vec![0.0; width], vec![7; width.next_multiple_of(64)]);
        let scale = quantize_row(isa, before, x, false, &mut work, &mut to);
        let mut raised = vec![7; to.len()];
        assert!(quantize_row(isa, before, x, true, &mut work, &mut raised).to_bits() == scale.to_bits());
        for (n, (&raised, &to)) in raised.iter().zip(&to).enumerate() {
            assert_eq!(i32::from(raised as u8), if n < width { i32::from(to) + 128 } else { 0 });
        }
        (to, scale)
    }

    #[test]
    fn every_way_comes_near_the_truth_and_is_the_same_on_every_processor() {
        let width = 90;
        let (gain, shift) = (values(width, 1), values(width, 2));
        let ways = [
            Before::Plain,
            Before::RmsNorm { gain: &gain, epsilon: 1e-5 },
            Before::LayerNorm { gain: &gain, shift: &shift, epsilon: 1e-6 },
            Before::SwiGlu,
            Before::Gelu,
        ];
        for before in ways {
            let x: Vec<f32> = values(before.takes(width), 3).iter().map(|x| 3.0 * x + 0.2).collect();
            let (whole, scale) = run(Isa::Portable, before, &x, width);
            let wide = |x: f32| f64::from(x);
            let mean = x.iter().copied().map(wide).sum::<f64>() / width as f64;
            let square = |about: f64| x.iter().map(|&x| (wide(x) - about).powi(2)).sum::<f64>() / width as f64;
            for n in 0..width {
                let v = wide(x[n]);
                let want = match before {
                    Before::Plain => v,
                    Before::RmsNorm { .. } => v / (square(0.0) + 1e-5).sqrt() * wide(gain[n]),
                    Before::LayerNorm { .. } => {
                        (v - mean) / (square(mean) + 1e-6).sqrt() * wide(gain[n]) + wide(shift[n])
                    }
                    Before::SwiGlu => v / (1.0 + (-v).exp()) * wide(x[width + n]),
                    Before::Gelu => {
                        let u = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v.powi(3));
                        0.5 * v * (1.0 + u.tanh())
                    }
                };
                let got = f64::from(whole[n]) * f64::from(scale);
                assert!((got - want).abs() <= 0.501 * f64::from(scale), "{before:?} {n}: {got} {want}");
            }
            assert!(whole[width..].iter().all(|&x| x == 0), "beyond the width there is nothing");
            for isa in Isa::all_here() {
                assert_eq!(run(isa, before, &x, width), (whole.clone(), scale), "{isa:?} {before:?}");
            }
        }
    }

    #[test]
    fn a_row_of_zeros_and_a_row_with_what_is_no_number() {
        assert_eq!(run(Isa::Portable, Before::Plain, &[0.0; 20], 20), (vec![0; 64], 0.0));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; 20];
            x[17] = bad;
            assert!(run(Isa::Portable, Before::Plain, &x, 20).1.is_nan());
        }
    }
}

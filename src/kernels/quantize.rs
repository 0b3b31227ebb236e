//! The prologue of a GEMM: a row is normalized or passed through an activation, and then quantized to int8 with a scale of its
//! own (per-row dynamic quantization).

use super::isa::multiversion;
use super::simd::{MAGIC, exp, lane_sums, lane_sums_of_squares, max_magnitude, mul_add, reciprocal, sum};

/// The largest magnitude of a quantized value.
const MAX_QUANTIZED: f32 = 127.0;

/// What is applied to a row prologue it is quantized.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Prologue<'a> {
    /// Nothing.
    Plain,
    /// x / sqrt(mean(x^2) + epsilon) * gain.
    RmsNorm { gain: &'a [f32], epsilon: f32 },
    /// (x - mean) / sqrt(variance + epsilon) * gain + shift.
    LayerNorm { gain: &'a [f32], shift: &'a [f32], epsilon: f32 },
    /// silu(first half) * second half: the input is twice as wide.
    SwiGlu,
    /// GELU, tanh approximation.
    Gelu,
}

impl Prologue<'_> {
    /// The width of the input of a row of `width`.
    pub fn input_width(&self, width: usize) -> usize {
        if matches!(self, Self::SwiGlu) { 2 * width } else { width }
    }
}

multiversion! {
    /// Quantizes row `x` to int8 in `to` (padding is zeroed) and returns its scale. If `unsigned`, 128 is added to each value
    /// (u8 storage). `work` has the row's width. A NaN or infinite value makes the scale NaN.
    pub(super) fn quantize_row(isa, prologue: Prologue<'_>, x: &[f32], unsigned: bool, work: &mut [f32], to: &mut [i8]) -> f32 = body
}

#[inline(always)]
fn body<const FUSED: bool>(prologue: Prologue<'_>, x: &[f32], unsigned: bool, work: &mut [f32], to: &mut [i8]) -> f32 {
    let width = work.len();
    // A factor of all values, applied to the scale only.
    let mut factor = 1.0;
    match prologue {
        Prologue::Plain => work.copy_from_slice(x),
        Prologue::RmsNorm { gain, epsilon } => {
            factor = 1.0 / (sum(lane_sums_of_squares::<FUSED>(x)) / width as f32 + epsilon).sqrt();
            for ((to, &x), &gain) in work.iter_mut().zip(x).zip(gain) {
                *to = x * gain;
            }
        }
        Prologue::LayerNorm { gain, shift, epsilon } => {
            let mean = sum(lane_sums(x)) / width as f32;
            for (to, &x) in work.iter_mut().zip(x) {
                *to = x - mean;
            }
            let scale = 1.0 / (sum(lane_sums_of_squares::<FUSED>(work)) / width as f32 + epsilon).sqrt();
            for ((to, &gain), &shift) in work.iter_mut().zip(gain).zip(shift) {
                *to = mul_add::<FUSED>(*to * scale, gain, shift);
            }
        }
        Prologue::SwiGlu => {
            let (gate, value) = x.split_at(width);
            for ((to, &gate), &value) in work.iter_mut().zip(gate).zip(value) {
                *to = gate * reciprocal::<FUSED>(1.0 + exp::<FUSED>(-gate)) * value;
            }
        }
        Prologue::Gelu => {
            for (to, &x) in work.iter_mut().zip(x) {
                // 0.5 x (1 + tanh u) is x / (1 + e^-2u), u = sqrt(2/pi) (x + 0.044715 x^3).
                let u = 0.797_884_6 * mul_add::<FUSED>(0.044_715 * x * x, x, x);
                *to = x * reciprocal::<FUSED>(1.0 + exp::<FUSED>(-2.0 * u));
            }
        }
    }
    let top = max_magnitude(work);
    let inverse = if top > 0.0 { MAX_QUANTIZED / top } else { 0.0 };
    let (quantized, padding) = to.split_at_mut(width);
    // Flipping the highest bit adds 128.
    let flip = if unsigned { i8::MIN } else { 0 };
    for (to, &value) in quantized.iter_mut().zip(&*work) {
        *to = mul_add::<FUSED>(value, inverse, MAGIC).to_bits() as i8 ^ flip;
    }
    padding.fill(0);
    top / MAX_QUANTIZED * factor
}

#[cfg(test)]
mod tests {
    use super::super::isa::Isa;
    use super::*;

    fn values(count: usize, seed: u32) -> Vec<f32> {
        (0..count as u32)
            .map(|n| {
                let bits = (n + 1).wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(40_503)) >> 8;
                bits as f32 / (1 << 23) as f32 - 1.0
            })
            .collect()
    }

    fn run(isa: Isa, prologue: Prologue<'_>, x: &[f32], width: usize) -> (Vec<i8>, f32) {
        let (mut work, mut to) = (vec![0.0; width], vec![7; width.next_multiple_of(64)]);
        let scale = quantize_row(isa, prologue, x, false, &mut work, &mut to);
        let mut unsigned = vec![7; to.len()];
        assert!(quantize_row(isa, prologue, x, true, &mut work, &mut unsigned).to_bits() == scale.to_bits());
        for (n, (&unsigned, &to)) in unsigned.iter().zip(&to).enumerate() {
            assert_eq!(i32::from(unsigned as u8), if n < width { i32::from(to) + 128 } else { 0 });
        }
        (to, scale)
    }

    #[test]
    fn quantize_row_is_near_the_formula_and_identical_with_every_instruction_set() {
        let width = 90;
        let (gain, shift) = (values(width, 1), values(width, 2));
        let prologues = [
            Prologue::Plain,
            Prologue::RmsNorm { gain: &gain, epsilon: 1e-5 },
            Prologue::LayerNorm { gain: &gain, shift: &shift, epsilon: 1e-6 },
            Prologue::SwiGlu,
            Prologue::Gelu,
        ];
        for prologue in prologues {
            let x: Vec<f32> = values(prologue.input_width(width), 3).iter().map(|x| 3.0 * x + 0.2).collect();
            let (quantized, scale) = run(Isa::Portable, prologue, &x, width);
            let wide = |x: f32| f64::from(x);
            let mean = x.iter().copied().map(wide).sum::<f64>() / width as f64;
            let square = |about: f64| x.iter().map(|&x| (wide(x) - about).powi(2)).sum::<f64>() / width as f64;
            for n in 0..width {
                let v = wide(x[n]);
                let want = match prologue {
                    Prologue::Plain => v,
                    Prologue::RmsNorm { .. } => v / (square(0.0) + 1e-5).sqrt() * wide(gain[n]),
                    Prologue::LayerNorm { .. } => {
                        (v - mean) / (square(mean) + 1e-6).sqrt() * wide(gain[n]) + wide(shift[n])
                    }
                    Prologue::SwiGlu => v / (1.0 + (-v).exp()) * wide(x[width + n]),
                    Prologue::Gelu => {
                        let u = (2.0 / std::f64::consts::PI).sqrt() * (v + 0.044715 * v.powi(3));
                        0.5 * v * (1.0 + u.tanh())
                    }
                };
                let got = f64::from(quantized[n]) * f64::from(scale);
                assert!((got - want).abs() <= 0.501 * f64::from(scale), "{prologue:?} {n}: {got} {want}");
            }
            assert!(quantized[width..].iter().all(|&x| x == 0), "the padding is zero");
            for isa in Isa::supported().iter().copied() {
                assert_eq!(run(isa, prologue, &x, width), (quantized.clone(), scale), "{isa:?} {prologue:?}");
            }
        }
    }

    #[test]
    fn quantize_row_of_zeros_has_scale_zero_and_of_nan_scale_nan() {
        assert_eq!(run(Isa::Portable, Prologue::Plain, &[0.0; 20], 20), (vec![0; 64], 0.0));
        for bad in [f32::NAN, f32::INFINITY] {
            let mut x = [1.0; 20];
            x[17] = bad;
            assert!(run(Isa::Portable, Prologue::Plain, &x, 20).1.is_nan());
        }
    }
}

//! Inputs of the graph `draw` for one token, where tokens are sampled on the device (`onnx/README.md`): the same distribution
//! and the same random number as on the CPU.

use super::Sampling;
use super::filter::MIN_TEMPERATURE;

/// One token to sample on the device, or a given one whose log-probability is asked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampleQuery {
    /// The conditional row of the step's logits.
    pub cond: usize,
    /// The unconditional row; the same as `cond` without guidance.
    pub uncond: usize,
    /// Guidance scale, reciprocal of the temperature, top-k, top-p, random number, given token (-1 to sample).
    pub settings: [f32; 6],
    /// Whether top-k or top-p may exclude codes.
    pub filtered: bool,
}

impl SampleQuery {
    /// Samples by `random`, in [0, 1), one of `codes` codes. `uncond` is the unconditional row and the guidance scale.
    pub fn sampled(sampling: Sampling, codes: usize, cond: usize, uncond: Option<(usize, f32)>, random: f32) -> Self {
        let (uncond, scale) = uncond.unwrap_or((cond, 1.0));
        if sampling.temperature == 0.0 {
            // Greedy: top-k 1, and the random number 0 takes the first of equals.
            return Self { cond, uncond, settings: [scale, 1.0, 1.0, 1.0, 0.0, NO_TOKEN], filtered: true };
        }
        let inverse_temperature = 1.0 / sampling.temperature.max(MIN_TEMPERATURE);
        let all = sampling.top_k == 0 || sampling.top_k as usize >= codes;
        let top_k = if all { codes } else { sampling.top_k as usize };
        let settings = [scale, inverse_temperature, top_k as f32, sampling.top_p, random, NO_TOKEN];
        Self { cond, uncond, settings, filtered: !all || sampling.top_p < 1.0 }
    }

    /// A given token: only its log-probability is computed.
    pub fn given(cond: usize, token: u32) -> Self {
        Self { cond, uncond: cond, settings: [1.0, 1.0, 1.0, 1.0, 0.0, token as f32], filtered: false }
    }
}

/// No given token.
const NO_TOKEN: f32 = -1.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_with_filters_off_is_unfiltered() {
        let plain = Sampling { temperature: 0.5, top_k: 0, top_p: 1.0 };
        let of = |sampling| SampleQuery::sampled(sampling, 100, 3, None, 0.25);
        let all = SampleQuery { cond: 3, uncond: 3, settings: [1.0, 2.0, 100.0, 1.0, 0.25, -1.0], filtered: false };
        assert_eq!(of(plain), all);
        assert_eq!(of(Sampling { top_k: 100, ..plain }), all);
        assert!(of(Sampling { top_k: 99, ..plain }).filtered && of(Sampling { top_p: 0.9, ..plain }).filtered);
        let greedy = SampleQuery::sampled(Sampling { temperature: 0.0, ..plain }, 100, 3, Some((7, 1.5)), 0.9);
        assert_eq!((greedy.uncond, greedy.settings, greedy.filtered), (7, [1.5, 1.0, 1.0, 1.0, 0.0, -1.0], true));
    }
}

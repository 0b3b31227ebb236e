//! What the graph `draw` is told of each token, where tokens are drawn on a device (`onnx/README.md`): the same distribution
//! and the same random number as here.

use super::Sampling;
use super::filter::LEAST_TEMPERATURE;

/// One token to be drawn on the device.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SampleQuery {
    /// Its row of the step's logits, and that of the unconditional half; the same without guidance.
    pub cond: usize,
    pub uncond: usize,
    /// Guidance scale, reciprocal of the temperature, top-k, top-p, random number, and the token where it is given (else -1).
    pub settings: [f32; 6],
    /// Whether something is cut away.
    pub cut: bool,
}

impl SampleQuery {
    /// To be drawn by `random`, in [0, 1), from `codes` codes. `uncond` is the unconditional row and the guidance scale.
    pub fn drawn(sampling: Sampling, codes: usize, cond: usize, uncond: Option<(usize, f32)>, random: f32) -> Self {
        let (uncond, scale) = uncond.unwrap_or((cond, 1.0));
        if sampling.temperature == 0.0 {
            // The first of those that are as likely as the likeliest.
            return Self { cond, uncond, settings: [scale, 1.0, 1.0, 1.0, 0.0, NONE], cut: true };
        }
        let warmth = 1.0 / sampling.temperature.max(LEAST_TEMPERATURE);
        let all = sampling.top_k == 0 || sampling.top_k as usize >= codes;
        let top_k = if all { codes } else { sampling.top_k as usize };
        let settings = [scale, warmth, top_k as f32, sampling.top_p, random, NONE];
        Self { cond, uncond, settings, cut: !all || sampling.top_p < 1.0 }
    }

    /// One that is there; only how likely it is is asked.
    pub fn given(cond: usize, token: u32) -> Self {
        Self { cond, uncond: cond, settings: [1.0, 1.0, 1.0, 1.0, 0.0, token as f32], cut: false }
    }
}

/// In the place of a token that is given.
const NONE: f32 = -1.0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_off_cuts_nothing() {
        let plain = Sampling { temperature: 0.5, top_k: 0, top_p: 1.0 };
        let of = |sampling| SampleQuery::drawn(sampling, 100, 3, None, 0.25);
        let all = SampleQuery { cond: 3, uncond: 3, settings: [1.0, 2.0, 100.0, 1.0, 0.25, -1.0], cut: false };
        assert_eq!(of(plain), all);
        assert_eq!(of(Sampling { top_k: 100, ..plain }), all);
        assert!(of(Sampling { top_k: 99, ..plain }).cut && of(Sampling { top_p: 0.9, ..plain }).cut);
        let greedy = SampleQuery::drawn(Sampling { temperature: 0.0, ..plain }, 100, 3, Some((7, 1.5)), 0.9);
        assert_eq!((greedy.uncond, greedy.settings, greedy.cut), (7, [1.5, 1.0, 1.0, 1.0, 0.0, -1.0], true));
    }
}

//! From the logits of one position to a token id: guide, temperature, top-k, top-p, draw (DETAILFLOW paper section
//! 3.4; the authors' `sample`).
//!
//! All in f32 and in one fixed order, with `exp` from the libm crate and random numbers from a counter, so that the
//! same logits and seed give the same token on every platform, in every batch, on any number of threads.

mod filter;
mod random;

use filter::Filter;
pub(crate) use random::uniform;

use crate::error::{Error, Result};
use crate::plan::Curve;

/// How a token is drawn from its distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits: below 1 is safer, above 1 wilder. 0 takes the likeliest code always. Finite, at least 0.
    pub temperature: f32,
    /// Keep only codes at least as likely as the k-th; 0 is off.
    pub top_k: u32,
    /// Keep the likeliest codes up to this much probability, at least one; 1 is off. Above 0, at most 1.
    pub top_p: f32,
}

impl Sampling {
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(format!("temperature {} is not a number of at least 0", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!("top-p {} is not above 0 and at most 1", self.top_p));
        }
        Ok(())
    }
}

/// How the tokens of a picture are drawn, one after the other.
#[derive(Debug, Clone, PartialEq)]
pub struct SamplingCurves {
    /// See [`Sampling::temperature`].
    pub temperature: Curve,
    /// See [`Sampling::top_k`].
    pub top_k: Curve,
    /// See [`Sampling::top_p`].
    pub top_p: Curve,
}

impl SamplingCurves {
    /// What holds at the token of index `token`, with a codebook of `codes` codes.
    pub fn at(&self, token: usize, codes: usize) -> Sampling {
        let k = self.top_k.mapped(token, |k| if k == 0.0 { codes as f32 } else { k });
        let top_k = if k >= codes as f32 { 0 } else { k.round().max(1.0) as u32 };
        Sampling { temperature: self.temperature.at(token), top_k, top_p: self.top_p.at(token) }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.temperature.check(|t| t.is_finite() && t >= 0.0, "temperature", "a number of at least 0")?;
        self.top_k.check(|k| k >= 0.0 && k <= u32::MAX as f32, "top-k", "a number of at least 0")?;
        self.top_p.check(|p| p > 0.0 && p <= 1.0, "top-p", "above 0 and at most 1")
    }
}

impl From<Sampling> for SamplingCurves {
    fn from(sampling: Sampling) -> Self {
        let Sampling { temperature, top_k, top_p } = sampling;
        Self { temperature: temperature.into(), top_k: (top_k as f32).into(), top_p: top_p.into() }
    }
}

/// The distribution that a token is drawn from: softmax of `logits` after temperature, top-k and top-p.
///
/// # Errors
/// [`Error::Invalid`] when a setting is out of its range, there is no logit, or one is not a finite number.
pub fn probabilities(sampling: Sampling, logits: &[f32]) -> Result<Vec<f32>> {
    sampling.check().map_err(Error::Invalid)?;
    let not_numbers = || Error::Invalid("the logits are not all finite numbers".into());
    if logits.is_empty() {
        return Err(not_numbers());
    }
    let likeliest = argmax(logits).ok_or_else(not_numbers)?;
    let mut weights = logits.to_vec();
    Filter::default().weights(sampling, &mut weights, likeliest);
    let total: f32 = weights.iter().sum();
    weights.iter_mut().for_each(|weight| *weight /= total);
    Ok(weights)
}

/// Draws tokens; keeps its working memory between calls.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    guided: Vec<f32>,
    filter: Filter,
}

impl Sampler {
    /// Draws the token of one position. `uncond` is the unconditional row and the guidance scale, `random` a number
    /// in [0, 1). None when a logit is not a number.
    pub fn draw(
        &mut self,
        sampling: Sampling,
        cond: &[f32],
        uncond: Option<(&[f32], f32)>,
        random: f32,
    ) -> Option<u32> {
        self.guided.clear();
        match uncond {
            Some((uncond, scale)) => self.guided.extend(cond.iter().zip(uncond).map(|(c, u)| u + (c - u) * scale)),
            None => self.guided.extend_from_slice(cond),
        }
        let likeliest = argmax(&self.guided)?;
        if sampling.temperature == 0.0 {
            return Some(likeliest as u32);
        }
        let weights = self.filter.weights(sampling, &mut self.guided, likeliest);
        Some(pick(weights, random) as u32)
    }
}

/// The logarithm of the softmax of `logits` at `token`: how likely the model holds it, before guidance, temperature and
/// cuts. In f64, summed in order. None when a logit is not a number.
pub(crate) fn log_probability(logits: &[f32], token: u32) -> Option<f32> {
    let top = logits[argmax(logits)?];
    let total: f64 = logits.iter().map(|&x| f64::from(libm::expf(x - top))).sum();
    Some((f64::from(logits[token as usize] - top) - libm::log(total)) as f32)
}

/// Index of the first largest value; none when a value is NaN or the largest is infinite.
fn argmax(values: &[f32]) -> Option<usize> {
    let mut best = 0;
    let mut sum = 0.0;
    for (at, &value) in values.iter().enumerate() {
        // NaN and infinities of both signs survive a sum; one addition is cheaper than a test.
        sum += value * 0.0;
        if value > values[best] {
            best = at;
        }
    }
    (sum == 0.0).then_some(best)
}

/// The index at which the running sum of `weights` passes `random` of their total.
fn pick(weights: &[f32], random: f32) -> usize {
    let total: f32 = weights.iter().sum();
    let mark = random * total;
    let mut sum = 0.0;
    let mut last = 0;
    for (at, &weight) in weights.iter().enumerate() {
        if weight > 0.0 {
            sum += weight;
            last = at;
            if sum > mark {
                break;
            }
        }
    }
    last
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };

    #[test]
    fn drawn_frequencies_follow_the_softmax() {
        let logits: Vec<f32> = [1.0f32, 2.0, 4.0, 8.0, 1.0].iter().map(|x| x.ln()).collect();
        let mut sampler = Sampler::default();
        let mut counts = [0i32; 5];
        for position in 0..16_000 {
            let at = sampler.draw(PLAIN, &logits, None, uniform(7, position)).unwrap();
            counts[at as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([1000, 2000, 4000, 8000, 1000]) {
            assert!((count - expected).abs() < 250, "{counts:?}");
        }
    }

    #[test]
    fn guidance_mixes_before_anything_else() {
        let mut sampler = Sampler::default();
        let greedy = Sampling { temperature: 0.0, ..PLAIN };
        // cond prefers 0, uncond prefers it more: away from uncond lies 1.
        let (cond, uncond) = ([2.0, 1.5], [3.0, 0.0]);
        assert_eq!(sampler.draw(greedy, &cond, None, 0.0), Some(0));
        assert_eq!(sampler.draw(greedy, &cond, Some((&uncond, 2.0)), 0.0), Some(1));
    }

    #[test]
    fn what_is_not_a_number_is_not_drawn_from() {
        let mut sampler = Sampler::default();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(sampler.draw(PLAIN, &[0.0, bad, 1.0], None, 0.5), None);
        }
    }

    #[test]
    fn the_ends_of_the_random_range_are_codes_that_can_be_drawn() {
        assert_eq!(pick(&[0.0, 0.0, 1.0, 1.0, 0.0], 0.0), 2);
        assert_eq!(pick(&[0.0, 0.0, 1.0, 1.0, 0.0], 1.0 - f32::EPSILON / 2.0), 3);
        assert_eq!(argmax(&[1.0, 3.0, 3.0]), Some(1));
    }

    #[test]
    fn extremes_still_draw_the_likeliest() {
        // Differences that overflow when divided by the temperature are minus infinity, never not-a-number.
        let cold = Sampling { temperature: 1e-30, ..PLAIN };
        let logits = [-3e37, 1.0, 3e37, 2e37];
        assert_eq!(Sampler::default().draw(cold, &logits, None, 0.999), Some(2));
        assert_eq!(Sampler::default().draw(cold, &[0.0, 0.0, -1.0], None, 0.75), Some(1));
    }

    #[test]
    fn log_probabilities_are_those_of_the_softmax() {
        let logits: Vec<f32> = [1.0f32, 2.0, 4.0, 8.0, 1.0].iter().map(|x| x.ln() + 3.0).collect();
        for (token, part) in [1.0f32, 2.0, 4.0, 8.0, 1.0].iter().enumerate() {
            assert!((log_probability(&logits, token as u32).unwrap() - (part / 16.0).ln()).abs() < 1e-6);
        }
        assert_eq!(log_probability(&[0.0, f32::NAN], 0), None);
    }

    #[test]
    fn top_k_leads_to_off_in_a_line() {
        let mut curves = SamplingCurves::from(PLAIN);
        curves.top_k = "10@0,0@10".parse().unwrap();
        assert_eq!([0, 5, 10, 11].map(|token| curves.at(token, 110).top_k), [10, 60, 0, 0]);
        curves.top_k = 500.0.into();
        assert_eq!(curves.at(3, 110).top_k, 0, "more than there are is off");
        curves.top_p = "1@0,0@4".parse().unwrap();
        assert!(curves.check().unwrap_err().contains("top-p"));
    }

    #[test]
    fn settings_out_of_range_are_named() {
        for (sampling, word) in [
            (Sampling { temperature: f32::NAN, ..PLAIN }, "temperature"),
            (Sampling { temperature: -0.1, ..PLAIN }, "temperature"),
            (Sampling { top_p: 0.0, ..PLAIN }, "top-p"),
            (Sampling { top_p: f32::NAN, ..PLAIN }, "top-p"),
        ] {
            assert!(sampling.check().unwrap_err().contains(word));
        }
    }
}

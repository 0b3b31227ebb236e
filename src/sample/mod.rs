//! Sampling: from the logits of one position to a token id by guidance, temperature, top-k and top-p (DETAILFLOW paper section
//! 3.4; the authors' `sample`).
//!
//! All arithmetic is f32 in one fixed order, with an `exp` of our own and counter-based random numbers, so that the same logits
//! and seed give the same token on every platform, in every batch, on any number of threads.

mod filter;
mod mixed;
mod parallel;
mod query;
mod random;
mod vector;

use filter::Weights;
use mixed::Mixer;
pub(crate) use mixed::{MixedLogits, Term};
pub(crate) use parallel::SamplerPool;
pub(crate) use query::SampleQuery;
pub(crate) use random::uniform;
use vector::{exp, index_of, largest, mix};

use crate::plan::Curve;
use crate::support::error::{Error, Result};
use crate::support::memory::{reserve, room};

/// How one token is sampled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Divides the logits: below 1 gives more likely codes, above 1 more diverse ones; 0 is greedy (the most likely code).
    /// Finite, at least 0.
    pub temperature: f32,
    /// Only codes at least as likely as the k-th most likely one are sampled; 0 is off.
    pub top_k: u32,
    /// Only the most likely codes up to this cumulative probability are sampled, at least one; 1 is off. Above 0, at most 1.
    pub top_p: f32,
}

impl Sampling {
    pub(crate) fn check(&self) -> Result<(), String> {
        if !(self.temperature.is_finite() && self.temperature >= 0.0) {
            return Err(format!("temperature {} is not finite and at least 0", self.temperature));
        }
        if !(self.top_p > 0.0 && self.top_p <= 1.0) {
            return Err(format!("top-p {} is not above 0 and at most 1", self.top_p));
        }
        Ok(())
    }
}

/// How the tokens of a picture are sampled: [`Sampling`] as a function of the token index.
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
    /// The settings for token index `token`, with a codebook of `codes` codes.
    #[must_use]
    pub fn at(&self, token: usize, codes: usize) -> Sampling {
        let k = self.top_k.mapped(token, |k| if k == 0.0 { codes as f32 } else { k });
        let top_k = if k >= codes as f32 { 0 } else { k.round().max(1.0) as u32 };
        Sampling { temperature: self.temperature.at(token), top_k, top_p: self.top_p.at(token) }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        self.temperature.check(|t| t.is_finite() && t >= 0.0, "temperature", "finite and at least 0")?;
        self.top_k.check(|k| k >= 0.0 && k <= u32::MAX as f32, "top-k", "at least 0")?;
        self.top_p.check(|p| p > 0.0 && p <= 1.0, "top-p", "above 0 and at most 1")
    }
}

impl From<Sampling> for SamplingCurves {
    fn from(sampling: Sampling) -> Self {
        let Sampling { temperature, top_k, top_p } = sampling;
        Self { temperature: temperature.into(), top_k: (top_k as f32).into(), top_p: top_p.into() }
    }
}

/// The distribution that a token is sampled from: the softmax of `logits` after temperature, top-k and top-p, one probability
/// for each code.
///
/// # Errors
/// [`Error::Invalid`] when a setting is out of its range, or the logits are empty or contain NaN or infinite values.
pub fn probabilities(sampling: Sampling, logits: &[f32]) -> Result<Vec<f32>> {
    sampling.check().map_err(Error::Invalid)?;
    let invalid = || Error::Invalid("the logits are empty or contain NaN or infinite values".into());
    let largest = largest(logits).ok_or_else(invalid)?;
    let mut weights = Weights::default();
    weights.make_room(logits.len())?;
    weights.fill(sampling, logits, largest);
    let total = weights.total();
    let mut probabilities = reserve("probabilities", logits.len())?;
    probabilities.extend(weights.values().iter().map(|weight| weight / total));
    Ok(probabilities)
}

/// Samples tokens; keeps its working memory between calls.
#[derive(Debug, Default)]
pub(crate) struct Sampler {
    guided: Vec<f32>,
    weights: Weights,
    mixer: Mixer,
}

impl Sampler {
    /// Memory for `codes` logits, so that [`sample`](Self::sample) allocates nothing.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn make_room(&mut self, codes: usize) -> Result<()> {
        room("sampling", &mut self.guided, codes)?;
        self.weights.make_room(codes)
    }

    /// Samples the token of one position. `uncond` is the unconditional row and the guidance scale, `random` a number in
    /// [0, 1). None when a logit is NaN or infinite.
    #[allow(clippy::disallowed_methods, reason = "within the capacity of make_room")]
    pub fn sample(
        &mut self,
        sampling: Sampling,
        cond: &[f32],
        uncond: Option<(&[f32], f32)>,
        random: f32,
    ) -> Option<u32> {
        let (logits, largest) = match uncond {
            Some((uncond, scale)) => {
                self.guided.resize(cond.len(), 0.0);
                let largest = mix(cond, uncond, scale, &mut self.guided)?;
                (&self.guided[..], largest)
            }
            None => (cond, largest(cond)?),
        };
        Some(draw(&mut self.weights, sampling, logits, largest, random))
    }

    /// As [`sample`](Self::sample), from several classes; `row` gives the rows of `mixed`.
    pub fn sample_mixed<'a>(
        &mut self,
        sampling: Sampling,
        mixed: &MixedLogits,
        row: &impl Fn(usize) -> &'a [f32],
        random: f32,
    ) -> Option<u32> {
        let (logits, largest) = self.mixer.guide(mixed, row, &mut self.guided)?;
        Some(draw(&mut self.weights, sampling, logits, largest, random))
    }

    /// As [`log_probability`], of the mean of the classes of `mixed`.
    pub fn mixed_log_probability<'a>(
        &mut self,
        mixed: &MixedLogits,
        row: &impl Fn(usize) -> &'a [f32],
        token: u32,
    ) -> Option<f32> {
        log_probability(self.mixer.mean(mixed, row), token)
    }
}

/// The token of logits of which `largest` is the largest.
fn draw(weights: &mut Weights, sampling: Sampling, logits: &[f32], largest: f32, random: f32) -> u32 {
    if sampling.temperature == 0.0 {
        return index_of(logits, largest) as u32;
    }
    weights.fill(sampling, logits, largest);
    weights.pick(random) as u32
}

/// The natural logarithm of the softmax of `logits` at `token`, before guidance, temperature and filters. None when a logit is
/// NaN or infinite.
pub(crate) fn log_probability(logits: &[f32], token: u32) -> Option<f32> {
    let top = largest(logits)?;
    let total = vector::sum(logits, |x| exp(x - top));
    Some((f64::from(logits[token as usize] - top) - libm::log(total)) as f32)
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };

    /// Logits like a model's: approximately normal, standard deviation 2.
    pub(super) fn logits(of: u32, codes: usize) -> Vec<f32> {
        let bits = |at: u32| (at.wrapping_mul(2_654_435_761) ^ of.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
        let one = |at: u32| (bits(at) >> 8) as f32 / (1 << 24) as f32 - 0.5;
        (0..codes as u32).map(|at| (0..12).map(|k| one(at * 12 + k)).sum::<f32>() * 2.0).collect()
    }

    #[test]
    fn sampled_frequencies_follow_the_softmax() {
        let logits: Vec<f32> = [1.0f32, 2.0, 4.0, 8.0, 1.0].iter().map(|x| x.ln()).collect();
        let mut sampler = Sampler::default();
        let mut counts = [0i32; 5];
        for position in 0..16_000 {
            let at = sampler.sample(PLAIN, &logits, None, uniform(7, position)).unwrap();
            counts[at as usize] += 1;
        }
        for (count, expected) in counts.iter().zip([1000, 2000, 4000, 8000, 1000]) {
            assert!((count - expected).abs() < 250, "{counts:?}");
        }
    }

    #[test]
    fn guidance_is_applied_before_sampling() {
        let mut sampler = Sampler::default();
        let greedy = Sampling { temperature: 0.0, ..PLAIN };
        // cond prefers 0, uncond prefers it more: away from uncond lies 1.
        let (cond, uncond) = ([2.0, 1.5], [3.0, 0.0]);
        assert_eq!(sampler.sample(greedy, &cond, None, 0.0), Some(0));
        assert_eq!(sampler.sample(greedy, &cond, Some((&uncond, 2.0)), 0.0), Some(1));
    }

    #[test]
    fn sample_with_a_nan_or_infinite_logit_is_none() {
        let mut sampler = Sampler::default();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            assert_eq!(sampler.sample(PLAIN, &[0.0, bad, 1.0], None, 0.5), None);
        }
    }

    #[test]
    fn sample_with_extreme_logits_takes_the_most_likely() {
        // Differences that overflow when divided by the temperature are minus infinity, never not-a-number.
        let cold = Sampling { temperature: 1e-30, ..PLAIN };
        let logits = [-3e37, 1.0, 3e37, 2e37];
        assert_eq!(Sampler::default().sample(cold, &logits, None, 0.999), Some(2));
        assert_eq!(Sampler::default().sample(cold, &[0.0, 0.0, -1.0], None, 0.75), Some(1));
    }

    #[test]
    fn log_probability_is_that_of_the_softmax() {
        let logits: Vec<f32> = [1.0f32, 2.0, 4.0, 8.0, 1.0].iter().map(|x| x.ln() + 3.0).collect();
        for (token, part) in [1.0f32, 2.0, 4.0, 8.0, 1.0].iter().enumerate() {
            assert!((log_probability(&logits, token as u32).unwrap() - (part / 16.0).ln()).abs() < 1e-6);
        }
        assert_eq!(log_probability(&[0.0, f32::NAN], 0), None);
    }

    #[test]
    fn greedy_sample_takes_the_first_of_equals() {
        let greedy = Sampling { temperature: 0.0, ..PLAIN };
        assert_eq!(Sampler::default().sample(greedy, &[1.0, 3.0, 3.0], None, 0.9), Some(1));
        assert_eq!(Sampler::default().sample(greedy, &[-1.0, -0.0, 0.0], None, 0.9), Some(1));
    }

    #[test]
    fn sample_does_not_depend_on_earlier_samples() {
        let settings = [
            PLAIN,
            Sampling { top_k: 30, ..PLAIN },
            Sampling { top_p: 0.7, ..PLAIN },
            Sampling { temperature: 0.3, top_k: 400, top_p: 0.9 },
            Sampling { temperature: 0.0, ..PLAIN },
        ];
        let mut used = Sampler::default();
        for of in 0..60 {
            // More codes and fewer, guided and not.
            let codes = 100 + of as usize * 37 % 900;
            let (cond, uncond) = (logits(of, codes), logits(of + 1000, codes));
            let uncond = (of % 3 == 0).then_some((&uncond[..], 1.7));
            let (sampling, random) = (settings[of as usize % 5], uniform(3, u64::from(of)));
            let alone = Sampler::default().sample(sampling, &cond, uncond, random);
            assert_eq!(used.sample(sampling, &cond, uncond, random), alone);
        }
    }

    #[test]
    fn probabilities_equal_the_sampled_distribution() {
        let logits: Vec<f32> = (0..700u32).map(|at| (at * 37 % 101) as f32 / 20.0).collect();
        for sampling in [PLAIN, Sampling { temperature: 0.7, top_k: 300, top_p: 0.8 }] {
            let probabilities = probabilities(sampling, &logits).unwrap();
            assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            let mut sum = 0.0;
            for (at, &probability) in probabilities.iter().enumerate().filter(|(_, p)| **p > 0.0) {
                // The middle of its share of the numbers is its own.
                let random = sum + probability / 2.0;
                assert_eq!(Sampler::default().sample(sampling, &logits, None, random), Some(at as u32));
                sum += probability;
            }
        }
        for bad in [&[][..], &[1.0, f32::NAN], &[f32::NEG_INFINITY]] {
            assert!(matches!(super::probabilities(PLAIN, bad), Err(Error::Invalid(_))));
        }
    }

    #[test]
    fn top_k_curve_interpolates_to_off() {
        let mut curves = SamplingCurves::from(PLAIN);
        curves.top_k = "10@0,0@10".parse().unwrap();
        assert_eq!([0, 5, 10, 11].map(|token| curves.at(token, 110).top_k), [10, 60, 0, 0]);
        curves.top_k = 500.0.into();
        assert_eq!(curves.at(3, 110).top_k, 0, "more than there are is off");
        curves.top_p = "1@0,0@4".parse().unwrap();
        assert!(curves.check().unwrap_err().contains("top-p"));
    }

    #[test]
    fn settings_out_of_range_are_named_in_the_error() {
        for (sampling, word) in [
            (Sampling { temperature: f32::NAN, ..PLAIN }, "temperature"),
            (Sampling { temperature: -0.1, ..PLAIN }, "temperature"),
            (Sampling { top_p: 0.0, ..PLAIN }, "top-p"),
            (Sampling { top_p: f32::NAN, ..PLAIN }, "top-p"),
        ] {
            assert!(sampling.check().unwrap_err().contains(word));
        }
    }

    /// Prints the time of sampling: `cargo test --release --lib -- --ignored --nocapture sampling_time`.
    #[test]
    #[ignore = "measures"]
    fn sampling_time() {
        let (cond, uncond) = (logits(1, 8192), logits(2, 8192));
        let cases = [
            ("plain", PLAIN),
            ("top-k 50", Sampling { top_k: 50, ..PLAIN }),
            ("top-k 2000", Sampling { top_k: 2000, ..PLAIN }),
            ("top-p 0.95", Sampling { top_p: 0.95, ..PLAIN }),
            ("top-p 0.5", Sampling { top_p: 0.5, ..PLAIN }),
            ("cold, top-p 0.95", Sampling { temperature: 0.5, top_p: 0.95, ..PLAIN }),
            ("greedy", Sampling { temperature: 0.0, ..PLAIN }),
        ];
        println!("ms for 128 tokens of 8192 codes, least of 20 rounds: without and with guidance");
        let mut sampler = Sampler::default();
        for (name, sampling) in cases {
            let least = [None, Some((&uncond[..], 1.5))].map(|uncond| {
                let round = || {
                    let begun = std::time::Instant::now();
                    for position in 0..128 {
                        std::hint::black_box(sampler.sample(sampling, &cond, uncond, uniform(1, position)));
                    }
                    begun.elapsed().as_secs_f64() * 1e3
                };
                std::iter::repeat_with(round).take(20).fold(f64::MAX, f64::min)
            });
            println!("{name:<18} {:>6.2} {:>6.2}", least[0], least[1]);
        }
        let begun = std::time::Instant::now();
        for token in 0..128 {
            std::hint::black_box(log_probability(&cond, token));
        }
        println!("log-probabilities  {:>6.2}", begun.elapsed().as_secs_f64() * 1e3);
    }
}

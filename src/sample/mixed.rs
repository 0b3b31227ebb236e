//! Guidance towards several classes and away from others (`plan::mix` has the formula).

use super::Sampler;
use super::vector::{accumulate, largest, mix, push_away, scale_to};
use crate::support::error::Result;
use crate::support::memory::room;

/// A row of logits, and its weight in a mean.
pub(crate) type Term = (usize, f32);

/// What one position of a mixed picture is sampled from. Rows are numbers that `row` of [`Sampler::mix`] knows.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MixedLogits {
    /// The classes, at least one, in the order in which they are summed.
    pub mean: Vec<Term>,
    /// The unconditional row, where `scale` is not 1 or `push` is not 0.
    pub uncond: Option<usize>,
    /// The guidance scale.
    pub scale: f32,
    /// The classes to avoid.
    pub avoid: Vec<Term>,
    /// The guidance scale times the sum of their strengths.
    pub push: f32,
}

/// Working memory of mixed positions.
#[derive(Debug, Default)]
pub(super) struct Mixer {
    mean: Vec<f32>,
    avoided: Vec<f32>,
}

impl Mixer {
    /// The logits of `mixed`, in `guided` where they are not those of a row, and the largest; None when one is NaN or infinite.
    pub fn guide<'s, 'a: 's>(
        &'s mut self,
        mixed: &MixedLogits,
        row: &impl Fn(usize) -> &'a [f32],
        guided: &'s mut Vec<f32>,
    ) -> Option<(&'s [f32], f32)> {
        let mean = weighted(&mixed.mean, row, &mut self.mean);
        let Some(uncond) = mixed.uncond.map(row) else { return Some((mean, largest(mean)?)) };
        fit(guided, mean.len());
        let top = if mixed.scale == 1.0 {
            guided.copy_from_slice(mean);
            largest(guided)?
        } else {
            mix(mean, uncond, mixed.scale, guided)?
        };
        if mixed.avoid.is_empty() || mixed.push == 0.0 {
            return Some((guided, top));
        }
        let avoided = weighted(&mixed.avoid, row, &mut self.avoided);
        let top = push_away(avoided, uncond, mixed.push, guided)?;
        Some((guided, top))
    }

    /// The mean of the classes.
    pub fn mean<'s, 'a: 's>(&'s mut self, mixed: &MixedLogits, row: &impl Fn(usize) -> &'a [f32]) -> &'s [f32] {
        weighted(&mixed.mean, row, &mut self.mean)
    }

    fn make_room(&mut self, codes: usize) -> Result<()> {
        room("sampling", &mut self.mean, codes)?;
        room("sampling", &mut self.avoided, codes)
    }
}

impl Sampler {
    /// Memory for mixed positions of `codes` logits, beside that of [`make_room`](Self::make_room).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn make_room_mixed(&mut self, codes: usize) -> Result<()> {
        self.mixer.make_room(codes)
    }
}

/// The sum of rows times their weights, in their order. A single row has the weight 1 and is its own mean.
fn weighted<'s, 'a: 's>(terms: &[Term], row: &impl Fn(usize) -> &'a [f32], sum: &'s mut Vec<f32>) -> &'s [f32] {
    let (&(first, weight), rest) = terms.split_first().expect("a mean has at least one row");
    if rest.is_empty() {
        return row(first);
    }
    let logits = row(first);
    fit(sum, logits.len());
    scale_to(logits, weight, sum);
    for &(at, weight) in rest {
        accumulate(row(at), weight, sum);
    }
    sum
}

#[allow(clippy::disallowed_methods, reason = "within the capacity of make_room")]
fn fit(values: &mut Vec<f32>, length: usize) {
    values.resize(length, 0.0);
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PLAIN, logits};
    use super::super::{Sampler, Sampling, log_probability};
    use super::*;

    const CODES: usize = 700;

    fn sampled(mixed: &MixedLogits, rows: &[Vec<f32>], random: f32) -> Option<u32> {
        Sampler::default().sample_mixed(PLAIN, mixed, &|at| &rows[at][..], random)
    }

    fn rows() -> Vec<Vec<f32>> {
        (0..5).map(|of| logits(of, CODES)).collect()
    }

    fn guided(mixed: &MixedLogits, rows: &[Vec<f32>]) -> Vec<f32> {
        let (mut mixer, mut guided) = (Mixer::default(), Vec::new());
        mixer.guide(mixed, &|at| &rows[at][..], &mut guided).unwrap().0.to_vec()
    }

    fn of(mean: &[Term], scale: f32, avoid: &[Term], push: f32) -> MixedLogits {
        let uncond = (scale != 1.0 || push != 0.0).then_some(4);
        MixedLogits { mean: mean.to_vec(), uncond, scale, avoid: avoid.to_vec(), push }
    }

    #[test]
    fn mixed_logits_follow_the_formula() {
        let rows = rows();
        for (scale, strength) in [(1.0, 0.0), (1.7, 0.0), (0.0, 0.5), (1.0, 0.75), (2.5, 0.75)] {
            let mixed = of(&[(0, 0.6), (1, 0.4)], scale, &[(2, 0.25), (3, 0.75)], scale * strength);
            for (at, &found) in guided(&mixed, &rows).iter().enumerate() {
                let row = |of: usize| f64::from(rows[of][at]);
                let (u, s) = (row(4), f64::from(scale));
                let mean = 0.6 * row(0) + 0.4 * row(1);
                let avoided = 0.25 * row(2) + 0.75 * row(3);
                let want = u + s * (mean - u) - s * f64::from(strength) * (avoided - u);
                assert!((f64::from(found) - want).abs() < 2e-5, "{scale} {strength}: {found} {want}");
            }
        }
    }

    #[test]
    fn mixed_logits_of_one_class_are_those_of_the_class() {
        let rows = rows();
        for scale in [1.0, 1.5] {
            for random in [0.01, 0.5, 0.99] {
                let uncond = (scale != 1.0).then_some((&rows[4][..], scale));
                let plain = Sampler::default().sample(PLAIN, &rows[0], uncond, random);
                assert_eq!(sampled(&of(&[(0, 1.0)], scale, &[], 0.0), &rows, random), plain);
                let no_push = MixedLogits { push: 0.0, uncond: Some(4), ..of(&[(0, 1.0)], scale, &[(2, 1.0)], 0.0) };
                assert_eq!(sampled(&no_push, &rows, random), plain);
            }
        }
        // To avoid the unconditional row changes no logit.
        let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let with = guided(&of(&[(0, 0.5), (1, 0.5)], 1.5, &[(4, 1.0)], 3.0), &rows);
        assert_eq!(bits(with), bits(guided(&of(&[(0, 0.5), (1, 0.5)], 1.5, &[], 0.0), &rows)));
    }

    #[test]
    fn mixed_sample_is_none_with_a_nan_in_any_row() {
        for bad in 0..5 {
            let mut rows = rows();
            rows[bad][17] = f32::NAN;
            let mixed = of(&[(0, 0.6), (1, 0.4)], 1.5, &[(2, 0.5), (3, 0.5)], 0.5);
            assert_eq!(sampled(&mixed, &rows, 0.5), None, "row {bad}");
        }
        let greedy = Sampling { temperature: 0.0, ..PLAIN };
        let rows = [vec![0.0, 3.0, 0.0], vec![0.0, 0.0, 2.0]];
        let mixed = MixedLogits { mean: vec![(0, 0.5), (1, 0.5)], uncond: None, scale: 1.0, avoid: vec![], push: 0.0 };
        let mut sampler = Sampler::default();
        assert_eq!(sampler.sample_mixed(greedy, &mixed, &|at| &rows[at][..], 0.9), Some(1));
        let mean = [0.0, 1.5, 1.0];
        let found = sampler.mixed_log_probability(&mixed, &|at| &rows[at][..], 2);
        assert_eq!(found, log_probability(&mean, 2));
    }
}

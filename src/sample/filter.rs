//! Temperature, top-k and top-p: logits in, unnormalized probabilities out, zero for excluded codes.

use super::Sampling;
use super::vector::{BLOCK, EXACT, each_within, exact, exact_sum_from, exp, map_and_sum, sum_blocks, sum_from};
use crate::support::error::Result;
use crate::support::memory::room;

/// Smaller temperatures are clamped to this, as in the authors' code: their reciprocal would overflow.
pub(super) const MIN_TEMPERATURE: f32 = 1e-5;

/// Unnormalized probabilities of all codes; keeps its memory from one call to the next.
#[derive(Debug, Default)]
pub(super) struct Weights {
    values: Vec<f32>,
    /// The sum of each block of the values.
    blocks: Vec<f32>,
    ranks: Vec<u64>,
    scratch: Vec<f32>,
}

impl Weights {
    /// Memory for `codes` logits, so that nothing below allocates.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn make_room(&mut self, codes: usize) -> Result<()> {
        const WHAT: &str = "sampling";
        room(WHAT, &mut self.values, codes)?;
        room(WHAT, &mut self.ranks, codes)?;
        room(WHAT, &mut self.scratch, codes)?;
        room(WHAT, &mut self.blocks, codes.div_ceil(BLOCK))
    }

    /// Computes `exp((x - largest) * (1 / temperature))` of each logit; zero where top-k or top-p exclude it. `largest` is the
    /// largest logit.
    #[allow(clippy::disallowed_methods, reason = "within the capacity of make_room")]
    pub fn fill(&mut self, sampling: Sampling, logits: &[f32], largest: f32) {
        let inverse_temperature = 1.0 / sampling.temperature.max(MIN_TEMPERATURE);
        self.values.resize(logits.len(), 0.0);
        self.blocks.clear();
        match self.kth(sampling.top_k, logits) {
            None => {
                map_and_sum(logits, &mut self.values, &mut self.blocks, |x| exp((x - largest) * inverse_temperature));
            }
            Some(kth) => map_and_sum(logits, &mut self.values, &mut self.blocks, |x| {
                let weight = exp((x - largest) * inverse_temperature);
                if x < kth { 0.0 } else { weight }
            }),
        }
        if sampling.top_p < 1.0 {
            self.top_p(sampling.top_p);
        }
    }

    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The sum of all weights: the sums of the blocks, added in order.
    pub fn total(&self) -> f32 {
        self.blocks.iter().sum()
    }

    /// The code at which the cumulative sum exceeds `random`, in [0, 1), times the total. First the block is found by the
    /// cumulative sum of blocks, then the code in it by that of its weights; if rounding leaves none, the last code of the block
    /// with a weight.
    pub fn pick(&self, random: f32) -> usize {
        let mark = random * self.total();
        let mut before = 0.0;
        let mut block = 0;
        for (index, &sum) in self.blocks.iter().enumerate() {
            if before + sum > mark {
                block = index;
                break;
            }
            before += sum;
        }
        let rest = mark - before;
        let (mut sum, mut last) = (0.0, block * BLOCK);
        for (index, &weight) in self.values.iter().enumerate().skip(block * BLOCK).take(BLOCK) {
            if weight > 0.0 {
                sum += weight;
                last = index;
                if sum > rest {
                    break;
                }
            }
        }
        last
    }

    /// The k-th largest logit: smaller ones are excluded, ties with it are not. None when nothing is excluded.
    fn kth(&mut self, k: u32, logits: &[f32]) -> Option<f32> {
        let k = k as usize;
        if k == 0 || k >= logits.len() {
            return None;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(logits);
        let (_, kth, _) = self.scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        Some(*kth)
    }

    /// Keeps the fewest codes whose weights together exceed `p` of the total, the largest first, and excludes the others. Of
    /// equal weights the one with the lower index comes first.
    ///
    /// The deciding sums are exact, of weights rounded to multiples of 2^-40, so they do not depend on the order.
    fn top_p(&mut self, p: f32) {
        let total = self.total();
        let wanted = (f64::from(p) * f64::from(total) * EXACT) as u64;
        // Bisect for the weight of the last code that is kept: a pass over all weights is cheap, ranking is not. Weights below
        // an equal share of the excluded probability are excluded, since together they are less than it; half the share, as
        // the total is rounded.
        let (least, most) = ((0.5 * (1.0 - p) * total / self.values.len() as f32).to_bits(), 1.0f32.to_bits() + 1);
        let (mut from, mut to) = (least, most);
        for _ in 0..NARROWING {
            let middle = from + (to - from) / 2;
            if sum_from(&self.values, f32::from_bits(middle)) > p * total { from = middle } else { to = middle }
        }
        let last = self.last_kept(wanted, from, to).or_else(|| self.last_kept(wanted, least, most));
        // With p so near 1 that rounding reaches it, all codes are kept.
        let Some((border, at)) = last else { return };
        let (up_to, after) = self.values.split_at_mut(at + 1);
        up_to.iter_mut().for_each(|w| *w = if *w < border { 0.0 } else { *w });
        after.iter_mut().for_each(|w| *w = if *w <= border { 0.0 } else { *w });
        self.blocks.clear();
        sum_blocks(&self.values, &mut self.blocks);
    }

    /// The weight and the index of the code at which the sum, largest weights first, exceeds `wanted`. None when its weight is
    /// outside `from..to`, which are given as bits.
    fn last_kept(&mut self, wanted: u64, from: u32, to: u32) -> Option<(f32, usize)> {
        let (from, to) = (f32::from_bits(from), f32::from_bits(to));
        let mut sum: u64 = exact_sum_from(&self.values, to);
        if sum > wanted {
            return None;
        }
        self.ranks.clear();
        each_within(&self.values, from, to, |at, weight| self.ranks.push(rank(weight, at)));
        // Bisect by selection instead of sorting.
        let (mut first, mut end) = (0, self.ranks.len());
        while end - first > 1 {
            let half = (end - first) / 2;
            self.ranks[first..end].select_nth_unstable_by(half - 1, |a, b| b.cmp(a));
            let heavier: u64 = self.ranks[first..first + half].iter().map(|&rank| exact(weight(rank))).sum();
            if sum + heavier > wanted {
                end = first + half;
            } else {
                sum += heavier;
                first += half;
            }
        }
        let last = *self.ranks.get(first)?;
        (sum + exact(weight(last)) > wanted).then(|| (weight(last), index(last)))
    }
}

/// Bisection steps of top-p before the remaining weights are ranked.
const NARROWING: usize = 8;

/// Orders by weight, then by descending index. A weight is at least 0, so its bits are ordered as it is.
fn rank(weight: f32, index: usize) -> u64 {
    u64::from(weight.to_bits()) << 32 | u64::from(!(index as u32))
}

fn weight(rank: u64) -> f32 {
    f32::from_bits((rank >> 32) as u32)
}

fn index(rank: u64) -> usize {
    !(rank as u32) as usize
}

#[cfg(test)]
mod tests {
    use super::super::vector::largest;
    use super::*;

    fn weights(sampling: Sampling, logits: &[f32]) -> Weights {
        let mut weights = Weights::default();
        weights.fill(sampling, logits, largest(logits).unwrap());
        weights
    }

    fn kept(sampling: Sampling, probabilities: &[f32]) -> Vec<usize> {
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        let weights = weights(sampling, &logits);
        (0..logits.len()).filter(|&at| weights.values()[at] > 0.0).collect()
    }

    const PLAIN: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };

    /// As many probabilities, flat enough that many are kept; not in order.
    fn flat(count: u32) -> Vec<f32> {
        (0..count).map(|at| 1.0 + (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e8).collect()
    }

    #[test]
    fn weights_are_near_those_in_f64() {
        for temperature in [0.1, 0.9, 1.0, 7.0] {
            let logits: Vec<f32> = flat(3000).iter().map(|p| p * 70.0).collect();
            let top = f64::from(largest(&logits).unwrap());
            let weights = weights(Sampling { temperature, ..PLAIN }, &logits);
            let mut total = 0.0;
            for (&got, &x) in weights.values().iter().zip(&logits) {
                let wanted = libm::exp((f64::from(x) - top) / f64::from(temperature));
                // The argument is rounded twice; it has at most 87 as much of itself to pass on.
                assert!((f64::from(got) - wanted).abs() <= 2e-5 * wanted + 1e-37, "{got} {wanted}");
                total += wanted;
            }
            assert!((f64::from(weights.total()) / total - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn top_k_keeps_ties() {
        let k = |top_k| Sampling { top_k, ..PLAIN };
        assert_eq!(kept(k(2), &[0.1, 0.2, 0.4, 0.2, 0.1]), [1, 2, 3]);
        assert_eq!(kept(k(1), &[0.1, 0.2, 0.4, 0.2, 0.1]), [2]);
        assert_eq!(kept(k(9), &[0.1, 0.2, 0.4, 0.2, 0.1]).len(), 5);
    }

    #[test]
    fn top_k_equals_a_full_sort() {
        for (count, ks) in [(5000, [1, 2, 50, 300, 4000, 4999]), (700, [1, 7, 100, 300, 600, 699])] {
            let logits: Vec<f32> = flat(count).iter().map(|p| (p * 300.0).round()).collect();
            let mut sorted = logits.clone();
            sorted.sort_by(|a, b| b.total_cmp(a));
            for k in ks {
                assert_eq!(Weights::default().kth(k, &logits), Some(sorted[k as usize - 1]), "{k} of {count}");
            }
        }
    }

    #[test]
    fn top_p_keeps_the_fewest_that_exceed_it() {
        let p = |top_p| Sampling { top_p, ..PLAIN };
        assert_eq!(kept(p(0.45), &[0.1, 0.2, 0.41, 0.19, 0.1]), [1, 2]);
        assert_eq!(kept(p(0.05), &[0.1, 0.2, 0.4, 0.2, 0.1]), [2]);
        assert_eq!(kept(p(0.999_999), &[0.1, 0.2, 0.4, 0.2, 0.1]).len(), 5);
        assert_eq!(kept(p(f32::MIN_POSITIVE), &[0.5, 0.5, 0.5]), [0], "of equals the first");
        assert_eq!(kept(p(0.5), &[1.0; 600]).last(), Some(&300), "the 301st passes a half");
    }

    #[test]
    fn top_p_equals_a_full_sort() {
        for (count, steep) in [(1, 1.0), (5000, 1.0), (5000, 30.0), (5000, 0.0), (300, 200.0)] {
            let logits: Vec<f32> = flat(count).iter().map(|p| p * steep).collect();
            let all = weights(PLAIN, &logits);
            let mut order: Vec<usize> = (0..logits.len()).collect();
            order.sort_by(|&a, &b| all.values()[b].total_cmp(&all.values()[a]).then(a.cmp(&b)));
            for top_p in [0.001, 0.1, 0.6, 0.95, 0.999] {
                let some = weights(Sampling { top_p, ..PLAIN }, &logits);
                let mut sum = 0.0;
                let wanted = f64::from(top_p) * f64::from(all.total());
                let mut expected = vec![0.0; logits.len()];
                for &at in &order {
                    expected[at] = all.values()[at];
                    sum += f64::from(all.values()[at]);
                    if sum > wanted {
                        break;
                    }
                }
                assert!(some.values() == expected, "{top_p} of {count}, {steep}");
                let total: f32 = some.values().iter().sum();
                assert!((some.total() / total - 1.0).abs() < 1e-5, "blocks are summed anew");
            }
        }
    }

    #[test]
    fn pick_at_both_ends_of_the_random_range_has_a_weight() {
        let of = |values: &[f32]| {
            let mut weights = Weights { values: values.to_vec(), ..Weights::default() };
            sum_blocks(values, &mut weights.blocks);
            weights
        };
        let last = 1.0 - f32::EPSILON / 2.0;
        assert_eq!(of(&[0.0, 0.0, 1.0, 1.0, 0.0]).pick(0.0), 2);
        assert_eq!(of(&[0.0, 0.0, 1.0, 1.0, 0.0]).pick(last), 3);
        for at in [0, 1, 255, 256, 600, 1023] {
            let mut values = vec![0.0; 1024];
            values[at] = 1.0;
            assert_eq!([0.0, 0.5, last].map(|random| of(&values).pick(random)), [at; 3]);
        }
        // Blocks that are empty, before, between and after.
        let mut values = vec![0.0; 2000];
        (values[300], values[900], values[901]) = (0.3, 0.2, 0.5);
        let picked = [0.0, 0.29, 0.31, 0.49, 0.51, last].map(|random| of(&values).pick(random));
        assert_eq!(picked, [300, 300, 900, 900, 901, 901]);
    }

    #[test]
    fn pick_follows_the_cumulative_sum() {
        let logits: Vec<f32> = flat(5000).iter().map(|p| p * 5.0).collect();
        let weights = weights(PLAIN, &logits);
        let total: f64 = weights.values().iter().map(|&w| f64::from(w)).sum();
        for at in 0..1000 {
            let random = at as f32 / 1000.0;
            let picked = weights.pick(random);
            let before: f64 = weights.values()[..picked].iter().map(|&w| f64::from(w)).sum();
            let mark = f64::from(random) * total;
            let (from, to) = (before - 1e-6 * total, before + f64::from(weights.values()[picked]) + 1e-6 * total);
            assert!(from <= mark && mark <= to, "{random}");
        }
    }
}

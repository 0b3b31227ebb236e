//! Temperature, top-k and top-p: logits in, unnormalised probabilities out, zero for what is cut away.

use super::Sampling;

/// Below this a temperature would overflow the division; the authors clamp there too.
const LEAST_TEMPERATURE: f32 = 1e-5;

/// Working memory of the filters.
#[derive(Debug, Default)]
pub(super) struct Filter {
    order: Vec<u32>,
    scratch: Vec<f32>,
}

impl Filter {
    /// Turns logits into weights in place: `exp((x - max) / temperature)`, zero where top-k or top-p cut.
    /// `likeliest` is the index of the largest.
    pub fn weights<'a>(&mut self, sampling: Sampling, logits: &'a mut [f32], likeliest: usize) -> &'a [f32] {
        let temperature = sampling.temperature.max(LEAST_TEMPERATURE);
        let top = logits[likeliest];
        let least = self.top_k(sampling.top_k, logits);
        for x in logits.iter_mut() {
            *x = if *x < least { 0.0 } else { libm::expf((*x - top) / temperature) };
        }
        if sampling.top_p < 1.0 {
            self.top_p(sampling.top_p, logits);
        }
        logits
    }

    /// The k-th largest logit: what is smaller is cut. Ties with it stay.
    fn top_k(&mut self, k: u32, logits: &[f32]) -> f32 {
        let k = k as usize;
        if k == 0 || k >= logits.len() {
            return f32::NEG_INFINITY;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(logits);
        let (_, kth, _) = self.scratch.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        *kth
    }

    /// Cuts all that lies, by falling weight, beyond `p` of the total. The first that passes p stays, and so does
    /// always the likeliest. Equal weights stand in order of their index.
    fn top_p(&mut self, p: f32, weights: &mut [f32]) {
        let total: f32 = weights.iter().sum();
        self.order.clear();
        self.order.extend((0..weights.len() as u32).filter(|&at| weights[at as usize] > 0.0));
        let heavier = |a: &u32, b: &u32| weights[*b as usize].total_cmp(&weights[*a as usize]).then(a.cmp(b));
        // Seldom are more than a few codes kept: put the heaviest few first and sort only those, more when they do
        // not suffice.
        let mut sorted = 0;
        let mut kept = 0;
        let mut sum = 0.0;
        let mut block = 64;
        'all: while sorted < self.order.len() {
            let rest = &mut self.order[sorted..];
            if block < rest.len() {
                rest.select_nth_unstable_by(block - 1, heavier);
            }
            let block_end = sorted + block.min(rest.len());
            self.order[sorted..block_end].sort_unstable_by(heavier);
            for &at in &self.order[sorted..block_end] {
                if kept > 0 && sum > p {
                    break 'all;
                }
                sum += weights[at as usize] / total;
                kept += 1;
            }
            sorted = block_end;
            block *= 4;
        }
        for &at in &self.order[kept..] {
            weights[at as usize] = 0.0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(sampling: Sampling, probabilities: &[f32]) -> Vec<usize> {
        let mut logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        let likeliest = super::super::argmax(&logits).unwrap();
        let weights = Filter::default().weights(sampling, &mut logits, likeliest);
        (0..weights.len()).filter(|&at| weights[at] > 0.0).collect()
    }

    #[test]
    fn top_k_keeps_ties() {
        let k = |top_k| Sampling { temperature: 1.0, top_k, top_p: 1.0 };
        assert_eq!(kept(k(2), &[0.1, 0.2, 0.4, 0.2, 0.1]), [1, 2, 3]);
        assert_eq!(kept(k(1), &[0.1, 0.2, 0.4, 0.2, 0.1]), [2]);
        assert_eq!(kept(k(9), &[0.1, 0.2, 0.4, 0.2, 0.1]).len(), 5);
    }

    #[test]
    fn top_p_keeps_the_first_that_passes() {
        let p = |top_p| Sampling { temperature: 1.0, top_k: 0, top_p };
        assert_eq!(kept(p(0.45), &[0.1, 0.2, 0.41, 0.19, 0.1]), [1, 2]);
        assert_eq!(kept(p(0.05), &[0.1, 0.2, 0.4, 0.2, 0.1]), [2]);
        assert_eq!(kept(p(0.999_999), &[0.1, 0.2, 0.4, 0.2, 0.1]).len(), 5);
    }

    #[test]
    fn top_p_by_blocks_equals_a_full_sort() {
        // 5000 codes, flat enough that several blocks are needed.
        let probabilities: Vec<f32> =
            (0..5000u32).map(|at| 1.0 + (at.wrapping_mul(2_654_435_761) >> 8) as f32 / 1e8).collect();
        let total: f32 = probabilities.iter().sum();
        let got = kept(Sampling { temperature: 1.0, top_k: 0, top_p: 0.6 }, &probabilities);
        let mut order: Vec<usize> = (0..5000).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]).then(a.cmp(&b)));
        let mut sum = 0.0;
        let count = order
            .iter()
            .take_while(|&&at| {
                let open = sum <= 0.6;
                sum += probabilities[at] / total;
                open
            })
            .count();
        // exp(ln p) moves the last bit, so the border may shift by a code or two.
        assert!((got.len() as i64 - count as i64).abs() <= 3, "{} {count}", got.len());
        assert!(got.len() > 2000);
    }
}

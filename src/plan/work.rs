//! The work of the networks in multiply-adds: linear layers, and attention as two matrix multiplications of the queries
//! with every key. Norms, activations and table look-ups do not count.

use serde::Deserialize;

use super::Step;

/// The layers of the encoder or of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct SideSize {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    /// Width of the feed-forward layer.
    pub hidden: usize,
}

/// The autoregressive model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepWork {
    pub layers: usize,
    pub width: usize,
    /// Width of the keys of one position, over all KV heads.
    pub keys: usize,
    pub hidden: usize,
    pub codes: usize,
}

/// The decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DecodeWork {
    pub side: SideSize,
    pub patch: usize,
    pub channels: usize,
}

/// The encoder, for pictures of its one input size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EncodeWork {
    pub side: SideSize,
    pub patch: usize,
    pub channels: usize,
    /// Pixels per side.
    pub size: usize,
    pub tokens: usize,
    pub codes: usize,
    pub code_width: usize,
}

/// A linear layer over a number of positions. Everything saturates: numbers of a valid manifest stay below 128 bits, but
/// those of a request may be anything.
fn linear(positions: usize, from: usize, to: usize) -> u128 {
    product(&[positions as u128, from as u128, to as u128])
}

/// The scores of every query with every key, and the weighted sum of the values.
fn attention(queries: usize, keys: usize, width: usize) -> u128 {
    linear(queries, keys, width).saturating_mul(2)
}

fn product(factors: &[u128]) -> u128 {
    factors.iter().fold(1, |product, &factor| product.saturating_mul(factor))
}

fn sum(terms: &[u128]) -> u128 {
    terms.iter().fold(0, |sum, &term| sum.saturating_add(term))
}

/// Saturates to 64 bits.
fn total(work: u128) -> u64 {
    u64::try_from(work).unwrap_or(u64::MAX)
}

impl StepWork {
    /// The number of weights that a step multiplies with, each once for each position.
    pub fn weights(&self) -> u64 {
        total(self.positions(1, 0))
    }

    /// One step of `rows` batch rows. Each position attends to all before it and to those of its own step.
    pub fn of(&self, rows: usize, step: Step) -> u64 {
        let Step { start, query } = step;
        total(product(&[rows as u128, self.positions(query, start.saturating_add(query))]))
    }

    /// A number of positions that attend to `visible` ones.
    fn positions(&self, positions: usize, visible: usize) -> u128 {
        let Self { layers, width, keys, hidden, codes } = *self;
        let projections = [
            linear(positions, width, keys.saturating_mul(2).saturating_add(width)),
            linear(positions, width, width),
            // The gated feed-forward layer.
            linear(positions, width, hidden).saturating_mul(3),
        ];
        let layer = sum(&projections).saturating_add(attention(positions, visible, width));
        product(&[layers as u128, layer]).saturating_add(linear(positions, width, codes))
    }
}

impl SideSize {
    /// All layers over `positions`; after the last attention only `used` of them go on.
    fn of(&self, positions: usize, used: usize) -> u128 {
        let Self { layers, width, hidden, .. } = *self;
        let layers = layers as u128;
        let attention =
            sum(&[linear(positions, width, width.saturating_mul(3)), attention(positions, positions, width)]);
        let rest =
            |positions| sum(&[linear(positions, width, width), linear(positions, width, hidden).saturating_mul(2)]);
        sum(&[product(&[layers, attention]), product(&[layers.saturating_sub(1), rest(positions)]), rest(used)])
    }
}

impl DecodeWork {
    /// One picture of `size` pixels per side from `tokens` tokens.
    pub fn of(&self, tokens: usize, size: usize) -> u64 {
        let (patches, values) = patches(size, self.patch, self.channels);
        total(sum(&[self.side.of(patches.saturating_add(tokens), patches), linear(patches, self.side.width, values)]))
    }
}

impl EncodeWork {
    /// One picture.
    pub fn of(&self) -> u64 {
        let (patches, values) = patches(self.size, self.patch, self.channels);
        total(sum(&[
            linear(patches, values, self.side.width),
            self.side.of(patches.saturating_add(self.tokens), self.tokens),
            linear(self.tokens, self.side.width, self.code_width),
            linear(self.tokens, self.code_width, self.codes),
        ]))
    }
}

/// The number of patches of a square picture, and of values in a patch.
fn patches(size: usize, patch: usize, channels: usize) -> (usize, usize) {
    (size.checked_div(patch).unwrap_or(0).saturating_pow(2), patch.saturating_pow(2).saturating_mul(channels))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linear layers use each weight once for each position: the numbers of the published GPT-L from its weight shapes.
    #[test]
    fn work_of_gpt_l_is_its_weights_plus_attention() {
        let ar = StepWork { layers: 24, width: 1024, keys: 1024, hidden: 2816, codes: 8192 };
        let weights = 24 * (4 * 1024 * 1024 + 3 * 1024 * 2816) + 1024 * 8192;
        assert_eq!(ar.weights(), weights);
        let attention = |keys: u64| 24 * 2 * keys * 1024;
        assert_eq!(ar.of(1, Step { start: 0, query: 1 }), weights + attention(1));
        assert_eq!(ar.of(3, Step { start: 120, query: 8 }), 3 * 8 * (weights + attention(128)));
        // Shared KV heads make the projection smaller, but not attention.
        let shared = StepWork { keys: 256, ..ar };
        assert_eq!(
            ar.of(1, Step { start: 7, query: 1 }) - shared.of(1, Step { start: 7, query: 1 }),
            24 * 2 * 1024 * 768
        );
    }

    #[test]
    fn work_saturates_for_extreme_numbers() {
        let most = 1 << 20;
        let ar = StepWork { layers: most, width: most, keys: most, hidden: most, codes: most };
        assert_eq!(ar.of(most, Step { start: most, query: most }), u64::MAX);
        assert_eq!(ar.weights(), most as u64 * 7 * (most as u64).pow(2) + (most as u64).pow(2));
        let all = usize::MAX;
        let step = Step { start: all, query: all };
        assert_eq!(StepWork { layers: all, width: all, keys: all, hidden: all, codes: all }.of(all, step), u64::MAX);
        assert_eq!(ar.of(all, Step { start: 0, query: 1 }), u64::MAX);
        let side = SideSize { layers: most, width: most, heads: 1, hidden: most };
        assert_eq!(DecodeWork { side, patch: all, channels: all }.of(all, all), u64::MAX);
        assert_eq!(DecodeWork { side: SideSize { layers: 0, ..side }, patch: 0, channels: 4 }.of(0, 8), 0);
        assert_eq!(DecodeWork { side, patch: 1, channels: 4 }.of(most, 1 << 14), u64::MAX);
        let (patch, channels, size, tokens, codes, code_width) = (1, 4, 1 << 14, most, most, most);
        assert_eq!(EncodeWork { side, patch, channels, size, tokens, codes, code_width }.of(), u64::MAX);
    }
}

//! How much the networks compute, in multiplications (each with its addition): linear layers, and attention as two
//! products of the queries with every key. Norms, activations and what is looked up in tables count nothing.

use serde::Deserialize;

use super::Step;

/// The layers of the encoder or of the decoder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(crate) struct SideSize {
    pub layers: usize,
    pub width: usize,
    pub heads: usize,
    /// Width within the feed-forward part.
    pub hidden: usize,
}

/// The autoregressive model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StepWork {
    pub layers: usize,
    pub width: usize,
    /// Width of one position's keys, over all heads that have their own.
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

/// The encoder, for pictures of the one size that it takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct EncodeWork {
    pub side: SideSize,
    pub patch: usize,
    pub channels: usize,
    /// Pixels a side.
    pub size: usize,
    pub tokens: usize,
    pub codes: usize,
    pub code_width: usize,
}

/// A linear layer over so many places. In 128 bits no product of what a manifest may say overflows.
fn linear(places: usize, from: usize, to: usize) -> u128 {
    places as u128 * from as u128 * to as u128
}

/// Scores of every query with every key, and the sum of what they weigh.
fn attention(queries: usize, keys: usize, width: usize) -> u128 {
    2 * linear(queries, keys, width)
}

/// A number too large to hold is as good as the largest.
fn total(work: u128) -> u64 {
    u64::try_from(work).unwrap_or(u64::MAX)
}

impl StepWork {
    /// How many weights a step multiplies with, each once for each position.
    pub fn weights(&self) -> u64 {
        let Self { layers, width, keys, hidden, codes } = *self;
        let layer = linear(1, width, width + 2 * keys) + linear(1, width, width) + 3 * linear(1, width, hidden);
        total(layers as u128 * layer + linear(1, width, codes))
    }

    /// One step of `rows` rows. Each position sees all before it and those of its own step.
    pub fn of(&self, rows: usize, step: Step) -> u64 {
        let Self { layers, width, keys, hidden, codes } = *self;
        let Step { start, query } = step;
        let projections = linear(query, width, width + 2 * keys) + linear(query, width, width);
        let gated = 3 * linear(query, width, hidden);
        let layer = projections + attention(query, start + query, width) + gated;
        total(rows as u128 * (layers as u128 * layer + linear(query, width, codes)))
    }
}

impl SideSize {
    /// All layers over `places`; after the last attention only `kept` of them go on.
    fn of(&self, places: usize, kept: usize) -> u128 {
        let Self { layers, width, hidden, .. } = *self;
        let seen = linear(places, width, 3 * width) + attention(places, places, width);
        let rest = |places| linear(places, width, width) + 2 * linear(places, width, hidden);
        layers as u128 * seen + (layers as u128 - 1) * rest(places) + rest(kept)
    }
}

impl DecodeWork {
    /// One picture of `size` pixels a side from `tokens` tokens.
    pub fn of(&self, tokens: usize, size: usize) -> u64 {
        let patches = (size / self.patch).pow(2);
        let pixels = self.patch * self.patch * self.channels;
        total(self.side.of(patches + tokens, patches) + linear(patches, self.side.width, pixels))
    }
}

impl EncodeWork {
    /// One picture.
    pub fn of(&self) -> u64 {
        let patches = (self.size / self.patch).pow(2);
        let pixels = self.patch * self.patch * self.channels;
        let codes =
            linear(self.tokens, self.side.width, self.code_width) + linear(self.tokens, self.code_width, self.codes);
        total(linear(patches, pixels, self.side.width) + self.side.of(patches + self.tokens, self.tokens) + codes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Linear layers touch each weight once for each place: the numbers of the published GPT-L by its weights' shapes.
    #[test]
    fn gpt_l_does_its_weights_and_its_attention() {
        let ar = StepWork { layers: 24, width: 1024, keys: 1024, hidden: 2816, codes: 8192 };
        let weights = 24 * (4 * 1024 * 1024 + 3 * 1024 * 2816) + 1024 * 8192;
        assert_eq!(ar.weights(), weights);
        let seen = |keys: u64| 24 * 2 * keys * 1024;
        assert_eq!(ar.of(1, Step { start: 0, query: 1 }), weights + seen(1));
        assert_eq!(ar.of(3, Step { start: 120, query: 8 }), 3 * 8 * (weights + seen(128)));
        // Keys that heads share make their projection smaller, and attention not.
        let shared = StepWork { keys: 256, ..ar };
        assert_eq!(
            ar.of(1, Step { start: 7, query: 1 }) - shared.of(1, Step { start: 7, query: 1 }),
            24 * 2 * 1024 * 768
        );
    }

    #[test]
    fn the_largest_numbers_do_not_overflow() {
        let most = 1 << 20;
        let ar = StepWork { layers: most, width: most, keys: most, hidden: most, codes: most };
        assert_eq!(ar.of(most, Step { start: most, query: most }), u64::MAX);
        assert_eq!(ar.weights(), most as u64 * 7 * (most as u64).pow(2) + (most as u64).pow(2));
        let side = SideSize { layers: most, width: most, heads: 1, hidden: most };
        assert_eq!(DecodeWork { side, patch: 1, channels: 4 }.of(most, 1 << 14), u64::MAX);
        let (patch, channels, size, tokens, codes, code_width) = (1, 4, 1 << 14, most, most, most);
        assert_eq!(EncodeWork { side, patch, channels, size, tokens, codes, code_width }.of(), u64::MAX);
    }
}

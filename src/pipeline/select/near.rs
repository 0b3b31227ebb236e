//! Finding near-duplicates among the candidates of a group: the earliest that looks the same.
//!
//! Few candidates are compared one by one. Many are found by multi-index hashing: the hash is cut into four bands of 16 bits; if
//! two hashes differ in at most N bits, they differ in at most N / 4 bits of some band, so that it is enough to look into the
//! buckets of each band within that distance. Candidates of the same coarse codes are in a chain of their own.

use super::facts::Facts;
use crate::support::error::{Error, Result};
use crate::support::memory::filled;

/// From this many candidates on they are indexed.
const INDEXED: usize = 4096;
const BANDS: usize = 4;
const BAND_BITS: usize = 16;
/// How far mean colour and mean alpha of duplicates may differ, of 255.
const COLOUR: u8 = 8;
/// No candidate.
const NONE: u32 = u32::MAX;

/// An earlier candidate that looks the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Match {
    /// Its place in the group.
    pub offset: u32,
    /// Bits in which the hashes differ; None: the tokens are the same.
    pub distance: Option<u32>,
}

/// The distinct candidates of a group, 28 bytes each, 48 where they are indexed.
#[derive(Debug)]
pub struct Near {
    distance: u32,
    hashes: Vec<u64>,
    marks: Vec<Mark>,
    /// Masks of at most `distance / 4` bits: which buckets of a band are looked into.
    masks: Vec<u16>,
    /// From how many candidates on they are indexed.
    indexed: usize,
    index: Option<Index>,
}

/// What is kept of a candidate beside its hash.
#[derive(Debug, Clone, Copy)]
struct Mark {
    /// Fingerprint of all tokens, as two halves for the sake of alignment.
    tokens: [u32; 2],
    coarse: u32,
    colour: [u8; 4],
    offset: u32,
}

#[derive(Debug)]
struct Index {
    /// The last candidate of each bucket of each band, and of each chain.
    heads: Vec<u32>,
    /// For each candidate the one before it in its bucket of each band, and in its chain.
    before: Vec<[u32; BANDS + 1]>,
}

impl Near {
    /// An empty group, in which hashes of at most `distance` differing bits are duplicates.
    pub fn new(distance: u32) -> Self {
        Self::indexed_from(distance, INDEXED)
    }

    /// As [`new`](Self::new), indexed from that many candidates on.
    pub fn indexed_from(distance: u32, indexed: usize) -> Self {
        let radius = distance / BANDS as u32;
        let masks = (0..=u16::MAX).filter(|mask| mask.count_ones() <= radius).collect();
        Self { distance, hashes: Vec::new(), marks: Vec::new(), masks, indexed, index: None }
    }

    /// Forgets all candidates.
    pub fn clear(&mut self) {
        self.hashes.clear();
        self.marks.clear();
        self.index = None;
    }

    /// The earliest candidate that looks as this one does.
    pub fn find(&self, facts: &Facts) -> Option<Match> {
        let found = match &self.index {
            // Looking into very many buckets takes longer than comparing with every candidate.
            Some(index) if self.masks.len() * BANDS * 4 < self.hashes.len() => self.look_up(index, facts),
            _ => (0..self.hashes.len()).find(|&at| self.compare(at, facts).is_some()),
        }?;
        self.compare(found, facts)
    }

    fn look_up(&self, index: &Index, facts: &Facts) -> Option<usize> {
        let mut first = NONE;
        let mut follow = |list: usize, key: u16| {
            let mut at = index.heads[list << BAND_BITS | usize::from(key)];
            while at != NONE {
                if at < first && self.compare(at as usize, facts).is_some() {
                    first = at;
                }
                at = index.before[at as usize][list];
            }
        };
        for band in 0..BANDS {
            let key = key(facts.hash, band);
            self.masks.iter().for_each(|mask| follow(band, key ^ mask));
        }
        follow(BANDS, chain(facts));
        Some(first as usize).filter(|_| first != NONE)
    }

    /// Whether candidate `at` looks as this one does.
    fn compare(&self, at: usize, facts: &Facts) -> Option<Match> {
        let (mark, distance) = (&self.marks[at], (self.hashes[at] ^ facts.hash).count_ones());
        let same_start = facts.coarse != 0 && mark.coarse == facts.coarse;
        let allowed = if same_start { 2 * self.distance } else { self.distance };
        let offset = mark.offset;
        if mark.tokens == halves(facts.tokens) && mark.coarse == facts.coarse {
            return Some(Match { offset, distance: None });
        }
        let close = || mark.colour.iter().zip(facts.colour).all(|(a, b)| a.abs_diff(b) <= COLOUR);
        (distance <= allowed && close()).then_some(Match { offset, distance: Some(distance) })
    }

    /// Adds the candidate at this place of the group.
    pub fn add(&mut self, offset: u32, facts: &Facts) -> Result<()> {
        let bytes = (self.hashes.len() as u64 + 1) * (size_of::<u64>() + size_of::<Mark>()) as u64;
        let refuse = |_| Error::OutOfMemory { what: "the candidates of a selection".to_owned(), bytes };
        self.hashes.try_reserve(1).map_err(refuse)?;
        self.marks.try_reserve(1).map_err(refuse)?;
        self.hashes.push(facts.hash);
        let tokens = halves(facts.tokens);
        self.marks.push(Mark { tokens, coarse: facts.coarse, colour: facts.colour, offset });
        if self.index.is_none() && self.hashes.len() >= self.indexed {
            let heads = filled("the index of a selection", (BANDS + 1) << BAND_BITS, NONE)?;
            self.index = Some(Index { heads, before: Vec::new() });
        }
        let Some(index) = &mut self.index else { return Ok(()) };
        index.before.try_reserve(self.hashes.len() - index.before.len()).map_err(refuse)?;
        for at in index.before.len()..self.hashes.len() {
            let mark = &self.marks[at];
            let chain = chain_of(mark.coarse, mark.tokens);
            let keys: [u16; BANDS + 1] =
                std::array::from_fn(|list| if list < BANDS { key(self.hashes[at], list) } else { chain });
            index.before.push(std::array::from_fn(|list| {
                std::mem::replace(&mut index.heads[list << BAND_BITS | usize::from(keys[list])], at as u32)
            }));
        }
        Ok(())
    }
}

fn halves(tokens: u64) -> [u32; 2] {
    [tokens as u32, (tokens >> 32) as u32]
}

/// The bits of a band.
fn key(hash: u64, band: usize) -> u16 {
    (hash >> (band * BAND_BITS)) as u16
}

/// The chain of candidates with these coarse codes; without any, with these tokens.
fn chain_of(coarse: u32, tokens: [u32; 2]) -> u16 {
    let whole = if coarse == 0 { tokens[0] } else { coarse };
    (whole ^ whole >> 16) as u16
}

fn chain(facts: &Facts) -> u16 {
    chain_of(facts.coarse, halves(facts.tokens))
}

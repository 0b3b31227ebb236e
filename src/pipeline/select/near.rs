//! Finding near-duplicates among the candidates of a group: the earliest that looks the same.
//!
//! Few candidates are compared one by one. Many are found by multi-index hashing: the hash is cut into three bands of 21 or 22
//! bits; if two hashes differ in at most N bits, they differ in at most N / 3 bits of some band, so that it is enough to look into
//! the buckets of each band within that distance. Candidates of the same coarse codes are in a chain of their own.

use super::facts::Facts;
use crate::support::error::{Error, Result};
use crate::support::memory::filled;

/// From this many candidates on they are indexed.
const INDEXED: usize = 4096;
/// Where the bands of a hash begin and end.
const BANDS: [(u32, u32); 3] = [(0, 22), (22, 43), (43, 64)];
/// The bands, and the chains.
const LISTS: usize = BANDS.len() + 1;
/// The fewest and the most buckets of a list, as powers of 2.
const BUCKETS: (u32, u32) = (12, 21);
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

/// The distinct candidates of a group: 28 bytes each; where they are indexed 44, and 16 to 32 for buckets up to two million.
#[derive(Debug)]
pub struct Near {
    distance: u32,
    hashes: Vec<u64>,
    marks: Vec<Mark>,
    /// Masks of at most `distance / 3` bits: which buckets of a band are looked into.
    masks: Vec<u32>,
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
    /// How many buckets each list has, as a power of 2.
    bits: u32,
    /// The last candidate of each bucket of each list.
    heads: Vec<u32>,
    /// For each candidate the one before it in its bucket of each list.
    before: Vec<[u32; LISTS]>,
}

impl Index {
    /// Where the head of the bucket of `key` is.
    fn bucket(&self, list: usize, key: u32) -> usize {
        // Fibonacci hashing: every bit of the key counts.
        let hash = u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (64 - self.bits);
        list << self.bits | hash as usize
    }
}

impl Near {
    /// An empty group, in which hashes of at most `distance` differing bits are duplicates.
    pub fn new(distance: u32) -> Self {
        Self::indexed_from(distance, INDEXED)
    }

    /// As [`new`](Self::new), indexed from that many candidates on.
    pub fn indexed_from(distance: u32, indexed: usize) -> Self {
        let masks = masks(distance / BANDS.len() as u32);
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
            Some(index) if self.masks.len() * LISTS * 4 < self.hashes.len() => self.look_up(index, facts),
            _ => (0..self.hashes.len()).find(|&at| self.compare(at, facts).is_some()),
        }?;
        self.compare(found, facts)
    }

    fn look_up(&self, index: &Index, facts: &Facts) -> Option<usize> {
        let mut first = NONE;
        let mut follow = |list: usize, key: u32, most: u32| {
            let mut at = index.heads[index.bucket(list, key)];
            while at != NONE {
                // The hashes alone tell of most that they are not alike.
                let near = (self.hashes[at as usize] ^ facts.hash).count_ones() <= most;
                if at < first && near && self.compare(at as usize, facts).is_some() {
                    first = at;
                }
                at = index.before[at as usize][list];
            }
        };
        for (list, &band) in BANDS.iter().enumerate() {
            let (key, width) = (key(facts.hash, band), band.1 - band.0);
            self.masks
                .iter()
                .filter(|&&mask| mask >> width == 0)
                .for_each(|mask| follow(list, key ^ mask, self.distance));
        }
        // Those with the same tokens too, whatever their hashes.
        follow(BANDS.len(), chain(facts.coarse, halves(facts.tokens)), u64::BITS);
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
        if self.hashes.len() < self.indexed {
            return Ok(());
        }
        // About as many buckets as candidates.
        let bits = self.hashes.len().ilog2().clamp(BUCKETS.0, BUCKETS.1);
        let index = match &mut self.index {
            Some(index) if index.bits == bits => index,
            old => {
                // The old heads first: they need not be there beside the new.
                let mut before = old.take().map_or_else(Vec::new, |index| index.before);
                before.clear();
                let heads = filled("the index of a selection", LISTS << bits, NONE)?;
                old.insert(Index { bits, heads, before })
            }
        };
        index.before.try_reserve(self.hashes.len() - index.before.len()).map_err(refuse)?;
        for at in index.before.len()..self.hashes.len() {
            let (hash, mark) = (self.hashes[at], &self.marks[at]);
            let before = std::array::from_fn(|list| {
                let key = BANDS.get(list).map_or_else(|| chain(mark.coarse, mark.tokens), |&band| key(hash, band));
                let bucket = index.bucket(list, key);
                std::mem::replace(&mut index.heads[bucket], at as u32)
            });
            index.before.push(before);
        }
        Ok(())
    }
}

fn halves(tokens: u64) -> [u32; 2] {
    [tokens as u32, (tokens >> 32) as u32]
}

/// The bits of a band.
fn key(hash: u64, (start, end): (u32, u32)) -> u32 {
    (hash >> start & ((1 << (end - start)) - 1)) as u32
}

/// The chain of candidates with these coarse codes; without any, with these tokens.
fn chain(coarse: u32, tokens: [u32; 2]) -> u32 {
    if coarse == 0 { tokens[0] } else { coarse }
}

/// The masks of at most `most` bits for the widest band.
fn masks(most: u32) -> Vec<u32> {
    let widest = BANDS.iter().map(|(start, end)| end - start).max().unwrap_or(0);
    let (mut all, mut last) = (vec![0u32], vec![0u32]);
    for _ in 0..most {
        // Each mask with one more bit, above those that it has.
        let above = |mask: u32| u32::BITS - mask.leading_zeros()..widest;
        last = last.iter().flat_map(|&mask| above(mask).map(move |bit| mask | 1 << bit)).collect();
        all.extend(&last);
    }
    all
}

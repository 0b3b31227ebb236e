//! The ladder of a model: which number of tokens decodes at which resolution (DetailFlow paper, section 3.2).
//!
//! With N tokens in all, a causal part of c and groups of g:
//!
//! - A **prefix** is the first t tokens, where t is 1 to c, or a multiple of g up to N. Every prefix decodes to the whole
//!   picture, at the size that the ladder gives for t.
//! - A **level** is one of the decode sizes of the prefixes with t >= c. Several prefixes may share a size; the tokens of
//!   the level are the largest t with it. A generation stops at the tokens of its level.
//! - A `level_size` is the pixels per side of a level; a `level_index` counts levels from 0, coarse to fine.
//!
//! DetailFlow-16 has levels of 32 px (8 tokens), 48 (16), 80 (24), 96 (32), 112 (40), 128 (48) … 256 (128).

use serde::Deserialize;

use crate::support::error::{Error, Result};

/// A prefix: a number of tokens that can be decoded, and the size that they decode at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Prefix {
    /// The number of tokens, t.
    pub tokens: usize,
    /// The resolution R(t) of the training target, in pixels per side.
    pub resolution: u32,
    /// The decode size in pixels per side: R(t) rounded up to a multiple of the patch.
    pub size: u32,
}

/// A level: a decode size that a generation can stop at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Pixels per side (`level_size` where the type does not say it).
    pub size: u32,
    /// The tokens that it takes: those of the largest prefix of this size.
    pub tokens: usize,
}

/// All prefixes and levels of one model, coarse to fine.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    prefixes: Vec<Prefix>,
    levels: Vec<Level>,
}

/// The parameters of the formula `R(t) = trunc(S - (S-1) ((N-t)/(N-1))^p)`. They must have been validated: all at least 1,
/// `group` divides `causal` and `tokens`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Formula {
    pub size: u32,
    pub patch: u32,
    pub tokens: usize,
    pub group: usize,
    pub causal: usize,
    pub power: f64,
}

impl Formula {
    fn resolution(&self, tokens: usize) -> f64 {
        if self.tokens == 1 {
            return f64::from(self.size);
        }
        let left = (self.tokens - tokens) as f64 / (self.tokens - 1) as f64;
        f64::from(self.size) - f64::from(self.size - 1) * libm::pow(left, self.power)
    }

    /// Whether `resolution` is R(t). Within 1e-6 of an integer both roundings are accepted, because platforms differ in
    /// the last bit of `pow`.
    fn allows(&self, tokens: usize, resolution: u32) -> bool {
        let exact = self.resolution(tokens);
        [exact - 1e-6, exact + 1e-6].iter().any(|&r| (r as u32).clamp(1, self.size) == resolution)
    }

    fn prefixes(&self) -> impl Iterator<Item = usize> {
        let parallel = (self.causal.saturating_add(self.group)..=self.tokens).step_by(self.group);
        (1..=self.causal).chain(parallel)
    }
}

impl Ladder {
    /// Checks a table against the formula; the error names the row that contradicts it.
    pub(crate) fn new(prefixes: Vec<Prefix>, formula: Formula) -> Result<Self, String> {
        let expected = formula.prefixes().count();
        if prefixes.len() != expected {
            return Err(format!("ladder.prefixes has {} rows; there are {expected} prefixes", prefixes.len()));
        }
        for (row, tokens) in prefixes.iter().zip(formula.prefixes()) {
            if row.tokens != tokens {
                return Err(format!("ladder.prefixes lists {} tokens instead of {tokens}", row.tokens));
            }
            if !formula.allows(tokens, row.resolution) {
                let exact = formula.resolution(tokens);
                return Err(format!(
                    "ladder.prefixes gives {tokens} tokens {} px, the formula gives {exact:.3}",
                    row.resolution
                ));
            }
            let size = row.resolution.next_multiple_of(formula.patch).max(formula.patch);
            if row.size != size {
                return Err(format!(
                    "ladder.prefixes decodes {tokens} tokens at {} px, {} px rounded up to the patch is {size}",
                    row.size, row.resolution
                ));
            }
        }
        let mut levels: Vec<Level> = Vec::new();
        for row in prefixes.iter().filter(|row| row.tokens >= formula.causal) {
            match levels.last_mut() {
                Some(last) if last.size == row.size => last.tokens = row.tokens,
                _ => levels.push(Level { size: row.size, tokens: row.tokens }),
            }
        }
        Ok(Self { prefixes, levels })
    }

    /// Every prefix, coarse to fine, at least one.
    #[must_use]
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    /// Every level, coarse to fine, at least one. The last is the full picture.
    #[must_use]
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The prefix of exactly `tokens` tokens, if there is one.
    #[must_use]
    pub fn prefix(&self, tokens: usize) -> Option<Prefix> {
        self.prefixes.binary_search_by_key(&tokens, |row| row.tokens).ok().map(|at| self.prefixes[at])
    }

    /// The level of `level_size` pixels per side, if there is one.
    #[must_use]
    pub fn level(&self, level_size: u32) -> Option<Level> {
        self.levels.iter().copied().find(|level| level.size == level_size)
    }

    /// As [`level`](Self::level), or an error that lists the levels.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no level of this size.
    pub fn level_or_error(&self, level_size: u32) -> Result<Level> {
        self.level(level_size).ok_or_else(|| {
            Error::Invalid(format!("there is no level of {level_size} px; the levels are {} px", self.sizes()))
        })
    }

    /// The finest level that is complete with `tokens` tokens; `None` before the first.
    #[must_use]
    pub fn finished(&self, tokens: usize) -> Option<Level> {
        self.levels.iter().copied().rev().find(|level| level.tokens <= tokens)
    }

    /// The sizes of the levels as text for errors: "32, 48, 80".
    pub(crate) fn sizes(&self) -> String {
        self.levels.iter().map(|level| level.size.to_string()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
impl Formula {
    /// The formula of the published DetailFlow-16.
    const DETAILFLOW_16: Self = Self { size: 256, patch: 16, tokens: 128, group: 8, causal: 8, power: 1.5 };

    /// The table that the formula gives.
    fn table(self) -> Vec<Prefix> {
        let row = |tokens| {
            let resolution = (self.resolution(tokens) as u32).clamp(1, self.size);
            Prefix { tokens, resolution, size: resolution.next_multiple_of(self.patch).max(self.patch) }
        };
        self.prefixes().map(row).collect()
    }
}

#[cfg(test)]
impl Ladder {
    /// The ladder of the published DetailFlow-16.
    pub(crate) fn detailflow_16() -> Self {
        Self::new(Formula::DETAILFLOW_16.table(), Formula::DETAILFLOW_16).unwrap()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DETAILFLOW_16: Formula = Formula::DETAILFLOW_16;

    #[test]
    fn ladder_of_detailflow_16_has_the_sizes_of_the_paper() {
        let ladder = Ladder::detailflow_16();
        let size = |tokens| ladder.prefix(tokens).unwrap().size;
        assert_eq!([8, 16, 24, 48, 64, 112, 128].map(size), [32, 48, 80, 128, 176, 256, 256]);
        assert_eq!(ladder.level(32), Some(Level { size: 32, tokens: 8 }));
        assert_eq!(ladder.level(256), Some(Level { size: 256, tokens: 128 }));
        assert_eq!(ladder.finished(15).unwrap().size, 32);
        assert_eq!(ladder.finished(7), None);
        assert_eq!(ladder.prefix(9), None);
        assert_eq!(ladder.level_or_error(48).unwrap(), Level { size: 48, tokens: 16 });
        let error = ladder.level_or_error(49).unwrap_err().to_string();
        assert!(error.starts_with("there is no level of 49 px; the levels are 32, 48, 80, 96"), "{error}");
    }

    #[test]
    fn ladder_refuses_a_table_that_contradicts_the_formula_and_names_the_row() {
        let change = |at: usize, edit: fn(&mut Prefix)| {
            let mut rows = DETAILFLOW_16.table();
            edit(&mut rows[at]);
            Ladder::new(rows, DETAILFLOW_16).unwrap_err()
        };
        assert!(change(10, |row| row.resolution += 1).contains("32 tokens"));
        assert!(change(10, |row| row.size += 16).contains("32 tokens"));
        assert!(change(10, |row| row.tokens += 1).contains("33 tokens"));
        let mut short = DETAILFLOW_16.table();
        short.pop();
        assert!(Ladder::new(short, DETAILFLOW_16).unwrap_err().contains("22 rows; there are 23 prefixes"));
    }

    #[test]
    fn ladder_of_one_token_has_one_level() {
        let formula = Formula { tokens: 1, group: 1, causal: 1, ..DETAILFLOW_16 };
        let ladder = Ladder::new(formula.table(), formula).unwrap();
        assert_eq!(ladder.levels(), [Level { size: 256, tokens: 1 }]);
    }
}

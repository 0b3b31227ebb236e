//! The ladder: how many tokens buy which resolution (DETAILFLOW paper section 3.2).
//!
//! A **prefix** is the first t tokens, t in 1..=c or a multiple of g; each is a whole picture. A **level** is one
//! of the decode sizes at t >= c, and its tokens are the largest t with that size.

use serde::Deserialize;

/// One row of the ladder: a prefix and what it decodes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Prefix {
    /// How many tokens.
    pub tokens: usize,
    /// The resolution R(t) that training aimed at, in pixels.
    pub resolution: u32,
    /// Pixels a side when decoded: R(t) rounded up to a multiple of the patch.
    pub size: u32,
}

/// A size that a generation can stop at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Level {
    /// Pixels a side.
    pub size: u32,
    /// How many tokens it takes: the largest prefix of this size.
    pub tokens: usize,
}

/// The whole table of one model, coarse to fine.
#[derive(Debug, Clone, PartialEq)]
pub struct Ladder {
    prefixes: Vec<Prefix>,
    levels: Vec<Level>,
}

/// What the formula needs: `R(t) = trunc(S - (S-1) ((N-t)/(N-1))^p)`.
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

    /// Whether `resolution` is R(t). Where the formula comes within 1e-6 of a whole number, either side of it is
    /// right: platforms differ in the last bit of pow.
    fn allows(&self, tokens: usize, resolution: u32) -> bool {
        let exact = self.resolution(tokens);
        [exact - 1e-6, exact + 1e-6].iter().any(|&r| (r as u32).clamp(1, self.size) == resolution)
    }

    fn prefixes(&self) -> impl Iterator<Item = usize> {
        let parallel = (self.causal + self.group..=self.tokens).step_by(self.group);
        (1..=self.causal).chain(parallel)
    }
}

impl Ladder {
    /// Checks a table against the formula; the error says which row lies.
    pub(crate) fn new(prefixes: Vec<Prefix>, formula: Formula) -> Result<Self, String> {
        let expected = formula.prefixes().count();
        if prefixes.len() != expected {
            return Err(format!("ladder.prefixes has {} rows, {expected} prefixes exist", prefixes.len()));
        }
        for (row, tokens) in prefixes.iter().zip(formula.prefixes()) {
            if row.tokens != tokens {
                return Err(format!("ladder.prefixes lists {} tokens where {tokens} should be", row.tokens));
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

    /// Every prefix, coarse to fine.
    pub fn prefixes(&self) -> &[Prefix] {
        &self.prefixes
    }

    /// Every level, coarse to fine. The last is the whole picture.
    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// The prefix of exactly `tokens` tokens, if there is one.
    pub fn prefix(&self, tokens: usize) -> Option<Prefix> {
        self.prefixes.binary_search_by_key(&tokens, |row| row.tokens).ok().map(|at| self.prefixes[at])
    }

    /// The level of `size` pixels, if there is one.
    pub fn level(&self, size: u32) -> Option<Level> {
        self.levels.iter().copied().find(|level| level.size == size)
    }

    /// The finest level that `tokens` tokens complete.
    pub fn finished(&self, tokens: usize) -> Option<Level> {
        self.levels.iter().copied().rev().find(|level| level.tokens <= tokens)
    }

    /// The levels' sizes as text, for errors: "32, 48, 80".
    pub(crate) fn sizes(&self) -> String {
        self.levels.iter().map(|level| level.size.to_string()).collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) const DETAILFLOW_16: Formula =
        Formula { size: 256, patch: 16, tokens: 128, group: 8, causal: 8, power: 1.5 };

    pub(crate) fn table(formula: Formula) -> Vec<Prefix> {
        let row = |tokens| {
            let resolution = (formula.resolution(tokens) as u32).clamp(1, formula.size);
            Prefix { tokens, resolution, size: resolution.next_multiple_of(formula.patch).max(formula.patch) }
        };
        formula.prefixes().map(row).collect()
    }

    #[test]
    fn detailflow_16_has_the_sizes_of_the_paper() {
        let ladder = Ladder::new(table(DETAILFLOW_16), DETAILFLOW_16).unwrap();
        let size = |tokens| ladder.prefix(tokens).unwrap().size;
        assert_eq!([8, 16, 24, 48, 64, 112, 128].map(size), [32, 48, 80, 128, 176, 256, 256]);
        assert_eq!(ladder.level(32), Some(Level { size: 32, tokens: 8 }));
        assert_eq!(ladder.level(256), Some(Level { size: 256, tokens: 128 }));
        assert_eq!(ladder.finished(15).unwrap().size, 32);
        assert_eq!(ladder.finished(7), None);
        assert_eq!(ladder.prefix(9), None);
    }

    #[test]
    fn a_table_that_lies_is_refused_by_row() {
        let change = |at: usize, edit: fn(&mut Prefix)| {
            let mut rows = table(DETAILFLOW_16);
            edit(&mut rows[at]);
            Ladder::new(rows, DETAILFLOW_16).unwrap_err()
        };
        assert!(change(10, |row| row.resolution += 1).contains("32 tokens"));
        assert!(change(10, |row| row.size += 16).contains("32 tokens"));
        assert!(change(10, |row| row.tokens += 1).contains("33 tokens"));
        let mut short = table(DETAILFLOW_16);
        short.pop();
        assert!(Ladder::new(short, DETAILFLOW_16).unwrap_err().contains("22 rows, 23 prefixes"));
    }

    #[test]
    fn one_token_is_a_ladder() {
        let formula = Formula { tokens: 1, group: 1, causal: 1, ..DETAILFLOW_16 };
        let ladder = Ladder::new(table(formula), formula).unwrap();
        assert_eq!(ladder.levels(), [Level { size: 256, tokens: 1 }]);
    }
}

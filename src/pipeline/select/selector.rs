//! Deciding: the candidates of a group one after another, by their facts alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::fmt;

use super::facts::{Candidate, Facts, Judge};
use super::near::Near;
use super::settings::SelectSettings;
use crate::support::error::{Error, Result};

/// What becomes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Decision {
    /// It is kept.
    Keep,
    /// It is dropped.
    Drop(Reason),
    /// It is among the best so far: [`Selector::take_displaced`] or [`Selector::end_group`] tell what becomes of it.
    Pending,
}

/// Why a candidate is dropped. Its text is for people, [`name`](Self::name) for programs.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum Reason {
    /// Values of the picture are NaN or infinite.
    Broken,
    /// Too few pixels are opaque.
    Empty {
        /// Their share.
        opaque: f32,
        /// The least that is allowed.
        min: f32,
    },
    /// Too many pixels are opaque.
    Full {
        /// Their share.
        opaque: f32,
        /// The most that is allowed.
        max: f32,
    },
    /// All pixels have one colour.
    OneColour,
    /// Opaque pixels are at all four edges.
    Edges,
    /// An earlier picture of the group has the same tokens.
    SameTokens {
        /// Its number.
        of: u64,
    },
    /// An earlier picture of the group looks the same.
    NearDuplicate {
        /// Its number.
        of: u64,
        /// In how many of 64 bits the hashes differ.
        distance: u32,
    },
    /// There is no score to choose the best by.
    NoScore,
    /// Others of the group have a higher score, or the same and a lower number.
    NotBest {
        /// Its score.
        score: f32,
        /// How many are kept.
        best: u32,
    },
}

impl Reason {
    /// A word for reports, of small letters and `-`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Broken => "broken",
            Self::Empty { .. } => "empty",
            Self::Full { .. } => "full",
            Self::OneColour => "one-colour",
            Self::Edges => "edges",
            Self::SameTokens { .. } => "same-tokens",
            Self::NearDuplicate { .. } => "near-duplicate",
            Self::NoScore => "no-score",
            Self::NotBest { .. } => "not-best",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |share: f32| f64::from(share) * 100.0;
        match *self {
            Self::Broken => f.write_str("values of the picture are NaN or infinite"),
            Self::Empty { opaque, min } => {
                write!(f, "{:.1} % of the pixels are opaque, at least {:.1} % must be", percent(opaque), percent(min))
            }
            Self::Full { opaque, max } => {
                write!(f, "{:.1} % of the pixels are opaque, at most {:.1} % may be", percent(opaque), percent(max))
            }
            Self::OneColour => f.write_str("the picture is of one colour"),
            Self::Edges => f.write_str("opaque pixels are at all four edges"),
            Self::SameTokens { of } => write!(f, "the tokens are those of picture {of}"),
            Self::NearDuplicate { of, distance } => {
                write!(f, "it looks as picture {of} does: {distance} of 64 bits of the hashes differ")
            }
            Self::NoScore => f.write_str("it has no score"),
            Self::NotBest { score, best } => write!(f, "the score {score:.4} is not among the best {best}"),
        }
    }
}

/// Decides which candidates of a group are kept. What it decides depends on the facts of the candidates, in the order of their
/// numbers, and on nothing else: it can be made again from facts that were recorded ([`restore`](Self::restore)).
///
/// Memory: 28 to 48 bytes for each distinct candidate of the group in progress if duplicates are dropped, and 16 for each of the
/// best.
#[derive(Debug)]
pub struct Selector {
    settings: SelectSettings,
    judge: Judge,
    near: Option<Near>,
    /// The best so far, the worst of them first.
    best: BinaryHeap<Ranked>,
    displaced: Vec<Ranked>,
    group: Option<Progress>,
}

/// Where the group in progress is.
#[derive(Debug)]
struct Progress {
    first: u64,
    /// The least number that the next candidate may have.
    next: u64,
}

/// A candidate and its score; the greatest is the worst.
#[derive(Debug, Clone, Copy)]
struct Ranked {
    score: f32,
    number: u64,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Self) -> Ordering {
        other.score.total_cmp(&self.score).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Ranked {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Ranked {}

impl Selector {
    /// Checks the settings and reads the reference picture.
    ///
    /// # Errors
    /// Those of [`SelectSettings::check`], and of [`Picture::open`](crate::Picture::open) for the reference picture.
    pub fn new(settings: &SelectSettings) -> Result<Self> {
        Ok(Self {
            judge: Judge::new(settings)?,
            near: settings.duplicates.map(Near::new),
            settings: settings.clone(),
            best: BinaryHeap::new(),
            displaced: Vec::new(),
            group: None,
        })
    }

    /// Gathers facts, for [`consider`](Self::consider), on other threads too.
    #[must_use]
    pub fn judge(&self) -> &Judge {
        &self.judge
    }

    /// Begins a group whose first picture has the number `first`. What was not decided of the group before is forgotten.
    pub fn begin_group(&mut self, first: u64) {
        if let Some(near) = &mut self.near {
            near.clear();
        }
        self.best.clear();
        self.displaced.clear();
        self.group = Some(Progress { first, next: first });
    }

    /// Decides about the next candidate: [`Judge::facts`], then [`consider`](Self::consider).
    ///
    /// # Errors
    /// Those of both.
    pub fn offer(&mut self, candidate: &Candidate<'_>) -> Result<Decision> {
        let facts = self.judge.facts(candidate)?;
        self.consider(candidate.number, &facts)
    }

    /// Decides about the next candidate. A decision other than [`Decision::Pending`] is final.
    ///
    /// # Errors
    /// [`Error::State`] if no group was begun; [`Error::Invalid`] if the number is not above that of the candidate before, or not
    /// within 2^32 of the first; [`Error::OutOfMemory`].
    pub fn consider(&mut self, number: u64, facts: &Facts) -> Result<Decision> {
        let Some(group) = &mut self.group else {
            return Err(Error::State("selection: no group was begun".to_owned()));
        };
        if number < group.next {
            let least = group.next;
            return Err(Error::Invalid(format!("selection: candidate {number} comes too late: {least} is the least")));
        }
        let Ok(offset) = u32::try_from(number - group.first) else {
            return Err(Error::Invalid(format!(
                "selection: candidate {number} is too far from {}, the first of its group: less than 2^32 is allowed",
                group.first
            )));
        };
        let first = group.first;
        if let Some(reason) = self.flaw(facts) {
            self.advance(number);
            return Ok(Decision::Drop(reason));
        }
        if let Some(near) = &mut self.near {
            if let Some(found) = near.find(facts) {
                let of = first + u64::from(found.offset);
                let reason = match found.distance {
                    None => Reason::SameTokens { of },
                    Some(distance) => Reason::NearDuplicate { of, distance },
                };
                self.advance(number);
                return Ok(Decision::Drop(reason));
            }
            near.add(offset, facts)?;
        }
        let decision = match self.settings.best {
            None => Decision::Keep,
            Some(best) => self.rank(Ranked { score: facts.score, number }, best)?,
        };
        self.advance(number);
        Ok(decision)
    }

    fn advance(&mut self, number: u64) {
        if let Some(group) = &mut self.group {
            group.next = number.saturating_add(1);
        }
    }

    fn flaw(&self, facts: &Facts) -> Option<Reason> {
        let limits = self.settings.alpha.as_ref()?;
        let (opaque, alpha) = (facts.opaque, facts.has(Facts::ALPHA));
        if facts.has(Facts::BROKEN) {
            Some(Reason::Broken)
        } else if alpha && opaque < limits.min {
            Some(Reason::Empty { opaque, min: limits.min })
        } else if alpha && opaque > limits.max {
            Some(Reason::Full { opaque, max: limits.max })
        } else if facts.has(Facts::ONE_COLOUR) {
            Some(Reason::OneColour)
        } else {
            (limits.edges && facts.has(Facts::EDGES)).then_some(Reason::Edges)
        }
    }

    fn rank(&mut self, ranked: Ranked, best: u32) -> Result<Decision> {
        if ranked.score.is_nan() {
            return Ok(Decision::Drop(Reason::NoScore));
        }
        if self.best.len() < best as usize {
            let bytes = (self.best.len() as u64 + 1) * size_of::<Ranked>() as u64;
            let refuse = |_| Error::OutOfMemory { what: "the best of a selection".to_owned(), bytes };
            self.best.try_reserve(1).map_err(refuse)?;
            self.best.push(ranked);
            return Ok(Decision::Pending);
        }
        if let Some(mut worst) = self.best.peek_mut()
            && ranked < *worst
        {
            let bytes = (self.displaced.len() as u64 + 1) * size_of::<Ranked>() as u64;
            let refuse = |_| Error::OutOfMemory { what: "the best of a selection".to_owned(), bytes };
            self.displaced.try_reserve(1).map_err(refuse)?;
            self.displaced.push(*worst);
            *worst = ranked;
            return Ok(Decision::Pending);
        }
        Ok(Decision::Drop(self.not_best(ranked)))
    }

    fn not_best(&self, ranked: Ranked) -> Reason {
        Reason::NotBest { score: ranked.score, best: self.settings.best.unwrap_or(0) }
    }

    /// The pending candidates that better ones displaced since the last call, in no particular order. They are dropped, so that
    /// what is held for them can be let go before the group ends.
    pub fn take_displaced(&mut self) -> Vec<(u64, Reason)> {
        let displaced = std::mem::take(&mut self.displaced);
        displaced.into_iter().map(|ranked| (ranked.number, self.not_best(ranked))).collect()
    }

    /// The candidates that are pending, in the order of their numbers.
    #[must_use]
    pub fn pending(&self) -> Vec<u64> {
        let mut numbers: Vec<u64> = self.best.iter().map(|ranked| ranked.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Ends the group: what becomes of each pending candidate that [`take_displaced`](Self::take_displaced) has not told yet,
    /// in the order of their numbers.
    pub fn end_group(&mut self) -> Vec<(u64, Decision)> {
        let dropped = self.take_displaced().into_iter().map(|(number, reason)| (number, Decision::Drop(reason)));
        let kept = self.best.drain().map(|ranked| (ranked.number, Decision::Keep));
        let mut decisions: Vec<(u64, Decision)> = dropped.chain(kept).collect();
        decisions.sort_unstable_by_key(|&(number, _)| number);
        if let Some(near) = &mut self.near {
            near.clear();
        }
        self.group = None;
        decisions
    }

    /// Puts the selector where it was in the group whose first picture has the number `first`, after these candidates: their
    /// facts as [`Judge::facts`] gave them, in the order of their numbers, those that were dropped included. Candidates that
    /// were displaced are told again.
    ///
    /// # Errors
    /// Those of [`consider`](Self::consider).
    pub fn restore(&mut self, first: u64, candidates: impl IntoIterator<Item = (u64, Facts)>) -> Result<()> {
        self.begin_group(first);
        for (number, facts) in candidates {
            self.consider(number, &facts)?;
        }
        Ok(())
    }
}

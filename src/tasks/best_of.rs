//! Best of many: draw candidates to a coarse level, score them there, go on with the best only. What falls away costs
//! no further step.

use crate::generation::request::Request;
use crate::generation::{Cancel, Generation, Progress};
use crate::pixels::{Image, Picture};
use crate::plan::Level;
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};

/// When candidates are scored, and how many go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Pixels a side of the level at which they are scored.
    pub level: u32,
    /// How many go on; at least 1, and fewer than there are.
    pub keep: usize,
}

/// What makes a candidate better than another.
pub enum Scorer<'a> {
    /// The mean log-probability of its tokens: how typical the model finds it of its class
    /// (see [`Generation::log_probabilities`]).
    LogProbability,
    /// Likeness to this picture at the level: minus the mean squared difference of the premultiplied channels (0 to 1).
    Likeness(&'a Picture),
    /// The larger what it gives the better. It is called once for each candidate, in order.
    Custom(&'a mut dyn FnMut(&Candidate<'_>) -> f32),
}

/// A candidate at the level where it is scored.
#[derive(Debug)]
pub struct Candidate<'a> {
    /// Which picture of the request it is.
    pub index: usize,
    /// Its class.
    pub class: u32,
    /// Its seed.
    pub seed: u64,
    /// Its tokens so far: those of the level.
    pub tokens: &'a [u32],
    /// What they decode to.
    pub image: &'a Image,
}

/// A request whose pictures are candidates, on its way.
pub struct BestOf<'a> {
    generation: Generation,
    rounds: Vec<(Level, usize)>,
    scorer: Scorer<'a>,
    /// Which picture of the request each picture of the generation is.
    survivors: Vec<usize>,
    /// The last score of each picture of the request; none before its first.
    scores: Vec<Option<f32>>,
}

impl<'a> BestOf<'a> {
    /// Begins: the pictures of `request` are the candidates, and its level is the one that those who stay reach.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no round, one has no such level, the levels do not rise or lie beyond the
    /// request's, or a round would not let anybody fall away; those of [`Generation::new`].
    pub fn new(request: &Request, rounds: &[Round], scorer: Scorer<'a>) -> Result<Self> {
        let model = request.model();
        let mut left = request.images().len();
        let mut last = 0;
        let given = request.given()?;
        let mut checked = Vec::new();
        for &Round { level, keep } in rounds {
            let level = model.level(level)?;
            if level.tokens <= last || level.tokens > request.target() {
                let text =
                    format!("the {} px level of a round is not above the one before, or beyond the last", level.size);
                return Err(Error::Invalid(text));
            }
            if level.tokens <= given {
                let text =
                    format!("the {} px level of a round is given already: nothing is drawn before it", level.size);
                return Err(Error::Invalid(text));
            }
            if keep == 0 || keep >= left {
                return Err(Error::Invalid(format!("a round that keeps {keep} of {left} candidates")));
            }
            (left, last) = (keep, level.tokens);
            checked.push((level, keep));
        }
        if checked.is_empty() {
            return Err(Error::Invalid("best of many without a round".into()));
        }
        let mut request = request.try_clone()?;
        if matches!(scorer, Scorer::LogProbability) {
            request.set_log_probabilities(true);
        }
        let count = request.images().len();
        let mut survivors = reserve("candidates", count)?;
        survivors.extend(0..count);
        checked.reverse();
        Ok(Self {
            generation: Generation::new(&request)?,
            rounds: checked,
            scorer,
            survivors,
            scores: filled("candidates", count, None)?,
        })
    }

    /// Scores the candidates when they stand at a round's level, and does the next step with those that stay.
    ///
    /// # Errors
    /// Those of [`Generation::step`]; [`Error::Invalid`] when a score is not a number.
    pub fn step(&mut self) -> Result<Progress> {
        self.cull()?;
        let progress = self.generation.step()?;
        if progress.steps_left == 0 {
            self.cull()?;
        }
        Ok(progress)
    }

    /// Does all steps that are left.
    pub fn finish(&mut self) -> Result<Progress> {
        while self.step()?.steps_left > 0 {}
        Ok(self.generation.progress())
    }

    /// The candidates that are left, as pictures of the request, the best first once they were scored.
    pub fn survivors(&self) -> &[usize] {
        &self.survivors
    }

    /// The last score of each picture of the request.
    pub fn scores(&self) -> &[Option<f32>] {
        &self.scores
    }

    /// What is being drawn: its picture i is the request's picture `survivors()[i]`.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// The same, for good.
    pub fn into_generation(self) -> Generation {
        self.generation
    }

    /// The handle that stops it.
    pub fn cancel_handle(&self) -> Cancel {
        self.generation.cancel_handle()
    }

    fn cull(&mut self) -> Result<()> {
        let tokens = self.generation.progress().tokens;
        while let Some(&(level, keep)) = self.rounds.last()
            && tokens >= level.tokens
        {
            let scores = self.judge(level)?;
            let mut order: Vec<usize> = reserve("candidates", scores.len())?;
            order.extend(0..scores.len());
            // Of equals the first.
            order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            order.truncate(keep);
            self.generation.keep(&order)?;
            for (&survivor, &score) in self.survivors.iter().zip(&scores) {
                self.scores[survivor] = Some(score);
            }
            let mut survivors = reserve("the candidates", order.len())?;
            survivors.extend(order.iter().map(|&at| self.survivors[at]));
            self.survivors = survivors;
            self.rounds.pop();
        }
        Ok(())
    }

    fn judge(&mut self, level: Level) -> Result<Vec<f32>> {
        let model = self.generation.model().clone();
        let wanted = match &self.scorer {
            Scorer::Likeness(picture) => picture.planes(level.size, model.bundle().channels())?,
            _ => Vec::new(),
        };
        let mut scores = reserve("candidates", self.survivors.len())?;
        for (at, &index) in self.survivors.iter().enumerate() {
            let tokens = &self.generation.tokens(at)?[..level.tokens];
            let score = match &mut self.scorer {
                Scorer::LogProbability => {
                    let each = &self.generation.log_probabilities(at)?[..level.tokens];
                    (each.iter().map(|&value| f64::from(value)).sum::<f64>() / each.len() as f64) as f32
                }
                Scorer::Likeness(_) => -difference(model.decode(tokens)?.planes(), &wanted, model.bundle().channels()),
                Scorer::Custom(score) => {
                    let request = self.generation.images()[at];
                    let image = &model.decode(tokens)?;
                    score(&Candidate { index, class: request.class, seed: request.seed, tokens, image })
                }
            };
            if score.is_nan() {
                return Err(Error::Invalid(format!("the score of candidate {index} is not a number")));
            }
            scores.push(score);
        }
        Ok(scores)
    }
}

impl std::fmt::Debug for BestOf<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BestOf")
            .field("survivors", &self.survivors)
            .field("scores", &self.scores)
            .finish_non_exhaustive()
    }
}

/// Mean squared difference of planes of about -1..1, over 0..1. What was decoded counts as it is shown: no colour is
/// more than its alpha.
fn difference(found: &[f32], wanted: &[f32], channels: usize) -> f32 {
    let plane = found.len() / channels;
    let shown = |at: usize| {
        let value = found[at].clamp(-1.0, 1.0);
        if channels == 4 { value.min(found[3 * plane + at % plane].clamp(-1.0, 1.0)) } else { value }
    };
    let square = |(at, &wanted): (usize, &f32)| {
        let difference = f64::from(shown(at) - wanted) / 2.0;
        difference * difference
    };
    let sum: f64 = wanted.iter().enumerate().map(square).sum();
    (sum / found.len().max(1) as f64) as f32
}

#[cfg(test)]
mod tests {
    #[test]
    fn likeness_is_a_squared_difference_of_0_to_1() {
        assert_eq!(super::difference(&[-1.0, 1.0, 0.0], &[1.0, 1.0, 0.0], 3), 1.0 / 3.0);
        assert_eq!(super::difference(&[3.0, -0.5, 0.0], &[1.0, -0.5, 0.0], 3), 0.0);
        // One pixel whose red is above its alpha: it is shown as if it were as large.
        assert_eq!(super::difference(&[0.5, -1.0, -0.5, 0.0], &[0.0, -1.0, -0.5, 0.0], 4), 0.0);
    }
}

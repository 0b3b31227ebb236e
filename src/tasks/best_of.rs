//! Best of many: generates candidates up to a coarse level, scores them there, and continues with the best only.
//! Candidates that fall away cost no further step.

use crate::generation::request::Request;
use crate::generation::{Cancel, Generation, Progress};
use crate::pixels::{Image, Picture};
use crate::plan::Level;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{filled, reserve};

/// When candidates are scored, and how many of them continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// Pixels per side of the level at which candidates are scored.
    pub level_size: u32,
    /// How many candidates continue; at least 1, and fewer than remain.
    pub retained_count: usize,
}

/// How candidates are scored. Higher is better.
pub enum Scorer<'a> {
    /// The mean log-probability of the tokens: how typical of its class the model holds the candidate (see
    /// [`Generation::log_probabilities`]).
    LogProbability,
    /// Similarity to this picture at the level: minus the mean squared difference of the premultiplied channels (0 to 1).
    Likeness(&'a Picture),
    /// A function that returns the score. Called once per candidate, in order, on the stepping thread.
    Custom(&'a mut dyn FnMut(&Candidate<'_>) -> f32),
}

impl std::fmt::Debug for Scorer<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::LogProbability => "LogProbability",
            Self::Likeness(_) => "Likeness",
            Self::Custom(_) => "Custom",
        })
    }
}

/// A candidate at the level at which it is scored.
#[derive(Debug)]
#[non_exhaustive]
pub struct Candidate<'a> {
    /// Index of its image in the request.
    pub index: usize,
    /// Its class.
    pub class: u32,
    /// Its seed.
    pub seed: u64,
    /// The tokens of the level.
    pub tokens: &'a [u32],
    /// The decoded level.
    pub image: &'a Image,
}

/// A generation whose images are candidates.
pub struct BestOf<'a> {
    generation: Generation,
    rounds: Vec<(Level, usize)>,
    scorer: Scorer<'a>,
    /// For each image of the generation, its index in the request.
    survivors: Vec<usize>,
    /// The last score of each image of the request; None before its first.
    scores: Vec<Option<f32>>,
}

impl<'a> BestOf<'a> {
    /// Starts a generation: the images of `request` are the candidates, and its level is the one that the last survivors
    /// reach. The levels of `rounds` must rise.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `rounds` is empty, a round has no such level, its level is not above the one before or is
    /// beyond that of the request, or it keeps none or all of the candidates that remain; those of [`Generation::new`].
    pub fn new(request: &Request, rounds: &[Round], scorer: Scorer<'a>) -> Result<Self> {
        let _host = host::enter();
        let model = request.model();
        let mut left = request.images().len();
        let mut last = 0;
        let given = request.given()?;
        let mut checked = Vec::new();
        for (number, &Round { level_size, retained_count: keep }) in rounds.iter().enumerate() {
            let level = model.level(level_size)?;
            let refuse = |what: String| Err(Error::Invalid(format!("best-of: {what}")));
            if level.tokens <= last {
                return refuse(format!("the {level_size} px level of round {number} is not above the one before"));
            }
            if level.tokens > request.target() {
                return refuse(format!(
                    "the {level_size} px level of round {number} is beyond the last of the request"
                ));
            }
            if level.tokens <= given {
                return refuse(format!("the {level_size} px level of round {number} is part of the prefix"));
            }
            if keep == 0 || keep >= left {
                return refuse(format!(
                    "round {number} keeps {keep} of {left} candidates; it must keep at least 1 and fewer than remain"
                ));
            }
            (left, last) = (keep, level.tokens);
            checked.push((level, keep));
        }
        if checked.is_empty() {
            return Err(Error::Invalid("best-of: there is no round; at least one is needed".into()));
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

    /// Scores the candidates when they have reached the level of a round, then does the next step with those that remain.
    ///
    /// # Errors
    /// Those of [`Generation::step`]; those of [`Model::decode`](crate::Model::decode); [`Error::Invalid`] when a score is
    /// NaN.
    pub fn step(&mut self) -> Result<Progress> {
        let _host = host::enter();
        self.cull()?;
        let progress = self.generation.step()?;
        if progress.steps_left == 0 {
            self.cull()?;
        }
        Ok(progress)
    }

    /// Does all steps that are left.
    ///
    /// # Errors
    /// Those of [`step`](Self::step).
    pub fn finish(&mut self) -> Result<Progress> {
        while self.step()?.steps_left > 0 {}
        Ok(self.generation.progress())
    }

    /// The candidates that remain, by their index in the request; best first once they were scored.
    #[must_use]
    pub fn survivors(&self) -> &[usize] {
        &self.survivors
    }

    /// The last score of each image of the request; None before its first.
    #[must_use]
    pub fn scores(&self) -> &[Option<f32>] {
        &self.scores
    }

    /// The generation. Its image `i` is image `survivors()[i]` of the request.
    #[must_use]
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Ends the selection and returns the generation.
    #[must_use]
    pub fn into_generation(self) -> Generation {
        self.generation
    }

    /// The handle that stops it.
    #[must_use]
    pub fn cancel_handle(&self) -> Cancel {
        self.generation.cancel_handle()
    }

    fn cull(&mut self) -> Result<()> {
        let tokens = self.generation.progress().tokens;
        while let Some(&(level, keep)) = self.rounds.last()
            && tokens >= level.tokens
        {
            let scores = self.scores_at(level)?;
            let mut order: Vec<usize> = reserve("candidates", scores.len())?;
            order.extend(0..scores.len());
            // Among equal scores the first candidate wins.
            order.sort_unstable_by(|&a, &b| scores[b].total_cmp(&scores[a]).then(a.cmp(&b)));
            order.truncate(keep);
            self.generation.retain_images(&order)?;
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

    fn scores_at(&mut self, level: Level) -> Result<Vec<f32>> {
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
                    let candidate = Candidate { index, class: request.class, seed: request.seed, tokens, image };
                    host::call_back(|| score(&candidate))
                }
            };
            if score.is_nan() {
                return Err(Error::Invalid(format!("best-of: the score of candidate {index} is NaN")));
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

/// Mean squared difference of planes in about -1..1, scaled to 0..1. The decoded planes count as they are shown: no colour
/// exceeds its alpha.
pub(crate) fn difference(found: &[f32], wanted: &[f32], channels: usize) -> f32 {
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
    fn likeness_difference_is_squared_and_scaled() {
        assert_eq!(super::difference(&[-1.0, 1.0, 0.0], &[1.0, 1.0, 0.0], 3), 1.0 / 3.0);
        assert_eq!(super::difference(&[3.0, -0.5, 0.0], &[1.0, -0.5, 0.0], 3), 0.0);
        // One pixel whose red exceeds its alpha is shown with red equal to alpha.
        assert_eq!(super::difference(&[0.5, -1.0, -0.5, 0.0], &[0.0, -1.0, -0.5, 0.0], 4), 0.0);
    }
}

//! Encoding with a search: tokens that decode to a picture better than those that the encoder chooses.
//!
//! The encoder looks up the code nearest to each latent, as if tokens did not depend on each other. The search tries other
//! near codes at one position after the other, decodes them, and keeps what lowers the error. Each token belongs to its own
//! level and all finer ones, so what is lowered is a sum over these: the mean squared error of a level, relative to that of the
//! tokens so far. The finest counts [`FINEST`] times as much as the others together.
//! `onnx/PERFORMANCE.md` has the gain and the times of each effort.

use std::fmt;

use super::codec::decode_at_once;
use super::{Codebook, Model, OpenCancel};
use crate::pixels::Picture;
use crate::plan::{Level, Prefix};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{copied, filled, reserve};

/// The largest [`EncodeOptions::with_effort`].
pub const MAX_EFFORT: u32 = 4;

/// (codes at each position, with the present one; most rounds over all positions), for efforts from 1 on.
const EFFORTS: [(usize, usize); MAX_EFFORT as usize] = [(2, 1), (4, 1), (8, 2), (16, 3)];

/// How much more the error of the finest level counts than those of the others together.
const FINEST: f64 = 4.0 / 3.0;

/// Added to mean squared errors, in units of the whole range (50 dB): a picture that is nearly exact at one level does not
/// outweigh the others.
const FLOOR: f64 = 1e-5;

/// The least gain, relative to all errors, for which a token changes.
const LEAST_GAIN: f64 = 1e-6;

type OnProgress<'a> = Box<dyn FnMut(f32) + 'a>;

/// How [`Model::encode_with`] encodes. The default is effort 0: the encoder alone.
///
/// ```no_run
/// use detailflow::{EncodeOptions, Model, ModelOptions, Picture};
///
/// let model = Model::open_default(&ModelOptions::new())?;
/// let picture = Picture::open("potion.png")?;
/// let options = EncodeOptions::new().with_effort(3).with_progress(|share| eprintln!("{:.0} %", 100.0 * share));
/// let tokens = model.encode_with(&picture, options)?;
/// # detailflow::Result::<()>::Ok(())
/// ```
#[derive(Default)]
pub struct EncodeOptions<'a> {
    effort: u32,
    level_size: u32,
    cancel: Option<OpenCancel>,
    progress: Option<OnProgress<'a>>,
}

impl<'a> EncodeOptions<'a> {
    /// Effort 0.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long to search for tokens that decode to the picture with less error: 0 (the encoder alone) to
    /// [`MAX_EFFORT`]. 1 and 2 decode up to 1 and 3 pictures for each token, 3 and 4 up to 7 and 15 in each of at most 2 and
    /// 3 rounds. The coarser levels are decoded beside them, which takes half as long again for the 4 levels of the shipped
    /// model, and several times as long for models of many levels.
    #[must_use]
    pub fn with_effort(mut self, effort: u32) -> Self {
        self.effort = effort;
        self
    }

    /// Encodes to the tokens of the level of `level_size` pixels per side only, and searches for those; 0 (the default) is the
    /// finest.
    #[must_use]
    pub fn with_level_size(mut self, level_size: u32) -> Self {
        self.level_size = level_size;
        self
    }

    /// Stops when `cancel` is cancelled.
    #[must_use]
    pub fn with_cancel(mut self, cancel: OpenCancel) -> Self {
        self.cancel = Some(cancel);
        self
    }

    /// Calls `progress` on the encoding thread after each position, with the share of the search that is done, 0 to 1. The
    /// search ends before 1 when a round changes nothing.
    #[must_use]
    pub fn with_progress(mut self, progress: impl FnMut(f32) + 'a) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// Fails if the effort is over [`MAX_EFFORT`].
    pub(crate) fn check(&self) -> Result<()> {
        if self.effort > MAX_EFFORT {
            return Err(Error::Invalid(format!("effort is {}; 0 to {MAX_EFFORT} are allowed", self.effort)));
        }
        Ok(())
    }

    fn go_on(&self) -> Result<()> {
        if self.cancel.as_ref().is_some_and(OpenCancel::is_cancelled) { Err(Error::Cancelled) } else { Ok(()) }
    }
}

impl fmt::Debug for EncodeOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { effort, level_size, cancel, progress } = self;
        let mut shown = f.debug_struct("EncodeOptions");
        shown
            .field("effort", effort)
            .field("level_size", level_size)
            .field("cancel", cancel)
            .field("progress", &progress.is_some())
            .finish()
    }
}

impl Model {
    /// Encodes a picture to its tokens, as [`encode`](Self::encode) does, and searches for better ones as `options` say.
    /// The result does not depend on threads; with the same tokens and pixels of encoder and decoder (int8 `native` on any
    /// CPU) it is the same.
    ///
    /// # Errors
    /// Those of [`encode`](Self::encode) and [`decode`](Self::decode); [`Error::Invalid`] when the effort is over
    /// [`MAX_EFFORT`], or there is no such level; [`Error::State`] when there is an effort and the encoder does not hold its codebook as
    /// `onnx/BUNDLE.md` says; [`Error::Cancelled`].
    pub fn encode_with(&self, picture: &Picture, mut options: EncodeOptions<'_>) -> Result<Vec<u32>> {
        options.check()?;
        options.go_on()?;
        let kept = if options.level_size == 0 { self.bundle().tokens } else { self.level(options.level_size)?.tokens };
        let Some(&(count, rounds)) = options.effort.checked_sub(1).and_then(|at| EFFORTS.get(at as usize)) else {
            let mut tokens = self.encode(picture)?;
            tokens.truncate(kept);
            return Ok(tokens);
        };
        let _host = host::enter();
        let encoder = self.encoder()?;
        let book = encoder.codebook.as_ref();
        let book = book.map_err(|why| Error::State(format!("without a codebook no tokens are searched for: {why}")))?;
        let planes = picture.planes(self.bundle().size, self.bundle().channels)?;
        let (tokens, latents) = self.encoded(&encoder, &planes, |latents| copied("latents", latents))?;
        if latents.len() != tokens.len() * book.width() {
            return Err(self.wrong_output(encoder.graph.name(), "latents of another width than its codebook"));
        }
        let tokens = &tokens[..kept];
        let candidates = nearest(book, &latents[..kept * book.width()], count)?;
        let mut search = Search::new(self, picture, tokens)?;
        let steps = rounds * tokens.len();
        for round in 0..rounds {
            let mut changed = false;
            for (at, near) in candidates.iter().enumerate() {
                options.go_on()?;
                changed |= search.improve(at, near)?;
                if let Some(progress) = &mut options.progress {
                    host::call_back(|| progress((round * tokens.len() + at + 1) as f32 / steps as f32));
                }
            }
            if !changed {
                break;
            }
        }
        Ok(search.tokens)
    }
}

/// The `count` codes nearest to each latent.
fn nearest(book: &Codebook, latents: &[f32], count: usize) -> Result<Vec<Vec<u32>>> {
    let mut near = reserve("codes", latents.len() / book.width())?;
    for latent in latents.chunks_exact(book.width()) {
        near.push(book.nearest(latent, count)?);
    }
    Ok(near)
}

/// Tokens of a picture, and how far each level is from it.
struct Search<'a> {
    model: &'a Model,
    levels: Vec<Target>,
    tokens: Vec<u32>,
}

/// What a level should decode to.
struct Target {
    prefix: Prefix,
    /// As the decoder returns pixels.
    planes: Vec<f32>,
    /// The mean squared error of the tokens, with the floor.
    error: f64,
    weight: f64,
}

impl<'a> Search<'a> {
    fn new(model: &'a Model, picture: &Picture, tokens: &[u32]) -> Result<Self> {
        let bundle = model.bundle();
        let ladder = bundle.ladder();
        let mut levels = reserve("levels", ladder.levels().len())?;
        for &Level { size, tokens: count } in ladder.levels().iter().take_while(|level| level.tokens <= tokens.len()) {
            let prefix = model.check_prefix(&tokens[..count])?;
            let weight = if count == tokens.len() { FINEST * levels.len().max(1) as f64 } else { 1.0 };
            let planes = picture.planes(size, bundle.channels)?;
            levels.push(Target { prefix, planes, error: 0.0, weight });
        }
        let mut search = Self { model, levels, tokens: copied("tokens", tokens)? };
        for level in 0..search.levels.len() {
            search.levels[level].error = search.errors(level, 0, &search.tokens[..1])?[0];
        }
        Ok(search)
    }

    /// Tries the codes `near` at one position, and takes the best of them if it is better than the code that is there.
    fn improve(&mut self, at: usize, near: &[u32]) -> Result<bool> {
        let mut others = reserve("codes", near.len())?;
        others.extend(near.iter().copied().filter(|&code| code != self.tokens[at]));
        let first = self.levels.iter().position(|level| level.prefix.tokens > at).unwrap_or(self.levels.len());
        let weights: f64 = self.levels[first..].iter().map(|level| level.weight).sum();
        let mut sums = filled("errors", others.len(), 0.0)?;
        let mut found = reserve("errors", self.levels.len())?;
        for index in first..self.levels.len() {
            let errors = self.errors(index, at, &others)?;
            let level = &self.levels[index];
            sums.iter_mut().zip(&errors).for_each(|(sum, error)| *sum += level.weight * (error / level.error));
            found.push(errors);
        }
        let best = sums.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        let Some((best, _)) = best.filter(|(_, sum)| **sum < weights * (1.0 - LEAST_GAIN)) else { return Ok(false) };
        self.tokens[at] = others[best];
        for (level, errors) in self.levels[first..].iter_mut().zip(found) {
            level.error = errors[best];
        }
        Ok(true)
    }

    /// The errors of a level with each of `codes` at position `at`.
    fn errors(&self, level: usize, at: usize, codes: &[u32]) -> Result<Vec<f64>> {
        let Target { prefix, planes, .. } = &self.levels[level];
        let mut errors = reserve("errors", codes.len())?;
        for part in codes.chunks(decode_at_once(*prefix)) {
            let mut ids = reserve("tokens", part.len().saturating_mul(prefix.tokens))?;
            for &code in part {
                let begun = ids.len();
                ids.extend(self.tokens[..prefix.tokens].iter().map(|&token| i64::from(token)));
                ids[begun + at] = i64::from(code);
            }
            self.model.decode_pixels(&ids, *prefix, |pixels| {
                errors.push(error(pixels, planes));
                Ok(())
            })?;
        }
        Ok(errors)
    }
}

/// The mean squared error of pixels of -1 to 1, in units of the whole range, with the floor.
fn error(pixels: &[f32], wanted: &[f32]) -> f64 {
    let squares = pixels.iter().zip(wanted).map(|(pixel, wanted)| {
        let difference = f64::from(pixel.clamp(-1.0, 1.0) - wanted) / 2.0;
        difference * difference
    });
    squares.sum::<f64>() / wanted.len().max(1) as f64 + FLOOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_is_of_clamped_pixels_over_the_range() {
        assert!((error(&[1.0, -1.0], &[0.0, 0.0]) - 0.25 - FLOOR).abs() < 1e-12);
        assert!((error(&[7.0, -9.0], &[1.0, -1.0]) - FLOOR).abs() < 1e-12);
    }
}

//! Teacher forcing: how likely a model holds given tokens, without sampling any.

use crate::generation::Generation;
use crate::generation::request::{ImageRequest, Request};
use crate::model::Model;
use crate::plan::{Guidance, Mix};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{copied, reserve};

/// The natural logarithm of the probability of each of `tokens`, as an image of class `class`: what
/// [`Generation::log_probabilities`] gives for tokens that were sampled. Takes the steps that sampling them takes, without
/// guidance.
///
/// # Errors
/// [`Error::Invalid`] when there is no such class or `tokens` is not a prefix of this model; [`Error::State`] when the
/// bundle holds the decoder alone; those of [`Generation::step`].
pub fn score(model: &Model, class: u32, tokens: &[u32]) -> Result<Vec<f32>> {
    let mut scores = score_all(model, &[(class, tokens)])?;
    Ok(scores.swap_remove(0))
}

/// As [`score`], as an image of a mix: of the mean of the logits of its classes, without what it avoids.
///
/// # Errors
/// Those of [`score`].
pub fn score_mix(model: &Model, mix: &Mix, tokens: &[u32]) -> Result<Vec<f32>> {
    let _host = host::enter();
    let mut scores = scores(model, &[(mix.main_class(), tokens)], Some(mix))?;
    Ok(scores.swap_remove(0))
}

/// As [`score`], for several images in one batch: class and tokens of each, as many tokens for each. Scoring the same
/// tokens for several classes tells the likeliest class.
///
/// # Errors
/// Those of [`score`], and [`Error::Invalid`] when `images` is empty or the numbers of tokens differ.
pub fn score_all(model: &Model, images: &[(u32, &[u32])]) -> Result<Vec<Vec<f32>>> {
    let _host = host::enter();
    scores(model, images, None)
}

/// The scores of images of one class each, or all of one mix.
fn scores(model: &Model, images: &[(u32, &[u32])], mix: Option<&Mix>) -> Result<Vec<Vec<f32>>> {
    model.bundle().check_can_generate()?;
    let count = u32::try_from(images.len()).unwrap_or(u32::MAX);
    let mut request = Request::new(model);
    request.set_count(count)?.set_log_probabilities(true).set_guidance(Guidance::constant(1.0))?;
    for (at, &(class, tokens)) in images.iter().enumerate() {
        if tokens.is_empty() {
            return Err(Error::Invalid(format!("image {at} has no tokens to score")));
        }
        request.set_image(at, ImageRequest { class, seed: 0 })?.set_image_prefix(at, tokens)?;
    }
    if let Some(mix) = mix {
        request.set_mix(mix)?;
    }
    request.target = images[0].1.len();
    let mut generation = Generation::begin(&request, true)?;
    generation.finish()?;
    let mut scores = reserve("scores", images.len())?;
    for at in 0..images.len() {
        scores.push(copied("scores", generation.log_probabilities(at)?)?);
    }
    Ok(scores)
}

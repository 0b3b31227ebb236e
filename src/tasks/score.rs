//! How likely given tokens are: the model's own judgement of a picture, without drawing.

use crate::generation::Generation;
use crate::generation::request::{ImageRequest, Request};
use crate::model::Model;
use crate::plan::Guidance;
use crate::support::error::{Error, Result};

impl Model {
    /// The natural logarithm of the probability of each token of a picture of class `class`, as
    /// [`Generation::log_probabilities`] gives it for tokens that were drawn. Takes the steps that drawing them takes,
    /// without guidance.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such class or the tokens are no prefix of this model's; those of
    /// [`Generation::step`].
    pub fn score(&self, class: u32, tokens: &[u32]) -> Result<Vec<f32>> {
        let mut scores = self.score_all(&[(class, tokens)])?;
        Ok(scores.swap_remove(0))
    }

    /// As [`score`](Self::score), for several pictures of as many tokens each, in one batch. The same tokens for several
    /// classes tell which class they are likeliest of.
    pub fn score_all(&self, pictures: &[(u32, &[u32])]) -> Result<Vec<Vec<f32>>> {
        self.bundle().check_can_generate()?;
        let count = u32::try_from(pictures.len()).unwrap_or(u32::MAX);
        let mut request = Request::new(self);
        request.set_count(count)?.set_log_probabilities(true).set_guidance(Guidance::constant(1.0))?;
        for (at, &(class, tokens)) in pictures.iter().enumerate() {
            if tokens.is_empty() {
                return Err(Error::Invalid("there are no tokens to score".into()));
            }
            request.set_image(at, ImageRequest { class, seed: 0 })?.set_image_prefix(at, tokens)?;
        }
        request.target = pictures[0].1.len();
        let mut generation = Generation::begin(&request, true)?;
        generation.finish()?;
        (0..pictures.len()).map(|at| Ok(generation.log_probabilities(at)?.to_vec())).collect()
    }
}

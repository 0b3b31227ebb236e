//! Samples the tokens again that a damaged token file lost.

use crate::generation::Generation;
use crate::generation::request::{ImageRequest, Request};
use crate::support::error::{Error, Result};
use crate::support::memory::copied;
use crate::tokens::Dft;

/// Continues from the sound tokens of `dft`, which do not change, until it has `count` tokens: as many as
/// [`Soundness::promised`](crate::tokens::Soundness::promised) says that it had, or the length of any other prefix. Class
/// and seed come from the file; where it has none, from the first image of `request`, which also gives the sampling
/// settings. With the model and settings of the original the result is the original.
///
/// # Errors
/// [`Error::Invalid`] when the tokens are not of the request's model, or `count` is not the length of a prefix; those of
/// [`Generation::new`] and [`Generation::finish`].
pub fn repair(request: &Request, dft: &Dft, count: usize) -> Result<Dft> {
    let model = request.model();
    let bundle = model.bundle();
    bundle.check_dft(dft)?;
    if !dft.geometry.is_prefix(count) {
        return Err(Error::Invalid(format!("{count} tokens are not a prefix of {}", bundle.name())));
    }
    if count <= dft.tokens.len() {
        return repaired(dft, dft.class, dft.seed, &dft.tokens[..count]);
    }
    let mut image = request.images()[0];
    image = ImageRequest { class: dft.class.unwrap_or(image.class), seed: dft.seed.unwrap_or(image.seed) };
    let level = bundle.ladder().levels().iter().find(|level| level.tokens >= count);
    let mut request = request.try_clone()?;
    request.set_count(1)?.set_image(0, image)?.set_prefix(&dft.tokens)?;
    request.set_level_size(level.map_or(0, |level| level.size))?;
    let mut generation = Generation::new(&request)?;
    while generation.progress().tokens < count {
        generation.step()?;
    }
    repaired(dft, Some(image.class), Some(image.seed), generation.tokens(0)?)
}

/// A sequence of the same model with these tokens.
fn repaired(dft: &Dft, class: Option<u32>, seed: Option<u64>, tokens: &[u32]) -> Result<Dft> {
    Ok(Dft { tokenizer: dft.tokenizer, geometry: dft.geometry, class, seed, tokens: copied("tokens", tokens)? })
}

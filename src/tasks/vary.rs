//! Variations of an image: keeps its coarse tokens, and with them the composition, and samples the detail anew.

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::pixels::Picture;
use crate::support::error::Result;

/// Keeps the tokens of the level of `level_size` pixels of `tokens` (0 keeps all) and samples the rest from the seeds of
/// `request`. The images of the request share the computation of the tokens that are kept.
///
/// # Errors
/// Those of [`Request::set_prefix_level`], [`Generation::new`] and [`Generation::finish`].
pub fn vary(request: &Request, tokens: &[u32], level_size: u32) -> Result<Generation> {
    let mut request = request.try_clone()?;
    finish(request.set_prefix_level(tokens, level_size)?)
}

/// Encodes `picture`, keeps its tokens of the level of `level_size` pixels (0 keeps all), and samples the detail anew for
/// the class of `request`.
///
/// # Errors
/// Those of [`Request::set_prefix_picture`], [`Generation::new`] and [`Generation::finish`].
pub fn redetail(request: &Request, picture: &Picture, level_size: u32) -> Result<Generation> {
    let mut request = request.try_clone()?;
    finish(request.set_prefix_picture(picture, level_size)?)
}

fn finish(request: &Request) -> Result<Generation> {
    let mut generation = Generation::new(request)?;
    generation.finish()?;
    Ok(generation)
}

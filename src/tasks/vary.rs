//! Variations of what is there: keep its coarse tokens, and with them the composition; draw the detail anew.

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::pixels::Picture;
use crate::support::error::Result;

/// Variations in one call: `request` with the tokens of the level of `keep` pixels of `tokens` kept, and all else drawn
/// from its seeds. The pictures of the request share what is computed for the part that is kept.
///
/// # Errors
/// Those of [`Request::set_prefix_level`] and [`Generation::finish`].
pub fn vary(request: &Request, tokens: &[u32], keep: u32) -> Result<Generation> {
    let mut request = request.try_clone()?;
    draw(request.set_prefix_level(tokens, keep)?)
}

/// Draws a picture's detail anew, in one call: encodes it, keeps the tokens of the level of `keep` pixels, and has the
/// model draw the rest for the class of `request`.
///
/// # Errors
/// Those of [`Request::set_prefix_picture`] and [`Generation::finish`].
pub fn redetail(request: &Request, picture: &Picture, keep: u32) -> Result<Generation> {
    let mut request = request.try_clone()?;
    draw(request.set_prefix_picture(picture, keep)?)
}

fn draw(request: &Request) -> Result<Generation> {
    let mut generation = Generation::new(request)?;
    generation.finish()?;
    Ok(generation)
}

//! Variations of what is there: keep its coarse tokens, and with them the composition; draw the detail anew.

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::model::Model;
use crate::pixels::Picture;
use crate::support::error::{Error, Result};

impl Request {
    /// Begins every picture with the tokens of the level of `keep` pixels of these; 0 keeps them all. What is drawn
    /// after them keeps the composition that one sees at that level: variations when the seeds differ, the same picture
    /// at a finer level when nothing was drawn beyond `tokens` yet.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists those that are) or the tokens do not reach it;
    /// those of [`set_prefix`](Self::set_prefix).
    pub fn set_prefix_level(&mut self, tokens: &[u32], keep: u32) -> Result<&mut Self> {
        let kept = kept(self.model(), tokens, keep)?;
        self.set_prefix(kept)
    }

    /// Begins every picture with what a picture file or pixels have in common with it at the level of `keep` pixels:
    /// encodes `picture` and keeps that level's tokens. 0 keeps all, and then nothing is drawn.
    ///
    /// # Errors
    /// Those of [`Model::encode`], and [`Error::Invalid`] when there is no such level.
    pub fn set_prefix_picture(&mut self, picture: &Picture, keep: u32) -> Result<&mut Self> {
        // A level that is not there is said before the work.
        let count = if keep == 0 { self.model().bundle().tokens() } else { self.model().level(keep)?.tokens };
        let tokens = self.model().encode(picture)?;
        self.set_prefix(&tokens[..count])
    }
}

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

fn kept<'a>(model: &Model, tokens: &'a [u32], keep: u32) -> Result<&'a [u32]> {
    if keep == 0 {
        return Ok(tokens);
    }
    let level = model.level(keep)?;
    tokens.get(..level.tokens).ok_or_else(|| {
        Error::Invalid(format!("the {keep} px level takes {} tokens, there are {}", level.tokens, tokens.len()))
    })
}

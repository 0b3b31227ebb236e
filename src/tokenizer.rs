//! Pictures to tokens and tokens to pictures (DETAILFLOW paper section 3.1).

use std::time::Instant;

use crate::error::{Error, Result};
use crate::memory::reserve;
use crate::model::Model;
use crate::pixels::{Image, Picture};
use crate::plan::{Level, Prefix};

impl Model {
    /// The tokens of a picture, coarse to fine. Compiles the encoder at the first call.
    ///
    /// # Errors
    /// [`Error::State`] when the bundle was made without an encoder.
    pub fn encode(&self, picture: &Picture) -> Result<Vec<u32>> {
        let bundle = self.bundle();
        let side = bundle.size as usize;
        let encoder = self.encoder()?;
        let planes = picture.planes(bundle.size, bundle.channels)?;
        let ids = encoder.encode(&planes, [1, bundle.channels, side, side], |ids| ids.to_vec())?;
        // A graph that was damaged, or belongs to another model, is not trusted with what goes into files.
        if ids.len() != bundle.tokens || ids.iter().any(|&id| !(0..bundle.codes as i64).contains(&id)) {
            return Err(self.wrong_output(encoder.name(), "ids that are not tokens of the codebook"));
        }
        Ok(ids.into_iter().map(|id| id as u32).collect())
    }

    /// The picture of a prefix, at the size that the ladder gives: every prefix is a whole picture.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the tokens are not a prefix (1..=c of them or a multiple of g, at most N), or one is
    /// not of the codebook.
    pub fn decode(&self, tokens: &[u32]) -> Result<Image> {
        let bundle = self.bundle();
        let prefix = self.check_prefix(tokens)?;
        let mut ids = reserve("tokens", tokens.len())?;
        ids.extend(tokens.iter().map(|&token| i64::from(token)));
        let values = bundle.channels * prefix.size as usize * prefix.size as usize;
        let begun = Instant::now();
        let image = self.decoder().decode(&ids, [1, tokens.len()], prefix.size, |pixels| {
            if pixels.len() != values {
                return Err(self.wrong_output(&self.variant().decoder, "a picture of another size"));
            }
            Image::new(prefix.size, bundle.channels, pixels)
        })??;
        self.note_decode(1, tokens.len(), begun.elapsed());
        Ok(image)
    }

    /// The picture of the level of `size` pixels, from a sequence that has at least its tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists those that are), when the tokens are too
    /// few, or one is not of the codebook.
    pub fn decode_level(&self, tokens: &[u32], size: u32) -> Result<Image> {
        let level = self.level(size)?;
        let prefix = tokens.get(..level.tokens).ok_or_else(|| {
            Error::Invalid(format!("the {size} px level takes {} tokens, there are {}", level.tokens, tokens.len()))
        })?;
        self.decode(prefix)
    }

    /// Whether `tokens` are a prefix of this model's: their number one of the ladder's, each of the codebook.
    pub(crate) fn check_prefix(&self, tokens: &[u32]) -> Result<Prefix> {
        let bundle = self.bundle();
        let Some(prefix) = bundle.ladder.prefix(tokens.len()) else {
            return Err(Error::Invalid(format!(
                "{} tokens are not a prefix of {}: that is 1 to {} tokens, or a multiple of {} up to {}",
                tokens.len(),
                bundle.name,
                bundle.causal,
                bundle.group,
                bundle.tokens
            )));
        };
        if let Some(at) = tokens.iter().position(|&token| token as usize >= bundle.codes) {
            return Err(Error::Invalid(format!(
                "token {at} is {}; the codebook of {} has 0 to {}",
                tokens[at],
                bundle.name,
                bundle.codes - 1
            )));
        }
        Ok(prefix)
    }

    fn wrong_output(&self, graph: &str, what: &str) -> Error {
        Error::bundle(self.bundle().path(), format!("{graph} gave {what}"))
    }

    /// The level of `size` pixels; the error lists those that are.
    pub(crate) fn level(&self, size: u32) -> Result<Level> {
        let ladder = self.bundle().ladder();
        ladder.level(size).ok_or_else(|| {
            Error::Invalid(format!("{} has no {size} px level; its levels are {}", self.bundle().name, ladder.sizes()))
        })
    }
}

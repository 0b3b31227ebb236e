//! Pictures to tokens and tokens to pictures (DETAILFLOW paper section 3.1).

use std::time::Instant;

use crate::model::Model;
use crate::pixels::{Image, Picture};
use crate::plan::{Level, Prefix};
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// Pixels that one run of the decoder makes at most, unless a single picture has more: so that what it needs meanwhile
/// stays bounded, however many pictures are asked for.
const PIXELS_AT_ONCE: usize = 1 << 18;
/// And pictures: small ones gain from company (32 px, by a third), but no more from that of 64 than of 16.
const PICTURES_AT_ONCE: usize = 16;

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
        Ok(self.decode_batch(&[tokens])?.pop().expect("a batch of one sequence gives one picture"))
    }

    /// The pictures of prefixes of one length, in order, each as [`decode`](Self::decode) gives it, bit for bit.
    /// Several at once take less time than one by one; a long list is decoded in parts, so that only its pictures take
    /// memory by their number.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode), and [`Error::Invalid`] when the lengths differ.
    pub fn decode_batch(&self, sequences: &[&[u32]]) -> Result<Vec<Image>> {
        let Some(first) = sequences.first() else { return Ok(Vec::new()) };
        for (at, tokens) in sequences.iter().enumerate() {
            if tokens.len() != first.len() {
                return Err(Error::Invalid(format!(
                    "sequence {at} has {} tokens, the first has {}: a batch is of one length",
                    tokens.len(),
                    first.len()
                )));
            }
            self.check_prefix(tokens).map_err(|error| match error {
                Error::Invalid(text) if sequences.len() > 1 => Error::Invalid(format!("sequence {at}: {text}")),
                other => other,
            })?;
        }
        let prefix = self.check_prefix(first)?;
        let mut images = reserve("pictures", sequences.len())?;
        for part in sequences.chunks(decode_at_once(prefix)) {
            self.decode_part(part, prefix, &mut images)?;
        }
        Ok(images)
    }

    /// Runs the decoder once for sequences that were checked, and appends their pictures.
    fn decode_part(&self, sequences: &[&[u32]], prefix: Prefix, images: &mut Vec<Image>) -> Result<()> {
        let channels = self.bundle().channels;
        let mut ids = reserve("tokens", sequences.len() * prefix.tokens)?;
        ids.extend(sequences.iter().copied().flatten().map(|&token| i64::from(token)));
        let values = channels * prefix.size as usize * prefix.size as usize;
        let begun = Instant::now();
        let (taken, waited) = self.decoder().decode(&ids, [sequences.len(), prefix.tokens], prefix.size, |pixels| {
            if pixels.len() != sequences.len() * values {
                return Err(self.wrong_output(&self.variant().decoder, "a picture of another size"));
            }
            for picture in pixels.chunks_exact(values) {
                images.push(Image::new(prefix.size, channels, picture)?);
            }
            Ok(())
        })?;
        taken?;
        self.note_decode(sequences.len(), prefix.tokens, begun.elapsed().saturating_sub(waited));
        Ok(())
    }

    /// The picture of the level of `size` pixels, from a sequence that has at least its tokens.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists those that are), when the tokens are too
    /// few, or one is not of the codebook.
    pub fn decode_level(&self, tokens: &[u32], size: u32) -> Result<Image> {
        self.decode(self.demote(tokens, size)?)
    }

    /// The first tokens of an image, down to the level of `level_size` pixels: the same image with less detail, at no cost.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such level (the error lists the levels), the tokens are too few, or one of those
    /// that stay is not in the codebook.
    pub fn demote<'a>(&self, tokens: &'a [u32], level_size: u32) -> Result<&'a [u32]> {
        let kept = self.level_tokens(tokens, level_size)?;
        self.check_prefix(kept).map(|_| kept)
    }

    /// The tokens of the level of `level_size` pixels, unchecked otherwise.
    pub(crate) fn level_tokens<'a>(&self, tokens: &'a [u32], level_size: u32) -> Result<&'a [u32]> {
        let level = self.level(level_size)?;
        tokens.get(..level.tokens).ok_or_else(|| {
            Error::Invalid(format!(
                "the {level_size} px level takes {} tokens, there are {}",
                level.tokens,
                tokens.len()
            ))
        })
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

/// How many pictures of a prefix one run of the decoder makes.
pub(crate) fn decode_at_once(prefix: Prefix) -> usize {
    let pixels = prefix.size as usize * prefix.size as usize;
    (PIXELS_AT_ONCE / pixels).clamp(1, PICTURES_AT_ONCE)
}

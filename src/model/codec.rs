//! The tokenizer: pictures to tokens and tokens to images (DETAILFLOW paper section 3.1).

use std::time::Instant;

use super::Encoder;
use crate::model::Model;
use crate::pixels::{Image, Picture};
use crate::plan::{Level, Prefix};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{copied, reserve};

/// Most pixels of one run of the decoder, unless a single image has more. Bounds the decoder's memory, however many images
/// are asked for.
const PIXELS_AT_ONCE: usize = 1 << 18;
/// Most images of one run. Small images are faster in a batch (32 px: by a third), 64 no more so than 16.
const IMAGES_AT_ONCE: usize = 16;

impl Model {
    /// Encodes a picture to its tokens, coarse to fine: all N of the model. Compiles the encoder at the first call.
    /// [`encode_with`](Self::encode_with) searches for better ones.
    ///
    /// # Errors
    /// [`Error::State`] when the bundle has no encoder; [`Error::Bundle`] when the encoder does not compile, or returns
    /// values outside the codebook; [`Error::Failed`] or [`Error::OutOfMemory`] from ONNX Runtime.
    pub fn encode(&self, picture: &Picture) -> Result<Vec<u32>> {
        let _host = host::enter();
        let encoder = self.encoder()?;
        let planes = picture.planes(self.bundle().size, self.bundle().channels)?;
        Ok(self.encoded(&encoder, &planes, |_| Ok(()))?.0)
    }

    /// Encodes the planes of a picture: its tokens, and what `take` makes of the latents.
    pub(super) fn encoded<R>(
        &self,
        encoder: &Encoder,
        planes: &[f32],
        take: impl FnOnce(&[f32]) -> Result<R>,
    ) -> Result<(Vec<u32>, R)> {
        let bundle = self.bundle();
        let (graph, side) = (&encoder.graph, bundle.size as usize);
        let (ids, taken) = graph.encode(planes, [1, bundle.channels, side, side], |ids, latents| {
            Ok::<_, Error>((copied("tokens", ids)?, take(latents)?))
        })??;
        // Graphs are untrusted input: a damaged one, or one of another model, must not reach token files.
        if ids.len() != bundle.tokens || ids.iter().any(|&id| !(0..bundle.codes as i64).contains(&id)) {
            return Err(self.wrong_output(graph.name(), "ids that are not in the codebook"));
        }
        let mut tokens = reserve("tokens", ids.len())?;
        tokens.extend(ids.into_iter().map(|id| id as u32));
        Ok((tokens, taken))
    }

    /// Decodes a prefix at the size that the ladder gives it. Every prefix decodes to the whole picture, with less detail.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the number of tokens is not that of a prefix (1 to c, or a multiple of g up to N), or a token
    /// is not in the codebook; [`Error::Failed`] when ONNX Runtime fails or the pixels are NaN or infinite;
    /// [`Error::OutOfMemory`].
    pub fn decode(&self, tokens: &[u32]) -> Result<Image> {
        let image = self.decode_batch(&[tokens])?.pop();
        image.ok_or_else(|| Error::Internal("a batch of one sequence gave no image".into()))
    }

    /// Decodes prefixes of one length, in order; each result is bit for bit that of [`decode`](Self::decode). Faster than
    /// one by one. A long list is decoded in parts, so that only the results take memory in proportion to their number.
    ///
    /// # Errors
    /// As for [`decode`](Self::decode), and [`Error::Invalid`] when the lengths differ.
    pub fn decode_batch(&self, sequences: &[&[u32]]) -> Result<Vec<Image>> {
        let _host = host::enter();
        let Some(first) = sequences.first() else { return Ok(Vec::new()) };
        for (at, tokens) in sequences.iter().enumerate() {
            if tokens.len() != first.len() {
                return Err(Error::Invalid(format!(
                    "sequence {at} has {} tokens, the first has {}: the sequences of a batch have one length",
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

    /// Runs the decoder once for checked sequences, and appends the images.
    fn decode_part(&self, sequences: &[&[u32]], prefix: Prefix, images: &mut Vec<Image>) -> Result<()> {
        let mut ids = reserve("tokens", sequences.len().saturating_mul(prefix.tokens))?;
        ids.extend(sequences.iter().copied().flatten().map(|&token| i64::from(token)));
        self.decode_pixels(&ids, prefix, |pixels| {
            images.push(Image::new(prefix.size, self.bundle().channels, pixels)?);
            Ok(())
        })
    }

    /// Runs the decoder once for checked sequences of one prefix, one after the other in `ids`, and gives the pixels of each
    /// to `take`.
    pub(super) fn decode_pixels(
        &self,
        ids: &[i64],
        prefix: Prefix,
        mut take: impl FnMut(&[f32]) -> Result<()>,
    ) -> Result<()> {
        let (side, count) = (prefix.size as usize, ids.len() / prefix.tokens.max(1));
        let values = side.saturating_mul(side).saturating_mul(self.bundle().channels);
        let begun = Instant::now();
        let (taken, waited) = self.decoder().decode(ids, [count, prefix.tokens], prefix.size, |pixels| {
            if pixels.len() != count.saturating_mul(values) {
                return Err(self.wrong_output(&self.variant().decoder, "an image of another size"));
            }
            // Pixels are clamped, which would make a picture of them.
            if !pixels.iter().all(|value| value.is_finite()) {
                let reason = "its pixels are NaN or infinite".to_owned();
                return Err(Error::Failed { graph: self.variant().decoder.clone(), reason });
            }
            pixels.chunks_exact(values).try_for_each(&mut take)
        })?;
        taken?;
        self.note_decode(count, prefix.tokens, begun.elapsed().saturating_sub(waited));
        Ok(())
    }

    /// Decodes the level of `level_size` pixels per side from a sequence that has at least its tokens.
    ///
    /// # Errors
    /// Those of [`demote`](Self::demote) and [`decode`](Self::decode).
    pub fn decode_level(&self, tokens: &[u32], level_size: u32) -> Result<Image> {
        self.decode(self.demote(tokens, level_size)?)
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

    pub(crate) fn level_tokens<'a>(&self, tokens: &'a [u32], level_size: u32) -> Result<&'a [u32]> {
        self.bundle().level_tokens(tokens, level_size)
    }

    pub(crate) fn check_prefix(&self, tokens: &[u32]) -> Result<Prefix> {
        self.bundle().check_prefix(tokens)
    }

    pub(super) fn wrong_output(&self, graph: &str, what: &str) -> Error {
        Error::bundle(self.bundle().path(), format!("{graph} returned {what}"))
    }

    /// The level of `size` pixels per side; the error lists the levels.
    pub(crate) fn level(&self, size: u32) -> Result<Level> {
        self.bundle().level(size)
    }
}

/// How many images of a prefix one run of the decoder makes.
pub(crate) fn decode_at_once(prefix: Prefix) -> usize {
    let pixels = prefix.size as usize * prefix.size as usize;
    (PIXELS_AT_ONCE / pixels).clamp(1, IMAGES_AT_ONCE)
}

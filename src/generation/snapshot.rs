//! What other threads see of a generation while it steps.

use std::fmt;

use super::progress::{Memory, Progress, check_image, mean};
use super::publish::{Board, Published};
use super::request::ImageRequest;
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::Mix;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::reserve;
use crate::support::sync::{Arc, AtomicU32};
use crate::tokens::Dft;

/// Reads a generation from any thread while another one steps it.
///
/// Never waits for a step. A reader stays valid when the generation is gone, and shows its last state then; it keeps the
/// model open, not the KV cache.
#[derive(Clone)]
pub struct Reader(pub(super) Arc<Published<Snapshot>>);

impl Reader {
    /// The generation as it was after its last finished step, [`retain_images`](crate::Generation::retain_images) or
    /// [`set_level_size`](crate::Generation::set_level_size). Never older than a snapshot that this thread saw before.
    #[must_use]
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.0.newest()
    }
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Reader").field(&self.snapshot()).finish()
    }
}

/// A generation between two steps. Immutable: later steps do not change it.
pub struct Snapshot {
    pub(super) model: Model,
    pub(super) images: Arc<Vec<ImageRequest>>,
    /// The mix of each image; none at all where no image has one.
    pub(super) mixes: Arc<Vec<Option<Arc<Mix>>>>,
    pub(super) tokens: Arc<Board>,
    /// None when the request did not ask for log-probabilities.
    pub(super) log_probabilities: Option<Arc<Board>>,
    /// Positions whose log-probabilities are known.
    pub(super) fed: usize,
    pub(super) progress: Progress,
    /// Batch rows and query length of the next step.
    pub(super) next: Option<(usize, usize)>,
    pub(super) work: u64,
    pub(super) memory: Memory,
}

impl Snapshot {
    /// How far the generation is. The predictions are those of now: every run of the model makes them better.
    #[must_use]
    pub fn progress(&self) -> Progress {
        let _host = host::enter();
        let next_step = self.next.and_then(|(rows, query)| self.model.predict_step(rows, query));
        let next_decode = self.progress.level.and_then(|level| self.model.predict_decode(1, level.tokens));
        Progress { next_step, next_decode, ..self.progress }
    }

    /// Class and seed of each image; of a mix its main class.
    #[must_use]
    pub fn images(&self) -> &[ImageRequest] {
        &self.images
    }

    /// As [`Generation::mix`](crate::Generation::mix).
    #[must_use]
    pub fn mix(&self, image_index: usize) -> Option<&Mix> {
        self.mixes.get(image_index)?.as_deref()
    }

    /// The tokens of one image so far as a token file, with its class or mix and its seed.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range, or a token file cannot hold them; [`Error::State`] before the first
    /// token; [`Error::OutOfMemory`].
    pub fn dft(&self, image_index: usize) -> Result<Dft> {
        let tokens = self.tokens(image_index)?;
        if tokens.is_empty() {
            return Err(no_tokens());
        }
        let (bundle, ImageRequest { class, seed }) = (self.model.bundle(), self.images[image_index]);
        match self.mix(image_index) {
            Some(mix) => bundle.dft_of_mix(mix, Some(seed), tokens),
            None => bundle.dft(Some(class), Some(seed), tokens),
        }
    }

    /// The tokens of one image so far, coarse to fine.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range; [`Error::OutOfMemory`].
    pub fn tokens(&self, image_index: usize) -> Result<Vec<u32>> {
        check_image(image_index, self.images.len())?;
        let count = self.progress.tokens;
        let mut tokens = reserve("tokens", count)?;
        tokens.extend(self.tokens.read(image_index, count));
        Ok(tokens)
    }

    /// As [`Generation::log_probabilities`](crate::Generation::log_probabilities).
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range; [`Error::State`] when the request did not ask for
    /// log-probabilities; [`Error::OutOfMemory`].
    pub fn log_probabilities(&self, image_index: usize) -> Result<Vec<f32>> {
        check_image(image_index, self.images.len())?;
        let board = self.log_probabilities.as_ref().ok_or_else(not_asked_for)?;
        let mut values = reserve("log-probabilities", self.fed)?;
        values.extend(board.read(image_index, self.fed).map(f32::from_bits));
        Ok(values)
    }

    /// The mean of [`log_probabilities`](Self::log_probabilities); 0 before the first step.
    ///
    /// # Errors
    /// Those of [`log_probabilities`](Self::log_probabilities).
    pub fn mean_log_probability(&self, image_index: usize) -> Result<f32> {
        let _host = host::enter();
        Ok(mean(&self.log_probabilities(image_index)?))
    }

    /// Decodes all tokens of one image so far, at the size that the ladder gives them. Runs on the calling thread and waits
    /// at most for decodes in progress, never for a step.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range; [`Error::State`] before the first token; those of
    /// [`Model::decode`].
    pub fn image(&self, image_index: usize) -> Result<Image> {
        let tokens = self.tokens(image_index)?;
        if tokens.is_empty() {
            return Err(no_tokens());
        }
        self.model.decode(&tokens)
    }

    /// Decodes the finest level of one image that is complete (see [`Progress::level`]). Waits as
    /// [`image`](Self::image) does.
    ///
    /// # Errors
    /// [`Error::Invalid`] when `image_index` is out of range; [`Error::State`] before the first level is complete; those of
    /// [`Model::decode`].
    pub fn level_image(&self, image_index: usize) -> Result<Image> {
        let tokens = self.tokens(image_index)?;
        self.model.decode(complete_level(&self.model, &tokens)?)
    }

    /// As [`Generation::work`](crate::Generation::work).
    #[must_use]
    pub fn work(&self) -> u64 {
        self.work
    }

    /// What the generation held in memory then.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.memory
    }

    /// The model of the generation.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("images", &self.images.len())
            .field("progress", &self.progress)
            .finish_non_exhaustive()
    }
}

/// An empty board for `images` images.
pub(super) fn board(what: &str, images: usize, positions: usize) -> Result<Arc<Board>> {
    let count = images.saturating_mul(positions);
    let mut cells = reserve(what, count)?;
    cells.resize_with(count, || AtomicU32::new(0));
    Ok(Arc::new(Board::new(cells, positions)))
}

/// The tokens of the finest level that `tokens` complete.
pub(super) fn complete_level<'a>(model: &Model, tokens: &'a [u32]) -> Result<&'a [u32]> {
    let ladder = model.bundle().ladder();
    let level = ladder.finished(tokens.len()).ok_or_else(|| {
        let first = ladder.levels()[0].tokens;
        Error::State(format!("no level is complete yet: the first takes {first} tokens, there are {}", tokens.len()))
    })?;
    Ok(&tokens[..level.tokens])
}

pub(super) fn no_tokens() -> Error {
    Error::State("the generation has no tokens yet: step it first".into())
}

pub(super) fn not_asked_for() -> Error {
    Error::State("the request did not ask for log-probabilities".into())
}

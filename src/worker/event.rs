//! The events of a worker.

use std::borrow::Cow;

use super::JobId;
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::Level;
use crate::support::error::{Error, Result};
use crate::support::sync::Arc;

/// What happened to a job. Every kind but [`Level`](Self::Level) is the last event of its job.
#[derive(Debug)]
pub enum EventKind {
    /// A level is complete: [`Event::level`].
    Level,
    /// The job is finished.
    Done,
    /// The job was cancelled. The event has the tokens generated before.
    Cancelled,
    /// The job failed. The event has the tokens generated before.
    Failed(Error),
}

/// Something that happened to a job, with its tokens at that moment. An event keeps its model open and outlives the
/// worker.
pub struct Event {
    pub(super) job: JobId,
    pub(super) user: u64,
    pub(super) kind: EventKind,
    pub(super) model: Model,
    pub(super) images: usize,
    /// `[image, token]`.
    pub(super) tokens: Arc<Vec<u32>>,
    pub(super) level: Option<Level>,
    /// Of that level; empty if they were not decoded.
    pub(super) pictures: Arc<Vec<Image>>,
    pub(super) steps_done: usize,
    pub(super) steps_left: usize,
}

impl Event {
    /// The job.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.job
    }

    /// The number given as [`SubmitOptions::user`](super::SubmitOptions::user).
    #[must_use]
    pub fn user(&self) -> u64 {
        self.user
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// Whether this is the last event of its job.
    #[must_use]
    pub fn is_last(&self) -> bool {
        !matches!(self.kind, EventKind::Level)
    }

    /// The model of the job.
    #[must_use]
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// The number of pictures of the job.
    #[must_use]
    pub fn images(&self) -> usize {
        self.images
    }

    /// The finest complete level; `None` before the first.
    #[must_use]
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// The number of steps done.
    #[must_use]
    pub fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// The number of steps left.
    #[must_use]
    pub fn steps_left(&self) -> usize {
        self.steps_left
    }

    /// The tokens of one picture: empty if the job had not started; after a failure they may be those of an earlier event.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such picture.
    pub fn tokens(&self, image_index: usize) -> Result<&[u32]> {
        if image_index >= self.images {
            return Err(Error::Invalid(format!("image {image_index} is out of range: there are {}", self.images)));
        }
        let each = self.tokens.len() / self.images;
        Ok(&self.tokens[image_index * each..][..each])
    }

    /// The pictures of [`level`](Self::level) if the worker decoded them; otherwise empty.
    #[must_use]
    pub fn pictures(&self) -> &[Image] {
        &self.pictures
    }

    /// One picture of [`level`](Self::level); decoded now, on the calling thread, unless the worker did.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such picture, [`Error::State`] before the first level is complete.
    pub fn image(&self, image_index: usize) -> Result<Cow<'_, Image>> {
        let tokens = self.tokens(image_index)?;
        if let Some(picture) = self.pictures.get(image_index) {
            return Ok(Cow::Borrowed(picture));
        }
        let level = self.level.ok_or_else(|| {
            let first = self.model.bundle().ladder().levels()[0].tokens;
            Error::State(format!(
                "no level is complete yet: the first takes {first} tokens, there are {}",
                tokens.len()
            ))
        })?;
        self.model.decode(&tokens[..level.tokens]).map(Cow::Owned)
    }

    /// The memory that it holds, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let pictures: usize = self.pictures.iter().map(|picture| size_of_val(picture.planes())).sum();
        size_of::<Self>() + size_of_val(&self.tokens[..]) + pictures
    }
}

impl std::fmt::Debug for Event {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Event")
            .field("job", &self.job)
            .field("user", &self.user)
            .field("kind", &self.kind)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}

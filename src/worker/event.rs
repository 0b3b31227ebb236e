//! What a worker tells of a job.

use std::borrow::Cow;

use super::JobId;
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::Level;
use crate::support::error::{Error, Result};
use crate::support::sync::Arc;

/// What happened to a job. All but [`Level`](Self::Level) are the last that is told of it.
#[derive(Debug)]
pub enum EventKind {
    /// A level is complete: [`Event::level`].
    Level,
    /// It is finished.
    Done,
    /// It was cancelled; what was drawn before is in the event.
    Cancelled,
    /// It failed; what was drawn before is in the event.
    Failed(Error),
}

/// Something that happened to a job, and its pictures at that moment. Belongs to whoever took it; keeps its model open.
pub struct Event {
    pub(super) job: JobId,
    pub(super) user: u64,
    pub(super) kind: EventKind,
    pub(super) model: Model,
    pub(super) images: usize,
    /// `[image, tokens]`.
    pub(super) tokens: Arc<Vec<u32>>,
    pub(super) level: Option<Level>,
    /// Of that level; empty when they were not decoded.
    pub(super) pictures: Arc<Vec<Image>>,
    pub(super) steps_done: usize,
    pub(super) steps_left: usize,
}

impl Event {
    /// The job.
    pub fn job(&self) -> JobId {
        self.job
    }

    /// What [`SubmitOptions::user`](super::SubmitOptions::user) was.
    pub fn user(&self) -> u64 {
        self.user
    }

    /// What happened.
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }

    /// Whether this is the last event of its job.
    pub fn is_last(&self) -> bool {
        !matches!(self.kind, EventKind::Level)
    }

    /// The model that draws it.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// How many pictures the job has.
    pub fn images(&self) -> usize {
        self.images
    }

    /// The finest level that was complete; none before the first.
    pub fn level(&self) -> Option<Level> {
        self.level
    }

    /// Steps done.
    pub fn steps_done(&self) -> usize {
        self.steps_done
    }

    /// Steps that were left.
    pub fn steps_left(&self) -> usize {
        self.steps_left
    }

    /// The tokens that one picture had: none when the job had not begun, and after a failure perhaps only those of an
    /// earlier event.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture.
    pub fn tokens(&self, image: usize) -> Result<&[u32]> {
        if image >= self.images {
            return Err(Error::Invalid(format!("image {image} is out of range: there are {}", self.images)));
        }
        let each = self.tokens.len() / self.images;
        Ok(&self.tokens[image * each..][..each])
    }

    /// The pictures of [`level`](Self::level), when they were decoded by the worker; otherwise empty.
    pub fn pictures(&self) -> &[Image] {
        &self.pictures
    }

    /// One picture of [`level`](Self::level); decoded now, on this thread, where the worker did not.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no such picture, [`Error::State`] before the first level is complete.
    pub fn image(&self, image: usize) -> Result<Cow<'_, Image>> {
        let tokens = self.tokens(image)?;
        if let Some(picture) = self.pictures.get(image) {
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

    /// What it holds in memory.
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

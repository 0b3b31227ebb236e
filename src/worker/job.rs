//! One job, from its first step to its last event.

use super::event::{Event, EventKind};
use super::queue::{Load, Queue, Task};
use super::{JobId, SubmitOptions};
use crate::generation::request::Request;
use crate::generation::{Cancel, Generation, Progress};
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::Level;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::support::sync::Arc;

/// What is drawn. A request takes its memory when its turn comes.
pub(super) enum Subject {
    Request(Box<Request>),
    Generation(Box<Generation>),
}

impl Subject {
    pub fn model(&self) -> &Model {
        match self {
            Self::Request(request) => request.model(),
            Self::Generation(generation) => generation.model(),
        }
    }

    fn images(&self) -> usize {
        match self {
            Self::Request(request) => request.images().len(),
            Self::Generation(generation) => generation.images().len(),
        }
    }

    /// Its pictures, and what their keys and values take, or about will.
    pub fn load(&self) -> Load {
        let bytes = match self {
            Self::Request(request) => {
                let rows = request.images().len().saturating_mul(1 + usize::from(request.guidance.is_on()));
                request.model().key_shape().bytes(rows)
            }
            Self::Generation(generation) => {
                let memory = generation.memory();
                memory.own.saturating_add(memory.shared)
            }
        };
        Load { pictures: self.images() as u64, bytes }
    }
}

pub(super) struct Job {
    pub subject: Subject,
    pub options: SubmitOptions,
    /// None when it is drawn alone.
    pub load: Option<Load>,
}

impl Task for Job {
    type Group = Model;
    type Stop = Cancel;
    type Event = Event;

    fn same(one: &Model, other: &Model) -> bool {
        one.is(other)
    }

    fn load(&self) -> Option<Load> {
        self.load
    }

    fn stop(stop: &Cancel) {
        stop.cancel();
    }

    fn cancelled(self, id: u64) -> Event {
        Course::new(id, self).last(EventKind::Cancelled)
    }

    fn bytes(event: &Event) -> usize {
        event.bytes()
    }
}

/// A job that is being drawn.
pub(super) struct Course {
    pub id: u64,
    pub model: Model,
    options: SubmitOptions,
    pub images: usize,
    subject: Subject,
    cancel: Option<Cancel>,
    /// Beside so many others there was no memory for it.
    pub too_many: Option<usize>,
    /// The level that it had reached when it began, and then after each step.
    reached: Option<Level>,
    steps: [usize; 2],
    /// As they were at the last event.
    tokens: Arc<Vec<u32>>,
    /// Decoded for the last event that was, and of which level.
    pictures: Arc<Vec<Image>>,
    decoded: Option<Level>,
    /// A level was reached that is to be told of.
    pub tells: bool,
    /// It has ended, in this way.
    pub end: Option<EventKind>,
}

impl Course {
    pub fn new(id: u64, Job { subject, options, .. }: Job) -> Self {
        Self {
            id,
            model: subject.model().clone(),
            options,
            images: subject.images(),
            subject,
            cancel: None,
            too_many: None,
            reached: None,
            steps: [0, 0],
            tokens: Arc::default(),
            pictures: Arc::default(),
            decoded: None,
            tells: false,
            end: None,
        }
    }

    /// Takes its memory. Where that cannot be had it may be tried again.
    pub fn begin(&mut self, queue: &Queue<Job>) -> Result<()> {
        if let Subject::Request(request) = &self.subject {
            self.subject = Subject::Generation(Box::new(Generation::new(request)?));
        }
        let Subject::Generation(generation) = &self.subject else { return Ok(()) };
        let cancel = generation.cancel_handle();
        self.reached = generation.progress().level;
        queue.started(self.id, cancel.clone());
        self.cancel = Some(cancel);
        Ok(())
    }

    /// Whether it has begun and not ended: it takes part in the next step.
    pub fn is_drawn(&self) -> bool {
        self.cancel.is_some() && self.end.is_none()
    }

    /// What takes part in the next step.
    pub fn drawn(&mut self) -> Option<&mut Generation> {
        if !self.is_drawn() {
            return None;
        }
        match &mut self.subject {
            Subject::Generation(generation) => Some(generation),
            Subject::Request(_) => None,
        }
    }

    /// Notes what a step has brought.
    pub fn stepped(&mut self, progress: Progress) -> Result<()> {
        if progress.level != self.reached {
            self.reached = progress.level;
            self.tells = !self.options.last_only;
        }
        let done = progress.steps_left == 0;
        if self.tells || done {
            self.snapshot()?;
        }
        if done {
            self.end = Some(EventKind::Done);
        }
        Ok(())
    }

    /// The level whose pictures the next event has and that are still to be decoded; the tokens noted have it.
    pub fn to_decode(&self) -> Option<Level> {
        let coming = self.tells || matches!(self.end, Some(EventKind::Done));
        let level = self.level().filter(|_| coming && self.options.decode);
        level.filter(|_| level != self.decoded)
    }

    /// The tokens noted, `[image, count]`, and their count.
    pub fn noted(&self) -> (Arc<Vec<u32>>, usize) {
        (self.tokens.clone(), self.tokens.len() / self.images)
    }

    /// Takes the pictures of the level that was to be decoded.
    pub fn decoded(&mut self, pictures: Vec<Image>) {
        (self.pictures, self.decoded) = (Arc::new(pictures), self.level());
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }

    /// Ends it in a way that is not its own; nothing is told of a level then.
    pub fn stop(&mut self, kind: EventKind) {
        self.tells = false;
        self.end = Some(kind);
    }

    /// Notes where it stands.
    fn snapshot(&mut self) -> Result<()> {
        let Subject::Generation(generation) = &self.subject else { return Ok(()) };
        let progress = generation.progress();
        let steps = [progress.steps_done, progress.steps_left];
        let mut tokens = reserve("the tokens of an event", self.images * progress.tokens)?;
        for image in 0..self.images {
            tokens.extend_from_slice(generation.tokens(image)?);
        }
        (self.steps, self.tokens) = (steps, Arc::new(tokens));
        Ok(())
    }

    /// The finest level of the tokens that were noted.
    fn level(&self) -> Option<Level> {
        self.model.bundle().ladder().finished(self.tokens.len() / self.images)
    }

    pub fn event(&self, kind: EventKind) -> Event {
        let level = self.level();
        let pictures = if level == self.decoded { self.pictures.clone() } else { Arc::default() };
        Event {
            job: JobId(self.id),
            user: self.options.user,
            kind,
            model: self.model.clone(),
            images: self.images,
            tokens: self.tokens.clone(),
            level,
            pictures,
            steps_done: self.steps[0],
            steps_left: self.steps[1],
        }
    }

    /// The last event; the keys and values are given back by then. Where there is no memory for the tokens it has those of
    /// the event before.
    pub fn last(mut self, kind: EventKind) -> Event {
        // What is done was noted already, and what a panic left behind is not looked at again.
        if !matches!(kind, EventKind::Done | EventKind::Failed(Error::Internal(_))) {
            let _ = self.snapshot();
        }
        self.event(kind)
    }
}

//! One job, from its first step to its last event, on a thread of the worker.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::event::{Event, EventKind};
use super::queue::{Queue, Task};
use super::{JobId, SubmitOptions};
use crate::error::{Error, Result};
use crate::generation::{Cancel, Generation};
use crate::memory::reserve;
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::Level;
use crate::request::Request;
use crate::sync::Arc;
use crate::tokenizer::decode_at_once;

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
}

pub(super) struct Job {
    pub subject: Subject,
    pub options: SubmitOptions,
}

impl Task for Job {
    type Group = Model;
    type Stop = Cancel;
    type Event = Event;

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

/// Does the job, and tells of it.
pub(super) fn run(queue: &Queue<Job>, id: u64, job: Job) {
    let mut course = Course::new(id, job);
    let kind = match catch_unwind(AssertUnwindSafe(|| course.draw(queue))) {
        Ok(Ok(())) => EventKind::Done,
        Ok(Err(Error::Cancelled)) => EventKind::Cancelled,
        Ok(Err(error)) => EventKind::Failed(error),
        Err(panic) => EventKind::Failed(Error::from_panic(&*panic)),
    };
    // The keys and values are given back before anyone hears that it ended.
    queue.end(id, course.last(kind));
}

struct Course {
    id: u64,
    options: SubmitOptions,
    model: Model,
    images: usize,
    /// None while the request is being begun, and when that failed.
    subject: Option<Subject>,
    steps: [usize; 2],
    /// As they were at the last event.
    tokens: Arc<Vec<u32>>,
    /// Decoded for the last event that was, and of which level.
    pictures: Arc<Vec<Image>>,
    decoded: Option<Level>,
}

impl Course {
    fn new(id: u64, Job { subject, options }: Job) -> Self {
        let (model, images) = (subject.model().clone(), subject.images());
        Self {
            id,
            options,
            model,
            images,
            subject: Some(subject),
            steps: [0, 0],
            tokens: Arc::default(),
            pictures: Arc::default(),
            decoded: None,
        }
    }

    fn draw(&mut self, queue: &Queue<Job>) -> Result<()> {
        if !queue.ready(self.id) {
            return Err(Error::Cancelled);
        }
        let generation = match self.subject.take() {
            Some(Subject::Request(request)) => Box::new(Generation::new(&request)?),
            Some(Subject::Generation(generation)) => generation,
            None => unreachable!("a job is drawn once"),
        };
        let cancel = generation.cancel_handle();
        queue.started(self.id, cancel.clone());
        self.subject = Some(Subject::Generation(generation));
        let mut level = self.generation().and_then(|generation| generation.progress().level);
        loop {
            // While it pauses it may be cancelled; the step says so.
            queue.ready(self.id);
            let Some(Subject::Generation(generation)) = &mut self.subject else { return Ok(()) };
            let progress = generation.step()?;
            if progress.level != level {
                level = progress.level;
                if !self.options.last_only {
                    self.snapshot()?;
                    self.decode(&cancel)?;
                    queue.tell(self.event(EventKind::Level));
                }
            }
            if progress.steps_left == 0 {
                self.snapshot()?;
                return self.decode(&cancel);
            }
        }
    }

    fn generation(&self) -> Option<&Generation> {
        match &self.subject {
            Some(Subject::Generation(generation)) => Some(generation),
            _ => None,
        }
    }

    /// Notes where it stands.
    fn snapshot(&mut self) -> Result<()> {
        let Some(generation) = self.generation() else { return Ok(()) };
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

    /// Decodes that level, where that is wanted and not done yet.
    fn decode(&mut self, cancel: &Cancel) -> Result<()> {
        let level = self.level();
        let Some(Level { tokens: count, .. }) = level.filter(|_| self.options.decode && level != self.decoded) else {
            return Ok(());
        };
        let prefix = self.model.bundle().ladder().prefix(count).expect("a level is a prefix");
        let mut pictures = reserve("the pictures of an event", self.images)?;
        let mut sequences = reserve("the pictures of an event", self.images)?;
        sequences.extend(self.tokens.chunks_exact(self.tokens.len() / self.images).map(|tokens| &tokens[..count]));
        // As many at a time as the decoder takes at once: a cancel need not wait for the rest.
        for part in sequences.chunks(decode_at_once(prefix)) {
            if cancel.is_cancelled() {
                return Err(Error::Cancelled);
            }
            pictures.append(&mut self.model.decode_batch(part)?);
        }
        (self.pictures, self.decoded) = (Arc::new(pictures), level);
        Ok(())
    }

    fn event(&self, kind: EventKind) -> Event {
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

    /// The last event. Where there is no memory for the tokens it has those of the event before.
    fn last(mut self, mut kind: EventKind) -> Event {
        // What a panic left behind is not looked at again.
        let broken = matches!(kind, EventKind::Failed(Error::Internal(_)));
        if !broken
            && let Err(error) = self.snapshot()
            && matches!(kind, EventKind::Done)
        {
            kind = EventKind::Failed(error);
        }
        self.event(kind)
    }
}

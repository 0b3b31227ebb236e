//! One job, from its first step to its last event.

use super::event::{Event, EventKind};
use super::queue::{Load, Queue, Task};
use super::{JobId, SubmitOptions};
use crate::generation::request::Request;
use crate::generation::rows::Asked;
use crate::generation::{Cancel, Generation, Progress};
use crate::model::Model;
use crate::pixels::Image;
use crate::plan::{Level, Step};
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::reserve;
use crate::support::sync::Arc;

/// What a job generates. A request allocates its memory when the job starts.
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

    /// Tokens that each image has.
    fn known(&self) -> usize {
        match self {
            Self::Request(request) => request.prefixes.first().map_or(0, |prefix| prefix.len()),
            Self::Generation(generation) => generation.tokens(0).map_or(0, <[u32]>::len),
        }
    }

    fn images(&self) -> usize {
        match self {
            Self::Request(request) => request.images().len(),
            Self::Generation(generation) => generation.images().len(),
        }
    }

    /// Its pictures, and the bytes of their KV cache: exact for a generation, an estimate for a request.
    pub fn load(&self) -> Load {
        let bytes = match self {
            Self::Request(request) => {
                let rows = Asked::of(request).rows(0);
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

impl Task for Course {
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

    fn cancelled(mut self, id: u64) -> Event {
        self.id = id;
        self.last(EventKind::Cancelled)
    }

    fn bytes(event: &Event) -> usize {
        event.bytes()
    }

    fn rank(&self) -> u32 {
        self.rank
    }

    fn priority(&self) -> f32 {
        self.options.priority
    }

    fn is_held(&self) -> bool {
        // Its level is decoded and reported first.
        self.held && !self.reports
    }

    fn retarget(&mut self, tokens: usize) {
        self.held = false;
        match &mut self.subject {
            Subject::Request(request) => request.stop_at(tokens),
            Subject::Generation(generation) => generation.stop_at(tokens),
        }
    }

    fn memory(&self) -> u64 {
        match &self.subject {
            Subject::Generation(generation) if self.cancel.is_some() => generation.cache_bytes(),
            _ => 0,
        }
    }

    fn pack_memory(&mut self) {
        if let Subject::Generation(generation) = &mut self.subject {
            // Without memory for that it keeps its cache as it is.
            let _ = generation.pack_cache();
        }
    }

    fn free_memory(&mut self) {
        // One that was submitted as a generation keeps what it came with until it has begun.
        if let Subject::Generation(generation) = &mut self.subject
            && self.cancel.is_some()
        {
            // Without memory for that it keeps its cache.
            let _ = generation.free_cache();
        }
    }
}

/// Takes the pictures of a level.
pub(super) type Target = Box<dyn FnMut(&[Image]) -> Result<()> + Send>;

/// What is to be done for a job next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Decoding the pictures of a level.
    Decode(Level),
    /// This step, or its end when there is none.
    Step(Option<Step>),
}

/// A job, from its submission to its last event.
pub(super) struct Course {
    pub id: u64,
    pub model: Model,
    /// `None` if it runs alone.
    load: Option<Load>,
    options: SubmitOptions,
    pub images: usize,
    subject: Subject,
    cancel: Option<Cancel>,
    /// The number of other running jobs beside which there was no memory for it.
    pub too_many: Option<usize>,
    /// The level reached so far.
    reached: Option<Level>,
    steps: [usize; 2],
    /// The tokens at the last event, `[image, token]`.
    tokens: Arc<Vec<u32>>,
    /// The pictures decoded last, and their level.
    pictures: Arc<Vec<Image>>,
    decoded: Option<Level>,
    /// Pictures of the next event that are decoded already.
    pub part: Vec<Image>,
    /// Takes the pictures of each event.
    target: Option<Target>,
    /// Levels that were reported, or would have been.
    pub rank: u32,
    /// It has reached its target and waits to be continued.
    held: bool,
    /// It has begun, or begun again, in its present batch.
    ready: bool,
    /// A level was reached and is to be reported.
    pub reports: bool,
    /// How it has ended.
    pub end: Option<EventKind>,
}

impl Course {
    /// A job that has no number yet; `load` is its size in a batch.
    pub fn new(subject: Subject, load: Option<Load>, options: SubmitOptions, target: Option<Target>) -> Self {
        let model = subject.model().clone();
        Self {
            id: 0,
            rank: rank(&model, subject.known()),
            model,
            load,
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
            part: Vec::new(),
            target,
            held: false,
            ready: false,
            reports: false,
            end: None,
        }
    }

    /// When its turn has come; `id` is its number.
    pub fn taken(mut self, id: u64) -> Self {
        self.id = id;
        self.ready = false;
        self
    }

    pub fn into_subject(self) -> Subject {
        self.subject
    }

    /// Starts the job, or goes on with it, and allocates its memory. May be tried again after [`Error::OutOfMemory`].
    pub fn begin(&mut self, queue: &Queue<Self>) -> Result<()> {
        if let (Some(cancel), Subject::Generation(generation)) = (&self.cancel, &mut self.subject) {
            generation.reserve_cache()?;
            queue.started(self.id, cancel.clone());
            self.ready = true;
            return Ok(());
        }
        if let Subject::Request(request) = &self.subject {
            self.subject = Subject::Generation(Box::new(Generation::new(request)?));
        }
        let Subject::Generation(generation) = &self.subject else { return Ok(()) };
        let cancel = generation.cancel_handle();
        self.reached = generation.progress().level;
        queue.started(self.id, cancel.clone());
        self.cancel = Some(cancel);
        self.ready = true;
        Ok(())
    }

    /// Whether it has begun and not ended: it takes part in the next step.
    pub fn is_active(&self) -> bool {
        self.ready && self.end.is_none()
    }

    /// The generation that takes part in the next step.
    pub fn active(&mut self) -> Option<&mut Generation> {
        if !self.is_active() {
            return None;
        }
        match &mut self.subject {
            Subject::Generation(generation) => Some(generation),
            Subject::Request(_) => None,
        }
    }

    /// Records the result of a step.
    pub fn stepped(&mut self, progress: Progress) -> Result<()> {
        if progress.level != self.reached {
            self.reached = progress.level;
            self.reports = !self.options.last_only;
        }
        let done = progress.steps_left == 0;
        let all = progress.tokens == self.model.bundle().tokens();
        self.held = done && self.options.hold && !all;
        self.reports |= self.held;
        if self.reports || done {
            self.snapshot()?;
        }
        if done && !self.held {
            self.end = Some(EventKind::Done);
        }
        Ok(())
    }

    /// Counts the levels that were reached, once they were reported.
    pub fn reported(&mut self) {
        self.reports = false;
        self.rank = rank(&self.model, self.subject.known());
    }

    /// Where it stands: jobs with equal places step together.
    pub fn place(&self) -> Option<Step> {
        match &self.subject {
            Subject::Request(request) => request.model().schedule(request.target).after(0),
            Subject::Generation(generation) => generation.upcoming().map(|(step, _)| step),
        }
    }

    /// What is to be done for it next.
    pub fn need(&self) -> Need {
        self.to_decode().map_or_else(|| Need::Step(self.place()), Need::Decode)
    }

    /// Whether it has reached a level that is to be reported, or its end.
    pub fn is_finishing(&self) -> bool {
        self.reports || matches!(self.end, Some(EventKind::Done))
    }

    /// The level of the next event, if its pictures are still to be decoded.
    pub fn to_decode(&self) -> Option<Level> {
        let level = self.level().filter(|_| self.is_finishing() && self.options.decode);
        level.filter(|_| level != self.decoded)
    }

    /// The recorded tokens, `[image, token]`, and the number of tokens of an image.
    pub fn recorded(&self) -> (Arc<Vec<u32>>, usize) {
        (self.tokens.clone(), self.tokens.len() / self.images)
    }

    /// Sets the pictures of the level of [`to_decode`](Self::to_decode).
    pub fn decoded(&mut self, pictures: Vec<Image>) -> Result<()> {
        if let Some(target) = &mut self.target {
            host::call_back(|| target(&pictures))?;
        }
        (self.pictures, self.decoded) = (Arc::new(pictures), self.level());
        Ok(())
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancel.as_ref().is_some_and(Cancel::is_cancelled)
    }

    /// Ends it early; a level that was just reached is not reported.
    pub fn stop(&mut self, kind: EventKind) {
        self.reports = false;
        self.end = Some(kind);
    }

    /// Records tokens and steps for the next event.
    fn snapshot(&mut self) -> Result<()> {
        let Subject::Generation(generation) = &self.subject else { return Ok(()) };
        let progress = generation.progress();
        let steps = [progress.steps_done, progress.steps_left];
        let mut tokens = reserve("the tokens of an event", self.images.saturating_mul(progress.tokens))?;
        for image in 0..self.images {
            tokens.extend_from_slice(generation.tokens(image)?);
        }
        (self.steps, self.tokens) = (steps, Arc::new(tokens));
        Ok(())
    }

    /// Batch rows of its next step.
    pub fn rows(&self) -> usize {
        match &self.subject {
            Subject::Request(request) => Asked::of(request).rows(0),
            Subject::Generation(generation) => generation.upcoming().map_or(0, |(_, rows)| rows),
        }
    }

    /// Whether it needs memory before it can step.
    pub fn is_new(&self) -> bool {
        match &self.subject {
            Subject::Request(_) => true,
            Subject::Generation(generation) => self.cancel.is_none() || !generation.has_cache(),
        }
    }

    /// The finest complete level of the recorded tokens.
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

    /// The last event. Consumes the job, which frees its KV cache. If there is no memory for its tokens, the event has
    /// those of the previous one.
    pub fn last(mut self, kind: EventKind) -> Event {
        // A finished job was recorded already, and the state that a panic left is not read.
        if !matches!(kind, EventKind::Done | EventKind::Failed(Error::Internal(_))) {
            let _ = self.snapshot();
        }
        // Its memory is the owner's again before the end is known.
        self.target = None;
        self.event(kind)
    }
}

/// The number of levels that `tokens` complete.
fn rank(model: &Model, tokens: usize) -> u32 {
    model.bundle().ladder().levels().iter().filter(|level| level.tokens <= tokens).count() as u32
}

//! Options of workers and jobs.

use crate::support::error::{Error, Result};

/// Options of a worker.
///
/// ```
/// let options = detailflow::WorkerOptions::new().with_threads(2).with_batch(16);
/// # let _ = options;
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerOptions {
    /// Number of threads, 0 to 64; 1 is the default. 0: the worker is driven by [`Worker::tick`](super::Worker::tick), on
    /// the thread that calls it. Each runs one batch, or one job that is not batched; the batch of a model
    /// is always on one thread. A model runs one graph at a time, so more threads are useful for several models, or to
    /// start short jobs beside long ones where jobs are not batched.
    pub threads: usize,
    /// The largest batch in pictures, over all its jobs; a larger job runs alone. 1 runs each job alone, one after another.
    /// 0 (the default) is 64 if the attention form can step pictures at different positions in one run (`native`), and 1
    /// otherwise: there jobs would take turns by the step, finish no sooner and need their memory at once.
    pub batch: usize,
    /// The largest KV cache of a batch in bytes, at least 1 (default 2 GiB); a job that needs more runs alone. Jobs that wait
    /// between two levels keep as much beside it; see [`WorkerOrder::CoarseFirst`].
    pub batch_bytes: u64,
    /// Back-pressure limit: jobs pause while unread events hold at least this many bytes. At least 1, default 64 MiB. One
    /// step may exceed it by one event of each job in the batch.
    pub event_bytes: usize,
    /// Which jobs come first (default [`WorkerOrder::Default`]).
    pub order: WorkerOrder,
}

/// Which jobs of a worker come first. Where the first rule makes no difference, the second decides, and so on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WorkerOrder {
    /// [`CoarseFirst`](Self::CoarseFirst) without threads, [`PriorityFirst`](Self::PriorityFirst) with threads.
    #[default]
    Default,
    /// 1. Jobs that have reached fewer levels: coarse levels of all jobs come before fine levels of any.
    /// 2. Higher priority.
    /// 3. Order of submission.
    ///
    /// Between two levels a job keeps its KV cache. When all that wait, with what they need to go on, would be more than
    /// [`WorkerOptions::batch_bytes`], those that come last wait: in form `native` with a cache of only the positions that it
    /// has, until others have ended. So the first level of all comes before the second of any; the finer ones come in that order
    /// among as many jobs as there is memory for. When even the waiting caches are too much, the last ones are freed, and the
    /// steps over their tokens are repeated.
    CoarseFirst,
    /// 1. Higher priority.
    /// 2. Order of submission.
    PriorityFirst,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { threads: 1, batch: 0, batch_bytes: 2 << 30, event_bytes: 64 << 20, order: WorkerOrder::Default }
    }
}

const MOST_THREADS: usize = 64;
/// The default batch: beyond it a step takes longer in proportion to its pictures.
const USUAL_BATCH: usize = 64;

impl WorkerOptions {
    /// The default options.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`threads`](Self::threads).
    #[must_use]
    pub fn with_threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Sets [`batch`](Self::batch).
    #[must_use]
    pub fn with_batch(mut self, pictures: usize) -> Self {
        self.batch = pictures;
        self
    }

    /// Sets [`batch_bytes`](Self::batch_bytes).
    #[must_use]
    pub fn with_batch_bytes(mut self, bytes: u64) -> Self {
        self.batch_bytes = bytes;
        self
    }

    /// Sets [`event_bytes`](Self::event_bytes).
    #[must_use]
    pub fn with_event_bytes(mut self, bytes: usize) -> Self {
        self.event_bytes = bytes;
        self
    }

    /// Sets [`order`](Self::order).
    #[must_use]
    pub fn with_order(mut self, order: WorkerOrder) -> Self {
        self.order = order;
        self
    }

    /// Whether jobs with fewer levels come first.
    pub(super) fn is_coarse_first(&self) -> bool {
        match self.order {
            WorkerOrder::Default => self.threads == 0,
            WorkerOrder::CoarseFirst => true,
            WorkerOrder::PriorityFirst => false,
        }
    }

    /// The largest batch, in pictures.
    pub(super) fn pictures(&self) -> usize {
        if self.batch == 0 { USUAL_BATCH } else { self.batch }
    }

    /// Checks the ranges; [`Worker::new`](super::Worker::new) does so too.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an option is out of range.
    pub fn check(&self) -> Result<()> {
        let Self { threads, batch_bytes, event_bytes, .. } = *self;
        if threads > MOST_THREADS {
            return Err(Error::Invalid(format!(
                "worker: {threads} threads are out of range: 0 to {MOST_THREADS} are allowed"
            )));
        }
        if batch_bytes == 0 {
            return Err(Error::Invalid(
                "worker: batch_bytes is 0; at least 1 is allowed (batch 1 disables batching)".into(),
            ));
        }
        if event_bytes == 0 {
            return Err(Error::Invalid(
                "worker: event_bytes is 0; at least 1 is allowed, or no job would start".into(),
            ));
        }
        Ok(())
    }
}

/// Options of a job.
#[derive(Debug, Clone, Copy, Default)]
#[non_exhaustive]
pub struct SubmitOptions {
    /// A number of the caller's choice (default 0), passed on in each event of the job.
    pub user: u64,
    /// Whether the worker decodes the pictures of each event (default false); otherwise [`Event::image`](super::Event::image)
    /// does so, on the thread that calls it.
    pub decode: bool,
    /// Whether only the last event is reported (default false), and none for each level.
    pub last_only: bool,
    /// Its priority (default 0): of two jobs at the same level the higher one runs first. It can be changed with
    /// [`Worker::set_priority`](super::Worker::set_priority).
    pub priority: f32,
    /// Whether the job is held at the request's level (default false): it reports that level, also with
    /// [`last_only`](Self::last_only), and waits for [`Worker::continue_to`](super::Worker::continue_to). At the finest level
    /// it ends as others do.
    pub hold: bool,
}

impl SubmitOptions {
    /// The default options.
    #[must_use]
    pub const fn new() -> Self {
        Self { user: 0, decode: false, last_only: false, priority: 0.0, hold: false }
    }

    /// Sets [`user`](Self::user).
    #[must_use]
    pub const fn with_user(mut self, user: u64) -> Self {
        self.user = user;
        self
    }

    /// Sets [`decode`](Self::decode).
    #[must_use]
    pub const fn with_decode(mut self, decode: bool) -> Self {
        self.decode = decode;
        self
    }

    /// Sets [`last_only`](Self::last_only).
    #[must_use]
    pub const fn with_last_only(mut self, last_only: bool) -> Self {
        self.last_only = last_only;
        self
    }

    /// Sets [`priority`](Self::priority).
    #[must_use]
    pub const fn with_priority(mut self, priority: f32) -> Self {
        self.priority = priority;
        self
    }

    /// Sets [`hold`](Self::hold).
    #[must_use]
    pub const fn with_hold(mut self, hold: bool) -> Self {
        self.hold = hold;
        self
    }
}

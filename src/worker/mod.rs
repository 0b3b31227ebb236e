//! Work in the background: a worker draws on threads of its own what is submitted to it, and tells what happens in
//! events that are taken when it suits.
//!
//! For whoever must not wait: a game's loop, a server, a user interface. Whoever may wait draws by itself with
//! [`Generation`], and whoever wants to draw within a frame uses [`Generation::advance`].
//!
//! Jobs of one model are drawn together, of whatever class, level, guidance and length, each at its own place: those that
//! are done leave, and those that wait join before the next step, in the order in which they were submitted. A queue of
//! small requests so takes little longer than one large request, and each draws what it would draw alone. How many are
//! drawn together is in [`WorkerOptions::batch`] and [`WorkerOptions::batch_bytes`]; a job for which there is no room
//! waits until there is, and is not overtaken by smaller ones. Jobs of another model wait, where no other thread is free,
//! until those that are drawn are done.
//!
//! ```no_run
//! use std::time::Duration;
//! use detailflow::{EventKind, Model, ModelOptions, Request, SubmitOptions, Worker, WorkerOptions};
//! # fn main() -> detailflow::Result<()> {
//! let model = Model::open_default(&ModelOptions::default())?;
//! let worker = Worker::new(&WorkerOptions::default())?;
//! worker.submit(&Request::new(&model), SubmitOptions { decode: true, ..Default::default() })?;
//! while worker.pending() > 0 {
//!     let Some(event) = worker.wait(Duration::from_secs(1)) else { continue };
//!     match event.kind() {
//!         EventKind::Failed(error) => println!("{error}"),
//!         _ => event.image(0)?.save("so_far.png")?,
//!     }
//! }
//! # Ok(()) }
//! ```

mod batch;
mod event;
mod job;
mod queue;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use event::{Event, EventKind};
use job::{Job, Subject};
use queue::{Load, Queue};

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::model::Model;
use crate::runtime::{self, Form};
use crate::support::error::{Error, Result};
use crate::support::log;
use crate::support::memory::reserve;
use crate::support::sync::{Arc, Mutex, lock};

/// A job of one worker; numbers count from 1 in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// How a worker works.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Threads, 1 (the default) to 64. Each draws a batch of jobs, or one job; jobs of a model that are drawn together are
    /// always on one of them. One graph runs at a time, so more than one is of use for several models, or to start short
    /// jobs beside long ones where they are not drawn together.
    pub threads: usize,
    /// Pictures that are drawn together at most, of any number of jobs; a job of more is drawn by itself. 1 draws each job
    /// alone, one after the other. 0 (the default) is 64 where the model's form steps pictures that stand at different
    /// tokens in one run, as `native` does, and 1 where it does not: there jobs take turns by the step, none is done
    /// sooner, and all need their memory at once.
    pub batch: usize,
    /// Bytes of keys and values that jobs drawn together take at most (2 GiB unless told); a job of more is drawn by
    /// itself. At least 1.
    pub batch_bytes: u64,
    /// While events that nobody took hold as many bytes as this (64 MiB unless told), jobs pause. At least 1. What one step
    /// brings may add to it: at most an event of each job that is drawn together.
    pub event_bytes: usize,
}

impl Default for WorkerOptions {
    fn default() -> Self {
        Self { threads: 1, batch: 0, batch_bytes: 2 << 30, event_bytes: 64 << 20 }
    }
}

const MOST_THREADS: usize = 64;
/// Pictures that are drawn together unless told: from here on a step of more takes as much longer.
const USUAL_BATCH: usize = 64;

impl WorkerOptions {
    /// Sets the threads and checks them at once; otherwise that is done by [`Worker::new`].
    pub fn set_threads(&mut self, threads: usize) -> Result<()> {
        if !(1..=MOST_THREADS).contains(&threads) {
            return Err(Error::Invalid(format!("{threads} threads of a worker are not 1 to {MOST_THREADS}")));
        }
        self.threads = threads;
        Ok(())
    }

    /// Sets the bytes of jobs that are drawn together and checks them at once; otherwise that is done by [`Worker::new`].
    pub fn set_batch_bytes(&mut self, bytes: u64) -> Result<()> {
        if bytes == 0 {
            return Err(Error::Invalid(
                "a batch needs at least 1 byte; to draw each job alone set a batch of 1".into(),
            ));
        }
        self.batch_bytes = bytes;
        Ok(())
    }

    /// Sets the bytes that events may hold and checks them at once; otherwise that is done by [`Worker::new`].
    pub fn set_event_bytes(&mut self, bytes: usize) -> Result<()> {
        if bytes == 0 {
            return Err(Error::Invalid("events need at least 1 byte: with 0 no job would ever begin".into()));
        }
        self.event_bytes = bytes;
        Ok(())
    }
}

/// What is wanted of a job.
#[derive(Debug, Clone, Copy, Default)]
pub struct SubmitOptions {
    /// The caller's own number; each event of the job has it.
    pub user: u64,
    /// The worker decodes the pictures of each event; otherwise [`Event::image`] does, on the thread that calls it.
    pub decode: bool,
    /// Nothing is told of levels, only the end.
    pub last_only: bool,
}

/// Draws in the background. Shared: any number of threads may use it at once.
///
/// Dropping it cancels what waits and what runs, and waits until its threads have ended; a callback hears the last event
/// of each job before. Inside its own callback dropping does not wait, and the callback hears nothing more.
pub struct Worker {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Queue<Job>,
    batch: usize,
}

/// Every worker, for whoever closes a model.
static WORKERS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

thread_local! {
    /// Whose thread this is: the address of its [`Shared`]; 0 for threads of others. It has no destructor.
    static HERE: Cell<usize> = const { Cell::new(0) };
}

impl Worker {
    /// Starts the threads.
    ///
    /// # Errors
    /// [`Error::Invalid`] for options out of range, [`Error::OutOfMemory`] when the system gives no thread.
    pub fn new(options: &WorkerOptions) -> Result<Self> {
        let mut checked = options.clone();
        checked.set_threads(options.threads)?;
        checked.set_batch_bytes(options.batch_bytes)?;
        checked.set_event_bytes(options.event_bytes)?;
        let pictures = if options.batch == 0 { USUAL_BATCH } else { options.batch };
        let room = Load { pictures: pictures as u64, bytes: options.batch_bytes };
        let shared = Arc::new(Shared { queue: Queue::new(options.event_bytes, room), batch: options.batch });
        let mut worker = Self { shared: shared.clone(), threads: reserve("a worker", options.threads)? };
        for number in 0..options.threads {
            let shared = shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("detailflow-{number}"))
                .spawn(move || work(&shared))
                .map_err(|error| Error::OutOfMemory { what: format!("a worker's thread ({error})"), bytes: 2 << 20 })?;
            worker.threads.push(thread);
        }
        lock(&WORKERS).push(shared);
        Ok(worker)
    }

    /// Draws a request in the background, after those that were submitted before or together with them. What can be
    /// checked is checked now; its memory is asked for when its turn comes. The request may be changed or dropped
    /// afterwards.
    ///
    /// # Errors
    /// Those of [`Generation::new`], but [`Error::OutOfMemory`] mostly comes as an event; [`Error::State`] when the
    /// process is ending.
    pub fn submit(&self, request: &Request, options: SubmitOptions) -> Result<JobId> {
        request.model().ar()?;
        request.given()?;
        self.enqueue(Subject::Request(Box::new(request.try_clone()?)), options)
    }

    /// Goes on with a generation in the background. Its own [cancel handle](Generation::cancel_handle) stops it too.
    ///
    /// # Errors
    /// [`Error::State`] when the process is ending.
    pub fn submit_generation(&self, generation: Generation, options: SubmitOptions) -> Result<JobId> {
        self.enqueue(Subject::Generation(Box::new(generation)), options)
    }

    fn enqueue(&self, subject: Subject, options: SubmitOptions) -> Result<JobId> {
        let _inside = runtime::enter()?;
        let model = subject.model().clone();
        let together = match self.shared.batch {
            0 => steps_at_once(&model),
            pictures => pictures > 1,
        };
        let load = together.then(|| subject.load());
        let id = self.shared.queue.submit(model, Job { subject, options, load });
        id.map(JobId).ok_or_else(|| Error::State("the worker is being freed".into()))
    }

    /// The next event in the order in which they happened; none when there is none now, or a callback is set.
    pub fn poll(&self) -> Option<Event> {
        self.shared.queue.take(Some(Instant::now()))
    }

    /// As [`poll`](Self::poll), but waits up to `timeout` for one. Inside a callback of this worker it does not wait.
    pub fn wait(&self, timeout: Duration) -> Option<Event> {
        if self.is_own_thread() {
            return self.poll();
        }
        // No deadline is one that never comes.
        self.shared.queue.take(Instant::now().checked_add(timeout))
    }

    /// Cancels a job: one that waits ends at once, one that is drawn within a step. Its last event tells; a job that
    /// ended already is left as it is.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there never was such a job.
    pub fn cancel(&self, job: JobId) -> Result<()> {
        if !self.shared.queue.knows(job.0) {
            return Err(Error::Invalid(format!("there never was a job {}", job.0)));
        }
        self.shared.queue.cancel(|id, _| id == job.0);
        Ok(())
    }

    /// Cancels all jobs that were submitted so far.
    pub fn cancel_all(&self) {
        self.shared.queue.cancel(|_, _| true);
    }

    /// How many jobs there are whose last event was not taken yet: as long as there are, [`wait`](Self::wait) will give
    /// something. With a callback: for which it has not returned yet.
    pub fn pending(&self) -> usize {
        self.shared.queue.pending()
    }

    /// From now on events go to `callback`, also those that wait to be taken, and [`poll`](Self::poll) and
    /// [`wait`](Self::wait) give none. It is called on threads of the worker, never on two at once; while it runs all
    /// jobs of its thread stand still. It may use everything, this worker too. Should it panic, that is logged, and work
    /// goes on.
    ///
    /// Replaces an earlier one, and returns when that one is not running any more (inside a callback of this worker: at
    /// once).
    pub fn set_callback(&self, callback: impl Fn(Event) + Send + Sync + 'static) {
        let guarded = move |event| {
            // Once the process ends its owner may be gone; and the end of the process waits for whoever is inside.
            let Ok(_inside) = runtime::enter() else { return };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| callback(event))) {
                let text = Error::from_panic(&*panic);
                log::emit(log::Severity::Error, || format!("the callback of a worker: {text}"));
            }
        };
        self.shared.queue.set_callback(Some(std::sync::Arc::new(guarded)), !self.is_own_thread());
    }

    /// From now on events wait to be taken. Returns as [`set_callback`](Self::set_callback) does.
    pub fn clear_callback(&self) {
        self.shared.queue.set_callback(None, !self.is_own_thread());
    }

    fn is_own_thread(&self) -> bool {
        HERE.get() == self.shared.address()
    }
}

impl Shared {
    fn address(self: &Arc<Self>) -> usize {
        Arc::as_ptr(self).addr()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        lock(&WORKERS).retain(|other| !Arc::ptr_eq(other, &self.shared));
        let own = self.is_own_thread();
        self.shared.queue.close(own);
        if own {
            // A thread cannot wait for itself; it ends when its callback returns.
            return;
        }
        for thread in self.threads.drain(..) {
            // Nothing unwinds out of a thread of ours.
            let _ = thread.join();
        }
        self.shared.queue.clear();
    }
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("threads", &self.threads.len())
            .field("pending", &self.pending())
            .finish_non_exhaustive()
    }
}

/// What a thread of a worker does.
fn work(shared: &Arc<Shared>) {
    HERE.set(shared.address());
    batch::work(&shared.queue);
}

/// Whether pictures that stand at different tokens are stepped in one run.
fn steps_at_once(model: &Model) -> bool {
    model.form() == Form::Native
}

/// Cancels what all workers draw with a model, and waits until they have stopped; inside a callback it does not wait: two
/// that wait for each other would wait for ever.
pub(crate) fn cancel_model(model: &Model) {
    let workers: Vec<Arc<Shared>> = lock(&WORKERS).clone();
    for worker in &workers {
        worker.queue.cancel(|_, other| other.is(model));
    }
    if HERE.get() == 0 {
        for worker in &workers {
            worker.queue.settle(|other| other.is(model));
        }
    }
}

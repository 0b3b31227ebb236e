//! Background generation: a worker runs submitted jobs on its own threads and reports progress as events.
//!
//! For callers that must not block: a game loop, a server, a user interface. A caller that may block uses [`Generation`]
//! directly; one that generates within a frame budget uses [`Worker::tick`] or [`Generation::advance`].
//!
//! Jobs of one model are batched, whatever their class, level, guidance and length: finished jobs leave the batch, and
//! waiting jobs join before the next step, in the order of submission. So a queue of small requests takes little longer
//! than one large request, and each job gives the same tokens as alone. [`WorkerOptions::batch`] and
//! [`WorkerOptions::batch_bytes`] limit the batch. A job that does not fit waits and is not overtaken by smaller ones. Jobs
//! of another model wait until the running batch is done, unless another thread is free.
//!
//! A worker without threads is driven by [`Worker::tick`], once per frame of a game: see `tick`. Which jobs come first is
//! [`WorkerOrder`]; priorities, pauses and targets of jobs may be changed at any time.
//!
//! ```no_run
//! use std::time::Duration;
//! use detailflow::{EventKind, Model, ModelOptions, Request, SubmitOptions, Worker, WorkerOptions};
//! # fn main() -> detailflow::Result<()> {
//! let model = Model::open_default(&ModelOptions::default())?;
//! let worker = Worker::new(&WorkerOptions::default())?;
//! worker.submit(&Request::new(&model), SubmitOptions::new().with_decode(true))?;
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
mod options;
mod queue;
mod tick;

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

pub use event::{Event, EventKind};
use job::{Course, Subject, Target};
pub use options::{SubmitOptions, WorkerOptions, WorkerOrder};
use queue::{Load, Queue};
use tick::Driver;
pub use tick::TickReport;

use crate::generation::Generation;
use crate::generation::request::Request;
use crate::model::Model;
use crate::pixels::Image;
use crate::runtime::{self, Form};
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::support::sync::{Arc, Mutex, lock};
use crate::support::{host, log};

/// The ID of a job of one worker: jobs count from 1 in the order of submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct JobId(pub u64);

/// Generates in the background. May be shared: any number of threads may use it at once.
///
/// Dropping it cancels all jobs and waits until its threads have ended; a callback receives the last event of each job
/// before. [`close`](Self::close) stops the callback first and limits the wait for it. Dropped inside its own callback it
/// does not wait, and the callback is not called again.
pub struct Worker {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    queue: Queue<Course>,
    batch: usize,
    /// Of a worker without threads; locked while it ticks.
    driver: Option<Mutex<Driver>>,
}

/// All workers, for [`cancel_model`].
static WORKERS: Mutex<Vec<Arc<Shared>>> = Mutex::new(Vec::new());

thread_local! {
    /// The worker that this thread belongs to: the address of its [`Shared`]; 0 for other threads. It has no destructor.
    static HERE: Cell<usize> = const { Cell::new(0) };
    /// Whether this thread is in a worker's callback.
    static IN_CALLBACK: Cell<bool> = const { Cell::new(false) };
}

impl Worker {
    /// Starts a worker and its threads.
    ///
    /// # Errors
    /// [`Error::Invalid`] if an option is out of range, [`Error::OutOfMemory`] if the system cannot start a thread.
    pub fn new(options: &WorkerOptions) -> Result<Self> {
        options.check()?;
        host::check_threads()?;
        host::settle();
        let room = Load { pictures: options.pictures() as u64, bytes: options.batch_bytes };
        let queue = Queue::ordered(options.event_bytes, room, options.is_coarse_first(), options.batch_bytes);
        let driver = (options.threads == 0).then(|| Mutex::new(Driver::new(options.pictures())));
        let shared = Arc::new(Shared { queue, batch: options.batch, driver });
        let mut worker = Self { shared: shared.clone(), threads: reserve("a worker", options.threads)? };
        let host_thread = host::thread();
        for number in 0..options.threads {
            let shared = shared.clone();
            let thread = std::thread::Builder::new()
                .name(format!("detailflow-{number}"))
                .spawn(move || {
                    host::begin_thread(host_thread);
                    work(&shared);
                })
                .map_err(|error| Error::OutOfMemory { what: format!("a worker's thread ({error})"), bytes: 2 << 20 })?;
            worker.threads.push(thread);
        }
        lock(&WORKERS).push(shared);
        Ok(worker)
    }

    /// Submits a request as a job, which runs after those submitted before, or batched with them. The request is checked
    /// now and copied; its memory is allocated when the job starts.
    ///
    /// # Errors
    /// Those of [`Generation::new`], except that [`Error::OutOfMemory`] is mostly reported as an event; [`Error::State`]
    /// if the worker is closed or the process is ending.
    pub fn submit(&self, request: &Request, options: SubmitOptions) -> Result<JobId> {
        self.submit_request(request, options, None)
    }

    /// As [`submit`](Self::submit); and the images of each level that is reported are decoded and given to `target`, in the
    /// order of the request, before the event of that level. It is called on the thread that generates, on no two at once,
    /// and its error or panic fails the job. It is dropped before the last event of the job.
    ///
    /// # Errors
    /// Those of [`submit`](Self::submit).
    pub fn submit_into(
        &self,
        request: &Request,
        options: SubmitOptions,
        target: impl FnMut(&[Image]) -> Result<()> + Send + 'static,
    ) -> Result<JobId> {
        self.submit_request(request, options.with_decode(true), Some(Box::new(target)))
    }

    fn submit_request(&self, request: &Request, options: SubmitOptions, target: Option<Target>) -> Result<JobId> {
        request.model().ar()?;
        request.given()?;
        let subject = Subject::Request(Box::new(request.try_clone()?));
        self.enqueue(subject, options, target).map_err(|(_, error)| error)
    }

    /// Submits a generation as a job, which continues it. Its own [cancel handle](Generation::cancel_handle) cancels the
    /// job too.
    ///
    /// # Errors
    /// [`Error::State`] if the worker is closed or the process is ending.
    pub fn submit_generation(&self, generation: Generation, options: SubmitOptions) -> Result<JobId> {
        self.submit_or_return(generation, options).map_err(|(_, error)| error)
    }

    /// As [`submit_generation`](Self::submit_generation), and gives the generation back with the error.
    pub(crate) fn submit_or_return(
        &self,
        generation: Generation,
        options: SubmitOptions,
    ) -> std::result::Result<JobId, (Box<Generation>, Error)> {
        self.enqueue(Subject::Generation(Box::new(generation)), options, None).map_err(|(subject, error)| match subject
        {
            Subject::Generation(generation) => (generation, error),
            Subject::Request(_) => unreachable!("a generation was submitted"),
        })
    }

    fn enqueue(
        &self,
        subject: Subject,
        mut options: SubmitOptions,
        target: Option<Target>,
    ) -> std::result::Result<JobId, (Subject, Error)> {
        match check_priority(options.priority) {
            Ok(priority) => options.priority = priority,
            Err(error) => return Err((subject, error)),
        }
        let _inside = match runtime::enter() {
            Ok(inside) => inside,
            Err(error) => return Err((subject, error)),
        };
        let model = subject.model().clone();
        let together = match self.shared.batch {
            0 => steps_at_once(&model),
            pictures => pictures > 1,
        };
        let load = together.then(|| subject.load());
        let closed = || Error::State("the worker is closed: it accepts no more jobs".into());
        let submitted = self.shared.queue.try_submit(model, Course::new(subject, load, options, target));
        submitted.map(JobId).map_err(|course| (course.into_subject(), closed()))
    }

    /// Drives a worker without threads ([`WorkerOptions::threads`] 0) for one frame: does the work that is predicted to fit
    /// into `budget`, but at least one unit when there is any. A unit prepares one job, steps jobs together, or decodes
    /// images of one level together; as many as may take half the budget. A unit whose time was not measured yet runs as
    /// the first of a call. With a callback, it receives the events on this thread, within the call.
    ///
    /// # Errors
    /// [`Error::State`] if the worker has threads; [`Error::Busy`] if another thread is in this call, or if it is called
    /// inside the worker's own callback.
    pub fn tick(&self, budget: Duration) -> Result<TickReport> {
        let _host = host::enter();
        host::check_threads()?;
        let driver = self.shared.driver.as_ref().ok_or_else(|| {
            Error::State("the worker has threads of its own: only one with 0 threads is driven by tick".into())
        })?;
        let mut driver = driver.try_lock().map_err(|_| Error::Busy("another tick of this worker is running".into()))?;
        let _here = Here::set(self.shared.address());
        Ok(driver.tick(&self.shared.queue, budget))
    }

    /// Whether it has no threads and is driven by [`tick`](Self::tick).
    #[must_use]
    pub fn is_driven(&self) -> bool {
        self.shared.driver.is_some()
    }

    /// Changes the priority of a job, whether it runs or waits; it counts from the next step on. No effect on a job that has
    /// ended.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there never was such a job, or `priority` is NaN.
    pub fn set_priority(&self, job: JobId, priority: f32) -> Result<()> {
        let priority = check_priority(priority)?;
        self.check_job(job)?;
        self.shared.queue.set_priority(job.0, priority);
        Ok(())
    }

    /// Pauses a job: a running one within a step. Its tokens are kept and its KV cache is freed, so that the steps over its
    /// tokens are repeated when it goes on. No effect on a job that has ended.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there never was such a job.
    pub fn pause(&self, job: JobId) -> Result<()> {
        self.check_job(job)?;
        self.shared.queue.set_paused(job.0, true);
        Ok(())
    }

    /// Lets a paused job go on, in its old place. No effect on a job that is not paused or has ended.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there never was such a job.
    pub fn resume(&self, job: JobId) -> Result<()> {
        self.check_job(job)?;
        self.shared.queue.set_paused(job.0, false);
        Ok(())
    }

    /// Changes the level at which a job ends, or is held ([`SubmitOptions::hold`]), to `level_size` pixels; 0 is the finest.
    /// A held job goes on and gets the tokens that one run to that level gives. A job that has passed the level ends, or is
    /// held, where it is. No effect on a job that has ended.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there never was such a job, or its model has no such level (the error lists the levels).
    pub fn continue_to(&self, job: JobId, level_size: u32) -> Result<()> {
        self.check_job(job)?;
        self.shared.queue.retarget(job.0, |model| {
            if level_size == 0 { Ok(model.bundle().tokens()) } else { Ok(model.level(level_size)?.tokens) }
        })
    }

    /// Takes the oldest event; `None` if there is none now, or a callback is set.
    #[must_use]
    pub fn poll(&self) -> Option<Event> {
        self.shared.queue.take(Some(Instant::now()))
    }

    /// As [`poll`](Self::poll), but waits up to `timeout` for an event. On threads of this worker, and on a worker
    /// that is driven by [`tick`](Self::tick), it does not wait.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> Option<Event> {
        if self.is_driven() || self.is_own_thread() {
            return self.poll();
        }
        // A timeout beyond the clock's range is no deadline.
        self.shared.queue.take(Instant::now().checked_add(timeout))
    }

    /// Cancels a job: a waiting one ends at once, a running one within a step. Its last event reports it. A job that has
    /// ended is not affected.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there never was such a job.
    pub fn cancel(&self, job: JobId) -> Result<()> {
        self.check_job(job)?;
        self.shared.queue.cancel(|id, _| id == job.0);
        Ok(())
    }

    /// Cancels all jobs submitted so far. The worker itself is not affected.
    pub fn cancel_all(&self) {
        self.shared.queue.cancel(|_, _| true);
    }

    /// The number of jobs whose last event was not taken yet; while it is not 0, [`wait`](Self::wait) will return an event.
    /// With a callback: the number of jobs for whose last event it has not returned yet.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.shared.queue.pending()
    }

    /// Delivers events to `callback` from now on, including those waiting to be taken; [`poll`](Self::poll) and
    /// [`wait`](Self::wait) return none. It is called on threads of the worker, never on two at once; while it runs the
    /// jobs of its thread pause. It may call any function, this worker's too. A panic in it is logged, and the worker goes
    /// on.
    ///
    /// Replaces the previous callback and returns after that has returned (on threads of this worker: at once). After
    /// [`close`](Self::close) it does nothing.
    pub fn set_callback(&self, callback: impl Fn(Event) + Send + Sync + 'static) {
        let guarded = move |event| {
            // While the process is ending the owner of the callback may be gone already; the end waits for those inside.
            let Ok(_inside) = runtime::enter() else { return };
            IN_CALLBACK.set(true);
            let called = catch_unwind(AssertUnwindSafe(|| host::call_back(|| callback(event))));
            IN_CALLBACK.set(false);
            if let Err(panic) = called {
                let text = Error::from_panic(&*panic);
                log::emit(log::Severity::Error, || format!("the callback of a worker: {text}"));
            }
        };
        self.shared.queue.set_callback(Some(std::sync::Arc::new(guarded)), !self.is_own_thread());
    }

    /// Removes the callback; events wait to be taken from now on. Returns as [`set_callback`](Self::set_callback) does.
    pub fn clear_callback(&self) {
        self.shared.queue.set_callback(None, !self.is_own_thread());
    }

    /// Closes the worker: cancels all jobs, accepts no more ([`Error::State`]), and stops the callback. Waits up to
    /// `timeout` for a callback that is running, and returns whether none is: after `true`, the callback has returned, has
    /// been dropped, and will not be called again. After `false` it is still running; it will not be called again either.
    ///
    /// May be called again, for example to go on waiting. Inside the worker's own callback it returns `true` at once. The
    /// last events of the jobs can still be taken with [`poll`](Self::poll) and [`wait`](Self::wait). Dropping a closed
    /// worker still waits for its threads, and so for a running callback.
    #[must_use]
    pub fn close(&self, timeout: Duration) -> bool {
        self.shared.queue.close(true);
        if !self.is_own_thread() {
            // A timeout beyond the clock's range is no deadline.
            return self.shared.queue.silence(Instant::now().checked_add(timeout));
        }
        // A thread of the worker cannot wait for itself. It is in the callback, or in one for log messages.
        IN_CALLBACK.get() || self.shared.queue.silence(Some(Instant::now()))
    }

    /// Before its handle is freed, perhaps inside its own callback: nothing is told any more then, and all jobs end.
    #[cfg(feature = "ffi")]
    pub(crate) fn retire(&self) {
        if self.is_driven() && self.is_own_thread() {
            self.shared.queue.close(true);
        }
    }

    fn check_job(&self, job: JobId) -> Result<()> {
        if self.shared.queue.knows(job.0) {
            return Ok(());
        }
        Err(Error::Invalid(format!("job {} was never submitted to this worker", job.0)))
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
        if host::threads_are_gone() {
            // They cannot be waited for.
            std::mem::forget(std::mem::take(&mut self.threads));
            return;
        }
        lock(&WORKERS).retain(|other| !Arc::ptr_eq(other, &self.shared));
        let own = self.is_own_thread();
        self.shared.queue.close(own);
        if own {
            // A thread cannot wait for itself; it ends after its callback has returned.
            return;
        }
        if self.is_driven() {
            // No job is running: all have ended, and only their last events are to be delivered.
            let _here = Here::set(self.shared.address());
            self.shared.queue.deliver_all();
        }
        for thread in self.threads.drain(..) {
            // No panic leaves a thread of the worker.
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

/// Marks this thread as one of a worker while it lives.
struct Here(usize);

impl Here {
    fn set(address: usize) -> Self {
        Self(HERE.replace(address))
    }
}

impl Drop for Here {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

/// A number that priorities are compared by: not NaN, and with one zero.
fn check_priority(priority: f32) -> Result<f32> {
    if priority.is_nan() {
        return Err(Error::Invalid("the priority of a job is NaN".into()));
    }
    Ok(priority + 0.0)
}

/// The main function of a worker's thread.
fn work(shared: &Arc<Shared>) {
    HERE.set(shared.address());
    batch::work(&shared.queue);
}

/// Whether pictures at different positions can be stepped in one run.
fn steps_at_once(model: &Model) -> bool {
    model.form() == Form::Native
}

/// Cancels the jobs of a model on all workers and waits until they have stopped. On threads of workers it does not wait,
/// because two that wait for each other would deadlock.
#[cfg(feature = "ffi")]
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

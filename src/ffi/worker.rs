//! Workers: generate in the background.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::time::Duration;

use super::call::{call, change, get_message, on, on_kept};
use super::error::detailflow_error;
use super::family::{Family, family};
use super::generation::{detailflow_generation, give_generation};
use super::handle::{Guard, Guarded, Object};
use super::image::detailflow_image;
use super::message::Message;
use super::param::{Exclusive, Out, Owned, Shared, new_handle};
use super::plain::{Plain, nanoseconds};
use super::request::detailflow_request;
use super::status::{DETAILFLOW_STATUS_BUSY, DETAILFLOW_STATUS_OK, Failure, Outcome, detailflow_status};
use crate::support::error::Error;
use crate::worker::{Event, EventKind, JobId, SubmitOptions, TickReport, Worker, WorkerOptions, WorkerOrder};

/// Flags of detailflow_worker_submit, combined with `|`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_submit_flag {
    /// The worker decodes the images of each event on its own thread. Otherwise detailflow_event_decode_level does, on
    /// the thread that calls it.
    DETAILFLOW_SUBMIT_FLAG_DECODE = 1,
    /// No events for levels, only the last event of the job.
    DETAILFLOW_SUBMIT_FLAG_LAST_ONLY = 2,
    /// The job is held at the level of its request, unless that is the finest: it reports that level (also with LAST_ONLY),
    /// frees its KV cache, and waits for detailflow_worker_continue or detailflow_worker_cancel.
    DETAILFLOW_SUBMIT_FLAG_HOLD = 4,
}

family!(detailflow_submit_flag:
    DETAILFLOW_SUBMIT_FLAG_DECODE, DETAILFLOW_SUBMIT_FLAG_LAST_ONLY, DETAILFLOW_SUBMIT_FLAG_HOLD);

/// Which jobs of a worker come first.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_worker_order {
    /// The default: COARSE_FIRST without threads, PRIORITY_FIRST with threads.
    DETAILFLOW_WORKER_ORDER_DEFAULT = 0,
    /// Jobs that have reached fewer levels (coarse levels of all jobs come before fine levels of any), then those of higher
    /// priority, then those submitted before. Between two levels a job keeps its KV cache. When all that wait, with what they
    /// need to go on, would be more than detailflow_worker_options_set_batch_bytes, those that come last wait: in form
    /// `native` with a cache of only the positions that it has, until others have ended. So the first level of all comes
    /// before the second of any; the finer ones come in that order among as many jobs as there is memory for. When even the
    /// waiting caches are too much, the last ones are freed, and the steps over their tokens are repeated.
    DETAILFLOW_WORKER_ORDER_COARSE_FIRST = 1,
    /// Jobs of higher priority, then those submitted before.
    DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST = 2,
}

family!(detailflow_worker_order:
    DETAILFLOW_WORKER_ORDER_DEFAULT, DETAILFLOW_WORKER_ORDER_COARSE_FIRST, DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST);

/// Kinds of events.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum detailflow_event_kind {
    /// A level is complete.
    DETAILFLOW_EVENT_KIND_LEVEL = 1,
    /// The job is finished. The last event of its job.
    DETAILFLOW_EVENT_KIND_DONE = 2,
    /// The job was cancelled. The last event of its job; it has what was generated before.
    DETAILFLOW_EVENT_KIND_CANCELLED = 3,
    /// The job failed. The last event of its job; it has what was generated before.
    DETAILFLOW_EVENT_KIND_FAILED = 4,
}

family!(detailflow_event_kind:
    DETAILFLOW_EVENT_KIND_LEVEL, DETAILFLOW_EVENT_KIND_DONE, DETAILFLOW_EVENT_KIND_CANCELLED,
    DETAILFLOW_EVENT_KIND_FAILED);

/// How a worker works. Not thread-safe: concurrent calls return BUSY.
#[derive(Debug)]
pub struct detailflow_worker_options(Guarded<WorkerOptions>);

impl Object for detailflow_worker_options {
    const KIND: &'static str = "detailflow_worker_options";
    const NAME: &'static str = "options";
    fn message(&self) -> Option<&Message> {
        Some(&self.0.message)
    }
}

impl Guard for detailflow_worker_options {
    type Value = WorkerOptions;
    fn guarded(&self) -> &Guarded<WorkerOptions> {
        &self.0
    }
}

/// Generates in the background, on its own threads. Thread-safe. When several threads wait, each event goes to one of them.
#[derive(Debug)]
pub struct detailflow_worker {
    /// Both outlive the handle when it is freed inside a tick, by the callback.
    worker: Arc<Worker>,
    message: Arc<Message>,
}

impl Object for detailflow_worker {
    const KIND: &'static str = "detailflow_worker";
    const NAME: &'static str = "worker";
    fn message(&self) -> Option<&Message> {
        Some(&self.message)
    }
}

/// Something that happened to a job, with its tokens at that moment. Thread-safe. It belongs to whoever took it, also after
/// the worker was freed.
#[derive(Debug)]
pub struct detailflow_event {
    event: Event,
    status: detailflow_status,
    message: String,
}

impl Object for detailflow_event {
    const KIND: &'static str = "detailflow_event";
    const NAME: &'static str = "event";
}

/// Properties of an event.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_event_info {
    /// sizeof(detailflow_event_info).
    pub struct_size: u32,
    /// One of DETAILFLOW_EVENT_KIND_*. All but DETAILFLOW_EVENT_KIND_LEVEL are the last of their job.
    pub kind: u32,
    /// The job.
    pub job: u64,
    /// What was given to detailflow_worker_submit.
    pub user: u64,
    /// DETAILFLOW_STATUS_OK; DETAILFLOW_STATUS_CANCELLED when the job was cancelled; when it failed, what a generating
    /// call would have returned. The message is detailflow_event_get_job_message.
    pub status: detailflow_status,
    /// Number of images of the job.
    pub image_count: u32,
    /// Tokens of each image. 0 when the job had not started; after a failure possibly those of an earlier event.
    pub token_count: u32,
    /// Pixels per side of the finest level that was complete; 0 before the first.
    pub level_size: u32,
    /// Tokens of that level; 0 before the first.
    pub level_token_count: u32,
    /// Steps done.
    pub steps_done: u32,
    /// Steps that were left; 0 when the job is finished or had not started.
    pub steps_left: u32,
    /// 1 when the images of that level are decoded already.
    pub decoded: u32,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_event_info {
    const NAME: &'static str = "detailflow_event_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// What a call of detailflow_worker_tick did, and what is left.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct detailflow_tick_report {
    /// sizeof(detailflow_tick_report).
    pub struct_size: u32,
    /// Units of work: steps, decodes, and preparations of jobs.
    pub unit_count: u32,
    /// Units that were steps, each of one or more jobs.
    pub step_count: u32,
    /// Units that were runs of the decoder, each for one or more images.
    pub decode_count: u32,
    /// Images that completed a level, counted once for each level.
    pub image_count: u32,
    /// 1 when another call would find work to do; 0 also when too many events wait to be taken
    /// (detailflow_worker_options_set_event_bytes).
    pub more: u32,
    /// The time that the call took.
    pub time_ns: u64,
    /// The longest unit.
    pub longest_unit_ns: u64,
    /// The predicted time of the next unit; 0 when there is none, or its time was not measured yet.
    pub next_unit_ns: u64,
    /// Jobs that have work left and are neither paused nor held.
    pub ready_count: u64,
    /// Jobs that are paused or held.
    pub parked_count: u64,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_tick_report {
    const NAME: &'static str = "detailflow_tick_report";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Receives the events of a worker, on its threads (without threads: inside detailflow_worker_tick), never on two at once.
/// While it runs, all jobs of its thread stand still. It must return (no exception, no longjmp). It may call every function
/// of the library: freeing its own worker or a model cancels and does not wait, and waiting for an event of its own worker
/// returns at once without one.
///
/// @param user What was given to detailflow_worker_set_callback.
/// @param event Belongs to the callback: free it with detailflow_event_free, then or later, on any thread.
pub type detailflow_event_fn = Option<unsafe extern "C" fn(user: *mut c_void, event: *mut detailflow_event)>;

/// The caller vouches for the callback.
struct Host {
    callback: unsafe extern "C" fn(*mut c_void, *mut detailflow_event),
    user: *mut c_void,
}

// SAFETY: the contract asks for a callback that may be called from any thread with this pointer.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// Creates default options: one thread, 64 MiB of events, jobs batched where that is faster.
///
/// @param options Receives the handle. Free it with detailflow_worker_options_free.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_new(
    options: Out<'_, *mut detailflow_worker_options>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = options.place("options")?;
        place.set_handle(detailflow_worker_options(Guarded::new(
            detailflow_worker_options::KIND,
            WorkerOptions::default(),
        )));
        Ok(())
    })
}

/// Sets the number of threads. Each works on one batch of jobs. A model runs one graph at a time, so more than one thread
/// helps for several models, or to start short jobs beside long ones that cannot be batched.
///
/// @param threads 0 to 64; 1 is the default. 0: no threads, the worker is driven by detailflow_worker_tick.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_set_threads(
    options: Exclusive<'_, detailflow_worker_options>,
    threads: u32,
) -> detailflow_status {
    change(options, |options| set(options, options.clone().with_threads(threads as usize)))
}

/// Sets the largest number of images that are generated together, of any number of jobs of one model. A larger job is a
/// batch of its own. Waiting jobs join between two steps, in their order; each gets the tokens that it would get alone.
///
/// @param batch_size 1: jobs run alone, one after the other. 0 (the default): 64 with an attention form that can step
/// sequences at different positions in one run ("native"), otherwise 1.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_set_batch_size(
    options: Exclusive<'_, detailflow_worker_options>,
    batch_size: u32,
) -> detailflow_status {
    change(options, |options| {
        options.batch = batch_size as usize;
        Ok(())
    })
}

/// Sets the largest KV cache of jobs that are generated together. A job that needs more is a batch of its own. Jobs that wait
/// between two levels keep as much beside it; see detailflow_worker_order.
///
/// @param bytes At least 1; the default is 2 GiB.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_set_batch_bytes(
    options: Exclusive<'_, detailflow_worker_options>,
    bytes: u64,
) -> detailflow_status {
    change(options, |options| set(options, options.clone().with_batch_bytes(bytes)))
}

/// Sets the back-pressure limit: jobs pause while unread events use at least this much memory. One step may exceed it by
/// one event for each job of the batch.
///
/// @param bytes At least 1; the default is 64 MiB.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_set_event_bytes(
    options: Exclusive<'_, detailflow_worker_options>,
    bytes: u64,
) -> detailflow_status {
    let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
    change(options, |options| set(options, options.clone().with_event_bytes(bytes)))
}

/// Sets which jobs come first.
///
/// @param order One of DETAILFLOW_WORKER_ORDER_*.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_set_order(
    options: Exclusive<'_, detailflow_worker_options>,
    order: u32,
) -> detailflow_status {
    change(options, |options| {
        options.order = match detailflow_worker_order::choose(order, "order")? {
            DETAILFLOW_WORKER_ORDER_DEFAULT => WorkerOrder::Default,
            DETAILFLOW_WORKER_ORDER_COARSE_FIRST => WorkerOrder::CoarseFirst,
            DETAILFLOW_WORKER_ORDER_PRIORITY_FIRST => WorkerOrder::PriorityFirst,
        };
        Ok(())
    })
}

/// The message of the last failed call with these options: see "Text" above.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_get_message(
    options: Shared<'_, detailflow_worker_options>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(options, buffer, capacity, length)
}

/// Frees options. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_options_free(options: Owned<detailflow_worker_options>) {
    options.free(|_| {});
}

/// Starts a worker, and its threads unless it has none. It takes requests of any models.
///
/// @param options NULL takes the defaults.
/// @param worker Receives the handle. Free it with detailflow_worker_free.
/// @param error May be NULL.
/// @return OUT_OF_MEMORY when the system gives no thread.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_new(
    options: Shared<'_, detailflow_worker_options>,
    worker: Out<'_, *mut detailflow_worker>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let place = worker.place("worker")?;
        let options = options.optional()?.map(|options| options.0.copy()).transpose()?;
        let worker = Worker::new(&options.unwrap_or_default())?;
        place.set_handle(detailflow_worker { worker: Arc::new(worker), message: Arc::default() });
        Ok(())
    })
}

/// Frees a worker: cancels all jobs and waits until they have stopped. A callback receives the last event of each job
/// before this returns. Inside that callback the worker handle is already invalid. Without a callback, unread events are
/// dropped. Called inside the worker's own callback, this does not wait, and the callback is not called again. Without
/// threads nothing is waited for: no job runs between two ticks. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_free(worker: Owned<detailflow_worker>) {
    worker.free(|this| this.worker.retire());
}

/// Stops a worker before it is freed: cancels all jobs, and stops its callback. After success the callback is not running
/// and is never called again. The handle stays valid: unread events can be taken, submitting is WRONG_STATE.
///
/// Call it before the code or data of a callback goes away, when the callback might not return: detailflow_worker_free
/// waits for it without limit. May be called again, and by several threads.
///
/// @param timeout_ns How long to wait for a callback that runs; 0 does not wait, UINT64_MAX waits without limit. Inside
/// the worker's own callback it does not wait.
/// @return BUSY when a callback was still running in the end. It is not called again after that run.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_close(worker: Shared<'_, detailflow_worker>, timeout_ns: u64) -> detailflow_status {
    with(worker, |worker| {
        if worker.close(Duration::from_nanos(timeout_ns)) {
            return Ok(());
        }
        Err(Failure::new(DETAILFLOW_STATUS_BUSY, "a callback of this worker is still running"))
    })
}

/// The message of the last failed call with this worker: see "Text" above. Why a job failed is in its last event.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_get_message(
    worker: Shared<'_, detailflow_worker>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
) -> detailflow_status {
    get_message(worker, buffer, capacity, length)
}

/// Submits a request, after all that were submitted before. Arguments are checked now; memory is reserved when the job's
/// turn comes.
///
/// @param request Not changed; may be changed or freed afterwards.
/// @param user Any number; each event of the job has it.
/// @param flags 0, or DETAILFLOW_SUBMIT_FLAG_* combined with `|`.
/// @param job Receives the number of the job, 1 and up; may be NULL. Events may come before this returns.
/// @return Those of detailflow_generation_new, but OUT_OF_MEMORY usually comes as an event; WRONG_STATE when the worker
/// is closed.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_submit(
    worker: Shared<'_, detailflow_worker>,
    request: Shared<'_, detailflow_request>,
    user: u64,
    flags: u32,
    job: Out<'_, u64>,
) -> detailflow_status {
    with(worker, |worker| {
        let request = request.get()?;
        let options = flagged(flags)?.with_user(user);
        let id = request.0.read(|request| Ok(worker.submit(request, options)?))?;
        if let Some(place) = job.optional() {
            place.set(id.0);
        }
        Ok(())
    })
}

/// Submits a generation, started or not; the worker continues it.
///
/// @param generation After success the handle is used up: it must not be used or freed any more. After a failure it stays
/// the caller's. Cancel handles made from it stay valid and cancel the job.
/// @param user Any number; each event of the job has it.
/// @param flags 0, or DETAILFLOW_SUBMIT_FLAG_* combined with `|`.
/// @param job Receives the number of the job, 1 and up; may be NULL. Events may come before this returns.
/// @return BUSY when another thread steps the generation; WRONG_STATE when the worker is closed.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_submit_generation(
    worker: Shared<'_, detailflow_worker>,
    generation: Exclusive<'_, detailflow_generation>,
    user: u64,
    flags: u32,
    job: Out<'_, u64>,
) -> detailflow_status {
    with(worker, |worker| {
        let options = flagged(flags)?.with_user(user);
        #[allow(clippy::result_large_err, reason = "the generation goes back into its handle")]
        let submit = |generation| {
            worker.submit_or_return(generation, options).map_err(|(generation, error)| (*generation, error.into()))
        };
        let id = give_generation(generation, submit)?;
        if let Some(place) = job.optional() {
            place.set(id.0);
        }
        Ok(())
    })
}

/// Takes the next event, in the order in which they happened.
///
/// @param event Receives the event; free it with detailflow_event_free. NULL when there is none, or a callback is set.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_poll(
    worker: Shared<'_, detailflow_worker>,
    event: Out<'_, *mut detailflow_event>,
) -> detailflow_status {
    take(worker, event, Worker::poll)
}

/// As detailflow_worker_poll, but waits for an event. A loop over it ends when detailflow_worker_get_pending gives 0.
///
/// @param timeout_ns 0 does not wait, UINT64_MAX waits without limit.
/// @return WRONG_STATE for a worker without threads: it does nothing while its owner waits.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_wait(
    worker: Shared<'_, detailflow_worker>,
    timeout_ns: u64,
    event: Out<'_, *mut detailflow_event>,
) -> detailflow_status {
    if let Ok(this) = worker.get()
        && this.worker.is_driven()
    {
        return with(worker, |_| {
            Err(Error::State("a worker without threads cannot be waited for: tick it, and poll".into()).into())
        });
    }
    take(worker, event, |worker| worker.wait(Duration::from_nanos(timeout_ns)))
}

/// Cancels a job: a waiting one ends at once, a running one within a step, and its last event follows. Does nothing when
/// it has ended.
///
/// @param job A number from detailflow_worker_submit; INVALID_ARGUMENT for any other.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_cancel(worker: Shared<'_, detailflow_worker>, job: u64) -> detailflow_status {
    with(worker, |worker| Ok(worker.cancel(JobId(job))?))
}

/// Cancels all jobs that were submitted so far.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_cancel_all(worker: Shared<'_, detailflow_worker>) -> detailflow_status {
    with(worker, |worker| {
        worker.cancel_all();
        Ok(())
    })
}

/// Gets the number of jobs whose last event was not taken yet; with a callback, for which it has not returned yet.
///
/// @param job_count Receives the number.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_get_pending(
    worker: Shared<'_, detailflow_worker>,
    job_count: Out<'_, usize>,
) -> detailflow_status {
    with(worker, |worker| {
        job_count.place("job_count")?.set(worker.pending());
        Ok(())
    })
}

/// Sets the callback that receives events from now on, those that are waiting included. When this returns, the previous
/// callback is not running any more; inside a callback of this worker it returns at once.
///
/// @param callback NULL: events wait to be taken with detailflow_worker_poll.
/// @param user Passed to the callback.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_set_callback(
    worker: Shared<'_, detailflow_worker>,
    callback: detailflow_event_fn,
    user: *mut c_void,
) -> detailflow_status {
    with(worker, |worker| {
        let Some(callback) = callback else {
            worker.clear_callback();
            return Ok(());
        };
        let host = Host { callback, user };
        worker.set_callback(move |event| {
            let host = &host;
            // SAFETY: the caller vouched for the callback.
            unsafe { (host.callback)(host.user, new_handle(event_object(event))) };
        });
        Ok(())
    })
}

/// Drives a worker without threads (detailflow_worker_options_set_threads) for one frame: does the work that is predicted
/// to fit into the budget, but at least one unit when there is any.
///
/// - A unit prepares one job, steps jobs of one model together, or decodes images of one level together: as many as are
///   predicted to take half the budget at most.
/// - A unit whose time was not measured yet runs as the first of a call. Predictions follow the load of the machine.
/// - Events are taken with detailflow_worker_poll; a callback receives them inside this call, on its thread.
/// - No job runs between two calls.
///
/// @param budget_ns 0 does one unit.
/// @param report Filled; its struct_size is set. May be NULL.
/// @return WRONG_STATE when the worker has threads; BUSY when another thread is inside this call, or when it is called
/// inside the worker's own callback.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_worker_tick(
    worker: Shared<'_, detailflow_worker>,
    budget_ns: u64,
    report: Out<'_, detailflow_tick_report>,
) -> detailflow_status {
    // The callback may free the worker.
    let kept = |this: &detailflow_worker| (this.worker.clone(), this.message.clone());
    on_kept(worker, kept, |worker| {
        move || {
            let report = report.optional_struct()?;
            let done = worker.tick(Duration::from_nanos(budget_ns))?;
            report.map_or(Ok(()), |report| report.write(tick_report(&done)))
        }
    })
}

/// Gets the properties of an event.
///
/// @param info Filled; its struct_size is set.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_event_get_info(
    event: Shared<'_, detailflow_event>,
    info: Out<'_, detailflow_event_info>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let this = event.get()?;
        let event = &this.event;
        let level = event.level();
        let kind = match event.kind() {
            EventKind::Level => DETAILFLOW_EVENT_KIND_LEVEL,
            EventKind::Done => DETAILFLOW_EVENT_KIND_DONE,
            EventKind::Cancelled => DETAILFLOW_EVENT_KIND_CANCELLED,
            EventKind::Failed(_) => DETAILFLOW_EVENT_KIND_FAILED,
        };
        info.structure()?.write(detailflow_event_info {
            struct_size: 0,
            kind: kind as u32,
            job: event.job().0,
            user: event.user(),
            status: this.status,
            image_count: event.images() as u32,
            token_count: event.tokens(0)?.len() as u32,
            level_size: level.map_or(0, |level| level.size),
            level_token_count: level.map_or(0, |level| level.tokens as u32),
            steps_done: event.steps_done() as u32,
            steps_left: event.steps_left() as u32,
            decoded: u32::from(!event.pictures().is_empty()),
        })
    })
}

/// Gets the tokens that one image had.
///
/// @param image_index 0 to image_count - 1.
/// @param tokens Receives the tokens, coarse to fine: see "Arrays" above.
/// @param capacity Tokens that fit at `tokens`.
/// @param count Receives the number of tokens.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_event_get_tokens(
    event: Shared<'_, detailflow_event>,
    image_index: u32,
    tokens: Out<'_, u32>,
    capacity: usize,
    count: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || tokens.put(event.get()?.event.tokens(image_index as usize)?, capacity, count, ["tokens", "count"]))
}

/// Decodes the finest level of one image that was complete: on the calling thread, unless detailflow_event_info.decoded
/// is 1.
///
/// @param image_index 0 to image_count - 1.
/// @param target Receives the pixels; its width and height are detailflow_event_info.level_size.
/// @param error May be NULL.
/// @return WRONG_STATE before the first level.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_event_decode_level(
    event: Shared<'_, detailflow_event>,
    image_index: u32,
    target: Out<'_, detailflow_image>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || {
        let event = &event.get()?.event;
        let target = target.target()?;
        if let Some(level) = event.level() {
            target.fits(level.size)?;
        }
        target.write(&*event.image(image_index as usize)?)
    })
}

/// Gets the message that says why the job was cancelled or failed; "" for other events.
///
/// @param buffer Receives the message: see "Text" above.
/// @param capacity Bytes at `buffer`.
/// @param length Receives the length of the whole message; may be NULL.
/// @param error May be NULL.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_event_get_job_message(
    event: Shared<'_, detailflow_event>,
    buffer: Out<'_, c_char>,
    capacity: usize,
    length: Out<'_, usize>,
    error: Out<'_, detailflow_error>,
) -> detailflow_status {
    call(error, || buffer.put_text(&event.get()?.message, capacity, length))
}

/// Frees an event. NULL does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn detailflow_event_free(event: Owned<detailflow_event>) {
    event.free(|_| {});
}

fn tick_report(done: &TickReport) -> detailflow_tick_report {
    let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
    detailflow_tick_report {
        struct_size: 0,
        unit_count: count(done.units),
        step_count: count(done.steps),
        decode_count: count(done.decodes),
        image_count: count(done.images),
        more: u32::from(done.more),
        time_ns: nanoseconds(Some(done.time)),
        longest_unit_ns: if done.units == 0 { 0 } else { nanoseconds(Some(done.longest)) },
        next_unit_ns: nanoseconds(done.next),
        ready_count: done.jobs_ready as u64,
        parked_count: done.jobs_parked as u64,
    }
}

/// Takes changed options, when they make sense.
fn set(options: &mut WorkerOptions, changed: WorkerOptions) -> Outcome {
    changed.check()?;
    *options = changed;
    Ok(())
}

fn take(
    worker: Shared<'_, detailflow_worker>,
    event: Out<'_, *mut detailflow_event>,
    take: impl FnOnce(&Worker) -> Option<Event>,
) -> detailflow_status {
    with(worker, |worker| {
        let place = event.place("event")?;
        match take(worker) {
            Some(event) => place.set_handle(event_object(event)),
            None => place.set(std::ptr::null_mut()),
        }
        Ok(())
    })
}

fn event_object(event: Event) -> detailflow_event {
    let failure = match event.kind() {
        EventKind::Level | EventKind::Done => None,
        EventKind::Cancelled => Some(Failure::from(&Error::Cancelled)),
        EventKind::Failed(error) => Some(Failure::from(error)),
    };
    let (status, message) = failure.map_or((DETAILFLOW_STATUS_OK as detailflow_status, String::new()), |failure| {
        (failure.status, failure.message)
    });
    detailflow_event { event, status, message }
}

pub(super) fn with(worker: Shared<'_, detailflow_worker>, body: impl FnOnce(&Worker) -> Outcome) -> detailflow_status {
    on(worker, |this| body(&this.worker))
}

/// Options with these flags, or an error for those that there are not.
pub(super) fn flagged(flags: u32) -> Result<SubmitOptions, Failure> {
    const DECODE: u32 = DETAILFLOW_SUBMIT_FLAG_DECODE as u32;
    const LAST_ONLY: u32 = DETAILFLOW_SUBMIT_FLAG_LAST_ONLY as u32;
    const HOLD: u32 = DETAILFLOW_SUBMIT_FLAG_HOLD as u32;
    const ALL: u32 = DECODE | LAST_ONLY | HOLD;
    if flags & !ALL != 0 {
        return Err(Failure::invalid(format!(
            "flags is {flags:#x}; it must be 0 or a combination of DETAILFLOW_SUBMIT_FLAG_*, up to {ALL:#x}"
        )));
    }
    let options = SubmitOptions::new().with_decode(flags & DECODE != 0).with_last_only(flags & LAST_ONLY != 0);
    Ok(options.with_hold(flags & HOLD != 0))
}

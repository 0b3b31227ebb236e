//! Work in the background: submit, take events, cancel.

use std::ffi::{c_char, c_void};
use std::time::Duration;

use super::call::{
    Handle, Message, Outcome, call, call_on, copy_message, free, into_handle, object, on, output, put_tokens,
};
use super::generation::{detailflow_generation, into_generation};
use super::image::{detailflow_image, write_image};
use super::plain::{Plain, read, write};
use super::request::detailflow_request;
use super::status::{DETAILFLOW_OK, Failure, detailflow_status};
use crate::support::error::Error;
use crate::worker::{Event, EventKind, JobId, SubmitOptions, Worker, WorkerOptions};

/// Submit: the worker decodes the pictures of each event on its own thread. Otherwise detailflow_event_image does, on
/// the thread that calls it.
pub const DETAILFLOW_SUBMIT_DECODE: u32 = 1;
/// Submit: no events of levels, only the last one of the job.
pub const DETAILFLOW_SUBMIT_LAST_ONLY: u32 = 2;

/// Event: a level is complete.
pub const DETAILFLOW_EVENT_LEVEL: u32 = 1;
/// Event, the last of its job: it is finished.
pub const DETAILFLOW_EVENT_DONE: u32 = 2;
/// Event, the last of its job: it was cancelled. What was drawn before is in the event.
pub const DETAILFLOW_EVENT_CANCELLED: u32 = 3;
/// Event, the last of its job: it failed. What was drawn before is in the event.
pub const DETAILFLOW_EVENT_FAILED: u32 = 4;

/// How a worker works. Made by detailflow_worker_options_new.
pub struct detailflow_worker_options(Handle<WorkerOptions>);

/// Draws in the background, on threads of its own. Shared: any number of threads may submit, poll, wait and cancel at
/// once; several may wait, and each event goes to one of them.
pub struct detailflow_worker {
    worker: Worker,
    message: Message,
}

/// Something that happened to a job, with its tokens at that moment. Shared; belongs to whoever took it, also after the
/// worker was freed. Free with detailflow_event_free.
pub struct detailflow_event {
    event: Event,
    status: detailflow_status,
    message: Message,
}

/// What happened.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct detailflow_event_info {
    /// sizeof(detailflow_event_info).
    pub struct_size: u32,
    /// DETAILFLOW_EVENT_*. All but DETAILFLOW_EVENT_LEVEL are the last of their job.
    pub kind: u32,
    /// The job.
    pub job: u64,
    /// What was given to submit.
    pub user: u64,
    /// DETAILFLOW_OK; DETAILFLOW_CANCELLED when cancelled; when failed, what a call that draws would have given. The
    /// sentence is detailflow_event_message.
    pub status: detailflow_status,
    /// Pictures of the job.
    pub images: u32,
    /// Tokens of each picture. 0 when it had not begun; after a failure perhaps only those of an earlier event.
    pub tokens: u32,
    /// Pixels a side of the finest level that was complete; 0 before the first.
    pub level: u32,
    /// Tokens of that level; 0 before the first.
    pub level_tokens: u32,
    /// Steps done.
    pub steps_done: u32,
    /// Steps that were left; 0 when it is finished, or had not begun.
    pub steps_left: u32,
    /// 1 when the pictures of that level are decoded already.
    pub decoded: u32,
}

// SAFETY: struct_size comes first, and it holds numbers only.
unsafe impl Plain for detailflow_event_info {
    const NAME: &'static str = "detailflow_event_info";
    fn struct_size(&mut self) -> &mut u32 {
        &mut self.struct_size
    }
}

/// Takes an event, which belongs to it: free it with detailflow_event_free, then or later, on any thread. Called on
/// threads of the worker, never on two at once; while it runs, all jobs of its thread stand still. It must return: no
/// exception and no longjmp across it. It may call every function of the library. Freeing its own worker inside it
/// cancels what is left and does not wait; then it is not called again. Freeing a model inside it cancels and does not
/// wait. Waiting inside it for an event of its own worker gives none, at once.
pub type detailflow_event_fn = Option<unsafe extern "C" fn(user: *mut c_void, event: *mut detailflow_event)>;

/// The host vouches for what it gave.
struct Host {
    callback: unsafe extern "C" fn(*mut c_void, *mut detailflow_event),
    user: *mut c_void,
}

// SAFETY: the contract asks for a callback that may be called from any thread with this pointer.
unsafe impl Send for Host {}
// SAFETY: as above.
unsafe impl Sync for Host {}

/// Options that say nothing: one thread, 64 MiB of events, jobs drawn together where that is faster.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_options_new(
    options: *mut *mut detailflow_worker_options,
) -> detailflow_status {
    call(|| {
        let handle = Handle::new("detailflow_worker_options", WorkerOptions::default());
        // SAFETY: the contract of the header.
        unsafe { output(options, "options") }?.set(into_handle(detailflow_worker_options(handle)));
        Ok(())
    })
}

/// Threads, 1 (the default) to 64. Each draws a batch of jobs, or one job; jobs of a model that are drawn together are
/// always on one of them. A model runs one graph at a time, so more than one is of use for several models, or to start
/// short jobs beside long ones where they are not drawn together.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_options_set_threads(
    options: *mut detailflow_worker_options,
    threads: u32,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        set(options, options.clone().with_threads(threads as usize))
    })
}

/// Pictures that are drawn together at most, of any number of jobs of a model; a job of more is drawn by itself. Jobs
/// that wait join between two steps, in their order; each draws what it would draw alone. 1 draws each job alone, one
/// after the other. 0 (the default) is 64 where the model's form steps pictures that stand at different tokens in one
/// run, as "native" does, and 1 where it does not: there jobs take turns by the step, none is done sooner, and all need
/// their memory at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_options_set_batch(
    options: *mut detailflow_worker_options,
    pictures: u32,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        options.batch = pictures as usize;
        Ok(())
    })
}

/// Bytes of keys and values that jobs drawn together take at most; a job of more is drawn by itself. At least 1; 2 GiB
/// unless told.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_options_set_batch_bytes(
    options: *mut detailflow_worker_options,
    bytes: u64,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        set(options, options.clone().with_batch_bytes(bytes))
    })
}

/// While events that nobody took hold as many bytes as this, jobs pause. At least 1; 64 MiB unless told. What one step
/// brings may add to it: at most an event of each job that is drawn together.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_options_set_event_bytes(
    options: *mut detailflow_worker_options,
    bytes: usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    on(unsafe { object(options, "options") }.map(|options| &options.0), |options| {
        set(options, options.clone().with_event_bytes(bytes))
    })
}

fn set(options: &mut WorkerOptions, changed: WorkerOptions) -> Outcome {
    changed.check()?;
    *options = changed;
    Ok(())
}

/// Frees options. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_options_free(options: *mut detailflow_worker_options) {
    // SAFETY: the contract of the header.
    unsafe { free(options) }
}

/// Starts a worker; it takes requests of any models. `options` may be NULL. Free with detailflow_worker_free.
///
/// Errors: OUT_OF_MEMORY when the system gives no thread.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_new(
    options: *const detailflow_worker_options,
    worker: *mut *mut detailflow_worker,
) -> detailflow_status {
    call(|| {
        // SAFETY: the contract of the header.
        let place = unsafe { output(worker, "worker") }?;
        // SAFETY: the contract of the header.
        let options = unsafe { options.as_ref() }.map(|options| options.0.copy()).transpose()?;
        let worker = Worker::new(&options.unwrap_or_default())?;
        place.set(into_handle(detailflow_worker { worker, message: Message::default() }));
        Ok(())
    })
}

/// Frees it: cancels all jobs and waits until they have stopped. A callback hears the last event of each before; without
/// one, events that were not taken are dropped. NULL is fine. Inside its own callback it does not wait, and the callback
/// hears nothing more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_free(worker: *mut detailflow_worker) {
    // SAFETY: the contract of the header.
    unsafe { free(worker) }
}

/// As detailflow_model_message, for a worker. What became of a job is in its last event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_message(
    worker: *const detailflow_worker,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the contract of the header.
    unsafe { copy_message(worker.as_ref().map(|worker| &worker.message), buffer, capacity) }
}

/// Draws a request in the background, after those that were submitted before or together with them. `user` is yours:
/// each event of the job has it. `flags` is 0 or DETAILFLOW_SUBMIT_* added up. The number of the job, 1 and up, into
/// `job`, which may be NULL; events may come before this returns. The request may be changed or freed afterwards. What
/// can be checked is checked now; memory is asked for when the job's turn comes.
///
/// Errors: those of detailflow_generation_new, but OUT_OF_MEMORY mostly comes as an event.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_submit(
    worker: *const detailflow_worker,
    request: *const detailflow_request,
    user: u64,
    flags: u32,
    job: *mut u64,
) -> detailflow_status {
    with(worker, |worker| {
        // SAFETY: the contract of the header.
        let request = unsafe { object(request, "request") }?;
        let options = submit_options(user, flags)?;
        let id = request.0.read(|request| Ok(worker.submit(request, options)?))?;
        // SAFETY: the contract of the header.
        unsafe { put_job(job, id) };
        Ok(())
    })
}

/// As detailflow_worker_submit, for a generation, begun or not, which the worker goes on with. When this gives OK the
/// handle is used up and must not be used or freed any more; otherwise it stays yours. Cancel handles made from it stay
/// valid and stop the job too. BUSY when another thread steps it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_submit_generation(
    worker: *const detailflow_worker,
    generation: *mut detailflow_generation,
    user: u64,
    flags: u32,
    job: *mut u64,
) -> detailflow_status {
    with(worker, |worker| {
        let options = submit_options(user, flags)?;
        // While this lives, submitting cannot fail, and the generation is not lost.
        let _inside = crate::runtime::enter()?;
        // SAFETY: the contract of the header.
        let generation = unsafe { into_generation(generation) }?;
        let id = worker.submit_generation(generation, options)?;
        // SAFETY: the contract of the header.
        unsafe { put_job(job, id) };
        Ok(())
    })
}

/// The next event, in the order in which they happened, into `event`: yours, free with detailflow_event_free. NULL when
/// there is none now, or a callback is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_poll(
    worker: *const detailflow_worker,
    event: *mut *mut detailflow_event,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe { take(worker, event, Worker::poll) }
}

/// As detailflow_worker_poll, but waits for an event up to `timeout_ns` nanoseconds; 0 does not wait, UINT64_MAX waits
/// for ever. Loop while detailflow_worker_pending tells more than 0: then an event comes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_wait(
    worker: *const detailflow_worker,
    timeout_ns: u64,
    event: *mut *mut detailflow_event,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    unsafe { take(worker, event, |worker| worker.wait(Duration::from_nanos(timeout_ns))) }
}

/// Cancels a job: one that waits ends at once, one that is drawn within a step. Its last event tells. A job that ended
/// already is left as it is. INVALID_ARGUMENT when there never was such a job.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_cancel(worker: *const detailflow_worker, job: u64) -> detailflow_status {
    with(worker, |worker| Ok(worker.cancel(JobId(job))?))
}

/// Cancels all jobs that were submitted so far.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_cancel_all(worker: *const detailflow_worker) -> detailflow_status {
    with(worker, |worker| {
        worker.cancel_all();
        Ok(())
    })
}

/// How many jobs there are whose last event was not taken yet (with a callback: for which it has not returned yet), into
/// `count`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_pending(
    worker: *const detailflow_worker,
    count: *mut usize,
) -> detailflow_status {
    with(worker, |worker| {
        // SAFETY: the contract of the header.
        unsafe { output(count, "count") }?.set(worker.pending());
        Ok(())
    })
}

/// From now on events go to `callback`, with `user`; also those that wait to be taken. NULL as `callback`: they wait to be
/// taken again (then `user` does not matter). When this returns, the callback that was set before is not running any
/// more; inside a callback of this worker it returns at once.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_worker_set_callback(
    worker: *const detailflow_worker,
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
            // SAFETY: the host promised that its callback may be called so.
            unsafe { (host.callback)(host.user, event_handle(event)) };
        });
        Ok(())
    })
}

/// Fills `info`, whose struct_size is set.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_event_get_info(
    event: *const detailflow_event,
    info: *mut detailflow_event_info,
) -> detailflow_status {
    look(event, |this, event| {
        let level = event.level();
        let filled = detailflow_event_info {
            struct_size: 0,
            kind: match event.kind() {
                EventKind::Level => DETAILFLOW_EVENT_LEVEL,
                EventKind::Done => DETAILFLOW_EVENT_DONE,
                EventKind::Cancelled => DETAILFLOW_EVENT_CANCELLED,
                EventKind::Failed(_) => DETAILFLOW_EVENT_FAILED,
            },
            job: event.job().0,
            user: event.user(),
            status: this.status,
            images: event.images() as u32,
            tokens: event.tokens(0)?.len() as u32,
            level: level.map_or(0, |level| level.size),
            level_tokens: level.map_or(0, |level| level.tokens as u32),
            steps_done: event.steps_done() as u32,
            steps_left: event.steps_left() as u32,
            decoded: u32::from(!event.pictures().is_empty()),
        };
        // SAFETY: the contract of the header.
        unsafe { write(info, filled) }
    })
}

/// The tokens that the picture `image` had, coarse to fine, into `tokens`, which has room for `capacity`; their number
/// into `count`. `tokens` NULL with `capacity` 0 only tells the number.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_event_tokens(
    event: *const detailflow_event,
    image: u32,
    tokens: *mut u32,
    capacity: usize,
    count: *mut usize,
) -> detailflow_status {
    // SAFETY: the contract of the header.
    look(event, |_, event| unsafe { put_tokens(event.tokens(image as usize)?, tokens, capacity, count) })
}

/// The picture `image` of the finest level that was complete into `target`, whose width and height are the info's level.
/// Decoded now, on this thread, unless the info says that it is. WRONG_STATE before the first level.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_event_image(
    event: *const detailflow_event,
    image: u32,
    target: *const detailflow_image,
) -> detailflow_status {
    look(event, |_, event| {
        // SAFETY: the contract of the header.
        let target = unsafe { read(target) }?;
        if let Some(level) = event.level() {
            target.check_size(level.size)?;
        }
        // SAFETY: the contract of the header.
        unsafe { write_image(&*event.image(image as usize)?, &target) }
    })
}

/// Why the job was cancelled or failed: copied as by detailflow_model_message. 0 for NULL and other events.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_event_message(
    event: *const detailflow_event,
    buffer: *mut c_char,
    capacity: usize,
) -> usize {
    // SAFETY: the contract of the header.
    unsafe { copy_message(event.as_ref().map(|event| &event.message), buffer, capacity) }
}

/// Frees an event. NULL is fine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn detailflow_event_free(event: *mut detailflow_event) {
    // SAFETY: the contract of the header.
    unsafe { free(event) }
}

fn submit_options(user: u64, flags: u32) -> Result<SubmitOptions, Failure> {
    if flags & !(DETAILFLOW_SUBMIT_DECODE | DETAILFLOW_SUBMIT_LAST_ONLY) != 0 {
        return Err(Failure::invalid(format!("flags {flags} are not DETAILFLOW_SUBMIT_*, which add up to 3")));
    }
    Ok(SubmitOptions {
        user,
        decode: flags & DETAILFLOW_SUBMIT_DECODE != 0,
        last_only: flags & DETAILFLOW_SUBMIT_LAST_ONLY != 0,
    })
}

/// # Safety
/// `place` is NULL or may be written.
unsafe fn put_job(place: *mut u64, job: JobId) {
    if !place.is_null() {
        // SAFETY: as the caller promises. C does not promise alignment.
        unsafe { place.write_unaligned(job.0) };
    }
}

/// # Safety
/// As the header asks of the pointers.
unsafe fn take(
    worker: *const detailflow_worker,
    place: *mut *mut detailflow_event,
    take: impl FnOnce(&Worker) -> Option<Event>,
) -> detailflow_status {
    with(worker, |worker| {
        // SAFETY: as the caller promises.
        let place = unsafe { output(place, "event") }?;
        place.set(take(worker).map_or(std::ptr::null_mut(), event_handle));
        Ok(())
    })
}

fn event_handle(event: Event) -> *mut detailflow_event {
    let failure = match event.kind() {
        EventKind::Level | EventKind::Done => None,
        EventKind::Cancelled => Some(Failure::from(&Error::Cancelled)),
        EventKind::Failed(error) => Some(Failure::from(error)),
    };
    let message = Message::default();
    let status = failure.map_or(DETAILFLOW_OK, |failure| {
        message.set(&failure.message);
        failure.status
    });
    into_handle(detailflow_event { event, status, message })
}

/// Runs `body` with the worker; keeps the message with the handle.
fn with(worker: *const detailflow_worker, body: impl FnOnce(&Worker) -> Outcome) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    match unsafe { object(worker, "worker") } {
        Ok(this) => call_on(Some(&this.message), || body(&this.worker)),
        Err(failure) => call(|| Err(failure)),
    }
}

/// Runs `body` with the event. What fails here is kept for the thread alone: the event's own message is why its job did.
fn look(event: *const detailflow_event, body: impl FnOnce(&detailflow_event, &Event) -> Outcome) -> detailflow_status {
    // SAFETY: every export hands on the contract of the header.
    call(|| unsafe { object(event, "event") }.and_then(|this| body(this, &this.event)))
}

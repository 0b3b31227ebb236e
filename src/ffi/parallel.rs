//! Tasks on threads of the host.
//!
//! A task may come late: a faulty task system calls one after its function has returned. What tasks get is therefore an address
//! that is never freed (a [`Board`]), and not one on the stack of the thread that waits; and that thread waits for tasks that
//! have begun, whatever the host's function does. Which tasks were left out or called twice is decided by [`ParallelFor`].

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::parallel::ParallelFor;
use crate::support::sync::lock;

/// Runs one task of detailflow_parallel_for_fn. Does not throw; the float environment of the calling thread is the same
/// afterwards.
///
/// @param context What was given with it.
/// @param index Below the number of tasks.
pub type detailflow_task_fn = Option<unsafe extern "C" fn(context: *mut c_void, index: u32)>;

/// Runs tasks on threads of the host: calls `task(context, index)` once with each index below `count`, on any threads, the
/// calling one included, in any order and at once, and returns when all these calls have returned.
///
/// - It is called on the thread that steps, decodes, encodes or opens (a worker's too), and on several such threads at once. It
///   must not throw.
/// - A task takes between some microseconds and milliseconds, and waits for nothing.
/// - While it runs, functions that compute return WRONG_STATE on the thread that it was called on. On other threads they may be
///   called, with other models; with this model they may wait until it returns.
/// - An index that was not called is run by the library afterwards. A second call with one, or one with an index that is not
///   below `count`, does nothing. A task that has begun when it returns is waited for; one that begins later does nothing, or
///   takes part in what the library does then.
/// - `task` and `context` may be called on a thread that has no other business with this library.
///
/// @param user What was given to detailflow_model_options_set_parallel_for.
/// @param count Number of tasks: 1 to 1024.
/// @param task Runs one task.
/// @param context Passed to `task`.
pub type detailflow_parallel_for_fn =
    Option<unsafe extern "C" fn(user: *mut c_void, count: u32, task: detailflow_task_fn, context: *mut c_void)>;

type Callback = unsafe extern "C" fn(*mut c_void, u32, detailflow_task_fn, *mut c_void);

/// The caller vouches for the callback.
struct Host {
    callback: Callback,
    user: *mut c_void,
}

// SAFETY: the contract asks for a callback that may be called with this pointer on any thread.
unsafe impl Send for Host {}
// SAFETY: as above; on several threads at once.
unsafe impl Sync for Host {}

/// What a call of the host's function runs, on the stack of the thread that waits for it.
struct Work<'a> {
    run: &'a (dyn Fn(usize) + Sync),
}

/// What tasks get as their context: it lives for ever, and is used by one call of the host's function after another.
#[derive(Default)]
struct Board {
    /// NULL while there is no call.
    work: AtomicPtr<Work<'static>>,
    /// Number of threads that look at the work.
    inside: AtomicUsize,
}

/// Boards that no call uses. As many as there were calls at once are ever made.
static FREE: Mutex<Vec<&'static Board>> = Mutex::new(Vec::new());

/// A board in use. When it is dropped, no task is running and none will begin.
struct Posted(&'static Board);

impl Posted {
    fn new(work: &Work<'_>) -> Self {
        let free = lock(&FREE).pop();
        let board = free.unwrap_or_else(|| Box::leak(Box::default()));
        board.work.store(ptr::from_ref(work).cast_mut().cast(), Ordering::SeqCst);
        Self(board)
    }
}

impl Drop for Posted {
    fn drop(&mut self) {
        let Self(board) = self;
        board.work.store(ptr::null_mut(), Ordering::SeqCst);
        // A thread that looks from here on finds no work. The others are at the end of a task, unless the host did not wait.
        for round in 0u32.. {
            match (board.inside.load(Ordering::SeqCst), round) {
                (0, _) => break,
                (_, ..100) => std::thread::yield_now(),
                _ => std::thread::sleep(Duration::from_micros(50)),
            }
        }
        lock(&FREE).push(board);
    }
}

/// A [`detailflow_task_fn`].
unsafe extern "C" fn run_task(context: *mut c_void, index: u32) {
    if context.is_null() {
        return;
    }
    // SAFETY: the contract: it is what was given to the host's function, a board, and those live for ever.
    let board = unsafe { &*context.cast::<Board>() };
    // Counted before the look: either the thread that waits sees this one, or this one sees that there is no work.
    board.inside.fetch_add(1, Ordering::SeqCst);
    let work = board.work.load(Ordering::SeqCst);
    // SAFETY: NULL, or work whose thread waits until this one is no longer counted.
    if let Some(work) = unsafe { work.as_ref() } {
        // Panics of tasks do not get here; this one would be a fault of the library, and must not get into the host.
        let _ = catch_unwind(AssertUnwindSafe(|| (work.run)(index as usize)));
    }
    board.inside.fetch_sub(1, Ordering::SeqCst);
}

/// Tasks run by the host's function.
pub(super) fn on_host(callback: Callback, user: *mut c_void) -> ParallelFor {
    let host = Host { callback, user };
    ParallelFor::new(move |count, run| {
        let host = &host;
        let work = Work { run };
        let posted = Posted::new(&work);
        // SAFETY: the caller vouched for the callback. There are at most 1024 tasks.
        unsafe { (host.callback)(host.user, count as u32, Some(run_task), ptr::from_ref(posted.0).cast_mut().cast()) };
    })
}

//! The host's process and threads, which belong to it: what is set aside at every entry from outside and given back on the
//! way out, and what becomes of the library where its threads are gone.

use std::sync::atomic::{AtomicBool, Ordering};

use super::error::{Error, Result};
use super::platform::{self, float};

/// Stands at an entry from outside, until it is dropped: the thread computes in the default float environment, and
/// `pthread_cancel` waits. Entries nest, and may be made in callbacks.
#[must_use]
pub(crate) struct Entered {
    // Dropped in this order: a cancellation that is due happens when the host's code goes on.
    _float: float::Entered,
    _cancellation: Option<platform::NoCancellation>,
}

/// Enters the library; see [`Entered`].
pub(crate) fn enter() -> Entered {
    let float = float::enter();
    let cancellation = float.is_outermost().then(platform::NoCancellation::new);
    Entered { _float: float, _cancellation: cancellation }
}

/// Runs a callback of the host, in the host's float environment.
pub(crate) fn call_back<R>(callback: impl FnOnce() -> R) -> R {
    let _float = float::leave();
    callback()
}

/// What the host's thread has, for a thread that is started for it and calls back.
#[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only a worker has threads that call back"))]
#[derive(Clone, Copy)]
pub(crate) struct HostThread(float::HostState);

/// What the host has on this thread.
#[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only a worker has threads that call back"))]
pub(crate) fn thread() -> HostThread {
    HostThread(float::host())
}

/// Begins a thread of ours: it computes in the default environment, its callbacks see what `host` has, and it cannot be
/// cancelled.
#[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only a worker has threads that call back"))]
pub(crate) fn begin_thread(host: HostThread) {
    float::adopt(host.0);
    std::mem::forget(platform::NoCancellation::new());
}

/// Whether this process is a forked child, which has none of the threads of its parent, and locks that nobody opens.
static FORKED: AtomicBool = AtomicBool::new(false);
static SETTLED: AtomicBool = AtomicBool::new(false);

/// Settles in this process: the library stays in memory from now on, and children that are forked are told from this process.
/// Called before ONNX Runtime is loaded and before a thread is started: until then the host may unload the library, and a child
/// may use it like any process.
pub(crate) fn settle() {
    if !SETTLED.swap(true, Ordering::SeqCst) {
        platform::stay_loaded();
        platform::at_fork_in_child(forked);
    }
}

extern "C" fn forked() {
    FORKED.store(true, Ordering::SeqCst);
}

/// Whether the threads of this process are gone, of which some may have held our locks: in a forked child, and in the last
/// moments of a process on Windows. The library cannot work then. Looked at before any lock is taken.
pub(crate) fn threads_are_gone() -> bool {
    FORKED.load(Ordering::Relaxed) || platform::threads_are_gone()
}

/// # Errors
/// [`Error::State`] when [`threads_are_gone`].
pub(crate) fn check_threads() -> Result<()> {
    if FORKED.load(Ordering::Relaxed) {
        return Err(Error::State(
            "this process was forked after ONNX Runtime was loaded or a worker was started: the library works in the parent \
             only; fork before, or start a new program (exec)"
                .into(),
        ));
    }
    if platform::threads_are_gone() {
        return Err(Error::State("the process is ending".into()));
    }
    Ok(())
}

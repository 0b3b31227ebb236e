//! The host's process and threads, which belong to it: what is set aside at every entry from outside and given back on the
//! way out, and what becomes of the library in a forked child.

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
static WATCHING: AtomicBool = AtomicBool::new(false);

/// Has children that are forked from now on told from this process. Called before ONNX Runtime is loaded and before a thread
/// is started: until then a child may use the library like any process.
pub(crate) fn watch_forks() {
    if !WATCHING.swap(true, Ordering::SeqCst) {
        platform::at_fork_in_child(forked);
    }
}

extern "C" fn forked() {
    FORKED.store(true, Ordering::SeqCst);
}

/// Whether this is a forked child in which the library cannot work. Looked at before any lock is taken.
pub(crate) fn is_forked() -> bool {
    FORKED.load(Ordering::Relaxed)
}

/// # Errors
/// [`Error::State`] in a forked child.
pub(crate) fn check_not_forked() -> Result<()> {
    if is_forked() {
        return Err(Error::State(
            "this process was forked after ONNX Runtime was loaded or a worker was started: the library works in the parent \
             only; fork before, or start a new program (exec)"
                .into(),
        ));
    }
    Ok(())
}

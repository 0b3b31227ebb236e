//! The context that all sessions of some execution providers share within a process (WebGPU). They use it without locking, so
//! one thread at a time does, for all models together.

use std::cell::Cell;
use std::sync::{Mutex, MutexGuard};

use crate::support::sync::lock;

static CONTEXT: Mutex<()> = Mutex::new(());

thread_local! {
    /// Number of [`Held`] of this thread. It has no destructor, so it can still be read while the process ends.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// This thread uses the context alone while this lives. Taken before the lock of a graph; the same thread may nest it.
pub(super) struct Held {
    counts: bool,
    /// The outermost one has it.
    _alone: Option<MutexGuard<'static, ()>>,
}

/// Waits until no other thread uses the context; no effect on a device whose sessions share none.
pub(super) fn hold(shares_context: bool) -> Held {
    if !shares_context {
        return Held { counts: false, _alone: None };
    }
    let depth = DEPTH.get();
    let _alone = (depth == 0).then(|| lock(&CONTEXT));
    DEPTH.set(depth + 1);
    Held { counts: true, _alone }
}

impl Drop for Held {
    fn drop(&mut self) {
        if self.counts {
            DEPTH.set(DEPTH.get() - 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;

    #[test]
    fn context_is_held_by_one_thread_that_may_nest() {
        let outer = hold(true);
        let inner = hold(true);
        let (tell, told) = channel();
        let other = std::thread::spawn(move || {
            // Another device does not wait.
            drop(hold(false));
            tell.send("none").unwrap();
            drop(hold(true));
            tell.send("shared").unwrap();
        });
        assert_eq!(told.recv(), Ok("none"));
        drop(inner);
        assert_eq!(told.recv_timeout(Duration::from_millis(20)), Err(RecvTimeoutError::Timeout));
        drop(outer);
        assert_eq!(told.recv(), Ok("shared"));
        other.join().unwrap();
    }
}

//! What sessions of a device share within a process, for all models together.
//!
//! - Some providers have one context for all sessions and use it without locking (WebGPU): one thread at a time does.
//! - While one thread records a step to be replayed (CUDA graphs), no other may allocate or free memory of the device or
//!   synchronize with it: the recording would be broken off, and their call fail. So who records is alone on the device.

use std::cell::Cell;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use crate::support::sync::lock;

/// What the sessions of a device have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Context {
    /// Nothing.
    Own,
    /// A context that they use without locking.
    Shared,
    /// Recordings, during which others must keep away.
    Recorded,
}

static CONTEXT: Mutex<()> = Mutex::new(());
static RECORDED: Mutex<Recorded> = Mutex::new(Recorded { inside: 0, waiting: 0, is_recording: false });
static CHANGED: Condvar = Condvar::new();

/// Who uses devices that record.
struct Recorded {
    /// Threads that use one.
    inside: usize,
    /// Threads that wait to be alone. Nobody enters meanwhile.
    waiting: usize,
    is_recording: bool,
}

thread_local! {
    /// Numbers of [`Held`] of this thread. They have no destructors, so they can still be read while the process ends.
    static SHARED_DEPTH: Cell<usize> = const { Cell::new(0) };
    static RECORDED_DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// This thread uses the context while this lives. Taken before the lock of a graph; the same thread may nest it.
pub(super) struct Held {
    context: Context,
    /// The outermost one has it.
    _alone: Option<MutexGuard<'static, ()>>,
}

/// Waits until this thread may use the context.
pub(super) fn hold(context: Context) -> Held {
    let mut _alone = None;
    match context {
        Context::Own => {}
        Context::Shared => {
            let depth = SHARED_DEPTH.get();
            _alone = (depth == 0).then(|| lock(&CONTEXT));
            SHARED_DEPTH.set(depth + 1);
        }
        Context::Recorded => {
            let depth = RECORDED_DEPTH.get();
            if depth == 0 {
                let mut recorded = wait(|recorded| recorded.is_recording || recorded.waiting > 0);
                recorded.inside += 1;
            }
            RECORDED_DEPTH.set(depth + 1);
        }
    }
    Held { context, _alone }
}

impl Drop for Held {
    fn drop(&mut self) {
        match self.context {
            Context::Own => {}
            Context::Shared => SHARED_DEPTH.set(SHARED_DEPTH.get() - 1),
            Context::Recorded => {
                let depth = RECORDED_DEPTH.get() - 1;
                RECORDED_DEPTH.set(depth);
                if depth == 0 {
                    lock(&RECORDED).inside -= 1;
                    CHANGED.notify_all();
                }
            }
        }
    }
}

/// This thread records: no other uses a device that records while this lives.
pub(super) struct Recording(());

/// Waits until no other thread uses a device that records. This thread holds [`Context::Recorded`], and no lock that others need
/// before they leave the device.
pub(super) fn record() -> Recording {
    {
        let mut recorded = lock(&RECORDED);
        recorded.waiting += 1;
        recorded.inside -= 1;
    }
    CHANGED.notify_all();
    let mut recorded = wait(|recorded| recorded.is_recording || recorded.inside > 0);
    recorded.waiting -= 1;
    recorded.is_recording = true;
    Recording(())
}

impl Drop for Recording {
    fn drop(&mut self) {
        {
            let mut recorded = lock(&RECORDED);
            recorded.is_recording = false;
            recorded.inside += 1;
        }
        CHANGED.notify_all();
    }
}

fn wait(is_closed: impl Fn(&Recorded) -> bool) -> MutexGuard<'static, Recorded> {
    let waited = CHANGED.wait_while(lock(&RECORDED), |recorded| is_closed(recorded));
    waited.unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{RecvTimeoutError, channel};
    use std::time::Duration;

    use super::*;

    const BRIEFLY: Duration = Duration::from_millis(20);

    #[test]
    fn context_is_held_by_one_thread_that_may_nest() {
        let outer = hold(Context::Shared);
        let inner = hold(Context::Shared);
        let (tell, told) = channel();
        let other = std::thread::spawn(move || {
            // Another device does not wait.
            drop(hold(Context::Own));
            tell.send("none").unwrap();
            drop(hold(Context::Shared));
            tell.send("shared").unwrap();
        });
        assert_eq!(told.recv(), Ok("none"));
        drop(inner);
        assert_eq!(told.recv_timeout(BRIEFLY), Err(RecvTimeoutError::Timeout));
        drop(outer);
        assert_eq!(told.recv(), Ok("shared"));
        other.join().unwrap();
    }

    /// Several threads use a device at once; one that records waits for the others to leave, and keeps them out.
    #[test]
    fn who_records_is_alone_on_the_device() {
        let used = hold(Context::Recorded);
        let (tell, told) = channel();
        let (begin, begun) = channel();
        let (end, ended) = channel();
        let recorder = std::thread::spawn(move || {
            let _used = hold(Context::Recorded);
            let _nested = hold(Context::Recorded);
            begin.send(()).unwrap();
            let recording = record();
            tell.send("records").unwrap();
            ended.recv().unwrap();
            drop(recording);
            // It goes on using the device, and may record again.
            drop(record());
        });
        begun.recv().unwrap();
        assert_eq!(told.recv_timeout(BRIEFLY), Err(RecvTimeoutError::Timeout), "this thread is still there");
        drop(used);
        assert_eq!(told.recv(), Ok("records"));
        let (enter, entered) = channel();
        let other = std::thread::spawn(move || {
            let _used = hold(Context::Recorded);
            enter.send(()).unwrap();
        });
        assert_eq!(entered.recv_timeout(BRIEFLY), Err(RecvTimeoutError::Timeout), "kept out");
        end.send(()).unwrap();
        entered.recv().unwrap();
        recorder.join().unwrap();
        other.join().unwrap();
        // Two that wait to be alone let each other be.
        let both: Vec<_> = (0..2)
            .map(|_| {
                std::thread::spawn(|| {
                    let _used = hold(Context::Recorded);
                    drop(record());
                })
            })
            .collect();
        both.into_iter().for_each(|thread| thread.join().unwrap());
    }
}

//! Cancellation: a flag that decides, and an interrupt that ends a run early.
//!
//! `cancel` sets the flag, then interrupts; `guard` checks the flag before and after each run. So an interrupted run finds
//! the flag set, and a cancel between runs is seen before the next one. The interrupt stays set: a cancel between the check
//! and the run stops that run at its first operator. `tests/cancel_order.rs` tries every order of the two.

use crate::support::sync::{Arc, AtomicBool, Ordering, fence};

/// Interrupts a run, from any thread.
pub(crate) trait Interrupts {
    /// Ends the run in progress, and every later one.
    fn trigger(&self);
}

/// The shared state of everything that cancels one piece of work.
pub(crate) struct Signal<I> {
    flag: AtomicBool,
    interrupt: I,
}

impl<I: Interrupts> Signal<I> {
    pub fn new(interrupt: I) -> Arc<Self> {
        Arc::new(Self { flag: AtomicBool::new(false), interrupt })
    }

    /// Stops the work.
    pub fn cancel(&self) {
        // The flag first: a run that ends by the interrupt must find it set. This fence and the one in `guard` ensure
        // that, because ONNX Runtime's own flag is a plain bool that orders nothing.
        self.flag.store(true, Ordering::SeqCst);
        fence(Ordering::SeqCst);
        self.interrupt.trigger();
    }

    pub fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    /// Calls `run` unless cancelled. None when cancelled before or during the run, whatever the run returned.
    pub fn guard<R>(&self, run: impl FnOnce(&I) -> R) -> Option<R> {
        if self.is_cancelled() {
            return None;
        }
        let result = run(&self.interrupt);
        fence(Ordering::SeqCst);
        if self.is_cancelled() { None } else { Some(result) }
    }
}

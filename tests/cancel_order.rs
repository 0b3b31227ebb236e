//! Every interleaving of a cancel and a run: a model check of `src/generation/cancel.rs`, whose flag and fences are
//! replaced by loom's. ONNX Runtime's own flag, a plain bool, is modelled by one without any ordering. Variants with a
//! known fault show that the check can fail.

#[path = "../src/generation/cancel.rs"]
mod cancel;

/// What `src/support/sync.rs` is to the library.
mod support {
    pub(crate) mod sync {
        pub(crate) use loom::sync::Arc;
        pub(crate) use loom::sync::atomic::{AtomicBool, Ordering, fence};
    }
}

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use cancel::{Interrupts, Signal};
use loom::thread;
use support::sync::{Arc, AtomicBool, Ordering, fence};

/// The runtime's flag.
struct Terminate(AtomicBool);

impl Terminate {
    fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Looked at before each operator.
    fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Interrupts for Terminate {
    fn trigger(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Whole,
    Interrupted,
}

/// A way to cancel: that of the library, or a wrong one.
trait Way: Send + Sync + Sized + 'static {
    fn new() -> Arc<Self>;
    fn cancel(&self);
    fn is_cancelled(&self) -> bool;
    fn guard(&self, run: impl FnOnce(&Terminate) -> End) -> Option<End>;
}

impl Way for Signal<Terminate> {
    fn new() -> Arc<Self> {
        Signal::new(Terminate::new())
    }

    fn cancel(&self) {
        self.cancel();
    }

    fn is_cancelled(&self) -> bool {
        self.is_cancelled()
    }

    fn guard(&self, run: impl FnOnce(&Terminate) -> End) -> Option<End> {
        self.guard(run)
    }
}

/// How often each thing came to pass, over all orders: that it did at all is checked too.
#[derive(Default)]
struct Seen {
    orders: AtomicUsize,
    finished: AtomicUsize,
    before: AtomicUsize,
    interrupted: AtomicUsize,
    after: AtomicUsize,
}

/// Every order of two threads; of three, every one in which a thread is interrupted at most so often.
fn explore(cancellers: usize, body: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = (cancellers > 1).then_some(3);
    builder.check(body);
}

/// A generation of two steps of two operators, and `cancellers` who stop it.
fn steps<W: Way>(cancellers: usize) -> std::sync::Arc<Seen> {
    let seen = std::sync::Arc::new(Seen::default());
    let count = seen.clone();
    explore(cancellers, move || {
        count.orders.fetch_add(1, Relaxed);
        let way = W::new();
        let returned = Arc::new(AtomicBool::new(false));
        let threads: Vec<_> = (0..cancellers)
            .map(|_| {
                let (way, returned) = (way.clone(), returned.clone());
                thread::spawn(move || {
                    way.cancel();
                    returned.store(true, Ordering::Release);
                })
            })
            .collect();
        let mut ended = None;
        for _ in 0..2 {
            let returned = returned.load(Ordering::Acquire);
            let mut ran = None;
            let result = way.guard(|terminate| {
                let end = if (0..2).any(|_| terminate.is_set()) { End::Interrupted } else { End::Whole };
                *ran.insert(end)
            });
            assert!(result != Some(End::Interrupted), "a run that was interrupted is reported as cancelled");
            assert!(!returned || ran.is_none(), "a cancel that returned before a step began is seen before it");
            match (result, ran) {
                (Some(_), _) => {}
                (None, None) => drop(count.before.fetch_add(1, Relaxed)),
                (None, Some(End::Interrupted)) => drop(count.interrupted.fetch_add(1, Relaxed)),
                (None, Some(End::Whole)) => drop(count.after.fetch_add(1, Relaxed)),
            }
            ended = Some(result);
            if result.is_none() {
                break;
            }
        }
        if ended == Some(Some(End::Whole)) {
            count.finished.fetch_add(1, Relaxed);
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert!(way.is_cancelled());
        let mut ran = false;
        let mut run = |_: &Terminate| {
            ran = true;
            End::Whole
        };
        assert_eq!(way.guard(&mut run), None, "it stays so");
        assert!(!ran, "a cancel that returned before a step began is seen before it");
    });
    seen
}

/// A step that has no end of its own: only the interrupt ends it, in whatever order it comes.
fn endless<W: Way>(cancellers: usize) {
    explore(cancellers, move || {
        let way = W::new();
        let threads: Vec<_> = (0..cancellers)
            .map(|_| {
                let way = way.clone();
                thread::spawn(move || way.cancel())
            })
            .collect();
        let result = way.guard(|terminate| {
            while !terminate.is_set() {
                thread::yield_now();
            }
            End::Interrupted
        });
        assert_eq!(result, None, "a run that was interrupted is reported as cancelled");
        threads.into_iter().for_each(|thread| thread.join().unwrap());
    });
}

#[test]
fn cancel_at_any_moment_is_noticed() {
    for cancellers in [1, 2] {
        let seen = steps::<Signal<Terminate>>(cancellers);
        let Seen { orders, finished, before, interrupted, after } = &*seen;
        for (what, count) in
            [("finished", finished), ("before", before), ("interrupted", interrupted), ("after a whole run", after)]
        {
            assert!(count.load(Relaxed) > 0, "{cancellers} cancellers: no order ended so: {what}");
        }
        println!("{cancellers} cancellers: {} orders", orders.load(Relaxed));
    }
}

#[test]
fn interrupt_is_never_lost() {
    endless::<Signal<Terminate>>(1);
    endless::<Signal<Terminate>>(2);
}

// --- The exploration finds what is wrong ---

/// The parts of which wrong ways are made.
struct Parts<const WRONG: u8> {
    flag: AtomicBool,
    terminate: Terminate,
}

const INTERRUPT_FIRST: u8 = 0;
const NO_LOOK_AFTER: u8 = 1;
const NO_LOOK_BEFORE: u8 = 2;
const NO_FENCES: u8 = 3;
const NO_INTERRUPT: u8 = 4;

impl<const WRONG: u8> Way for Parts<WRONG> {
    fn new() -> Arc<Self> {
        Arc::new(Self { flag: AtomicBool::new(false), terminate: Terminate::new() })
    }

    fn cancel(&self) {
        if WRONG == INTERRUPT_FIRST {
            self.terminate.trigger();
            fence(Ordering::SeqCst);
        }
        self.flag.store(true, Ordering::SeqCst);
        if WRONG != INTERRUPT_FIRST && WRONG != NO_INTERRUPT {
            if WRONG != NO_FENCES {
                fence(Ordering::SeqCst);
            }
            self.terminate.trigger();
        }
    }

    fn is_cancelled(&self) -> bool {
        self.flag.load(Ordering::SeqCst)
    }

    fn guard(&self, run: impl FnOnce(&Terminate) -> End) -> Option<End> {
        if WRONG != NO_LOOK_BEFORE && self.is_cancelled() {
            return None;
        }
        let end = run(&self.terminate);
        if WRONG != NO_FENCES {
            fence(Ordering::SeqCst);
        }
        if WRONG != NO_LOOK_AFTER && self.is_cancelled() { None } else { Some(end) }
    }
}

#[test]
#[should_panic(expected = "a run that was interrupted is reported as cancelled")]
fn interrupting_before_the_flag_loses_a_cancel() {
    steps::<Parts<INTERRUPT_FIRST>>(1);
}

#[test]
#[should_panic(expected = "a run that was interrupted is reported as cancelled")]
fn checking_only_before_a_run_loses_a_cancel() {
    steps::<Parts<NO_LOOK_AFTER>>(1);
}

#[test]
#[should_panic(expected = "a cancel that returned before a step began is seen before it")]
fn checking_only_after_a_run_loses_a_cancel() {
    steps::<Parts<NO_LOOK_BEFORE>>(1);
}

#[test]
#[should_panic(expected = "a run that was interrupted is reported as cancelled")]
fn omitting_the_fences_loses_a_cancel() {
    steps::<Parts<NO_FENCES>>(1);
}

#[test]
#[should_panic(expected = "Model exceeded maximum number of branches")]
fn omitting_the_interrupt_loses_a_cancel() {
    endless::<Parts<NO_INTERRUPT>>(1);
}

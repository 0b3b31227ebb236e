//! `exit()` while work is in flight. It runs the destructors of ONNX Runtime's static objects while other threads may still
//! be inside ONNX Runtime, which then fails or crashes. A handler that runs before these destructors refuses new calls,
//! interrupts runs, and waits until no thread is inside. Objects of ONNX Runtime that are dropped afterwards are leaked,
//! since nothing is left to free them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use ort::session::{NoSelectedOutputs, RunOptions};

use super::context::{self, Context, Held};
use crate::support::error::{Error, Result};
use crate::support::sync::lock;
use crate::support::{host, parallel, platform};

/// Steps and decodes take seconds at most. A thread that is inside for longer may itself wait for the exit, in a host
/// callback for example; the process must end nevertheless.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

static BEGUN: OnceLock<Instant> = OnceLock::new();
static ENDING: AtomicBool = AtomicBool::new(false);
/// Number of threads inside ONNX Runtime.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Runs that can be interrupted.
static RUNNING: Mutex<Vec<Arc<RunOptions<NoSelectedOutputs>>>> = Mutex::new(Vec::new());

thread_local! {
    /// Nesting depth of this thread. It has no destructor, so it can still be read while the process ends.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// ONNX Runtime is not torn down while this lives.
pub(crate) struct Inside {
    /// Everything inside computes in the default float environment: ONNX Runtime's threads inherit it, and what ONNX Runtime
    /// itself changes in it stays here.
    _host: host::Entered,
    /// The context of the device is this thread's.
    context: Option<Held>,
}

/// As [`enter`], for what uses a device: nothing else uses a context that its sessions share meanwhile.
pub(super) fn enter_on(context: Context) -> Result<Inside> {
    let mut inside = enter()?;
    inside.context = Some(context::hold(context));
    Ok(inside)
}

/// Marks this thread as inside ONNX Runtime.
///
/// # Errors
/// [`Error::State`] when the process is ending, or is a forked child, or this thread is in a call of the host's parallel_for.
pub(crate) fn enter() -> Result<Inside> {
    parallel::check_not_inside()?;
    enter_anywhere()
}

/// As [`enter`], for what takes no lock of a graph.
pub(super) fn enter_anywhere() -> Result<Inside> {
    host::check_threads()?;
    let depth = DEPTH.get();
    if depth == 0 {
        // Counted before the check: either the handler sees this thread, or this thread sees that the process is ending.
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if ENDING.load(Ordering::SeqCst) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
            return Err(ending());
        }
    }
    DEPTH.set(depth + 1);
    Ok(Inside { _host: host::enter(), context: None })
}

impl Drop for Inside {
    fn drop(&mut self) {
        let depth = DEPTH.get() - 1;
        DEPTH.set(depth);
        if depth == 0 {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// The error of a failed run; while the process is ending, that is the reason.
pub(super) fn reason(error: Error) -> Error {
    if ENDING.load(Ordering::SeqCst) { ending() } else { error }
}

fn ending() -> Error {
    Error::State("the process is ending".into())
}

/// Registers the handler, so that it runs before the destructors of all static objects that ONNX Runtime has made so far:
/// handlers run in reverse order of registration. ONNX Runtime makes such objects when it is loaded and when a graph is
/// compiled, but not during a run (measured), so this is called after each. `what` tells them apart: what was there before
/// makes no new ones, and a registration is never freed.
pub(super) fn arm(what: &impl Hash) {
    static ARMED: Mutex<BTreeSet<u64>> = Mutex::new(BTreeSet::new());
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    if lock(&ARMED).insert(hasher.finish()) {
        platform::at_exit(handler);
    }
}

extern "C" fn handler() {
    if host::threads_are_gone() {
        // Those that are counted would be waited for.
        return;
    }
    ENDING.store(true, Ordering::SeqCst);
    // A callback of the host may have called exit() from inside.
    let own = usize::from(DEPTH.get() > 0);
    // It is registered more than once; all registrations share one deadline.
    let begun = *BEGUN.get_or_init(Instant::now);
    while INSIDE.load(Ordering::SeqCst) > own && begun.elapsed() < LONGEST_WAIT {
        for options in running().iter() {
            let _ = options.terminate();
        }
        std::thread::sleep(Duration::from_micros(200));
    }
}

fn running() -> MutexGuard<'static, Vec<Arc<RunOptions<NoSelectedOutputs>>>> {
    lock(&RUNNING)
}

/// A run that the handler may interrupt, until this is dropped.
pub(super) struct Running(Arc<RunOptions<NoSelectedOutputs>>);

impl Running {
    pub fn new(options: &Arc<RunOptions<NoSelectedOutputs>>) -> Self {
        running().push(options.clone());
        Self(options.clone())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let mut running = running();
        if let Some(index) = running.iter().position(|options| Arc::ptr_eq(options, &self.0)) {
            running.swap_remove(index);
        }
    }
}

/// An object of ONNX Runtime: freed when this is dropped, leaked when the process is ending or is a forked child.
pub(super) struct RuntimeOwned<T> {
    value: Option<T>,
    /// What freeing it shares with other sessions.
    context: Context,
}

const PRESENT: &str = "only drop takes the value";

impl<T> RuntimeOwned<T> {
    pub fn new(value: T) -> Self {
        Self { value: Some(value), context: Context::Own }
    }

    /// An object of a session whose device may share a context, or of its memory.
    pub fn on(context: Context, value: T) -> Self {
        Self { value: Some(value), context }
    }
}

impl<T> Deref for RuntimeOwned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.value.as_ref().expect(PRESENT)
    }
}

impl<T> DerefMut for RuntimeOwned<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.value.as_mut().expect(PRESENT)
    }
}

impl<T> Drop for RuntimeOwned<T> {
    fn drop(&mut self) {
        match enter_anywhere() {
            Ok(_inside) => {
                let _held = context::hold(self.context);
                drop(self.value.take());
            }
            Err(_) => std::mem::forget(self.value.take()),
        }
    }
}

//! `exit()` with work in flight. It runs the destructors of ONNX Runtime's static objects while other threads may
//! still be inside; a run then fails on types that are gone, or crashes. So when the process ends, this comes
//! first: it turns away whoever wants in, interrupts what runs, and waits until nobody is inside. What is dropped
//! afterwards is leaked, for there is nothing left to give it back to.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::{Duration, Instant};

use ort::session::{NoSelectedOutputs, RunOptions};

use crate::support::error::{Error, Result};
use crate::support::platform;
use crate::support::sync::lock;

/// A step or a decode takes seconds at the most. Whoever is inside for longer waits for us: a callback of the
/// host's that blocks, say. A process that is told to end has to end.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

static BEGUN: OnceLock<Instant> = OnceLock::new();
static ENDING: AtomicBool = AtomicBool::new(false);
/// Threads inside ONNX Runtime.
static INSIDE: AtomicUsize = AtomicUsize::new(0);
/// Runs that can be interrupted.
static RUNNING: Mutex<Vec<Arc<RunOptions<NoSelectedOutputs>>>> = Mutex::new(Vec::new());

thread_local! {
    /// How deep this thread is inside. It has no destructor, so it can still be read while the process ends.
    static DEPTH: Cell<usize> = const { Cell::new(0) };
}

/// While it lives, ONNX Runtime does too.
pub(crate) struct Inside;

/// Lets this thread in, unless the process is ending.
pub(crate) fn enter() -> Result<Inside> {
    let depth = DEPTH.get();
    if depth == 0 {
        // Announced before the look: either the handler sees us, or we see it.
        INSIDE.fetch_add(1, Ordering::SeqCst);
        if ENDING.load(Ordering::SeqCst) {
            INSIDE.fetch_sub(1, Ordering::SeqCst);
            return Err(ending());
        }
    }
    DEPTH.set(depth + 1);
    Ok(Inside)
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

/// What a run that failed while the process ends failed of.
pub(super) fn reason(error: Error) -> Error {
    if ENDING.load(Ordering::SeqCst) { ending() } else { error }
}

fn ending() -> Error {
    Error::State("the process is ending".into())
}

/// Sees to it that the handler comes before the destructors of all static objects that ONNX Runtime has made so
/// far: handlers run in the opposite order of their registration. It makes them when it is loaded and when a graph
/// is compiled (measured: none while one runs), so this is called after each.
pub(super) fn arm() {
    platform::at_exit(handler);
}

extern "C" fn handler() {
    ENDING.store(true, Ordering::SeqCst);
    // A callback of the host's may have called exit() from inside.
    let own = usize::from(DEPTH.get() > 0);
    // It is registered more than once; the first to run decides when patience ends.
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

/// Names a run that the end of the process may interrupt, until it is dropped.
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
        if let Some(at) = running.iter().position(|options| Arc::ptr_eq(options, &self.0)) {
            running.swap_remove(at);
        }
    }
}

/// Something of ONNX Runtime's: given back when it is dropped, leaked when the process is ending.
pub(super) struct RuntimeOwned<T>(Option<T>);

const HELD: &str = "only drop takes it";

impl<T> RuntimeOwned<T> {
    pub fn new(value: T) -> Self {
        Self(Some(value))
    }
}

impl<T> Deref for RuntimeOwned<T> {
    type Target = T;
    fn deref(&self) -> &T {
        self.0.as_ref().expect(HELD)
    }
}

impl<T> DerefMut for RuntimeOwned<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.0.as_mut().expect(HELD)
    }
}

impl<T> Drop for RuntimeOwned<T> {
    fn drop(&mut self) {
        match enter() {
            Ok(_inside) => drop(self.0.take()),
            Err(_) => std::mem::forget(self.0.take()),
        }
    }
}

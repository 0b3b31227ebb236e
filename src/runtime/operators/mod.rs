//! Our own operators for the CPU, domain `detailflow`: `Linear`, `Attention` and `PlacesAttention`. The format of bundles
//! (under `onnx/`) says what they compute.
//! This is the boundary of the arithmetic in [`kernels`](crate::kernels): attributes and constants of a graph are checked
//! here, once, when it is compiled.
//!
//! Graphs are untrusted input. An operator whose constants do not fit together does not compile; inputs of wrong shape are
//! an error of that run.

mod attention;
mod io;
mod linear;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use ort::operator::{ComputeContext, KernelContext, OperatorDomain};

use attention::{AttentionOperator, PlacesAttentionOperator};
use linear::LinearOperator;

use crate::kernels::Pool;
use crate::kernels::kv::SlotTable;
use crate::support::error::Error;
use crate::support::sync::lock;

const DOMAIN: &str = "detailflow";

/// The operators for one graph. Its attention finds the sequence slots of a run in `slots`. `threads` is the number that
/// the session has.
pub(super) fn domain(slots: SlotTable, threads: usize) -> ort::Result<Arc<OperatorDomain>> {
    let linear = LinearOperator { threads, work: Arc::default() };
    let attention = AttentionOperator { slots, threads };
    let places = PlacesAttentionOperator { threads };
    OperatorDomain::new(DOMAIN)?.add(linear)?.add(attention)?.add(places).map(Arc::new)
}

/// The thread pool of the session that runs the operator.
struct SessionPool<'a> {
    context: &'a ComputeContext,
    threads: usize,
}

impl Pool for SessionPool<'_> {
    fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.threads == 1 {
            return (0..count).for_each(task);
        }
        // A panic must not leave a task, because ONNX Runtime's threads cannot unwind. It is resumed below.
        let panicked = Mutex::new(None);
        let guarded = |number: usize| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| task(number))) {
                lock(&panicked).get_or_insert(panic);
            }
        };
        // As many blocks as tasks: each free thread takes one task at a time.
        if self.context.par_for(count, count, guarded).is_err() {
            // It can only fail before a task has begun.
            (0..count).for_each(guarded);
        }
        if let Some(panic) = panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }

    fn threads(&self) -> usize {
        self.threads
    }
}

/// Runs the body of an operator. A panic becomes an error of the run, so that it does not take the host down.
fn guarded(body: impl FnOnce() -> ort::Result<()>) -> ort::Result<()> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(refuse(Error::from_panic(&*panic))))
}

fn refuse(what: impl std::fmt::Display) -> ort::Error {
    ort::Error::new(what.to_string())
}

fn size(context: &KernelContext<'_>, name: &str) -> ort::Result<usize> {
    let value: Option<i64> = context.get(name);
    value
        .and_then(|value| usize::try_from(value).ok())
        .filter(|&value| value > 0)
        .ok_or_else(|| refuse(format!("attribute \"{name}\" must be an integer of at least 1")))
}

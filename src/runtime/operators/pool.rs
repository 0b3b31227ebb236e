//! Threads of an operator, and its panics.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Mutex, PoisonError};

use ort::operator::ComputeContext;

use super::io::refuse;
use crate::kernels::Pool;
use crate::support::error::Error;
use crate::support::parallel::Threads;
use crate::support::sync::lock;

/// The threads of an operator: the pool of the session that runs it, or threads of the host.
pub(super) struct SessionPool<'a> {
    pub context: &'a ComputeContext,
    pub threads: &'a Threads,
}

impl Pool for SessionPool<'_> {
    fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        if self.threads.count == 1 {
            return (0..count).for_each(task);
        }
        if let Some(host) = &self.threads.host {
            return host.each(count, task);
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
        self.threads.count
    }
}

/// Runs the body of an operator, or of its making. A panic, ours or one of `ort`, becomes an error, so that it does not take
/// the host down.
pub(super) fn guarded<R>(body: impl FnOnce() -> ort::Result<R>) -> ort::Result<R> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| Err(refuse(Error::from_panic(&*panic))))
}

//! Work on threads of the host: its own task system in place of threads of ours.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::error::{Error, Result};
use super::host;
use super::sync::lock;

/// The most tasks of one call. Work of more parts gives several to each task.
const MOST_TASKS: usize = 1024;
const BITS: usize = u64::BITS as usize;

type Run = dyn Fn(usize, &(dyn Fn(usize) + Sync)) + Send + Sync;

/// Runs tasks on threads of the host, such as those of a game engine: it is given a number of tasks and a function, and calls
/// the function with each index below that number, on any threads, and returns when all calls have returned.
///
/// It may be called on any thread that computes, and on several at once. An index that it leaves out is run by the library
/// afterwards; one that it calls twice, or beyond the number, does nothing. A panic in it is that of the call that computes.
/// On the thread on which it is called, it must not compute with this library itself: that is [`Error::State`]. On other
/// threads of the host that may happen, but must not keep the tasks waiting.
///
/// ```
/// use detailflow::{ModelOptions, ParallelFor};
///
/// // Each task on the calling thread; a task system would spread them.
/// let parallel_for = ParallelFor::new(|count, task| (0..count).for_each(task));
/// let options = ModelOptions::new().with_parallel_for(parallel_for).with_threads(4);
/// ```
#[derive(Clone)]
pub struct ParallelFor(Arc<Run>);

impl ParallelFor {
    /// Tasks are run by `run`, which gets their number and the function that runs one.
    pub fn new(run: impl Fn(usize, &(dyn Fn(usize) + Sync)) + Send + Sync + 'static) -> Self {
        Self(Arc::new(run))
    }

    /// Calls `task` once with each number below `count`, and returns when all calls are done. A panic of a task is resumed
    /// then; it does not get to the host's threads.
    pub(crate) fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        let tasks = count.min(MOST_TASKS);
        let taken: [AtomicU64; MOST_TASKS / BITS] = Default::default();
        let panicked = Mutex::new(None);
        let guarded = |work: &dyn Fn()| {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(work)) {
                lock(&panicked).get_or_insert(panic);
            }
        };
        let run = |index: usize| {
            let bit = 1 << (index % BITS);
            if index < tasks && taken[index / BITS].fetch_or(bit, Ordering::AcqRel) & bit == 0 {
                let _host = host::enter();
                guarded(&|| (index..count).step_by(tasks).for_each(task));
            }
        };
        guarded(&|| {
            let _inside = Inside::new();
            host::call_back(|| (self.0)(tasks, &run));
        });
        // What was left out.
        (0..tasks).for_each(run);
        if let Some(panic) = panicked.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

impl fmt::Debug for ParallelFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ParallelFor")
    }
}

/// The same function, not an equal one.
impl PartialEq for ParallelFor {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ParallelFor {}

/// Threads that share work: how many to divide it among, and whose they are.
#[derive(Debug, Clone)]
pub(crate) struct Threads {
    /// At least 1.
    pub count: usize,
    /// Those of the host; `None` for those of the library and ONNX Runtime.
    pub host: Option<ParallelFor>,
}

thread_local! {
    /// Whether this thread is in a call of the host's function. It has no destructor, so it can still be read while the
    /// process ends.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// This thread is in a call of the host's function.
struct Inside {
    before: bool,
}

impl Inside {
    fn new() -> Self {
        Self { before: INSIDE.replace(true) }
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.set(self.before);
    }
}

/// Refuses to compute within a call of the host's function on this thread: the graph that called it is locked.
///
/// # Errors
/// [`Error::State`].
pub(crate) fn check_not_inside() -> Result<()> {
    if INSIDE.get() {
        return Err(Error::State(
            "this thread is in a call of parallel_for: the library cannot compute on it until that returns".into(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    /// How often each part of the work was done.
    fn counts(parallel_for: &ParallelFor, count: usize) -> Vec<usize> {
        let done: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
        parallel_for.each(count, &|at| _ = done[at].fetch_add(1, Ordering::Relaxed));
        done.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn each_part_is_done_once_whatever_the_host_does() {
        type Host = fn(usize, &(dyn Fn(usize) + Sync));
        let hosts: [Host; 7] = [
            |count, task| (0..count).for_each(task),
            |count, task| (0..count).rev().for_each(task),
            |_, _| {},
            |count, task| (0..count).step_by(3).for_each(task),
            |count, task| (0..count).chain(0..count).for_each(task),
            |count, task| [count, count + 1, 1 << 20, usize::MAX].into_iter().for_each(task),
            |count, task| {
                std::thread::scope(|scope| {
                    for first in 0..3 {
                        scope.spawn(move || (first..count).step_by(2).for_each(task));
                    }
                });
            },
        ];
        for (at, host) in hosts.into_iter().enumerate() {
            for count in [0, 1, 2, 63, 64, 65, 1023, 1024, 1025, 5000] {
                let host = ParallelFor::new(move |count, task| {
                    assert!(count <= MOST_TASKS);
                    host(count, task);
                });
                assert_eq!(counts(&host, count), vec![1; count], "host {at}");
            }
        }
    }

    #[test]
    fn panic_of_a_task_reaches_the_caller_and_not_the_host() {
        let survived = Arc::new(AtomicUsize::new(0));
        let counted = survived.clone();
        let host = ParallelFor::new(move |count, task| {
            (0..count).for_each(task);
            counted.fetch_add(1, Ordering::Relaxed);
        });
        let done = AtomicUsize::new(0);
        let work = |at: usize| {
            assert_ne!(at, 3, "the third");
            done.fetch_add(1, Ordering::Relaxed);
        };
        assert!(catch_unwind(AssertUnwindSafe(|| host.each(10, &work))).is_err());
        assert_eq!((survived.load(Ordering::Relaxed), done.load(Ordering::Relaxed)), (1, 9));
    }

    #[test]
    fn panic_of_the_host_reaches_the_caller_after_all_work_is_done() {
        let host = ParallelFor::new(|_, task| {
            task(1);
            panic!("the host's own");
        });
        let done = AtomicUsize::new(0);
        let work = |_: usize| _ = done.fetch_add(1, Ordering::Relaxed);
        assert!(catch_unwind(AssertUnwindSafe(|| host.each(10, &work))).is_err());
        assert_eq!(done.load(Ordering::Relaxed), 10);
        check_not_inside().unwrap();
    }

    #[test]
    fn computing_inside_the_hosts_function_is_refused() {
        let refused = Arc::new(AtomicUsize::new(0));
        let counted = refused.clone();
        let host = ParallelFor::new(move |_, _| {
            counted.fetch_add(usize::from(check_not_inside().is_err()), Ordering::Relaxed);
        });
        host.each(2, &|_| {});
        assert_eq!(refused.load(Ordering::Relaxed), 1);
        check_not_inside().unwrap();
    }

    #[test]
    fn equal_is_the_same_function() {
        let one = ParallelFor::new(|_, _| {});
        assert_eq!(one, one.clone());
        assert_ne!(one, ParallelFor::new(|_, _| {}));
    }
}

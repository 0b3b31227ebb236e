//! The threads of a session's pool. ONNX Runtime cannot cope when the system refuses one of its threads: it waits for ever
//! for those of the half-made pool. So they are started here, before the session is made, and ONNX Runtime is asked for as
//! many as there are.

use std::io;
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Mutex, MutexGuard};
use std::thread::{Builder, JoinHandle};

use ort::environment::ThreadManager;

use crate::support::error::{Error, Result};
use crate::support::log;
use crate::support::platform::{address_space_left, float, without_signals};
use crate::support::sync::lock;

/// ONNX Runtime's kernels keep blocks of some 100 KB on the stack. The system's usual 8 MB would count against limits of
/// the address space.
const STACK: usize = 2 << 20;

/// Address space that compiling a graph needs beside its weights, generously. Small allocations that fail there end the
/// process, in ONNX Runtime and in the C library.
const ROOM: u64 = 48 << 20;

type Work = Box<dyn FnOnce() + Send>;

/// A thread that waits for its work, and ends without when the sender is dropped.
struct Parked {
    work: SyncSender<Work>,
    handle: JoinHandle<()>,
}

/// Threads for one pool, parked until ONNX Runtime takes them.
pub(super) struct PoolThreads(Mutex<Vec<Parked>>);

impl PoolThreads {
    /// Starts the threads of a pool of `count`, the calling thread included, and returns how many the pool has. Fewer than
    /// `count` when the system starts no more. `name` is the graph, for messages.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the system starts none.
    pub fn start(count: usize, name: &str) -> Result<(Self, usize)> {
        let wanted = count.saturating_sub(1);
        check_room(name, wanted)?;
        let mut parked = Vec::new();
        let (ready, begun) = channel();
        while parked.len() < wanted {
            match park(ready.clone()) {
                Ok(thread) => parked.push(thread),
                Err(error) if parked.is_empty() => {
                    let what = format!("{name}: the system starts none of {wanted} threads ({error}), each of which");
                    return Err(Error::OutOfMemory { what, bytes: STACK as u64 });
                }
                Err(error) => {
                    let got = parked.len() + 1;
                    log::emit(log::Severity::Warning, || format!("{name}: {got} of {count} threads: {error}"));
                    break;
                }
            }
        }
        let pool = parked.len() + 1;
        let threads = Self(Mutex::new(parked));
        // Each takes memory of its own when it begins, after which there must still be room.
        drop(ready);
        begun.iter().for_each(drop);
        check_room(name, 0)?;
        Ok((threads, pool))
    }

    fn parked(&self) -> MutexGuard<'_, Vec<Parked>> {
        lock(&self.0)
    }
}

impl ThreadManager for PoolThreads {
    type Thread = JoinHandle<()>;

    fn create(&self, work: impl FnOnce() + Send + 'static) -> ort::Result<JoinHandle<()>> {
        let parked = self.parked().pop();
        // Not reached unless ONNX Runtime takes more threads than it was told to.
        let parked =
            parked.map_or_else(|| park(channel().0), Ok).map_err(|error| ort::Error::new(error.to_string()))?;
        parked.work.send(Box::new(work)).map_err(|_| ort::Error::new("a thread ended before its work"))?;
        Ok(parked.handle)
    }

    fn join(thread: JoinHandle<()>) -> ort::Result<()> {
        thread.join().map_err(|_| ort::Error::new("a thread of a pool panicked"))
    }
}

impl Drop for PoolThreads {
    /// Ends those that ONNX Runtime did not take, so that they do not count against the limit of the next attempt.
    fn drop(&mut self) {
        for Parked { work, handle } in self.parked().drain(..) {
            drop(work);
            let _ = handle.join();
        }
    }
}

/// Refuses to begin what little address space would end badly.
fn check_room(name: &str, threads: usize) -> Result<()> {
    let needed = ROOM.saturating_add((threads * STACK) as u64);
    match address_space_left() {
        Some(left) if left < needed => {
            let what = format!("{name}, with {left} bytes of address space left,");
            Err(Error::OutOfMemory { what, bytes: needed })
        }
        _ => Ok(()),
    }
}

/// Starts a thread, which sends to `ready` when it has begun.
fn park(ready: Sender<()>) -> io::Result<Parked> {
    let (work, waiting) = sync_channel::<Work>(1);
    let run = move || {
        float::set_default();
        let _ = ready.send(());
        drop(ready);
        if let Ok(work) = waiting.recv() {
            work();
        }
    };
    let start = || Builder::new().name("detailflow-pool".into()).stack_size(STACK).spawn(run);
    Ok(Parked { work, handle: without_signals(start)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pool_threads_run_their_work_or_end_without() {
        let (threads, count) = PoolThreads::start(3, "graph").unwrap();
        assert_eq!(count, 3);
        let (done, seen) = std::sync::mpsc::channel();
        // The third is more than were parked.
        let handles: Vec<_> = (0..3)
            .map(|number| {
                let done = done.clone();
                threads.create(move || done.send(number).unwrap()).unwrap()
            })
            .collect();
        handles.into_iter().for_each(|handle| PoolThreads::join(handle).unwrap());
        drop(done);
        let mut seen: Vec<i32> = seen.iter().collect();
        seen.sort_unstable();
        assert_eq!(seen, [0, 1, 2]);
        drop(PoolThreads::start(4, "graph").unwrap());
        assert_eq!(PoolThreads::start(1, "graph").unwrap().1, 1);
        assert_eq!(PoolThreads::start(0, "graph").unwrap().1, 1);
    }
}

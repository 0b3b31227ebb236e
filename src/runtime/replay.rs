//! Steps that a device replays as a whole. A step starts hundreds of operators, and starting one takes as long as computing it
//! when the batch is small; what was recorded once (a CUDA graph) starts with one call.
//!
//! A recording holds addresses: its inputs, its outputs and the KV cache must stay where they were. So a generation that ends
//! leaves its memory and bindings here, and the next one of as many rows takes them over. ONNX Runtime keeps the recordings
//! of a session by thread, so one thread of its own runs the session; it never forgets one, so their number is limited.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, JoinHandle};

use ort::session::{NoSelectedOutputs, RunOptions};

use super::exit;
use super::failure::failed;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::log;
use crate::support::platform::{float, without_signals};
use crate::support::sync::lock;

/// Recordings of a model at most.
const MOST_RECORDINGS: usize = 64;
/// Bytes of KV caches that wait for another generation at most.
const MOST_KEPT: u64 = 1 << 30;
/// KV caches that wait at most: generations of several numbers of rows may alternate.
const MOST_WAITING: usize = 4;

/// What one graph has recorded; `K` is what a generation leaves for the next one.
pub(super) struct Replay<K> {
    thread: Thread,
    recordings: AtomicUsize,
    waiting: Mutex<Vec<Waiting<K>>>,
}

struct Waiting<K> {
    key: Key,
    bytes: u64,
    kept: K,
}

/// What two generations have in common when one can go on in the memory of the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    pub rows: usize,
    pub logits_stay: bool,
}

impl<K> Replay<K> {
    /// # Errors
    /// [`Error::OutOfMemory`] when the system starts no thread.
    pub fn new(graph: &str) -> Result<Self> {
        Ok(Self { thread: Thread::start(graph)?, recordings: AtomicUsize::new(0), waiting: Mutex::default() })
    }

    /// Options for the runs of one binding, and whether the first one is recorded, which the others replay. Not once there are
    /// too many.
    pub fn options(&self) -> ort::Result<(Arc<RunOptions<NoSelectedOutputs>>, bool)> {
        let number = self.recordings.fetch_add(1, Ordering::Relaxed);
        let is_recorded = number < MOST_RECORDINGS;
        if number == MOST_RECORDINGS {
            log::emit(log::Severity::Warning, || {
                format!(
                    "{}: {MOST_RECORDINGS} shapes of steps are recorded; others are not, and are slower",
                    self.thread.graph
                )
            });
        }
        let mut options = RunOptions::new()?;
        // ONNX Runtime's number for "not to be recorded" is -1.
        options.set("gpu_graph_id", if is_recorded { (number + 1).to_string() } else { "-1".into() })?;
        Ok((Arc::new(options), is_recorded))
    }

    /// Calls `run` on the thread of the recordings, and waits for it.
    pub fn run<R: Send + 'static>(&self, run: impl FnOnce() -> R + Send + 'static) -> Result<R> {
        self.thread.run(run)
    }

    /// What an earlier generation left.
    pub fn take(&self, key: Key) -> Option<K> {
        let mut waiting = lock(&self.waiting);
        let at = waiting.iter().rposition(|waiting| waiting.key == key)?;
        Some(waiting.remove(at).kept)
    }

    /// Keeps what a generation leaves, if there is room; what waits longest makes room.
    pub fn leave(&self, key: Key, bytes: u64, kept: K) {
        if bytes > MOST_KEPT {
            return;
        }
        let mut dropped = Vec::new();
        let mut waiting = lock(&self.waiting);
        waiting.push(Waiting { key, bytes, kept });
        while waiting.len() > MOST_WAITING || waiting.iter().map(|waiting| waiting.bytes).sum::<u64>() > MOST_KEPT {
            dropped.push(waiting.remove(0));
        }
        // Freeing device memory takes time.
        drop(waiting);
    }

    /// Frees what waits.
    pub fn clear(&self) -> bool {
        let waiting = std::mem::take(&mut *lock(&self.waiting));
        !waiting.is_empty()
    }
}

type Work = Box<dyn FnOnce() + Send>;

/// A thread that does one piece of work after the other.
struct Thread {
    work: Option<Mutex<Sender<Work>>>,
    handle: Option<JoinHandle<()>>,
    graph: String,
}

impl Thread {
    fn start(graph: &str) -> Result<Self> {
        let (work, waiting) = channel::<Work>();
        let run = move || {
            float::set_default();
            waiting.iter().for_each(|work| work());
        };
        let started = without_signals(|| Builder::new().name("detailflow-device".into()).spawn(run));
        let handle = started.map_err(|error| Error::OutOfMemory {
            what: format!("{graph}: the system starts no thread ({error}), which"),
            bytes: 2 << 20,
        })?;
        Ok(Self { work: Some(Mutex::new(work)), handle: Some(handle), graph: graph.to_owned() })
    }

    fn run<R: Send + 'static>(&self, run: impl FnOnce() -> R + Send + 'static) -> Result<R> {
        let (reply, result) = sync_channel(1);
        let work: Work = Box::new(move || drop(reply.send(run())));
        let sent = self.work.as_ref().is_some_and(|sender| lock(sender).send(work).is_ok());
        let result = if sent { result.recv().ok() } else { None };
        result.ok_or_else(|| exit::reason(failed(&self.graph, ort::Error::new("its thread has ended"))))
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        if host::threads_are_gone() {
            // Its channel may be locked by one of them.
            std::mem::forget((self.work.take(), self.handle.take()));
            return;
        }
        drop(self.work.take());
        if let Some(handle) = self.handle.take() {
            let _ = handle.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Key = Key { rows: 2, logits_stay: false };

    #[test]
    fn work_is_done_by_one_thread_and_a_panic_ends_it_with_an_error() {
        let replay = Replay::<()>::new("graph").unwrap();
        let first = replay.run(|| std::thread::current().id()).unwrap();
        assert_eq!(replay.run(|| std::thread::current().id()).unwrap(), first);
        assert_ne!(first, std::thread::current().id());
        assert!(matches!(replay.run(|| -> u8 { panic!("on purpose") }), Err(Error::Failed { .. })));
        assert!(matches!(replay.run(|| 1), Err(Error::Failed { .. })));
    }

    #[test]
    fn what_is_left_is_taken_by_its_key_the_newest_first_and_within_limits() {
        let replay = Replay::new("graph").unwrap();
        let other = Key { logits_stay: true, ..ONE };
        replay.leave(ONE, 1, 'a');
        replay.leave(ONE, 1, 'b');
        replay.leave(other, 1, 'c');
        assert_eq!([replay.take(ONE), replay.take(ONE), replay.take(ONE)], [Some('b'), Some('a'), None]);
        replay.leave(ONE, MOST_KEPT + 1, 'd');
        assert_eq!(replay.take(ONE), None, "too large");
        replay.leave(ONE, MOST_KEPT, 'e');
        assert_eq!([replay.take(other), replay.take(ONE)], [None, Some('e')], "the older one made room");
        (0..=MOST_WAITING).for_each(|at| replay.leave(Key { rows: at, ..ONE }, 1, 'f'));
        assert_eq!(replay.take(Key { rows: 0, ..ONE }), None);
        assert!(replay.clear() && !replay.clear());
    }
}

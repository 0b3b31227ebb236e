//! Every order in which a generation that steps and its readers can meet, tried one after the other:
//! `src/generation/publish.rs` as it is, with its lock and atomics replaced by instrumented ones. Wrong ways of doing the
//! same are found by the same exploration: the check can fail.

#[path = "../src/generation/publish.rs"]
mod publish;

/// What `src/support/sync.rs` is to the library.
mod support {
    pub(crate) mod sync {
        pub(crate) use loom::sync::atomic::{AtomicU32, Ordering};
        pub(crate) use loom::sync::{Arc, Mutex, MutexGuard};

        pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
            mutex.lock().unwrap()
        }
    }
}

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use loom::thread;
use publish::{Board, Published};
use support::sync::{Arc, AtomicU32, Mutex, Ordering, lock};

/// Positions of the generation that is played.
const POSITIONS: u32 = 3;

/// The token at a position: never 0, which is what an unwritten position holds.
fn token(position: u32) -> u32 {
    position + 10
}

/// What a reader looks at: a generation of one image between two steps.
#[derive(Clone)]
struct Snapshot {
    known: u32,
    steps: u32,
    tokens: Arc<Board>,
}

fn board() -> Arc<Board> {
    Arc::new(Board::new((0..POSITIONS).map(|_| AtomicU32::new(0)).collect(), POSITIONS as usize))
}

fn snapshot(tokens: &Arc<Board>, known: u32) -> Snapshot {
    Snapshot { known, steps: known, tokens: tokens.clone() }
}

/// A way to show snapshots to readers: that of the library, or a wrong one.
trait Way: Send + Sync + Sized + 'static {
    fn new(first: Snapshot) -> Self;
    /// Writes the tokens of a step at position `next.known - 1`, and publishes `next`.
    fn step(&self, next: Snapshot);
    fn newest(&self) -> Snapshot;
}

fn write(next: &Snapshot) {
    next.tokens.write(0, next.known as usize - 1, std::iter::once(token(next.known - 1)));
}

impl Way for Published<Snapshot> {
    fn new(first: Snapshot) -> Self {
        Self::new(first)
    }

    fn step(&self, next: Snapshot) {
        write(&next);
        self.publish(next);
    }

    fn newest(&self) -> Snapshot {
        Published::newest(self).as_ref().clone()
    }
}

/// How often readers saw what, over all orders: that they saw it at all is checked too.
#[derive(Default)]
struct Seen {
    orders: AtomicUsize,
    first: AtomicUsize,
    between: AtomicUsize,
    last: AtomicUsize,
}

/// A stepper and `readers` that look twice each.
fn explore<W: Way>(readers: usize) -> std::sync::Arc<Seen> {
    let seen = std::sync::Arc::new(Seen::default());
    let count = seen.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = (readers > 1).then_some(2);
    builder.check(move || {
        count.orders.fetch_add(1, Relaxed);
        let tokens = board();
        let way = Arc::new(W::new(snapshot(&tokens, 0)));
        let threads: Vec<_> = (0..readers)
            .map(|_| {
                let (way, count) = (way.clone(), count.clone());
                thread::spawn(move || {
                    let mut before = 0;
                    for _ in 0..2 {
                        let now = way.newest();
                        assert_eq!(now.steps, now.known, "a reader sees a whole snapshot");
                        assert!(now.known >= before, "a reader never goes back in time");
                        let read: Vec<u32> = now.tokens.read(0, now.known as usize).collect();
                        let expected: Vec<u32> = (0..now.known).map(token).collect();
                        assert_eq!(read, expected, "a reader sees the tokens of its snapshot");
                        before = now.known;
                        match now.known {
                            0 => &count.first,
                            POSITIONS => &count.last,
                            _ => &count.between,
                        }
                        .fetch_add(1, Relaxed);
                    }
                })
            })
            .collect();
        for known in 1..=POSITIONS {
            way.step(snapshot(&tokens, known));
        }
        threads.into_iter().for_each(|thread| thread.join().unwrap());
        assert_eq!(way.newest().known, POSITIONS);
    });
    seen
}

#[test]
fn reader_sees_whole_snapshots_in_order() {
    for readers in [1, 2] {
        let seen = explore::<Published<Snapshot>>(readers);
        for (what, count) in [("first", &seen.first), ("between", &seen.between), ("last", &seen.last)] {
            assert!(count.load(Relaxed) > 0, "{readers} readers: no order showed a snapshot that is the {what}");
        }
        println!("{readers} readers: {} orders", seen.orders.load(Relaxed));
    }
}

// --- The exploration finds what is wrong ---

/// Publishes first and writes the tokens then.
struct PublishFirst(Published<Snapshot>);

impl Way for PublishFirst {
    fn new(first: Snapshot) -> Self {
        Self(Published::new(first))
    }

    fn step(&self, next: Snapshot) {
        self.0.publish(next.clone());
        write(&next);
    }

    fn newest(&self) -> Snapshot {
        self.0.newest().as_ref().clone()
    }
}

#[test]
#[should_panic(expected = "a reader sees the tokens of its snapshot")]
fn publishing_before_writing_is_wrong() {
    explore::<PublishFirst>(1);
}

/// The count of tokens in a relaxed atomic instead of under a lock.
struct NoLock {
    known: AtomicU32,
    tokens: Arc<Board>,
}

impl Way for NoLock {
    fn new(first: Snapshot) -> Self {
        Self { known: AtomicU32::new(first.known), tokens: first.tokens }
    }

    fn step(&self, next: Snapshot) {
        write(&next);
        self.known.store(next.known, Ordering::Relaxed);
    }

    fn newest(&self) -> Snapshot {
        snapshot(&self.tokens, self.known.load(Ordering::Relaxed))
    }
}

#[test]
#[should_panic(expected = "a reader sees the tokens of its snapshot")]
fn publishing_without_a_lock_is_wrong() {
    explore::<NoLock>(1);
}

/// Parts of a snapshot under locks of their own.
struct Parts {
    known: Mutex<u32>,
    steps: Mutex<u32>,
    tokens: Arc<Board>,
}

impl Way for Parts {
    fn new(first: Snapshot) -> Self {
        Self { known: Mutex::new(first.known), steps: Mutex::new(first.steps), tokens: first.tokens }
    }

    fn step(&self, next: Snapshot) {
        write(&next);
        *lock(&self.known) = next.known;
        *lock(&self.steps) = next.steps;
    }

    fn newest(&self) -> Snapshot {
        let known = *lock(&self.known);
        Snapshot { known, steps: *lock(&self.steps), tokens: self.tokens.clone() }
    }
}

#[test]
#[should_panic(expected = "a reader sees a whole snapshot")]
fn publishing_in_parts_is_wrong() {
    explore::<Parts>(1);
}

/// Two places by turns, and a hint which is the newer one.
struct TwoPlaces {
    places: [Mutex<Snapshot>; 2],
    newer: AtomicU32,
}

impl Way for TwoPlaces {
    fn new(first: Snapshot) -> Self {
        Self { places: [Mutex::new(first.clone()), Mutex::new(first)], newer: AtomicU32::new(0) }
    }

    fn step(&self, next: Snapshot) {
        write(&next);
        let place = next.known % 2;
        // The hint first: the place still has a snapshot of two steps before.
        self.newer.store(place, Ordering::SeqCst);
        *lock(&self.places[place as usize]) = next;
    }

    fn newest(&self) -> Snapshot {
        lock(&self.places[self.newer.load(Ordering::SeqCst) as usize]).clone()
    }
}

#[test]
#[should_panic(expected = "a reader never goes back in time")]
fn publishing_in_turns_is_wrong() {
    explore::<TwoPlaces>(1);
}

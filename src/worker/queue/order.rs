//! Jobs that are not running, in the order in which they run: those that may run by level, priority and number; those
//! that are paused or held apart from them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::{Load, Task};

/// What a job comes before another by, apart from its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Urgency {
    /// It has reached a level, and there is no room for the rest of its memory beside the jobs that come before it.
    pub late: bool,
    /// Levels reached; 0 for all jobs where levels do not count.
    pub rank: u32,
    /// The higher the sooner.
    pub priority: f32,
}

impl Ord for Urgency {
    fn cmp(&self, other: &Self) -> Ordering {
        self.late.cmp(&other.late).then(self.rank.cmp(&other.rank)).then(other.priority.total_cmp(&self.priority))
    }
}

impl PartialOrd for Urgency {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Urgency {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Urgency {}

/// Of two jobs the one with the lesser key runs first.
pub(super) type Key = (Urgency, u64);

pub(super) struct Waiting<T: Task> {
    pub id: u64,
    pub group: T::Group,
    pub load: Option<Load>,
    pub priority: f32,
    pub paused: bool,
    pub task: T,
}

/// All jobs that are not running.
///
/// **Memory.** What ready jobs keep is counted. With coarse levels first, a job that has reached a level counts with all the
/// memory that it will need, so that it can go on; when that is too much, the last of these jobs become late: their memory is
/// packed, they count with what is left, and come after all others until there is room. When even that is too much, the last
/// late ones lose their memory, and their steps are repeated. In every other order the last jobs lose their memory.
pub(super) struct Line<T: Task> {
    /// Whether jobs with fewer levels come first.
    coarse_first: bool,
    /// The most memory that jobs count with while they wait.
    most: u64,
    ready: BTreeMap<Key, Waiting<T>>,
    /// Paused and held jobs.
    parked: BTreeMap<u64, Waiting<T>>,
    /// The keys of the ready jobs.
    keys: BTreeMap<u64, Key>,
    /// Ready jobs that count with memory.
    kept: Ledger,
}

/// Memory by job.
#[derive(Default)]
struct Ledger {
    bytes: BTreeMap<Key, u64>,
    sum: u64,
}

impl Ledger {
    fn set(&mut self, key: Key, bytes: u64) {
        let before = if bytes > 0 { self.bytes.insert(key, bytes) } else { self.bytes.remove(&key) };
        self.sum = self.sum.saturating_sub(before.unwrap_or(0)).saturating_add(bytes);
    }

    fn last(&self) -> Option<Key> {
        self.bytes.last_key_value().map(|(&key, _)| key)
    }
}

/// Before all late jobs, and behind all others.
const LATE: Key = (Urgency { late: true, rank: 0, priority: f32::INFINITY }, 0);

impl<T: Task> Line<T> {
    pub fn new(coarse_first: bool, most: u64) -> Self {
        Self {
            coarse_first,
            most,
            ready: BTreeMap::new(),
            parked: BTreeMap::new(),
            keys: BTreeMap::new(),
            kept: Ledger::default(),
        }
    }

    /// The urgency of a job that is not late.
    pub fn urgency(&self, rank: u32, priority: f32) -> Urgency {
        Urgency { late: false, rank: if self.coarse_first { rank } else { 0 }, priority }
    }

    /// Adds a job. One that may not run gives its memory up.
    pub fn add(&mut self, mut waiting: Waiting<T>) {
        if waiting.paused || waiting.task.is_held() {
            waiting.task.free_memory();
            self.parked.insert(waiting.id, waiting);
            return;
        }
        let urgency = self.urgency(waiting.task.rank(), waiting.priority);
        let late = urgency.rank > 0 && waiting.task.memory() == 0;
        self.insert((Urgency { late, ..urgency }, waiting.id), waiting);
        self.shrink();
    }

    fn insert(&mut self, key: Key, waiting: Waiting<T>) {
        let (memory, whole) = (waiting.task.memory(), waiting.load.map_or(0, |load| load.bytes));
        let goes_on = key.0.rank > 0 && !key.0.late;
        self.kept.set(key, if goes_on { memory.max(whole) } else { memory });
        self.keys.insert(waiting.id, key);
        self.ready.insert(key, waiting);
    }

    /// Changes the memory of a ready job.
    fn change_at(&mut self, key: Key, change: impl FnOnce(&mut T)) {
        if let Some(mut waiting) = self.take(key) {
            change(&mut waiting.task);
            self.insert(key, waiting);
        }
    }

    /// Takes a ready job out.
    fn take(&mut self, key: Key) -> Option<Waiting<T>> {
        self.kept.set(key, 0);
        self.keys.remove(&key.1);
        self.ready.remove(&key)
    }

    /// Has jobs count with less memory, the last ones first, until all together have at most this much. The first job keeps
    /// its memory: it is the next to run.
    fn shrink(&mut self) {
        while self.kept.sum > self.most {
            let first = self.ready.first_key_value().map(|(&key, _)| key);
            let goes_on = self.kept.bytes.range(..LATE).next_back().map(|(&key, _)| key);
            if let Some(key) = goes_on.filter(|key| key.0.rank > 0 && Some(*key) != first)
                && let Some(mut waiting) = self.take(key)
            {
                waiting.task.pack_memory();
                self.insert((Urgency { late: true, ..key.0 }, key.1), waiting);
            } else if let Some(key) = self.kept.last().filter(|key| Some(*key) != first) {
                self.free(key);
            } else {
                return;
            }
        }
    }

    fn free(&mut self, key: Key) {
        self.change_at(key, T::free_memory);
        // Whatever it says, it does not count any more.
        self.kept.set(key, 0);
    }

    /// Frees the memory of all ready jobs. Returns whether any had some.
    pub fn free_all(&mut self) -> bool {
        let any = self.ready.values().any(|waiting| waiting.task.memory() > 0);
        while let Some(key) = self.kept.last() {
            self.free(key);
        }
        any
    }

    /// Lets late jobs go on in their order, as far as there is room for the rest of their memory; several at once, so that they
    /// step together. Called while no job that belongs here is elsewhere.
    pub fn admit_late(&mut self) {
        if self.kept.sum > self.most - self.most / 8 {
            return;
        }
        while let Some((&key, waiting)) = self.ready.range(LATE..).next() {
            let whole = waiting.load.map_or(0, |load| load.bytes);
            let more = whole.saturating_sub(waiting.task.memory());
            if self.kept.sum.saturating_add(more) > self.most {
                return;
            }
            if let Some(waiting) = self.take(key) {
                self.insert((Urgency { late: false, ..key.0 }, key.1), waiting);
            }
        }
    }

    /// Takes a job out, wherever it is.
    pub fn remove(&mut self, id: u64) -> Option<Waiting<T>> {
        let Some(&key) = self.keys.get(&id) else { return self.parked.remove(&id) };
        self.take(key)
    }

    /// Changes a job, wherever it is, and puts it where it belongs then. `None` if it is not here.
    pub fn change<R>(&mut self, id: u64, change: impl FnOnce(&mut Waiting<T>) -> R) -> Option<R> {
        let mut waiting = self.remove(id)?;
        let result = change(&mut waiting);
        self.add(waiting);
        Some(result)
    }

    pub fn get(&self, id: u64) -> Option<&Waiting<T>> {
        self.keys.get(&id).map_or_else(|| self.parked.get(&id), |key| self.ready.get(key))
    }

    /// The jobs that may run, in order.
    pub fn ready(&self) -> impl Iterator<Item = (Urgency, &Waiting<T>)> {
        self.ready.iter().map(|((urgency, _), waiting)| (*urgency, waiting))
    }

    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The numbers of selected jobs, in the order of submission.
    pub fn select(&self, which: impl Fn(u64, &T::Group) -> bool) -> BTreeSet<u64> {
        let all = self.ready.values().chain(self.parked.values());
        all.filter(|waiting| which(waiting.id, &waiting.group)).map(|waiting| waiting.id).collect()
    }

    /// How many may run, and how many are paused or held.
    pub fn counts(&self) -> (usize, usize) {
        (self.ready.len(), self.parked.len())
    }
}

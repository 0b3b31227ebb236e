//! Jobs that are not running, in the order in which they run: those that may run by level, priority and number; those
//! that are paused or held apart from them.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::{Load, Task};

/// What a job comes before another by, apart from its number.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Urgency {
    /// Levels reached; 0 for all jobs where levels do not count.
    pub rank: u32,
    /// The higher the sooner.
    pub priority: f32,
}

impl Ord for Urgency {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.cmp(&other.rank).then(other.priority.total_cmp(&self.priority))
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
pub(super) struct Line<T: Task> {
    /// Whether jobs with fewer levels come first.
    coarse_first: bool,
    /// The most memory that jobs keep while they wait.
    most: u64,
    ready: BTreeMap<Key, Waiting<T>>,
    /// Paused and held jobs.
    parked: BTreeMap<u64, Waiting<T>>,
    /// The keys of the ready jobs.
    keys: BTreeMap<u64, Key>,
    /// Ready jobs with memory, and how much all of them have.
    keeping: BTreeMap<Key, u64>,
    kept: u64,
}

impl<T: Task> Line<T> {
    pub fn new(coarse_first: bool, most: u64) -> Self {
        Self {
            coarse_first,
            most,
            ready: BTreeMap::new(),
            parked: BTreeMap::new(),
            keys: BTreeMap::new(),
            keeping: BTreeMap::new(),
            kept: 0,
        }
    }

    pub fn urgency(&self, rank: u32, priority: f32) -> Urgency {
        Urgency { rank: if self.coarse_first { rank } else { 0 }, priority }
    }

    /// Adds a job. One that may not run gives its memory up; of the others the last ones do when it is too much.
    pub fn add(&mut self, mut waiting: Waiting<T>) {
        if waiting.paused || waiting.task.is_held() {
            waiting.task.free_memory();
            self.parked.insert(waiting.id, waiting);
            return;
        }
        let key = (self.urgency(waiting.task.rank(), waiting.priority), waiting.id);
        self.keys.insert(waiting.id, key);
        self.keep(key, waiting.task.memory());
        self.ready.insert(key, waiting);
        self.free_beyond(self.most);
    }

    /// Frees the memory of the jobs that run last until the others have at most this much. Returns whether any did.
    pub fn free_beyond(&mut self, most: u64) -> bool {
        let before = self.kept;
        while self.kept > most
            && let Some((&key, _)) = self.keeping.last_key_value()
        {
            self.keep(key, 0);
            if let Some(waiting) = self.ready.get_mut(&key) {
                waiting.task.free_memory();
            }
        }
        self.kept < before
    }

    fn keep(&mut self, key: Key, bytes: u64) {
        let before = if bytes > 0 { self.keeping.insert(key, bytes) } else { self.keeping.remove(&key) };
        self.kept = self.kept.saturating_sub(before.unwrap_or(0)).saturating_add(bytes);
    }

    /// Takes a job out, wherever it is.
    pub fn remove(&mut self, id: u64) -> Option<Waiting<T>> {
        let Some(key) = self.keys.remove(&id) else { return self.parked.remove(&id) };
        self.keep(key, 0);
        self.ready.remove(&key)
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

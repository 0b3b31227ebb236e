//! The queue between the threads of a worker and its users: waiting jobs, running jobs, and events to be taken. One lock
//! and two condition variables; no thread spins.
//!
//! **Batches.** Tasks of one group that have a size run together on one thread: it takes the waiting ones when it starts,
//! and those that came since between two pieces of work, as far as there is room. Within a group the order is kept: a task
//! that does not fit yet is not overtaken by smaller ones. A thread takes no more tasks while one of another group waits
//! that no other thread will take, so its batch runs out and that task is next. A task without a size runs alone, on any
//! thread.
//!
//! Every submitted job ends with exactly one last event, whatever happens to it: `tests/worker_order.rs` explores the
//! interleavings of threads, submit, cancel and close with loom.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::support::sync::{Condvar, Mutex, MutexGuard, lock, wait};

/// A job, and the events about it.
pub(crate) trait Task: Sized {
    /// What tasks that can be batched or cancelled together have in common.
    type Group;
    /// Stops a running task.
    type Stop;
    type Event;

    fn same(one: &Self::Group, other: &Self::Group) -> bool;

    /// Its size in a batch; `None` if it runs alone.
    fn load(&self) -> Option<Load>;

    fn stop(stop: &Self::Stop);

    /// The last event of a task that is cancelled before it runs.
    fn cancelled(self, id: u64) -> Self::Event;

    /// The memory that an event holds, in bytes.
    fn bytes(event: &Self::Event) -> usize;
}

/// The size of a task, or the largest size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Load {
    pub pictures: u64,
    pub bytes: u64,
}

impl Load {
    fn and(self, other: Self) -> Self {
        Self { pictures: self.pictures.saturating_add(other.pictures), bytes: self.bytes.saturating_add(other.bytes) }
    }

    fn is_within(self, most: Self) -> bool {
        self.pictures <= most.pictures && self.bytes <= most.bytes
    }
}

/// What to do next, before a piece of work.
pub(crate) enum Ready<T> {
    /// These tasks were cancelled and are to be ended first.
    Cancelled(Vec<u64>),
    /// Go on, together with these tasks, which are running from now on.
    Go(Vec<(u64, T)>),
}

/// Receives events; must not unwind.
pub(crate) type Callback<E> = Arc<dyn Fn(E) + Send + Sync>;

struct Waiting<T: Task> {
    id: u64,
    group: T::Group,
    load: Option<Load>,
    task: T,
}

struct Running<T: Task> {
    id: u64,
    group: T::Group,
    load: Option<Load>,
    /// `None` until there is something to stop.
    stop: Option<T::Stop>,
    cancelled: bool,
}

struct State<T: Task> {
    /// The last ID that was assigned.
    submitted: u64,
    waiting: VecDeque<Waiting<T>>,
    running: Vec<Running<T>>,
    /// Oldest first, each with its bytes and whether it is the last of its job.
    events: VecDeque<(T::Event, usize, bool)>,
    /// Bytes of all events.
    held: usize,
    /// Jobs whose last event was not taken yet, or whose callback has not returned.
    pending: usize,
    callback: Option<Callback<T::Event>>,
    /// A thread is in the callback.
    delivering: bool,
    /// How often the callback has returned.
    delivered: u64,
    /// No more tasks are accepted.
    closed: bool,
    /// No callback is set or called any more.
    silent: bool,
}

pub(crate) struct Queue<T: Task> {
    state: Mutex<State<T>>,
    /// Wakes worker threads: a job, room for events, a callback, the end.
    work: Condvar,
    /// Wakes everyone else: an event, an ended job, a returned callback.
    news: Condvar,
    /// Jobs pause while events hold at least this many bytes.
    most: usize,
    /// The largest batch, unless a single task is larger.
    room: Load,
}

impl<T: Task> Queue<T> {
    pub fn new(most: usize, room: Load) -> Self {
        let state = State {
            submitted: 0,
            waiting: VecDeque::new(),
            running: Vec::new(),
            events: VecDeque::new(),
            held: 0,
            pending: 0,
            callback: None,
            delivering: false,
            delivered: 0,
            closed: false,
            silent: false,
        };
        Self { state: Mutex::new(state), work: Condvar::new(), news: Condvar::new(), most, room }
    }

    // --- For worker threads ---

    /// Waits for the next batch, whose tasks are running until their [`end`](Self::end). `None` when the queue is closed.
    pub fn next(&self) -> Option<Vec<(u64, T)>> {
        let mut state = lock(&self.state);
        loop {
            state = self.deliver(state);
            if let Some(at) = state.first_free() {
                let first = state.run(at);
                let id = first.0;
                let mut tasks = vec![first];
                // Tasks of other groups are skipped now, so that they wait for this batch only.
                state.join_with(id, &mut tasks, self.room, true);
                return Some(tasks);
            }
            if state.closed {
                return None;
            }
            state = wait(&self.work, state, None).0;
        }
    }

    /// Registers how to stop a running task; stops it at once if it was cancelled already.
    pub fn started(&self, id: u64, stop: T::Stop) {
        let mut state = lock(&self.state);
        let running = state.running(id);
        if running.cancelled {
            T::stop(&stop);
        }
        running.stop = Some(stop);
    }

    /// Called before each piece of work with all tasks of the thread: delivers events to the callback, and pauses while
    /// too many are waiting to be taken.
    pub fn ready(&self, ids: &[u64]) -> Ready<T> {
        let mut state = lock(&self.state);
        loop {
            state = self.deliver(state);
            let mine = state.running.iter().filter(|running| ids.contains(&running.id));
            let cancelled: Vec<u64> = mine.filter(|running| running.cancelled).map(|running| running.id).collect();
            if !cancelled.is_empty() {
                return Ready::Cancelled(cancelled);
            }
            if state.held < self.most {
                let mut joined = Vec::new();
                if let Some(&id) = ids.first() {
                    state.join_with(id, &mut joined, self.room, false);
                }
                return Ready::Go(joined);
            }
            state = wait(&self.work, state, None).0;
        }
    }

    /// Adds an event of a task that goes on.
    pub fn tell(&self, event: T::Event) {
        lock(&self.state).push(event, false);
        self.news.notify_all();
    }

    /// Ends a task with its last event.
    pub fn end(&self, id: u64, event: T::Event) {
        let mut state = lock(&self.state);
        state.running.retain(|running| running.id != id);
        state.push(event, true);
        let more = !state.waiting.is_empty();
        drop(state);
        self.news.notify_all();
        if more {
            // Another thread may now take tasks of its group that did not fit.
            self.work.notify_all();
        }
    }

    /// Delivers events to the callback, one after another. Only one thread does so at a time, to keep their order.
    fn deliver<'a>(&'a self, mut state: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        while !state.delivering
            && let Some(callback) = state.callback.clone()
            && let Some((event, last)) = self.pop(&mut state)
        {
            state.delivering = true;
            drop(state);
            callback(event);
            drop(callback);
            state = lock(&self.state);
            state.delivering = false;
            state.delivered = state.delivered.wrapping_add(1);
            state.pending -= usize::from(last);
            self.news.notify_all();
        }
        state
    }

    // --- For everyone else ---

    /// Appends a task and returns its ID; `None` if the queue is closed.
    #[allow(dead_code, reason = "the worker takes the task back; the tests of the queue do not")]
    pub fn submit(&self, group: T::Group, task: T) -> Option<u64> {
        self.try_submit(group, task).ok()
    }

    /// Appends a task and returns its ID; gives the task back if the queue is closed.
    pub fn try_submit(&self, group: T::Group, task: T) -> Result<u64, T> {
        let mut state = lock(&self.state);
        if state.closed {
            return Err(task);
        }
        state.submitted += 1;
        state.pending += 1;
        let id = state.submitted;
        let load = task.load();
        state.waiting.push_back(Waiting { id, group, load, task });
        drop(state);
        // All of them, because a single one may be a paused thread.
        self.work.notify_all();
        Ok(id)
    }

    /// Whether a task with this ID was ever submitted.
    pub fn knows(&self, id: u64) -> bool {
        (1..=lock(&self.state).submitted).contains(&id)
    }

    /// The number of jobs whose last event was not taken yet.
    pub fn pending(&self) -> usize {
        lock(&self.state).pending
    }

    /// Takes the oldest event, waiting for one until the deadline (without limit if `None`). While a callback is set it
    /// gets all events.
    pub fn take(&self, deadline: Option<Instant>) -> Option<T::Event> {
        let mut state = lock(&self.state);
        loop {
            if state.callback.is_none()
                && let Some((event, last)) = self.pop(&mut state)
            {
                state.pending -= usize::from(last);
                return Some(event);
            }
            let (next, left) = wait(&self.news, state, deadline);
            if !left {
                return None;
            }
            state = next;
        }
    }

    /// Cancels the selected tasks. Waiting tasks end here, running ones within a step.
    pub fn cancel(&self, which: impl Fn(u64, &T::Group) -> bool) {
        self.cancel_in(lock(&self.state), which);
    }

    fn cancel_in(&self, mut state: MutexGuard<'_, State<T>>, which: impl Fn(u64, &T::Group) -> bool) {
        let mut at = 0;
        while let Some(waiting) = state.waiting.get(at) {
            if !which(waiting.id, &waiting.group) {
                at += 1;
            } else if let Some(Waiting { id, task, .. }) = state.waiting.remove(at) {
                state.push(task.cancelled(id), true);
            }
        }
        for running in state.running.iter_mut().filter(|running| which(running.id, &running.group)) {
            running.cancelled = true;
            running.stop.iter().for_each(T::stop);
        }
        drop(state);
        self.work.notify_all();
        self.news.notify_all();
    }

    /// Waits until no selected task that was cancelled is running any more.
    #[cfg_attr(not(feature = "ffi"), allow(dead_code, reason = "only the C API waits, when it frees a model"))]
    pub fn settle(&self, which: impl Fn(&T::Group) -> bool) {
        let mut state = lock(&self.state);
        while state.running.iter().any(|running| running.cancelled && which(&running.group)) {
            state = wait(&self.news, state, None).0;
        }
    }

    /// Delivers events to `callback` from now on, including those that are waiting. With `settle` it returns after the
    /// previous callback has returned. After [`silence`](Self::silence) a callback is dropped instead.
    pub fn set_callback(&self, callback: Option<Callback<T::Event>>, settle: bool) {
        let mut state = lock(&self.state);
        if state.silent {
            drop(state);
            drop(callback);
            return;
        }
        let before = std::mem::replace(&mut state.callback, callback);
        self.work.notify_all();
        self.news.notify_all();
        let delivered = state.delivered;
        while settle && state.delivering && state.delivered == delivered {
            state = wait(&self.news, state, None).0;
        }
        drop(state);
        // Dropping what it owns may call back into the queue.
        drop(before);
    }

    /// Accepts no more tasks and cancels all. With `silent`, no callback is called any more.
    pub fn close(&self, silent: bool) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.silent |= silent;
        let before = if silent { state.callback.take() } else { None };
        self.cancel_in(state, |_, _| true);
        drop(before);
    }

    /// After a silent [`close`](Self::close): waits for a running callback until the deadline (without limit if `None`),
    /// and returns whether none is running.
    pub fn silence(&self, deadline: Option<Instant>) -> bool {
        let mut state = lock(&self.state);
        while state.delivering {
            let (next, left) = wait(&self.news, state, deadline);
            state = next;
            if !left {
                return !state.delivering;
            }
        }
        true
    }

    /// Drops the events that were not taken.
    pub fn clear(&self) {
        let mut state = lock(&self.state);
        let events = std::mem::take(&mut state.events);
        let callback = state.callback.take();
        state.held = 0;
        drop(state);
        drop((events, callback));
    }

    /// The oldest event, and whether it is the last of its job.
    fn pop(&self, state: &mut State<T>) -> Option<(T::Event, bool)> {
        let (event, bytes, last) = state.events.pop_front()?;
        let full = state.held >= self.most;
        state.held = state.held.saturating_sub(bytes);
        if full && state.held < self.most {
            self.work.notify_all();
        }
        Some((event, last))
    }
}

impl<T: Task> State<T> {
    /// Whether a thread runs a batch of this group.
    fn is_served(&self, group: &T::Group) -> bool {
        self.running.iter().any(|running| running.load.is_some() && T::same(&running.group, group))
    }

    /// The index of the first waiting task that no thread will take into its batch.
    fn first_free(&self) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.load.is_none() || !self.is_served(&waiting.group))
    }

    /// Moves the waiting task at this index to the running ones.
    fn run(&mut self, at: usize) -> (u64, T) {
        let Waiting { id, group, load, task } = self.waiting.remove(at).expect("the index is that of a waiting task");
        self.running.push(Running { id, group, load, stop: None, cancelled: false });
        (id, task)
    }

    /// Adds waiting tasks to the batch of a running one, as far as there is room. With `passing`, also those that wait
    /// behind a task of another group that no thread serves.
    fn join_with(&mut self, id: u64, tasks: &mut Vec<(u64, T)>, room: Load, passing: bool) {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            let with = self.running.iter().find(|running| running.id == id).expect("a task is running until it ends");
            if with.load.is_none() {
                return;
            }
            match waiting.load {
                Some(load) if T::same(&waiting.group, &with.group) => {
                    let together =
                        |running: &&Running<T>| running.load.is_some() && T::same(&running.group, &with.group);
                    let now = self.running.iter().filter(together).filter_map(|running| running.load);
                    if !now.fold(load, Load::and).is_within(room) {
                        return;
                    }
                    tasks.push(self.run(at));
                }
                Some(_) if self.is_served(&waiting.group) => at += 1,
                _ if passing => at += 1,
                _ => return,
            }
        }
    }

    fn running(&mut self, id: u64) -> &mut Running<T> {
        self.running.iter_mut().find(|running| running.id == id).expect("a task is running until it ends")
    }

    fn push(&mut self, event: T::Event, last: bool) {
        let bytes = T::bytes(&event);
        self.held = self.held.saturating_add(bytes);
        self.events.push_back((event, bytes, last));
    }
}

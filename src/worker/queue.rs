//! Where the threads of a worker and those who give it work meet: jobs that wait, jobs that run, events that wait to be
//! taken. One lock, two conditions; nobody spins.
//!
//! **Batches.** Tasks of one group that say how large they are are done together, by one thread: it takes those that wait
//! when it begins, and between two pieces of work those that came since, as far as there is room. In their group they keep
//! their order: one that does not fit yet is not overtaken by smaller ones. Nor does a thread take more while a task of
//! another group waits that no other thread will take: its batch runs out, and then it is that one's turn. A task without
//! a size is done alone, and any thread may do it.
//!
//! Every job that is submitted ends with exactly one last event, whatever happens to it: `tests/worker_order.rs` tries
//! the orders in which threads, submit, cancel and close can meet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::support::sync::{Condvar, Mutex, MutexGuard, lock, wait};

/// What is to be done, and what is told of it.
pub(crate) trait Task: Sized {
    /// What some tasks have in common, so that they can be cancelled together.
    type Group;
    /// Stops a task that runs.
    type Stop;
    type Event;

    fn same(one: &Self::Group, other: &Self::Group) -> bool;

    /// What it adds to a batch; None when it is done alone.
    fn load(&self) -> Option<Load>;

    fn stop(stop: &Self::Stop);

    /// The last event of a task that was cancelled before it ran.
    fn cancelled(self, id: u64) -> Self::Event;

    /// What an event holds in memory.
    fn bytes(event: &Self::Event) -> usize;
}

/// How large a task is, and how large a batch may become.
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

/// What comes before a piece of work.
pub(crate) enum Ready<T> {
    /// These of the tasks were cancelled: they are to be ended first.
    Cancelled(Vec<u64>),
    /// It may be done, together with these, which run from here on.
    Go(Vec<(u64, T)>),
}

/// Takes events; must not unwind.
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
    /// None until there is something to stop.
    stop: Option<T::Stop>,
    cancelled: bool,
}

struct State<T: Task> {
    /// The last id that was given.
    submitted: u64,
    waiting: VecDeque<Waiting<T>>,
    running: Vec<Running<T>>,
    /// Oldest first, each with its bytes, and whether it is the last of its job.
    events: VecDeque<(T::Event, usize, bool)>,
    /// Bytes of all events.
    held: usize,
    /// Jobs whose last event was not taken yet, or not by a callback that has returned.
    pending: usize,
    callback: Option<Callback<T::Event>>,
    /// A thread is in the callback.
    delivering: bool,
    /// How often the callback has returned.
    delivered: u64,
    closed: bool,
}

pub(crate) struct Queue<T: Task> {
    state: Mutex<State<T>>,
    /// For the threads that do the work: a job, room for events, a callback, the end.
    work: Condvar,
    /// For everyone else: an event, a job that ended, a callback that returned.
    news: Condvar,
    /// While events hold as many bytes, jobs pause.
    most: usize,
    /// No more than this is done together, unless a single task is larger.
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
        };
        Self { state: Mutex::new(state), work: Condvar::new(), news: Condvar::new(), most, room }
    }

    // --- For the threads that do the work ---

    /// The next tasks, which run from here on, each until its [`end`](Self::end): one, and those that are done together
    /// with it. None when there will be no more.
    pub fn next(&self) -> Option<Vec<(u64, T)>> {
        let mut state = lock(&self.state);
        loop {
            state = self.deliver(state);
            if let Some(at) = state.first_free() {
                let first = state.run(at);
                let id = first.0;
                let mut tasks = vec![first];
                // Those of other groups are passed over now, and so wait for this batch alone.
                state.join_with(id, &mut tasks, self.room, true);
                return Some(tasks);
            }
            if state.closed {
                return None;
            }
            state = wait(&self.work, state, None).0;
        }
    }

    /// From here on the task can be stopped while it runs; it is at once when it was cancelled before.
    pub fn started(&self, id: u64, stop: T::Stop) {
        let mut state = lock(&self.state);
        let running = state.running(id);
        if running.cancelled {
            T::stop(&stop);
        }
        running.stop = Some(stop);
    }

    /// To be called before each piece of work, with all tasks of the thread: hands events to the callback, and pauses while
    /// too many wait to be taken.
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

    /// Something happened to a task that goes on.
    pub fn tell(&self, event: T::Event) {
        lock(&self.state).push(event, false);
        self.news.notify_all();
    }

    /// The task ended, with its last event.
    pub fn end(&self, id: u64, event: T::Event) {
        let mut state = lock(&self.state);
        state.running.retain(|running| running.id != id);
        state.push(event, true);
        let more = !state.waiting.is_empty();
        drop(state);
        self.news.notify_all();
        if more {
            // Of its group another thread may take what did not fit.
            self.work.notify_all();
        }
    }

    /// Hands events to the callback, one after the other. Only one thread does at a time, so that they keep their order.
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
            state.delivered += 1;
            state.pending -= usize::from(last);
            self.news.notify_all();
        }
        state
    }

    // --- For everyone else ---

    /// Puts a task at the end; None when the queue is closed.
    pub fn submit(&self, group: T::Group, task: T) -> Option<u64> {
        let mut state = lock(&self.state);
        if state.closed {
            return None;
        }
        state.submitted += 1;
        state.pending += 1;
        let id = state.submitted;
        let load = task.load();
        state.waiting.push_back(Waiting { id, group, load, task });
        drop(state);
        // All: one alone may be a thread that pauses.
        self.work.notify_all();
        Some(id)
    }

    /// Whether a task of this id was ever submitted.
    pub fn knows(&self, id: u64) -> bool {
        (1..=lock(&self.state).submitted).contains(&id)
    }

    /// Jobs whose last event was not taken yet.
    pub fn pending(&self) -> usize {
        lock(&self.state).pending
    }

    /// The oldest event; when there is none, waits for one until the deadline (for ever without one). While there is a
    /// callback there is none for others.
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

    /// Cancels the tasks that are meant. Those that wait end here; those that run end within a step.
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

    /// Waits until none of the tasks that are meant, and were cancelled, runs any more.
    pub fn settle(&self, which: impl Fn(&T::Group) -> bool) {
        let mut state = lock(&self.state);
        while state.running.iter().any(|running| running.cancelled && which(&running.group)) {
            state = wait(&self.news, state, None).0;
        }
    }

    /// From now on events go to `callback`, also those that wait to be taken. With `settle` this returns when an earlier
    /// callback is not running any more.
    pub fn set_callback(&self, callback: Option<Callback<T::Event>>, settle: bool) {
        let mut state = lock(&self.state);
        let before = std::mem::replace(&mut state.callback, callback);
        self.work.notify_all();
        self.news.notify_all();
        let delivered = state.delivered;
        while settle && state.delivering && state.delivered == delivered {
            state = wait(&self.news, state, None).0;
        }
        drop(state);
        // What it owns may come back here when it is dropped.
        drop(before);
    }

    /// Takes no more, and cancels everything. `silent`: the callback hears nothing any more.
    pub fn close(&self, silent: bool) {
        let mut state = lock(&self.state);
        state.closed = true;
        let before = if silent { state.callback.take() } else { None };
        self.cancel_in(state, |_, _| true);
        drop(before);
    }

    /// Drops the events that nobody took.
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
    /// Whether a thread does tasks of this group together.
    fn is_served(&self, group: &T::Group) -> bool {
        self.running.iter().any(|running| running.load.is_some() && T::same(&running.group, group))
    }

    /// Where the first task waits that no thread will take into its batch.
    fn first_free(&self) -> Option<usize> {
        self.waiting.iter().position(|waiting| waiting.load.is_none() || !self.is_served(&waiting.group))
    }

    /// Lets the task that waits there run.
    fn run(&mut self, at: usize) -> (u64, T) {
        let Waiting { id, group, load, task } = self.waiting.remove(at).expect("it waits there");
        self.running.push(Running { id, group, load, stop: None, cancelled: false });
        (id, task)
    }

    /// Lets tasks that wait join one that runs, as far as there is room. `passing`: also such as wait behind one of another
    /// group that nobody serves.
    fn join_with(&mut self, id: u64, tasks: &mut Vec<(u64, T)>, room: Load, passing: bool) {
        let mut at = 0;
        while let Some(waiting) = self.waiting.get(at) {
            let with = self.running.iter().find(|running| running.id == id).expect("a task runs until it ends");
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
        self.running.iter_mut().find(|running| running.id == id).expect("a task runs until it ends")
    }

    fn push(&mut self, event: T::Event, last: bool) {
        let bytes = T::bytes(&event);
        self.held = self.held.saturating_add(bytes);
        self.events.push_back((event, bytes, last));
    }
}

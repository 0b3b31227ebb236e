//! Where the threads of a worker and those who give it work meet: jobs that wait, jobs that run, events that wait to be
//! taken. One lock, two conditions; nobody spins.
//!
//! Every job that is submitted ends with exactly one last event, whatever happens to it: `tests/worker_order.rs` tries
//! the orders in which threads, submit, cancel and close can meet.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use crate::sync::{Condvar, Mutex, MutexGuard, lock, wait};

/// What is to be done, and what is told of it.
pub(crate) trait Task: Sized {
    /// What some tasks have in common, so that they can be cancelled together.
    type Group;
    /// Stops a task that runs.
    type Stop;
    type Event;

    fn stop(stop: &Self::Stop);

    /// The last event of a task that was cancelled before it ran.
    fn cancelled(self, id: u64) -> Self::Event;

    /// What an event holds in memory.
    fn bytes(event: &Self::Event) -> usize;
}

/// Takes events; must not unwind.
pub(crate) type Callback<E> = Arc<dyn Fn(E) + Send + Sync>;

struct Waiting<T: Task> {
    id: u64,
    group: T::Group,
    task: T,
}

struct Running<T: Task> {
    id: u64,
    group: T::Group,
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
}

impl<T: Task> Queue<T> {
    pub fn new(most: usize) -> Self {
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
        Self { state: Mutex::new(state), work: Condvar::new(), news: Condvar::new(), most }
    }

    // --- For the threads that do the work ---

    /// The next task, which runs from here on, until [`end`](Self::end). None when there will be no more.
    pub fn next(&self) -> Option<(u64, T)> {
        let mut state = lock(&self.state);
        loop {
            state = self.deliver(state);
            if let Some(Waiting { id, group, task }) = state.waiting.pop_front() {
                state.running.push(Running { id, group, stop: None, cancelled: false });
                return Some((id, task));
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

    /// To be called before each piece of work: hands events to the callback, and pauses while too many wait to be taken.
    /// False when the task was cancelled.
    pub fn ready(&self, id: u64) -> bool {
        let mut state = lock(&self.state);
        loop {
            state = self.deliver(state);
            if state.running(id).cancelled {
                return false;
            }
            if state.held < self.most {
                return true;
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
        drop(state);
        self.news.notify_all();
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
        state.waiting.push_back(Waiting { id, group, task });
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
    fn running(&mut self, id: u64) -> &mut Running<T> {
        self.running.iter_mut().find(|running| running.id == id).expect("a task runs until it ends")
    }

    fn push(&mut self, event: T::Event, last: bool) {
        let bytes = T::bytes(&event);
        self.held = self.held.saturating_add(bytes);
        self.events.push_back((event, bytes, last));
    }
}

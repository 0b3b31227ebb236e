//! The queue between the threads of a worker and its users: waiting jobs, running jobs, and events to be taken. One lock
//! and two condition variables; no thread spins.
//!
//! **Order.** Waiting tasks are ordered by levels reached (where that counts), then priority, then number; one whose memory
//! was packed or freed comes after all others until there is room for it; see `order`. A running task goes back among them
//! when it is paused or held, when another of higher urgency needs its place in the batch, and after each unit of work of a
//! queue that is driven.
//!
//! **Batches.** Tasks of one group that have a size run together on one thread: it takes the waiting ones when it starts,
//! and those that came since between two pieces of work, as far as there is room. Within a group the order is kept: a task
//! that does not fit yet is not overtaken by smaller ones. A thread takes no more tasks while one of another group waits
//! that no other thread will take, so its batch runs out and that task is next. A task without a size runs alone, on any
//! thread.
//!
//! Every submitted job ends with exactly one last event, whatever happens to it: `tests/worker_order.rs` explores the
//! interleavings of threads, submit, cancel and close with loom.

mod order;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use self::order::{Line, Waiting};
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

    /// Levels that it has reached.
    fn rank(&self) -> u32 {
        0
    }

    /// Its first priority.
    fn priority(&self) -> f32 {
        0.0
    }

    /// Whether it waits to be continued, after it has reached its target.
    fn is_held(&self) -> bool {
        false
    }

    /// Changes its target; no effect if it has passed it. It is not held any more.
    fn retarget(&mut self, _tokens: usize) {}

    /// The memory that it keeps while it does not run, in bytes.
    fn memory(&self) -> u64 {
        0
    }

    /// Reduces its memory to what it needs while it waits.
    fn pack_memory(&mut self) {}

    /// Frees its memory.
    fn free_memory(&mut self) {}
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
    /// These tasks are to be put back first.
    Leave(Vec<u64>),
    /// These tasks have new targets, which they are to be given first.
    Retarget(Vec<(u64, usize)>),
    /// Go on, together with these tasks, which are running from now on.
    Go(Vec<(u64, T)>),
}

/// Receives events; must not unwind.
pub(crate) type Callback<E> = Arc<dyn Fn(E) + Send + Sync>;

struct Running<T: Task> {
    id: u64,
    group: T::Group,
    load: Option<Load>,
    priority: f32,
    rank: u32,
    /// `None` until there is something to stop.
    stop: Option<T::Stop>,
    cancelled: bool,
    paused: bool,
    /// A new target, which it was not given yet.
    target: Option<usize>,
}

struct State<T: Task> {
    /// The last ID that was assigned.
    submitted: u64,
    waiting: Line<T>,
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
    /// A queue in the order of priority and submission, of tasks that keep their memory while they wait.
    #[allow(dead_code, reason = "the worker chooses the order; the tests of the queue do not")]
    pub fn new(most: usize, room: Load) -> Self {
        Self::ordered(most, room, false, u64::MAX)
    }

    /// A queue whose order is by level first with `coarse_first`. Waiting tasks keep `kept` bytes of memory at most.
    pub fn ordered(most: usize, room: Load, coarse_first: bool, kept: u64) -> Self {
        let state = State {
            submitted: 0,
            waiting: Line::new(coarse_first, kept),
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
            state.waiting.admit_late();
            if let Some(id) = state.first_free() {
                let first = state.run(id);
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
            state.waiting.admit_late();
            if let Some(first) = state.changed(ids, self.room) {
                return first;
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

    /// Tells how many levels a running task has reached.
    pub fn reached(&self, id: u64, rank: u32) {
        lock(&self.state).running(id).rank = rank;
    }

    /// Puts a running task back: it waits for its turn, is paused or held, or ends because it was cancelled.
    pub fn put_back(&self, id: u64, mut task: T) {
        let mut state = lock(&self.state);
        let at = state.running.iter().position(|running| running.id == id).expect("a task is running until it ends");
        let Running { group, load, priority, cancelled, paused, target, .. } = state.running.swap_remove(at);
        if let Some(tokens) = target {
            task.retarget(tokens);
        }
        if cancelled {
            state.push(task.cancelled(id), true);
        } else {
            state.waiting.add(Waiting { id, group, load, priority, paused, task });
        }
        drop(state);
        self.work.notify_all();
        self.news.notify_all();
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
        let more = state.waiting.has_ready();
        drop(state);
        self.news.notify_all();
        if more {
            // Another thread may now take tasks of its group that did not fit.
            self.work.notify_all();
        }
    }

    /// Takes the next tasks to work on, which are running until their [`end`](Self::end) or
    /// [`put_back`](Self::put_back): the first one, and behind it those of its group that `joins` it, as many as `room`
    /// says. `None` if there is none, or too many events wait to be taken.
    #[allow(dead_code, reason = "a driven worker does, and not every test of the queue")]
    pub fn take_unit(&self, room: impl Fn(&T) -> u64, joins: impl Fn(&T, &T) -> bool) -> Option<Vec<(u64, T)>> {
        let mut state = self.deliver(lock(&self.state));
        if state.held >= self.most {
            return None;
        }
        state.waiting.admit_late();
        let ids = state.unit(self.room, room, joins)?;
        Some(ids.into_iter().map(|id| state.run(id)).collect())
    }

    /// Delivers the events that wait to the callback.
    #[allow(dead_code, reason = "a driven worker does, and not every test of the queue")]
    pub fn deliver_all(&self) {
        drop(self.deliver(lock(&self.state)));
    }

    /// Whether so many events wait that no task runs.
    #[allow(dead_code, reason = "a driven worker asks, and not every test of the queue")]
    pub fn is_full(&self) -> bool {
        lock(&self.state).held >= self.most
    }

    /// Frees the memory of waiting tasks. Returns whether any had some.
    #[allow(dead_code, reason = "a driven worker does, and not every test of the queue")]
    pub fn free_memory(&self) -> bool {
        lock(&self.state).waiting.free_all()
    }

    /// How many tasks may run, and how many are paused or held.
    #[allow(dead_code, reason = "a driven worker does, and not every test of the queue")]
    pub fn counts(&self) -> (usize, usize) {
        lock(&self.state).waiting.counts()
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
        let priority = task.priority();
        state.waiting.add(Waiting { id, group, load, priority, paused: false, task });
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
        for id in state.waiting.select(&which) {
            if let Some(waiting) = state.waiting.remove(id) {
                state.push(waiting.task.cancelled(id), true);
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

    /// Changes the priority of a task that has not ended.
    pub fn set_priority(&self, id: u64, priority: f32) {
        let mut state = lock(&self.state);
        if state.waiting.change(id, |waiting| waiting.priority = priority).is_none()
            && let Some(running) = state.running.iter_mut().find(|running| running.id == id)
        {
            running.priority = priority;
        }
        drop(state);
        self.work.notify_all();
    }

    /// Pauses or resumes a task that has not ended.
    pub fn set_paused(&self, id: u64, paused: bool) {
        let mut state = lock(&self.state);
        if state.waiting.change(id, |waiting| waiting.paused = paused).is_none()
            && let Some(running) = state.running.iter_mut().find(|running| running.id == id)
        {
            running.paused = paused;
        }
        drop(state);
        self.work.notify_all();
    }

    /// Changes the target of a task that has not ended; `tokens` tells it for its group. A held task goes on.
    pub fn retarget<E>(&self, id: u64, tokens: impl FnOnce(&T::Group) -> Result<usize, E>) -> Result<(), E> {
        let mut state = lock(&self.state);
        if let Some(waiting) = state.waiting.get(id) {
            let tokens = tokens(&waiting.group)?;
            state.waiting.change(id, |waiting| waiting.task.retarget(tokens));
        } else if let Some(running) = state.running.iter_mut().find(|running| running.id == id) {
            running.target = Some(tokens(&running.group)?);
        }
        drop(state);
        self.work.notify_all();
        Ok(())
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

    /// The first waiting task that no thread will take into its batch.
    fn first_free(&self) -> Option<u64> {
        let free = |waiting: &&Waiting<T>| waiting.load.is_none() || !self.is_served(&waiting.group);
        self.waiting.ready().map(|(_, waiting)| waiting).find(free).map(|waiting| waiting.id)
    }

    /// The first waiting task, and those behind it that join it.
    fn unit(&self, most: Load, room: impl Fn(&T) -> u64, joins: impl Fn(&T, &T) -> bool) -> Option<Vec<u64>> {
        /// Tasks behind the first one that are looked at.
        const MOST: usize = 256;
        let mut ready = self.waiting.ready();
        let (_, first) = ready.next()?;
        // For more late ones there is no memory.
        let ready = ready.take_while(|(urgency, _)| !urgency.late).map(|(_, waiting)| waiting);
        let mut ids = vec![first.id];
        if let Some(mut load) = first.load {
            let room = Load { pictures: room(&first.task), ..most };
            for other in ready.take(MOST).filter(|other| T::same(&other.group, &first.group)) {
                let Some(sum) = other.load.map(|other| load.and(other)) else { continue };
                if !sum.is_within(room) {
                    break;
                }
                if !joins(&first.task, &other.task) {
                    continue;
                }
                load = sum;
                ids.push(other.id);
            }
        }
        Some(ids)
    }

    /// Moves a waiting task to the running ones.
    fn run(&mut self, id: u64) -> (u64, T) {
        let waiting = self.waiting.remove(id).expect("it is waiting");
        let Waiting { group, load, priority, paused, task, .. } = waiting;
        let rank = task.rank();
        let running = Running { id, group, load, priority, rank, stop: None, cancelled: false, paused, target: None };
        self.running.push(running);
        (id, task)
    }

    /// What is to be done with running tasks before they go on.
    fn changed(&mut self, ids: &[u64], room: Load) -> Option<Ready<T>> {
        let mine = || self.running.iter().filter(|running| ids.contains(&running.id));
        let those = |which: fn(&Running<T>) -> bool| {
            let ids: Vec<u64> = mine().filter(|running| which(running)).map(|running| running.id).collect();
            (!ids.is_empty()).then_some(ids)
        };
        if let Some(cancelled) = those(|running| running.cancelled) {
            return Some(Ready::Cancelled(cancelled));
        }
        if let Some(paused) = those(|running| running.paused) {
            return Some(Ready::Leave(paused));
        }
        let mine = self.running.iter_mut().filter(|running| ids.contains(&running.id));
        let targets: Vec<_> = mine.filter_map(|running| Some((running.id, running.target.take()?))).collect();
        if !targets.is_empty() {
            return Some(Ready::Retarget(targets));
        }
        let preempted = self.preempted(ids, room);
        (!preempted.is_empty()).then_some(Ready::Leave(preempted))
    }

    /// Those of the running tasks of one batch that make room for a waiting one of higher level or priority: the last one
    /// if it is of their group and does not fit, all if it is of a group that no thread serves.
    fn preempted(&self, ids: &[u64], room: Load) -> Vec<u64> {
        let mine = || self.running.iter().filter(|running| ids.contains(&running.id));
        let urgency = |running: &Running<T>| self.waiting.urgency(running.rank, running.priority);
        let Some(worst) = mine().max_by_key(|running| (urgency(running), running.id)) else { return Vec::new() };
        let best = mine().map(urgency).min().unwrap_or_else(|| urgency(worst));
        for (its, waiting) in self.waiting.ready().take_while(|(its, _)| *its < urgency(worst)) {
            match (waiting.load, worst.load) {
                (Some(load), Some(_)) if T::same(&waiting.group, &worst.group) => {
                    let now = mine().filter_map(|running| running.load);
                    return if now.fold(load, Load::and).is_within(room) { Vec::new() } else { vec![worst.id] };
                }
                (Some(_), _) if self.is_served(&waiting.group) => {}
                _ if its < best => return mine().map(|running| running.id).collect(),
                _ => return Vec::new(),
            }
        }
        Vec::new()
    }

    /// Adds waiting tasks to the batch of a running one, as far as there is room. With `passing`, also those that wait
    /// behind a task of another group that no thread serves.
    fn join_with(&mut self, id: u64, tasks: &mut Vec<(u64, T)>, room: Load, passing: bool) {
        let with = self.running.iter().find(|running| running.id == id).expect("a task is running until it ends");
        if with.load.is_none() {
            return;
        }
        let together = self.running.iter().filter(|running| T::same(&running.group, &with.group));
        let mut sum = together.filter_map(|running| running.load).fold(Load { pictures: 0, bytes: 0 }, Load::and);
        let mut ids = Vec::new();
        for (_, waiting) in self.waiting.ready() {
            match waiting.load {
                Some(load) if T::same(&waiting.group, &with.group) => {
                    let more = sum.and(load);
                    if !more.is_within(room) {
                        break;
                    }
                    sum = more;
                    ids.push(waiting.id);
                }
                Some(_) if self.is_served(&waiting.group) => {}
                _ if passing => {}
                _ => break,
            }
        }
        tasks.extend(ids.into_iter().map(|id| self.run(id)));
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

//! Interleavings of a worker's threads with submit, cancel, take and close: a model check of `src/worker/queue`,
//! whose lock and conditions are replaced by loom's. A lost wake-up or cancel shows as a deadlock or an endless run.

#[path = "../src/worker/queue/mod.rs"]
#[allow(dead_code, reason = "the worker uses the rest")]
mod queue;

/// What `src/support/sync.rs` is to the library. Time is up as soon as anyone asks.
mod support {
    pub(crate) mod sync {
        use std::time::Instant;

        pub(crate) use loom::sync::{Condvar, Mutex, MutexGuard};

        pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
            mutex.lock().unwrap()
        }

        pub(crate) fn wait<'a, T>(
            condvar: &Condvar,
            guard: MutexGuard<'a, T>,
            deadline: Option<Instant>,
        ) -> (MutexGuard<'a, T>, bool) {
            if deadline.is_some() { (guard, false) } else { (condvar.wait(guard).unwrap(), true) }
        }
    }
}

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool as Plain, AtomicUsize, Ordering::SeqCst};
use std::time::Instant;

use loom::sync::Arc;
use loom::sync::atomic::AtomicBool;
use loom::thread::{self, JoinHandle};
use queue::{Load, Queue, Ready, Task};

/// What a job does.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    /// Tells of one level and is done.
    Short,
    /// Only a stop ends it.
    Endless,
}

struct Job {
    kind: Kind,
    /// How many pictures; None is drawn alone.
    size: Option<u64>,
    working: std::sync::Arc<Plain>,
}

fn job(kind: Kind) -> Job {
    Job { kind, size: None, working: std::sync::Arc::default() }
}

/// One that is drawn together with others of its group.
fn sized(kind: Kind, size: u64) -> Job {
    Job { size: Some(size), ..job(kind) }
}

/// Two pictures at a time.
const ROOM: Load = Load { pictures: 2, bytes: 1 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Level,
    Done,
    Cancelled,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Event {
    id: u64,
    what: What,
}

impl Task for Job {
    type Group = &'static str;
    type Stop = Arc<AtomicBool>;
    type Event = Event;

    fn same(one: &&'static str, other: &&'static str) -> bool {
        one == other
    }

    fn load(&self) -> Option<Load> {
        self.size.map(|pictures| Load { pictures, bytes: 0 })
    }

    fn stop(stop: &Arc<AtomicBool>) {
        stop.store(true, SeqCst);
    }

    fn cancelled(self, id: u64) -> Event {
        Event { id, what: What::Cancelled }
    }

    fn bytes(_: &Event) -> usize {
        1
    }
}

type Shared = Arc<Queue<Job>>;

/// A job that is drawn: its first step tells of a level, its second ends it.
struct Course {
    id: u64,
    job: Job,
    stop: Option<Arc<AtomicBool>>,
    steps: usize,
}

/// As `src/worker/batch.rs` does it; `registers` is what it must not forget. Gives the jobs that were stepped together,
/// each time.
fn work(queue: &Queue<Job>, registers: bool) -> Vec<Vec<u64>> {
    let mut batch: Vec<Course> = Vec::new();
    let mut together = Vec::new();
    let course = |(id, job)| Course { id, job, stop: None, steps: 0 };
    loop {
        if batch.is_empty() {
            let Some(jobs) = queue.next() else { return together };
            batch.extend(jobs.into_iter().map(course));
        }
        let ids: Vec<u64> = batch.iter().map(|course| course.id).collect();
        let mut ends = Vec::new();
        match queue.ready(&ids) {
            Ready::Cancelled(ids) => ends.extend(ids.into_iter().map(|id| (id, What::Cancelled))),
            Ready::Leave(ids) => {
                for id in ids {
                    let at = batch.iter().position(|course| course.id == id).unwrap();
                    let course = batch.remove(at);
                    course.job.working.store(false, SeqCst);
                    queue.put_back(id, course.job);
                }
                continue;
            }
            Ready::Retarget(_) => continue,
            Ready::Go(jobs) => {
                batch.extend(jobs.into_iter().map(course));
                for course in batch.iter_mut().filter(|course| course.stop.is_none()) {
                    let stop = Arc::new(AtomicBool::new(false));
                    if registers {
                        queue.started(course.id, stop.clone());
                    }
                    course.stop = Some(stop);
                    course.job.working.store(true, SeqCst);
                }
                together.push(batch.iter().map(|course| course.id).collect());
                for course in &mut batch {
                    let stop = course.stop.as_ref().unwrap();
                    while course.job.kind == Kind::Endless && !stop.load(SeqCst) {
                        thread::yield_now();
                    }
                    course.steps += 1;
                    if stop.load(SeqCst) {
                        ends.push((course.id, What::Cancelled));
                    } else if course.steps == 1 {
                        queue.tell(Event { id: course.id, what: What::Level });
                    } else {
                        ends.push((course.id, What::Done));
                    }
                }
            }
        }
        for (id, what) in ends {
            let at = batch.iter().position(|course| course.id == id).unwrap();
            batch.remove(at).job.working.store(false, SeqCst);
            queue.end(id, Event { id, what });
        }
    }
}

fn worker(queue: &Shared) -> JoinHandle<Vec<Vec<u64>>> {
    let queue = queue.clone();
    thread::spawn(move || work(&queue, true))
}

/// Takes until `lasts` jobs have ended.
fn take(queue: &Queue<Job>, lasts: usize) -> Vec<Event> {
    let mut events = Vec::new();
    while events.iter().filter(|event: &&Event| event.what != What::Level).count() < lasts {
        events.push(queue.take(None).expect("it waits for ever"));
    }
    events
}

/// One last event for each job, and nothing after it.
fn check(events: &[Event], jobs: &[u64]) {
    let mut ended = BTreeSet::new();
    for event in events {
        assert!(jobs.contains(&event.id) && !ended.contains(&event.id), "{events:?}");
        if event.what != What::Level {
            ended.insert(event.id);
        }
    }
    assert_eq!(ended.len(), jobs.len(), "{events:?}");
}

/// Every order in which no thread is interrupted more than `most` times by the others.
fn explore(most: usize, body: impl Fn() + Send + Sync + 'static) -> usize {
    let orders = std::sync::Arc::new(AtomicUsize::new(0));
    let count = orders.clone();
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(most);
    builder.check(move || {
        count.fetch_add(1, SeqCst);
        body();
    });
    let orders = orders.load(SeqCst);
    println!("{orders} orders");
    orders
}

/// The ways in which a job ended, over all orders.
fn ends(most: usize, kind: Kind) -> BTreeSet<Vec<Event>> {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let all = seen.clone();
    explore(most, move || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let id = queue.submit("a", job(kind)).unwrap();
        let working = worker(&queue);
        let canceller = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.cancel(|_, _| false); // Wakes all for nothing.
                queue.cancel(|other, _| other == id);
            })
        };
        let events = take(&queue, 1);
        check(&events, &[id]);
        assert_eq!(queue.pending(), 0);
        canceller.join().unwrap();
        queue.close(false);
        assert!(queue.submit("a", job(kind)).is_none());
        working.join().unwrap();
        assert_eq!(queue.take(Some(Instant::now())), None);
        seen.lock().unwrap().insert(events);
    });
    all.lock().unwrap().clone()
}

#[test]
fn cancel_ends_a_job_once_in_every_state() {
    let event = |what| Event { id: 1, what };
    let seen = ends(3, Kind::Short);
    let wanted = [vec![What::Cancelled], vec![What::Level, What::Done], vec![What::Level, What::Cancelled]];
    assert_eq!(seen, wanted.into_iter().map(|whats| whats.into_iter().map(event).collect()).collect());
    // Were a stop lost, it would never end.
    assert_eq!(ends(3, Kind::Endless), BTreeSet::from([vec![event(What::Cancelled)]]));
}

#[test]
#[should_panic(expected = "Model exceeded maximum number of branches")]
fn job_without_stop_signal_is_detected() {
    explore(3, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let id = queue.submit("a", job(Kind::Endless)).unwrap();
        let canceller = {
            let queue = queue.clone();
            thread::spawn(move || queue.cancel(|other, _| other == id))
        };
        work(&queue, false);
        canceller.join().unwrap();
    });
}

#[test]
fn close_ends_every_job_and_thread() {
    explore(2, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let threads = [worker(&queue), worker(&queue)];
        let ids = [queue.submit("a", job(Kind::Endless)).unwrap(), queue.submit("b", job(Kind::Short)).unwrap()];
        queue.close(false);
        for thread in threads {
            thread.join().unwrap();
        }
        check(&take(&queue, 2), &ids);
        assert_eq!(queue.pending(), 0);
    });
}

/// After a silent close no callback begins, whenever it comes; and once it says that none is running, none is.
#[test]
fn silent_close_lets_no_callback_begin_afterwards() {
    explore(3, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let [inside, closed] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
        let (within, silent) = (inside.clone(), closed.clone());
        let callback = move |_: Event| {
            within.store(true, SeqCst);
            assert!(!silent.load(SeqCst), "a callback after the end");
            thread::yield_now();
            within.store(false, SeqCst);
        };
        queue.set_callback(Some(std::sync::Arc::new(callback)), false);
        let id = queue.submit("a", job(Kind::Short)).unwrap();
        let working = worker(&queue);
        queue.close(true);
        // Time is up as soon as it asks; asked again without a limit, it waits.
        if queue.silence(Some(Instant::now())) {
            assert!(!inside.load(SeqCst));
        }
        assert!(queue.silence(None) && !inside.load(SeqCst));
        closed.store(true, SeqCst);
        queue.set_callback(Some(std::sync::Arc::new(|_| panic!("a callback that was set after the end"))), true);
        assert!(queue.silence(None) && queue.submit("a", job(Kind::Short)).is_none());
        working.join().unwrap();
        // What was not delivered waits to be taken.
        while queue.pending() > 0 {
            assert_eq!(queue.take(Some(Instant::now())).unwrap().id, id);
        }
    });
}

#[test]
fn waiters_are_woken() {
    explore(2, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let takers = [(); 2].map(|()| {
            let queue = queue.clone();
            thread::spawn(move || queue.take(None).expect("it waits for ever"))
        });
        let working = worker(&queue);
        let id = queue.submit("a", job(Kind::Short)).unwrap();
        let mut events = takers.map(|taker| taker.join().unwrap());
        events.sort();
        assert_eq!(events, [Event { id, what: What::Level }, Event { id, what: What::Done }]);
        queue.close(false);
        working.join().unwrap();
    });
}

#[test]
fn job_pauses_while_events_wait_and_resumes() {
    let paused = std::sync::Arc::new(Plain::new(false));
    let seen = paused.clone();
    explore(3, move || {
        let queue: Shared = Arc::new(Queue::new(1, ROOM));
        let ids = [queue.submit("a", job(Kind::Short)).unwrap(), queue.submit("a", job(Kind::Short)).unwrap()];
        let working = worker(&queue);
        let first = queue.take(None).unwrap();
        assert_eq!(first, Event { id: ids[0], what: What::Level });
        paused.fetch_or(queue.pending() == 2, SeqCst);
        // One more for the first job, then two of the second: in order, and each only after there was room.
        check(&take(&queue, 2), &ids);
        queue.close(false);
        working.join().unwrap();
    });
    assert!(seen.load(SeqCst));
}

#[test]
fn cancel_wakes_a_paused_job() {
    explore(3, || {
        let queue: Shared = Arc::new(Queue::new(1, ROOM));
        // The event of the first fills the queue, and nobody takes it.
        let first = queue.submit("a", job(Kind::Short)).unwrap();
        let second = queue.submit("b", job(Kind::Endless)).unwrap();
        queue.cancel(|id, _| id == first);
        let working = worker(&queue);
        queue.cancel(|id, _| id == second);
        queue.settle(|_| true);
        let wanted = [first, second].map(|id| Event { id, what: What::Cancelled });
        assert_eq!(take(&queue, 2), wanted);
        queue.close(false);
        working.join().unwrap();
    });
}

#[test]
fn settled_job_does_no_more_work() {
    explore(3, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let mine = job(Kind::Endless);
        let flag = mine.working.clone();
        let id = queue.submit("mine", mine).unwrap();
        let working = worker(&queue);
        queue.cancel(|_, group| *group == "mine");
        queue.settle(|group| *group == "mine");
        assert!(!flag.load(SeqCst));
        assert_eq!(queue.take(Some(Instant::now())), Some(Event { id, what: What::Cancelled }), "it is told by then");
        queue.close(false);
        working.join().unwrap();
    });
}

/// Notes what it is given, and that nobody else is inside.
fn noting(inside: &std::sync::Arc<Plain>) -> (queue::Callback<Event>, std::sync::Arc<std::sync::Mutex<Vec<Event>>>) {
    let events = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let (inside, noted) = (inside.clone(), events.clone());
    let callback = move |event| {
        assert!(!inside.swap(true, SeqCst), "two threads at once");
        noted.lock().unwrap().push(event);
        thread::yield_now();
        inside.store(false, SeqCst);
    };
    (std::sync::Arc::new(callback), events)
}

#[test]
fn callback_gets_every_event_before_the_end() {
    explore(2, || {
        let queue: Shared = Arc::new(Queue::new(1, ROOM));
        let inside = std::sync::Arc::default();
        let (callback, events) = noting(&inside);
        let threads = [worker(&queue), worker(&queue)];
        let ids = [queue.submit("a", job(Kind::Short)).unwrap(), queue.submit("b", job(Kind::Short)).unwrap()];
        queue.set_callback(Some(callback), true);
        queue.close(false);
        for thread in threads {
            thread.join().unwrap();
        }
        check(&events.lock().unwrap(), &ids);
        assert_eq!(queue.pending(), 0);
    });
}

#[test]
fn replaced_callback_does_not_run_again() {
    explore(3, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let inside: std::sync::Arc<Plain> = std::sync::Arc::default();
        let (callback, first) = noting(&inside);
        queue.set_callback(Some(callback), true);
        let working = worker(&queue);
        let id = queue.submit("a", job(Kind::Short)).unwrap();
        queue.set_callback(None, true);
        assert!(!inside.load(SeqCst));
        let heard = first.lock().unwrap().clone();
        let mut events = heard.clone();
        if !heard.iter().any(|event| event.what == What::Done) {
            events.extend(take(&queue, 1));
        }
        assert_eq!(*first.lock().unwrap(), heard);
        assert_eq!(events, [What::Level, What::Done].map(|what| Event { id, what }));
        queue.close(true);
        working.join().unwrap();
    });
}

/// What one thread steps together of jobs of these groups and sizes that wait when it begins; in every order the same.
fn batches(jobs: &'static [(&'static str, Option<u64>)]) -> Vec<Vec<u64>> {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let all = seen.clone();
    explore(1, move || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let submit = |&(group, size): &(&'static str, Option<u64>)| {
            queue.submit(group, Job { size, ..job(Kind::Short) }).unwrap()
        };
        let ids: Vec<u64> = jobs.iter().map(submit).collect();
        let working = worker(&queue);
        check(&take(&queue, ids.len()), &ids);
        queue.close(false);
        let together = working.join().unwrap();
        all.lock().unwrap().insert(together);
    });
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 1, "{seen:?}");
    seen.first().unwrap().clone()
}

#[test]
fn batches_hold_one_group_and_starve_no_job() {
    const ONE: Option<u64> = Some(1);
    // Two at a time; who is done makes room.
    assert_eq!(batches(&[("a", ONE), ("a", ONE), ("a", ONE)]), [vec![1, 2], vec![1, 2], vec![3], vec![3]]);
    // One that is too large for any batch is done by itself, and not overtaken by those behind it.
    let wanted = [vec![1], vec![1], vec![2], vec![2], vec![3], vec![3]];
    assert_eq!(batches(&[("a", ONE), ("a", Some(9)), ("a", ONE)]), wanted);
    // What begins takes its like from behind others, but only when it begins.
    let wanted = [vec![1, 3], vec![1, 3], vec![2], vec![2], vec![4], vec![4]];
    assert_eq!(batches(&[("a", ONE), ("b", ONE), ("a", ONE), ("a", ONE)]), wanted);
    // Those without a size are done alone.
    let wanted = [vec![1], vec![1], vec![2, 3], vec![2, 3]];
    assert_eq!(batches(&[("a", None), ("a", ONE), ("a", ONE)]), wanted);
}

#[test]
fn jobs_join_and_leave_and_cancel_affects_its_own_only() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(BTreeSet::new()));
    let all = seen.clone();
    explore(2, move || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let working = worker(&queue);
        let ids = [
            queue.submit("a", sized(Kind::Short, 1)).unwrap(),
            queue.submit("a", sized(Kind::Endless, 1)).unwrap(),
            queue.submit("a", sized(Kind::Short, 1)).unwrap(),
        ];
        queue.cancel(|id, _| id == ids[1]);
        let events = take(&queue, 3);
        check(&events, &ids);
        let ended = |id, what| events.contains(&Event { id, what });
        assert!(ended(ids[0], What::Done) && ended(ids[1], What::Cancelled) && ended(ids[2], What::Done));
        queue.close(false);
        let together = working.join().unwrap();
        assert!(together.iter().all(|ids| ids.len() <= 2 && ids.is_sorted()));
        all.lock().unwrap().extend(together);
    });
    let seen = seen.lock().unwrap();
    for together in [vec![1], vec![1, 2], vec![1, 3], vec![2, 3], vec![3]] {
        assert!(seen.contains(&together), "{together:?} of {seen:?}");
    }
}

#[test]
fn group_runs_on_one_thread_and_others_serve_other_groups() {
    explore(2, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let threads = [worker(&queue), worker(&queue)];
        let ids = [
            queue.submit("a", sized(Kind::Endless, 2)).unwrap(),
            queue.submit("a", sized(Kind::Short, 1)).unwrap(),
            queue.submit("b", sized(Kind::Short, 1)).unwrap(),
        ];
        // The second waits for the first, the third for nobody.
        let events = take(&queue, 1);
        check(&events, &ids[2..]);
        queue.cancel(|id, _| id == ids[0]);
        check(&take(&queue, 2), &ids[..2]);
        queue.close(false);
        for thread in threads {
            thread.join().unwrap();
        }
    });
}

/// A pause, a resume and a cancel from another thread at any moment: nothing is lost, and the job ends once.
#[test]
fn paused_job_goes_on_or_ends_once() {
    explore(2, || {
        let queue: Shared = Arc::new(Queue::new(usize::MAX, ROOM));
        let id = queue.submit("a", sized(Kind::Short, 1)).unwrap();
        let working = worker(&queue);
        let other = {
            let queue = queue.clone();
            thread::spawn(move || {
                queue.set_paused(id, true);
                queue.set_priority(id, 2.0);
                queue.set_paused(id, false);
            })
        };
        let events = take(&queue, 1);
        assert_eq!(events.last().map(|event| event.what), Some(What::Done));
        other.join().unwrap();
        assert_eq!((queue.pending(), queue.counts()), (0, (0, 0)));
        queue.close(false);
        working.join().unwrap();
    });
}

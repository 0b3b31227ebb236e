//! Workers without threads: what ticks do, in which order, and that tokens and events are those of a worker with threads.

mod common;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use detailflow::{
    Error, Event, EventKind, Generation, Guidance, JobId, Model, Request, SubmitOptions, TickReport, Worker,
    WorkerOptions, WorkerOrder,
};

const DECODE: SubmitOptions = SubmitOptions::new().with_decode(true);
/// More than any test takes.
const ENOUGH: Duration = Duration::from_secs(1000);

fn native() -> Model {
    common::open(&common::small(), "fp32", "native")
}

fn driven() -> Worker {
    ordered(WorkerOrder::Default)
}

fn ordered(order: WorkerOrder) -> Worker {
    Worker::new(&WorkerOptions::new().with_threads(0).with_order(order)).unwrap()
}

fn request(model: &Model, seed: u64) -> Request {
    let mut request = Request::new(model);
    request.set_seed(seed);
    request
}

fn at_level(model: &Model, seed: u64, size: u32) -> Request {
    let mut request = request(model, seed);
    request.set_level_size(size).unwrap();
    request
}

fn whole(request: &Request) -> Vec<Vec<u32>> {
    let mut generation = Generation::new(request).unwrap();
    generation.finish().unwrap();
    (0..generation.images().len()).map(|image| generation.tokens(image).unwrap().to_vec()).collect()
}

fn name(event: &Event) -> String {
    match event.kind() {
        EventKind::Level => format!("{} {} px", event.job().0, event.level().unwrap().size),
        EventKind::Done => format!("{} done", event.job().0),
        EventKind::Cancelled => format!("{} cancelled", event.job().0),
        EventKind::Failed(error) => format!("{} failed: {error}", event.job().0),
    }
}

fn taken(worker: &Worker) -> Vec<Event> {
    std::iter::from_fn(|| worker.poll()).collect()
}

fn told(events: &[Event]) -> String {
    events.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// Ticks until nothing is left to do: shapes that were not measured yet end a tick.
fn settle(worker: &Worker) -> TickReport {
    loop {
        let report = worker.tick(ENOUGH).unwrap();
        if !report.more {
            return report;
        }
    }
}

/// As [`settle`], taking the events.
fn all(worker: &Worker, budget: Duration) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let report = worker.tick(budget).unwrap();
        assert!(report.units > 0 || !report.more, "{report:?}");
        events.extend(taken(worker));
        if !report.more {
            return events;
        }
    }
}

fn check(event: &Event, whole: &[Vec<u32>]) {
    for (image, whole) in whole.iter().enumerate() {
        assert!(whole.starts_with(event.tokens(image).unwrap()), "{event:?}");
        if let Some(picture) = event.pictures().get(image) {
            assert_eq!(*picture, event.model().decode(&whole[..event.level().unwrap().tokens]).unwrap());
        }
    }
}

#[test]
fn tick_gives_the_tokens_of_threads_in_every_form() {
    for (precision, form) in common::FORMS {
        let model = common::open(&common::small(), precision, form);
        for (budget, batch) in [(Duration::ZERO, 0), (Duration::from_micros(300), 5), (ENOUGH, 0)] {
            let worker = Worker::new(&WorkerOptions::new().with_threads(0).with_batch(batch)).unwrap();
            let mut wanted = Vec::new();
            for seed in 0..9 {
                let mut request = request(&model, seed * 10);
                request.set_count(1 + seed as u32 % 3).unwrap();
                request.set_level_size([0, 16, 24][seed as usize % 3]).unwrap();
                request.set_guidance(Guidance::constant([1.0, 1.5][seed as usize % 2])).unwrap();
                if seed == 4 {
                    request.set_prefix(&[3, 1]).unwrap();
                }
                worker.submit(&request, DECODE.with_decode(seed % 4 != 3)).unwrap();
                wanted.push(whole(&request));
            }
            assert_eq!(worker.pending(), 9);
            let events = all(&worker, budget);
            assert_eq!((worker.pending(), events.iter().filter(|event| event.is_last()).count()), (0, 9));
            for event in &events {
                let job = event.job().0 as usize - 1;
                check(event, &wanted[job]);
                assert_eq!(event.pictures().len(), if job % 4 == 3 { 0 } else { wanted[job].len() }, "{event:?}");
                if event.is_last() {
                    assert_eq!(event.tokens(0).unwrap(), wanted[job][0]);
                }
            }
        }
    }
}

#[test]
fn coarse_levels_of_all_come_before_fine_levels_of_any() {
    let model = native();
    for budget in [Duration::ZERO, ENOUGH] {
        let worker = driven();
        for seed in 0..3 {
            worker.submit(&request(&model, seed), DECODE).unwrap();
        }
        let wanted = "1 16 px, 2 16 px, 3 16 px, 1 24 px, 2 24 px, 3 24 px, \
                      1 32 px, 1 done, 2 32 px, 2 done, 3 32 px, 3 done";
        assert_eq!(told(&all(&worker, budget)), wanted);
        let worker = ordered(WorkerOrder::PriorityFirst);
        worker.submit(&request(&model, 1), DECODE).unwrap();
        worker.submit(&request(&model, 2), DECODE.with_priority(1.0)).unwrap();
        let events = all(&worker, Duration::ZERO);
        assert_eq!(told(&events[..1]), "2 16 px");
    }
}

#[test]
fn tick_without_budget_does_one_unit() {
    let model = native();
    let worker = driven();
    assert_eq!(worker.tick(ENOUGH).unwrap().units, 0, "there is nothing to do");
    worker.submit(&request(&model, 5), DECODE).unwrap();
    let mut reports: Vec<TickReport> = Vec::new();
    while reports.last().is_none_or(|report| report.more) {
        let report = worker.tick(Duration::ZERO).unwrap();
        assert_eq!((report.units, report.jobs_parked), (1, 0));
        assert!(report.longest > Duration::ZERO && report.longest <= report.time);
        reports.push(report);
    }
    // One to begin, seven steps, three levels.
    let sum = |of: fn(&TickReport) -> usize| reports.iter().map(of).sum::<usize>();
    assert_eq!((reports.len(), sum(|r| r.steps), sum(|r| r.decodes), sum(|r| r.images)), (11, 7, 3, 3), "{reports:#?}");
    assert_eq!(told(&taken(&worker)), "1 16 px, 1 24 px, 1 32 px, 1 done");
}

#[test]
fn threads_cannot_be_ticked_and_driven_workers_do_not_wait() {
    let threaded = Worker::new(&WorkerOptions::new()).unwrap();
    assert!(matches!(threaded.tick(ENOUGH), Err(Error::State(_))) && !threaded.is_driven());
    let worker = driven();
    worker.submit(&request(&native(), 1), DECODE).unwrap();
    assert!(worker.is_driven() && worker.wait(ENOUGH).is_none());
}

#[test]
fn callback_gets_events_inside_tick_on_its_thread() {
    let model = native();
    let worker = Arc::new(driven());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (own, noted, here) = (Arc::downgrade(&worker), heard.clone(), std::thread::current().id());
    worker.set_callback(move |event| {
        assert_eq!(std::thread::current().id(), here);
        if let Some(worker) = own.upgrade() {
            assert!(matches!(worker.tick(ENOUGH), Err(Error::Busy(_))));
        }
        noted.lock().unwrap().push(event);
    });
    worker.submit(&request(&model, 3), DECODE).unwrap();
    worker.submit(&at_level(&model, 4, 16), DECODE).unwrap();
    assert!(!settle(&worker).more);
    assert_eq!(told(&heard.lock().unwrap()), "1 16 px, 2 16 px, 2 done, 1 24 px, 1 32 px, 1 done");
    // What is left when it goes is told, too.
    worker.submit(&request(&model, 3), DECODE).unwrap();
    worker.tick(Duration::ZERO).unwrap();
    drop(worker);
    assert_eq!(name(heard.lock().unwrap().last().unwrap()), "3 cancelled");
}

#[test]
fn second_thread_in_tick_is_busy() {
    let model = native();
    let worker = Arc::new(driven());
    let (say, said) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Mutex::new(gone);
    worker.set_callback(move |_| {
        say.send(()).unwrap();
        _ = gone.lock().unwrap().recv();
    });
    worker.submit(&at_level(&model, 1, 16), DECODE.with_last_only(true)).unwrap();
    let other = worker.clone();
    let ticking = std::thread::spawn(move || settle(&other).more);
    said.recv().unwrap();
    assert!(matches!(worker.tick(ENOUGH), Err(Error::Busy(_))));
    drop(go);
    assert!(!ticking.join().unwrap());
    assert_eq!(worker.tick(ENOUGH).unwrap().units, 0);
}

#[test]
fn priority_changes_take_effect_with_the_next_unit() {
    let model = native();
    for order in [WorkerOrder::CoarseFirst, WorkerOrder::PriorityFirst] {
        let worker = ordered(order);
        let jobs: Vec<JobId> = (0..3).map(|seed| worker.submit(&request(&model, seed), DECODE).unwrap()).collect();
        // Each stands at another place: none steps with another.
        for _ in 0..2 {
            worker.tick(Duration::ZERO).unwrap();
        }
        worker.set_priority(jobs[2], 2.5).unwrap();
        worker.set_priority(jobs[1], f32::INFINITY).unwrap();
        let events = all(&worker, Duration::ZERO);
        let first: Vec<u64> = events.iter().map(|event| event.job().0).collect();
        match order {
            WorkerOrder::CoarseFirst => assert_eq!(told(&events[..4]), "2 16 px, 3 16 px, 1 16 px, 2 24 px"),
            _ => assert_eq!(first, [2, 2, 2, 2, 3, 3, 3, 3, 1, 1, 1, 1], "{}", told(&events)),
        }
        events.iter().for_each(|event| check(event, &whole(&request(&model, event.job().0 - 1))));
    }
    let worker = driven();
    assert!(matches!(worker.set_priority(JobId(1), 1.0), Err(Error::Invalid(_))));
    let job = worker.submit(&request(&model, 1), DECODE).unwrap();
    assert!(matches!(worker.set_priority(job, f32::NAN), Err(Error::Invalid(_))));
    assert!(matches!(worker.submit(&request(&model, 1), DECODE.with_priority(f32::NAN)), Err(Error::Invalid(_))));
}

#[test]
fn paused_job_stands_still_and_goes_on_with_the_same_tokens() {
    for (precision, form) in common::FORMS {
        let model = common::open(&common::small(), precision, form);
        let mut wanted = request(&model, 12);
        wanted.set_count(2).unwrap().set_log_probabilities(true);
        // In every place between two units.
        for units in 0..11 {
            let worker = driven();
            let job = worker.submit(&wanted, SubmitOptions::new()).unwrap();
            for _ in 0..units {
                worker.tick(Duration::ZERO).unwrap();
            }
            if worker.pending() == 0 || taken(&worker).iter().any(Event::is_last) {
                break;
            }
            worker.pause(job).unwrap();
            worker.pause(job).unwrap();
            let report = worker.tick(ENOUGH).unwrap();
            assert_eq!((report.units, report.more, report.jobs_ready, report.jobs_parked), (0, false, 0, 1));
            worker.resume(job).unwrap();
            let events = all(&worker, ENOUGH);
            let last = events.last().unwrap();
            assert_eq!(name(last), "1 done", "{precision} {form} after {units}");
            assert_eq!(last.tokens(1).unwrap(), whole(&wanted)[1]);
        }
    }
    let worker = driven();
    assert!(matches!(worker.pause(JobId(3)), Err(Error::Invalid(_))));
    assert!(matches!(worker.resume(JobId(3)), Err(Error::Invalid(_))));
}

#[test]
fn held_job_continues_to_finer_levels_with_the_same_tokens() {
    for (precision, form) in common::FORMS {
        let model = common::open(&common::small(), precision, form);
        let mut wanted = at_level(&model, 31, 16);
        wanted.set_count(3).unwrap();
        let mut full = wanted.clone();
        full.set_level_size(0).unwrap();
        let tokens = whole(&full);
        for worker in [driven(), Worker::new(&WorkerOptions::new()).unwrap()] {
            let until_held = |level: &str| {
                let mut events = Vec::new();
                while events.last().is_none_or(|event: &Event| name(event) != level) {
                    if worker.is_driven() {
                        worker.tick(ENOUGH).unwrap();
                        events.extend(taken(&worker));
                    } else {
                        events.extend(worker.wait(ENOUGH));
                    }
                }
                events.iter().for_each(|event| check(event, &tokens));
                events
            };
            let options = DECODE.with_hold(true).with_last_only(true);
            let job = worker.submit(&wanted, options).unwrap();
            assert_eq!(until_held("1 16 px").len(), 1);
            assert_eq!(worker.pending(), 1);
            if worker.is_driven() {
                let report = worker.tick(ENOUGH).unwrap();
                assert_eq!((report.units, report.jobs_parked), (0, 1));
            }
            let refused = worker.continue_to(job, 17).unwrap_err();
            assert!(matches!(&refused, Error::Invalid(text) if text.contains("16, 24, 32")), "{refused}");
            worker.continue_to(job, 24).unwrap();
            until_held("1 24 px");
            worker.continue_to(job, 0).unwrap();
            let last = until_held("1 done").pop().unwrap();
            assert_eq!(last.tokens(2).unwrap(), tokens[2]);
            assert_eq!(worker.pending(), 0);
            worker.continue_to(job, 0).unwrap();
            assert!(worker.poll().is_none());
        }
    }
}

#[test]
fn target_changes_while_a_job_is_queued_or_begun() {
    let model = native();
    for units in 0..8 {
        let worker = driven();
        let job = worker.submit(&at_level(&model, 31, 32), SubmitOptions::new()).unwrap();
        for _ in 0..units {
            worker.tick(Duration::ZERO).unwrap();
        }
        worker.continue_to(job, 24).unwrap();
        let events = all(&worker, ENOUGH);
        let last = events.last().unwrap();
        // The level of 24 px takes five steps; one that has passed it ends where it is.
        let level = if units <= 6 { 24 } else { 32 };
        assert_eq!((name(last), last.level().unwrap().size >= 24), ("1 done".into(), true), "{units} {level}");
        check(last, &whole(&request(&model, 31)));
    }
}

#[test]
fn jobs_that_do_not_run_are_dropped() {
    let model = native();
    for drop_worker in [false, true] {
        let worker = driven();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let noted = heard.clone();
        worker.set_callback(move |event| noted.lock().unwrap().push(event));
        let held = worker.submit(&at_level(&model, 1, 16), DECODE.with_hold(true)).unwrap();
        settle(&worker);
        let paused = worker.submit(&request(&model, 2), DECODE).unwrap();
        worker.tick(Duration::ZERO).unwrap();
        worker.pause(paused).unwrap();
        let begun = worker.submit(&request(&model, 3), DECODE).unwrap();
        worker.tick(Duration::ZERO).unwrap();
        let waiting = worker.submit(&request(&model, 4), DECODE).unwrap();
        if !drop_worker {
            for job in [held, paused, begun, waiting] {
                worker.cancel(job).unwrap();
            }
            assert_eq!(worker.tick(ENOUGH).unwrap().units, 0);
            assert_eq!(worker.pending(), 0);
        }
        assert!(worker.close(Duration::ZERO) || drop_worker);
        drop(worker);
        let heard = heard.lock().unwrap();
        let ends = "1 cancelled, 2 cancelled, 3 cancelled, 4 cancelled";
        assert_eq!(told(&heard), if drop_worker { "1 16 px".into() } else { format!("1 16 px, {ends}") });
    }
}

#[test]
fn caches_beyond_the_limit_are_freed_and_made_again() {
    let model = native();
    let each = Generation::new(&request(&model, 0)).unwrap().memory().own;
    let options = WorkerOptions::new().with_threads(0).with_batch_bytes(3 * each);
    let worker = Worker::new(&options).unwrap();
    for seed in 0..8 {
        worker.submit(&request(&model, seed), SubmitOptions::new()).unwrap();
    }
    let events = all(&worker, ENOUGH);
    // The first level of all; then those that have memory go on, and others when they have ended.
    let levels: Vec<u32> = events.iter().map(|event| event.level().unwrap().size).collect();
    assert!(levels[..8].iter().all(|&size| size == levels[0]), "{levels:?}");
    for event in &events {
        check(event, &whole(&request(&model, event.job().0 - 1)));
    }
    assert_eq!(events.iter().filter(|event| event.is_last()).count(), 8);
}

/// Steps that were repeated because caches were freed would be more than those of the jobs alone.
#[test]
fn caches_of_waiting_jobs_are_packed_before_any_step_is_repeated() {
    let model = native();
    let whole = Generation::new(&request(&model, 0)).unwrap();
    let (each, steps) = (whole.memory().own, whole.progress().steps_left);
    let options = WorkerOptions::new().with_threads(0).with_batch_bytes(5 * each);
    let worker = Worker::new(&options.with_batch(1)).unwrap();
    for seed in 0..8 {
        worker.submit(&request(&model, seed), SubmitOptions::new()).unwrap();
    }
    let mut done = 0;
    while worker.pending() > 0 {
        done += worker.tick(Duration::ZERO).unwrap().steps;
        taken(&worker);
    }
    assert_eq!(done, 8 * steps);
}

#[test]
fn job_that_is_larger_than_the_limit_runs_without_repeating_steps() {
    let model = native();
    let whole = Generation::new(&request(&model, 0)).unwrap().progress().steps_left;
    for order in [WorkerOrder::CoarseFirst, WorkerOrder::PriorityFirst] {
        let options = WorkerOptions::new().with_threads(0).with_batch_bytes(1).with_order(order);
        let worker = Worker::new(&options).unwrap();
        worker.submit(&request(&model, 0), SubmitOptions::new()).unwrap();
        let mut done = 0;
        for _ in 0..100 {
            done += worker.tick(Duration::ZERO).unwrap().steps;
        }
        assert_eq!((done, worker.pending()), (whole, 1), "{order:?}: its last event waits");
    }
}

#[test]
fn full_events_stop_ticks_until_some_are_taken() {
    let model = native();
    let worker = Worker::new(&WorkerOptions::new().with_threads(0).with_event_bytes(1)).unwrap();
    worker.submit(&request(&model, 8), DECODE).unwrap();
    let report = settle(&worker);
    assert_eq!((report.more, report.jobs_ready), (false, 1));
    assert_eq!(worker.tick(ENOUGH).unwrap().units, 0);
    assert_eq!(told(&taken(&worker)), "1 16 px");
    assert!(worker.tick(ENOUGH).unwrap().units > 0);
}

#[test]
fn threads_follow_priority_and_coarse_first() {
    let model = native();
    // Everything is submitted while the first job tells of its first level, so that the order is known.
    let run = |order: WorkerOrder, batch: usize| {
        let options = WorkerOptions::new().with_order(order).with_batch(batch);
        let worker = Arc::new(Worker::new(&options).unwrap());
        let heard = Arc::new(Mutex::new(Vec::new()));
        let (own, noted, again) = (Arc::downgrade(&worker), heard.clone(), request(&model, 2));
        worker.set_callback(move |event| {
            let first = noted.lock().unwrap().is_empty();
            noted.lock().unwrap().push(event);
            if let Some(worker) = own.upgrade().filter(|_| first) {
                worker.submit(&again, SubmitOptions::new()).unwrap();
                let urgent = worker.submit(&again, SubmitOptions::new()).unwrap();
                worker.set_priority(urgent, 1.0).unwrap();
            }
        });
        worker.submit(&request(&model, 1), SubmitOptions::new()).unwrap();
        while worker.pending() > 0 {
            std::thread::sleep(Duration::from_micros(200));
        }
        let heard = heard.lock().unwrap();
        heard.iter().for_each(|event| check(event, &whole(&request(&model, event.job().0.min(2)))));
        told(&heard)
    };
    assert_eq!(
        run(WorkerOrder::Default, 1),
        "1 16 px, 3 16 px, 3 24 px, 3 32 px, 3 done, 1 24 px, 1 32 px, 1 done, 2 16 px, 2 24 px, 2 32 px, 2 done"
    );
    assert!(run(WorkerOrder::CoarseFirst, 2).starts_with("1 16 px, "));
}

#[test]
fn pictures_are_given_to_a_target_before_their_event() {
    let model = native();
    for worker in [driven(), Worker::new(&WorkerOptions::new()).unwrap()] {
        let mut wanted = request(&model, 40);
        wanted.set_count(2).unwrap();
        let given = Arc::new(Mutex::new(Vec::new()));
        let into = given.clone();
        worker
            .submit_into(&wanted, SubmitOptions::new(), move |pictures| {
                into.lock().unwrap().push(pictures.to_vec());
                Ok(())
            })
            .unwrap();
        let mut seen = 0;
        while worker.pending() > 0 {
            if worker.is_driven() {
                worker.tick(Duration::ZERO).unwrap();
            }
            for event in taken(&worker) {
                seen += usize::from(!event.is_last());
                assert!(given.lock().unwrap().len() >= seen);
                assert_eq!(event.pictures(), given.lock().unwrap()[seen - 1]);
            }
        }
        assert_eq!((seen, Arc::strong_count(&given)), (3, 1), "it is gone");
        // What fails or panics fails its job.
        for panics in [false, true] {
            let body = move |_: &[detailflow::Image]| {
                assert!(!panics, "a target that panics");
                Err(Error::Invalid("no room".into()))
            };
            worker.submit_into(&wanted, SubmitOptions::new(), body).unwrap();
            while worker.pending() > 0 {
                if worker.is_driven() {
                    worker.tick(ENOUGH).unwrap();
                }
                for event in taken(&worker) {
                    assert!(name(&event).contains(if panics { "a target that panics" } else { "no room" }));
                }
            }
        }
    }
}

//! The worker: which events are delivered, in which order, and that cancelling, dropping and callbacks are safe at any
//! time.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use detailflow::{
    Error, Event, EventKind, Generation, Guidance, ImageRequest, JobId, Model, Request, SubmitOptions, Worker,
    WorkerOptions,
};

const LONG: Duration = Duration::from_secs(100);
const DECODE: SubmitOptions = SubmitOptions::new().with_decode(true);

fn model() -> Model {
    common::open(&common::small(), "fp32", "mha")
}

fn worker(threads: usize) -> Worker {
    together(threads, 0)
}

/// One that draws as many pictures together.
fn together(threads: usize, batch: usize) -> Worker {
    Worker::new(&WorkerOptions::new().with_threads(threads).with_batch(batch)).unwrap()
}

/// One at a time, as a model of form `mha` is drawn unless told; and so many that jobs join while others are drawn.
const BATCHES: [usize; 2] = [1, 7];

fn request(model: &Model, seed: u64) -> Request {
    let mut request = Request::new(model);
    request.set_count(2).unwrap().set_image(1, ImageRequest { class: 1, seed: seed + 100 }).unwrap();
    request.set_image(0, ImageRequest { class: 0, seed }).unwrap();
    request
}

/// What the request draws in the foreground.
fn whole(request: &Request) -> Vec<Vec<u32>> {
    let mut generation = Generation::new(request).unwrap();
    generation.finish().unwrap();
    (0..generation.images().len()).map(|image| generation.tokens(image).unwrap().to_vec()).collect()
}

fn next(worker: &Worker) -> Event {
    worker.wait(LONG).expect("something happens")
}

/// Takes everything until nothing is pending.
fn all(worker: &Worker) -> Vec<Event> {
    let mut events = Vec::new();
    while worker.pending() > 0 {
        events.push(next(worker));
    }
    events
}

fn name(event: &Event) -> String {
    match event.kind() {
        EventKind::Level => format!("{} px", event.level().unwrap().size),
        EventKind::Done => "done".into(),
        EventKind::Cancelled => "cancelled".into(),
        EventKind::Failed(error) => format!("failed: {error}"),
    }
}

fn names(events: &[Event]) -> Vec<String> {
    events.iter().map(name).collect()
}

fn names_of(events: &[&Event]) -> Vec<String> {
    events.iter().map(|event| name(event)).collect()
}

/// Its tokens begin the pictures, and its image is what the newest level's tokens decode to.
fn check(event: &Event, whole: &[Vec<u32>]) {
    assert_eq!(event.images(), whole.len());
    for (image, whole) in whole.iter().enumerate() {
        let tokens = event.tokens(image).unwrap();
        assert!(whole.starts_with(tokens), "{event:?}");
        assert_eq!(event.level(), event.model().bundle().ladder().finished(tokens.len()));
        match event.level() {
            Some(level) => {
                let wanted = event.model().decode(&whole[..level.tokens]).unwrap();
                assert_eq!(*event.image(image).unwrap(), wanted, "{event:?}");
                assert!(event.pictures().get(image).is_none_or(|picture| *picture == wanted));
            }
            None => assert!(matches!(event.image(image), Err(Error::State(_)))),
        }
    }
    assert!(matches!(event.tokens(whole.len()), Err(Error::Invalid(_))));
    assert!(matches!(event.image(whole.len()), Err(Error::Invalid(_))));
}

#[test]
fn worker_and_event_are_send_and_sync() {
    fn shared<T: Send + Sync>() {}
    shared::<(Worker, Event)>();
}

#[test]
fn worker_reports_every_level_then_done() {
    for (precision, form) in common::FORMS {
        let model = common::open(&common::small(), precision, form);
        let worker = worker(1);
        let wanted = request(&model, 7);
        let whole = whole(&wanted);
        for (decode, last_only) in [(false, false), (true, false), (false, true), (true, true)] {
            let job = worker
                .submit(&wanted, SubmitOptions::new().with_user(4711).with_decode(decode).with_last_only(last_only))
                .unwrap();
            assert_eq!(worker.pending(), 1);
            let events = all(&worker);
            let told = if last_only { &["done"][..] } else { &["16 px", "24 px", "32 px", "done"] };
            assert_eq!(names(&events), told);
            for event in &events {
                assert_eq!((event.job(), event.user()), (job, 4711));
                assert_eq!(event.pictures().len(), if decode { 2 } else { 0 });
                assert_eq!(event.tokens(0).unwrap().len(), event.level().unwrap().tokens);
                assert_eq!(event.steps_done() + event.steps_left(), 7);
                assert_eq!(event.is_last(), name(event) == "done");
                check(event, &whole);
            }
            assert_eq!(events.last().unwrap().steps_left(), 0);
            assert!(worker.poll().is_none());
        }
    }
}

#[test]
fn jobs_of_several_models_equal_foreground_generations() {
    for (threads, batch) in [(3, 1), (1, 7), (3, 7), (2, usize::MAX)] {
        many_jobs(&together(threads, batch));
    }
}

fn many_jobs(worker: &Worker) {
    let models = [model(), common::open(&common::small(), "int8", "plain")];
    let mut wanted = BTreeMap::new();
    for seed in 0..30 {
        let mut request = request(&models[seed as usize % 2], seed);
        request.set_level_size([0, 16, 24][seed as usize % 3]).unwrap();
        let job = worker.submit(&request, DECODE.with_user(seed)).unwrap();
        wanted.insert(job, (seed, whole(&request)));
    }
    assert_eq!(wanted.keys().map(|job| job.0).collect::<Vec<_>>(), (1..=30).collect::<Vec<_>>());
    let mut told: BTreeMap<JobId, Vec<Event>> = BTreeMap::new();
    for event in all(worker) {
        told.entry(event.job()).or_default().push(event);
    }
    assert_eq!(told.len(), 30);
    for (job, events) in &told {
        let (seed, whole) = &wanted[job];
        let levels = ["16 px", "24 px", "32 px"].into_iter().take([3, 1, 2][*seed as usize % 3]);
        assert_eq!(names(events), levels.chain(["done"]).collect::<Vec<_>>());
        events.iter().for_each(|event| {
            assert_eq!(event.user(), *seed);
            check(event, whole);
        });
        assert_eq!(events.last().unwrap().tokens(0).unwrap(), whole[0]);
    }
}

#[test]
fn submit_of_an_invalid_request_is_refused() {
    let model = model();
    let worker = worker(1);
    let mut uneven = request(&model, 1);
    uneven.set_image_prefix(1, &[1; 4]).unwrap();
    let refused = worker.submit(&uneven, SubmitOptions::default()).unwrap_err();
    assert!(matches!(&refused, Error::Invalid(text) if text.contains("0 tokens, image 1 with 4")), "{refused}");
    let mut long = request(&model, 1);
    long.set_prefix(&[1; 8]).unwrap().set_level_size(16).unwrap();
    assert!(matches!(worker.submit(&long, SubmitOptions::default()), Err(Error::Invalid(_))));
    for job in [0, 1, u64::MAX] {
        let refused = worker.cancel(JobId(job)).unwrap_err();
        assert!(refused.to_string().contains(&format!("job {job} was never submitted")), "{refused}");
    }
    assert_eq!(worker.pending(), 0);
    assert!(worker.poll().is_none() && worker.wait(Duration::ZERO).is_none());
    assert!(worker.wait(Duration::from_millis(3)).is_none());
    let fine = WorkerOptions::default();
    for (options, word) in [
        (fine.clone().with_threads(64 + 2), "66 threads"),
        (fine.clone().with_threads(65), "65 threads"),
        (fine.clone().with_batch_bytes(0), "batch_bytes is 0"),
        (fine.clone().with_event_bytes(0), "event_bytes is 0"),
    ] {
        let refused = Worker::new(&options).unwrap_err();
        assert!(matches!(&refused, Error::Invalid(text) if text.contains(word)), "{refused}");
    }
}

#[test]
fn submit_with_a_decoder_only_bundle_is_refused() {
    let folder = common::copy(&common::small());
    common::edit_manifest(folder.path(), |m| {
        let m = m.as_object_mut().unwrap();
        ["ar", "ids", "sampling", "classes", "encoder"].iter().for_each(|key| drop(m.remove(*key)));
        for variant in m["variants"].as_array_mut().unwrap() {
            ["ar", "encoder"].iter().for_each(|key| drop(variant.as_object_mut().unwrap().remove(*key)));
        }
    });
    let model = common::open(folder.path(), "fp32", "mha");
    let refused = worker(1).submit(&Request::new(&model), SubmitOptions::default()).unwrap_err();
    assert!(matches!(&refused, Error::State(text) if text.contains("cannot generate")), "{refused}");
}

#[test]
fn failed_job_reports_its_reason_and_others_finish() {
    let large = common::open(&common::data("tiny-16/bundle"), "fp32", "mha");
    let model = model();
    let worker = worker(1);
    let mut too_many = Request::new(&large);
    too_many.set_count(1 << 20).unwrap();
    let failing = worker.submit(&too_many, DECODE.with_user(1)).unwrap();
    let wanted = request(&model, 3);
    worker.submit(&wanted, DECODE).unwrap();
    let event = next(&worker);
    assert_eq!((event.job(), event.user(), event.is_last()), (failing, 1, true));
    assert!(matches!(event.kind(), EventKind::Failed(Error::OutOfMemory { .. })), "{event:?}");
    assert_eq!((event.images(), event.tokens(0).unwrap().len(), event.level()), (1 << 20, 0, None));
    assert_eq!(names(&all(&worker)), ["16 px", "24 px", "32 px", "done"]);
}

#[test]
fn levels_of_the_prefix_are_not_reported() {
    let model = model();
    let worker = worker(1);
    let mut wanted = request(&model, 5);
    let whole = whole(&wanted);
    for count in [1, 4, 8, 12, 16] {
        for (at, tokens) in whole.iter().enumerate() {
            wanted.set_image_prefix(at, &tokens[..count]).unwrap();
        }
        worker.submit(&wanted, DECODE).unwrap();
        let events = all(&worker);
        let levels = [(4, "16 px"), (8, "24 px"), (16, "32 px")];
        let new = levels.into_iter().filter(|&(tokens, _)| tokens > count).map(|(_, name)| name);
        assert_eq!(names(&events), new.chain(["done"]).collect::<Vec<_>>(), "{count}");
        events.iter().for_each(|event| check(event, &whole));
        assert_eq!(events.last().unwrap().pictures().len(), 2, "decoded though it was given");
    }
    wanted.set_prefix(&[]).unwrap();
    for steps in 0..=7 {
        let mut generation = Generation::new(&wanted).unwrap();
        for _ in 0..steps {
            generation.step().unwrap();
        }
        let fork = generation.fork(&[5, 105]).unwrap();
        worker.submit_generation(generation, SubmitOptions::default()).unwrap();
        worker.submit_generation(fork, SubmitOptions::default()).unwrap();
        for _ in 0..2 {
            let mut last = next(&worker);
            while !last.is_last() {
                check(&last, &whole);
                last = next(&worker);
            }
            check(&last, &whole);
            assert_eq!(name(&last), "done");
            assert_eq!(last.tokens(1).unwrap(), whole[1]);
        }
    }
    // Its own cancel handle stops it, whether it waits or runs.
    let generation = Generation::new(&wanted).unwrap();
    generation.cancel_handle().cancel();
    worker.submit_generation(generation, DECODE).unwrap();
    assert_eq!(names(&all(&worker)), ["cancelled"]);
}

/// A worker whose jobs stand still at their first level until they are let go.
struct Held {
    worker: Arc<Worker>,
    reached: std::sync::mpsc::Receiver<JobId>,
    go: std::sync::mpsc::Sender<()>,
    heard: Arc<Mutex<Vec<Event>>>,
}

fn held(threads: usize) -> Held {
    let worker = Arc::new(worker(threads));
    let (say, reached) = std::sync::mpsc::channel();
    let (go, gone) = std::sync::mpsc::channel();
    let gone = Mutex::new(gone);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let noted = heard.clone();
    worker.set_callback(move |event| {
        if name(&event) == "16 px" {
            say.send(event.job()).unwrap();
            // When the test has failed nobody answers.
            let _ = gone.lock().unwrap().recv();
        }
        noted.lock().unwrap().push(event);
    });
    Held { worker, reached, go, heard }
}

#[test]
fn cancel_ends_waiting_and_running_jobs_only() {
    let model = model();
    let Held { worker, reached, go, heard } = held(1);
    let wanted = request(&model, 9);
    let whole = whole(&wanted);
    let jobs: Vec<JobId> = (0..4).map(|_| worker.submit(&wanted, DECODE).unwrap()).collect();
    assert_eq!(reached.recv().unwrap(), jobs[0]);
    worker.cancel(jobs[0]).unwrap();
    worker.cancel(jobs[2]).unwrap();
    worker.cancel(jobs[2]).unwrap();
    go.send(()).unwrap();
    assert_eq!(reached.recv().unwrap(), jobs[1]);
    // It ended already; nothing happens.
    worker.cancel(jobs[0]).unwrap();
    go.send(()).unwrap();
    assert_eq!(reached.recv().unwrap(), jobs[3]);
    worker.cancel_all();
    go.send(()).unwrap();
    while worker.pending() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let heard = heard.lock().unwrap();
    let told: Vec<(u64, String)> = heard.iter().map(|event| (event.job().0, name(event))).collect();
    let told: Vec<(u64, &str)> = told.iter().map(|(job, name)| (*job, &**name)).collect();
    // The third waited: its end came while the first stood still.
    let wanted = [
        (1, "16 px"),
        (3, "cancelled"),
        (1, "cancelled"),
        (2, "16 px"),
        (2, "24 px"),
        (2, "32 px"),
        (2, "done"),
        (4, "16 px"),
        (4, "cancelled"),
    ];
    assert_eq!(told, wanted);
    for event in heard.iter() {
        check(event, &whole);
        let cancelled = name(event) == "cancelled";
        let tokens = event.tokens(0).unwrap().len();
        assert_eq!(tokens, if cancelled && event.job().0 != 3 { 4 } else { event.level().map_or(0, |l| l.tokens) });
    }
}

#[test]
fn job_cancelled_at_any_moment_keeps_its_tokens() {
    // A job has eight pictures.
    for (form, batch) in [("mha", 1), ("mha", 16), ("native", 16)] {
        cancelled_at_any_moment(&common::open(&common::small(), "fp32", form), &together(2, batch));
    }
}

fn cancelled_at_any_moment(model: &Model, worker: &Worker) {
    let mut wanted = request(model, 11);
    wanted.set_count(8).unwrap();
    let whole = whole(&wanted);
    let begun = Instant::now();
    Generation::new(&wanted).unwrap().finish().unwrap();
    let took = begun.elapsed();
    let mut ends = BTreeMap::new();
    for round in 0..100 {
        let job = worker.submit(&wanted, SubmitOptions::new().with_decode(round % 2 == 0)).unwrap();
        // Another that must not be disturbed.
        let other = worker.submit(&wanted, SubmitOptions::new().with_last_only(true)).unwrap();
        let moment = Instant::now() + took * (round * 37 % 100) / 100;
        while Instant::now() < moment {
            std::hint::spin_loop();
        }
        worker.cancel(job).unwrap();
        let events = all(worker);
        events.iter().for_each(|event| check(event, &whole));
        let last = |job| events.iter().rfind(|event| event.job() == job).unwrap();
        assert_eq!(name(last(other)), "done");
        assert_eq!(last(other).tokens(0).unwrap(), whole[0]);
        let end = name(last(job));
        assert!(end == "cancelled" || end == "done", "{end}");
        *ends.entry((end, last(job).tokens(0).unwrap().len())).or_insert(0) += 1;
    }
    println!("{ends:?}");
}

#[test]
fn callback_takes_waiting_events_and_may_call_everything() {
    let model = model();
    let worker = Arc::new(worker(2));
    let wanted = request(&model, 13);
    worker.submit(&wanted, SubmitOptions::new().with_last_only(true)).unwrap();
    // By then it waits to be taken; should it not, it comes to the callback all the same.
    std::thread::sleep(Duration::from_millis(30));
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (own, noted, again) = (Arc::downgrade(&worker), heard.clone(), wanted.clone());
    worker.set_callback(move |event| {
        let Some(worker) = own.upgrade() else { return };
        noted.lock().unwrap().push((event.job().0, name(&event)));
        // None of these waits.
        assert!(worker.wait(LONG).is_none() && worker.poll().is_none());
        assert!(worker.pending() > 0);
        if event.job().0 < 3 {
            worker.submit(&again, SubmitOptions::new().with_last_only(true)).unwrap();
        } else {
            worker.clear_callback();
            worker.submit(&again, SubmitOptions::new().with_last_only(true)).unwrap();
        }
        Generation::new(&again).unwrap().finish().unwrap();
        if event.job().0 == 2 {
            panic!("of the test's own");
        }
    });
    while heard.lock().unwrap().len() < 3 {
        std::thread::sleep(Duration::from_millis(1));
    }
    // The third has let go: the fourth comes to whoever waits.
    let fourth = next(&worker);
    assert_eq!((fourth.job().0, name(&fourth)), (4, "done".into()));
    assert_eq!(*heard.lock().unwrap(), [1, 2, 3].map(|job| (job, "done".into())));
    while worker.pending() > 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn close_stops_the_callback_and_keeps_the_events() {
    let model = model();
    let worker = worker(1);
    let wanted = request(&model, 19);
    let [(entered, in_callback), (release, released)] = [(); 2].map(|()| std::sync::mpsc::channel::<()>());
    let (released, calls) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
    let counted = calls.clone();
    worker.set_callback(move |_| {
        counted.fetch_add(1, SeqCst);
        entered.send(()).unwrap();
        released.lock().unwrap().recv().unwrap();
    });
    worker.submit(&wanted, SubmitOptions::new()).unwrap();
    worker.submit(&wanted, SubmitOptions::new()).unwrap();
    in_callback.recv().unwrap();
    // It does not return: every try ends in time and says so.
    for _ in 0..2 {
        let begin = Instant::now();
        assert!(!worker.close(Duration::from_millis(20)));
        assert!((Duration::from_millis(20)..LONG).contains(&begin.elapsed()));
    }
    let refused = worker.submit(&wanted, SubmitOptions::new()).unwrap_err();
    assert!(matches!(&refused, Error::State(text) if text.contains("the worker is closed")), "{refused}");
    release.send(()).unwrap();
    assert!(worker.close(LONG));
    assert_eq!((calls.load(SeqCst), Arc::strong_count(&calls)), (1, 1), "called once and dropped");
    // A callback that is set now is never called; the events can be taken.
    worker.set_callback(|_| panic!("after the end"));
    let events = all(&worker);
    let ends: Vec<u64> = events.iter().filter(|event| event.is_last()).map(|event| event.job().0).collect();
    assert!(ends == [1, 2] || ends == [2, 1], "{ends:?}");
    assert!(worker.close(Duration::ZERO) && worker.poll().is_none());
}

#[test]
fn close_inside_its_own_callback_returns_at_once() {
    let model = model();
    let worker = Arc::new(worker(2));
    let (own, done) = (Arc::downgrade(&worker), Arc::new(AtomicUsize::new(0)));
    let heard = done.clone();
    worker.set_callback(move |_| {
        let Some(worker) = own.upgrade() else { return };
        assert!(worker.close(LONG));
        heard.fetch_add(1, SeqCst);
    });
    let wanted = request(&model, 20);
    for _ in 0..4 {
        // It is closed as soon as the first event is there.
        let _ = worker.submit(&wanted, SubmitOptions::new());
    }
    while done.load(SeqCst) == 0 {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(worker.close(LONG));
    assert_eq!(done.load(SeqCst), 1);
}

#[test]
fn replaced_callback_is_not_called_again() {
    let model = model();
    let worker = worker(2);
    let wanted = request(&model, 15);
    let count = |into: &Arc<AtomicUsize>| {
        let into = into.clone();
        move |_: Event| {
            into.fetch_add(1, SeqCst);
        }
    };
    for _ in 0..20 {
        let [first, second] = [(); 2].map(|()| Arc::new(AtomicUsize::new(0)));
        worker.set_callback(count(&first));
        worker.submit(&wanted, SubmitOptions::default()).unwrap();
        worker.submit(&wanted, SubmitOptions::default()).unwrap();
        worker.set_callback(count(&second));
        let then = first.load(SeqCst);
        assert_eq!(Arc::strong_count(&first), 1, "it is gone");
        while worker.pending() > 0 {
            std::thread::sleep(Duration::from_micros(100));
        }
        assert_eq!((first.load(SeqCst), first.load(SeqCst) + second.load(SeqCst)), (then, 8));
        worker.clear_callback();
    }
}

#[test]
fn dropped_worker_ends_its_jobs_and_tells_the_callback() {
    let model = model();
    for round in 0..60 {
        let worker = together(1 + round % 3, BATCHES[round % 4 / 2]);
        let heard = Arc::new(Mutex::new(Vec::new()));
        if round % 2 == 0 {
            let noted = heard.clone();
            worker.set_callback(move |event| noted.lock().unwrap().push(event));
        }
        let jobs: Vec<JobId> = (0..20).map(|seed| worker.submit(&request(&model, seed), DECODE).unwrap()).collect();
        if round % 3 > 0 {
            std::thread::sleep(Duration::from_millis(round as u64 % 7));
        }
        drop(worker);
        assert_eq!(Arc::strong_count(&heard), 1, "the callback is gone");
        if round % 2 == 0 {
            let heard = heard.lock().unwrap();
            for job in jobs {
                let of: Vec<&Event> = heard.iter().filter(|event| event.job() == job).collect();
                let lasts = of.iter().filter(|event| event.is_last()).count();
                assert!(lasts == 1 && of.last().unwrap().is_last(), "{of:?}");
                assert!(["done", "cancelled"].contains(&&*name(of.last().unwrap())));
            }
        }
    }
}

#[test]
fn worker_dropped_inside_its_callback_ends() {
    let model = model();
    let (say, said) = std::sync::mpsc::channel();
    let place: Arc<Mutex<Option<Worker>>> = Arc::new(Mutex::new(Some(worker(2))));
    {
        let guard = place.lock().unwrap();
        let worker = guard.as_ref().unwrap();
        let own = place.clone();
        let calls = AtomicUsize::new(0);
        worker.set_callback(move |_| {
            // The first call waits here until all is submitted.
            drop(own.lock().unwrap().take());
            say.send(calls.fetch_add(1, SeqCst)).unwrap();
        });
        for seed in 0..20 {
            worker.submit(&request(&model, seed), DECODE).unwrap();
        }
    }
    assert_eq!(said.recv(), Ok(0));
    // The callback, and with it what it sends by, goes without another call.
    assert!(said.recv().is_err());
    assert!(place.lock().unwrap().is_none());
}

#[test]
fn jobs_pause_while_events_are_unread() {
    for batch in BATCHES {
        pauses(Worker::new(&WorkerOptions::new().with_threads(2).with_batch(batch).with_event_bytes(1)).unwrap());
    }
}

fn pauses(worker: Worker) {
    let model = model();
    let whole = whole(&request(&model, 17));
    for _ in 0..3 {
        worker.submit(&request(&model, 17), DECODE).unwrap();
    }
    let first = next(&worker);
    check(&first, &whole);
    let events = all(&worker);
    assert_eq!(events.len(), 11);
    events.iter().for_each(|event| check(event, &whole));
    // What pauses is cancelled, and freed.
    for _ in 0..3 {
        worker.submit(&request(&model, 17), DECODE).unwrap();
    }
    worker.cancel_all();
    let ends = all(&worker).into_iter().filter(Event::is_last).count();
    assert_eq!(ends, 3);
    for _ in 0..3 {
        worker.submit(&request(&model, 17), DECODE).unwrap();
    }
    std::thread::sleep(Duration::from_millis(5));
    drop(worker);
}

#[test]
fn concurrent_waiters_get_each_event_once() {
    let model = model();
    let worker = worker(2);
    let taken = Mutex::new(BTreeMap::<JobId, usize>::new());
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while done.load(SeqCst) < 40 {
                    let Some(event) = worker.wait(Duration::from_millis(20)) else { continue };
                    *taken.lock().unwrap().entry(event.job()).or_default() += 1;
                    done.fetch_add(usize::from(event.is_last()), SeqCst);
                }
            });
        }
        for seed in 0..40 {
            worker.submit(&request(&model, seed), SubmitOptions::default()).unwrap();
        }
    });
    let taken = taken.into_inner().unwrap();
    assert_eq!(taken.len(), 40);
    assert!(taken.values().all(|&events| events == 4));
}

#[test]
fn events_outlive_worker_and_model() {
    let model = model();
    let wanted = request(&model, 19);
    let whole = whole(&wanted);
    let worker = worker(1);
    worker.submit(&wanted, SubmitOptions::default()).unwrap();
    let events = all(&worker);
    drop((worker, wanted, model));
    events.iter().for_each(|event| check(event, &whole));
}

/// A worker with one thread that draws as many pictures together; what it tells is noted, and `hears` is called with each
/// name of an event while everything stands still.
fn noting(
    options: WorkerOptions,
    hears: impl Fn(&Worker, JobId, &str) + Send + Sync + 'static,
) -> (Arc<Worker>, Arc<Mutex<Vec<Event>>>) {
    let worker = Arc::new(Worker::new(&options).unwrap());
    let heard = Arc::new(Mutex::new(Vec::new()));
    let (own, noted) = (Arc::downgrade(&worker), heard.clone());
    worker.set_callback(move |event| {
        let (job, name) = (event.job(), name(&event));
        noted.lock().unwrap().push(event);
        if let Some(worker) = own.upgrade() {
            hears(&worker, job, &name);
        }
    });
    (worker, heard)
}

fn settle(worker: &Worker) {
    let end = Instant::now() + LONG;
    while worker.pending() > 0 {
        assert!(Instant::now() < end);
        std::thread::sleep(Duration::from_micros(200));
    }
}

/// What was told in lines such as "1 16 px, 2 done".
fn told(heard: &Mutex<Vec<Event>>) -> String {
    let heard = heard.lock().unwrap();
    heard.iter().map(|event| format!("{} {}", event.job().0, name(event))).collect::<Vec<_>>().join(", ")
}

#[test]
fn jobs_join_a_batch_at_the_next_step_and_leave_when_done() {
    join_and_leave(&model(), false);
    // In a form that gains from it they are drawn together without being told.
    join_and_leave(&common::open(&common::small(), "fp32", "native"), true);
}

fn join_and_leave(model: &Model, gains: bool) {
    let wanted = request(model, 23);
    let whole = whole(&wanted);
    // Three more come while the first stands at its first level. Each has two pictures.
    let drawn = |options: WorkerOptions| {
        let again = request(model, 23);
        let (worker, heard) = noting(options, move |worker, job, name| {
            if (job.0, name) == (1, "16 px") {
                for _ in 0..3 {
                    worker.submit(&again, SubmitOptions::default()).unwrap();
                }
            }
        });
        worker.submit(&wanted, DECODE).unwrap();
        settle(&worker);
        heard.lock().unwrap().iter().for_each(|event| check(event, &whole));
        told(&heard)
    };
    let options = |batch, batch_bytes| WorkerOptions::new().with_batch(batch).with_batch_bytes(batch_bytes);
    let first = "1 16 px, 1 24 px, 1 32 px, 1 done";
    // Seven steps: the levels are after 4, 5 and 7.
    let all = "2 16 px, 3 16 px, 4 16 px, 2 24 px, 3 24 px, 4 24 px, \
               2 32 px, 2 done, 3 32 px, 3 done, 4 32 px, 4 done";
    assert_eq!(drawn(options(8, u64::MAX)), format!("{first}, {all}"));
    // There is room for three: the fourth joins when the first leaves, three steps after the second and third.
    let three =
        "2 16 px, 3 16 px, 2 24 px, 3 24 px, 2 32 px, 2 done, 3 32 px, 3 done, 4 16 px, 4 24 px, 4 32 px, 4 done";
    assert_eq!(drawn(options(6, u64::MAX)), format!("{first}, {three}"));
    assert_eq!(drawn(options(7, u64::MAX)), format!("{first}, {three}"));
    // Memory for three: how much that is depends on the form.
    let each = Generation::new(&wanted).unwrap().memory().own;
    assert_eq!(drawn(options(100, 3 * each)), format!("{first}, {three}"));
    let alone = [1, 2, 3, 4].map(|job| format!("{job} 16 px, {job} 24 px, {job} 32 px, {job} done")).join(", ");
    for one in [options(1, u64::MAX), options(2, u64::MAX), options(100, 1)] {
        assert_eq!(drawn(one), alone);
    }
    let unless_told = drawn(WorkerOptions::default());
    assert_eq!(unless_told, if gains { format!("{first}, {all}") } else { alone });
}

#[test]
fn batched_jobs_equal_single_jobs() {
    for (precision, form) in common::FORMS {
        let model = common::open(&common::small(), precision, form);
        let jobs: Arc<Vec<Wanted>> = Arc::new((0..24).map(|at| Wanted::new(&model, at)).collect());
        for batch in [0, 1, 5, 100] {
            let (later, next) = (jobs.clone(), AtomicUsize::new(4));
            let options = WorkerOptions::new().with_batch(batch);
            // Whenever something happens one more comes.
            let (worker, heard) = noting(options, move |worker, _, _| {
                let more = later.get(next.fetch_add(1, SeqCst));
                more.iter().for_each(|wanted| wanted.submit(worker));
            });
            jobs[..4].iter().for_each(|wanted| wanted.submit(&worker));
            settle(&worker);
            let heard = heard.lock().unwrap();
            for event in heard.iter() {
                check(event, &jobs[event.user() as usize].whole);
            }
            for (at, Wanted { whole, .. }) in jobs.iter().enumerate() {
                let ends = heard.iter().filter(|event| event.user() == at as u64 && event.is_last());
                let ends: Vec<&Event> = ends.collect();
                assert_eq!(names_of(&ends), ["done"], "{at}");
                for (image, whole) in whole.iter().enumerate() {
                    assert_eq!(ends[0].tokens(image).unwrap(), whole, "job {at} of {precision} {form} by {batch}");
                }
            }
        }
    }
}

/// One of many jobs of all kinds.
struct Wanted {
    at: usize,
    request: Request,
    whole: Vec<Vec<u32>>,
}

impl Wanted {
    fn new(model: &Model, at: usize) -> Self {
        let mut request = request(model, at as u64);
        request.set_count(1 + at as u32 % 3).unwrap();
        request.set_level_size([0, 16, 24, 32][at % 4]).unwrap();
        let scale = ["1", "1.5", "1@0,3@16", "3@0,1@4"][at / 2 % 4].parse().unwrap();
        request.set_guidance(Guidance { scale, gradual: at % 7 == 1 }).unwrap();
        request.set_log_probabilities(at.is_multiple_of(2));
        if at % 5 == 1 {
            request.set_prefix(&[3, 1, 2, 5][..1 + at % 3]).unwrap();
        }
        let whole = whole(&request);
        Self { at, request, whole }
    }

    /// As a request, or as a generation that has stepped or was forked from one that has.
    fn submit(&self, worker: &Worker) {
        let at = self.at;
        let options =
            SubmitOptions::new().with_user(at as u64).with_decode(!at.is_multiple_of(3)).with_last_only(at % 4 == 3);
        if at % 5 != 3 {
            worker.submit(&self.request, options).unwrap();
            return;
        }
        let mut generation = Generation::new(&self.request).unwrap();
        for _ in 0..at % 4 {
            generation.step().unwrap();
        }
        let seeds: Vec<u64> = generation.images().iter().map(|image| image.seed).collect();
        let fork = generation.fork(&seeds).unwrap();
        worker.submit_generation(if at.is_multiple_of(2) { fork } else { generation }, options).unwrap();
    }
}

#[test]
fn cancelled_job_leaves_its_batch_and_others_continue() {
    for form in ["mha", "native"] {
        leaves_alone(&common::open(&common::small(), "fp32", form));
    }
}

fn leaves_alone(model: &Model) {
    let wanted = request(model, 29);
    let whole = whole(&wanted);
    let again = request(model, 29);
    let own = Mutex::new(None);
    let options = WorkerOptions::new().with_batch(100);
    let (worker, heard) = noting(options, move |worker, job, name| match (job.0, name) {
        (1, "16 px") => {
            worker.submit(&again, DECODE).unwrap();
            worker.submit(&again, DECODE).unwrap();
            let generation = Generation::new(&again).unwrap();
            *own.lock().unwrap() = Some(generation.cancel_handle());
            worker.submit_generation(generation, DECODE).unwrap();
            worker.submit(&again, DECODE).unwrap();
        }
        // These two are drawn now: one is cancelled by its number, one by the generation's own handle.
        (2, "16 px") => {
            worker.cancel(JobId(3)).unwrap();
            own.lock().unwrap().take().unwrap().cancel();
        }
        _ => {}
    });
    worker.submit(&wanted, DECODE).unwrap();
    settle(&worker);
    let first = "1 16 px, 1 24 px, 1 32 px, 1 done";
    let others = "2 16 px, 3 16 px, 4 16 px, 5 16 px, 3 cancelled, 2 24 px, 4 cancelled, 5 24 px, \
                  2 32 px, 2 done, 5 32 px, 5 done";
    assert_eq!(told(&heard), format!("{first}, {others}"));
    heard.lock().unwrap().iter().for_each(|event| check(event, &whole));
}

#[test]
fn job_without_memory_waits_and_fails_only_alone() {
    let large = common::open(&common::data("tiny-16/bundle"), "fp32", "mha");
    let at_level = |size| {
        let mut request = Request::new(&large);
        request.set_level_size(size).unwrap();
        request
    };
    let (few, mut too_many, later) = (at_level(80), at_level(32), at_level(48));
    too_many.set_count(1 << 20).unwrap();
    let options = WorkerOptions::new().with_batch(usize::MAX).with_batch_bytes(u64::MAX);
    let (worker, heard) = noting(options, move |worker, job, name| {
        if (job.0, name) == (1, "32 px") {
            worker.submit(&too_many, SubmitOptions::default()).unwrap();
            worker.submit(&later, SubmitOptions::default()).unwrap();
        }
    });
    worker.submit(&few, SubmitOptions::default()).unwrap();
    settle(&worker);
    let told = told(&heard);
    let (before, after) = told.split_once("2 failed: out of memory").unwrap();
    assert_eq!(before, "1 32 px, 1 48 px, 1 80 px, 1 done, ");
    assert!(after.ends_with("bytes, 3 32 px, 3 48 px, 3 done"), "{after}");
}

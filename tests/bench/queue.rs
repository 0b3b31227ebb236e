//! What a queue of small requests that arrive over time loses to one large request:
//!
//!     cargo bench --bench queue -- [--bundle B] [--requests 64] [--over MS] [--threads T] [--batch K] [--level PX]
//!                                  [--guidance F] [--rounds R] [--variant int8-native]
//!
//! A worker draws and decodes one-picture requests, submitted at even distances over MS milliseconds, and the same
//! pictures as one request: the ideal batch. Both take turns; what counts is the ratio within a round, of throughputs,
//! each from its first submit to its last event. Without --over: all at once, over a quarter and over half of what the
//! ideal batch takes. `processor` is the same ratio of processor time (Linux; with one thread, as others spin), which a
//! machine that is busy with other things disturbs less. Whatever comes after the ideal batch would be done waits for the arrivals, not for the machine.

use std::time::{Duration, Instant};

use detailflow::{
    Bundle, EventKind, Guidance, ImageRequest, Model, ModelOptions, Request, Result, SubmitOptions, Worker,
    WorkerOptions,
};

struct Arguments {
    bundle: Option<std::path::PathBuf>,
    variant: Option<String>,
    requests: u32,
    over: Option<u64>,
    threads: usize,
    batch: usize,
    level: u32,
    guidance: f32,
    rounds: usize,
}

fn main() -> Result<()> {
    let arguments = arguments();
    let path = arguments.bundle.clone().map_or_else(detailflow::default_bundle, Ok)?;
    let bundle = Bundle::open(&path)?;
    let (precision, form) = match arguments.variant.as_deref().map(|name| name.split_once('-').unwrap_or((name, ""))) {
        Some((precision, form)) => (Some(precision.to_owned()), Some(form.to_owned()).filter(|form| !form.is_empty())),
        None => (None, None),
    };
    let mut options = ModelOptions::new().with_threads(arguments.threads);
    options.precision = precision.map(Into::into);
    options.form = form.map(|form| form.parse()).transpose()?;
    let model = Model::from_bundle(bundle, &options)?;
    let options =
        WorkerOptions::new().with_batch(arguments.batch).with_batch_bytes(u64::MAX).with_event_bytes(usize::MAX);
    let worker = Worker::new(&options)?;
    let ideal = |worker: &Worker| -> Result<[f64; 2]> {
        let mut request = arguments.request(&model)?;
        request.set_count(arguments.requests)?;
        for image in 0..arguments.requests {
            request.set_image(image as usize, arguments.image(image))?;
        }
        drawn(worker, &[request], Duration::ZERO)
    };
    let single = |image: u32| -> Result<Request> {
        let mut request = arguments.request(&model)?;
        request.set_image(0, arguments.image(image))?;
        Ok(request)
    };
    let requests = (0..arguments.requests).map(single).collect::<Result<Vec<_>>>()?;
    let warm = Duration::from_secs_f64(ideal(&worker)?[0]);
    drawn(&worker, &requests, Duration::ZERO)?;
    let overs = match arguments.over {
        Some(over) => vec![Duration::from_millis(over)],
        None => vec![Duration::ZERO, warm / 4, warm / 2],
    };
    println!(
        "{} {} {}: {} requests, {} threads, guidance {}, {} rounds",
        model.bundle().name(),
        model.variant().precision,
        model.variant().form,
        arguments.requests,
        arguments.threads,
        arguments.guidance,
        arguments.rounds
    );
    println!(
        "{:>9} {:>10} {:>10} {:>12} {:>20} {:>12}",
        "over ms", "batch ms", "queue ms", "throughput", "min .. max", "processor"
    );
    for over in overs {
        let mut rounds = Vec::new();
        for _ in 0..arguments.rounds {
            let (ideal, queue) = (ideal(&worker)?, drawn(&worker, &requests, over)?);
            rounds.push((ideal[0] / queue[0], ideal[1] / queue[1], ideal[0], queue[0]));
        }
        rounds.sort_by(|a, b| a.1.total_cmp(&b.1));
        let processor = rounds[rounds.len() / 2].1;
        rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (ratio, _, ideal, queue) = rounds[rounds.len() / 2];
        println!(
            "{:>9.0} {:>10.1} {:>10.1} {:>11.0}% {:>20} {:>11.0}%",
            over.as_secs_f64() * 1e3,
            ideal * 1e3,
            queue * 1e3,
            ratio * 100.0,
            format!("{:.0} .. {:.0}%", rounds[0].0 * 100.0, rounds[rounds.len() - 1].0 * 100.0),
            processor * 100.0
        );
    }
    Ok(())
}

/// Seconds from the first submit to the last event, and of processor time.
fn drawn(worker: &Worker, requests: &[Request], over: Duration) -> Result<[f64; 2]> {
    let (begun, processor) = (Instant::now(), processor_time());
    let options = SubmitOptions::new().with_decode(true).with_last_only(true);
    for (at, request) in requests.iter().enumerate() {
        let due = over.mul_f64(at as f64 / requests.len() as f64);
        std::thread::sleep(due.saturating_sub(begun.elapsed()));
        worker.submit(request, options)?;
    }
    while worker.pending() > 0 {
        let Some(event) = worker.wait(Duration::MAX) else { continue };
        assert!(matches!(event.kind(), EventKind::Done), "{event:?}");
        std::hint::black_box(event.pictures());
    }
    Ok([begun.elapsed().as_secs_f64(), processor_time() - processor])
}

/// Seconds that this process has had, of all its threads; not a number where that is not known.
fn processor_time() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // After the name, which may have spaces, the 12th and 13th: hundredths in user and in system mode.
    let ticks = stat.rsplit(") ").next().map(|rest| rest.split(' ').skip(11).take(2).map(str::parse::<f64>));
    ticks.map_or(f64::NAN, |ticks| ticks.map(|tick| tick.unwrap_or(f64::NAN)).sum::<f64>() / 100.0)
}

impl Arguments {
    fn request(&self, model: &Model) -> Result<Request> {
        let mut request = Request::new(model);
        request.set_guidance(Guidance::constant(self.guidance))?.set_level_size(self.level)?;
        Ok(request)
    }

    /// Every fourth picture is of the same class.
    fn image(&self, image: u32) -> ImageRequest {
        ImageRequest { class: image % 4, seed: u64::from(image) }
    }
}

fn arguments() -> Arguments {
    let mut parsed = Arguments {
        bundle: None,
        variant: None,
        requests: 64,
        over: None,
        threads: 2,
        batch: 0,
        level: 0,
        guidance: 1.5,
        rounds: 5,
    };
    // Cargo adds --bench.
    let mut rest = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(name) = rest.next() {
        let value = rest.next();
        let known = value.as_deref().is_some_and(|value| parsed.set(&name, value).is_some());
        if !known {
            eprintln!(
                "usage: [--bundle B] [--variant int8-native] [--requests 64] [--over MS] [--threads T] [--batch K] \
                 [--level PX] [--guidance F] [--rounds R]"
            );
            std::process::exit(2);
        }
    }
    parsed
}

impl Arguments {
    /// None when there is no such setting, or its value is none.
    fn set(&mut self, name: &str, value: &str) -> Option<()> {
        let positive = || value.parse::<u32>().ok().filter(|&number| number > 0);
        match name {
            "--bundle" => self.bundle = Some(value.into()),
            "--variant" => self.variant = Some(value.into()),
            "--requests" => self.requests = positive()?,
            "--over" => self.over = Some(value.parse().ok()?),
            "--threads" => self.threads = positive()? as usize,
            "--batch" => self.batch = positive()? as usize,
            "--level" => self.level = positive()?,
            "--guidance" => self.guidance = value.parse().ok()?,
            "--rounds" => self.rounds = positive()? as usize,
            _ => return None,
        }
        Some(())
    }
}

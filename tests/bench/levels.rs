//! What levels cost and give, in one place: slices of a frame, the time of each level, predictions, forks, best of many.
//!
//!     cargo bench --bench levels -- [--sprites 10000] [--hz 60] [--threads T] [--large BUNDLE] [--repeat R] [--only ticks]
//!         [--budget MS]
//!
//! The sprites are drawn with the default bundle. `--hz 0` draws slice after slice; otherwise the rest of each frame is
//! slept through, as a game would spend it otherwise. `--large` names a second bundle for the tables of levels, such as
//! the random detailflow-16 that `make bench` exports. `--sprites 0` leaves the slices out. `--budget` is that of ticks;
//! without it they are measured with 2 ms and with 4 ms.

use std::time::{Duration, Instant};

use detailflow::{
    BestOf, Generation, Guidance, ImageRequest, Model, ModelOptions, PixelFormat, Request, Result, Round, Sampling,
    Scorer, SubmitOptions, Worker, WorkerOptions, WorkerOrder, tasks,
};

/// What is printed.
#[derive(PartialEq)]
enum Part {
    All,
    Ticks,
}

struct Arguments {
    part: Part,
    sprites: usize,
    hz: f64,
    threads: usize,
    large: Option<String>,
    repeat: usize,
    /// Of ticks, in milliseconds.
    budgets: Vec<u64>,
}

fn main() -> Result<()> {
    let arguments = arguments();
    let options = ModelOptions::new().with_threads(arguments.threads);
    if arguments.part == Part::Ticks {
        return ticks(&Model::open_default(&options.with_threads(1))?, &arguments);
    }
    let shipped = Model::open_default(&options)?;
    println!("== {} ({}), {} threads", shipped.bundle().name(), shipped.variant().precision, arguments.threads);
    levels(&shipped, arguments.repeat)?;
    forks(&shipped)?;
    best(&shipped, arguments.repeat)?;
    log_probabilities(&shipped, arguments.repeat)?;
    if let Some(path) = &arguments.large {
        let bundle = detailflow::Bundle::open(path)?;
        for variant in bundle.variants().iter().filter(|variant| variant.form == bundle.variants()[0].form) {
            let options = options.clone().with_precision(variant.precision.as_str());
            let model = Model::from_bundle(bundle.clone(), &options)?;
            println!("\n== {} ({}), {} threads", bundle.name(), variant.precision, arguments.threads);
            levels(&model, arguments.repeat)?;
            forks(&model)?;
            best(&model, 1)?;
        }
    }
    if arguments.sprites == 0 {
        return Ok(());
    }
    // As a game does it: with one thread, its own. A second one that has slept since the last frame may wake late.
    let alone = Model::open_default(&options.with_threads(1))?;
    ticks(&alone, &arguments)?;
    slices(&alone, arguments.sprites, arguments.hz)?;
    // What that saves; a tenth of them tells.
    slices(&shipped, arguments.sprites.div_ceil(10), arguments.hz)
}

/// A request as a game makes it.
fn request(model: &Model, count: u32) -> Result<Request> {
    let mut request = Request::new(model);
    request.set_guidance(Guidance::constant(1.5))?.set_count(count)?;
    request.set_sampling(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 })?;
    Ok(request)
}

/// From the request to the pixels of one level, and nothing else.
fn draw_level(request: &Request) -> Result<Duration> {
    let begun = Instant::now();
    let mut generation = Generation::new(request)?;
    generation.finish()?;
    for image in 0..request.images().len() {
        std::hint::black_box(generation.image(image)?.to_vec(PixelFormat::Rgba8)?);
    }
    Ok(begun.elapsed())
}

/// The time of each level, and what a calibration just before had predicted: both in each round, so that a machine whose
/// pace changes changes both.
fn levels(model: &Model, repeat: usize) -> Result<()> {
    // What the user has calibrated stays as it is.
    let cache = std::env::temp_dir().join(format!("detailflow-bench-{}", std::process::id()));
    #[allow(unsafe_code, reason = "the library reads the folder from the environment")]
    // SAFETY: the process has one thread at this point.
    unsafe {
        std::env::set_var("XDG_CACHE_HOME", &cache);
    }
    let ladder: Vec<_> = model.bundle().ladder().levels().to_vec();
    let batches = [1, 4];
    // For each batch and level: what was predicted and what it took, round by round.
    let mut rounds = vec![vec![Vec::new(); ladder.len()]; batches.len()];
    let mut steps = vec![0; ladder.len()];
    for round in 0..=repeat {
        tasks::calibrate(model, &batches, |_, _| {})?;
        for (count, rounds) in batches.iter().zip(&mut rounds) {
            let mut wanted = request(model, *count)?;
            // The predictions first: what is drawn below would teach them.
            let cost = tasks::cost(&wanted)?;
            for (at, level) in cost.levels.iter().enumerate() {
                steps[at] = level.steps;
                wanted.set_level_size(level.level.size)?;
                let took = draw_level(&wanted)?;
                // The first of all warms up.
                if round > 0 {
                    rounds[at].push((level.time.unwrap_or_default(), took));
                }
            }
        }
    }
    let _ = std::fs::remove_dir_all(&cache);
    for (count, rounds) in batches.iter().zip(rounds) {
        println!("\nlevels, batch {count}, guidance 1.5 (median of {repeat}; the pictures of that level alone)");
        println!(
            "{:>8} {:>7} {:>6} {:>10} {:>7} {:>12} {:>7}",
            "level", "tokens", "steps", "ms", "share", "predicted", "off"
        );
        let took = |at: usize| middle(rounds[at].iter().map(|round| round.1).collect());
        let whole = took(ladder.len() - 1);
        for (at, level) in ladder.iter().enumerate() {
            let predicted = middle(rounds[at].iter().map(|round| round.0).collect());
            let mut off: Vec<f64> = rounds[at].iter().map(|(told, took)| ms(*told) / ms(*took) - 1.0).collect();
            off.sort_by(f64::total_cmp);
            println!(
                "{:>5} px {:>7} {:>6} {:>10.2} {:>6.1}% {:>12.2} {:>+6.1}%",
                level.size,
                level.tokens,
                steps[at],
                ms(took(at)),
                100.0 * took(at).as_secs_f64() / whole.as_secs_f64(),
                ms(predicted),
                100.0 * off[off.len() / 2]
            );
        }
    }
    Ok(())
}

/// Memory and time of 100 forks, before and after their first step.
fn forks(model: &Model) -> Result<()> {
    let mut parent = Generation::new(&request(model, 1)?)?;
    let first = model.bundle().ladder().levels()[0].tokens;
    while parent.progress().tokens < first {
        parent.step()?;
    }
    let before = resident();
    let begun = Instant::now();
    let forks: Result<Vec<Generation>> = (0..100).map(|seed| parent.fork(&[seed])).collect();
    let (mut forks, took) = (forks?, begun.elapsed());
    let referred = resident();
    let own: u64 = forks.iter().map(|fork| fork.memory().own).sum();
    println!("\n100 forks after {first} tokens");
    println!(
        "  before their first step: {:.1} kB of their own, {:.2} MB of their origin's; process {:+.2} MB; {:.1} us a fork",
        own as f64 / 1e3,
        forks[0].memory().shared as f64 / 1e6,
        (referred - before) / 1e6,
        took.as_secs_f64() * 1e4
    );
    let begun = Instant::now();
    for fork in &mut forks {
        fork.step()?;
    }
    let own: u64 = forks.iter().map(|fork| fork.memory().own).sum();
    println!(
        "  after it: {:.2} MB of their own; process {:+.2} MB; {:.2} ms a first step",
        own as f64 / 1e6,
        (resident() - before) / 1e6,
        ms(begun.elapsed()) / 100.0
    );
    Ok(())
}

/// Best of 8 against all eight drawn to the end.
fn best(model: &Model, repeat: usize) -> Result<()> {
    let wanted = request(model, 8)?;
    let level = model.bundle().ladder().levels()[0];
    let rounds = [Round { level_size: level.size, retained_count: 1 }];
    let (mut culled, mut all) = (Vec::new(), Vec::new());
    let mut works = (0, 0);
    for _ in 0..repeat {
        let begun = Instant::now();
        let mut best = BestOf::new(&wanted, &rounds, Scorer::LogProbability)?;
        best.finish()?;
        culled.push(begun.elapsed());
        works.0 = best.generation().work();
        let begun = Instant::now();
        let mut whole = Generation::new(&wanted)?;
        whole.finish()?;
        all.push(begun.elapsed());
        works.1 = whole.work();
    }
    let (culled, all) = (middle(culled), middle(all));
    println!(
        "\nbest of 8, chosen at {} px ({} tokens): work {} of {} picture-steps; {:.2} ms of {:.2} ms",
        level.size,
        level.tokens,
        works.0,
        works.1,
        ms(culled),
        ms(all)
    );
    Ok(())
}

/// What log-probabilities cost.
fn log_probabilities(model: &Model, repeat: usize) -> Result<()> {
    let mut wanted = request(model, 1)?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..repeat {
        wanted.set_log_probabilities(false);
        without.push(draw_level(&wanted)?);
        wanted.set_log_probabilities(true);
        with.push(draw_level(&wanted)?);
    }
    println!("\nlog-probabilities: {:.2} ms a picture with, {:.2} ms without", ms(middle(with)), ms(middle(without)));
    Ok(())
}

/// Many sprites within 2 ms of each frame: what calls of `advance` took.
fn slices(model: &Model, sprites: usize, hz: f64) -> Result<()> {
    println!("\n== slices of a frame: {sprites} sprites, advance(2 ms), threads: {}", model.threads());
    let budget = Duration::from_millis(2);
    let classes = model.bundle().classes().len();
    let mut calls = Vec::new();
    let (mut beyond, mut frames, mut over_frames) = (0, 0, 0);
    let mut sprite = 0;
    let mut generation: Option<Generation> = None;
    let begun = Instant::now();
    while sprite < sprites {
        let frame = Instant::now();
        let mut left = budget;
        while sprite < sprites {
            let current = match &mut generation {
                Some(current) => current,
                None => {
                    let mut wanted = request(model, 1)?;
                    wanted.set_image(0, ImageRequest { class: (sprite % classes) as u32, seed: sprite as u64 })?;
                    generation.insert(Generation::new(&wanted)?)
                }
            };
            let step = current.progress().next_step.unwrap_or_default();
            let call = Instant::now();
            let progress = current.advance(left)?;
            let took = call.elapsed();
            beyond += usize::from(took > left + step.max(progress.next_step.unwrap_or_default()));
            calls.push(took);
            if progress.steps_left == 0 {
                generation = None;
                sprite += 1;
            }
            // Not even one more step would fit, whosever it is.
            left = budget.saturating_sub(frame.elapsed());
            if left < step.max(progress.next_step.unwrap_or_default()) {
                break;
            }
        }
        frames += 1;
        over_frames += usize::from(frame.elapsed() > budget);
        if hz > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(1.0 / hz).saturating_sub(frame.elapsed()));
        }
    }
    let whole = begun.elapsed();
    calls.sort_unstable();
    let at = |part: f64| ms(calls[((calls.len() - 1) as f64 * part) as usize]);
    let pace = if hz > 0.0 { format!("{} frames a second", hz) } else { "without a pause".to_owned() };
    println!("  {} calls in {frames} frames, {pace}, {:.0} s", calls.len(), whole.as_secs_f64());
    println!("  a call: p50 {:.2} ms, p99 {:.2} ms, longest {:.2} ms", at(0.5), at(0.99), at(1.0));
    println!(
        "  longer than its budget and one step: {beyond} calls, {:.3}%; frames over 2 ms: {:.2}%",
        100.0 * beyond as f64 / calls.len() as f64,
        100.0 * over_frames as f64 / f64::from(frames)
    );
    Ok(())
}

/// Sprites by a worker that is ticked once per frame, and the same pictures in plain batches of the same size.
fn ticks(model: &Model, arguments: &Arguments) -> Result<()> {
    for order in [WorkerOrder::CoarseFirst, WorkerOrder::PriorityFirst] {
        for budget in &arguments.budgets {
            ticked(model, arguments, order, Duration::from_millis(*budget))?;
        }
    }
    Ok(())
}

fn ticked(model: &Model, arguments: &Arguments, order: WorkerOrder, budget: Duration) -> Result<()> {
    let Arguments { sprites, hz, .. } = *arguments;
    let classes = model.bundle().classes().len();
    let worker = Worker::new(&WorkerOptions::new().with_threads(0).with_order(order))?;
    let mut wanted = request(model, 1)?;
    let decode = SubmitOptions::new().with_decode(true).with_last_only(true);
    for sprite in 0..sprites {
        wanted.set_image(0, ImageRequest { class: (sprite % classes) as u32, seed: sprite as u64 })?;
        worker.submit(&wanted, decode)?;
    }
    let (mut times, mut longest, mut steps) = (Vec::new(), Duration::ZERO, 0);
    let mut over = 0;
    let begun = Instant::now();
    while worker.pending() > 0 {
        let frame = Instant::now();
        let report = worker.tick(budget)?;
        times.push(report.time);
        longest = longest.max(report.longest);
        over += usize::from(report.time > budget + report.longest);
        steps += report.steps;
        while worker.poll().is_some() {}
        if hz > 0.0 {
            std::thread::sleep(Duration::from_secs_f64(1.0 / hz).saturating_sub(frame.elapsed()));
        }
    }
    let whole = begun.elapsed();
    let work: Duration = times.iter().sum();
    let each = model.bundle().ladder().levels().len();
    let schedule = tasks::cost(&wanted)?.levels[each - 1].steps;
    let batch = sprites as f64 * schedule as f64 / steps as f64;
    let plain = plain(model, (batch.round() as u32).max(1), hz, budget)?;
    let (work, rate) = (work.as_secs_f64(), sprites as f64 / work.as_secs_f64());
    times.sort_unstable();
    let at = |part: f64| ms(times[((times.len() - 1) as f64 * part) as usize]);
    println!(
        "\n== ticks of {} ms, {order:?}: {sprites} sprites in {} frames, {:.0} s",
        ms(budget),
        times.len(),
        whole.as_secs_f64()
    );
    println!(
        "  a tick: p50 {:.2} ms, p99 {:.2} ms ({:.2} x budget), worst {:.2} ms; longest unit {:.2} ms",
        at(0.5),
        at(0.99),
        at(0.99) / ms(budget),
        at(1.0),
        ms(longest)
    );
    println!(
        "  longer than the budget and its own longest unit: {over}; of all budgets {:.0} % used",
        100.0 * work / (budget.as_secs_f64() * times.len() as f64)
    );
    println!(
        "  batch {batch:.1}: {rate:.1} sprites a second of work; plain batches of {} give {plain:.1}: {:.1} %",
        batch.round(),
        100.0 * rate / plain
    );
    Ok(())
}

/// Pictures a second of work of plain batches, one after the other. With `hz` as much work as fits into the budget is done in
/// each frame, so that the processor's caches and clock rate are those of a game.
fn plain(model: &Model, batch: u32, hz: f64, budget: Duration) -> Result<f64> {
    let wanted = request(model, batch)?;
    let (mut work, mut pictures, mut in_frame) = (Duration::ZERO, 0, Duration::ZERO);
    let mut count = |begun: Instant| {
        work += begun.elapsed();
        in_frame += begun.elapsed();
        if hz > 0.0 && in_frame >= budget.mul_f64(0.9) {
            std::thread::sleep(Duration::from_secs_f64(1.0 / hz).saturating_sub(in_frame));
            in_frame = Duration::ZERO;
        }
    };
    for _ in 0..=400 / batch {
        let mut begun = Instant::now();
        let mut generation = Generation::new(&wanted)?;
        while generation.step()?.steps_left > 0 {
            count(begun);
            begun = Instant::now();
        }
        for image in 0..batch as usize {
            std::hint::black_box(generation.image(image)?);
        }
        count(begun);
        pictures += batch;
    }
    Ok(f64::from(pictures) / work.as_secs_f64())
}

fn middle(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// Bytes of this process in memory; 0 where that cannot be told.
fn resident() -> f64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

fn arguments() -> Arguments {
    let mut parsed =
        Arguments { part: Part::All, sprites: 1000, hz: 0.0, threads: 2, large: None, repeat: 5, budgets: vec![2, 4] };
    let usage = || -> ! {
        eprintln!(
            "usage: [--sprites N] [--hz F] [--threads T] [--large BUNDLE] [--repeat R] [--only ticks] [--budget MS]"
        );
        std::process::exit(2)
    };
    // Cargo adds --bench.
    let mut rest = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = rest.next() {
        let value = rest.next().unwrap_or_else(|| usage());
        match argument.as_str() {
            "--sprites" => parsed.sprites = value.parse().unwrap_or_else(|_| usage()),
            "--hz" => parsed.hz = value.parse().unwrap_or_else(|_| usage()),
            "--threads" => parsed.threads = value.parse().unwrap_or_else(|_| usage()),
            "--repeat" => parsed.repeat = value.parse().ok().filter(|&n| n > 0).unwrap_or_else(|| usage()),
            "--only" if value == "ticks" => parsed.part = Part::Ticks,
            "--budget" => parsed.budgets = vec![value.parse().unwrap_or_else(|_| usage())],
            "--large" => parsed.large = Some(value),
            _ => usage(),
        }
    }
    parsed
}

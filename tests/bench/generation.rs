//! How long a picture takes, from request to pixels, for each precision and form of a bundle:
//!
//!     cargo bench --bench generation -- [BUNDLE] [--threads T] [--batch K] [--repeat R] [--variants fp32-mha,int8-mha]
//!
//! Guidance 1.5, full level. The variants take turns, so that a machine whose speed drifts is fair to all; what counts
//! is the ratio within a round. `outside` is the share of the time that was not spent within ONNX Runtime.

use std::time::{Duration, Instant};

use detailflow::{Generation, Guidance, Model, ModelOptions, PixelFormat, Request, Result, Sampling};

struct Arguments {
    bundle: std::path::PathBuf,
    threads: usize,
    batch: u32,
    repeat: usize,
    variants: Vec<String>,
}

fn main() -> Result<()> {
    let arguments = arguments()?;
    let bundle = detailflow::Bundle::open(&arguments.bundle)?;
    let mut entries = Vec::new();
    for variant in bundle.variants() {
        let name = format!("{}-{}", variant.precision, variant.form);
        if arguments.variants.is_empty() || arguments.variants.contains(&name) {
            let (precision, form) = (Some(variant.precision.clone()), Some(variant.form.clone()));
            let options = ModelOptions { precision, form, threads: arguments.threads, ..Default::default() };
            let begun = Instant::now();
            let model = Model::from_bundle(bundle.clone(), &options)?;
            entries.push(Entry { name, open: begun.elapsed(), model, rounds: Vec::new(), outside: Vec::new() });
        }
    }
    let size = bundle.size();
    println!(
        "{}: {size} x {size}, batch {}, {} threads, guidance 1.5, {} rounds",
        bundle.name(),
        arguments.batch,
        arguments.threads,
        arguments.repeat
    );
    for round in 0..=arguments.repeat {
        for entry in &mut entries {
            entry.run(arguments.batch, round > 0)?;
        }
    }
    println!("{:<12} {:>9} {:>22} {:>9} {:>9}", "variant", "ms/image", "min .. max", "outside", "open ms");
    let first = entries[0].rounds.clone();
    for entry in &entries {
        let mut sorted: Vec<f64> = entry.rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let mut ratios: Vec<f64> = entry.rounds.iter().zip(&first).map(|(a, b)| a / b).collect();
        ratios.sort_by(f64::total_cmp);
        let mut outside = entry.outside.clone();
        outside.sort_by(f64::total_cmp);
        println!(
            "{:<12} {:>9.1} {:>22} {:>8.2}% {:>9.0}   {:.2} x {}",
            entry.name,
            sorted[sorted.len() / 2],
            format!("{:.1} .. {:.1}", sorted[0], sorted[sorted.len() - 1]),
            100.0 * outside[outside.len() / 2],
            entry.open.as_secs_f64() * 1e3,
            ratios[ratios.len() / 2],
            entries[0].name
        );
    }
    Ok(())
}

struct Entry {
    name: String,
    open: Duration,
    model: Model,
    /// Milliseconds an image, each round.
    rounds: Vec<f64>,
    outside: Vec<f64>,
}

impl Entry {
    fn run(&mut self, batch: u32, counted: bool) -> Result<()> {
        let mut request = Request::new(&self.model);
        request.set_count(batch)?;
        request.set_guidance(Guidance::constant(1.5))?;
        request.set_sampling(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 })?;
        let within = self.model.graph_time();
        let begun = Instant::now();
        let mut generation = Generation::new(&request)?;
        generation.finish()?;
        for image in 0..batch as usize {
            std::hint::black_box(generation.image(image)?.to_vec(PixelFormat::Rgb8)?);
        }
        let whole = begun.elapsed();
        let within = self.model.graph_time() - within;
        if counted {
            self.rounds.push(whole.as_secs_f64() * 1e3 / f64::from(batch));
            self.outside.push(1.0 - within.as_secs_f64() / whole.as_secs_f64());
        }
        Ok(())
    }
}

fn arguments() -> Result<Arguments> {
    let mut parsed = Arguments { bundle: Default::default(), threads: 2, batch: 1, repeat: 5, variants: Vec::new() };
    // Cargo adds --bench.
    let mut rest = std::env::args().skip(1).filter(|argument| argument != "--bench");
    let usage = || -> ! {
        eprintln!("usage: [BUNDLE] [--threads T] [--batch K] [--repeat R] [--variants fp32-mha,int8-mha]");
        std::process::exit(2)
    };
    while let Some(argument) = rest.next() {
        let mut number =
            || rest.next().and_then(|text| text.parse::<u32>().ok()).filter(|&n| n > 0).unwrap_or_else(|| usage());
        match argument.as_str() {
            "--threads" => parsed.threads = number() as usize,
            "--batch" => parsed.batch = number(),
            "--repeat" => parsed.repeat = number() as usize,
            "--variants" => {
                parsed.variants = rest.next().unwrap_or_else(|| usage()).split(',').map(str::to_owned).collect()
            }
            _ if argument.starts_with('-') => usage(),
            _ => parsed.bundle = argument.into(),
        }
    }
    if parsed.bundle.as_os_str().is_empty() {
        parsed.bundle = detailflow::default_bundle()?;
    }
    Ok(parsed)
}

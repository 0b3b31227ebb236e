//! `dflow bench-one`: one configuration in a process of its own. It opens the model, reports that, and runs a round for each
//! line read from stdin.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use clap::Args;
use detailflow::plan::Step;
use detailflow::{Error, Generation, Guidance, Model, PixelFormat, Request, Result, Sampling, tasks};
use serde::{Deserialize, Serialize};

use super::floor;
use crate::{Failure, ModelArgs, memory};

#[derive(Args)]
pub struct OneArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[arg(long)]
    batch: u32,
    #[arg(long, allow_hyphen_values = true)]
    guidance: f32,
    /// Level to stop at, in pixels per side; 0 is the full size
    #[arg(long)]
    level: u32,
}

/// Messages of the process, one JSON line each.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    Opened(Opened),
    WarmedUp,
    Round(Round),
    Failed { text: String, usage: bool },
}

/// The opened model.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Opened {
    pub device: String,
    pub precision: String,
    pub form: String,
    /// Time to open the model, loading ONNX Runtime included.
    pub open_ms: f64,
    /// The steps of a picture, in order.
    pub steps: Vec<StepShape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepShape {
    pub rows: usize,
    pub query: usize,
    /// Bytes of the weights and of the visible KV cache. None if the bundle does not record the sizes of its networks.
    pub bytes: Option<u64>,
    /// Multiply-adds of its linear layers. None if the bundle does not record the sizes of its networks, or where the library's
    /// int8 kernels do not compute them.
    pub multiply_adds: Option<u64>,
}

/// One batch of pictures, generated twice: to the end, and once more with a decode at each level.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// From the request to the pixels of all pictures.
    pub ms: f64,
    /// Part of it spent in ONNX Runtime.
    pub graphs_ms: f64,
    /// Part of it spent in the decoder and the pixel conversion.
    pub decode_ms: f64,
    /// Part of it spent in each step.
    pub steps_ms: Vec<f64>,
    pub levels: Vec<LevelTime>,
    /// Peak resident memory of the process after the first generation, in 10^6 bytes. None where the operating system does not
    /// report it.
    pub peak_rss_mb: Option<f64>,
    /// Read bandwidth with the same number of threads and a block the size of a step's reads. None where it is no lower bound.
    pub read_gb_per_s: Option<f64>,
    /// Multiply-adds a second of the int8 kernels with the same number of threads. None where they do not compute the steps.
    pub multiply_adds_per_second: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LevelTime {
    pub size: u32,
    pub tokens: usize,
    pub steps: usize,
    /// From the request to this level's pixels of all pictures, without the decoding of coarser levels.
    pub ms: f64,
}

/// `dflow bench-one`, started by `dflow bench`.
pub fn serve(args: &OneArgs) -> std::result::Result<(), Failure> {
    if let Err(failure) = answer(args) {
        let (text, usage) = match failure {
            Failure::Usage(error) => (error.to_string(), true),
            // Caused by the batch size.
            Failure::Failed(error @ Error::OutOfMemory { .. }) => {
                (format!("{error}; a smaller --batch needs less"), true)
            }
            Failure::Failed(error) => (error.to_string(), false),
            other => return Err(other),
        };
        send(&Message::Failed { text, usage });
    }
    Ok(())
}

/// A closed pipe is not an error: the parent process has ended, and no further line will come.
fn send(message: &Message) {
    let text = serde_json::to_string(message).expect("numbers and strings always serialise");
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn answer(args: &OneArgs) -> std::result::Result<(), Failure> {
    let begun = Instant::now();
    let model = args.model.open()?;
    let open_ms = ms(begun.elapsed());
    let mut request = Request::new(&model);
    configure(&mut request, args).map_err(Failure::Usage)?;
    let steps = shapes(&request)?;
    let largest = steps.iter().filter_map(|step| step.bytes).max();
    let counted = steps.iter().any(|step| step.multiply_adds.is_some());
    send(&Message::Opened(Opened {
        device: model.device().to_string(),
        precision: model.variant().precision.clone(),
        form: model.variant().form.clone(),
        open_ms,
        steps,
    }));
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("warm-up") => {
                generate(&request)?;
                send(&Message::WarmedUp);
            }
            Ok("round") => {
                let mut round = generate(&request)?;
                // Before the rest of the round allocates more.
                round.peak_rss_mb = memory::peak().map(|bytes| bytes as f64 / 1e6);
                round.levels = time_levels(&request)?;
                let bytes = largest.filter(|_| floor::is_bound(&model.device().to_string()));
                round.read_gb_per_s = bytes.and_then(|bytes| floor::read_gb_per_s(bytes, model.threads()));
                round.multiply_adds_per_second = if counted {
                    Some(tasks::multiply_adds_per_second(floor::threads(model.threads()))?)
                } else {
                    None
                };
                send(&Message::Round(round));
            }
            _ => break,
        }
    }
    Ok(())
}

fn configure(request: &mut Request, args: &OneArgs) -> Result<()> {
    request.set_guidance(Guidance::constant(args.guidance))?.set_level_size(args.level)?.set_count(args.batch)?;
    // No top-k or top-p: the cost of sampling must not depend on the bundle's defaults.
    request.set_sampling(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 })?;
    Ok(())
}

/// The steps of a request and the bytes that each reads.
fn shapes(request: &Request) -> Result<Vec<StepShape>> {
    let model = request.model();
    let (bundle, cost) = (model.bundle(), tasks::cost(request)?);
    // Form `fixed` attends over all positions at each step and converts 8-bit weights to floats when it is opened.
    let fixed = model.variant().form == "fixed";
    let bits = model.variant().weight_bits().map(|bits| if fixed && bits == 8 { 32 } else { bits });
    let weights = bundle.step_weights().zip(bits).map(|(count, bits)| count * u64::from(bits) / 8);
    let native = model.variant().form == "native" && bits == Some(8);
    let position = cost.key_bytes / bundle.tokens() as u64;
    // Guidance is constant, so all steps of one query length have the same number of rows.
    let rows = |step: Step| cost.steps.iter().find(|cost| cost.query == step.query).map_or(0, |cost| cost.rows);
    let shape = |step: Step| StepShape {
        rows: rows(step),
        query: step.query,
        bytes: weights
            .map(|weights| weights + position * if fixed { bundle.tokens() } else { step.start + step.query } as u64),
        multiply_adds: bundle
            .step_weights()
            .filter(|_| native)
            .map(|weights| weights.saturating_mul((rows(step) * step.query) as u64)),
    };
    Ok(model.schedule(request.target()).steps().map(shape).collect())
}

/// Generates and decodes the whole batch.
fn generate(request: &Request) -> Result<Round> {
    let model = request.model();
    let within = model.graph_time();
    let begun = Instant::now();
    let mut generation = Generation::new(request)?;
    let mut steps_ms = Vec::with_capacity(generation.progress().steps_left);
    loop {
        let step = Instant::now();
        let left = generation.step()?.steps_left;
        steps_ms.push(ms(step.elapsed()));
        if left == 0 {
            break;
        }
    }
    let decoding = Instant::now();
    pixels(model, &generation, request.target())?;
    let (decode, whole) = (decoding.elapsed(), begun.elapsed());
    Ok(Round {
        ms: ms(whole),
        graphs_ms: ms(model.graph_time() - within),
        decode_ms: ms(decode),
        steps_ms,
        levels: Vec::new(),
        peak_rss_mb: None,
        read_gb_per_s: None,
        multiply_adds_per_second: None,
    })
}

/// Generates the batch once more and decodes each level as soon as it is finished.
fn time_levels(request: &Request) -> Result<Vec<LevelTime>> {
    let model = request.model();
    let mut levels = Vec::new();
    let begun = Instant::now();
    let mut decoding = Duration::ZERO;
    let mut generation = Generation::new(request)?;
    loop {
        let progress = generation.step()?;
        let finished = progress.level.filter(|level| level.tokens == progress.tokens);
        if let Some(level) = finished {
            let decode = Instant::now();
            pixels(model, &generation, level.tokens)?;
            let time = begun.elapsed() - decoding;
            decoding += decode.elapsed();
            levels.push(LevelTime { size: level.size, tokens: level.tokens, steps: progress.steps_done, ms: ms(time) });
        }
        if progress.steps_left == 0 {
            return Ok(levels);
        }
    }
}

/// Decodes all pictures to RGBA8.
fn pixels(model: &Model, generation: &Generation, tokens: usize) -> Result<()> {
    let all: Vec<&[u32]> =
        (0..generation.images().len()).map(|image| Ok(&generation.tokens(image)?[..tokens])).collect::<Result<_>>()?;
    for image in model.decode_batch(&all)? {
        std::hint::black_box(image.to_vec(PixelFormat::Rgba8)?);
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

//! One configuration in a process of its own: it opens the model, says so, and does a round for each line that comes.

use std::io::{BufRead, Write};
use std::time::{Duration, Instant};

use clap::Args;
use detailflow::plan::Step;
use detailflow::{Error, Generation, Guidance, Model, PixelFormat, Request, Result, Sampling, tasks};
use serde::{Deserialize, Serialize};

use super::floor;
use crate::{Failure, ModelArgs};

#[derive(Args)]
pub struct OneArgs {
    #[command(flatten)]
    model: ModelArgs,
    #[arg(long)]
    batch: u32,
    #[arg(long, allow_hyphen_values = true)]
    guidance: f32,
    /// 0 is the finest
    #[arg(long)]
    level: u32,
}

/// What such a process says, a line each.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    Opened(Opened),
    SampledToken,
    Round(Round),
    Failed { text: String, usage: bool },
}

/// What was opened.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Opened {
    pub device: String,
    pub precision: String,
    pub form: String,
    /// From the folder to compiled graphs, ONNX Runtime's own loading with it.
    pub open_ms: f64,
    /// The steps of a picture, in order.
    pub steps: Vec<StepShape>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepShape {
    pub rows: usize,
    pub query: usize,
    /// Of the weights that it multiplies with, and of the keys and values that it looks at. None when the bundle does not
    /// tell how large its network is.
    pub bytes: Option<u64>,
}

/// One batch of pictures, drawn twice: as a whole, and once more with a picture at each level.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Round {
    /// From the request to the pixels of all pictures.
    pub ms: f64,
    /// Of it, within ONNX Runtime.
    pub graphs_ms: f64,
    /// Of it, the decoder and what makes pixels of its output.
    pub decode_ms: f64,
    /// Of it, each step.
    pub steps_ms: Vec<f64>,
    pub levels: Vec<LevelTime>,
    /// The most memory that this process had, when the whole was drawn. None where the system does not tell.
    pub peak_rss_mb: Option<f64>,
    /// How fast as many threads read memory, a block as large as what a step reads. None where that is no bound.
    pub read_gb_per_s: Option<f64>,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct LevelTime {
    pub size: u32,
    pub tokens: usize,
    pub steps: usize,
    /// From the request to the pixels of this level of all pictures, without the time that coarser levels took to decode.
    pub ms: f64,
}

/// `dflow bench-one`: for `dflow bench`, not for people.
pub fn serve(args: &OneArgs) -> std::result::Result<(), Failure> {
    if let Err(failure) = answer(args) {
        let (text, usage) = match failure {
            Failure::Usage(error) => (error.to_string(), true),
            // The batch asks for it.
            Failure::Failed(error @ Error::OutOfMemory { .. }) => {
                (format!("{error}; a smaller --batch takes less"), true)
            }
            Failure::Failed(error) => (error.to_string(), false),
            other => return Err(other),
        };
        say(&Message::Failed { text, usage });
    }
    Ok(())
}

/// Nobody to tell is no failure: whoever asked is gone, and the next line will not come.
fn say(message: &Message) {
    let text = serde_json::to_string(message).expect("numbers and strings always serialise");
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

fn answer(args: &OneArgs) -> std::result::Result<(), Failure> {
    let begun = Instant::now();
    let model = args.model.open()?;
    let open_ms = ms(begun.elapsed());
    let mut request = Request::new(&model);
    ask(&mut request, args).map_err(Failure::Usage)?;
    let steps = shapes(&request)?;
    let largest = steps.iter().filter_map(|step| step.bytes).max();
    say(&Message::Opened(Opened {
        device: model.device().to_string(),
        precision: model.variant().precision.clone(),
        form: model.variant().form.clone(),
        open_ms,
        steps,
    }));
    for line in std::io::stdin().lock().lines() {
        match line.as_deref() {
            Ok("draw") => {
                draw(&request)?;
                say(&Message::SampledToken);
            }
            Ok("round") => {
                let mut round = draw(&request)?;
                // Before the rest of the round takes more.
                round.peak_rss_mb = peak_rss_mb();
                round.levels = watch(&request)?;
                let bytes = largest.filter(|_| floor::is_bound(&model.device().to_string()));
                round.read_gb_per_s = bytes.and_then(|bytes| floor::read_gb_per_s(bytes, model.threads()));
                say(&Message::Round(round));
            }
            _ => break,
        }
    }
    Ok(())
}

fn ask(request: &mut Request, args: &OneArgs) -> Result<()> {
    request.set_guidance(Guidance::constant(args.guidance))?.set_level(args.level)?.set_count(args.batch)?;
    // All codes are there to be drawn: what the bundle's makers cut off costs another time with each of them.
    request.set_sampling(Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 })?;
    Ok(())
}

/// The steps of a request and what each has to read.
fn shapes(request: &Request) -> Result<Vec<StepShape>> {
    let model = request.model();
    let (bundle, cost) = (model.bundle(), tasks::cost(request)?);
    // Form `fixed` looks at all places at each step, and its weights of 8 bits became floats when it was opened.
    let fixed = model.variant().form == "fixed";
    let bits = model.variant().weight_bits().map(|bits| if fixed && bits == 8 { 32 } else { bits });
    let weights = bundle.step_weights().zip(bits).map(|(count, bits)| count * u64::from(bits) / 8);
    let position = cost.key_bytes / bundle.tokens() as u64;
    // Guidance is the same for all of them, so steps of one query length have the same rows.
    let rows = |step: Step| cost.steps.iter().find(|cost| cost.query == step.query).map_or(0, |cost| cost.rows);
    let shape = |step: Step| StepShape {
        rows: rows(step),
        query: step.query,
        bytes: weights
            .map(|weights| weights + position * if fixed { bundle.tokens() } else { step.start + step.query } as u64),
    };
    Ok(model.schedule(request.target()).steps().map(shape).collect())
}

/// Draws the whole batch, from the request to the pixels.
fn draw(request: &Request) -> Result<Round> {
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
    })
}

/// Draws the batch once more, with the pictures of each level as soon as its tokens are there.
fn watch(request: &Request) -> Result<Vec<LevelTime>> {
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

/// The pixels of all pictures, as bytes.
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

/// The most memory that this process has had so far, in 10^6 bytes.
fn peak_rss_mb() -> Option<f64> {
    let status =
        if cfg!(target_os = "linux") { std::fs::read_to_string("/proc/self/status").ok()? } else { return None };
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kilobytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kilobytes * 1024.0 / 1e6)
}

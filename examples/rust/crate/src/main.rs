// SPDX-License-Identifier: MIT OR Apache-2.0
//! What a program does with the library: the scenario of examples/README.md, with the crate `detailflow`.

use std::fmt::Write as _;
use std::time::Duration;

use detailflow::tokens::Dft;
use detailflow::{
    Error, EventKind, Generation, Image, Model, ModelOptions, PixelFormat, Request, Result, SubmitOptions, Worker,
    WorkerOptions,
};

const JOBS: u32 = 4;
const MANY: u32 = 64;

/// FNV-1a, 64 bits.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |h, &byte| (h ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3))
}

fn pixels(image: &Image) -> Result<String> {
    Ok(format!("{:016x}", hash(&image.to_vec(PixelFormat::Rgba8)?)))
}

/// The name that the C API has for an error. A Rust program matches on the variants.
fn status_name(error: &Error) -> &'static str {
    match error {
        Error::Invalid(_) => "DETAILFLOW_STATUS_INVALID_ARGUMENT",
        Error::Cancelled => "DETAILFLOW_STATUS_CANCELLED",
        _ => "another error",
    }
}

/// 1. What the model is.
fn describe(model: &Model) {
    let bundle = model.bundle();
    let (name, size, tokens) = (bundle.name(), bundle.size(), bundle.tokens());
    println!("model {name}: {size} px, {tokens} tokens, {} classes", bundle.classes().len());
    for level in bundle.ladder().levels() {
        println!("level {} px: {} tokens", level.size, level.tokens);
    }
}

/// 2. An error, as a program shows it.
fn provoke_an_error(model: &Model) {
    if let Err(error) = model.bundle().class("no such class") {
        println!("error {}: {error}", status_name(&error));
    }
}

/// 3. One picture step by step; each level is shown when it is complete. Returns its tokens.
fn draw(model: &Model, class: u32, seed: u64) -> Result<Vec<u32>> {
    let mut request = Request::new(model);
    request.set_class(class)?.set_seed(seed);
    let mut generation = Generation::new(&request)?;
    let mut shown = 0;
    loop {
        let progress = generation.step()?;
        if let Some(level) = progress.level
            && level.size > shown
        {
            println!("drawn {} px {}", level.size, pixels(&generation.level_image(0)?)?);
            shown = level.size;
        }
        if progress.steps_left == 0 {
            break;
        }
    }
    let tokens = generation.tokens(0)?.to_vec();
    let text = tokens.iter().fold(String::new(), |mut text, token| {
        let _ = write!(text, " {token}");
        text
    });
    println!("tokens{text}");
    Ok(tokens)
}

/// 4. A token file in memory, and the picture from it.
fn round_trip(model: &Model, tokens: Vec<u32>, class: u32, seed: u64) -> Result<()> {
    let file = model.bundle().dft(Some(class), Some(seed), tokens)?.encode()?;
    let (back, soundness) = Dft::decode(&file)?;
    println!(
        "file {} bytes {:016x}: class {}, seed {}, {} tokens",
        file.len(),
        hash(&file),
        back.class.unwrap_or_default(),
        back.seed.unwrap_or_default(),
        soundness.sound
    );
    let image = model.decode(&back.tokens)?;
    println!("decoded {} px {}", image.size(), pixels(&image)?);
    Ok(())
}

/// 5. Another thread cancels what this one draws; the tokens so far are kept.
fn cancel(model: &Model) -> Result<()> {
    let mut request = Request::new(model);
    request.set_count(MANY)?;
    let mut generation = Generation::new(&request)?;
    generation.step()?;
    let stop = generation.cancel_handle();
    let stopping = std::thread::spawn(move || stop.cancel());
    let ended = loop {
        match generation.step() {
            Ok(progress) if progress.steps_left > 0 => {}
            Ok(_) => break "DETAILFLOW_STATUS_OK",
            Err(error) => break status_name(&error),
        }
    };
    stopping.join().expect("it does not panic");
    println!("cancelled {ended}: {}", if generation.progress().tokens > 0 { "tokens are kept" } else { "no tokens" });
    Ok(())
}

/// 6. Jobs of a worker; its events are polled.
fn work(model: &Model) -> Result<()> {
    let worker = Worker::new(&WorkerOptions::new())?;
    for at in 0..JOBS {
        let mut request = Request::new(model);
        request.set_class(at)?.set_seed(at.into());
        worker.submit(&request, SubmitOptions::new().with_user(at.into()).with_decode(true))?;
    }
    let mut lines = Vec::new();
    while worker.pending() > 0 {
        let Some(event) = worker.wait(Duration::from_millis(10)) else { continue };
        match event.kind() {
            // The last event of a job repeats its last level.
            EventKind::Level => {
                let image = event.image(0)?;
                lines.push(format!("job {}: {:4} px {}", event.user(), image.size(), pixels(&image)?));
            }
            EventKind::Done => {}
            EventKind::Cancelled => return Err(Error::Cancelled),
            EventKind::Failed(error) => return Err(Error::State(error.to_string())),
        }
    }
    // Jobs end in any order.
    lines.sort();
    lines.iter().for_each(|line| println!("{line}"));
    Ok(())
}

/// 7. The program ends while a worker draws.
fn quit(model: &Model) -> Result<()> {
    let worker = Worker::new(&WorkerOptions::new())?;
    let mut request = Request::new(model);
    request.set_count(MANY)?;
    worker.submit(&request, SubmitOptions::new())?;
    println!("quit with {} job going on", worker.pending());
    std::process::exit(0);
}

fn main() -> Result<()> {
    let options = ModelOptions::default();
    let model = match std::env::args_os().nth(1) {
        Some(path) => Model::open(path, &options)?,
        None => Model::open_default(&options)?,
    };
    describe(&model);
    provoke_an_error(&model);
    let potion = model.bundle().class("potion")?;
    let tokens = draw(&model, potion, 7)?;
    round_trip(&model, tokens, potion, 7)?;
    cancel(&model)?;
    work(&model)?;
    quit(&model)
}

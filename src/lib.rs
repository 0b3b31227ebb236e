//! DetailFlow image generation: a picture as one short sequence of tokens, coarse to fine, drawn group by group by
//! an autoregressive model (arXiv 2505.21473). This library runs models that `detailflow_onnx` has exported, on
//! ONNX Runtime, and is made to be embedded.
//!
//! ```no_run
//! use detailflow::{Model, ModelOptions, Request, Generation};
//! # fn main() -> detailflow::Result<()> {
//! let model = Model::open_default(&ModelOptions::default())?;
//! let mut request = Request::new(&model);
//! request.set_class(model.bundle().class("potion")?)?.set_seed(7);
//! let mut generation = Generation::new(&request)?;
//! while generation.step()?.steps_left > 0 {
//!     // Every prefix is a picture: generation.image(0)? would be the one so far.
//! }
//! generation.image(0)?.save("potion.png")?;
//! # Ok(()) }
//! ```
//!
//! The rooms, in the order in which data flows:
//!
//! - [`bundle`]: a model on disk; its manifest read, its files checked.
//! - [`plan`]: arithmetic about tokens: the ladder from tokens to resolution, the schedule of steps, curves, guidance,
//!   memory.
//! - `runtime`: the only room that knows ONNX Runtime: find it, devices by name, compile graphs, report where they run,
//!   keep keys and values, end in peace.
//! - `kernels`: the arithmetic of our own operators on the CPU: int8 products, attention over kept keys, the same bits on
//!   every processor.
//! - `model`: a bundle with its graphs compiled; shared.
//! - `request`: what to draw; checked as it is set.
//! - [`sample`]: from logits to a token: guide, temperature, top-k, top-p, draw by counter-based random numbers.
//! - `rows`: which rows a step feeds; pictures that began alike share theirs until they part.
//! - `generation`: one request on its way; the only loop: step, advance, fork, keep, log-probabilities.
//! - `cancel`: a flag that decides and an interrupt that hurries.
//! - `worker`: requests drawn in the background, those of a model together, told of in events.
//! - `judge`: how far one variant's numbers are from another's.
//! - `score`, `best`, `vary`, `repair`: how likely given tokens are; the best of many; variations of what is there; the
//!   rest of a damaged token file.
//! - `pace`, `calibration`, `cost`: how long steps take here, measured and kept; what a request costs before it is made.
//! - `tokenizer`: pictures to tokens and back.
//! - `detail`: levels of detail for engines: mips, sprites in an atlas, a finer picture made coarser.
//! - [`pixels`]: RGB8, RGBA8, RGBA32F in anyone's memory, larger and smaller, and picture files.
//! - [`tokens`]: token files: one sequence, many in a pack, JSON.
//! - `error`, `files`, `memory`, `sync`, [`log`]: one error for all, files that appear whole, memory that can be
//!   refused, what threads meet at, messages for whoever embeds us.
//! - [`ffi`]: the C contract. It, `kernels` and `runtime::{sys, raw, lent}` hold the only unsafe code.

pub mod bundle;
#[cfg(feature = "ffi")]
pub mod ffi;
mod generation;
mod kernels;
mod model;
pub mod pixels;
pub mod plan;
mod runtime;
pub mod sample;
mod support;
pub mod tasks;
mod timing;
pub mod tokens;
#[cfg(feature = "worker")]
mod worker;

pub use bundle::Bundle;
pub use generation::request::{ImageRequest, Request};
pub use generation::{Cancel, Generation, Memory, Progress, Reader, Snapshot};
pub use model::{Model, ModelOptions, OpenCancel, OpenProgress, OpenWatch, Precision, default_bundle};
pub use pixels::{Canvas, Image, Picture, PixelFormat};
pub use plan::{Curve, Guidance};
pub use runtime::{
    AllocatorMemory, Assigned, Device, DeviceInfo, DeviceKind, DeviceOptions, Form, GraphReport, Library, Report,
    Spinning, devices, init, library,
};
pub use sample::{Sampling, SamplingCurves};
pub use support::error::{Error, Result};
pub use support::files::write_file;
pub use support::log;
#[cfg(feature = "calibration")]
pub use tasks::Calibration;
pub use tasks::{
    BestOf, Candidate, Comparison, Cost, LevelCost, LogitComparison, MipSource, RecordComparison, Round, Scorer,
    Sprite, StepCost, Tolerance,
};
#[cfg(feature = "worker")]
pub use worker::{Event, EventKind, JobId, SubmitOptions, Worker, WorkerOptions};

/// The version of this library, `major.minor.patch`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Rust of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

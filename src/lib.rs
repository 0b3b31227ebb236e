//! DetailFlow image generation: an autoregressive model (arXiv 2505.21473) generates an image as one short sequence of
//! tokens, coarse to fine. The first tokens already decode to the whole picture at a low resolution, and every further
//! group of tokens adds detail. This library runs models that the Python package `detailflow_onnx` has exported to ONNX, on
//! ONNX Runtime, and is made to be embedded.
//!
//! ```no_run
//! use detailflow::{Generation, Model, ModelOptions, Request};
//! # fn main() -> detailflow::Result<()> {
//! let model = Model::open_default(&ModelOptions::new())?;
//! let mut request = Request::new(&model);
//! request.set_class(model.bundle().class("potion")?)?.set_seed(7);
//! let mut generation = Generation::new(&request)?;
//! while generation.step()?.steps_left > 0 {
//!     // Every prefix decodes to a picture: generation.image(0)? is the one so far.
//! }
//! generation.image(0)?.save("potion.png")?;
//! # Ok(()) }
//! ```
//!
//! The folders, in the order in which data flows:
//!
//! - [`bundle`]: a model on disk; reads its manifest, checks its files.
//! - [`plan`]: pure arithmetic: the ladder from tokens to resolution, the schedule of steps, curves, guidance, memory, work.
//! - `runtime`: the only folder that knows ONNX Runtime: finds and loads it, opens devices by name, compiles graphs,
//!   reports where they run, holds the KV cache.
//! - `kernels`: pure computing on the CPU for our own operators: GEMM, attention, quantization; the same bits on every CPU.
//! - `model`: a bundle with its graphs compiled, shared between threads; encodes pictures and decodes tokens.
//! - [`sample`]: pure: from the logits of a step to token ids, by counter-based random numbers.
//! - `generation`: a request on its way; the only loop: step, advance, fork, keep, snapshots for other threads.
//! - `worker`: requests in the background, batched by model, reported by events (feature `worker`).
//! - [`tasks`]: whole operations in one call: generate an image, best of many, variations, repair, scores, levels of
//!   detail, cost, calibration, comparison.
//! - `pipeline`: many pictures from a job file to files on disk (feature `pipeline`).
//! - `timing`: measured and predicted latencies, and the calibration file (feature `calibration`).
//! - [`pixels`]: images in any memory: formats, strides, alpha, resizing, atlases, files (feature `image-files`).
//! - [`tokens`]: token files: one sequence, many in a pack, JSON.
//! - `support`: one error type, [`log`] messages, files, fallible memory, synchronization.
//! - `ffi`: the C API (feature `ffi`). Unsafe code is only there, in `kernels`, in `support`, and in the files of `runtime`
//!   that say why.

#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
pub mod bundle;
#[cfg(feature = "ffi")]
pub mod ffi;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
mod generation;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
mod kernels;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
mod model;
#[cfg(feature = "pipeline")]
pub mod pipeline;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
pub mod pixels;
pub mod plan;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
mod runtime;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
pub mod sample;
mod support;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
pub mod tasks;
mod timing;
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
pub mod tokens;
#[cfg(feature = "worker")]
#[cfg_attr(not(test), warn(clippy::disallowed_methods))]
mod worker;

pub use bundle::Bundle;
pub use generation::request::{ImageRequest, Request};
pub use generation::{Cancel, Generation, Memory, Progress, Reader, Snapshot};
pub use model::{
    EncodeOptions, MAX_EFFORT, Model, ModelOptions, OpenCancel, OpenProgress, OpenWatch, Precision, default_bundle,
};
pub use pixels::{Canvas, Image, Picture, PixelFormat};
pub use plan::{Curve, Guidance, Mix};
pub use runtime::{
    AllocatorMemory, Assigned, Device, DeviceInfo, DeviceKind, DeviceOptions, Form, GraphReport, Library, Report,
    Spinning, devices, init, library, set_api,
};
pub use sample::{Sampling, SamplingCurves};
pub use support::error::{Error, Result};
pub use support::files::write_file;
pub use support::log;
pub use support::parallel::ParallelFor;
pub use support::read_at::ReadAt;
pub use support::text::{printable, printable_lines};
#[cfg(feature = "calibration")]
pub use tasks::Calibration;
pub use tasks::{
    BestOf, Candidate, Comparison, Cost, LevelCost, LogitComparison, MipSource, RecordComparison, Round, Scorer,
    Sprite, StepCost, Tolerance,
};
#[cfg(feature = "worker")]
pub use worker::{Event, EventKind, JobId, SubmitOptions, TickReport, Worker, WorkerOptions, WorkerOrder};

/// The version of this library, `major.minor.patch`.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The Rust of the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;

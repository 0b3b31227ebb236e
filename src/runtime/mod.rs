//! The only folder that knows ONNX Runtime (the crate `ort`): it finds and loads the library, names and lists devices,
//! compiles graphs, runs them, and keeps the KV caches of generations. No type of `ort` leaves it.
//!
//! Each entry uses only entries named before it:
//!
//! - `version`, `form`, `failure`, `onnx_file`: small pure parts;
//! - `sys`, `exit`: calls to the system; `exit()` while work is in flight;
//! - `context`: what sessions of a device share within a process;
//! - `search`: finds and loads ONNX Runtime; `library`: makes its environment; `host_api`: the host's own copy instead;
//! - `device`: devices and their execution providers; one row of facts for each;
//! - `operators`: our own operators, for form `native`;
//! - `threads`: the threads of a session's pool;
//! - `session`: a graph becomes a session on a device; `initializer`: the values of one tensor of a graph;
//! - `row_copy`: copies rows within device memory;
//! - `replay`: steps that a device replays as a whole; `fixed_call`: what a step of form `fixed` is given;
//! - `interrupt`, `port`, `graph`: one compiled graph with its signature, and how a run of it is stopped;
//! - `sampler`: samples tokens on the device; `together`: steps of several generations in one run;
//! - `cache`: the KV cache of one generation, one file for each layout.
//!
//! Weaknesses of `ort` and ONNX Runtime are dealt with here and nowhere else: a panic when `ort` is used before the
//! library is loaded, silent fallback to the CPU, options that are ignored.

mod bindings;
mod cache;
mod context;
mod device;
mod exit;
mod failure;
mod fixed_call;
mod form;
mod graph;
mod host_api;
mod initializer;
mod interrupt;
mod lanes;
mod library;
mod onnx_file;
mod operators;
mod port;
mod replay;
mod row_copy;
mod sampler;
#[cfg(feature = "load-runtime")]
mod search;
#[cfg(not(feature = "load-runtime"))]
#[path = "no_search.rs"]
mod search;
mod session;
mod sys;
mod threads;
mod together;
mod version;

pub(crate) use cache::{KvCache, KvCacheOptions};
pub use device::{AllocatorMemory, Assigned, GraphReport, Report};
pub use device::{Device, DeviceKind, DeviceOptions};
pub use device::{DeviceInfo, devices};
pub(crate) use device::{RECORDS, Suitability, candidates};
#[cfg(feature = "worker")]
pub(crate) use exit::enter;
pub use form::Form;
pub(crate) use graph::Graph;
pub use host_api::set_api;
pub(crate) use initializer::initializer;
pub(crate) use interrupt::Interrupt;
pub(crate) use lanes::{Lane, Lanes};
pub use library::{Library, init, library};
pub(crate) use port::{Dim, Element, Port};
pub(crate) use sampler::{DeviceSampler, SampledToken};
pub use session::Spinning;
pub(crate) use session::{GraphContent, GraphOptions, GraphSource, SharedWeights};
pub(crate) use sys::anchors;
pub(crate) use together::JointStep;
pub(crate) use version::major_minor;

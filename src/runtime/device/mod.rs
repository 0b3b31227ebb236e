//! Devices: what they are called, what is known about each, and how a session is made to run on one.
//!
//! Each file uses only files named before it:
//!
//! - `name`, `options`: the public types [`Device`], [`DeviceKind`] and [`DeviceOptions`];
//! - `built_in`: constructors of the execution providers that can be part of libonnxruntime;
//! - `facts`: one row for each family of devices; everything below reads it;
//! - `parse`: devices as text; `preference`: which variants of a bundle suit a device;
//! - `raw`: what ONNX Runtime tells of devices, by calls that `ort` has no safe name for;
//! - `diagnose`: why a provider cannot be used, and the remedy;
//! - `plugin`, `openvino`: provider libraries; `attach`: a session gets its provider;
//! - `auto`: the devices that `auto` tries; `list`: the devices of this machine;
//! - `report`, `memory`, `placement`: what really runs where.

mod attach;
mod auto;
mod built_in;
mod diagnose;
mod facts;
mod list;
mod memory;
mod name;
mod openvino;
mod options;
mod parse;
mod placement;
mod plugin;
mod preference;
mod raw;
mod report;

pub(crate) use attach::RECORDS;
pub(super) use attach::attach;
pub(crate) use auto::candidates;
pub(super) use diagnose::refused;
pub use list::{DeviceInfo, devices};
pub(super) use memory::{allocator, memory_info, seen_by_both};
pub use name::{Device, DeviceKind};
pub use options::DeviceOptions;
pub(super) use placement::{all_on_cpu, assigned, matmuls_in, report};
pub(crate) use preference::Suitability;
pub use report::{AllocatorMemory, Assigned, GraphReport, Report};

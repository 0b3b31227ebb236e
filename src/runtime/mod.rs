//! The only rooms that know ONNX Runtime: find and load it, name devices and list them, compile graphs, say where they
//! run, keep keys and values.
//!
//! The way of a device: `device` is its name as text; `provider` finds what computes there, and says what is missing;
//! `session` compiles a graph for it; `report` tells what really runs where; `listing` what there is at all.
//!
//! What `ort` and ONNX Runtime do badly is dealt with here and nowhere else, and none of their types leave.

mod cache;
mod device;
mod exit;
mod form;
mod graph;
mod lent;
mod library;
mod sampler;
mod together;

mod operators;
mod row_copy;

mod raw;

mod session;
mod sys;

pub(crate) use cache::{KvCache, KvCacheOptions};
pub use device::{AllocatorMemory, Assigned, GraphReport, Report};
pub use device::{Device, DeviceKind, DeviceOptions};
pub use device::{DeviceInfo, devices};
pub(crate) use device::{candidates, has_memory};
#[cfg(feature = "worker")]
pub(crate) use exit::enter;
pub use form::Form;
pub(crate) use graph::{Dim, Element, Graph, Interrupt, Port};
pub use library::{Library, init, library};
pub(crate) use sampler::{DeviceSampler, SampledToken};
pub(crate) use session::GraphOptions;
pub use session::Spinning;
pub(crate) use sys::anchors;
pub(crate) use together::JointStep;

use crate::support::error::Error;

/// An error of ONNX Runtime as one of ours. `what` says what was being done. Only to be called with errors that ort
/// made itself, so the library is loaded.
fn failed<R>(what: &str, error: ort::Error<R>) -> Error {
    let text = error.message();
    if text.contains("bad_alloc") || text.contains("ailed to allocate") {
        return Error::OutOfMemory { what: what.to_owned(), bytes: requested_bytes(text) };
    }
    Error::Failed { graph: what.to_owned(), reason: text.to_owned() }
}

/// `major.minor` of a version, (0, 0) where it cannot be read.
pub(crate) fn major_minor(version: &str) -> (u32, u32) {
    let mut numbers = version.split('.').map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The size in ONNX Runtime's "Failed to allocate memory for requested buffer of size N", 0 when it names none.
fn requested_bytes(text: &str) -> u64 {
    let digits = text.rsplit("of size").next().unwrap_or_default().trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions() {
        assert_eq!(super::major_minor("1.32.0"), (1, 32));
        assert_eq!(super::major_minor("1.9"), (1, 9));
        assert_eq!(super::major_minor("soup"), (0, 0));
    }

    #[test]
    fn the_size_of_a_failed_allocation_is_read() {
        assert_eq!(super::requested_bytes("x Failed to allocate memory for requested buffer of size 4096\n"), 4096);
        assert_eq!(super::requested_bytes("std::bad_alloc"), 0);
    }
}

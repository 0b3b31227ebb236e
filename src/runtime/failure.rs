//! Errors of ONNX Runtime as errors of this crate.

use crate::support::error::Error;

/// What a message holds when the system is short of memory, address space or threads: ENOMEM and EAGAIN in English, which is
/// what ONNX Runtime prints, its own words, and those of our operators.
const SHORTAGES: [&str; 5] =
    ["bad_alloc", "ailed to allocate", "Cannot allocate memory", "Resource temporarily unavailable", "out of memory: "];

/// Converts an error of ONNX Runtime. `what` names the graph, or what was being done. Only for errors that `ort` made, so
/// that the library is loaded.
pub(super) fn failed<R>(what: &str, error: ort::Error<R>) -> Error {
    let text = error.message();
    if is_shortage(&error) {
        return Error::OutOfMemory { what: what.to_owned(), bytes: requested_bytes(text) };
    }
    Error::Failed { graph: what.to_owned(), reason: text.to_owned() }
}

/// Whether memory ran out.
pub(super) fn is_shortage<R>(error: &ort::Error<R>) -> bool {
    SHORTAGES.iter().any(|shortage| error.message().contains(shortage))
}

/// The size in ONNX Runtime's "Failed to allocate memory for requested buffer of size N", or in our "needs N bytes"; 0 when it
/// names none.
fn requested_bytes(text: &str) -> u64 {
    let rest = text.rsplit_once("of size").or_else(|| text.rsplit_once(" needs ")).map_or("", |(_, rest)| rest);
    let digits = rest.trim_start();
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    digits[..end].parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    #[test]
    fn failed_allocation_gives_the_requested_size() {
        assert_eq!(super::requested_bytes("x Failed to allocate memory for requested buffer of size 4096\n"), 4096);
        assert_eq!(super::requested_bytes("std::bad_alloc"), 0);
        assert_eq!(super::requested_bytes("out of memory: attention needs 700 bytes"), 700);
    }
}

//! Attention in f32: over the KV cache ([`Attention`]) and within an image ([`FullAttention`]). Every sum is taken in one order,
//! so that all instruction sets, and any number of queries at once, give the same numbers.

mod cached;
mod full;
pub(super) mod matmul;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod portable;
mod softmax;
mod stored;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

pub(crate) use cached::{Attention, QueryToken};
pub(crate) use full::FullAttention;

/// What errors about memory name.
const ATTENTION: &str = "attention";

/// That a thread has no memory for `count` floats to work with.
fn out_of_memory(count: usize) -> String {
    let bytes = count.saturating_mul(size_of::<f32>()) as u64;
    crate::Error::OutOfMemory { what: ATTENTION.into(), bytes }.to_string()
}

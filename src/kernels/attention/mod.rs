//! Attention in f32: over the KV cache ([`Attention`]) and within an image ([`FullAttention`]). Every sum is taken in one order,
//! so that all instruction sets, and any number of queries at once, give the same numbers.

mod cached;
mod full;
pub(super) mod matmul;
pub(super) mod portable;
mod softmax;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

pub(crate) use cached::{Attention, QueryToken};
pub(crate) use full::FullAttention;

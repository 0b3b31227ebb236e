//! GEMM of 8-bit rows with 8-bit weights, summed exactly in 32 bits. One file for each architecture; [`operands`] has the types
//! that they share.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
pub(super) mod driver;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod operands;
#[cfg(any(target_arch = "aarch64", target_arch = "x86_64"))]
mod passes;
pub(super) mod portable;
#[cfg(target_arch = "x86_64")]
pub(super) mod sse2;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

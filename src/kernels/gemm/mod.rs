//! GEMM of 8-bit rows with 8-bit or 4-bit weights, summed exactly in 32 bits. 4-bit weights stand for 8-bit ones: [`expand`] makes
//! those for most kernels; where it takes more time than multiplying, there are kernels of their own (`int4_x86`). One file for each architecture; [`operands`] has the types
//! that they share.

#[cfg(target_arch = "x86_64")]
pub(super) mod amx;
pub(super) mod driver;
mod expand;
#[cfg(target_arch = "x86_64")]
pub(super) mod int4_x86;
#[cfg(target_arch = "aarch64")]
pub(super) mod neon;
pub(super) mod operands;
#[cfg_attr(not(any(target_arch = "aarch64", target_arch = "x86_64")), allow(dead_code, unused_macros, unused_imports))]
mod passes;
pub(super) mod portable;
#[cfg(target_arch = "x86_64")]
pub(super) mod sse2;
#[cfg(target_arch = "x86_64")]
pub(super) mod x86;

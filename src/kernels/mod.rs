//! Arithmetic of our own operators on the CPU: linear layers with int8 or int4 weights ([`linear`]) and attention ([`attention`]) over
//! the KV cache ([`kv`], [`packed`] while it waits). Pure computing: no ONNX Runtime, no file, no allocation in the steady state; `runtime::operators`
//! brings it into the graphs.
//!
//! **Bit-identical everywhere.** Integer GEMMs are exact in whatever order they are summed. All f32 arithmetic is done on 16
//! lanes in one fixed order, whatever the register width, with fused multiply-adds where (and only where) the source says so;
//! CPUs without that instruction compute the same from others ([`simd::mul_add`]).
//! So the result of a row depends on that row alone: not on its position in a batch, not on threads, not on the CPU.
//!
//! **Instruction sets.** [`isa`] has one row for each. Adding one takes a kernel in `gemm/`, one in `attention/`, and a row.
//!
//! **Unsafe** code in this folder: vector loads and stores, and buffers that several threads write at disjoint places.

#![allow(unsafe_code, reason = "see the module documentation")]

pub(crate) mod attention;
mod element;
mod gemm;
mod int4_rows;
mod isa;
pub(crate) mod kv;
pub(crate) mod linear;
pub(crate) mod memory;
pub(crate) mod packed;
mod peak;
mod pieces;
mod pool;
mod quantize;
mod simd;

pub(crate) use isa::Isa;
pub(crate) use peak::multiply_adds_per_second;
pub(crate) use pool::Pool;

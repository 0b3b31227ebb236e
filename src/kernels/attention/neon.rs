//! The matrix product of attention with the vectors of AArch64, by intrinsics: compilers keep the sums of loops over arrays in
//! memory.

#![allow(clippy::needless_range_loop, reason = "the arrays stand for registers; the indices name them")]

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;

use super::super::element::KvElement;
use super::super::simd::LANES;
use super::matmul::MatMul;

/// The most rows of a block: their sums fill 24 of 32 registers.
const HEIGHT: usize = 6;
/// Registers of a vector of 16.
const PARTS: usize = 4;
/// Numbers of a register.
const WIDTH: usize = LANES / PARTS;

pub(in crate::kernels) fn matmul<B: KvElement>(product: MatMul<'_, B>) {
    let passes = product.rows.div_ceil(HEIGHT);
    for pass in 0..passes {
        let (row, end) = (pass * product.rows / passes, (pass + 1) * product.rows / passes);
        for vector in 0..product.vectors {
            // SAFETY: within the product's rows and vectors.
            unsafe {
                match end - row {
                    1 => block::<B, 1>(product, row, vector),
                    2 => block::<B, 2>(product, row, vector),
                    3 => block::<B, 3>(product, row, vector),
                    4 => block::<B, 4>(product, row, vector),
                    5 => block::<B, 5>(product, row, vector),
                    _ => block::<B, HEIGHT>(product, row, vector),
                }
            }
        }
    }
}

/// # Safety
/// `R` rows from `row` and the vector of 16 exist.
unsafe fn block<B: KvElement, const R: usize>(product: MatMul<'_, B>, row: usize, vector: usize) {
    // Address offsets are computed before the loop, or wrap, so that the loop has no overflow checks.
    let below: [usize; R] = from_fn(|r| (row + r) * product.a_stride);
    let (mut a, mut b) = (product.a, product.b.wrapping_add(vector * product.b_vector_stride));
    // SAFETY: every AArch64 CPU has these vectors; the addresses are the caller's promise.
    unsafe {
        let mut sums = [[vdupq_n_f32(0.0); PARTS]; R];
        for _ in 0..product.depth {
            let line: [float32x4_t; PARTS] = from_fn(|part| load(b.wrapping_add(part * WIDTH)));
            for r in 0..R {
                let one = vdupq_n_f32(*a.wrapping_add(below[r]));
                for part in 0..PARTS {
                    sums[r][part] = vfmaq_f32(sums[r][part], one, line[part]);
                }
            }
            (a, b) = (a.wrapping_add(1), b.wrapping_add(product.b_row_stride));
        }
        for r in 0..R {
            let out = product.out.add((row + r) * product.out_stride + vector * LANES);
            for part in 0..PARTS {
                vst1q_f32(out.add(part * WIDTH), sums[r][part]);
            }
        }
    }
}

/// The numbers of [`WIDTH`] elements.
///
/// # Safety
/// They exist.
#[inline(always)]
unsafe fn load<B: KvElement>(from: *const B) -> float32x4_t {
    // SAFETY: every AArch64 CPU has these vectors, and this conversion; the elements are of the type that `HALF` says.
    unsafe {
        if !B::HALF {
            return vld1q_f32(from.cast());
        }
        let halves = vld1_u16(from.cast());
        let numbers: float32x4_t;
        asm!("fcvtl {0:v}.4s, {1:v}.4h", out(vreg) numbers, in(vreg) halves, options(pure, nomem, nostack, preserves_flags));
        numbers
    }
}

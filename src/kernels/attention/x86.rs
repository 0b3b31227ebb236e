//! The matrix product of attention with the vectors of x86-64, by intrinsics: compilers keep the sums of loops over arrays in
//! memory.

#![allow(clippy::needless_range_loop, reason = "the arrays stand for registers; the indices name them")]

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

use super::super::element::KvElement;
use super::super::simd::LANES;
use super::matmul::{MatMul, Prefetch};

/// The most rows of a block: their sums fill 24 of 32 registers of 512 bits, or 12 of 16 of 256 bits.
const HEIGHT: usize = 6;

/// What is left to prefetch, and how many lines of it at each step.
struct PrefetchState {
    left: Prefetch,
    each: usize,
}

/// 16 numbers from 16-bit floats.
///
/// # Safety
/// They exist.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn widen512(from: *const __m256i) -> __m512 {
    // SAFETY: the caller's promise.
    unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(from)) }
}

/// 8 numbers from 16-bit floats.
///
/// # Safety
/// They exist.
#[inline]
#[target_feature(enable = "avx2,f16c")]
unsafe fn widen256(from: *const __m128i) -> __m256 {
    // SAFETY: the caller's promise.
    unsafe { _mm256_cvtph_ps(_mm_loadu_si128(from)) }
}

/// Defines a version: 16 numbers are `$parts` registers `$vector`; `$together` vectors of 16 are computed at once, as long as
/// there are so many.
macro_rules! matmul {
    (
        $name:ident, $inner:ident, $pass:ident, $block:ident, $features:literal, $parts:literal x $vector:ty,
        $together:literal: [$($width:literal),+],
        $zero:ident, $load:ident, $widen:ident, $store:ident, $spread:ident, $multiply:ident
    ) => {
        pub(in crate::kernels) fn $name<B: KvElement>(product: MatMul<'_, B>) {
            // SAFETY: `isa` selects this function only where the CPU has these features.
            unsafe { $inner(product) }
        }

        #[target_feature(enable = $features)]
        fn $inner<B: KvElement>(product: MatMul<'_, B>) {
            let passes = product.rows.div_ceil(HEIGHT);
            let groups = product.vectors.div_ceil($together);
            let each = product.prefetch.lines.div_ceil((passes * groups * product.depth).max(1));
            let mut prefetch = PrefetchState { left: product.prefetch, each };
            for pass in 0..passes {
                let (row, end) = (pass * product.rows / passes, (pass + 1) * product.rows / passes);
                let mut vector = 0;
                while vector < product.vectors {
                    let width = (product.vectors - vector).min($together);
                    #[allow(unreachable_patterns, reason = "some versions take one vector at once")]
                    // SAFETY: within the product's rows and vectors.
                    unsafe {
                        match width {
                            $($width => $pass::<B, $width>(product, row..end, vector, &mut prefetch),)+
                            _ => unreachable!("at most {} vectors", $together),
                        }
                    }
                    vector += width;
                }
            }
        }

        /// # Safety
        /// The rows, at most `HEIGHT`, and `V` vectors of 16 from `vector` exist.
        #[inline]
        #[target_feature(enable = $features)]
        unsafe fn $pass<B: KvElement, const V: usize>(
            product: MatMul<'_, B>,
            rows: Range<usize>,
            vector: usize,
            prefetch: &mut PrefetchState,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                match rows.len() {
                    1 => $block::<B, 1, V>(product, rows.start, vector, prefetch),
                    2 => $block::<B, 2, V>(product, rows.start, vector, prefetch),
                    3 => $block::<B, 3, V>(product, rows.start, vector, prefetch),
                    4 => $block::<B, 4, V>(product, rows.start, vector, prefetch),
                    5 => $block::<B, 5, V>(product, rows.start, vector, prefetch),
                    _ => $block::<B, HEIGHT, V>(product, rows.start, vector, prefetch),
                }
            }
        }

        /// # Safety
        /// `R` rows from `row` and `V` vectors of 16 from `vector` exist.
        #[target_feature(enable = $features)]
        unsafe fn $block<B: KvElement, const R: usize, const V: usize>(
            product: MatMul<'_, B>,
            row: usize,
            vector: usize,
            prefetch: &mut PrefetchState,
        ) {
            const WIDTH: usize = LANES / $parts;
            let mut sums: [[[$vector; $parts]; V]; R] = [[[$zero(); $parts]; V]; R];
            // Address offsets are computed before the loop, or wrap, so that the loop has no overflow checks.
            let below: [usize; R] = from_fn(|r| (row + r) * product.a_stride);
            let right: [usize; V] = from_fn(|v| v * product.b_vector_stride);
            let (mut a, mut b) = (product.a, product.b.wrapping_add(vector * product.b_vector_stride));
            // SAFETY: the caller's promise.
            unsafe {
                let PrefetchState { mut left, each } = *prefetch;
                for _ in 0..product.depth {
                    for _ in 0..each.min(left.lines) {
                        _mm_prefetch::<_MM_HINT_T1>(left.from.cast());
                        left = Prefetch { from: left.from.wrapping_add(Prefetch::LINE), lines: left.lines.wrapping_sub(1) };
                    }
                    let mut lines = [[$zero(); $parts]; V];
                    for v in 0..V {
                        for part in 0..$parts {
                            let line = b.wrapping_add(right[v]).wrapping_add(part * WIDTH);
                            lines[v][part] = if B::HALF { $widen(line.cast()) } else { $load(line.cast()) };
                        }
                    }
                    for r in 0..R {
                        let one = $spread(*a.wrapping_add(below[r]));
                        for v in 0..V {
                            for part in 0..$parts {
                                sums[r][v][part] = $multiply(one, lines[v][part], sums[r][v][part]);
                            }
                        }
                    }
                    (a, b) = (a.wrapping_add(1), b.wrapping_add(product.b_row_stride));
                }
                prefetch.left = left;
                for r in 0..R {
                    for v in 0..V {
                        let out = product.out.add((row + r) * product.out_stride + (vector + v) * LANES);
                        for part in 0..$parts {
                            $store(out.add(part * WIDTH), sums[r][v][part]);
                        }
                    }
                }
            }
        }
    };
}

#[rustfmt::skip]
matmul!(
    matmul512, inner512, pass512, block512, "avx512f", 1 x __m512, 4: [1, 2, 3, 4],
    _mm512_setzero_ps, _mm512_loadu_ps, widen512, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps
);
#[rustfmt::skip]
matmul!(
    matmul256, inner256, pass256, block256, "avx2,fma,f16c", 2 x __m256, 1: [1],
    _mm256_setzero_ps, _mm256_loadu_ps, widen256, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps
);

//! [`Outer`] with the vectors of x86-64. Written by hand: compilers keep the sums of loops over arrays in memory.

#![allow(clippy::needless_range_loop)] // The indices are those of registers, for which the arrays stand.

use std::arch::x86_64::*;
use std::array::from_fn;

use super::super::simd::LANES;
use super::{Ahead, Outer};

/// Rows that go past vectors together, at most: their sums fill 24 of 32 long registers, or 12 of 16 shorter ones.
const HEIGHT: usize = 6;

/// What is fetched meanwhile, and how much of it at each step.
struct Fetch {
    ahead: Ahead,
    each: usize,
}

/// Defines a version: `$vector` holds a part of 16 numbers, of which there are `$parts`; `$together` lots of 16 are taken
/// at once, as long as there are so many.
macro_rules! outer {
    (
        $name:ident, $block:ident, $features:literal, $parts:literal x $vector:ty, $together:literal,
        $zero:ident, $load:ident, $store:ident, $spread:ident, $multiply:ident
    ) => {
        /// # Safety
        /// The processor has these features.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(job: Outer<'_>) {
            let passes = job.rows.div_ceil(HEIGHT);
            let lots = job.vectors.div_ceil($together);
            let mut fetch =
                Fetch { ahead: job.ahead, each: job.ahead.lines.div_ceil((passes * lots * job.depth).max(1)) };
            for pass in 0..passes {
                let (row, end) = (pass * job.rows / passes, (pass + 1) * job.rows / passes);
                let mut lot = 0;
                while lot < job.vectors {
                    let width = if job.vectors - lot >= $together { $together } else { 1 };
                    // SAFETY: within the job's rows and vectors.
                    #[allow(unreachable_patterns)] // One lot at once is all that some take.
                    unsafe {
                        match (end - row, width) {
                            (1, $together) => $block::<1, $together>(job, row, lot, &mut fetch),
                            (2, $together) => $block::<2, $together>(job, row, lot, &mut fetch),
                            (3, $together) => $block::<3, $together>(job, row, lot, &mut fetch),
                            (4, $together) => $block::<4, $together>(job, row, lot, &mut fetch),
                            (5, $together) => $block::<5, $together>(job, row, lot, &mut fetch),
                            (_, $together) => $block::<HEIGHT, $together>(job, row, lot, &mut fetch),
                            (1, _) => $block::<1, 1>(job, row, lot, &mut fetch),
                            (2, _) => $block::<2, 1>(job, row, lot, &mut fetch),
                            (3, _) => $block::<3, 1>(job, row, lot, &mut fetch),
                            (4, _) => $block::<4, 1>(job, row, lot, &mut fetch),
                            (5, _) => $block::<5, 1>(job, row, lot, &mut fetch),
                            _ => $block::<HEIGHT, 1>(job, row, lot, &mut fetch),
                        }
                    }
                    lot += width;
                }
            }
        }

        /// # Safety
        /// `R` rows from `row` and `V` lots of 16 from `lot` are there.
        #[target_feature(enable = $features)]
        unsafe fn $block<const R: usize, const V: usize>(job: Outer<'_>, row: usize, lot: usize, fetch: &mut Fetch) {
            const WIDTH: usize = LANES / $parts;
            let mut sums: [[[$vector; $parts]; V]; R] = [[[$zero(); $parts]; V]; R];
            // What the loop adds to addresses is worked out before, or wraps: it shall have no checks in it.
            let below: [usize; R] = from_fn(|r| (row + r) * job.a_stride);
            let right: [usize; V] = from_fn(|v| v * job.b_lot);
            let (mut a, mut b) = (job.a, job.b.wrapping_add(lot * job.b_lot));
            // SAFETY: the caller's promise.
            unsafe {
                let Fetch { mut ahead, each } = *fetch;
                for _ in 0..job.depth {
                    for _ in 0..each.min(ahead.lines) {
                        _mm_prefetch::<_MM_HINT_T1>(ahead.from.cast());
                        ahead = Ahead { from: ahead.from.wrapping_add(LANES), lines: ahead.lines.wrapping_sub(1) };
                    }
                    let mut lines = [[$zero(); $parts]; V];
                    for v in 0..V {
                        for part in 0..$parts {
                            lines[v][part] = $load(b.wrapping_add(right[v]).wrapping_add(part * WIDTH));
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
                    (a, b) = (a.wrapping_add(1), b.wrapping_add(job.b_stride));
                }
                fetch.ahead = ahead;
                for r in 0..R {
                    for v in 0..V {
                        let out = job.out.add((row + r) * job.out_stride + (lot + v) * LANES);
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
outer!(
    outer512, block512, "avx512f", 1 x __m512, 4,
    _mm512_setzero_ps, _mm512_loadu_ps, _mm512_storeu_ps, _mm512_set1_ps, _mm512_fmadd_ps
);
#[rustfmt::skip]
outer!(
    outer256, block256, "avx2,fma", 2 x __m256, 1,
    _mm256_setzero_ps, _mm256_loadu_ps, _mm256_storeu_ps, _mm256_set1_ps, _mm256_fmadd_ps
);

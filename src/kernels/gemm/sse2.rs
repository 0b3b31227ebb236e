//! GEMM with the vectors that every x86-64 CPU has. They multiply numbers of 16 bits, so weights are widened, for several rows at
//! once.

#![allow(clippy::needless_range_loop, reason = "the arrays stand for registers; the indices name them")]

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

use super::operands::{Epilogue, PANEL, PackedWeights, QuantizedRows};
use super::passes::{LINE, PanelPrefetch, apply_baseline, driver};

driver!(run, "sse2", kernel, 1 x 1, 2 x 1, 3 x 1, 4 x 1);

/// # Safety
/// `R` rows from `row` and `P` panels from `panel`, 1 at most, are there.
#[target_feature(enable = "sse2")]
unsafe fn kernel<const R: usize, const P: usize>(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    row: usize,
    panel: usize,
    _: PanelPrefetch,
    epilogue: &impl Epilogue,
) {
    const { assert!(P == 1) };
    let depth = weights.depth;
    let below: [usize; R] = from_fn(|r| r * depth);
    let mut out = [[0i32; PANEL]; R];
    // Half a panel: two vectors of four columns each.
    for half in 0..2 {
        let a = rows.bytes[row * depth..].as_ptr();
        let (mut a, mut b) = (a, weights.panel(panel).wrapping_add(half * (LINE / 2)));
        // Two sums for each column.
        let mut sums = [[[_mm_setzero_si128(); 2]; 2]; R];
        // SAFETY: `R` rows of `depth` bytes and a panel of 16 times that.
        unsafe {
            for _ in 0..depth / 4 {
                let fours: [__m128i; R] = from_fn(|r| {
                    let four = _mm_cvtsi32_si128(a.wrapping_add(below[r]).cast::<i32>().read_unaligned());
                    let wide = _mm_srai_epi16::<8>(_mm_unpacklo_epi8(four, four));
                    _mm_unpacklo_epi64(wide, wide)
                });
                for part in 0..2 {
                    let line = _mm_loadu_si128(b.wrapping_add(part * (LINE / 4)).cast());
                    let wide = [_mm_unpacklo_epi8(line, line), _mm_unpackhi_epi8(line, line)];
                    let wide = wide.map(|bytes| _mm_srai_epi16::<8>(bytes));
                    for r in 0..R {
                        for side in 0..2 {
                            let pairs = _mm_madd_epi16(wide[side], fours[r]);
                            sums[r][part][side] = _mm_add_epi32(sums[r][part][side], pairs);
                        }
                    }
                }
                (a, b) = (a.wrapping_add(4), b.wrapping_add(LINE));
            }
            for r in 0..R {
                for part in 0..2 {
                    let [left, right] = sums[r][part].map(|sums| _mm_castsi128_ps(sums));
                    let even = _mm_castps_si128(_mm_shuffle_ps::<0b10_00_10_00>(left, right));
                    let odd = _mm_castps_si128(_mm_shuffle_ps::<0b11_01_11_01>(left, right));
                    let to = out[r].as_mut_ptr().add(half * (PANEL / 2) + part * (PANEL / 4));
                    _mm_storeu_si128(to.cast(), _mm_add_epi32(even, odd));
                }
            }
        }
    }
    apply_baseline(epilogue, row, panel, &out);
}

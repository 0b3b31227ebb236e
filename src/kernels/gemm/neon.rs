//! GEMM with the vectors of AArch64, and with its instructions `sdot` and `smmla` where the CPU has them. The compiler has no
//! stable intrinsics for those two, so they are inline assembly.

#![allow(clippy::needless_range_loop, reason = "the arrays stand for registers; the indices name them")]

use std::arch::aarch64::*;
use std::arch::asm;
use std::array::from_fn;
use std::ops::Range;

use super::operands::{Epilogue, PANEL, PackedWeights, QuantizedRows};
use super::passes::{LINE, PanelPrefetch, apply_baseline, driver};

driver!(i8mm, "neon,i8mm", kernel_i8mm, 1 x 1, 2 x 1, 3 x 1, 4 x 1);
driver!(dot, "dotprod", kernel_dot, 1 x 4, 2 x 2, 3 x 1, 4 x 1);
driver!(neon, "neon", kernel_neon, 1 x 1, 2 x 1);

/// Vectors of a panel.
const PARTS: usize = 4;

/// Adds to each sum the product of four weights with four numbers of a row, the `L`th four of `a`.
#[inline]
#[target_feature(enable = "dotprod")]
fn sdot<const L: u32>(mut sums: int32x4_t, weights: int8x16_t, a: int8x16_t) -> int32x4_t {
    // SAFETY: it computes on these registers only.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {weights:v}.16b, {a:v}.4b[{lane}]",
            sums = inout(vreg) sums,
            weights = in(vreg) weights,
            a = in(vreg) a,
            lane = const L,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Adds to the sums of two rows and two columns their products, eight deep.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn smmla(mut sums: int32x4_t, rows: int8x16_t, columns: int8x16_t) -> int32x4_t {
    // SAFETY: it computes on these registers only.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {rows:v}.16b, {columns:v}.16b",
            sums = inout(vreg) sums,
            rows = in(vreg) rows,
            columns = in(vreg) columns,
            options(pure, nomem, nostack, preserves_flags)
        );
    }
    sums
}

/// Four bytes of a row are a lane of its vector, which a dot product takes by number.
///
/// # Safety
/// `R` rows from `row` and `P` panels from `panel` are there.
#[target_feature(enable = "dotprod")]
unsafe fn kernel_dot<const R: usize, const P: usize>(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    row: usize,
    panel: usize,
    _: PanelPrefetch,
    epilogue: &impl Epilogue,
) {
    let depth = weights.depth;
    let (mut a, mut b) = (rows.bytes[row * depth..].as_ptr(), weights.panel(panel));
    let mut sums = [[[vdupq_n_s32(0); PARTS]; P]; R];
    let (below, right): ([usize; R], [usize; P]) = (from_fn(|r| r * depth), from_fn(|p| p * depth * PANEL));
    // SAFETY: `R` rows of `depth` bytes, a multiple of 64, and `P` panels of 16 times that.
    unsafe {
        for _ in 0..depth / 16 {
            let fours: [int8x16_t; R] = from_fn(|r| vld1q_s8(a.wrapping_add(below[r])));
            macro_rules! step {
                ($lane:literal) => {
                    for p in 0..P {
                        for part in 0..PARTS {
                            let line = b.wrapping_add(right[p]).wrapping_add($lane * LINE + part * (LINE / PARTS));
                            let line = vld1q_s8(line);
                            for r in 0..R {
                                sums[r][p][part] = sdot::<$lane>(sums[r][p][part], line, fours[r]);
                            }
                        }
                    }
                };
            }
            step!(0);
            step!(1);
            step!(2);
            step!(3);
            (a, b) = (a.wrapping_add(16), b.wrapping_add(4 * LINE));
        }
        for p in 0..P {
            let mut out = [[0i32; PANEL]; R];
            for r in 0..R {
                for part in 0..PARTS {
                    vst1q_s32(out[r].as_mut_ptr().add(4 * part), sums[r][p][part]);
                }
            }
            apply_baseline(epilogue, row, panel + p, &out);
        }
    }
}

/// A matrix product takes eight bytes of two rows and of two columns: those of a column are zipped from two steps.
///
/// # Safety
/// `R` rows from `row`, 4 at most, and `P` panels from `panel`, 1 at most, are there.
#[target_feature(enable = "neon,i8mm")]
unsafe fn kernel_i8mm<const R: usize, const P: usize>(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    row: usize,
    panel: usize,
    _: PanelPrefetch,
    epilogue: &impl Epilogue,
) {
    const { assert!(R <= 4 && P == 1) };
    let depth = weights.depth;
    let (mut a, mut b) = (rows.bytes[row * depth..].as_ptr(), weights.panel(panel));
    // Of each pair of rows, for each pair of columns.
    let mut sums = [[vdupq_n_s32(0); PANEL / 2]; 2];
    // The last row of an odd number is its own neighbour.
    let below: [usize; 4] = from_fn(|r| r.min(R - 1) * depth);
    // SAFETY: `R` rows of `depth` bytes, a multiple of 64, and a panel of 16 times that.
    unsafe {
        for _ in 0..depth / 16 {
            let eights: [[int8x16_t; 2]; 2] = from_fn(|pair| {
                let row = |r: usize| vreinterpretq_s64_s8(vld1q_s8(a.wrapping_add(below[2 * pair + r])));
                let (even, odd) = (row(0), row(1));
                [vreinterpretq_s8_s64(vzip1q_s64(even, odd)), vreinterpretq_s8_s64(vzip2q_s64(even, odd))]
            });
            for half in 0..2 {
                for part in 0..PARTS {
                    let step = |n: usize| {
                        vreinterpretq_s32_s8(vld1q_s8(b.wrapping_add((2 * half + n) * LINE + part * (LINE / PARTS))))
                    };
                    let (first, second) = (step(0), step(1));
                    let columns = [vzip1q_s32(first, second), vzip2q_s32(first, second)];
                    for pair in 0..R.div_ceil(2) {
                        for side in 0..2 {
                            let sum = &mut sums[pair][2 * part + side];
                            *sum = smmla(*sum, eights[pair][half], vreinterpretq_s8_s32(columns[side]));
                        }
                    }
                }
            }
            (a, b) = (a.wrapping_add(16), b.wrapping_add(4 * LINE));
        }
        let mut out = [[0i32; PANEL]; 4];
        for pair in 0..R.div_ceil(2) {
            for part in 0..PARTS {
                let side = |n: usize| vreinterpretq_s64_s32(sums[pair][2 * part + n]);
                let (left, right) = (side(0), side(1));
                for (r, sums) in [vzip1q_s64(left, right), vzip2q_s64(left, right)].into_iter().enumerate() {
                    vst1q_s32(out[2 * pair + r].as_mut_ptr().add(4 * part), vreinterpretq_s32_s64(sums));
                }
            }
        }
        apply_baseline(epilogue, row, panel, &out[..R]);
    }
}

/// Two products are summed in 16 bits, which cannot overflow: 2 x 127 x 128. Then neighbours are added to sums of 32 bits.
///
/// # Safety
/// `R` rows from `row` and `P` panels from `panel` are there.
#[target_feature(enable = "neon")]
unsafe fn kernel_neon<const R: usize, const P: usize>(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    row: usize,
    panel: usize,
    _: PanelPrefetch,
    epilogue: &impl Epilogue,
) {
    const { assert!(P == 1) };
    let depth = weights.depth;
    let (mut a, mut b) = (rows.bytes[row * depth..].as_ptr(), weights.panel(panel));
    // Two sums for each column.
    let mut sums = [[[vdupq_n_s32(0); 2]; PARTS]; R];
    let below: [usize; R] = from_fn(|r| r * depth);
    // SAFETY: `R` rows of `depth` bytes, a multiple of 64, and a panel of 16 times that.
    unsafe {
        for _ in 0..depth / 8 {
            let fours: [[int8x16_t; 2]; R] = from_fn(|r| {
                let four = |step: usize| a.wrapping_add(below[r] + 4 * step).cast::<i32>().read_unaligned();
                [0, 1].map(|step| vreinterpretq_s8_s32(vdupq_n_s32(four(step))))
            });
            for part in 0..PARTS {
                let [first, second] = [0, 1].map(|step| vld1q_s8(b.wrapping_add(step * LINE + part * (LINE / PARTS))));
                for r in 0..R {
                    let [x, y] = fours[r];
                    let low = vmull_s8(vget_low_s8(first), vget_low_s8(x));
                    let low = vmlal_s8(low, vget_low_s8(second), vget_low_s8(y));
                    let high = vmlal_high_s8(vmull_high_s8(first, x), second, y);
                    let [left, right] = &mut sums[r][part];
                    (*left, *right) = (vpadalq_s16(*left, low), vpadalq_s16(*right, high));
                }
            }
            (a, b) = (a.wrapping_add(8), b.wrapping_add(2 * LINE));
        }
        let mut out = [[0i32; PANEL]; R];
        for r in 0..R {
            for part in 0..PARTS {
                let [left, right] = sums[r][part];
                vst1q_s32(out[r].as_mut_ptr().add(4 * part), vpaddq_s32(left, right));
            }
        }
        apply_baseline(epilogue, row, panel, &out);
    }
}

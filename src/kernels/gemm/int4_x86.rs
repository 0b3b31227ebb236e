//! GEMM with int4 weights with the vectors of x86-64: nibbles are multiplied as they are, 0 to 15, the sums of a block start with
//! what that is too much, and each is multiplied by its factor.

#![allow(clippy::needless_range_loop, reason = "the arrays stand for registers; the indices name them")]

use std::arch::x86_64::*;
use std::array::from_fn;
use std::hint::black_box;
use std::ops::Range;

use super::operands::{BLOCK, Epilogue, Int4Rows, Int4Weights, PANEL};
use super::passes::{LINE, PanelPrefetch, driver};
use super::x86::{apply_narrow, apply_wide};

#[rustfmt::skip]
driver!(
    vnni512, (Int4Rows<'_>, Int4Weights<'_>), "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", kernel_vnni512,
    1 x 4, 2 x 4, 3 x 2, 4 x 2, 5 x 2, 6 x 1, 7 x 1, 8 x 1
);
driver!(vnni256, (Int4Rows<'_>, Int4Weights<'_>), "avx2,avxvnni", kernel_vnni256, 1 x 2, 2 x 1, 3 x 1, 4 x 1);
driver!(avx2, (Int4Rows<'_>, Int4Weights<'_>), "avx2", kernel_avx2, 1 x 2, 2 x 1, 3 x 1, 4 x 1);

#[rustfmt::skip]
driver!(
    vnni512_many, (Int4Rows<'_>, Int4Weights<'_>), "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", kernel_vnni512_many,
    9 x 1, 10 x 1, 11 x 1, 12 x 1, 13 x 1, 14 x 1, 15 x 1, 16 x 1
);

/// Vectors of nibbles in a block of a panel.
const LINES: usize = BLOCK / 8;

/// Defines a kernel. `$start` of a [`BlockStart`](super::operands::BlockStart) is in every 32 bits of a vector what a sum starts
/// with; `$multiply` adds products of nibbles with numbers of a row to sums, and `$scale` sums times factors to sums of all blocks.
/// `$parts` vectors are a panel wide.
macro_rules! kernel {
    (
        $name:ident, $features:literal, $apply:ident, $parts:literal x $vector:ty, $start:ident,
        $zero:ident, $load:ident, $store:ident, $spread:ident, $and:ident, $shift:ident, $factors:ident, $multiply:ident, $scale:ident
    ) => {
        /// # Safety
        /// `R` rows from `row` and `P` panels from `panel` are there.
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const P: usize>(
            rows: Int4Rows<'_>,
            weights: Int4Weights<'_>,
            row: usize,
            panel: usize,
            prefetch: PanelPrefetch,
            epilogue: &impl Epilogue,
        ) {
            const WIDTH: usize = PANEL / $parts;
            let (depth, blocks) = (weights.depth, weights.depth / BLOCK);
            let mut a = rows.bytes[row * depth..].as_ptr();
            let mut b = weights.panel(panel);
            let mut factors = weights.factors[panel * blocks * PANEL..].as_ptr();
            let mut starts = rows.starts[row * blocks..].as_ptr();
            let mut fetched = prefetch.from;
            let mut sums: [[[$vector; $parts]; P]; R] = [[[$zero(); $parts]; P]; R];
            // Address offsets are computed before the loop, or wrap, so that the loop has no overflow checks.
            let (below, below_starts): ([usize; R], [usize; R]) = (from_fn(|r| r * depth), from_fn(|r| r * blocks));
            let (right, right_factors): ([usize; P], [usize; P]) =
                (from_fn(|p| p * depth * (PANEL / 2)), from_fn(|p| p * blocks * PANEL));
            // SAFETY: `R` rows of `depth` bytes and `blocks` starts, `P` panels of half of 16 times that, and their factors.
            unsafe {
                let mask = $spread(0x0f0f_0f0f);
                // Unknown to the compiler: of the loop below, unrolled, it would do all loads first, in more registers than there are.
                let lines_of_block = black_box(LINES);
                for _ in 0..blocks {
                    let mut dots: [[[$vector; $parts]; P]; R] = [[[$zero(); $parts]; P]; R];
                    for r in 0..R {
                        let start = $spread(start::$start(starts.wrapping_add(below_starts[r])));
                        for p in 0..P {
                            dots[r][p] = [start; $parts];
                        }
                    }
                    for _ in 0..lines_of_block {
                        for p in 0..P {
                            _mm_prefetch::<_MM_HINT_T1>(fetched.wrapping_add(right[p]));
                        }
                        let mut lines = [[[$zero(); 2]; $parts]; P];
                        for p in 0..P {
                            for part in 0..$parts {
                                let at = right[p] + part * (LINE / $parts);
                                let nibbles = $load(b.wrapping_add(at).cast());
                                lines[p][part] = [$and(nibbles, mask), $and($shift::<4>(nibbles), mask)];
                            }
                        }
                        for r in 0..R {
                            for half in 0..2 {
                                let four = a.wrapping_add(below[r] + 4 * half);
                                let four = $spread(four.cast::<i32>().read_unaligned());
                                for p in 0..P {
                                    for part in 0..$parts {
                                        dots[r][p][part] = $multiply(dots[r][p][part], lines[p][part][half], four);
                                    }
                                }
                            }
                        }
                        (a, b, fetched) = (a.wrapping_add(8), b.wrapping_add(LINE), fetched.wrapping_add(LINE));
                    }
                    for p in 0..P {
                        for part in 0..$parts {
                            let factors = $factors(factors.wrapping_add(right_factors[p] + part * WIDTH));
                            for r in 0..R {
                                sums[r][p][part] = $scale(sums[r][p][part], dots[r][p][part], factors);
                            }
                        }
                    }
                    (starts, factors) = (starts.wrapping_add(1), factors.wrapping_add(PANEL));
                }
                for p in 0..P {
                    let mut out = [[0i32; PANEL]; R];
                    for r in 0..R {
                        for part in 0..$parts {
                            $store(out[r].as_mut_ptr().add(part * WIDTH).cast(), sums[r][p][part]);
                        }
                    }
                    $apply(epilogue, row, panel + p, &out);
                }
            }
        }
    };
}

/// What the sums of a block start with, for both ways of summing.
mod start {
    use super::super::operands::BlockStart;

    /// One sum of 32 bits.
    ///
    /// # Safety
    /// It is there.
    #[inline(always)]
    pub unsafe fn total(start: *const BlockStart) -> i32 {
        // SAFETY: the caller's promise.
        unsafe { (*start).total }
    }

    /// Two sums of 16 bits.
    ///
    /// # Safety
    /// It is there.
    #[inline(always)]
    pub unsafe fn pair(start: *const BlockStart) -> i32 {
        // SAFETY: the caller's promise.
        let [first, second] = unsafe { (*start).pair };
        i32::from(second) << 16 | i32::from(first) & 0xffff
    }
}

/// 16 factors, each in the lower half of 32 bits; the sum of a block is in the lower half, too: 32 x 8 x 127 at most.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
unsafe fn factors512(factors: *const i8) -> __m512i {
    // SAFETY: the caller has 16 of them.
    unsafe { _mm512_and_si512(_mm512_cvtepi8_epi32(_mm_loadu_si128(factors.cast())), _mm512_set1_epi32(0xffff)) }
}

/// The same for 8 factors.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn factors256(factors: *const i8) -> __m256i {
    // SAFETY: the caller has 8 of them.
    unsafe { _mm256_and_si256(_mm256_cvtepi8_epi32(_mm_loadl_epi64(factors.cast())), _mm256_set1_epi32(0xffff)) }
}

/// 8 factors, each in both halves of 32 bits.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn twice256(factors: *const i8) -> __m256i {
    // SAFETY: the caller has 8 of them.
    unsafe {
        let wide = _mm256_cvtepi8_epi32(_mm_loadl_epi64(factors.cast()));
        _mm256_blend_epi16::<0b1010_1010>(wide, _mm256_slli_epi32::<16>(wide))
    }
}

/// Two sums of 16 bits: those of a block, 8 steps of 2 x 15 x 127, less what they start with, are in range, whatever is between.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply_pairs(sums: __m256i, nibbles: __m256i, four: __m256i) -> __m256i {
    _mm256_add_epi16(sums, _mm256_maddubs_epi16(nibbles, four))
}

#[inline]
#[target_feature(enable = "avx2")]
fn scale_pairs(sums: __m256i, pairs: __m256i, factors: __m256i) -> __m256i {
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, factors))
}

#[rustfmt::skip]
kernel!(
    kernel_vnni512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", apply_wide, 1 x __m512i, total,
    _mm512_setzero_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32, _mm512_and_si512, _mm512_srli_epi16,
    factors512, _mm512_dpbusd_epi32, _mm512_dpwssd_epi32
);
#[rustfmt::skip]
kernel!(
    kernel_vnni256, "avx2,avxvnni", apply_narrow, 2 x __m256i, total,
    _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_and_si256, _mm256_srli_epi16,
    factors256, _mm256_dpbusd_avx_epi32, _mm256_dpwssd_avx_epi32
);
#[rustfmt::skip]
kernel!(
    kernel_avx2, "avx2", apply_narrow, 2 x __m256i, pair,
    _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_and_si256, _mm256_srli_epi16,
    twice256, multiply_pairs, scale_pairs
);

/// For more rows: nibbles times their factor are numbers of 8 bits, which are multiplied as those of int8 weights are. Rows have
/// an offset of 128, and the sums start with the compensation.
///
/// # Safety
/// `R` rows from `row` and `P` panels from `panel`, 1 at most, are there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn kernel_vnni512_many<const R: usize, const P: usize>(
    rows: Int4Rows<'_>,
    weights: Int4Weights<'_>,
    row: usize,
    panel: usize,
    prefetch: PanelPrefetch,
    epilogue: &impl Epilogue,
) {
    const { assert!(P == 1) };
    let (depth, blocks) = (weights.depth, weights.depth / BLOCK);
    let mut a = rows.bytes[row * depth..].as_ptr();
    let mut b = weights.panel(panel);
    let mut factors = weights.factors[panel * blocks * PANEL..].as_ptr();
    let compensation = rows.compensation[panel * PANEL..][..PANEL].as_ptr();
    let mut fetched = prefetch.from;
    let below: [usize; R] = from_fn(|r| r * depth);
    // SAFETY: `R` rows of `depth` bytes, a panel of half of 16 times that, its factors and compensation.
    unsafe {
        let mut sums: [__m512i; R] = [_mm512_loadu_si512(compensation.cast()); R];
        let mask = _mm512_set1_epi32(0x0f0f_0f0f);
        // The lowest byte of each 32 bits, four times.
        let lowest = _mm512_broadcast_i32x4(_mm_set_epi32(0x0c0c_0c0c, 0x0808_0808, 0x0404_0404, 0));
        let lines_of_block = black_box(LINES);
        for _ in 0..blocks {
            // As in `expand`: (n - 8) f is n |f| - 8 |f|, or the negative of that; -x is !x + 1.
            let factor = _mm512_cvtepi8_epi32(_mm_loadu_si128(factors.cast()));
            let flip = _mm512_srai_epi32::<31>(factor);
            let size = _mm512_abs_epi32(factor);
            let size = _mm512_or_si512(size, _mm512_slli_epi32::<16>(size));
            let eight = _mm512_slli_epi32::<3>(_mm512_sub_epi32(_mm512_setzero_si512(), factor));
            let add = _mm512_shuffle_epi8(_mm512_sub_epi32(eight, flip), lowest);
            for _ in 0..lines_of_block {
                _mm_prefetch::<_MM_HINT_T1>(fetched);
                let nibbles = _mm512_loadu_si512(b.cast());
                // A loop, not a closure: that might not be inlined, and calls would store and load all sums.
                let mut halves = [nibbles, _mm512_srli_epi16::<4>(nibbles)];
                for half in &mut halves {
                    let product = _mm512_mullo_epi16(_mm512_and_si512(*half, mask), size);
                    *half = _mm512_add_epi8(_mm512_xor_si512(product, flip), add);
                }
                for r in 0..R {
                    for half in 0..2 {
                        let four = a.wrapping_add(below[r] + 4 * half);
                        let four = _mm512_set1_epi32(four.cast::<i32>().read_unaligned());
                        sums[r] = _mm512_dpbusd_epi32(sums[r], four, halves[half]);
                    }
                }
                (a, b, fetched) = (a.wrapping_add(8), b.wrapping_add(LINE), fetched.wrapping_add(LINE));
            }
            factors = factors.wrapping_add(PANEL);
        }
        let mut out = [[0i32; PANEL]; R];
        for r in 0..R {
            _mm512_storeu_si512(out[r].as_mut_ptr().cast(), sums[r]);
        }
        apply_wide(epilogue, row, panel, &out);
    }
}

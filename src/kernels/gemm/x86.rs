//! GEMM with the vectors of x86-64.

#![allow(clippy::needless_range_loop, reason = "the arrays stand for registers; the indices name them")]

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

use super::operands::{Epilogue, PANEL, PackedWeights, QuantizedRows};
use super::passes::{LINE, PanelPrefetch, apply_baseline, driver};

#[rustfmt::skip]
driver!(
    vnni512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", kernel_vnni512,
    1 x 4, 2 x 4, 3 x 4, 4 x 4, 5 x 2, 6 x 2, 7 x 2, 8 x 2, 9 x 2, 10 x 2, 11 x 2, 12 x 2
);
driver!(vnni256, "avx2,avxvnni", kernel_vnni256, 1 x 2, 2 x 2, 3 x 1, 4 x 1, 5 x 1, 6 x 1);
driver!(avx2, "avx2", kernel_avx2, 1 x 2, 2 x 2, 3 x 1, 4 x 1, 5 x 1);
driver!(ssse3, "ssse3", kernel_ssse3, 1 x 1, 2 x 1);

/// Applies the epilogue, compiled for 512-bit vectors. Not inlined: the kernel's registers are for its sums.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
pub(super) fn apply_wide(epilogue: &impl Epilogue, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
    epilogue.apply(row, panel, sums);
}

/// The same for 256-bit vectors.
#[inline(never)]
#[target_feature(enable = "avx2")]
pub(super) fn apply_narrow(epilogue: &impl Epilogue, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
    epilogue.apply(row, panel, sums);
}

/// Defines a kernel that sums four products of an unsigned with a signed number, with VNNI at once: rows have an offset of 128, and the
/// sums start with the compensation. `$parts` vectors are a panel wide.
macro_rules! vnni {
    (
        $name:ident, $features:literal, $apply:ident, $parts:literal x $vector:ty,
        $zero:ident, $load:ident, $store:ident, $spread:ident, $multiply:ident
    ) => {
        /// # Safety
        /// `R` rows from `row` and `P` panels from `panel` are there.
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const P: usize>(
            rows: QuantizedRows<'_>,
            weights: PackedWeights<'_>,
            row: usize,
            panel: usize,
            prefetch: PanelPrefetch,
            epilogue: &impl Epilogue,
        ) {
            const WIDTH: usize = PANEL / $parts;
            let depth = weights.depth;
            let a = rows.bytes[row * depth..].as_ptr();
            let b = weights.panel(panel);
            let compensation = rows.compensation[panel * PANEL..][..P * PANEL].as_ptr();
            let mut sums: [[[$vector; $parts]; P]; R] = [[[$zero(); $parts]; P]; R];
            // SAFETY: `R` rows of `depth` bytes, `P` panels of 16 times that, and their compensation.
            unsafe {
                for p in 0..P {
                    for part in 0..$parts {
                        let start = $load(compensation.add(p * PANEL + part * WIDTH).cast());
                        for r in 0..R {
                            sums[r][p][part] = start;
                        }
                    }
                }
                // Address offsets are computed before the loop, or wrap, so that the loop has no overflow checks.
                let (below, right): ([usize; R], [usize; P]) = (from_fn(|r| r * depth), from_fn(|p| p * depth * PANEL));
                let mut fetched = prefetch.from.wrapping_add(prefetch.pass * LINE);
                let (mut wait, stride) = (prefetch.pass, prefetch.passes * LINE);
                let (mut a, mut b) = (a, b);
                for _ in 0..depth / 4 {
                    if wait == 0 {
                        for p in 0..P {
                            _mm_prefetch::<_MM_HINT_T1>(fetched.wrapping_add(right[p]));
                        }
                        fetched = fetched.wrapping_add(stride);
                        wait = prefetch.passes;
                    }
                    wait = wait.wrapping_sub(1);
                    let mut lines = [[$zero(); $parts]; P];
                    for p in 0..P {
                        for part in 0..$parts {
                            lines[p][part] =
                                $load(b.wrapping_add(right[p]).wrapping_add(part * (LINE / $parts)).cast());
                        }
                    }
                    for r in 0..R {
                        let four = $spread(a.wrapping_add(below[r]).cast::<i32>().read_unaligned());
                        for p in 0..P {
                            for part in 0..$parts {
                                sums[r][p][part] = $multiply(sums[r][p][part], four, lines[p][part]);
                            }
                        }
                    }
                    (a, b) = (a.wrapping_add(4), b.wrapping_add(LINE));
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

#[rustfmt::skip]
vnni!(
    kernel_vnni512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", apply_wide, 1 x __m512i,
    _mm512_setzero_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32
);
#[rustfmt::skip]
vnni!(
    kernel_vnni256, "avx2,avxvnni", apply_narrow, 2 x __m256i,
    _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32
);

/// Four products for each sum, in two instructions more. Pairs of them are summed in 16 bits first, where weights of pairs that
/// [`PackedWeights`] allows cannot overflow: 255 x 128.
#[inline]
#[target_feature(enable = "avx2")]
fn multiply_avx2(sums: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(unsigned, signed);
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

#[rustfmt::skip]
vnni!(
    kernel_avx2, "avx2", apply_narrow, 2 x __m256i,
    _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, multiply_avx2
);

/// Defines a kernel that sums pairs of products in 16 bits, which cannot overflow: 2 x 127 x 127. The sign is moved from the row
/// to the weights. `$parts` vectors are a panel wide.
macro_rules! pairs {
    (
        $name:ident, $features:literal, $apply:ident, $parts:literal x $vector:ty, $zero:ident, $load:ident, $store:ident,
        $spread:ident, $ones:ident, $abs:ident, $sign:ident, $multiply:ident, $widen:ident, $add:ident
    ) => {
        /// # Safety
        /// `R` rows from `row` and `P` panels from `panel` are there.
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const P: usize>(
            rows: QuantizedRows<'_>,
            weights: PackedWeights<'_>,
            row: usize,
            panel: usize,
            prefetch: PanelPrefetch,
            epilogue: &impl Epilogue,
        ) {
            let _ = prefetch; // Computing takes longer than reading memory here.
            let depth = weights.depth;
            let ones = $ones(1);
            let a = rows.bytes[row * depth..].as_ptr();
            let b = weights.panel(panel);
            let mut sums = [[[$zero(); $parts]; P]; R];
            // SAFETY: `R` rows of `depth` bytes and `P` panels of 16 times that.
            unsafe {
                let (below, right): ([usize; R], [usize; P]) = (from_fn(|r| r * depth), from_fn(|p| p * depth * PANEL));
                let (mut a, mut b) = (a, b);
                for _ in 0..depth / 4 {
                    for r in 0..R {
                        let four: $vector = $spread(a.wrapping_add(below[r]).cast::<i32>().read_unaligned());
                        let size = $abs(four);
                        for p in 0..P {
                            for part in 0..$parts {
                                let line = b.wrapping_add(right[p]).wrapping_add(part * (LINE / $parts));
                                let line = $sign($load(line.cast()), four);
                                let pairs = $widen($multiply(size, line), ones);
                                sums[r][p][part] = $add(sums[r][p][part], pairs);
                            }
                        }
                    }
                    (a, b) = (a.wrapping_add(4), b.wrapping_add(LINE));
                }
                for p in 0..P {
                    let mut out = [[0i32; PANEL]; R];
                    for r in 0..R {
                        for part in 0..$parts {
                            $store(out[r].as_mut_ptr().add(PANEL / $parts * part).cast(), sums[r][p][part]);
                        }
                    }
                    $apply(epilogue, row, panel + p, &out);
                }
            }
        }
    };
}

#[rustfmt::skip]
pairs!(
    kernel_ssse3, "ssse3", apply_baseline, 4 x __m128i, _mm_setzero_si128, _mm_loadu_si128, _mm_storeu_si128,
    _mm_set1_epi32, _mm_set1_epi16, _mm_abs_epi8, _mm_sign_epi8, _mm_maddubs_epi16, _mm_madd_epi16, _mm_add_epi32
);

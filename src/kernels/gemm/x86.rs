//! GEMM with the vectors of x86-64.

#![allow(clippy::needless_range_loop, reason = "the arrays stand for registers; the indices name them")]

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

use super::operands::{Epilogue, PANEL, PackedWeights, QuantizedRows};

/// Bytes of four steps of a panel's columns: a cache line.
const LINE: usize = 4 * PANEL;

/// The panels that come after these. They are prefetched while these are multiplied, each pass over the rows fetching its
/// share; otherwise memory would be idle while the later passes compute.
#[derive(Clone, Copy)]
struct PanelPrefetch {
    from: *const i8,
    pass: usize,
    passes: usize,
}

/// Defines a driver that loops over panels and rows, and calls the kernel for as many at once as fit into the registers. All
/// rows are multiplied with a few panels at a time, so that those are read from memory once, in as few passes of as equal a
/// height as possible. Up to `$single` rows are one pass; with more, a pass has at most `$most`. Then come the heights, with the
/// number of panels that are taken at once for each.
macro_rules! driver {
    ($name:ident, $features:literal, $kernel:ident, $single:literal, $most:literal, $($height:literal x $panels:literal),+) => {
        pub(in crate::kernels) fn $name(rows: QuantizedRows<'_>, weights: PackedWeights<'_>, panels: Range<usize>, epilogue: &impl Epilogue) {
            #[target_feature(enable = $features)]
            fn inner(rows: QuantizedRows<'_>, weights: PackedWeights<'_>, panels: Range<usize>, epilogue: &impl Epilogue) {
                let passes = rows.count.div_ceil(if rows.count <= $single { $single } else { $most });
                let together = match rows.count.div_ceil(passes) {
                    $($height => $panels,)+
                    _ => 1,
                };
                let mut panel = panels.start;
                while panel < panels.end {
                    let width = if panel + together <= panels.end { together } else { 1 };
                    for pass in 0..passes {
                        let (row, end) = (pass * rows.count / passes, (pass + 1) * rows.count / passes);
                        // Beyond the end of this piece, too: what comes after is mostly taken next, by this thread.
                        let next = panel + width;
                        let next = if next + width <= weights.panels { next } else { panel };
                        let prefetch = PanelPrefetch { from: weights.panel(next), pass, passes };
                        #[allow(unreachable_patterns, reason = "some heights take one panel at once")]
                        // SAFETY: so many rows from `row` and panels from `panel` are there, as deep as the weights.
                        unsafe {
                            match (end - row, width) {
                                $(($height, $panels) => $kernel::<$height, $panels>(rows, weights, row, panel, prefetch, epilogue),)+
                                $(($height, 1) => $kernel::<$height, 1>(rows, weights, row, panel, prefetch, epilogue),)+
                                _ => unreachable!("heights differ by one at most"),
                            }
                        };
                    }
                    panel += width;
                }
            }
            // SAFETY: `isa` selects this driver only where the CPU has these features.
            unsafe { inner(rows, weights, panels, epilogue) }
        }
    };
}

#[rustfmt::skip]
driver!(
    vnni512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", kernel_vnni512, 16, 12,
    1 x 4, 2 x 4, 3 x 4, 4 x 4, 5 x 2, 6 x 2, 7 x 2, 8 x 2, 9 x 2, 10 x 2, 11 x 2, 12 x 2, 13 x 1, 14 x 1, 15 x 1, 16 x 1
);
driver!(vnni256, "avx2,avxvnni", kernel_vnni256, 6, 6, 1 x 2, 2 x 2, 3 x 1, 4 x 1, 5 x 1, 6 x 1);
driver!(avx2, "avx2", kernel_avx2, 4, 4, 1 x 2, 2 x 2, 3 x 1, 4 x 1);

/// Applies the epilogue, compiled for 512-bit vectors. Not inlined: the kernel's registers are for its sums.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn apply_wide(epilogue: &impl Epilogue, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
    epilogue.apply(row, panel, sums);
}

/// The same for 256-bit vectors.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn apply_narrow(epilogue: &impl Epilogue, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
    epilogue.apply(row, panel, sums);
}

/// Defines a kernel that sums four products of an unsigned with a signed number at once: rows have an offset of 128, and the
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

/// Sums pairs of products in 16 bits, which cannot overflow: 2 x 127 x 127. The sign is moved from the row to the weights.
///
/// # Safety
/// `R` rows from `row` and `P` panels from `panel` are there.
#[target_feature(enable = "avx2")]
unsafe fn kernel_avx2<const R: usize, const P: usize>(
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    row: usize,
    panel: usize,
    prefetch: PanelPrefetch,
    epilogue: &impl Epilogue,
) {
    let _ = prefetch; // Computing takes longer than reading memory here.
    let depth = weights.depth;
    let ones = _mm256_set1_epi16(1);
    let a = rows.bytes[row * depth..].as_ptr();
    let b = weights.panel(panel);
    let mut sums = [[[_mm256_setzero_si256(); 2]; P]; R];
    // SAFETY: `R` rows of `depth` bytes and `P` panels of 16 times that.
    unsafe {
        let (below, right): ([usize; R], [usize; P]) = (from_fn(|r| r * depth), from_fn(|p| p * depth * PANEL));
        let (mut a, mut b) = (a, b);
        for _ in 0..depth / 4 {
            for r in 0..R {
                let four = _mm256_set1_epi32(a.wrapping_add(below[r]).cast::<i32>().read_unaligned());
                let size = _mm256_abs_epi8(four);
                for p in 0..P {
                    for half in 0..2 {
                        let line = b.wrapping_add(right[p]).wrapping_add(half * (LINE / 2));
                        let line = _mm256_sign_epi8(_mm256_loadu_si256(line.cast()), four);
                        let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(size, line), ones);
                        sums[r][p][half] = _mm256_add_epi32(sums[r][p][half], pairs);
                    }
                }
            }
            (a, b) = (a.wrapping_add(4), b.wrapping_add(LINE));
        }
        for p in 0..P {
            let mut out = [[0i32; PANEL]; R];
            for r in 0..R {
                for half in 0..2 {
                    _mm256_storeu_si256(out[r].as_mut_ptr().add(8 * half).cast(), sums[r][p][half]);
                }
            }
            apply_narrow(epilogue, row, panel + p, &out);
        }
    }
}

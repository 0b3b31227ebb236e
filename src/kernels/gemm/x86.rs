//! Products with the vectors of x86-64.

#![allow(clippy::needless_range_loop)] // The indices are those of registers, for which the arrays stand.

use std::arch::x86_64::*;
use std::array::from_fn;
use std::ops::Range;

use super::{PANEL, Packed, Rows, Take};

/// Four steps of the columns of a panel: a line of the cache.
const LINE: usize = 4 * PANEL;

/// Where the panels lie that come after these. They are fetched from memory while these are multiplied, each pass of rows
/// fetching its share; otherwise memory rests while the later passes compute.
#[derive(Clone, Copy)]
struct Ahead {
    from: *const i8,
    pass: usize,
    passes: usize,
}

/// Defines a driver that goes over panels and rows, and calls the kernel for as many at once as fit into the registers.
/// The rows go past a few panels, so that those are read from memory once, in as few passes of as equal a height as there
/// can be. `$single` rows and fewer are one pass, a pass of more than that has at most `$most`; then come the heights, with
/// how many panels are taken at once for each.
macro_rules! driver {
    ($name:ident, $features:literal, $kernel:ident, $single:literal, $most:literal, $($height:literal x $panels:literal),+) => {
        pub(super) fn $name(rows: Rows<'_>, weights: Packed<'_>, panels: Range<usize>, take: &impl Take) {
            #[target_feature(enable = $features)]
            fn inner(rows: Rows<'_>, weights: Packed<'_>, panels: Range<usize>, take: &impl Take) {
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
                        let ahead = Ahead { from: weights.panel(next), pass, passes };
                        // SAFETY: so many rows from `row` and panels from `panel` are there, as deep as the weights.
                        #[allow(unreachable_patterns)] // Some heights take one panel at once.
                        unsafe {
                            match (end - row, width) {
                                $(($height, $panels) => $kernel::<$height, $panels>(rows, weights, row, panel, ahead, take),)+
                                $(($height, 1) => $kernel::<$height, 1>(rows, weights, row, panel, ahead, take),)+
                                _ => unreachable!("heights differ by one at most"),
                            }
                        };
                    }
                    panel += width;
                }
            }
            // SAFETY: it is only called where the processor has these features.
            unsafe { inner(rows, weights, panels, take) }
        }
    };
}

#[rustfmt::skip]
driver!(
    run_vnni512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", vnni512, 16, 12,
    1 x 4, 2 x 4, 3 x 4, 4 x 4, 5 x 2, 6 x 2, 7 x 2, 8 x 2, 9 x 2, 10 x 2, 11 x 2, 12 x 2, 13 x 1, 14 x 1, 15 x 1, 16 x 1
);
driver!(run_vnni256, "avx2,avxvnni", vnni256, 6, 6, 1 x 2, 2 x 2, 3 x 1, 4 x 1, 5 x 1, 6 x 1);
driver!(run_avx2, "avx2", avx2, 4, 4, 1 x 2, 2 x 2, 3 x 1, 4 x 1);

/// Hands sums on, compiled for long vectors. Not inlined: the kernel's registers are for its sums.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq")]
fn give_wide(take: &impl Take, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
    take.take(row, panel, sums);
}

/// The same for shorter ones.
#[inline(never)]
#[target_feature(enable = "avx2")]
fn give_narrow(take: &impl Take, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
    take.take(row, panel, sums);
}

/// Defines a kernel that sums four products of an unsigned with a signed number at once: rows are raised, and the sums
/// begin with what takes that off again. `$parts` vectors are a panel wide.
macro_rules! vnni {
    (
        $name:ident, $features:literal, $give:ident, $parts:literal x $vector:ty,
        $zero:ident, $load:ident, $store:ident, $spread:ident, $multiply:ident
    ) => {
        /// # Safety
        /// `R` rows from `row` and `P` panels from `panel` are there.
        #[target_feature(enable = $features)]
        unsafe fn $name<const R: usize, const P: usize>(
            rows: Rows<'_>,
            weights: Packed<'_>,
            row: usize,
            panel: usize,
            ahead: Ahead,
            take: &impl Take,
        ) {
            const WIDTH: usize = PANEL / $parts;
            let depth = weights.depth;
            let a = rows.bytes[row * depth..].as_ptr();
            let b = weights.panel(panel);
            let offsets = rows.offsets[panel * PANEL..][..P * PANEL].as_ptr();
            let mut sums: [[[$vector; $parts]; P]; R] = [[[$zero(); $parts]; P]; R];
            // SAFETY: `R` rows of `depth` bytes, `P` panels of 16 times that, and their offsets.
            unsafe {
                for p in 0..P {
                    for part in 0..$parts {
                        let offset = $load(offsets.add(p * PANEL + part * WIDTH).cast());
                        for r in 0..R {
                            sums[r][p][part] = offset;
                        }
                    }
                }
                // What the loop adds to addresses is worked out before, or wraps: it shall have no checks in it.
                let (below, right): ([usize; R], [usize; P]) = (from_fn(|r| r * depth), from_fn(|p| p * depth * PANEL));
                let mut fetched = ahead.from.wrapping_add(ahead.pass * LINE);
                let (mut wait, stride) = (ahead.pass, ahead.passes * LINE);
                let (mut a, mut b) = (a, b);
                for _ in 0..depth / 4 {
                    if wait == 0 {
                        for p in 0..P {
                            _mm_prefetch::<_MM_HINT_T1>(fetched.wrapping_add(right[p]));
                        }
                        fetched = fetched.wrapping_add(stride);
                        wait = ahead.passes;
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
                    $give(take, row, panel + p, &out);
                }
            }
        }
    };
}

#[rustfmt::skip]
vnni!(
    vnni512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", give_wide, 1 x __m512i,
    _mm512_setzero_si512, _mm512_loadu_si512, _mm512_storeu_si512, _mm512_set1_epi32, _mm512_dpbusd_epi32
);
#[rustfmt::skip]
vnni!(
    vnni256, "avx2,avxvnni", give_narrow, 2 x __m256i,
    _mm256_setzero_si256, _mm256_loadu_si256, _mm256_storeu_si256, _mm256_set1_epi32, _mm256_dpbusd_avx_epi32
);

/// Pairs of products in 16 bits, which cannot overflow: 2 x 127 x 127. The sign goes from the row to the weights.
///
/// # Safety
/// `R` rows from `row` and `P` panels from `panel` are there.
#[target_feature(enable = "avx2")]
unsafe fn avx2<const R: usize, const P: usize>(
    rows: Rows<'_>,
    weights: Packed<'_>,
    row: usize,
    panel: usize,
    ahead: Ahead,
    take: &impl Take,
) {
    let _ = ahead; // Here computing takes longer than memory.
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
            give_narrow(take, row, panel + p, &out);
        }
    }
}

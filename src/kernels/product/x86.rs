//! Products with the vectors of x86-64.

#![allow(clippy::needless_range_loop)] // The indices are those of registers, for which the arrays stand.

use std::arch::x86_64::*;
use std::ops::Range;

use super::{PANEL, Packed, Rows, Take};

/// Where the panels lie that come after these. They are fetched from memory while these are multiplied, each pass of rows
/// fetching its share; otherwise memory rests while the later passes compute.
#[derive(Clone, Copy)]
struct Ahead {
    from: *const i8,
    pass: usize,
    passes: usize,
}

/// Defines a driver that goes over panels and rows, and calls the kernel for as many at once as fit into the registers.
/// The rows go past a few panels, so that those are read from memory once. `$panels` is how many panels are taken at once
/// for rows of at most so many, then for all that there are more.
macro_rules! driver {
    ($name:ident, $features:literal, $kernel:ident, $few:literal => $narrow:literal, $many:literal => $wide:literal) => {
        pub(super) fn $name(rows: Rows<'_>, weights: Packed<'_>, panels: Range<usize>, take: &impl Take) {
            #[target_feature(enable = $features)]
            fn inner(rows: Rows<'_>, weights: Packed<'_>, panels: Range<usize>, take: &impl Take) {
                let together = if rows.count <= $few { $narrow } else { $wide };
                let mut panel = panels.start;
                while panel < panels.end {
                    let width = if panel + together <= panels.end { together } else { 1 };
                    let (mut row, mut pass) = (0, 0);
                    let passes = rows.count.div_ceil($many);
                    while row < rows.count {
                        let left = rows.count - row;
                        // Beyond the end of this piece, too: what comes after is mostly taken next, by this thread.
                        let ahead = (panel + 2 * width <= weights.panels).then(|| Ahead {
                            from: weights.panel(panel + width),
                            pass: pass % passes,
                            passes,
                        });
                        pass += 1;
                        // SAFETY: so many rows from `row` and panels from `panel` are there, as deep as the weights.
                        #[allow(unreachable_patterns)]
                        // Some kernels take as many panels of many rows as of few, or four rows at most.
                        let done = unsafe {
                            match (left, width) {
                                ($many.., $wide) => $kernel::<$many, $wide>(rows, weights, row, panel, ahead, take),
                                ($many.., _) => $kernel::<$many, 1>(rows, weights, row, panel, ahead, take),
                                (4.., $wide) => $kernel::<4, $wide>(rows, weights, row, panel, ahead, take),
                                (4.., 1) => $kernel::<4, 1>(rows, weights, row, panel, ahead, take),
                                (4.., _) => $kernel::<4, $narrow>(rows, weights, row, panel, ahead, take),
                                (2.., $wide) => $kernel::<2, $wide>(rows, weights, row, panel, ahead, take),
                                (2.., 1) => $kernel::<2, 1>(rows, weights, row, panel, ahead, take),
                                (2.., _) => $kernel::<2, $narrow>(rows, weights, row, panel, ahead, take),
                                (_, $wide) => $kernel::<1, $wide>(rows, weights, row, panel, ahead, take),
                                (_, 1) => $kernel::<1, 1>(rows, weights, row, panel, ahead, take),
                                _ => $kernel::<1, $narrow>(rows, weights, row, panel, ahead, take),
                            }
                        };
                        row += done;
                    }
                    panel += width;
                }
            }
            // SAFETY: it is only called where the processor has these features.
            unsafe { inner(rows, weights, panels, take) }
        }
    };
}

driver!(run_vnni512, "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni", vnni512, 4 => 4, 8 => 3);
driver!(run_vnni256, "avx2,avxvnni", vnni256, 2 => 2, 4 => 1);
driver!(run_avx2, "avx2", avx2, 2 => 2, 4 => 1);

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

/// Sums of four products of an unsigned with a signed number: the weights become unsigned by adding 128, and 128 times
/// the sum of the row is taken off again.
///
/// # Safety
/// `R` rows from `row` and `P` panels from `panel` are there.
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512dq,avx512vnni")]
unsafe fn vnni512<const R: usize, const P: usize>(
    rows: Rows<'_>,
    weights: Packed<'_>,
    row: usize,
    panel: usize,
    ahead: Option<Ahead>,
    take: &impl Take,
) -> usize {
    let depth = weights.depth;
    let flip = _mm512_set1_epi8(-128);
    let ones = _mm512_set1_epi8(1);
    let a = rows.bytes[row * depth..].as_ptr();
    let b = weights.panel(panel);
    let mut sums = [[_mm512_setzero_si512(); P]; R];
    let mut offsets = [0i32; R];
    // SAFETY: `R` rows of `depth` bytes and `P` panels of 16 times that.
    unsafe {
        for (r, offset) in offsets.iter_mut().enumerate() {
            let mut total = _mm512_setzero_si512();
            for k in (0..depth).step_by(64) {
                total = _mm512_dpbusd_epi32(total, ones, _mm512_loadu_si512(a.add(r * depth + k).cast()));
            }
            *offset = _mm512_reduce_add_epi32(total).wrapping_mul(128);
        }
        let (mut due, step) = ahead.map_or((usize::MAX, 0), |ahead| (ahead.pass, ahead.passes));
        for k in 0..depth / 4 {
            if k == due {
                due += step;
                for p in 0..P {
                    let at = ahead.map_or(b, |ahead| ahead.from).wrapping_add(p * depth * PANEL + k * 64);
                    _mm_prefetch::<_MM_HINT_T1>(at);
                }
            }
            let mut line = [flip; P];
            for (p, line) in line.iter_mut().enumerate() {
                let vector = _mm512_loadu_si512(b.add((p * depth * PANEL) + k * 64).cast());
                *line = _mm512_xor_si512(vector, flip);
            }
            for (r, sums) in sums.iter_mut().enumerate() {
                let four = _mm512_set1_epi32(a.add(r * depth + 4 * k).cast::<i32>().read_unaligned());
                for (sum, &line) in sums.iter_mut().zip(&line) {
                    *sum = _mm512_dpbusd_epi32(*sum, line, four);
                }
            }
        }
        for p in 0..P {
            let mut out = [[0i32; PANEL]; R];
            for r in 0..R {
                let sum = _mm512_sub_epi32(sums[r][p], _mm512_set1_epi32(offsets[r]));
                _mm512_storeu_si512(out[r].as_mut_ptr().cast(), sum);
            }
            give_wide(take, row, panel + p, &out);
        }
    }
    R
}

/// As [`vnni512`] with vectors half as long: a panel is two.
///
/// # Safety
/// `R` rows from `row` and `P` panels from `panel` are there.
#[target_feature(enable = "avx2,avxvnni")]
unsafe fn vnni256<const R: usize, const P: usize>(
    rows: Rows<'_>,
    weights: Packed<'_>,
    row: usize,
    panel: usize,
    ahead: Option<Ahead>,
    take: &impl Take,
) -> usize {
    let _ = ahead; // Here computing takes longer than memory.
    let depth = weights.depth;
    let flip = _mm256_set1_epi8(-128);
    let a = rows.bytes[row * depth..].as_ptr();
    let b = weights.panel(panel);
    let mut sums = [[[_mm256_setzero_si256(); 2]; P]; R];
    // SAFETY: `R` rows of `depth` bytes and `P` panels of 16 times that.
    unsafe {
        for k in 0..depth / 4 {
            for p in 0..P {
                let at = b.add((p * depth * PANEL) + k * 64);
                let line = [0, 32].map(|half| _mm256_xor_si256(_mm256_loadu_si256(at.add(half).cast()), flip));
                for r in 0..R {
                    let four = _mm256_set1_epi32(a.add(r * depth + 4 * k).cast::<i32>().read_unaligned());
                    for half in 0..2 {
                        sums[r][p][half] = _mm256_dpbusd_avx_epi32(sums[r][p][half], line[half], four);
                    }
                }
            }
        }
        for p in 0..P {
            let mut out = [[0i32; PANEL]; R];
            for r in 0..R {
                let row = std::slice::from_raw_parts(a.add(r * depth), depth);
                let offset = _mm256_set1_epi32(128 * row.iter().map(|&x| i32::from(x)).sum::<i32>());
                for half in 0..2 {
                    let sum = _mm256_sub_epi32(sums[r][p][half], offset);
                    _mm256_storeu_si256(out[r].as_mut_ptr().add(8 * half).cast(), sum);
                }
            }
            give_narrow(take, row, panel + p, &out);
        }
    }
    R
}

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
    ahead: Option<Ahead>,
    take: &impl Take,
) -> usize {
    let _ = ahead; // As above.
    let depth = weights.depth;
    let ones = _mm256_set1_epi16(1);
    let a = rows.bytes[row * depth..].as_ptr();
    let b = weights.panel(panel);
    let mut sums = [[[_mm256_setzero_si256(); 2]; P]; R];
    // SAFETY: `R` rows of `depth` bytes and `P` panels of 16 times that.
    unsafe {
        for k in 0..depth / 4 {
            for r in 0..R {
                let four = _mm256_set1_epi32(a.add(r * depth + 4 * k).cast::<i32>().read_unaligned());
                let size = _mm256_abs_epi8(four);
                for (p, sums) in sums[r].iter_mut().enumerate() {
                    let at = b.add((p * depth * PANEL) + k * 64);
                    for (half, sum) in sums.iter_mut().enumerate() {
                        let line = _mm256_sign_epi8(_mm256_loadu_si256(at.add(32 * half).cast()), four);
                        let pairs = _mm256_madd_epi16(_mm256_maddubs_epi16(size, line), ones);
                        *sum = _mm256_add_epi32(*sum, pairs);
                    }
                }
            }
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
    R
}

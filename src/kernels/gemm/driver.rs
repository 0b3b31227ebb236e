//! Divides a GEMM among threads, and has the kernel of the CPU multiply each part.

use super::super::isa::{Isa, RowKind};
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, TryLockError};

use super::super::pool::Pool;
use super::expand::expand;
use super::operands::{BLOCK, Epilogue, Int4Rows, Int4Weights, PANEL, PackedWeights, QuantizedRows, TILE};

/// Multiplies all rows with all panels.
pub(in super::super) fn gemm(
    isa: Isa,
    pool: &dyn Pool,
    rows: QuantizedRows<'_>,
    weights: PackedWeights<'_>,
    epilogue: &impl Epilogue,
) {
    let PackedWeights { depth, panels, .. } = weights;
    assert!(rows.bytes.len() >= rows.count.next_multiple_of(TILE) * depth, "gemm: too few rows");
    if rows.count == 0 {
        return;
    }
    let unsigned = isa.unsigned_rows(rows.count);
    assert!(!unsigned || rows.compensation.len() == panels * PANEL, "gemm: unsigned rows without compensation");
    in_pieces(pool, rows.count, depth, panels, &|panels| isa.multiply_panels(rows, weights, panels, epilogue));
}

/// Multiplies all rows with all panels of int4 weights, of which [`Isa::reads_int4`] says that there is a kernel for it.
pub(in super::super) fn gemm_int4(
    isa: Isa,
    pool: &dyn Pool,
    rows: Int4Rows<'_>,
    weights: Int4Weights<'_>,
    epilogue: &impl Epilogue,
) {
    let Int4Weights { depth, panels, .. } = weights;
    assert!(rows.bytes.len() >= rows.count * depth, "gemm: too few rows");
    let complete = match isa.reads_int4(rows.count) {
        Some(RowKind::Signed) => rows.starts.len() >= rows.count * (depth / BLOCK),
        Some(RowKind::Unsigned) => rows.compensation.len() == panels * PANEL,
        None => false,
    };
    assert!(complete, "gemm: rows without starts of blocks or compensation");
    if rows.count > 0 {
        in_pieces(pool, rows.count, depth, panels, &|panels| isa.multiply_int4_panels(rows, weights, panels, epilogue));
    }
}

/// Multiplies all rows with all panels of int4 weights, by the kernels for int8 weights. The rows are deinterleaved. `expanded` is
/// memory for at least one thread, [`expanded_length`] long each.
pub(in super::super) fn gemm_expanded(
    isa: Isa,
    pool: &dyn Pool,
    rows: QuantizedRows<'_>,
    weights: Int4Weights<'_>,
    expanded: &[Mutex<Vec<i8>>],
    epilogue: &impl Epilogue,
) {
    let Int4Weights { depth, panels, .. } = weights;
    assert!(rows.bytes.len() >= rows.count.next_multiple_of(TILE) * depth, "gemm: too few rows");
    assert!(!expanded.is_empty(), "gemm: no memory for expanded weights");
    if rows.count == 0 {
        return;
    }
    let unsigned = isa.unsigned_rows(rows.count);
    assert!(!unsigned || rows.compensation.len() == panels * PANEL, "gemm: unsigned rows without compensation");
    let most = panels_at_once(depth);
    in_pieces(pool, rows.count, depth, panels, &|panels| {
        let mut memory = lock_any(expanded);
        for first in panels.clone().step_by(most) {
            let count = most.min(panels.end - first);
            let bytes = &mut memory[..count * depth * PANEL];
            for (panel, to) in (first..).zip(bytes.chunks_exact_mut(depth * PANEL)) {
                expand(isa, weights, panel, to);
            }
            let compensation = if unsigned { &rows.compensation[first * PANEL..][..count * PANEL] } else { &[] };
            let rows = QuantizedRows { compensation, ..rows };
            isa.multiply_panels(
                rows,
                PackedWeights { bytes, depth, panels: count },
                0..count,
                &Behind { first, epilogue },
            );
        }
    });
}

/// Bytes for the panels of these weights that are expanded at once.
pub(in super::super) fn expanded_length(weights: Int4Weights<'_>) -> usize {
    panels_at_once(weights.depth) * weights.depth * PANEL
}

/// As many panels as stay in the caches beside the rows, up to a group.
fn panels_at_once(depth: usize) -> usize {
    const BYTES: usize = 96 << 10;
    (BYTES / (depth * PANEL)).clamp(1, GROUP)
}

/// One that no other thread has locked. There are as many as threads, or soon one is free.
fn lock_any(all: &[Mutex<Vec<i8>>]) -> MutexGuard<'_, Vec<i8>> {
    loop {
        for one in all {
            match one.try_lock() {
                Ok(memory) => return memory,
                Err(TryLockError::Poisoned(memory)) => return memory.into_inner(),
                Err(TryLockError::WouldBlock) => {}
            }
        }
        std::thread::yield_now();
    }
}

/// Receives the sums of panels that are counted from `first` on.
struct Behind<'a, E> {
    first: usize,
    epilogue: &'a E,
}

impl<E: Epilogue> Epilogue for Behind<'_, E> {
    #[inline(always)]
    fn apply(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
        self.epilogue.apply(row, self.first + panel, sums);
    }
}

/// Calls `run` for all panels, in pieces, on the threads of `pool` where that is worth it.
fn in_pieces(pool: &dyn Pool, count: usize, depth: usize, panels: usize, run: &(dyn Fn(Range<usize>) + Sync)) {
    // Panels are split into groups that a kernel takes at once; every piece has as many groups as the others, or one less.
    // There are a few for each thread, so that a slow one is helped, and they are numbered such that threads which take turns
    // go through neighbouring ones.
    let threads = pool.threads();
    let groups = panels.div_ceil(GROUP);
    let each = PIECES.min(groups.div_ceil(threads));
    let pieces = each * threads;
    let run = |number: usize| {
        let piece = number % threads * each + number / threads;
        let from = piece * groups / pieces * GROUP;
        let end = panels.min((piece + 1) * groups / pieces * GROUP);
        if from < end {
            run(from..end);
        }
    };
    // Reading a weight takes about as long as multiplying it with ten rows.
    if pieces == 1 || threads == 1 || (10 + count) * depth * panels * PANEL < SINGLE_THREAD_BELOW {
        (0..pieces).for_each(run);
    } else {
        pool.each(pieces, &run);
    }
}

/// Pieces for each thread.
const PIECES: usize = 4;
/// The most panels that a kernel takes at once.
const GROUP: usize = 4;
/// Less work than this (in tenths of a weight read, about 15 us) is not worth waking a second thread.
const SINGLE_THREAD_BELOW: usize = 2_000_000;

#[cfg(test)]
pub(in super::super) mod tests {
    use super::super::super::pool::SingleThread;
    use super::super::operands::DEPTH;
    use super::*;
    use std::sync::Mutex;

    /// Packs `[depth, columns]` as the exporter does.
    pub fn pack(weights: &[i8], depth: usize, columns: usize) -> Vec<i8> {
        let (deep, panels) = (depth.next_multiple_of(DEPTH), columns.div_ceil(PANEL));
        let mut packed = vec![0; deep * panels * PANEL];
        for k in 0..depth {
            for n in 0..columns {
                packed[((n / PANEL * (deep / 4) + k / 4) * PANEL + n % PANEL) * 4 + k % 4] = weights[k * columns + n];
            }
        }
        packed
    }

    /// `[depth, columns]` of which neighbours are as large as they may be.
    pub fn int8_weights(depth: usize, columns: usize) -> Vec<i8> {
        let mut weights: Vec<i8> = (0..depth * columns).map(int8).collect();
        for k in (1..depth).step_by(2) {
            for n in 0..columns {
                let before = weights[(k - 1) * columns + n];
                let weight = &mut weights[k * columns + n];
                if before > 0 {
                    *weight = (*weight).min((128 - i16::from(before)) as i8);
                } else if before < 0 {
                    *weight = (*weight).max((-128 - i16::from(before)) as i8);
                }
            }
        }
        weights
    }

    pub fn int8(n: usize) -> i8 {
        let byte = ((n as u32 + 1).wrapping_mul(2_654_435_761) >> 24) as i8;
        byte.max(-127)
    }

    struct Record<'a> {
        columns: usize,
        got: &'a Mutex<Vec<i32>>,
    }

    impl Epilogue for Record<'_> {
        fn apply(&self, row: usize, panel: usize, sums: &[[i32; PANEL]]) {
            for (r, sums) in sums.iter().enumerate() {
                for (n, &sum) in (panel * PANEL..self.columns).zip(sums) {
                    self.got.lock().unwrap()[(row + r) * self.columns + n] = sum;
                }
            }
        }
    }

    #[test]
    fn gemm_is_exact_with_every_instruction_set() {
        for (count, depth, columns) in [
            (1usize, 64usize, 16usize),
            (2, 70, 40),
            (3, 130, 100),
            (5, 64, 200),
            (17, 192, 83),
            (50, 129, 48),
            (64, 64, 17),
        ]
        .into_iter()
        // Passes of every height, of whole groups of panels and of what is left.
        .chain((1..40).map(|count| (count, 64, 16 * 5)))
        {
            let deep = depth.next_multiple_of(DEPTH);
            let weights = int8_weights(depth, columns);
            let packed = pack(&weights, depth, columns);
            let mut rows = vec![0; count.next_multiple_of(TILE) * deep];
            for (r, row) in rows.chunks_exact_mut(deep).take(count).enumerate() {
                (0..depth).for_each(|k| row[k] = int8(k + 1000 * (r + 1)));
            }
            // The extremes, where sums of pairs are largest.
            rows[..depth].fill(127);
            let packed = PackedWeights::new(&packed, depth, columns).unwrap();
            let compensation: Vec<i32> = (0..packed.columns())
                .map(|n| {
                    -128 * (0..depth).filter(|_| n < columns).map(|k| i32::from(weights[k * columns + n])).sum::<i32>()
                })
                .collect();
            let unsigned: Vec<i8> = rows.iter().map(|x| x ^ i8::MIN).collect();
            for isa in Isa::supported().iter().copied() {
                let got = Mutex::new(vec![i32::MIN; count * columns]);
                let bytes = if isa.unsigned_rows(count) { &unsigned } else { &rows };
                gemm(
                    isa,
                    &SingleThread,
                    QuantizedRows { bytes, count, compensation: &compensation },
                    packed,
                    &Record { columns, got: &got },
                );
                for r in 0..count {
                    for n in 0..columns {
                        let want: i32 = (0..depth)
                            .map(|k| i32::from(rows[r * deep + k]) * i32::from(weights[k * columns + n]))
                            .sum();
                        assert_eq!(
                            got.lock().unwrap()[r * columns + n],
                            want,
                            "{isa:?} {count} {depth} {columns}: {r} {n}"
                        );
                    }
                }
            }
        }
    }

    struct Discard;

    impl Epilogue for Discard {
        #[inline(always)]
        fn apply(&self, _: usize, _: usize, sums: &[[i32; PANEL]]) {
            std::hint::black_box(sums);
        }
    }

    /// Prints the throughput on one thread: `cargo test --release --lib -- --ignored --nocapture gemm_throughput`.
    #[test]
    #[ignore = "measures"]
    fn gemm_throughput() {
        println!("10^9 multiply-adds per second, best of 5 rounds");
        for (depth, columns) in [(256usize, 768), (768, 2304), (1024, 5632), (2816, 1024)] {
            let packed = vec![3i8; depth.next_multiple_of(DEPTH) * columns];
            let packed = PackedWeights::new(&packed, depth, columns).unwrap();
            let compensation = vec![0; packed.columns()];
            for isa in Isa::supported().iter().copied().filter(|isa| *isa != Isa::Portable) {
                print!("{depth:>5} x {columns:<5} {isa:<8?}");
                for count in [1, 2, 4, 8, 16, 32, 64, 256, 384] {
                    let rows = vec![5i8; usize::next_multiple_of(count, TILE) * packed.depth];
                    let rows = QuantizedRows { bytes: &rows, count, compensation: &compensation };
                    let work = (count * depth * columns) as f64;
                    let rounds = (1e9 / work).ceil() as usize;
                    let round = || {
                        let begun = std::time::Instant::now();
                        (0..rounds).for_each(|_| gemm(isa, &SingleThread, rows, packed, &Discard));
                        work * rounds as f64 / 1e9 / begun.elapsed().as_secs_f64()
                    };
                    print!(" {count:>4}: {:>4.0}", std::iter::repeat_with(round).take(5).fold(0.0, f64::max));
                }
                println!();
            }
        }
    }
}

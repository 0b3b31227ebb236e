//! How fast this CPU multiplies: a floor for the time of anything that consists of int8 GEMMs.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::gemm::driver::gemm;
use super::gemm::operands::{DEPTH, Epilogue, PANEL, PackedWeights, QuantizedRows, TILE};
use super::isa::Isa;
use super::pool::SingleThread;
use crate::support::error::Result;
use crate::support::memory::filled;
use crate::support::platform::without_signals;

/// Rows and weights that stay in the caches of a core: 32 KiB and 128 KiB.
const ROWS: usize = 4 * TILE;
const INPUTS: usize = 8 * DEPTH;
const OUTPUTS: usize = 16 * PANEL;
/// Each thread multiplies for this long, several times; the best counts.
const SPELL: Duration = Duration::from_millis(10);
const SPELLS: usize = 5;

/// Sums that nobody needs.
struct Discard;

impl Epilogue for Discard {
    #[inline(always)]
    fn apply(&self, _: usize, _: usize, sums: &[[i32; PANEL]]) {
        black_box(sums);
    }
}

/// Multiply-adds a second that `threads` threads (at least one, this one among them; fewer where the system starts none) reach
/// together with the best kernel, on operands in their caches. Takes a tenth of a second.
///
/// # Errors
/// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
pub(crate) fn multiply_adds_per_second(threads: usize) -> Result<f64> {
    let rows = filled("a measurement", ROWS * INPUTS, 5i8)?;
    let weights = filled("a measurement", INPUTS * OUTPUTS, 3i8)?;
    let compensation = filled("a measurement", OUTPUTS, 0i32)?;
    let multiply = || {
        let rows = QuantizedRows { bytes: &rows, count: ROWS, compensation: &compensation };
        let weights = PackedWeights::new(&weights, INPUTS, OUTPUTS).expect("whole panels");
        gemm(Isa::best(), &SingleThread, rows, weights, &Discard);
    };
    // The rate of one thread, in GEMMs a second.
    let rate = || {
        let (begun, mut count) = (Instant::now(), 0u32);
        while begun.elapsed() < SPELL {
            multiply();
            count += 1;
        }
        f64::from(count) / begun.elapsed().as_secs_f64()
    };
    let mut best = 0f64;
    for _ in 0..SPELLS {
        let all = std::thread::scope(|scope| {
            let begin = || std::thread::Builder::new().name("detailflow-peak".into()).spawn_scoped(scope, rate);
            let others: Vec<_> = (1..threads).map_while(|_| without_signals(begin).ok()).collect();
            rate() + others.into_iter().filter_map(|other| other.join().ok()).sum::<f64>()
        });
        best = best.max(all);
    }
    Ok(best * (ROWS * INPUTS * OUTPUTS) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cpu_multiplies() {
        // The slowest imaginable: an emulator.
        assert!(multiply_adds_per_second(1).unwrap() > 1e5);
        assert!(multiply_adds_per_second(3).unwrap() > 1e5);
    }
}

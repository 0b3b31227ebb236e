//! The memory floor: a step must read its weights and the visible part of the KV cache at least once. The time this takes
//! at the machine's read bandwidth is a lower bound for the step. (The other one is the GEMM floor, whose rate the library
//! measures.)

use std::time::Instant;

/// A cache line: 64 bytes.
type Line = [u64; 8];

/// Largest block to read: no cache holds more.
const LARGEST: u64 = 512 << 20;
/// Smallest block to read: less ends before all threads have started.
const SMALLEST: u64 = 4 << 20;
/// Streams that a thread reads concurrently.
const STREAMS: usize = 4;
/// Cache lines per stream.
const STREAM: usize = 256;
/// Number of passes; the fastest counts.
const PASSES: usize = 5;

/// Whether the device reads from the memory measured here.
pub fn is_bound(device: &str) -> bool {
    let device = device.to_ascii_lowercase();
    device == "cpu" || device.ends_with(":cpu")
}

/// The number of threads that a model's option says; 0 is one per core.
pub fn threads(option: usize) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    if option == 0 { cores() } else { option }
}

/// Bandwidth in GB/s (10^9 bytes per second) at which `threads` threads (0: one per core) repeatedly read a block of `bytes`.
/// A block that fits into a cache is read from there, as a step's weights are. None if the block cannot be allocated.
pub fn read_gb_per_s(bytes: u64, threads: usize) -> Option<f64> {
    let threads = self::threads(threads);
    let lines = (bytes.clamp(SMALLEST, LARGEST) as usize) / size_of::<Line>();
    let mut memory: Vec<Line> = Vec::new();
    memory.try_reserve_exact(lines).ok()?;
    memory.resize(lines, [1; 8]);
    let part = lines.div_ceil(threads);
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        // Each thread reports its first and last read, so that thread start-up does not count.
        let times: Vec<(Instant, Instant)> = std::thread::scope(|scope| {
            let readers: Vec<_> = memory.chunks(part).map(|part| scope.spawn(move || read(part))).collect();
            readers.into_iter().filter_map(|reader| reader.join().ok()).collect()
        });
        let begun = times.iter().map(|&(begun, _)| begun).min()?;
        let ended = times.iter().map(|&(_, ended)| ended).max()?;
        best = best.min((ended - begun).as_secs_f64());
    }
    (best > 0.0).then(|| (lines * size_of::<Line>()) as f64 / best / 1e9)
}

/// Reads every line and returns the begin and end times.
fn read(lines: &[Line]) -> (Instant, Instant) {
    let begun = Instant::now();
    // Several streams, as panels of weights are read: the CPU prefetches each stream, and one stream alone does not reach full
    // bandwidth.
    let mut sums = [0u64; STREAMS];
    for block in lines.chunks_exact(STREAMS * STREAM) {
        let streams: [&[Line]; STREAMS] = std::array::from_fn(|stream| &block[stream * STREAM..][..STREAM]);
        for at in 0..STREAM {
            // Reading one word fetches its whole cache line.
            for (sum, stream) in sums.iter_mut().zip(&streams) {
                *sum = sum.wrapping_add(stream[at][0]);
            }
        }
    }
    std::hint::black_box(sums);
    (begun, Instant::now())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn read_bandwidth_is_positive_and_bounds_cpu_devices_only() {
        assert!(read_gb_per_s(1, 3).unwrap() > 0.0);
        assert!(is_bound("cpu") && is_bound("openvino:CPU") && !is_bound("cuda:0"));
    }
}

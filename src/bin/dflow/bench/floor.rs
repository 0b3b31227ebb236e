//! The memory floor: a step has to read every weight that it multiplies with, and the keys and values that it looks at,
//! once. How long that takes on this machine is what no step can beat.

use std::time::Instant;

/// One block of memory: 64 bytes, a line of the cache.
type Line = [u64; 8];

/// More tells no more: no cache holds it.
const LARGEST: u64 = 512 << 20;
/// Less is over before threads have begun.
const SMALLEST: u64 = 4 << 20;
/// Places that a thread reads at once.
const STREAMS: usize = 4;
/// Lines that it reads at each.
const STREAM: usize = 256;
/// The best of so many passes counts.
const PASSES: usize = 5;

/// Whether the device reads the memory that is measured here.
pub fn is_bound(device: &str) -> bool {
    let device = device.to_ascii_lowercase();
    device == "cpu" || device.ends_with(":cpu")
}

/// How fast `threads` threads (0: one for each core) read a block of `bytes` again and again, in 10^9 bytes a second. What
/// fits into a cache is read from there, as a step's weights are. None when there is no memory for it.
pub fn read_gb_per_s(bytes: u64, threads: usize) -> Option<f64> {
    let cores = || std::thread::available_parallelism().map_or(1, |cores| cores.get());
    let threads = if threads == 0 { cores() } else { threads };
    let lines = (bytes.clamp(SMALLEST, LARGEST) as usize) / size_of::<Line>();
    let mut memory: Vec<Line> = Vec::new();
    memory.try_reserve_exact(lines).ok()?;
    memory.resize(lines, [1; 8]);
    let part = lines.div_ceil(threads);
    let mut best = f64::INFINITY;
    for _ in 0..PASSES {
        // The threads' own beginning is left out: each tells when it read first and last.
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

/// Reads every line, and tells from when to when.
fn read(lines: &[Line]) -> (Instant, Instant) {
    let begun = Instant::now();
    // Several places at once, as panels of weights are read: the processor fetches ahead in each, and one alone does not ask
    // for all that memory can give.
    let mut sums = [0u64; STREAMS];
    for block in lines.chunks_exact(STREAMS * STREAM) {
        let streams: [&[Line]; STREAMS] = std::array::from_fn(|stream| &block[stream * STREAM..][..STREAM]);
        for at in 0..STREAM {
            // One word fetches the line that it lies in.
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
    fn memory_is_read_at_some_pace() {
        assert!(read_gb_per_s(1, 3).unwrap() > 0.0);
        assert!(is_bound("cpu") && is_bound("openvino:CPU") && !is_bound("cuda:0"));
    }
}

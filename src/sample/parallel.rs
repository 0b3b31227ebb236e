//! Sampling for many pictures, on several threads where that pays.

use std::sync::{Mutex, PoisonError};
use std::thread::Builder;

use super::Sampler;
use crate::support::parallel::Threads;
use crate::support::platform::{float, without_signals};
use crate::support::sync::lock;

/// The least number of codes for each thread: they take about 0.2 ms, and starting a thread a tenth of that.
const CODES_A_THREAD: usize = 1 << 17;
/// Pieces of work for each thread, so that a thread that is held up leaves its share to the others.
const PIECES: usize = 4;

/// Samples for many pictures; keeps its working memory between calls.
#[derive(Debug, Default)]
pub(crate) struct SamplerPool(Vec<Sampler>);

/// As many threads as pay.
fn worth(threads: usize, codes: usize, items: usize) -> usize {
    threads.min(items.saturating_mul(codes) / CODES_A_THREAD).min(items).max(1)
}

impl SamplerPool {
    /// Memory for a call of [`each`](Self::each) with `items` items, which then allocates nothing of their size.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn make_room(&mut self, threads: usize, codes: usize, items: usize) -> crate::Result<()> {
        let threads = worth(threads, codes, items);
        self.0.resize_with(threads.max(self.0.len()), Sampler::default);
        self.0[..threads].iter_mut().try_for_each(|sampler| sampler.make_room(codes))
    }

    /// As [`make_room`](Self::make_room), where items are mixed.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory).
    pub fn make_room_mixed(&mut self, threads: usize, codes: usize, items: usize) -> crate::Result<()> {
        self.make_room(threads, codes, items)?;
        self.0[..worth(threads, codes, items)].iter_mut().try_for_each(|sampler| sampler.make_room_mixed(codes))
    }

    /// Calls `sample` with each of the items, on up to as many threads as `threads` says, the calling one included, or on
    /// those of the host; on fewer when the items have so few `codes` that more threads do not pay. The result does not
    /// depend on the threads.
    ///
    /// # Errors
    /// The error of the first item, in their order, that has one. Items after it may have been sampled or not.
    pub fn each<T: Send, E: Send>(
        &mut self,
        threads: &Threads,
        codes: usize,
        items: &mut [T],
        sample: impl Fn(&mut Sampler, &mut T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let host = threads.host.as_ref();
        let threads = worth(threads.count, codes, items.len());
        self.0.resize_with(threads.max(self.0.len()), Sampler::default);
        let (own, others) = self.0[..threads].split_first_mut().expect("there is at least one");
        if others.is_empty() {
            return items.iter_mut().try_for_each(|item| sample(own, item));
        }
        let piece = items.len().div_ceil(threads * PIECES);
        let work = Mutex::new(items.chunks_mut(piece).enumerate());
        let failed = Mutex::new(None);
        let all = |sampler: &mut Sampler| {
            // A closure of its own, so that the lock is not held while sampling.
            let next = || lock(&work).next();
            while let Some((at, items)) = next() {
                if let Err(error) = items.iter_mut().try_for_each(|item| sample(sampler, item)) {
                    let mut failed = lock(&failed);
                    if failed.as_ref().is_none_or(|&(before, _)| at < before) {
                        *failed = Some((at, error));
                    }
                    return;
                }
            }
        };
        if let Some(host) = host {
            let samplers: Vec<_> = others.iter_mut().chain([own]).map(Mutex::new).collect();
            host.each(threads, &|number| all(&mut lock(&samplers[number])));
        } else {
            std::thread::scope(|scope| {
                for sampler in others {
                    // Without a thread from the system the calling one does all the work.
                    let work = || {
                        float::set_default();
                        all(sampler);
                    };
                    let _ = without_signals(|| Builder::new().name("detailflow-draw".into()).spawn_scoped(scope, work));
                }
                all(own);
            });
        }
        match failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some((_, error)) => Err(error),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{PLAIN, logits};
    use super::super::uniform;
    use super::*;
    use crate::support::parallel::ParallelFor;

    fn ours(count: usize) -> Threads {
        Threads { count, host: None }
    }

    fn sample(codes: usize, count: usize, threads: &Threads, samplers: &mut SamplerPool) -> Vec<u32> {
        let (rows, uncond) = ([logits(1, codes), logits(2, codes), logits(3, codes)], logits(4, codes));
        let mut items: Vec<(usize, u32)> = (0..count).map(|at| (at, 0)).collect();
        samplers
            .each(threads, codes, &mut items, |sampler, (at, token)| {
                let random = uniform(*at as u64, 5);
                *token = sampler.sample(PLAIN, &rows[*at % 3], Some((&uncond, 1.5)), random).ok_or(())?;
                Ok::<(), ()>(())
            })
            .unwrap();
        items.into_iter().map(|(_, token)| token).collect()
    }

    #[test]
    fn sampler_pool_gives_the_same_tokens_on_any_number_of_threads() {
        let mut samplers = SamplerPool::default();
        for (codes, count) in [(8192, 0), (8192, 1), (8192, 100), (1000, 777), (10, 5)] {
            let alone = sample(codes, count, &ours(1), &mut SamplerPool::default());
            for threads in [0, 2, 3, 16] {
                assert_eq!(sample(codes, count, &ours(threads), &mut samplers), alone);
                let host = Some(ParallelFor::new(|count, task| (1..count).rev().for_each(task)));
                assert_eq!(sample(codes, count, &Threads { count: threads, host }, &mut samplers), alone);
            }
        }
        assert!(samplers.0.len() <= 6, "only as many as pay");
    }

    #[test]
    fn sampler_pool_returns_the_first_failure() {
        for threads in [1, 4] {
            let mut items: Vec<usize> = (0..1000).collect();
            let failed = SamplerPool::default().each(&ours(threads), 8192, &mut items, |_, item| match *item {
                40 | 41 | 990 => Err(*item),
                _ => Ok(()),
            });
            assert_eq!(failed, Err(40));
        }
    }

    /// Prints the time of many samples: `cargo test --release --lib -- --ignored --nocapture sampling_time`.
    #[test]
    #[ignore = "measures"]
    fn parallel_sampling_time() {
        println!("ms for pictures x 8 tokens, least of 20 rounds: 1 thread, 2 threads");
        for codes in [1024, 8192] {
            for count in [1, 4, 16, 32, 64, 128] {
                let mut samplers = SamplerPool::default();
                let least = [1, 2].map(|threads| {
                    let round = || {
                        let begun = std::time::Instant::now();
                        std::hint::black_box(sample(codes, count * 8, &ours(threads), &mut samplers));
                        begun.elapsed().as_secs_f64() * 1e3
                    };
                    std::iter::repeat_with(round).take(20).fold(f64::MAX, f64::min)
                });
                println!("{count:>4} of {codes} codes {:>7.2} {:>7.2}", least[0], least[1]);
            }
        }
    }
}

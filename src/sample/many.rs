//! Draws of many pictures, on several threads where that pays.

use std::sync::{Mutex, PoisonError};

use super::Sampler;
use crate::support::sync::lock;

/// Codes that a thread has to look at to be worth its start: those take it about 0.2 ms, and the start a tenth of that.
const CODES_A_THREAD: usize = 1 << 17;
/// Pieces of work for each thread: one that another program holds up leaves its own to the others.
const PIECES: usize = 4;

/// Draws for many pictures; keeps its working memory between calls.
#[derive(Debug, Default)]
pub(crate) struct Samplers(Vec<Sampler>);

impl Samplers {
    /// Calls `draw` with each of the items, on up to `threads` threads, this one among them; one thread where each of the
    /// items looks at so few `codes` that more do not pay. Which thread does what makes no difference.
    ///
    /// # Errors
    /// That of the first item, in their order, that has one. Those after it may have been drawn or not.
    pub fn each<T: Send, E: Send>(
        &mut self,
        threads: usize,
        codes: usize,
        items: &mut [T],
        draw: impl Fn(&mut Sampler, &mut T) -> Result<(), E> + Sync,
    ) -> Result<(), E> {
        let worth = items.len().saturating_mul(codes) / CODES_A_THREAD;
        let threads = threads.min(worth).min(items.len()).max(1);
        self.0.resize_with(threads.max(self.0.len()), Sampler::default);
        let (own, others) = self.0[..threads].split_first_mut().expect("there is at least one");
        if others.is_empty() {
            return items.iter_mut().try_for_each(|item| draw(own, item));
        }
        let piece = items.len().div_ceil(threads * PIECES);
        let work = Mutex::new(items.chunks_mut(piece).enumerate());
        let failed = Mutex::new(None);
        let all = |sampler: &mut Sampler| {
            // Apart, so that the lock is not held while it draws.
            let next = || lock(&work).next();
            while let Some((at, items)) = next() {
                if let Err(error) = items.iter_mut().try_for_each(|item| draw(sampler, item)) {
                    let mut failed = lock(&failed);
                    if failed.as_ref().is_none_or(|&(before, _)| at < before) {
                        *failed = Some((at, error));
                    }
                    return;
                }
            }
        };
        std::thread::scope(|scope| {
            for sampler in others {
                // Where the system gives no thread this one does its work too.
                let _ = std::thread::Builder::new().name("detailflow-draw".into()).spawn_scoped(scope, || all(sampler));
            }
            all(own);
        });
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

    fn draw(codes: usize, count: usize, threads: usize, samplers: &mut Samplers) -> Vec<u32> {
        let (rows, uncond) = ([logits(1, codes), logits(2, codes), logits(3, codes)], logits(4, codes));
        let mut items: Vec<(usize, u32)> = (0..count).map(|at| (at, 0)).collect();
        samplers
            .each(threads, codes, &mut items, |sampler, (at, token)| {
                let random = uniform(*at as u64, 5);
                *token = sampler.draw(PLAIN, &rows[*at % 3], Some((&uncond, 1.5)), random).ok_or(())?;
                Ok::<(), ()>(())
            })
            .unwrap();
        items.into_iter().map(|(_, token)| token).collect()
    }

    #[test]
    fn threads_make_no_difference() {
        let mut samplers = Samplers::default();
        for (codes, count) in [(8192, 0), (8192, 1), (8192, 100), (1000, 777), (10, 5)] {
            let alone = draw(codes, count, 1, &mut Samplers::default());
            for threads in [0, 2, 3, 16] {
                assert_eq!(draw(codes, count, threads, &mut samplers), alone);
            }
        }
        assert!(samplers.0.len() <= 6, "only as many as pay");
    }

    #[test]
    fn the_first_failure_is_told() {
        for threads in [1, 4] {
            let mut items: Vec<usize> = (0..1000).collect();
            let failed = Samplers::default().each(threads, 8192, &mut items, |_, item| match *item {
                40 | 41 | 990 => Err(*item),
                _ => Ok(()),
            });
            assert_eq!(failed, Err(40));
        }
    }

    /// Prints what many draws cost: `cargo test --release --lib -- --ignored --nocapture how_long`.
    #[test]
    #[ignore = "it measures"]
    fn how_long_many_draws_take() {
        println!("ms for pictures x 8 tokens, the least of 20 rounds: 1 thread, 2 threads");
        for codes in [1024, 8192] {
            for count in [1, 4, 16, 32, 64, 128] {
                let mut samplers = Samplers::default();
                let least = [1, 2].map(|threads| {
                    let round = || {
                        let begun = std::time::Instant::now();
                        std::hint::black_box(draw(codes, count * 8, threads, &mut samplers));
                        begun.elapsed().as_secs_f64() * 1e3
                    };
                    std::iter::repeat_with(round).take(20).fold(f64::MAX, f64::min)
                });
                println!("{count:>4} of {codes} codes {:>7.2} {:>7.2}", least[0], least[1]);
            }
        }
    }
}

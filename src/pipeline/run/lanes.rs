//! How the cores of a machine are shared: many models with a thread each, or one with all threads.

use crate::bundle::Bundle;
use crate::runtime::Device;
use crate::support::platform;

/// A model with at most so many weights in a step has a thread to itself: its matrices are too small to be shared among threads
/// without waiting, and another copy of what a lane holds is small.
const SMALL: u64 = 64_000_000;

/// Models that draw at once, and the threads of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lanes {
    /// How many models.
    pub count: usize,
    /// Threads of each, as [`ModelOptions::threads`](crate::ModelOptions::threads).
    pub threads: usize,
}

impl Lanes {
    /// The most lanes.
    pub const MOST: usize = 256;

    /// The lanes that draw fastest with `bundle` on `device`; where `count` or `threads` is not 0, it is taken as it is. On the
    /// CPU a small model gets a lane of one thread for each core, and a large one a lane of all threads; on another device there
    /// is one lane.
    #[must_use]
    pub fn choose(bundle: &Bundle, device: &Device, count: usize, threads: usize) -> Self {
        Self::on(platform::allowed_cpus(), *device == Device::Cpu, bundle.step_weights(), count, threads)
    }

    fn on(cores: usize, cpu: bool, weights: Option<u64>, count: usize, threads: usize) -> Self {
        let small = cpu && weights.is_some_and(|weights| weights <= SMALL);
        let (count, threads) = match (count, threads) {
            (0, 0) if small => (cores, 1),
            (0, 0) => (1, 0),
            (0, threads) if small => ((cores / threads).max(1), threads),
            (0, threads) => (1, threads),
            (count, 0) if cpu => (count, (cores / count).max(1)),
            (count, threads) => (count, threads),
        };
        Self { count: count.clamp(1, Self::MOST), threads }
    }

    /// Threads that encode and write files beside these lanes: few, so that they do not take the cores from the lanes.
    #[must_use]
    pub fn writers(self) -> usize {
        (platform::allowed_cpus() / 4).clamp(1, 4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_models_get_a_lane_for_each_core_and_large_ones_all_threads() {
        let lanes = |cores, cpu, weights, count, threads| {
            let Lanes { count, threads } = Lanes::on(cores, cpu, weights, count, threads);
            (count, threads)
        };
        let (small, large) = (Some(6_000_000), Some(300_000_000));
        assert_eq!(lanes(8, true, small, 0, 0), (8, 1));
        assert_eq!(lanes(8, true, large, 0, 0), (1, 0));
        assert_eq!(lanes(8, true, None, 0, 0), (1, 0));
        assert_eq!(lanes(8, false, small, 0, 0), (1, 0));
        assert_eq!(lanes(8, true, small, 0, 2), (4, 2));
        assert_eq!(lanes(8, true, small, 0, 16), (1, 16));
        assert_eq!(lanes(8, true, large, 0, 3), (1, 3));
        assert_eq!(lanes(8, true, large, 3, 0), (3, 2));
        assert_eq!(lanes(2, true, large, 3, 0), (3, 1));
        assert_eq!(lanes(8, true, small, 5, 4), (5, 4));
        assert_eq!(lanes(1000, true, small, 0, 0), (256, 1));
    }
}

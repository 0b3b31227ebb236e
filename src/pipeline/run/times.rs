//! Where the time of a run goes: each stage adds up what its threads spent in it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A stage of the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Stage {
    /// Steps of the autoregressive model, sampling included.
    Draw,
    /// Runs of the decoder.
    Decode,
    /// Measuring and selecting pictures.
    Select,
    /// Encoding files.
    Encode,
    /// Writing and renaming files.
    Write,
    /// Syncing groups, and their journal records.
    Sync,
    /// Lanes that had nothing to draw.
    Idle,
}

impl Stage {
    /// Every stage, in the order of a picture's way.
    pub const ALL: [Self; 7] =
        [Self::Draw, Self::Decode, Self::Select, Self::Encode, Self::Write, Self::Sync, Self::Idle];

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Draw => "draw",
            Self::Decode => "decode",
            Self::Select => "select",
            Self::Encode => "encode",
            Self::Write => "write",
            Self::Sync => "sync",
            Self::Idle => "idle",
        }
    }
}

/// Seconds by stage, added up by all threads.
#[derive(Debug, Default)]
pub(super) struct Times([AtomicU64; Stage::ALL.len()]);

impl Times {
    /// Runs `body` and adds the time that it takes.
    pub fn of<R>(&self, stage: Stage, body: impl FnOnce() -> R) -> R {
        let begun = Instant::now();
        let result = body();
        self.add(stage, begun.elapsed());
        result
    }

    pub fn add(&self, stage: Stage, time: Duration) {
        self.0[stage as usize].fetch_add(time.as_nanos() as u64, Ordering::Relaxed);
    }

    /// The sums so far, in the order of [`Stage::ALL`].
    pub fn sums(&self) -> [(Stage, Duration); Stage::ALL.len()] {
        Stage::ALL.map(|stage| (stage, Duration::from_nanos(self.0[stage as usize].load(Ordering::Relaxed))))
    }
}

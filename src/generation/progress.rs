//! How far a generation is, and what it holds in memory.

use std::time::Duration;

use crate::plan::Level;
use crate::support::error::{Error, Result};

/// How far a generation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Steps done.
    pub steps_done: usize,
    /// Steps left; 0 when it is finished.
    pub steps_left: usize,
    /// Tokens of each image so far.
    pub tokens: usize,
    /// Pixels per side that those tokens decode to; 0 before the first token.
    pub size: u32,
    /// The finest level that is complete.
    pub level: Option<Level>,
    /// Predicted latency of the next step on this machine, from measured steps of its shape. None when there is no next
    /// step, or nothing was measured yet.
    pub next_step: Option<Duration>,
    /// Predicted latency of decoding the finest complete level of one image. None when there is no such level yet, or
    /// nothing was measured.
    pub next_decode: Option<Duration>,
}

/// Memory of a generation, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Its own KV cache and tokens.
    pub own: u64,
    /// The KV cache of the generation that it was forked from, to which it refers until its first step. All forks of one
    /// generation refer to the same memory.
    pub shared: u64,
}

pub(super) fn check_image(image_index: usize, count: usize) -> Result<()> {
    if image_index < count {
        return Ok(());
    }
    Err(Error::Invalid(format!("image {image_index} is out of range: there are {count}")))
}

pub(super) fn mean(values: &[f32]) -> f32 {
    let sum: f64 = values.iter().map(|&value| f64::from(value)).sum();
    (sum / values.len().max(1) as f64) as f32
}

//! Runs of a graph of form `native`: any tokens of any sequences at once, as one run, or as a run for each part of a large
//! batch.

use std::time::{Duration, Instant};

use ort::session::Session;

use super::bindings::{Bindings, Run};
use super::exit::{self, Running};
use super::failure::failed;
use super::graph::Graph;
use super::interrupt::Interrupt;
use super::lanes::SpareLogits;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::{grow, reserve};
use crate::support::sync::lock;

/// Larger logits are not kept: 64 MiB.
const MOST_SPARE_LOGITS: usize = 16 << 20;

/// Steps of several sequences, of one or more generations, in one run.
#[derive(Default)]
pub(crate) struct JointStep {
    bindings: Bindings,
    /// `[tokens, codes]` of the last run, if it was one in parts; else empty.
    parted: Parted,
    waited: Duration,
}

/// Logits of a batch in parts, in memory that the lanes of the graph keep for the next generation.
#[derive(Default)]
struct Parted {
    logits: Vec<f32>,
    length: usize,
    home: SpareLogits,
}

impl Parted {
    /// Room for `length` logits.
    fn make_room(&mut self, length: usize, home: &SpareLogits) -> Result<()> {
        if self.logits.len() < length {
            let spare = std::mem::take(&mut *lock(home));
            if self.logits.len() < spare.len() {
                self.logits = spare;
            }
            self.home = home.clone();
            grow("logits", &mut self.logits, length, 0.0)?;
        }
        self.length = length;
        Ok(())
    }
}

impl Drop for Parted {
    fn drop(&mut self) {
        if host::threads_are_gone() {
            // The lock may be one of theirs.
            return;
        }
        let mut spare = lock(&self.home);
        if spare.len() < self.logits.len() && self.logits.len() <= MOST_SPARE_LOGITS {
            *spare = std::mem::take(&mut self.logits);
        }
    }
}

impl JointStep {
    /// Runs the graph on all `runs`, each of another sequence, and returns the logits `[tokens, codes]` in their order.
    /// After an error or interrupt the step can be repeated.
    pub fn run<'a>(
        &mut self,
        graph: &Graph,
        codes: usize,
        runs: impl Iterator<Item = Run<'a>> + Clone,
        interrupt: &Interrupt,
    ) -> Result<&[f32]> {
        let _inside = exit::enter()?;
        let _running = Running::new(interrupt.options());
        let tokens = runs.clone().map(|run| run.ids.len()).sum();
        let fail = |error: ort::Error| exit::reason(failed(graph.name(), error));
        let waiting = Instant::now();
        let mut session = graph.lock();
        self.waited = waiting.elapsed();
        self.parted.length = 0;
        if self.run_in_parts((graph, &mut session), codes, tokens, runs.clone(), interrupt)? {
            return Ok(&self.parted.logits[..self.parted.length]);
        }
        let no_room = |error| of_logits(fail(error), tokens, codes);
        let call = self.bindings.get(&session, tokens).map_err(no_room)?;
        call.bind_logits(codes).map_err(no_room)?;
        call.fill(runs.clone());
        graph.slots().lock().set(runs.map(|run| run.slot.clone()))?;
        let ran = graph.timed(|| call.run(&mut session, interrupt.options()));
        graph.slots().lock().clear();
        ran.map_err(fail)?;
        drop(session);
        Ok(call.logits())
    }

    /// Runs a batch in parts, where the graph has lanes for it. The caller has the graph's lock. False when it is to run as one.
    fn run_in_parts<'a>(
        &mut self,
        (graph, session): (&Graph, &mut Session),
        codes: usize,
        tokens: usize,
        runs: impl Iterator<Item = Run<'a>> + Clone,
        interrupt: &Interrupt,
    ) -> Result<bool> {
        let rows = runs.clone().count();
        let Some((lanes, part)) = graph.lanes().and_then(|lanes| Some((lanes, lanes.part_rows(rows, tokens)?))) else {
            return Ok(false);
        };
        let mut all: Vec<Run<'a>> = reserve("a batch", rows)?;
        all.extend(runs);
        let values = tokens.saturating_mul(codes);
        self.parted.make_room(values, lanes.spare_logits()).map_err(|error| of_logits(error, tokens, codes))?;
        // No two rows have one slot. Whoever has the graph's lock has the slots.
        let mut guard = graph.slots().lock();
        guard.set(all.iter().map(|run| run.slot.clone()))?;
        guard.clear();
        drop(guard);
        let (bindings, logits) = (&mut self.bindings, &mut self.parted.logits[..values]);
        let mut own = |runs: &[Run<'_>], tokens: usize, logits: &mut [f32]| {
            let fail = |error: ort::Error| exit::reason(failed(graph.name(), error));
            let call = bindings.get(session, tokens).map_err(fail)?;
            call.fill(runs.iter().copied());
            graph.slots().lock().set(runs.iter().map(|run| run.slot.clone()))?;
            let ran = call.run_into(session, logits, interrupt.options());
            graph.slots().lock().clear();
            ran.map_err(fail)
        };
        let ran = graph.timed(|| lanes.run(&all, part, codes, logits, &mut own, interrupt));
        let ran = ran.map_err(|error| of_logits(error, tokens, codes));
        if !matches!(ran, Ok(true)) {
            self.parted.length = 0;
        }
        ran
    }

    /// The logits of the last run, which had `tokens` tokens.
    pub fn logits(&self, tokens: usize) -> &[f32] {
        match self.parted.length {
            0 => self.bindings.logits(tokens),
            length => &self.parted.logits[..length],
        }
    }

    /// Time that the last run spent waiting for other users of the graph.
    pub fn waited(&self) -> Duration {
        self.waited
    }
}

/// An error of a run whose memory is that of its logits.
fn of_logits(error: Error, tokens: usize, codes: usize) -> Error {
    match error {
        Error::OutOfMemory { .. } => {
            let bytes = tokens.saturating_mul(codes).saturating_mul(size_of::<f32>()) as u64;
            Error::OutOfMemory { what: format!("the logits of {tokens} tokens"), bytes }
        }
        other => other,
    }
}

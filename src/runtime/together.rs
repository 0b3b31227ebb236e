//! Runs of a graph of form `native`: any tokens of any sequences at once, as one run, or as a run for each part of a large
//! batch.

use std::time::{Duration, Instant};

use super::bindings::{Bindings, Run};
use super::exit::{self, Running};
use super::failure::failed;
use super::graph::Graph;
use super::interrupt::Interrupt;
use crate::support::error::{Error, Result};
use crate::support::memory::{grow, reserve};

/// Steps of several sequences, of one or more generations, in one run.
#[derive(Default)]
pub(crate) struct JointStep {
    bindings: Bindings,
    /// `[tokens, codes]` of the last run, if it was one in parts; else empty.
    parted: Vec<f32>,
    waited: Duration,
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
        self.parted.clear();
        if self.run_in_parts(graph, codes, tokens, runs.clone(), interrupt)? {
            return Ok(&self.parted);
        }
        let call = self.bindings.get(&session, tokens, codes).map_err(|error| of_logits(fail(error), tokens, codes))?;
        call.fill(runs.clone());
        graph.slots().lock().set(runs.map(|run| run.slot.clone()))?;
        let ran = graph.timed(|| session.run_binding_with_options(&call.binding, interrupt.options()).map(drop));
        graph.slots().lock().clear();
        ran.map_err(fail)?;
        drop(session);
        Ok(call.logits())
    }

    /// Runs a batch in parts, where the graph has lanes for it. The caller has the graph's lock. False when it is to run as one.
    fn run_in_parts<'a>(
        &mut self,
        graph: &Graph,
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
        grow("logits", &mut self.parted, values, 0.0).map_err(|error| of_logits(error, tokens, codes))?;
        // Nobody else has access to the slots meanwhile, and no two rows have one.
        let mut guard = graph.slots().lock();
        guard.set(all.iter().map(|run| run.slot.clone()))?;
        let ran = graph.timed(|| lanes.run(&all, part, codes, &mut self.parted[..values], interrupt));
        guard.clear();
        let ran = ran.map_err(|error| of_logits(error, tokens, codes));
        if !matches!(ran, Ok(true)) {
            self.parted.clear();
        }
        ran
    }

    /// The logits of the last run, which had `tokens` tokens.
    pub fn logits(&self, tokens: usize) -> &[f32] {
        if self.parted.is_empty() { self.bindings.logits(tokens) } else { &self.parted }
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

//! Calls of a graph of form `native`: any tokens of any rows at once. What goes in and out is bound once for each number
//! of tokens and kept, so that nothing is allocated from step to step.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;

use super::exit::{self, Running, RuntimeOwned};
use super::{Graph, Interrupt, failed};
use crate::kernels::kv::KvSlot;
use crate::support::error::{Error, Result};

/// One prepared call.
struct Call {
    binding: IoBinding,
    ids: Tensor<i64>,
    at: Tensor<i64>,
    logits: Tensor<f32>,
}

/// Prepared calls, the one used last at the end.
#[derive(Default)]
pub(crate) struct JointStep {
    kept: Vec<(usize, RuntimeOwned<Call>)>,
    waited: Duration,
}

/// A generation has two shapes; those that step together meet in some more.
const KEPT: usize = 6;

/// Tokens of one row that are fed together: they stand side by side, and each sees all of them and all before.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub row: &'a Arc<KvSlot>,
    pub start: usize,
    pub ids: &'a [i64],
}

impl JointStep {
    /// Feeds all runs, each of another row, and gives the logits `[tokens, codes]` in their order. When it fails (or is
    /// interrupted) the step can be done again.
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
        let call = self.call(&session, tokens, codes).map_err(|error| match fail(error) {
            Error::OutOfMemory { .. } => {
                let bytes = (tokens * codes).saturating_mul(size_of::<f32>()) as u64;
                Error::OutOfMemory { what: format!("the logits of {tokens} tokens"), bytes }
            }
            other => other,
        })?;
        let mut token = 0;
        let (ids, at) = (call.ids.extract_tensor_mut().1, call.at.extract_tensor_mut().1);
        for (row, run) in runs.clone().enumerate() {
            ids[token..token + run.ids.len()].copy_from_slice(run.ids);
            let seen = (run.start + run.ids.len()) as i64;
            for place in (run.start..).take(run.ids.len()) {
                at[3 * token..][..3].copy_from_slice(&[row as i64, place as i64, seen]);
                token += 1;
            }
        }
        graph.seats().lock().set(runs.map(|run| run.row.clone()));
        let ran = graph.timed(|| session.run_binding_with_options(&call.binding, interrupt.options()).map(drop));
        graph.seats().lock().clear();
        ran.map_err(fail)?;
        drop(session);
        Ok(call.logits.extract_tensor().1)
    }

    /// The logits of the last run, which fed so many tokens.
    pub fn logits(&self, tokens: usize) -> &[f32] {
        let (count, call) = self.kept.last().expect("there was a run");
        assert_eq!(*count, tokens, "the last run fed other tokens");
        call.logits.extract_tensor().1
    }

    /// How long the last run waited for others who use the graph.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn call(&mut self, session: &Session, tokens: usize, codes: usize) -> ort::Result<&mut Call> {
        if let Some(at) = self.kept.iter().position(|(count, _)| *count == tokens) {
            self.kept[at..].rotate_left(1);
        } else {
            if self.kept.len() == KEPT {
                self.kept.remove(0);
            }
            self.kept.push((tokens, RuntimeOwned::new(prepare(session, tokens, codes)?)));
        }
        let (_, call) = self.kept.last_mut().expect("it was put there");
        Ok(call)
    }
}

fn prepare(session: &Session, tokens: usize, codes: usize) -> ort::Result<Call> {
    let allocator = Allocator::default();
    let ids = Tensor::<i64>::new(&allocator, [tokens])?;
    let at = Tensor::<i64>::new(&allocator, [tokens, 3])?;
    let mut logits = Tensor::<f32>::new(&allocator, [tokens, codes])?;
    let mut binding = session.create_binding()?;
    binding.bind_input("ids", &ids)?;
    binding.bind_input("at", &at)?;
    binding.bind_output("logits", &mut logits)?;
    Ok(Call { binding, ids, at, logits })
}

//! Runs of a graph of form `native`: any tokens of any sequences at once. Inputs and outputs are bound once for each number
//! of tokens and kept, so that steps allocate nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;

use super::exit::{self, Running, RuntimeOwned};
use super::failure::failed;
use super::graph::Graph;
use super::interrupt::Interrupt;
use crate::kernels::kv::KvSlot;
use crate::support::error::{Error, Result};

/// Everything that goes in and out for one number of tokens.
struct JointBinding {
    binding: IoBinding,
    ids: Tensor<i64>,
    /// Sequence slot, position and visible length of each token.
    places: Tensor<i64>,
    logits: Tensor<f32>,
}

/// Steps of several sequences, of one or more generations, in one run.
#[derive(Default)]
pub(crate) struct JointStep {
    /// Bindings by number of tokens, the last used at the end.
    bindings: Vec<(usize, RuntimeOwned<JointBinding>)>,
    waited: Duration,
}

/// A generation has two numbers of tokens; several that step together have some more.
const MOST_BINDINGS: usize = 6;

/// Adjacent tokens of one sequence. Each attends to all of them, and to all positions before.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub slot: &'a Arc<KvSlot>,
    pub start: usize,
    pub ids: &'a [i64],
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
        let call = self.binding(&session, tokens, codes).map_err(|error| match fail(error) {
            Error::OutOfMemory { .. } => {
                let bytes = (tokens * codes).saturating_mul(size_of::<f32>()) as u64;
                Error::OutOfMemory { what: format!("the logits of {tokens} tokens"), bytes }
            }
            other => other,
        })?;
        let mut token = 0;
        let ids = call.ids.extract_tensor_mut().1;
        let places = call.places.extract_tensor_mut().1.as_chunks_mut::<3>().0;
        for (slot, run) in runs.clone().enumerate() {
            ids[token..token + run.ids.len()].copy_from_slice(run.ids);
            let visible = (run.start + run.ids.len()) as i64;
            for position in (run.start..).take(run.ids.len()) {
                places[token] = [slot as i64, position as i64, visible];
                token += 1;
            }
        }
        graph.slots().lock().set(runs.map(|run| run.slot.clone()))?;
        let ran = graph.timed(|| session.run_binding_with_options(&call.binding, interrupt.options()).map(drop));
        graph.slots().lock().clear();
        ran.map_err(fail)?;
        drop(session);
        Ok(call.logits.extract_tensor().1)
    }

    /// The logits of the last run, which had `tokens` tokens.
    pub fn logits(&self, tokens: usize) -> &[f32] {
        let (count, call) = self.bindings.last().expect("there was a run");
        assert_eq!(*count, tokens, "the last run had another number of tokens");
        call.logits.extract_tensor().1
    }

    /// Time that the last run spent waiting for other users of the graph.
    pub fn waited(&self) -> Duration {
        self.waited
    }

    fn binding(&mut self, session: &Session, tokens: usize, codes: usize) -> ort::Result<&mut JointBinding> {
        if let Some(index) = self.bindings.iter().position(|(count, _)| *count == tokens) {
            self.bindings[index..].rotate_left(1);
        } else {
            if self.bindings.len() == MOST_BINDINGS {
                self.bindings.remove(0);
            }
            self.bindings.push((tokens, RuntimeOwned::new(bind(session, tokens, codes)?)));
        }
        let (_, call) = self.bindings.last_mut().expect("it was pushed above");
        Ok(call)
    }
}

fn bind(session: &Session, tokens: usize, codes: usize) -> ort::Result<JointBinding> {
    let allocator = Allocator::default();
    let ids = Tensor::<i64>::new(&allocator, [tokens])?;
    let places = Tensor::<i64>::new(&allocator, [tokens, 3])?;
    let mut logits = Tensor::<f32>::new(&allocator, [tokens, codes])?;
    let mut binding = session.create_binding()?;
    binding.bind_input("ids", &ids)?;
    binding.bind_input("at", &places)?;
    binding.bind_output("logits", &mut logits)?;
    Ok(JointBinding { binding, ids, places, logits })
}

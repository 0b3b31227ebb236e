//! What goes in and out of a graph of form `native`, bound once for each number of tokens and kept, so that steps allocate
//! nothing.

use std::sync::Arc;

use ort::memory::Allocator;
use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::Tensor;

use super::exit::RuntimeOwned;
use super::sys;
use crate::kernels::kv::KvSlot;

/// Adjacent tokens of one sequence. Each attends to all of them, and to all positions before.
#[derive(Clone, Copy)]
pub(crate) struct Run<'a> {
    pub slot: &'a Arc<KvSlot>,
    pub start: usize,
    pub ids: &'a [i64],
}

const LOGITS: &str = "logits";

/// A generation has two numbers of tokens; several that step together have some more.
const MOST_BINDINGS: usize = 6;

/// Bindings by number of tokens, the last used at the end.
#[derive(Default)]
pub(super) struct Bindings(Vec<(usize, RuntimeOwned<JointBinding>)>);

/// Everything that goes in and out for one number of tokens.
pub(super) struct JointBinding {
    binding: IoBinding,
    ids: Tensor<i64>,
    /// Sequence slot, position and visible length of each token.
    places: Tensor<i64>,
    /// None when no output is bound.
    logits: Option<Tensor<f32>>,
}

impl Bindings {
    /// The binding for `tokens` tokens.
    pub fn get(&mut self, session: &Session, tokens: usize) -> ort::Result<&mut JointBinding> {
        let Self(bindings) = self;
        if let Some(index) = bindings.iter().position(|(count, _)| *count == tokens) {
            bindings[index..].rotate_left(1);
        } else {
            if bindings.len() == MOST_BINDINGS {
                bindings.remove(0);
            }
            bindings.push((tokens, RuntimeOwned::new(bind(session, tokens)?)));
        }
        let (_, call) = bindings.last_mut().expect("it was pushed above");
        Ok(call)
    }

    /// The logits of the last run, which had `tokens` tokens.
    pub fn logits(&self, tokens: usize) -> &[f32] {
        let (count, call) = self.0.last().expect("there was a run");
        assert_eq!(*count, tokens, "the last run had another number of tokens");
        call.logits()
    }
}

impl JointBinding {
    /// Fills in the tokens of `runs`.
    pub fn fill<'a>(&mut self, runs: impl Iterator<Item = Run<'a>>) {
        let mut token = 0;
        let ids = self.ids.extract_tensor_mut().1;
        let places = self.places.extract_tensor_mut().1.as_chunks_mut::<3>().0;
        for (slot, run) in runs.enumerate() {
            ids[token..token + run.ids.len()].copy_from_slice(run.ids);
            let visible = (run.start + run.ids.len()) as i64;
            for position in (run.start..).take(run.ids.len()) {
                places[token] = [slot as i64, position as i64, visible];
                token += 1;
            }
        }
    }

    /// Memory for the logits `[tokens, codes]` of [`run`](Self::run).
    pub fn bind_logits(&mut self, codes: usize) -> ort::Result<()> {
        if self.logits.is_none() {
            let mut logits = Tensor::<f32>::new(&Allocator::default(), [self.tokens(), codes])?;
            self.binding.bind_output(LOGITS, &mut logits)?;
            self.logits = Some(logits);
        }
        Ok(())
    }

    /// Runs the graph, after [`bind_logits`](Self::bind_logits), and keeps the logits.
    pub fn run(&mut self, session: &mut Session, options: &RunOptions<NoSelectedOutputs>) -> ort::Result<()> {
        session.run_binding_with_options(&self.binding, options).map(drop)
    }

    /// Runs the graph, which writes the logits `[tokens, codes]` to `logits`.
    pub fn run_into(
        &mut self,
        session: &mut Session,
        logits: &mut [f32],
        options: &RunOptions<NoSelectedOutputs>,
    ) -> ort::Result<()> {
        self.logits = None;
        let (tokens, all) = (self.tokens(), logits.len());
        sys::run_into(session, &mut self.binding, options, LOGITS, [tokens, all / tokens.max(1)], logits)
    }

    fn tokens(&self) -> usize {
        self.ids.shape().num_elements()
    }

    /// The logits `[tokens, codes]` that the last run kept.
    pub fn logits(&self) -> &[f32] {
        self.logits.as_ref().map_or(&[], |logits| logits.extract_tensor().1)
    }
}

fn bind(session: &Session, tokens: usize) -> ort::Result<JointBinding> {
    let allocator = Allocator::default();
    let ids = Tensor::<i64>::new(&allocator, [tokens])?;
    let places = Tensor::<i64>::new(&allocator, [tokens, 3])?;
    let mut binding = session.create_binding()?;
    binding.bind_input("ids", &ids)?;
    binding.bind_input("at", &places)?;
    Ok(JointBinding { binding, ids, places, logits: None })
}

//! What a step of form `fixed` is given: the tensors of a KV cache in device memory, and everything that goes in and out. On a
//! device that replays steps, the next generation takes it over.

use std::sync::{Arc, Mutex};

use ort::session::{IoBinding, NoSelectedOutputs, RunOptions, Session};
use ort::value::{DynTensor, Tensor};

use super::exit::RuntimeOwned;
use super::replay::Replay;
use super::row_copy::Feed;
use super::sys::Seen;
use crate::plan::{KvShape, Step};

/// Everything that goes in and out for one query length.
pub(super) struct FixedBinding {
    pub query: usize,
    pub inputs: Inputs,
    pub logits: Logits,
    /// Whether its next run is recorded.
    pub is_recorded_next: bool,
    /// Of replayed runs.
    pub options: Option<Arc<RunOptions<NoSelectedOutputs>>>,
    /// Declared last: it keeps the session alive, whose memory the logits may be in.
    pub binding: IoBinding,
}

/// The ids; the position of each; for each head of each, its row of the cache tensors.
pub(super) enum Inputs {
    /// In CPU memory: copied to the device when they are bound, before each step.
    Copied([Tensor<i64>; 3]),
    /// One after the other. Bound once; the device gets them before each step.
    Fed(Box<Feed>),
}

pub(super) const INPUTS: [&str; 3] = ["ids", "places", "slots"];

impl Inputs {
    /// Fills them in for a step.
    pub fn fill(&mut self, step: Step, ids: &[i64], shape: KvShape) {
        let [tokens, positions, slots] = match self {
            Self::Copied(tensors) => tensors.each_mut().map(|tensor| tensor.extract_tensor_mut().1),
            Self::Fed(feed) => {
                let (tokens, rest) = feed.values().split_at_mut(ids.len());
                let (positions, slots) = rest.split_at_mut(ids.len());
                [tokens, positions, slots]
            }
        };
        let stepped = step.start..step.start + step.query;
        tokens.copy_from_slice(ids);
        for row in positions.chunks_exact_mut(step.query) {
            row.iter_mut().zip(stepped.clone()).for_each(|(to, position)| *to = position as i64);
        }
        for (head, slots) in slots.chunks_exact_mut(step.query).enumerate() {
            let first = head * shape.positions;
            slots.iter_mut().zip(stepped.clone()).for_each(|(to, position)| *to = (first + position) as i64);
        }
    }
}

pub(super) enum Logits {
    /// In CPU memory.
    Host(Tensor<f32>),
    /// In memory that the CPU and the device see.
    Seen(Seen<f32>),
    /// In device memory, where tokens are sampled from them.
    Device(DynTensor),
}

/// The cache's tensors, with the session that allocated them.
pub(super) struct DeviceTensors {
    /// The keys of all layers, then the values of all layers.
    pub tensors: Vec<DynTensor>,
    /// Positions below this one were written.
    pub written: usize,
    pub _session: IoBinding,
}

/// Shared by a generation and its forks.
pub(super) type FixedBuffers = Arc<RuntimeOwned<Mutex<DeviceTensors>>>;

/// What a generation leaves for the next one where steps are replayed: all addresses stay the same.
pub(super) struct Left {
    pub buffers: FixedBuffers,
    pub bindings: RuntimeOwned<Vec<FixedBinding>>,
}

/// What the graph of a model keeps between generations where steps are replayed.
pub(super) type CacheReplay = Replay<Left>;

impl FixedBinding {
    pub fn run(&mut self, session: &mut Session, options: &RunOptions<NoSelectedOutputs>) -> ort::Result<()> {
        match &mut self.inputs {
            Inputs::Copied(tensors) => {
                for (name, tensor) in INPUTS.iter().zip(tensors) {
                    self.binding.bind_input(*name, tensor)?;
                }
            }
            Inputs::Fed(feed) => feed.send()?,
        }
        let ran = session.run_binding_with_options(&self.binding, options).map(drop);
        if ran.is_err() {
            // Work that was begun must not write later, into memory that may be freed by then.
            let _ = self.binding.synchronize_outputs();
        }
        ran
    }
}

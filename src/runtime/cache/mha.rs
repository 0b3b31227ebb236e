//! Form `mha`: keys and values in tensors of the processor's memory, which a step writes in place.

use std::sync::{Arc, Mutex};

use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;

use super::{Frame, Need, Origin, PREPARED, Store, Waiting, copy_rows};
use crate::plan::Step;
use crate::runtime::exit::{self, RuntimeOwned};
use crate::runtime::{Graph, Interrupt, failed};
use crate::support::error::Result;
use crate::support::sync::lock;

/// One prepared call: everything that goes in and out for one query length.
struct Call {
    query: usize,
    binding: IoBinding,
    ids: Tensor<i64>,
    start: Tensor<i64>,
    logits: Tensor<f32>,
}

/// The keys and values of all layers, keys first, of as many rows as they say: shared by a generation and its forks.
pub(super) type Buffers = Arc<RuntimeOwned<Mutex<Vec<Tensor<f32>>>>>;

pub(super) struct InPlace {
    buffers: Buffers,
    calls: RuntimeOwned<Vec<Call>>,
}

impl InPlace {
    /// Memory of its own, with a copy of the origin's rows; or the origin's, where nobody else refers to it.
    pub fn new(graph: &Graph, frame: &Frame, origin: &mut Origin, need: &Need, waiting: &mut Waiting) -> Result<Self> {
        let (shape, positions) = (frame.shape, origin.positions);
        let identity = origin.is_identity(frame.rows);
        let sole = match &mut origin.store {
            // Its origin is gone and nobody else refers to it: what it left is taken over.
            Store::InPlace(buffers) if identity && Arc::strong_count(buffers) == 1 => Some(buffers.clone()),
            _ => None,
        };
        let allocator = Allocator::default();
        let buffers = match sole {
            Some(buffers) => buffers,
            None => {
                let kept = [frame.rows, shape.heads, shape.positions, shape.head_width];
                let tensors = (0..2 * shape.layers).map(|_| Tensor::new(&allocator, kept));
                let tensors = tensors.collect::<ort::Result<_>>().map_err(|error| need.failed(error))?;
                Arc::new(RuntimeOwned::new(Mutex::new(tensors)))
            }
        };
        let session = waiting.lock(graph);
        if let Store::InPlace(source) = &origin.store
            && !Arc::ptr_eq(source, &buffers)
            && positions > 0
        {
            let (source, mut target) = (lock(source), lock(&buffers));
            for (from, to) in source.iter().zip(target.iter_mut()) {
                let lengths = [shape.positions, shape.positions, positions].map(|count| count * shape.head_width);
                copy_rows(from.extract_tensor().1, to.extract_tensor_mut().1, shape.heads, lengths, &origin.map);
            }
        }
        let mut tensors = lock(&buffers);
        let prepare = |query: &usize| prepare(&session, frame, &mut tensors, *query);
        let calls = frame.queries.iter().map(prepare).collect::<ort::Result<Vec<_>>>();
        let calls = calls.map_err(|error| need.failed(error))?;
        drop(tensors);
        Ok(Self { buffers, calls: RuntimeOwned::new(calls) })
    }

    /// Prepares for steps of another query length.
    pub fn prepare(&mut self, graph: &Graph, frame: &Frame, query: usize, waiting: &mut Waiting) -> Result<()> {
        let session = waiting.lock(graph);
        let call = prepare(&session, frame, &mut lock(&self.buffers), query);
        self.calls.push(call.map_err(|error| exit::reason(failed("logits", error)))?);
        Ok(())
    }

    pub fn step(
        &mut self,
        graph: &Graph,
        step: Step,
        ids: &[i64],
        interrupt: &Interrupt,
        waiting: &mut Waiting,
    ) -> Result<()> {
        let mut session = waiting.lock(graph);
        let call = self.calls.iter_mut().find(|call| call.query == step.query).expect(PREPARED);
        call.ids.extract_tensor_mut().1.copy_from_slice(ids);
        call.start.extract_tensor_mut().1[0] = step.start as i64;
        graph
            .timed(|| session.run_binding_with_options(&call.binding, interrupt.options()).map(drop))
            .map_err(|error| exit::reason(failed(graph.name(), error)))
    }

    pub fn logits(&self, step: Step) -> &[f32] {
        self.calls.iter().find(|call| call.query == step.query).expect(PREPARED).logits.extract_tensor().1
    }

    /// What a fork refers to.
    pub fn store(&self) -> Store {
        Store::InPlace(self.buffers.clone())
    }
}

/// Binds everything for one query length. The keys and values are bound as input and as output: that is what makes
/// them grow in place.
fn prepare(session: &Session, frame: &Frame, keys_and_values: &mut [Tensor<f32>], query: usize) -> ort::Result<Call> {
    let allocator = Allocator::default();
    let ids = Tensor::<i64>::new(&allocator, [frame.rows, query])?;
    let start = Tensor::<i64>::new(&allocator, [1usize])?;
    let mut logits = Tensor::<f32>::new(&allocator, [frame.rows, query, frame.codes])?;
    let mut binding = session.create_binding()?;
    binding.bind_input("ids", &ids)?;
    binding.bind_input("start", &start)?;
    binding.bind_output("logits", &mut logits)?;
    for ([past, present], tensor) in frame.names.iter().zip(keys_and_values) {
        binding.bind_output(present, &mut *tensor)?;
        binding.bind_input(past, tensor)?;
    }
    Ok(Call { query, binding, ids, start, logits })
}

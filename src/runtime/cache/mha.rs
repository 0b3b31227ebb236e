//! Form `mha`: the KV cache in CPU tensors `[rows, heads, positions, head_dim]`, which a step writes in place.

use std::sync::{Arc, Mutex};

use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::Tensor;

use super::frame::{Frame, Need, PREPARED, RowMap, Waiting, copy_positions};
use crate::plan::Step;
use crate::runtime::exit::{self, RuntimeOwned};
use crate::runtime::failure::failed;
use crate::runtime::graph::Graph;
use crate::runtime::interrupt::Interrupt;
use crate::support::error::Result;
use crate::support::sync::lock;

/// Everything that goes in and out for one query length.
struct MhaBinding {
    query: usize,
    binding: IoBinding,
    ids: Tensor<i64>,
    start: Tensor<i64>,
    logits: Tensor<f32>,
}

/// The keys of all layers, then the values of all layers; shared by a generation and its forks.
pub(super) type MhaBuffers = Arc<RuntimeOwned<Mutex<Vec<Tensor<f32>>>>>;

pub(super) struct MhaCache {
    buffers: MhaBuffers,
    bindings: RuntimeOwned<Vec<MhaBinding>>,
}

impl MhaCache {
    /// Takes over the origin's memory if nothing else refers to it and the rows are the same; else allocates memory and
    /// copies the origin's rows.
    pub fn new(
        graph: &Graph,
        frame: &Frame,
        origin: Option<&MhaBuffers>,
        rows: &RowMap,
        need: &Need,
        waiting: &mut Waiting,
    ) -> Result<Self> {
        let shape = frame.shape;
        let sole = origin.filter(|buffers| rows.is_identity(frame.rows) && Arc::strong_count(buffers) == 1);
        let allocator = Allocator::default();
        let buffers = match sole {
            Some(buffers) => buffers.clone(),
            None => {
                let dims = [frame.rows, shape.heads, shape.positions, shape.head_width];
                let tensors = (0..2 * shape.layers).map(|_| Tensor::new(&allocator, dims));
                let tensors = tensors.collect::<ort::Result<_>>().map_err(|error| need.failed(error))?;
                Arc::new(RuntimeOwned::new(Mutex::new(tensors)))
            }
        };
        let session = waiting.lock(graph);
        if let Some(source) = origin
            && !Arc::ptr_eq(source, &buffers)
            && rows.positions > 0
        {
            let (source, mut target) = (lock(source), lock(&buffers));
            for (from, to) in source.iter().zip(target.iter_mut()) {
                let from = from.extract_array().into_dimensionality().expect("it was made with four axes");
                let to = to.extract_array_mut().into_dimensionality().expect("it was made with four axes");
                copy_positions(from, to, rows.positions, &rows.rows);
            }
        }
        let mut tensors = lock(&buffers);
        let bind = |query: &usize| bind(&session, frame, &mut tensors, *query);
        let bindings = frame.queries.iter().map(bind).collect::<ort::Result<Vec<_>>>();
        let bindings = bindings.map_err(|error| need.failed(error))?;
        drop(tensors);
        Ok(Self { buffers, bindings: RuntimeOwned::new(bindings) })
    }

    /// Prepares steps of another query length.
    pub fn prepare(&mut self, graph: &Graph, frame: &Frame, query: usize, waiting: &mut Waiting) -> Result<()> {
        let session = waiting.lock(graph);
        let binding = bind(&session, frame, &mut lock(&self.buffers), query);
        self.bindings.push(binding.map_err(|error| exit::reason(failed("logits", error)))?);
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
        let call = self.bindings.iter_mut().find(|call| call.query == step.query).expect(PREPARED);
        call.ids.extract_tensor_mut().1.copy_from_slice(ids);
        call.start.extract_tensor_mut().1[0] = step.start as i64;
        graph
            .timed(|| session.run_binding_with_options(&call.binding, interrupt.options()).map(drop))
            .map_err(|error| exit::reason(failed(graph.name(), error)))
    }

    pub fn logits(&self, step: Step) -> &[f32] {
        self.bindings.iter().find(|call| call.query == step.query).expect(PREPARED).logits.extract_tensor().1
    }

    /// The memory that a fork refers to.
    pub fn buffers(&self) -> MhaBuffers {
        self.buffers.clone()
    }
}

/// Binds inputs and outputs for one query length. Each tensor of the cache is bound as input and as output: this makes the
/// graph write it in place.
fn bind(session: &Session, frame: &Frame, cache: &mut [Tensor<f32>], query: usize) -> ort::Result<MhaBinding> {
    let allocator = Allocator::default();
    let ids = Tensor::<i64>::new(&allocator, [frame.rows, query])?;
    let start = Tensor::<i64>::new(&allocator, [1usize])?;
    let mut logits = Tensor::<f32>::new(&allocator, [frame.rows, query, frame.codes])?;
    let mut binding = session.create_binding()?;
    binding.bind_input("ids", &ids)?;
    binding.bind_input("start", &start)?;
    binding.bind_output("logits", &mut logits)?;
    for ([past, present], tensor) in frame.names.iter().zip(cache) {
        binding.bind_output(present, &mut *tensor)?;
        binding.bind_input(past, tensor)?;
    }
    Ok(MhaBinding { query, binding, ids, start, logits })
}

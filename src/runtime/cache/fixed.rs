//! Form `fixed`: the KV cache in device memory, which a step writes in place. Each step sends only ids and positions to the
//! device; the logits come back, or stay there and sampled tokens come back.
//!
//! A tensor is `[rows * heads * positions, head_dim]`. Attention weighs invisible positions by zero, so they must hold
//! finite numbers: new memory is cleared, and a fork copies only positions before the fork.

use std::sync::{Arc, Mutex};

use half::f16;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::frame::{Frame, Need, PREPARED, RowMap, Waiting};
use crate::plan::{KvShape, Step};
use crate::runtime::device::{Device, allocator};
use crate::runtime::exit::{self, RuntimeOwned};
use crate::runtime::failure::failed;
use crate::runtime::graph::Graph;
use crate::runtime::interrupt::Interrupt;
use crate::runtime::row_copy::RowCopy;
use crate::support::error::Result;
use crate::support::memory::{filled, reserve};
use crate::support::sync::lock;

/// Everything that goes in and out for one query length.
struct FixedBinding {
    query: usize,
    ids: Tensor<i64>,
    /// Position of each id.
    positions: Tensor<i64>,
    /// Row of the cache tensors for each head of each id.
    slots: Tensor<i64>,
    logits: Logits,
    /// Declared last: it keeps the session alive, whose memory the logits may be in.
    binding: IoBinding,
}

enum Logits {
    /// In CPU memory.
    Host(Tensor<f32>),
    /// In device memory, where tokens are sampled from them.
    Device(DynTensor),
}

/// The cache's tensors, with the session that allocated them.
pub(super) struct DeviceTensors {
    /// The keys of all layers, then the values of all layers.
    tensors: Vec<DynTensor>,
    /// Positions below this one were written.
    written: usize,
    _session: IoBinding,
}

/// Shared by a generation and its forks.
pub(super) type FixedBuffers = Arc<RuntimeOwned<Mutex<DeviceTensors>>>;

pub(super) struct FixedCache {
    buffers: FixedBuffers,
    bindings: RuntimeOwned<Vec<FixedBinding>>,
}

impl FixedCache {
    /// Takes over the origin's memory if nothing else refers to it and the rows are the same; else allocates memory and
    /// copies the origin's rows.
    pub fn new(
        graph: &Graph,
        frame: &Frame,
        origin: Option<&FixedBuffers>,
        rows: &RowMap,
        need: &Need,
        waiting: &mut Waiting,
    ) -> Result<Self> {
        // Not if the origin continued behind the fork: what it wrote there may be NaN, which a weight of zero does not hide.
        let sole = origin.filter(|buffers| {
            rows.is_identity(frame.rows) && Arc::strong_count(buffers) == 1 && lock(buffers).written <= rows.positions
        });
        let fail = |error| need.failed(error);
        let element = element(frame.shape);
        let row_copy = graph.row_copy(element)?;
        let session = waiting.lock(graph);
        let buffers = match sole {
            Some(buffers) => buffers.clone(),
            None => {
                let allocator = allocator(&session, &graph.options().device);
                graph.note_kv_memory(allocator.memory_info().allocation_device().as_str());
                let dims = [tensor_rows(frame.shape) * frame.rows, frame.shape.head_width];
                let tensors = (0..2 * frame.shape.layers).map(|_| DynTensor::new(&allocator, element, dims));
                let mut tensors = tensors.collect::<ort::Result<Vec<_>>>().map_err(fail)?;
                fill(&row_copy, frame, origin, rows, &mut tensors).map_err(fail)?;
                let _session = session.create_binding().map_err(fail)?;
                let written = rows.positions;
                let tensors = Mutex::new(DeviceTensors { tensors, written, _session });
                Arc::new(RuntimeOwned::on(graph.shares_context(), tensors))
            }
        };
        let mut cache = lock(&buffers);
        let bind = |query: &usize| bind(&session, &graph.options().device, frame, &mut cache.tensors, *query);
        let bindings = frame.queries.iter().map(bind).collect::<ort::Result<Vec<_>>>().map_err(fail)?;
        drop(cache);
        Ok(Self { buffers, bindings: RuntimeOwned::on(graph.shares_context(), bindings) })
    }

    /// Prepares steps of another query length.
    pub fn prepare(&mut self, graph: &Graph, frame: &Frame, query: usize, waiting: &mut Waiting) -> Result<()> {
        let session = waiting.lock(graph);
        let binding = bind(&session, &graph.options().device, frame, &mut lock(&self.buffers).tensors, query);
        self.bindings.push(binding.map_err(|error| exit::reason(failed("logits", error)))?);
        Ok(())
    }

    pub fn step(
        &mut self,
        graph: &Graph,
        frame: &Frame,
        step: Step,
        ids: &[i64],
        interrupt: &Interrupt,
        waiting: &mut Waiting,
    ) -> Result<()> {
        let mut session = waiting.lock(graph);
        let call = self.bindings.iter_mut().find(|call| call.query == step.query).expect(PREPARED);
        call.ids.extract_tensor_mut().1.copy_from_slice(ids);
        let stepped = step.start..step.start + step.query;
        {
            let mut cache = lock(&self.buffers);
            cache.written = cache.written.max(stepped.end);
        }
        for row in call.positions.extract_tensor_mut().1.chunks_exact_mut(step.query) {
            row.iter_mut().zip(stepped.clone()).for_each(|(to, position)| *to = position as i64);
        }
        for (head, slots) in call.slots.extract_tensor_mut().1.chunks_exact_mut(step.query).enumerate() {
            let first = head * frame.shape.positions;
            slots.iter_mut().zip(stepped.clone()).for_each(|(to, position)| *to = (first + position) as i64);
        }
        let mut run = || {
            // Binding copies an input to the device.
            call.binding.bind_input("ids", &call.ids)?;
            call.binding.bind_input("places", &call.positions)?;
            call.binding.bind_input("slots", &call.slots)?;
            session.run_binding_with_options(&call.binding, interrupt.options()).map(drop)
        };
        let result = graph.timed(&mut run);
        if result.is_err() {
            // Work that was begun must not write later, into memory that may be freed by then.
            let _ = call.binding.synchronize_outputs();
        }
        result.map_err(|error| exit::reason(failed(graph.name(), error)))
    }

    pub fn logits(&self, step: Step) -> &[f32] {
        match self.logits_of(step) {
            Logits::Host(logits) => logits.extract_tensor().1,
            Logits::Device(_) => unreachable!("logits that stay on the device are not read"),
        }
    }

    /// The logits in device memory.
    pub fn device_logits(&self, step: Step) -> &DynTensor {
        match self.logits_of(step) {
            Logits::Device(logits) => logits,
            Logits::Host(_) => unreachable!("logits in CPU memory are sampled on the CPU"),
        }
    }

    fn logits_of(&self, step: Step) -> &Logits {
        &self.bindings.iter().find(|call| call.query == step.query).expect(PREPARED).logits
    }

    /// The memory that a fork refers to.
    pub fn buffers(&self) -> FixedBuffers {
        self.buffers.clone()
    }
}

/// Rows of a cache tensor for each batch row.
fn tensor_rows(shape: KvShape) -> usize {
    shape.heads * shape.positions
}

fn element(shape: KvShape) -> TensorElementType {
    if shape.half { TensorElementType::Float16 } else { TensorElementType::Float32 }
}

fn zeros_of<T: Clone>(count: usize, zero: T) -> ort::Result<Vec<T>> {
    filled("rows", count, zero).map_err(|error| ort::Error::new(error.to_string()))
}

/// Room for `count` row numbers.
fn room(count: usize) -> ort::Result<Vec<i64>> {
    reserve("rows", count).map_err(|error| ort::Error::new(error.to_string()))
}

/// Copies the origin's rows into new tensors, or clears them.
fn fill(
    row_copy: &RowCopy,
    frame: &Frame,
    origin: Option<&FixedBuffers>,
    rows: &RowMap,
    to: &mut [DynTensor],
) -> ort::Result<()> {
    let shape = frame.shape;
    match origin {
        Some(source) if rows.positions > 0 => {
            let mut map = room(tensor_rows(shape).saturating_mul(frame.rows))?;
            for &row in &rows.rows {
                for head in 0..shape.heads {
                    let first = ((row * shape.heads + head) * shape.positions) as i64;
                    // The origin continues behind the fork, and what it writes there may be NaN. Any position before the
                    // fork will do instead.
                    let inherited = |position| if position < rows.positions { first + position as i64 } else { first };
                    map.extend((0..shape.positions).map(inherited));
                }
            }
            row_copy.copy(&lock(source).tensors, map, to)
        }
        _ => {
            let width = shape.head_width;
            let zeros = if shape.half {
                Tensor::from_array(([1, width], zeros_of(width, f16::ZERO)?))?.upcast()
            } else {
                Tensor::from_array(([1, width], zeros_of(width, 0f32)?))?.upcast()
            };
            let mut map = room(tensor_rows(shape).saturating_mul(frame.rows))?;
            map.extend(std::iter::repeat_n(0, tensor_rows(shape) * frame.rows));
            row_copy.copy(&[zeros], map, to)
        }
    }
}

/// Binds everything for one query length but ids and positions. Each tensor of the cache is bound as input and as output:
/// this makes the graph write it in place.
fn bind(
    session: &Session,
    device: &Device,
    frame: &Frame,
    cache: &mut [DynTensor],
    query: usize,
) -> ort::Result<FixedBinding> {
    let host = Allocator::default();
    let ids = Tensor::<i64>::new(&host, [frame.rows, query])?;
    let positions = Tensor::<i64>::new(&host, [frame.rows, query])?;
    let slots = Tensor::<i64>::new(&host, [frame.rows * frame.shape.heads * query, 1])?;
    let shape = [frame.rows, query, frame.codes];
    let mut binding = session.create_binding()?;
    let logits = if frame.logits_stay {
        let mut logits = DynTensor::new(&allocator(session, device), TensorElementType::Float32, shape)?;
        binding.bind_output("logits", &mut logits)?;
        Logits::Device(logits)
    } else {
        let mut logits = Tensor::new(&host, shape)?;
        binding.bind_output("logits", &mut logits)?;
        Logits::Host(logits)
    };
    for ([past, present], tensor) in frame.names.iter().zip(cache) {
        binding.bind_output(present, &mut *tensor)?;
        binding.bind_input(past, tensor)?;
    }
    Ok(FixedBinding { query, ids, positions, slots, logits, binding })
}

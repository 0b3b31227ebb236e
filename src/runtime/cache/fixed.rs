//! Form `fixed`: keys and values in the memory of the device, which a step writes in place. Only ids and places go there from
//! step to step, and logits come back; or they stay, and tokens come back.
//!
//! A tensor has a row for each place of each head of each row of the batch. What a step does not see counts nothing, but must
//! be numbers: so new memory is cleared, and of an origin only what stood before the fork is taken.

use std::sync::{Arc, Mutex};

use half::f16;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session};
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::{Frame, Need, Origin, PREPARED, Store, Waiting};
use crate::plan::{KvShape, Step};
use crate::runtime::exit::{self, RuntimeOwned};
use crate::runtime::row_copy::{Mover, allocator};
use crate::runtime::{Graph, GraphOptions, Interrupt, failed};
use crate::support::error::Result;
use crate::support::sync::lock;

/// One prepared call: everything that goes in and out for one query length.
struct Call {
    query: usize,
    ids: Tensor<i64>,
    places: Tensor<i64>,
    slots: Tensor<i64>,
    /// In the processor's memory, or where they are drawn from.
    logits: Logits,
    /// The last: it keeps the session alive, whose memory the logits may be in.
    binding: IoBinding,
}

enum Logits {
    Here(Tensor<f32>),
    There(DynTensor),
}

/// The keys and values of all layers, keys first. What allocated them lives as long.
pub(super) struct Kept {
    tensors: Vec<DynTensor>,
    /// Places below this one were written.
    written: usize,
    _session: IoBinding,
}

/// Shared by a generation and its forks.
pub(super) type Buffers = Arc<RuntimeOwned<Mutex<Kept>>>;

pub(super) struct Fixed {
    buffers: Buffers,
    calls: RuntimeOwned<Vec<Call>>,
}

impl Fixed {
    /// Memory of its own, with a copy of the origin's rows; or the origin's, where nobody else refers to it.
    pub fn new(graph: &Graph, frame: &Frame, origin: &mut Origin, need: &Need, waiting: &mut Waiting) -> Result<Self> {
        let identity = origin.is_identity(frame.rows);
        let sole = match &mut origin.store {
            // Its origin is gone and nobody else refers to it: what it left is taken over, unless it went on behind the fork.
            // What it has there may be no number, and attention weighs all places, if only with nothing.
            Store::Fixed(buffers)
                if identity && Arc::strong_count(buffers) == 1 && lock(buffers).written <= origin.positions =>
            {
                Some(buffers.clone())
            }
            _ => None,
        };
        let fail = |error| need.failed(error);
        let element = element(frame.shape);
        let mover = graph.mover(element)?;
        let session = waiting.lock(graph);
        let buffers = match sole {
            Some(buffers) => buffers,
            None => {
                let device = allocator(&session, graph.options());
                graph.note_keys_in(device.memory_info().allocation_device().as_str());
                let kept = [places(frame.shape) * frame.rows, frame.shape.head_width];
                let tensors = (0..2 * frame.shape.layers).map(|_| DynTensor::new(&device, element, kept));
                let mut tensors = tensors.collect::<ort::Result<Vec<_>>>().map_err(fail)?;
                fill(&mover, frame, origin, &mut tensors).map_err(fail)?;
                let _session = session.create_binding().map_err(fail)?;
                let written = origin.positions;
                Arc::new(RuntimeOwned::new(Mutex::new(Kept { tensors, written, _session })))
            }
        };
        let mut kept = lock(&buffers);
        let prepare = |query: &usize| prepare(&session, graph.options(), frame, &mut kept.tensors, *query);
        let calls = frame.queries.iter().map(prepare).collect::<ort::Result<Vec<_>>>().map_err(fail)?;
        drop(kept);
        Ok(Self { buffers, calls: RuntimeOwned::new(calls) })
    }

    /// Prepares for steps of another query length.
    pub fn prepare(&mut self, graph: &Graph, frame: &Frame, query: usize, waiting: &mut Waiting) -> Result<()> {
        let session = waiting.lock(graph);
        let call = prepare(&session, graph.options(), frame, &mut lock(&self.buffers).tensors, query);
        self.calls.push(call.map_err(|error| exit::reason(failed("logits", error)))?);
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
        let call = self.calls.iter_mut().find(|call| call.query == step.query).expect(PREPARED);
        call.ids.extract_tensor_mut().1.copy_from_slice(ids);
        let fed = step.start..step.start + step.query;
        {
            let mut kept = lock(&self.buffers);
            kept.written = kept.written.max(fed.end);
        }
        for places in call.places.extract_tensor_mut().1.chunks_exact_mut(step.query) {
            places.iter_mut().zip(fed.clone()).for_each(|(to, place)| *to = place as i64);
        }
        for (head, slots) in call.slots.extract_tensor_mut().1.chunks_exact_mut(step.query).enumerate() {
            let first = head * frame.shape.positions;
            slots.iter_mut().zip(fed.clone()).for_each(|(to, place)| *to = (first + place) as i64);
        }
        let mut run = || {
            // What stands in another memory is copied when it is bound.
            call.binding.bind_input("ids", &call.ids)?;
            call.binding.bind_input("places", &call.places)?;
            call.binding.bind_input("slots", &call.slots)?;
            session.run_binding_with_options(&call.binding, interrupt.options()).map(drop)
        };
        let result = graph.timed(&mut run);
        if result.is_err() {
            // What was begun before must not write after this, into memory that may be another's by then.
            let _ = call.binding.synchronize_outputs();
        }
        result.map_err(|error| exit::reason(failed(graph.name(), error)))
    }

    pub fn logits(&self, step: Step) -> &[f32] {
        match self.logits_of(step) {
            Logits::Here(logits) => logits.extract_tensor().1,
            Logits::There(_) => unreachable!("logits that stay are not asked for"),
        }
    }

    /// The logits where they are.
    pub fn logits_there(&self, step: Step) -> &DynTensor {
        match self.logits_of(step) {
            Logits::There(logits) => logits,
            Logits::Here(_) => unreachable!("logits that come down are drawn from here"),
        }
    }

    fn logits_of(&self, step: Step) -> &Logits {
        &self.calls.iter().find(|call| call.query == step.query).expect(PREPARED).logits
    }

    /// What a fork refers to.
    pub fn store(&self) -> Store {
        Store::Fixed(self.buffers.clone())
    }
}

/// Rows of a tensor for each row of the batch.
fn places(shape: KvShape) -> usize {
    shape.heads * shape.positions
}

fn element(shape: KvShape) -> TensorElementType {
    if shape.half { TensorElementType::Float16 } else { TensorElementType::Float32 }
}

/// Copies what the origin has into new tensors, and clears the rest.
fn fill(mover: &Mover, frame: &Frame, origin: &Origin, to: &mut [DynTensor]) -> ort::Result<()> {
    let shape = frame.shape;
    match &origin.store {
        Store::Fixed(source) if origin.positions > 0 => {
            let mut map = Vec::with_capacity(places(shape) * frame.rows);
            for &row in &origin.map {
                for head in 0..shape.heads {
                    let first = ((row * shape.heads + head) * shape.positions) as i64;
                    // Behind the fork the origin goes on: what it has there is not ours, and may be no number. Any place
                    // that was seen will do.
                    let place = |place| if place < origin.positions { first + place as i64 } else { first };
                    map.extend((0..shape.positions).map(place));
                }
            }
            mover.copy(&lock(source).tensors, map, to)
        }
        _ => {
            let width = shape.head_width;
            let zeros = if shape.half {
                Tensor::from_array(([1, width], vec![f16::ZERO; width]))?.upcast()
            } else {
                Tensor::from_array(([1, width], vec![0f32; width]))?.upcast()
            };
            mover.copy(&[zeros], vec![0; places(shape) * frame.rows], to)
        }
    }
}

/// Binds everything for one query length but what is fed. The keys and values are bound as input and as output: that is what
/// makes them be written in place.
fn prepare(
    session: &Session,
    options: &GraphOptions,
    frame: &Frame,
    keys_and_values: &mut [DynTensor],
    query: usize,
) -> ort::Result<Call> {
    let host = Allocator::default();
    let ids = Tensor::<i64>::new(&host, [frame.rows, query])?;
    let places = Tensor::<i64>::new(&host, [frame.rows, query])?;
    let slots = Tensor::<i64>::new(&host, [frame.rows * frame.shape.heads * query, 1])?;
    let shape = [frame.rows, query, frame.codes];
    let mut binding = session.create_binding()?;
    let logits = if frame.logits_stay {
        let mut logits = DynTensor::new(&allocator(session, options), TensorElementType::Float32, shape)?;
        binding.bind_output("logits", &mut logits)?;
        Logits::There(logits)
    } else {
        let mut logits = Tensor::new(&host, shape)?;
        binding.bind_output("logits", &mut logits)?;
        Logits::Here(logits)
    };
    for ([past, present], tensor) in frame.names.iter().zip(keys_and_values) {
        binding.bind_output(present, &mut *tensor)?;
        binding.bind_input(past, tensor)?;
    }
    Ok(Call { query, ids, places, slots, logits, binding })
}

//! Form `fixed`: the KV cache in device memory, which a step writes in place. Each step sends only ids and positions to the
//! device; the logits come back, or stay there and sampled tokens come back.
//!
//! A tensor is `[rows * heads * positions, head_dim]`. Attention weighs invisible positions by zero, so they must hold
//! finite numbers: new memory is cleared, and a fork copies only positions before the fork.
//!
//! On a device that replays steps, ids, positions and logits are in memory that both sides see, and what a generation leaves
//! behind serves the next one ([`replay`](crate::runtime::replay)).

use std::sync::{Arc, Mutex};
use std::time::Instant;

use half::f16;
use ort::memory::Allocator;
use ort::session::Session;
use ort::value::{DynTensor, Tensor, TensorElementType};

use super::frame::{Frame, Need, PREPARED, RowMap, Waiting};
use crate::plan::{KvShape, Step};
use crate::runtime::context::{self, Context};
use crate::runtime::device::{allocator, memory_info, seen_by_both};
use crate::runtime::exit::{self, RuntimeOwned};
use crate::runtime::failure::{failed, is_shortage};
use crate::runtime::fixed_call::{
    CacheReplay, DeviceTensors, FixedBinding, FixedBuffers, INPUTS, Inputs, Left, Logits,
};
use crate::runtime::graph::Graph;
use crate::runtime::interrupt::Interrupt;
use crate::runtime::replay::Key;
use crate::runtime::row_copy::{Feed, RowCopy};
use crate::runtime::sys::Seen;
use crate::support::error::Result;
use crate::support::memory::{filled, reserve};
use crate::support::sync::lock;

pub(super) struct FixedCache {
    buffers: FixedBuffers,
    bindings: RuntimeOwned<Vec<FixedBinding>>,
    /// Where it is left when it is dropped, and what for; None after an error.
    leaves: Option<(Arc<CacheReplay>, Key, u64)>,
    /// Whether it may hold numbers that are not finite: nobody has looked at the logits of the last step yet.
    is_unchecked: bool,
    context: Context,
}

impl FixedCache {
    /// Takes over what an earlier generation left; else the origin's memory, if nothing else refers to it and the rows are the
    /// same; else allocates memory. Copies the origin's rows where it is not the origin's memory.
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
        let row_copy = graph.row_copy(element(frame.shape))?;
        let session = waiting.lock(graph);
        let key = Key { rows: frame.rows, logits_stay: frame.logits_stay };
        // Its recordings are worth a copy.
        let left = graph.replay().and_then(|replay| replay.take(key));
        let (buffers, mut bindings) = match (sole, left) {
            (_, Some(Left { buffers, bindings })) => {
                let mut cache = lock(&buffers);
                if rows.positions > 0 {
                    fill(&row_copy, frame, origin, rows, &mut cache.tensors).map_err(fail)?;
                }
                cache.written = rows.positions;
                drop(cache);
                (buffers, bindings)
            }
            (Some(buffers), None) => (buffers.clone(), RuntimeOwned::on(graph.context(), Vec::new())),
            (None, None) => {
                let made = with_room(graph, || allocate(graph, &session, &row_copy, frame, origin, rows));
                let tensors = Mutex::new(made.map_err(fail)?);
                let buffers = Arc::new(RuntimeOwned::on(graph.context(), tensors));
                (buffers, RuntimeOwned::on(graph.context(), Vec::new()))
            }
        };
        let mut cache = lock(&buffers);
        for &query in &frame.queries {
            if !bindings.iter().any(|binding| binding.query == query) {
                let bound = with_room(graph, || bind(graph, &session, frame, &mut cache.tensors, query));
                bindings.push(bound.map_err(fail)?);
            }
        }
        drop(cache);
        let leaves = graph.replay().map(|replay| (replay.clone(), key, frame.shape.bytes(frame.rows)));
        Ok(Self { buffers, bindings, leaves, is_unchecked: false, context: graph.context() })
    }

    /// Prepares steps of another query length.
    pub fn prepare(&mut self, graph: &Graph, frame: &Frame, query: usize, waiting: &mut Waiting) -> Result<()> {
        if self.bindings.iter().any(|binding| binding.query == query) {
            return Ok(());
        }
        let session = waiting.lock(graph);
        let mut cache = lock(&self.buffers);
        let binding = with_room(graph, || bind(graph, &session, frame, &mut cache.tensors, query));
        drop(cache);
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
        // None if the thread of the recordings ended with it.
        let Some(at) = self.bindings.iter().position(|call| call.query == step.query) else {
            return Err(failed(graph.name(), ort::Error::new("an earlier step did not return")));
        };
        let call = &mut self.bindings[at];
        call.inputs.fill(step, ids, frame.shape);
        {
            let mut cache = lock(&self.buffers);
            cache.written = cache.written.max(step.start + step.query);
        }
        self.is_unchecked = true;
        let result = match graph.replay() {
            Some(replay) => {
                let call = self.bindings.swap_remove(at);
                let (mut call, mut result) = replayed(graph, replay, call, waiting)?;
                if let Err(error) = &result
                    && is_shortage(error)
                    && replay.clear()
                {
                    (call, result) = replayed(graph, replay, call, waiting)?;
                }
                self.bindings.push(call);
                result
            }
            None => {
                let mut session = waiting.lock(graph);
                graph.timed(|| call.run(&mut session, interrupt.options()))
            }
        };
        result.map_err(|error| {
            self.leaves = None;
            exit::reason(failed(graph.name(), error))
        })
    }

    pub fn logits(&self, step: Step) -> &[f32] {
        match self.logits_of(step) {
            Logits::Host(logits) => logits.extract_tensor().1,
            Logits::Seen(seen) => seen.values(),
            Logits::Device(_) => unreachable!("logits that stay on the device are not read"),
        }
    }

    /// The logits in device memory.
    pub fn device_logits(&self, step: Step) -> &DynTensor {
        match self.logits_of(step) {
            Logits::Device(logits) => logits,
            Logits::Host(_) | Logits::Seen(_) => unreachable!("logits in CPU memory are sampled on the CPU"),
        }
    }

    fn logits_of(&self, step: Step) -> &Logits {
        &self.bindings.iter().find(|call| call.query == step.query).expect(PREPARED).logits
    }

    /// The memory that a fork refers to.
    pub fn buffers(&self) -> FixedBuffers {
        self.buffers.clone()
    }

    /// All logits of the last step are finite, and so is what it wrote.
    pub fn trust(&mut self) {
        self.is_unchecked = false;
    }
}

impl Drop for FixedCache {
    fn drop(&mut self) {
        // Not while forks refer to it, and not when the process is ending or is a forked child.
        if let Some((replay, key, bytes)) = self.leaves.take()
            && !self.is_unchecked
            && Arc::strong_count(&self.buffers) == 1
            && let Ok(_inside) = exit::enter_anywhere()
        {
            let bindings = RuntimeOwned::on(self.context, std::mem::take(&mut *self.bindings));
            replay.leave(key, bytes, Left { buffers: self.buffers.clone(), bindings });
        }
    }
}

/// Runs a call on the thread that has its recording. It is not interrupted: a replayed step takes a few milliseconds.
fn replayed(
    graph: &Graph,
    replay: &CacheReplay,
    mut call: FixedBinding,
    waiting: &mut Waiting,
) -> Result<(FixedBinding, ort::Result<()>)> {
    let session = graph.session();
    let waiting_to_record = Instant::now();
    let is_recording = call.is_recorded_next && graph.context() == Context::Recorded;
    let recording = is_recording.then(context::record);
    waiting.add(waiting_to_record.elapsed());
    let (mut call, ran, took, waited) = replay.run(move || {
        let begun = Instant::now();
        let mut session = lock(&session);
        let waited = begun.elapsed();
        let ran = match call.options.clone() {
            Some(options) => call.run(&mut session, &options),
            None => Err(ort::Error::new("a call without options")),
        };
        (call, ran, begun.elapsed().saturating_sub(waited), waited)
    })?;
    drop(recording);
    call.is_recorded_next &= ran.is_err();
    graph.took(took);
    waiting.add(waited);
    Ok((call, ran))
}

/// Does it again when memory of the device ran out and what waits for other generations made room.
fn with_room<R>(graph: &Graph, mut work: impl FnMut() -> ort::Result<R>) -> ort::Result<R> {
    match work() {
        Err(error) if is_shortage(&error) && graph.replay().is_some_and(|replay| replay.clear()) => work(),
        done => done,
    }
}

/// Allocates the cache, and copies the origin's rows or clears it.
fn allocate(
    graph: &Graph,
    session: &Session,
    row_copy: &RowCopy,
    frame: &Frame,
    origin: Option<&FixedBuffers>,
    rows: &RowMap,
) -> ort::Result<DeviceTensors> {
    let dims = [tensor_rows(frame.shape) * frame.rows, frame.shape.head_width];
    let element = element(frame.shape);
    let make = |session: &Session| {
        let allocator = allocator(session, &graph.options().device);
        graph.note_kv_memory(allocator.memory_info().allocation_device().as_str());
        let tensors = (0..2 * frame.shape.layers).map(|_| DynTensor::new(&allocator, element, dims));
        Ok::<_, ort::Error>((tensors.collect::<ort::Result<Vec<_>>>()?, session.create_binding()?))
    };
    let (mut tensors, _session) = owner(graph, session, row_copy, make)?;
    fill(row_copy, frame, origin, rows, &mut tensors)?;
    Ok(DeviceTensors { tensors, written: rows.positions, _session })
}

/// Calls `make` with the session that memory is allocated from. A recording goes on using memory that its session has free
/// between runs, so what must last is from another one.
fn owner<R>(graph: &Graph, session: &Session, row_copy: &RowCopy, make: impl FnOnce(&Session) -> R) -> R {
    if graph.replay().is_some() { make(&row_copy.session()) } else { make(session) }
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

/// Binds everything for one query length but inputs that are copied. Each tensor of the cache is bound as input and as output:
/// this makes the graph write it in place.
fn bind(
    graph: &Graph,
    session: &Session,
    frame: &Frame,
    cache: &mut [DynTensor],
    query: usize,
) -> ort::Result<FixedBinding> {
    let rows = frame.rows;
    let (at, slots) = ([rows, query], [rows * frame.shape.heads * query, 1]);
    let shape = [rows, query, frame.codes];
    let mut binding = session.create_binding()?;
    let device = &graph.options().device;
    let (inputs, mut logits) = match graph.replay() {
        None => {
            let host = Allocator::default();
            let [ids, positions, slots] = [at, at, slots].map(|shape| Tensor::<i64>::new(&host, shape));
            let logits = if frame.logits_stay {
                Logits::Device(DynTensor::new(&allocator(session, device), TensorElementType::Float32, shape)?)
            } else {
                Logits::Host(Tensor::new(&host, shape)?)
            };
            (Inputs::Copied([ids?, positions?, slots?]), logits)
        }
        Some(_) => {
            let copies = |kind| graph.row_copy(kind).map_err(|error| ort::Error::new(error.to_string()));
            let all = [at, at, slots].map(|[rows, columns]| rows * columns);
            let mut feed = Feed::new(copies(TensorElementType::Int64)?, device, all.iter().sum())?;
            let mut first = 0;
            for ((name, shape), count) in INPUTS.iter().zip([at, at, slots]).zip(all) {
                feed.bind(&mut binding, name, first, shape)?;
                first += count;
            }
            let row_copy = copies(element(frame.shape))?;
            let session = row_copy.session();
            let logits = if frame.logits_stay {
                Logits::Device(DynTensor::new(&allocator(&session, device), TensorElementType::Float32, shape)?)
            } else {
                let logits = Tensor::<f32>::new(&seen_by_both(&session, device)?, shape)?;
                Logits::Seen(Seen::new(logits, memory_info(device)?))
            };
            (Inputs::Fed(Box::new(feed)), logits)
        }
    };
    match &mut logits {
        Logits::Host(logits) => binding.bind_output("logits", &mut *logits)?,
        Logits::Seen(seen) => seen.bind_output(&mut binding, "logits")?,
        Logits::Device(logits) => binding.bind_output("logits", &mut *logits)?,
    }
    for ([past, present], tensor) in frame.names.iter().zip(cache) {
        binding.bind_output(present, &mut *tensor)?;
        binding.bind_input(past, tensor)?;
    }
    let (options, is_recorded_next) = match graph.replay() {
        Some(replay) => {
            let (options, is_recorded) = replay.options()?;
            (Some(options), is_recorded)
        }
        None => (None, false),
    };
    Ok(FixedBinding { query, inputs, logits, is_recorded_next, options, binding })
}

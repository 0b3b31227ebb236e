//! The KV cache of one generation, kept where the graph runs, and the prepared calls that grow it. One file for each
//! layout, named like the form that uses it:
//!
//! - `native`: one sequence slot of CPU memory for each row, written in place by our own operators. A step takes any rows,
//!   so that several generations can step in one run.
//! - `mha`: CPU tensors for the whole batch, input and output of the graph at once, so that a step writes them in place.
//!   Positions from `start + query` on are never read.
//! - `plain`: a step takes tensors and gives longer ones.
//! - `fixed`: as `mha`, in device memory.
//!
//! `mha` and `fixed` bind inputs and outputs once for each query length (1 and g); between steps nothing is allocated.
//!
//! **Forks.** A position is never written twice. So a fork at first only refers to the memory of its origin, which
//! continues to write behind the fork's last position. The fork gets memory of its own, with a copy of its rows, when it
//! first steps. The copy is made under the graph's lock, while nothing writes.
//!
//! **Packed caches.** One of form `native` that waits can be reduced to the positions that it has; it is the origin of what
//! continues it.

mod fixed;
mod frame;
mod mha;
mod native;
mod plain;

use std::sync::Arc;
use std::time::Duration;

use super::bindings::Run;
use super::exit::{self, Running};
use super::fixed_call::FixedBuffers;
use super::form::Form;
use super::graph::Graph;
use super::interrupt::Interrupt;
use super::library;
use super::sampler::{DeviceSampler, SampledToken};
use crate::kernels::kv::KvSlot;
use crate::kernels::packed::PackedSlot;
use crate::plan::{KvShape, Step};
use crate::sample::SampleQuery;
use crate::support::error::{Error, Result};
use crate::support::memory;

use frame::{Frame, Need, PREPARED, RowMap, Waiting};

/// Logits of a step that are sampled on the CPU at most, where steps are replayed: starting the operators of the sampler takes
/// longer.
const SAMPLED_ON_CPU: usize = 1 << 21;

/// The cache's memory, in the layout of its form.
enum Layout {
    /// None of its own yet.
    Forked(Origin),
    Native(native::NativeCache),
    Mha(mha::MhaCache),
    Plain(plain::PlainCache),
    Fixed(fixed::FixedCache),
}

/// Where the keys and values of a fork are until it has its own.
struct Origin {
    memory: SharedMemory,
    rows: RowMap,
}

/// Memory that forks refer to.
#[derive(Clone)]
enum SharedMemory {
    /// A cache that starts from nothing.
    Empty,
    Native(Vec<Arc<KvSlot>>),
    Packed(Arc<native::Packed>),
    Mha(mha::MhaBuffers),
    Plain(plain::PlainValues),
    Fixed(FixedBuffers),
}

/// What a KV cache is made for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvCacheOptions {
    pub form: Form,
    /// Shape of the cache for one batch row, with the heads that the form keeps.
    pub shape: KvShape,
    /// Number of logits of a token.
    pub codes: usize,
    /// Whether logits stay on the device, to be sampled there by [`KvCache::sample`]. Only with form `fixed`.
    pub logits_stay: bool,
}

pub(crate) struct KvCache {
    layout: Layout,
    frame: Frame,
    waiting: Waiting,
}

impl KvCache {
    /// An empty cache for `rows` batch rows. `queries` are the query lengths of the steps to come.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when the memory is more than the machine has, or cannot be allocated. Nothing is kept then.
    pub fn new(graph: &Graph, options: KvCacheOptions, rows: usize, queries: &[usize]) -> Result<Self> {
        let KvCacheOptions { form, shape, codes, logits_stay } = options;
        let names: Vec<[String; 2]> = ["key", "value"]
            .iter()
            .flat_map(|kind| {
                (0..shape.layers).map(move |layer| [format!("past_{kind}_{layer}"), format!("present_{kind}_{layer}")])
            })
            .collect();
        let on_host = form != Form::Fixed || graph.options().device.memory().is_none();
        let most = rows.saturating_mul(queries.iter().max().copied().unwrap_or(1)).saturating_mul(codes);
        let logits_stay = logits_stay && (graph.replay().is_none() || most > SAMPLED_ON_CPU);
        let queries = memory::copied("a KV cache", queries)?;
        let frame = Frame { names: names.into(), shape, form, rows, codes, logits_stay, on_host, queries };
        let mut cache = Self { layout: Layout::Forked(nothing()), frame, waiting: Waiting::default() };
        cache.own(graph)?;
        Ok(cache)
    }

    /// A cache whose row i continues from row `map[i]` of this one at `positions`, which this one has reached. It takes no
    /// memory until its first step; see [`bytes`](Self::bytes).
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    pub fn fork(&self, mut map: Vec<usize>, positions: usize) -> Result<Self> {
        let frame = Frame { rows: map.len(), ..self.frame.clone() };
        let (memory, origin_rows) = match &self.layout {
            Layout::Forked(origin) => {
                map.iter_mut().for_each(|row| *row = origin.rows.rows[*row]);
                (origin.memory.clone(), origin.rows.origin_rows)
            }
            Layout::Native(cache) => (SharedMemory::Native(memory::copied("rows", cache.slots())?), self.frame.rows),
            Layout::Mha(cache) => (SharedMemory::Mha(cache.buffers()), self.frame.rows),
            Layout::Plain(cache) => (SharedMemory::Plain(cache.values_at(positions)), self.frame.rows),
            Layout::Fixed(cache) => (SharedMemory::Fixed(cache.buffers()), self.frame.rows),
        };
        let rows = RowMap { origin_rows, rows: map, positions };
        Ok(Self { layout: Layout::Forked(Origin { memory, rows }), frame, waiting: Waiting::default() })
    }

    /// An empty cache for `rows` batch rows, which takes no memory until its first step.
    #[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only jobs of a worker are suspended"))]
    pub fn without_memory(&self, rows: usize) -> Self {
        let frame = Frame { rows, ..self.frame.clone() };
        Self { layout: Layout::Forked(nothing()), frame, waiting: Waiting::default() }
    }

    /// Reduces its memory to the first `positions` positions, which are those that it has, until its next step. No effect in
    /// other forms than `native`, and while forks refer to it.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; nothing has changed then.
    #[cfg_attr(not(feature = "worker"), allow(dead_code, reason = "only jobs of a worker wait"))]
    pub fn pack(&mut self, positions: usize) -> Result<()> {
        let Layout::Native(cache) = &mut self.layout else { return Ok(()) };
        let count = self.frame.rows;
        let mut rows = memory::reserve("rows", count)?;
        rows.extend(0..count);
        if let Some(packed) = cache.pack(positions)? {
            let rows = RowMap { origin_rows: count, rows, positions };
            self.layout = Layout::Forked(Origin { memory: SharedMemory::Packed(Arc::new(packed)), rows });
        }
        Ok(())
    }

    /// Number of batch rows.
    pub fn rows(&self) -> usize {
        self.frame.rows
    }

    /// Bytes of keys and values: of its own memory, and of its origin's that it still refers to.
    pub fn bytes(&self) -> (u64, u64) {
        let Frame { shape, form, rows, .. } = self.frame;
        match &self.layout {
            Layout::Forked(Origin { memory: SharedMemory::Packed(packed), .. }) => {
                (packed.iter().map(PackedSlot::bytes).sum(), 0)
            }
            Layout::Forked(Origin { rows, .. }) => {
                let grown = KvShape { positions: rows.positions, ..shape };
                (0, if form == Form::Plain { grown } else { shape }.bytes(rows.origin_rows))
            }
            Layout::Native(_) | Layout::Mha(_) | Layout::Fixed(_) => (shape.bytes(rows), 0),
            Layout::Plain(cache) => (cache.bytes(&self.frame), 0),
        }
    }

    /// Whether a cache of `rows` rows would fit, before anything is allocated. The free memory of a device is not known.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when it does not fit.
    pub fn check(&self, rows: usize) -> Result<()> {
        if !self.frame.on_host {
            return Ok(());
        }
        let bytes = self.frame.needed() / (self.frame.rows.max(1) as u64);
        memory::check(&kv_cache_of(rows), bytes.saturating_mul(rows as u64))
    }

    /// Time that the last step spent waiting for other users of the graph.
    pub fn waited(&self) -> Duration {
        self.waiting.time()
    }

    /// Whether it still refers to its origin, so that the next step allocates memory first.
    pub fn refers(&self) -> bool {
        matches!(self.layout, Layout::Forked(_))
    }

    /// Gives the rows memory of their own, before the next step does so.
    pub fn own_rows(&mut self, graph: &Graph) -> Result<()> {
        self.own(graph)
    }

    /// Prepares a step of `query` positions.
    fn prepare(&mut self, graph: &Graph, query: usize) -> Result<()> {
        self.own(graph)?;
        if !self.frame.queries.contains(&query) {
            match &mut self.layout {
                Layout::Mha(cache) => cache.prepare(graph, &self.frame, query, &mut self.waiting)?,
                Layout::Fixed(cache) => cache.prepare(graph, &self.frame, query, &mut self.waiting)?,
                Layout::Forked(_) | Layout::Plain(_) | Layout::Native(_) => {}
            }
            self.frame.queries.push(query);
        }
        Ok(())
    }

    /// Takes memory of its own, and copies its origin's rows there. On failure nothing changes.
    fn own(&mut self, graph: &Graph) -> Result<()> {
        let (frame, waiting) = (&self.frame, &mut self.waiting);
        let Layout::Forked(Origin { memory: shared, rows }) = &mut self.layout else { return Ok(()) };
        let need = Need { what: kv_cache_of(frame.rows), bytes: frame.needed() };
        if frame.on_host {
            memory::check(&need.what, need.bytes)?;
        }
        let _inside = exit::enter_on(graph.context())?;
        library::environment()?;
        self.layout = match frame.form {
            Form::Native => Layout::Native(match shared {
                SharedMemory::Packed(packed) => native::NativeCache::unpack(graph, packed, rows, &need)?,
                SharedMemory::Native(slots) => native::NativeCache::new(graph, frame, slots, rows, &need, waiting)?,
                _ => native::NativeCache::new(graph, frame, &[], rows, &need, waiting)?,
            }),
            Form::Mha => {
                let origin = if let SharedMemory::Mha(buffers) = shared { Some(&*buffers) } else { None };
                Layout::Mha(mha::MhaCache::new(graph, frame, origin, rows, &need, waiting)?)
            }
            Form::Plain => {
                let origin = if let SharedMemory::Plain(values) = shared { Some(&*values) } else { None };
                Layout::Plain(plain::PlainCache::new(frame, origin, rows, &need)?)
            }
            Form::Fixed => {
                let origin = if let SharedMemory::Fixed(buffers) = shared { Some(&*buffers) } else { None };
                Layout::Fixed(fixed::FixedCache::new(graph, frame, origin, rows, &need, waiting)?)
            }
        };
        Ok(())
    }

    /// Runs the graph on `ids` `[rows, query]` at the step's position. After an error or interrupt the step can be
    /// repeated.
    pub fn step(&mut self, graph: &Graph, step: Step, ids: &[i64], interrupt: &Interrupt) -> Result<()> {
        // ONNX Runtime would write beyond the end of the cache without an error.
        assert!(
            step.start + step.query <= self.frame.shape.positions && ids.len() == self.frame.rows * step.query,
            "a step beyond the end of the KV cache"
        );
        self.waiting = Waiting::default();
        let _inside = self.waiting.enter(graph)?;
        let _running = Running::new(interrupt.options());
        self.prepare(graph, step.query)?;
        let (frame, waiting) = (&self.frame, &mut self.waiting);
        match &mut self.layout {
            Layout::Native(cache) => cache.step(graph, frame, step, ids, interrupt, waiting),
            Layout::Mha(cache) => cache.step(graph, step, ids, interrupt, waiting),
            Layout::Plain(cache) => cache.step(graph, frame, step, ids, interrupt, waiting),
            Layout::Fixed(cache) => cache.step(graph, frame, step, ids, interrupt, waiting),
            Layout::Forked(_) => unreachable!("{PREPARED}"),
        }
    }

    /// The rows of a step with other generations: `ids` are `[rows, query]`. Empty before [`own_rows`](Self::own_rows).
    pub fn runs<'a>(&'a self, step: Step, ids: &'a [i64]) -> impl Iterator<Item = Run<'a>> + Clone {
        let slots: &[Arc<KvSlot>] = if let Layout::Native(cache) = &self.layout { cache.slots() } else { &[] };
        let each = slots.iter().zip(ids.chunks_exact(step.query));
        each.map(move |(slot, ids)| Run { slot, start: step.start, ids })
    }

    /// Whether the logits stay on the device.
    pub fn logits_stay(&self) -> bool {
        self.frame.logits_stay
    }

    /// All logits of the last step were looked at and are finite.
    pub fn trust(&mut self) {
        if let Layout::Fixed(cache) = &mut self.layout {
            cache.trust();
        }
    }

    /// Samples tokens on the device, from the logits of the last step, which was this one.
    pub fn sample(
        &self,
        sampler: &DeviceSampler,
        step: Step,
        queries: &[SampleQuery],
        interrupt: &Interrupt,
    ) -> Result<Vec<SampledToken>> {
        match &self.layout {
            Layout::Fixed(cache) => sampler.sample(cache.device_logits(step), queries, interrupt),
            _ => unreachable!("logits of other forms do not stay on the device"),
        }
    }

    /// The logits `[rows, query, codes]` of the last step, which was this one. Not for logits that stay on the device.
    pub fn logits(&self, graph: &Graph, step: Step) -> Result<&[f32]> {
        let length = self.frame.rows * step.query * self.frame.codes;
        let values = match &self.layout {
            Layout::Native(cache) => cache.logits(&self.frame, step),
            Layout::Mha(cache) => cache.logits(step),
            Layout::Plain(cache) => cache.logits(graph)?,
            Layout::Fixed(cache) => cache.logits(step),
            Layout::Forked(_) => unreachable!("there was a step"),
        };
        if values.len() == length {
            return Ok(values);
        }
        let reason = format!("the output \"logits\" has {} values; expected {length}", values.len());
        Err(Error::Failed { graph: graph.name().to_owned(), reason })
    }
}

/// The origin of a cache that starts from nothing.
fn nothing() -> Origin {
    Origin { memory: SharedMemory::Empty, rows: RowMap { origin_rows: 0, rows: Vec::new(), positions: 0 } }
}

fn kv_cache_of(rows: usize) -> String {
    format!("the KV cache of {rows} rows")
}

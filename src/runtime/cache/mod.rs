//! Keys and values of one generation, kept where the graph runs, and the prepared calls that grow them: a file for each of
//! the ways in which forms keep them.
//!
//! `in_place` (form `mha`) and `fixed` write them in place: every past is bound to the same memory as its present, inputs and
//! outputs are bound once for each query length (1 and g), and nothing is allocated between steps. Form `mha` does so in the
//! processor's memory and never reads positions from `start + query` on; `fixed` does so in the device's. `growing` (form
//! `plain`) hands longer tensors from step to step. `rows` (form `native`) has a piece of memory for each row; a step takes any
//! rows, so that several generations can step in one call.
//!
//! **Forks.** What stands at a position is never written again. So a fork first only refers to the memory of its
//! origin, which goes on writing behind the fork's last position, and takes memory of its own, with a copy of its rows,
//! when it first steps. The copy is made under the graph's lock: nobody writes then.

mod fixed;
mod mha;
mod native;
mod plain;

use std::sync::{Arc, MutexGuard};
use std::time::{Duration, Instant};

use ort::session::Session;

use super::device::provider;
use super::exit::{self, Running, RuntimeOwned};
use super::together::Run;
use super::{DeviceSampler, Form, Graph, Interrupt, SampledToken, failed, library};
use crate::kernels::kv::KvSlot;
use crate::plan::{KvShape, Step};
use crate::sample::SampleQuery;
use crate::support::error::{Error, Result};
use crate::support::memory;

enum Kept {
    /// Nothing of its own yet.
    Referred(Origin),
    InPlace(mha::InPlace),
    Growing(plain::Growing),
    Rows(native::Rows),
    Fixed(fixed::Fixed),
}

/// Where a fork's keys and values are until it has its own.
struct Origin {
    store: Store,
    /// How many rows the store has.
    rows: usize,
    /// Which of them become the fork's rows.
    map: Vec<usize>,
    positions: usize,
}

impl Origin {
    /// Whether its rows become `rows` rows as they are.
    fn is_identity(&self, rows: usize) -> bool {
        self.rows == rows && self.map.iter().enumerate().all(|(at, &row)| at == row)
    }
}

#[derive(Clone)]
enum Store {
    InPlace(mha::Buffers),
    Growing(plain::Values),
    Rows(Vec<Arc<KvSlot>>),
    Fixed(fixed::Buffers),
}

/// What is to be kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KvCacheOptions {
    pub form: Form,
    /// With the kept heads of the form.
    pub shape: KvShape,
    /// Logits of a token.
    pub codes: usize,
    /// Whether logits stay where the graph runs, to be drawn from there ([`KvCache::draw`]); only with form `fixed`.
    pub logits_stay: bool,
}

/// What is kept, in numbers and names.
#[derive(Clone)]
struct Frame {
    /// Of each layer's keys, then of each layer's values: what goes in and what comes out.
    names: Arc<[[String; 2]]>,
    shape: KvShape,
    form: Form,
    rows: usize,
    codes: usize,
    logits_stay: bool,
    /// Whether it is kept in the processor's memory.
    on_host: bool,
    /// Query lengths that are prepared for.
    queries: Vec<usize>,
}

impl Frame {
    /// Bytes that it will take in the end, and while it grows.
    fn needed(&self) -> u64 {
        let logits = self
            .queries
            .iter()
            .map(|query| (self.rows as u64).saturating_mul((query * self.codes * size_of::<f32>()) as u64))
            .fold(0, u64::saturating_add);
        let bytes = self.shape.bytes(self.rows).saturating_add(logits);
        // Form `plain` holds the keys before and after a step at once, and asks for them as it goes.
        if self.form == Form::Plain { bytes.saturating_mul(2) } else { bytes }
    }
}

/// Memory that is about to be asked for.
struct Need {
    what: String,
    bytes: u64,
}

impl Need {
    /// What is told when it is not to be had.
    fn too_much(&self) -> Error {
        Error::OutOfMemory { what: self.what.clone(), bytes: self.bytes }
    }

    fn failed(&self, error: ort::Error) -> Error {
        match exit::reason(failed("keys and values", error)) {
            Error::OutOfMemory { .. } => self.too_much(),
            other => other,
        }
    }
}

/// How long a step waited for others who use the graph.
#[derive(Default)]
struct Waiting(Duration);

impl Waiting {
    fn lock<'g>(&mut self, graph: &'g Graph) -> MutexGuard<'g, Session> {
        let begun = Instant::now();
        let session = graph.lock();
        self.add(begun.elapsed());
        session
    }

    fn add(&mut self, waited: Duration) {
        self.0 += waited;
    }
}

pub(crate) struct KvCache {
    kept: Kept,
    frame: Frame,
    waiting: Waiting,
}

impl KvCache {
    /// Memory for `rows` rows. `queries` are the query lengths to come.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when it is more than the machine has, or than it will give. Nothing is kept then.
    pub fn new(graph: &Graph, keeping: KvCacheOptions, rows: usize, queries: &[usize]) -> Result<Self> {
        let KvCacheOptions { form, shape, codes, logits_stay } = keeping;
        let names: Vec<[String; 2]> = ["key", "value"]
            .iter()
            .flat_map(|kind| {
                (0..shape.layers).map(move |layer| [format!("past_{kind}_{layer}"), format!("present_{kind}_{layer}")])
            })
            .collect();
        let nothing = Origin {
            store: Store::Growing(plain::Values::new(RuntimeOwned::new(Vec::new()))),
            rows: 0,
            map: Vec::new(),
            positions: 0,
        };
        let on_host = form != Form::Fixed || provider::memory(&graph.options().device).is_none();
        let queries = queries.to_vec();
        let frame = Frame { names: names.into(), shape, form, rows, codes, logits_stay, on_host, queries };
        let mut cache = Self { kept: Kept::Referred(nothing), frame, waiting: Waiting::default() };
        cache.own(graph)?;
        Ok(cache)
    }

    /// A cache whose row i goes on from row `map[i]` of this one, which has stepped to `positions`. It takes no memory
    /// until its first step; see [`bytes`](Self::bytes).
    pub fn fork(&self, mut map: Vec<usize>, positions: usize) -> Self {
        let frame = Frame { rows: map.len(), ..self.frame.clone() };
        let (store, rows) = match &self.kept {
            Kept::Referred(origin) => {
                map.iter_mut().for_each(|row| *row = origin.map[*row]);
                (origin.store.clone(), origin.rows)
            }
            Kept::InPlace(kept) => (kept.store(), self.frame.rows),
            Kept::Growing(kept) => (kept.store(positions), self.frame.rows),
            Kept::Rows(kept) => (kept.store(), self.frame.rows),
            Kept::Fixed(kept) => (kept.store(), self.frame.rows),
        };
        Self { kept: Kept::Referred(Origin { store, rows, map, positions }), frame, waiting: Waiting::default() }
    }

    /// How many rows it feeds at a step.
    pub fn rows(&self) -> usize {
        self.frame.rows
    }

    /// Bytes of keys and values: its own, and those of its origin that it still refers to.
    pub fn bytes(&self) -> (u64, u64) {
        let Frame { shape, form, rows, .. } = self.frame;
        match &self.kept {
            Kept::Referred(origin) => {
                let grown = KvShape { positions: origin.positions, ..shape };
                (0, if form == Form::Plain { grown } else { shape }.bytes(origin.rows))
            }
            Kept::InPlace(_) | Kept::Rows(_) | Kept::Fixed(_) => (shape.bytes(rows), 0),
            Kept::Growing(kept) => (kept.bytes(&self.frame), 0),
        }
    }

    /// Whether `rows` rows would fit, before anything is asked for. Of a device's memory nobody tells before.
    pub fn check(&self, rows: usize) -> Result<()> {
        if !self.frame.on_host {
            return Ok(());
        }
        let bytes = self.frame.needed() / (self.frame.rows.max(1) as u64);
        memory::check(&format!("keys and values of {rows} rows"), bytes.saturating_mul(rows as u64))
    }

    /// How long the last step waited for others who use the graph.
    pub fn waited(&self) -> Duration {
        self.waiting.0
    }

    /// Whether the next step has to take memory first.
    pub fn refers(&self) -> bool {
        matches!(self.kept, Kept::Referred(_))
    }

    /// Sees to it that the rows have memory of their own, for a call of several generations (form `native`).
    pub fn own_rows(&mut self, graph: &Graph) -> Result<()> {
        self.own(graph)
    }

    /// Sees to it that a step of `query` positions is prepared for.
    fn prepared(&mut self, graph: &Graph, query: usize) -> Result<()> {
        self.own(graph)?;
        if !self.frame.queries.contains(&query) {
            match &mut self.kept {
                Kept::InPlace(kept) => kept.prepare(graph, &self.frame, query, &mut self.waiting)?,
                Kept::Fixed(kept) => kept.prepare(graph, &self.frame, query, &mut self.waiting)?,
                Kept::Referred(_) | Kept::Growing(_) | Kept::Rows(_) => {}
            }
            self.frame.queries.push(query);
        }
        Ok(())
    }

    /// Takes memory of its own, and copies into it what it referred to. When it fails all is as before.
    fn own(&mut self, graph: &Graph) -> Result<()> {
        let (frame, waiting) = (&self.frame, &mut self.waiting);
        let Kept::Referred(origin) = &mut self.kept else { return Ok(()) };
        let need = Need { what: format!("keys and values of {} rows", frame.rows), bytes: frame.needed() };
        if frame.on_host {
            memory::check(&need.what, need.bytes)?;
        }
        let _inside = exit::enter()?;
        library::environment()?;
        self.kept = match frame.form {
            Form::Native => Kept::Rows(native::Rows::new(graph, frame, origin, &need, waiting)?),
            Form::Mha => Kept::InPlace(mha::InPlace::new(graph, frame, origin, &need, waiting)?),
            Form::Plain => Kept::Growing(plain::Growing::new(frame, origin, &need)?),
            Form::Fixed => Kept::Fixed(fixed::Fixed::new(graph, frame, origin, &need, waiting)?),
        };
        Ok(())
    }

    /// Feeds `ids` `[rows, query]` at the step's position. When it fails (or is interrupted) the step can be done again.
    pub fn step(&mut self, graph: &Graph, step: Step, ids: &[i64], interrupt: &Interrupt) -> Result<()> {
        // ONNX Runtime would write beyond the keys without a word.
        assert!(
            step.start + step.query <= self.frame.shape.positions && ids.len() == self.frame.rows * step.query,
            "a step outside the keys and values"
        );
        let _inside = exit::enter()?;
        let _running = Running::new(interrupt.options());
        self.waiting = Waiting::default();
        self.prepared(graph, step.query)?;
        let (frame, waiting) = (&self.frame, &mut self.waiting);
        match &mut self.kept {
            Kept::InPlace(kept) => kept.step(graph, step, ids, interrupt, waiting),
            Kept::Growing(kept) => kept.step(graph, frame, step, ids, interrupt, waiting),
            Kept::Rows(kept) => kept.step(graph, frame, step, ids, interrupt, waiting),
            Kept::Fixed(kept) => kept.step(graph, frame, step, ids, interrupt, waiting),
            Kept::Referred(_) => unreachable!("{PREPARED}"),
        }
    }

    /// What a step feeds, row by row, for a call of several generations: `ids` `[rows, query]`. Nothing before
    /// [`own_rows`](Self::own_rows).
    pub fn runs<'a>(&'a self, step: Step, ids: &'a [i64]) -> impl Iterator<Item = Run<'a>> + Clone {
        let rows: &[Arc<KvSlot>] = if let Kept::Rows(kept) = &self.kept { kept.rows() } else { &[] };
        let each = rows.iter().zip(ids.chunks_exact(step.query));
        each.map(move |(row, ids)| Run { row, start: step.start, ids })
    }

    /// Whether the logits stay where the graph runs.
    pub fn logits_stay(&self) -> bool {
        self.frame.logits_stay
    }

    /// Draws tokens from the logits of the last step, which was this one, where they are.
    pub fn draw(
        &self,
        drawer: &DeviceSampler,
        step: Step,
        asked: &[SampleQuery],
        interrupt: &Interrupt,
    ) -> Result<Vec<SampledToken>> {
        match &self.kept {
            Kept::Fixed(kept) => drawer.draw(kept.logits_there(step), asked, interrupt),
            _ => unreachable!("the logits of other forms come down"),
        }
    }

    /// The logits `[rows, query, codes]` of the last step, which was this one. Not where they stay.
    pub fn logits(&self, graph: &Graph, step: Step) -> Result<&[f32]> {
        let length = self.frame.rows * step.query * self.frame.codes;
        let values = match &self.kept {
            Kept::InPlace(kept) => kept.logits(step),
            Kept::Growing(kept) => kept.logits(graph)?,
            Kept::Rows(kept) => kept.logits(&self.frame, step),
            Kept::Fixed(kept) => kept.logits(step),
            Kept::Referred(_) => unreachable!("there was a step"),
        };
        if values.len() == length {
            return Ok(values);
        }
        let reason = format!("it gave {} logits where {length} should be", values.len());
        Err(Error::Failed { graph: graph.name().to_owned(), reason })
    }
}

const PREPARED: &str = "what a step needs is prepared before it runs";

/// Copies rows of `heads` heads: row i of `target` is row `map[i]` of `source`. `lengths` are the numbers of a head in
/// the source, in the target, and how many of them are copied.
fn copy_rows<T: Copy>(source: &[T], target: &mut [T], heads: usize, lengths: [usize; 3], map: &[usize]) {
    let [from, to, copied] = lengths;
    for (row, &origin) in target.chunks_exact_mut(heads * to).zip(map) {
        for (head, target) in row.chunks_exact_mut(to).enumerate() {
            target[..copied].copy_from_slice(&source[(origin * heads + head) * from..][..copied]);
        }
    }
}

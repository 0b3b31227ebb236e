//! Keys and values of one generation, kept where the graph runs, and the prepared calls that grow them.
//!
//! Form `mha` writes them in place: every past is bound to the same memory as its present, inputs and outputs are
//! bound once for each query length (1 and g), and nothing is allocated or copied between steps. Positions from
//! `start + query` on are never read, so the memory needs no clearing. Form `plain` hands longer tensors from step
//! to step. Form `native` has a piece of memory for each row, which its operators write in place; a step takes any
//! rows, so that several generations can step in one call ([`Calls`]).
//!
//! **Forks.** What stands at a position is never written again. So a fork first only refers to the memory of its
//! origin, which goes on writing behind the fork's last position, and takes memory of its own, with a copy of its rows,
//! when it first steps. The copy is made under the graph's lock: nobody writes then.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use half::f16;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

use super::calls::{Calls, Run};
use super::exit::{self, Held, Running};
use super::{Form, Graph, Interrupt, failed, library, sys};
use crate::error::{Error, Result};
use crate::kernels::keys::{Keys, Seats};
use crate::memory;
use crate::plan::{KeyShape, Step};

/// One prepared call: everything that goes in and out for one query length.
struct Call {
    query: usize,
    binding: IoBinding,
    ids: Tensor<i64>,
    start: Tensor<i64>,
    logits: Tensor<f32>,
}

/// The keys and values of all layers, keys first, of as many rows as they say: shared by a generation and its forks.
type Buffers = Arc<Held<Mutex<Vec<Tensor<f32>>>>>;
type Values = Arc<Held<Vec<DynValue>>>;

enum Kept {
    /// Nothing of its own yet.
    Referred(Origin),
    InPlace {
        buffers: Buffers,
        calls: Held<Vec<Call>>,
    },
    Rows {
        rows: Vec<Arc<Keys>>,
        calls: Calls,
    },
    Growing {
        /// The keys and values of the positions before this one. None at 0: the form takes empty tensors.
        now: (usize, Values),
        /// What the last step grew, and the position after it. It is taken over when the next step begins there: a step
        /// that is done again must find the keys as they were.
        grown: Option<(usize, Values)>,
        logits: Option<Held<DynValue>>,
    },
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

#[derive(Clone)]
enum Store {
    InPlace(Buffers),
    Growing(Values),
    Rows(Vec<Arc<Keys>>),
}

pub(crate) struct Cache {
    kept: Kept,
    names: Arc<[[String; 2]]>,
    shape: KeyShape,
    form: Form,
    rows: usize,
    codes: usize,
    queries: Vec<usize>,
    waited: Duration,
}

impl Cache {
    /// Memory for `rows` rows. `shape` has the kept heads of the form; `queries` are the query lengths to come.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when it is more than the machine has, or than it will give. Nothing is kept then.
    pub fn new(
        graph: &Graph,
        form: Form,
        shape: KeyShape,
        codes: usize,
        rows: usize,
        queries: &[usize],
    ) -> Result<Self> {
        let names: Vec<[String; 2]> = ["key", "value"]
            .iter()
            .flat_map(|kind| {
                (0..shape.layers).map(move |layer| [format!("past_{kind}_{layer}"), format!("present_{kind}_{layer}")])
            })
            .collect();
        let nothing = Origin {
            store: Store::Growing(Values::new(Held::new(Vec::new()))),
            rows: 0,
            map: Vec::new(),
            positions: 0,
        };
        let mut cache = Self {
            kept: Kept::Referred(nothing),
            names: names.into(),
            shape,
            form,
            rows,
            codes,
            queries: queries.to_vec(),
            waited: Duration::ZERO,
        };
        cache.own(graph)?;
        Ok(cache)
    }

    /// A cache whose row i goes on from row `map[i]` of this one, which has stepped to `positions`. It takes no memory
    /// until its first step; see [`bytes`](Self::bytes).
    pub fn fork(&self, mut map: Vec<usize>, positions: usize) -> Self {
        let rows = map.len();
        let (store, store_rows) = match &self.kept {
            Kept::Referred(origin) => {
                map.iter_mut().for_each(|row| *row = origin.map[*row]);
                (origin.store.clone(), origin.rows)
            }
            Kept::InPlace { buffers, .. } => (Store::InPlace(buffers.clone()), self.rows),
            Kept::Rows { rows, .. } => (Store::Rows(rows.clone()), self.rows),
            Kept::Growing { now, grown, .. } => {
                let values = match grown {
                    Some((position, values)) if *position == positions => values,
                    _ => &now.1,
                };
                (Store::Growing(values.clone()), self.rows)
            }
        };
        Self {
            kept: Kept::Referred(Origin { store, rows: store_rows, map, positions }),
            names: self.names.clone(),
            shape: self.shape,
            form: self.form,
            rows,
            codes: self.codes,
            queries: self.queries.clone(),
            waited: Duration::ZERO,
        }
    }

    /// How many rows it feeds at a step.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Bytes of keys and values: its own, and those of its origin that it still refers to.
    pub fn bytes(&self) -> (u64, u64) {
        let grown = |positions| KeyShape { positions, ..self.shape };
        match &self.kept {
            Kept::Referred(origin) => {
                let shape = if self.form == Form::Plain { grown(origin.positions) } else { self.shape };
                (0, shape.bytes(origin.rows))
            }
            Kept::InPlace { .. } | Kept::Rows { .. } => (self.shape.bytes(self.rows), 0),
            Kept::Growing { now, grown: Some((position, _)), .. } => {
                (grown(now.0).bytes(self.rows) + grown(*position).bytes(self.rows), 0)
            }
            Kept::Growing { now, .. } => (grown(now.0).bytes(self.rows), 0),
        }
    }

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

    /// Whether `rows` rows would fit, before anything is asked for.
    pub fn check(&self, rows: usize) -> Result<()> {
        let bytes = self.needed() / (self.rows.max(1) as u64);
        memory::check(&format!("keys and values of {rows} rows"), bytes.saturating_mul(rows as u64))
    }

    /// How long the last step waited for others who use the graph.
    pub fn waited(&self) -> Duration {
        self.waited
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
        if self.refers() {
            self.own(graph)?;
        }
        if !self.queries.contains(&query) {
            self.queries.push(query);
            if let Kept::InPlace { buffers, calls } = &mut self.kept {
                let waiting = Instant::now();
                let session = graph.lock();
                self.waited += waiting.elapsed();
                let mut tensors = lock(buffers);
                let allocator = Allocator::default();
                let call = prepare(&session, &allocator, &self.names, &mut tensors, [self.rows, query, self.codes]);
                match call {
                    Ok(call) => calls.push(call),
                    Err(error) => {
                        self.queries.pop();
                        return Err(exit::reason(failed("logits", error)));
                    }
                }
            }
        }
        Ok(())
    }

    /// Takes memory of its own, and copies into it what it referred to. When it fails all is as before.
    fn own(&mut self, graph: &Graph) -> Result<()> {
        let (rows, shape, codes, bytes) = (self.rows, self.shape, self.codes, self.needed());
        let Kept::Referred(origin) = &mut self.kept else { return Ok(()) };
        let identity = origin.rows == rows && origin.map.iter().enumerate().all(|(at, &row)| at == row);
        let what = format!("keys and values of {rows} rows");
        memory::check(&what, bytes)?;
        let _inside = exit::enter()?;
        library::environment()?;
        let fail = |error: ort::Error| match exit::reason(failed("keys and values", error)) {
            Error::OutOfMemory { .. } => Error::OutOfMemory { what: what.clone(), bytes },
            other => other,
        };
        let allocator = Allocator::default();
        let make = |positions| new_tensors::<f32>(&allocator, shape, rows, positions).map_err(fail);
        let positions = origin.positions;
        let kept = if self.form == Form::Native {
            let waiting = Instant::now();
            // Nobody writes while the rows are copied.
            let _session = graph.lock();
            self.waited += waiting.elapsed();
            let rows = rows_of(origin, graph.seats(), rows).map_err(|()| Error::OutOfMemory { what, bytes })?;
            Kept::Rows { rows, calls: Calls::default() }
        } else if self.form == Form::Mha {
            let sole = match &mut origin.store {
                // Its origin is gone and nobody else refers to it: what it left is taken over.
                Store::InPlace(buffers) if identity && Arc::strong_count(buffers) == 1 => Some(buffers.clone()),
                _ => None,
            };
            let buffers = match sole {
                Some(buffers) => buffers,
                None => Arc::new(Held::new(Mutex::new(make(shape.positions)?))),
            };
            let waiting = Instant::now();
            let session = graph.lock();
            self.waited += waiting.elapsed();
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
            let prepare =
                |query: &usize| prepare(&session, &allocator, &self.names, &mut tensors, [rows, *query, codes]);
            let calls = self.queries.iter().map(prepare).collect::<ort::Result<Vec<_>>>().map_err(fail)?;
            drop(tensors);
            Kept::InPlace { buffers, calls: Held::new(calls) }
        } else {
            let values = match &origin.store {
                // Nothing writes into them: they can be shared for ever.
                Store::Growing(values) if positions > 0 && identity => values.clone(),
                Store::Growing(values) => {
                    let copy = if shape.half { copied::<f16> } else { copied::<f32> };
                    Arc::new(Held::new(copy(&allocator, shape, rows, positions, values, &origin.map).map_err(fail)?))
                }
                Store::InPlace(_) | Store::Rows(_) => unreachable!("a cache keeps its form"),
            };
            Kept::Growing { now: (positions, values), grown: None, logits: None }
        };
        self.kept = kept;
        Ok(())
    }

    /// Feeds `ids` `[rows, query]` at the step's position. When it fails (or is interrupted) the step can be done again.
    pub fn step(&mut self, graph: &Graph, step: Step, ids: &[i64], interrupt: &Interrupt) -> Result<()> {
        // ONNX Runtime would write beyond the keys without a word.
        assert!(
            step.start + step.query <= self.shape.positions && ids.len() == self.rows * step.query,
            "a step outside the keys and values"
        );
        let _inside = exit::enter()?;
        let _running = Running::new(interrupt.options());
        self.waited = Duration::ZERO;
        self.prepared(graph, step.query)?;
        if let Kept::Rows { rows, calls } = &mut self.kept {
            let runs = rows.iter().zip(ids.chunks_exact(step.query));
            let runs = runs.map(|(row, ids)| Run { row, start: step.start, ids });
            calls.run(graph, self.codes, runs, interrupt)?;
            self.waited += calls.waited();
            return Ok(());
        }
        let fail = |error| exit::reason(failed(graph.name(), error));
        let waiting = Instant::now();
        let mut session = graph.lock();
        self.waited += waiting.elapsed();
        match &mut self.kept {
            Kept::InPlace { calls, .. } => {
                let call = calls.iter_mut().find(|call| call.query == step.query).expect(PREPARED);
                call.ids.extract_tensor_mut().1.copy_from_slice(ids);
                call.start.extract_tensor_mut().1[0] = step.start as i64;
                graph
                    .timed(|| session.run_binding_with_options(&call.binding, interrupt.options()).map(drop))
                    .map_err(fail)?;
            }
            Kept::Growing { now, grown, logits } => {
                if let Some((position, values)) = grown.take()
                    && position == step.start
                {
                    *now = (position, values);
                }
                let ids = Tensor::from_array(([self.rows, step.query], ids.to_vec())).map_err(fail)?;
                let start = Tensor::from_array(([1], vec![step.start as i64])).map_err(fail)?;
                let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![("ids", ids.into()), ("start", start.into())];
                inputs.extend(
                    self.names.iter().zip(now.1.iter()).map(|([past, _], value)| (past.as_str(), value.into())),
                );
                let mut outputs =
                    graph.timed(|| session.run_with_options(inputs, interrupt.options())).map_err(fail)?;
                let mut take =
                    |name: &str| outputs.remove(name).expect("the signature was checked when the graph was compiled");
                let values: Vec<DynValue> = self.names.iter().map(|[_, present]| take(present)).collect();
                *logits = Some(Held::new(take("logits")));
                *grown = Some((step.start + step.query, Arc::new(Held::new(values))));
            }
            Kept::Referred(_) | Kept::Rows { .. } => unreachable!("{PREPARED}"),
        }
        Ok(())
    }

    /// What a step feeds, row by row, for a call of several generations: `ids` `[rows, query]`. Nothing before
    /// [`own_rows`](Self::own_rows).
    pub fn runs<'a>(&'a self, step: Step, ids: &'a [i64]) -> impl Iterator<Item = Run<'a>> + Clone {
        let rows: &[Arc<Keys>] = if let Kept::Rows { rows, .. } = &self.kept { rows } else { &[] };
        let each = rows.iter().zip(ids.chunks_exact(step.query));
        each.map(move |(row, ids)| Run { row, start: step.start, ids })
    }

    /// The logits `[rows, query, codes]` of the last step, which was this one.
    pub fn logits(&self, graph: &Graph, step: Step) -> Result<&[f32]> {
        let length = self.rows * step.query * self.codes;
        let values = match &self.kept {
            Kept::InPlace { calls, .. } => {
                calls.iter().find(|call| call.query == step.query).expect(PREPARED).logits.extract_tensor().1
            }
            Kept::Rows { calls, .. } => calls.logits(self.rows * step.query),
            Kept::Growing { logits: Some(logits), .. } => {
                logits.try_extract_tensor::<f32>().map_err(|error| exit::reason(failed(graph.name(), error)))?.1
            }
            _ => unreachable!("there was a step"),
        };
        if values.len() == length {
            return Ok(values);
        }
        let reason = format!("it gave {} logits where {length} should be", values.len());
        Err(Error::Failed { graph: graph.name().to_owned(), reason })
    }
}

const PREPARED: &str = "what a step needs is prepared before it runs";

fn lock(buffers: &Buffers) -> MutexGuard<'_, Vec<Tensor<f32>>> {
    buffers.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Memory for `count` rows that go on from an origin, or from nothing. What nobody else refers to is taken over; the rest
/// is copied. The caller holds the graph's lock. When there is no memory all is as before.
fn rows_of(origin: &Origin, seats: &Seats, count: usize) -> std::result::Result<Vec<Arc<Keys>>, ()> {
    let from: &[Arc<Keys>] = if let Store::Rows(rows) = &origin.store { rows } else { &[] };
    let mut rows: Vec<Arc<Keys>> = memory::reserve("rows", count).map_err(drop)?;
    let mut taken = memory::filled("rows", from.len(), false).map_err(drop)?;
    for at in 0..count {
        let source = origin.map.get(at).and_then(|&row| Some((row, from.get(row)?)));
        rows.push(match source {
            Some((row, keys)) if Arc::strong_count(keys) == 1 && !std::mem::replace(&mut taken[row], true) => {
                keys.clone()
            }
            Some((_, origin_keys)) => {
                let keys = seats.row().ok_or(())?;
                sys::copy_keys(&keys, origin_keys, origin.positions);
                Arc::new(keys)
            }
            None => Arc::new(seats.row().ok_or(())?),
        });
    }
    Ok(rows)
}

/// The keys and values of all layers for `positions` positions, of no certain content.
fn new_tensors<T: PrimitiveTensorElementType + Debug>(
    allocator: &Allocator,
    shape: KeyShape,
    rows: usize,
    positions: usize,
) -> ort::Result<Vec<Tensor<T>>> {
    (0..2 * shape.layers).map(|_| Tensor::new(allocator, [rows, shape.heads, positions, shape.head_width])).collect()
}

/// Rows of what form `plain` keeps: row i is row `map[i]` of `values`.
fn copied<T: PrimitiveTensorElementType + Debug + Copy + 'static>(
    allocator: &Allocator,
    shape: KeyShape,
    rows: usize,
    positions: usize,
    values: &[DynValue],
    map: &[usize],
) -> ort::Result<Vec<DynValue>> {
    let mut tensors = new_tensors::<T>(allocator, shape, rows, positions)?;
    if positions > 0 {
        for (from, to) in values.iter().zip(tensors.iter_mut()) {
            let from = from.try_extract_tensor::<T>()?.1;
            copy_rows(from, to.extract_tensor_mut().1, shape.heads, [positions * shape.head_width; 3], map);
        }
    }
    Ok(tensors.into_iter().map(|tensor| tensor.into_dyn()).collect())
}

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

/// Binds everything for one query length. The keys and values are bound as input and as output: that is what makes
/// them grow in place.
fn prepare(
    session: &Session,
    allocator: &Allocator,
    names: &[[String; 2]],
    keys_and_values: &mut [Tensor<f32>],
    [rows, query, codes]: [usize; 3],
) -> ort::Result<Call> {
    let ids = Tensor::<i64>::new(allocator, [rows, query])?;
    let start = Tensor::<i64>::new(allocator, [1usize])?;
    let mut logits = Tensor::<f32>::new(allocator, [rows, query, codes])?;
    let mut binding = session.create_binding()?;
    binding.bind_input("ids", &ids)?;
    binding.bind_input("start", &start)?;
    binding.bind_output("logits", &mut logits)?;
    for ([past, present], tensor) in names.iter().zip(keys_and_values) {
        binding.bind_output(present, &mut *tensor)?;
        binding.bind_input(past, tensor)?;
    }
    Ok(Call { query, binding, ids, start, logits })
}

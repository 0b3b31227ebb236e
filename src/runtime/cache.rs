//! Keys and values of one generation, kept where the graph runs, and the prepared calls that grow them.
//!
//! Form `mha` writes them in place: every past is bound to the same memory as its present, inputs and outputs are
//! bound once for each query length (1 and g), and nothing is allocated or copied between steps. Positions from
//! `start + query` on are never read, so the memory needs no clearing. Form `plain` hands longer tensors from step
//! to step.

use ndarray::ArrayView3;
use ort::memory::Allocator;
use ort::session::{IoBinding, Session, SessionInputValue};
use ort::value::{DynValue, Tensor};

use super::exit::{self, Held, Running};
use super::{Graph, Interrupt, failed, library};
use crate::error::{Error, Result};
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

enum Kept {
    /// The bindings hold the keys and values.
    InPlace(Vec<Call>),
    Growing {
        keys_and_values: Vec<DynValue>,
        /// What the last step grew, and the position after it. It is taken over when the next step begins there: a step
        /// that is done again must find the keys as they were.
        grown: Option<(usize, Vec<DynValue>)>,
        logits: Option<DynValue>,
    },
}

pub(crate) struct Cache {
    kept: Held<Kept>,
    names: Vec<[String; 2]>,
    rows: usize,
    positions: usize,
    codes: usize,
}

impl Cache {
    /// Memory for `rows` rows. `shape` has the kept heads of the form; `queries` are the query lengths to come.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] when it is more than the machine has, or than it will give. Nothing is kept then.
    pub fn new(
        graph: &Graph,
        in_place: bool,
        shape: KeyShape,
        codes: usize,
        rows: usize,
        queries: &[usize],
    ) -> Result<Self> {
        let logits = queries
            .iter()
            .map(|query| (rows as u64).saturating_mul((query * codes * size_of::<f32>()) as u64))
            .fold(0, u64::saturating_add);
        let bytes = shape.bytes(rows).saturating_add(logits);
        let what = format!("keys and values of {rows} rows");
        // Form `plain` holds the keys before and after a step at once, and asks for them as it goes.
        memory::check(&what, if in_place { bytes } else { bytes.saturating_mul(2) })?;
        let _inside = exit::enter()?;
        library::environment()?;
        let fail = |error: ort::Error| match exit::reason(failed("keys and values", error)) {
            Error::OutOfMemory { .. } => Error::OutOfMemory { what: what.clone(), bytes },
            other => other,
        };
        let allocator = Allocator::default();
        let positions = if in_place { shape.positions } else { 0 };
        let layer = [rows, shape.heads, positions, shape.head_width];
        let mut keys_and_values = (0..2 * shape.layers)
            .map(|_| Tensor::<f32>::new(&allocator, layer))
            .collect::<ort::Result<Vec<_>>>()
            .map_err(fail)?;
        let names: Vec<[String; 2]> = ["key", "value"]
            .iter()
            .flat_map(|kind| {
                (0..shape.layers).map(move |layer| [format!("past_{kind}_{layer}"), format!("present_{kind}_{layer}")])
            })
            .collect();

        let kept = if in_place {
            let session = graph.lock();
            let prepare =
                |query: &usize| prepare(&session, &allocator, &names, &mut keys_and_values, [rows, *query, codes]);
            let calls = queries.iter().map(prepare).collect::<ort::Result<Vec<_>>>().map_err(fail)?;
            Kept::InPlace(calls)
        } else {
            Kept::Growing {
                keys_and_values: keys_and_values.into_iter().map(|tensor| tensor.into_dyn()).collect(),
                grown: None,
                logits: None,
            }
        };
        Ok(Self { kept: Held::new(kept), names, rows, positions: shape.positions, codes })
    }

    /// Feeds `ids` `[rows, query]` at the step's position; returns logits `[rows, query, codes]`. When it fails (or
    /// is interrupted) the step can be done again.
    pub fn step(
        &mut self,
        graph: &Graph,
        step: Step,
        ids: &[i64],
        interrupt: &Interrupt,
    ) -> Result<ArrayView3<'_, f32>> {
        // ONNX Runtime would write beyond the keys without a word.
        assert!(
            step.start + step.query <= self.positions && ids.len() == self.rows * step.query,
            "a step outside the keys and values"
        );
        let _inside = exit::enter()?;
        let _running = Running::new(interrupt.options());
        let fail = |error| exit::reason(failed(graph.name(), error));
        let shape = [self.rows, step.query, self.codes];
        let values = match &mut *self.kept {
            Kept::InPlace(calls) => {
                let call = calls
                    .iter_mut()
                    .find(|call| call.query == step.query)
                    .expect("every query length of the schedule was prepared");
                call.ids.extract_tensor_mut().1.copy_from_slice(ids);
                call.start.extract_tensor_mut().1[0] = step.start as i64;
                let mut session = graph.lock();
                graph
                    .timed(|| session.run_binding_with_options(&call.binding, interrupt.options()).map(drop))
                    .map_err(fail)?;
                call.logits.extract_tensor().1
            }
            Kept::Growing { keys_and_values, grown, logits } => {
                if let Some((position, values)) = grown.take()
                    && position == step.start
                {
                    *keys_and_values = values;
                }
                let ids = Tensor::from_array(([self.rows, step.query], ids.to_vec())).map_err(fail)?;
                let start = Tensor::from_array(([1], vec![step.start as i64])).map_err(fail)?;
                let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![("ids", ids.into()), ("start", start.into())];
                inputs.extend(
                    self.names
                        .iter()
                        .zip(keys_and_values.iter())
                        .map(|([past, _], value)| (past.as_str(), value.into())),
                );
                let (values, new_logits) = {
                    let mut session = graph.lock();
                    let mut outputs =
                        graph.timed(|| session.run_with_options(inputs, interrupt.options())).map_err(fail)?;
                    let mut take = |name: &str| {
                        outputs.remove(name).expect("the signature was checked when the graph was compiled")
                    };
                    let values: Vec<DynValue> = self.names.iter().map(|[_, present]| take(present)).collect();
                    (values, take("logits"))
                };
                *grown = Some((step.start + step.query, values));
                logits.insert(new_logits).try_extract_tensor::<f32>().map_err(fail)?.1
            }
        };
        ArrayView3::from_shape(shape, values).map_err(|_| Error::Failed {
            graph: graph.name().to_owned(),
            reason: format!("it gave {} logits where {shape:?} should be", values.len()),
        })
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

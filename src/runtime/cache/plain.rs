//! Form `plain`: a step takes the KV cache in tensors `[rows, heads, positions, head_dim]` and gives longer ones.

use std::fmt::Debug;
use std::sync::Arc;

use half::f16;
use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

use super::frame::{Frame, Need, RowMap, Waiting, copy_positions};
use crate::plan::{KvShape, Step};
use crate::runtime::exit::{self, RuntimeOwned};
use crate::runtime::failure::failed;
use crate::runtime::graph::Graph;
use crate::runtime::interrupt::Interrupt;
use crate::support::error::Result;
use crate::support::memory;

/// The keys of all layers, then the values of all layers. They are never written, so they are shared.
pub(super) type PlainValues = Arc<RuntimeOwned<Vec<DynValue>>>;

pub(super) struct PlainCache {
    /// The number of positions, and their keys and values. At 0 the tensors are empty.
    now: (usize, PlainValues),
    /// The output of the last step, and the number of positions after it. It becomes `now` when the next step begins
    /// there: a step that is repeated must find the cache as it was.
    grown: Option<(usize, PlainValues)>,
    logits: Option<RuntimeOwned<DynValue>>,
}

impl PlainCache {
    /// Shares the origin's tensors if the rows are the same, else copies the rows.
    pub fn new(frame: &Frame, origin: Option<&PlainValues>, rows: &RowMap, need: &Need) -> Result<Self> {
        let positions = rows.positions;
        let values = match origin {
            Some(values) if positions > 0 && rows.is_identity(frame.rows) => values.clone(),
            _ => {
                let values: &[DynValue] = origin.map_or(&[], |values| values);
                let copy = if frame.shape.half { copied::<f16> } else { copied::<f32> };
                let copy = copy(frame.shape, frame.rows, rows, values);
                Arc::new(RuntimeOwned::new(copy.map_err(|error| need.failed(error))?))
            }
        };
        Ok(Self { now: (positions, values), grown: None, logits: None })
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
        let fail = |error| exit::reason(failed(graph.name(), error));
        let mut session = waiting.lock(graph);
        if let Some((position, values)) = self.grown.take()
            && position == step.start
        {
            self.now = (position, values);
        }
        let ids = Tensor::from_array(([frame.rows, step.query], memory::copied("ids", ids)?)).map_err(fail)?;
        let start = Tensor::from_array(([1], vec![step.start as i64])).map_err(fail)?;
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![("ids", ids.into()), ("start", start.into())];
        let pasts = frame.names.iter().zip(self.now.1.iter());
        inputs.extend(pasts.map(|([past, _], value)| (past.as_str(), value.into())));
        let mut outputs = graph.timed(|| session.run_with_options(inputs, interrupt.options())).map_err(fail)?;
        let mut take =
            |name: &str| outputs.remove(name).expect("the signature was checked when the graph was compiled");
        let values: Vec<DynValue> = frame.names.iter().map(|[_, present]| take(present)).collect();
        let context = graph.context();
        self.logits = Some(RuntimeOwned::on(context, take("logits")));
        self.grown = Some((step.start + step.query, Arc::new(RuntimeOwned::on(context, values))));
        Ok(())
    }

    /// The logits of the last step.
    pub fn logits(&self, graph: &Graph) -> Result<&[f32]> {
        let logits = self.logits.as_ref().expect("there was a step");
        let values = logits.try_extract_tensor::<f32>();
        Ok(values.map_err(|error| exit::reason(failed(graph.name(), error)))?.1)
    }

    /// Bytes of the tensors that it holds.
    pub fn bytes(&self, frame: &Frame) -> u64 {
        let of = |positions| KvShape { positions, ..frame.shape }.bytes(frame.rows);
        of(self.now.0) + self.grown.as_ref().map_or(0, |(position, _)| of(*position))
    }

    /// The memory that a fork at `positions` refers to.
    pub fn values_at(&self, positions: usize) -> PlainValues {
        match &self.grown {
            Some((position, values)) if *position == positions => values.clone(),
            _ => self.now.1.clone(),
        }
    }
}

/// New tensors for `count` rows, with the rows of the origin's `values`.
fn copied<T: PrimitiveTensorElementType + Debug + Copy + 'static>(
    shape: KvShape,
    count: usize,
    rows: &RowMap,
    values: &[DynValue],
) -> ort::Result<Vec<DynValue>> {
    let allocator = Allocator::default();
    let dims = [count, shape.heads, rows.positions, shape.head_width];
    let tensors = (0..2 * shape.layers).map(|_| Tensor::<T>::new(&allocator, dims));
    let mut tensors = tensors.collect::<ort::Result<Vec<_>>>()?;
    if rows.positions > 0 {
        for (from, to) in values.iter().zip(tensors.iter_mut()) {
            let from = from.try_extract_array::<T>()?.into_dimensionality();
            let from = from.map_err(|error| ort::Error::new(error.to_string()))?;
            let to = to.extract_array_mut().into_dimensionality().expect("it was made with four axes");
            copy_positions(from, to, rows.positions, &rows.rows);
        }
    }
    Ok(tensors.into_iter().map(ort::value::Value::into_dyn).collect())
}

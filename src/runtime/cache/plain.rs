//! Form `plain`: longer keys and values from step to step, which the graph gives and takes.

use std::fmt::Debug;
use std::sync::Arc;

use half::f16;
use ort::memory::Allocator;
use ort::session::SessionInputValue;
use ort::value::{DynValue, PrimitiveTensorElementType, Tensor};

use super::{Frame, Need, Origin, Store, Waiting, copy_rows};
use crate::plan::{KvShape, Step};
use crate::runtime::exit::{self, RuntimeOwned};
use crate::runtime::{Graph, Interrupt, failed};
use crate::support::error::Result;

/// Nothing writes into them, so they are shared.
pub(super) type Values = Arc<RuntimeOwned<Vec<DynValue>>>;

pub(super) struct Growing {
    /// The keys and values of the positions before this one. None at 0: the form takes empty tensors.
    now: (usize, Values),
    /// What the last step grew, and the position after it. It is taken over when the next step begins there: a step
    /// that is done again must find the keys as they were.
    grown: Option<(usize, Values)>,
    logits: Option<RuntimeOwned<DynValue>>,
}

impl Growing {
    /// With the origin's values where the rows are the same, else with a copy of them.
    pub fn new(frame: &Frame, origin: &Origin, need: &Need) -> Result<Self> {
        let positions = origin.positions;
        let values = match &origin.store {
            Store::Growing(values) if positions > 0 && origin.is_identity(frame.rows) => values.clone(),
            store => {
                let values: &[DynValue] = if let Store::Growing(values) = store { values } else { &[] };
                let copy = if frame.shape.half { copied::<f16> } else { copied::<f32> };
                let copy = copy(frame.shape, frame.rows, positions, values, &origin.map);
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
        let ids = Tensor::from_array(([frame.rows, step.query], ids.to_vec())).map_err(fail)?;
        let start = Tensor::from_array(([1], vec![step.start as i64])).map_err(fail)?;
        let mut inputs: Vec<(&str, SessionInputValue<'_>)> = vec![("ids", ids.into()), ("start", start.into())];
        let pasts = frame.names.iter().zip(self.now.1.iter());
        inputs.extend(pasts.map(|([past, _], value)| (past.as_str(), value.into())));
        let mut outputs = graph.timed(|| session.run_with_options(inputs, interrupt.options())).map_err(fail)?;
        let mut take =
            |name: &str| outputs.remove(name).expect("the signature was checked when the graph was compiled");
        let values: Vec<DynValue> = frame.names.iter().map(|[_, present]| take(present)).collect();
        self.logits = Some(RuntimeOwned::new(take("logits")));
        self.grown = Some((step.start + step.query, Arc::new(RuntimeOwned::new(values))));
        Ok(())
    }

    /// Those of the last step.
    pub fn logits(&self, graph: &Graph) -> Result<&[f32]> {
        let logits = self.logits.as_ref().expect("there was a step");
        let values = logits.try_extract_tensor::<f32>();
        Ok(values.map_err(|error| exit::reason(failed(graph.name(), error)))?.1)
    }

    /// Bytes of what it holds.
    pub fn bytes(&self, frame: &Frame) -> u64 {
        let of = |positions| KvShape { positions, ..frame.shape }.bytes(frame.rows);
        of(self.now.0) + self.grown.as_ref().map_or(0, |(position, _)| of(*position))
    }

    /// What a fork at `positions` refers to.
    pub fn store(&self, positions: usize) -> Store {
        let values = match &self.grown {
            Some((position, values)) if *position == positions => values,
            _ => &self.now.1,
        };
        Store::Growing(values.clone())
    }
}

/// Rows of what was kept: row i is row `map[i]` of `values`.
fn copied<T: PrimitiveTensorElementType + Debug + Copy + 'static>(
    shape: KvShape,
    rows: usize,
    positions: usize,
    values: &[DynValue],
    map: &[usize],
) -> ort::Result<Vec<DynValue>> {
    let allocator = Allocator::default();
    let kept = [rows, shape.heads, positions, shape.head_width];
    let tensors = (0..2 * shape.layers).map(|_| Tensor::<T>::new(&allocator, kept));
    let mut tensors = tensors.collect::<ort::Result<Vec<_>>>()?;
    if positions > 0 {
        for (from, to) in values.iter().zip(tensors.iter_mut()) {
            let from = from.try_extract_tensor::<T>()?.1;
            copy_rows(from, to.extract_tensor_mut().1, shape.heads, [positions * shape.head_width; 3], map);
        }
    }
    Ok(tensors.into_iter().map(|tensor| tensor.into_dyn()).collect())
}

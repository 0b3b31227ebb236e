//! What all KV layouts share: shape and names, the rows that a fork inherits, errors of memory, time spent waiting.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ndarray::{ArrayView4, ArrayViewMut4, Axis, s};
use ort::session::Session;

use crate::plan::KvShape;
use crate::runtime::exit::{self, Inside};
use crate::runtime::failure::failed;
use crate::runtime::form::Form;
use crate::runtime::graph::Graph;
use crate::support::error::{Error, Result};
use crate::support::sync::MutexGuard;

/// Shape of a KV cache, and the names of its tensors.
#[derive(Clone)]
pub(super) struct Frame {
    /// Names of input and output for the keys of each layer, then for the values of each layer.
    pub names: Arc<[[String; 2]]>,
    pub shape: KvShape,
    pub form: Form,
    /// Batch rows.
    pub rows: usize,
    pub codes: usize,
    pub logits_stay: bool,
    /// Whether it is in CPU memory.
    pub on_host: bool,
    /// The query lengths for which calls are prepared.
    pub queries: Vec<usize>,
}

impl Frame {
    /// The largest number of bytes that it will take, logits included.
    pub fn needed(&self) -> u64 {
        let logits = self
            .queries
            .iter()
            .map(|query| (self.rows as u64).saturating_mul((query * self.codes * size_of::<f32>()) as u64))
            .fold(0, u64::saturating_add);
        let bytes = self.shape.bytes(self.rows).saturating_add(logits);
        // A step of form `plain` holds the cache before and after it, and allocates as it goes.
        if self.form == Form::Plain { bytes.saturating_mul(2) } else { bytes }
    }
}

/// Which rows of an origin become the rows of a fork.
#[derive(Clone)]
pub(super) struct RowMap {
    /// Number of rows that the origin has.
    pub origin_rows: usize,
    /// For each row of the fork, its row in the origin.
    pub rows: Vec<usize>,
    /// Positions that the fork inherits.
    pub positions: usize,
}

impl RowMap {
    /// Whether all rows of the origin become the fork's `rows` rows, in the same order.
    pub fn is_identity(&self, rows: usize) -> bool {
        self.origin_rows == rows && self.rows.iter().enumerate().all(|(row, &origin)| row == origin)
    }
}

/// Memory that is about to be allocated.
pub(super) struct Need {
    pub what: String,
    pub bytes: u64,
}

impl Need {
    pub fn out_of_memory(&self) -> Error {
        Error::OutOfMemory { what: self.what.clone(), bytes: self.bytes }
    }

    /// The error for a failed allocation or copy.
    pub fn failed(&self, error: ort::Error) -> Error {
        match exit::reason(failed("KV cache", error)) {
            Error::OutOfMemory { .. } => self.out_of_memory(),
            other => other,
        }
    }
}

/// Time that a step spent waiting for other users of the graph.
#[derive(Default)]
pub(super) struct Waiting(Duration);

impl Waiting {
    /// Enters ONNX Runtime to use the device of `graph`.
    pub fn enter(&mut self, graph: &Graph) -> Result<Inside> {
        let begun = Instant::now();
        let inside = exit::enter_on(graph.context())?;
        self.add(begun.elapsed());
        Ok(inside)
    }

    pub fn lock<'g>(&mut self, graph: &'g Graph) -> MutexGuard<'g, Session> {
        let begun = Instant::now();
        let session = graph.lock();
        self.add(begun.elapsed());
        session
    }

    pub fn add(&mut self, waited: Duration) {
        self.0 += waited;
    }

    pub fn time(&self) -> Duration {
        self.0
    }
}

/// The reason why a call for a step's query length is always found.
pub(super) const PREPARED: &str = "the call for a query length is prepared before the step";

/// Copies the first `positions` positions of tensors `[rows, heads, positions, head_dim]`: row i of `target` becomes row
/// `map[i]` of `source`.
pub(super) fn copy_positions<T: Copy>(
    source: ArrayView4<'_, T>,
    mut target: ArrayViewMut4<'_, T>,
    positions: usize,
    map: &[usize],
) {
    for (mut target, &origin) in target.outer_iter_mut().zip(map) {
        let source = source.index_axis(Axis(0), origin);
        // Head by head, so that each copy is of contiguous memory.
        for (mut target, source) in target.outer_iter_mut().zip(source.outer_iter()) {
            target.slice_mut(s![..positions, ..]).assign(&source.slice(s![..positions, ..]));
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array4;

    use super::*;

    #[test]
    fn copied_positions_come_from_the_mapped_rows() {
        let source = Array4::from_shape_fn((3, 2, 4, 5), |(row, head, at, d)| row * 1000 + head * 100 + at * 10 + d);
        let mut target = Array4::from_elem((2, 2, 6, 5), 7);
        copy_positions(source.view(), target.view_mut(), 3, &[2, 0]);
        for ((row, head, at, d), &value) in target.indexed_iter() {
            let wanted = if at < 3 { source[[[2, 0][row], head, at, d]] } else { 7 };
            assert_eq!(value, wanted, "{row} {head} {at} {d}");
        }
    }
}

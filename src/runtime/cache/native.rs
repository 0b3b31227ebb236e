//! Form `native`: a piece of our own memory for each row, which the graph's operators write in place. A step takes any rows,
//! so that several generations can step in one call ([`JointStep`]).

use std::sync::Arc;

use super::{Frame, Need, Origin, Store, Waiting};
use crate::kernels::kv::{KvSlot, SlotTable};
use crate::plan::Step;
use crate::runtime::together::{JointStep, Run};
use crate::runtime::{Graph, Interrupt};
use crate::support::error::Result;
use crate::support::memory;

pub(super) struct Rows {
    rows: Vec<Arc<KvSlot>>,
    calls: JointStep,
}

impl Rows {
    /// What nobody else refers to is taken over; the rest is copied.
    pub fn new(graph: &Graph, frame: &Frame, origin: &Origin, need: &Need, waiting: &mut Waiting) -> Result<Self> {
        // Nobody writes while the rows are copied.
        let _session = waiting.lock(graph);
        let rows = rows_of(origin, graph.seats(), frame.rows).map_err(|()| need.too_much())?;
        Ok(Self { rows, calls: JointStep::default() })
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
        let runs = self.rows.iter().zip(ids.chunks_exact(step.query));
        let runs = runs.map(|(row, ids)| Run { row, start: step.start, ids });
        self.calls.run(graph, frame.codes, runs, interrupt)?;
        waiting.add(self.calls.waited());
        Ok(())
    }

    pub fn logits(&self, frame: &Frame, step: Step) -> &[f32] {
        self.calls.logits(frame.rows * step.query)
    }

    pub fn rows(&self) -> &[Arc<KvSlot>] {
        &self.rows
    }

    /// What a fork refers to.
    pub fn store(&self) -> Store {
        Store::Rows(self.rows.clone())
    }
}

/// Memory for `count` rows that go on from an origin, or from nothing. The caller holds the graph's lock. When there is no
/// memory all is as before.
fn rows_of(origin: &Origin, seats: &SlotTable, count: usize) -> std::result::Result<Vec<Arc<KvSlot>>, ()> {
    let from: &[Arc<KvSlot>] = if let Store::Rows(rows) = &origin.store { rows } else { &[] };
    let mut rows: Vec<Arc<KvSlot>> = memory::reserve("rows", count).map_err(drop)?;
    let mut taken = memory::filled("rows", from.len(), false).map_err(drop)?;
    for at in 0..count {
        let source = origin.map.get(at).and_then(|&row| Some((row, from.get(row)?)));
        rows.push(match source {
            Some((row, keys)) if Arc::strong_count(keys) == 1 && !std::mem::replace(&mut taken[row], true) => {
                keys.clone()
            }
            Some((_, origin_keys)) => {
                let keys = seats.new_slot().ok_or(())?;
                seats.lock().copy(&keys, origin_keys, origin.positions);
                Arc::new(keys)
            }
            None => Arc::new(seats.new_slot().ok_or(())?),
        });
    }
    Ok(rows)
}

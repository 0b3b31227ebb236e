//! Form `native`: one sequence slot of our own memory for each row, which the graph's operators write in place. A step takes
//! any rows, so that several generations can step in one run ([`JointStep`]).

use std::sync::Arc;

use super::frame::{Frame, Need, RowMap, Waiting};
use crate::kernels::kv::{KvSlot, SlotTable};
use crate::kernels::packed::PackedSlot;
use crate::plan::Step;
use crate::runtime::bindings::Run;
use crate::runtime::graph::Graph;
use crate::runtime::interrupt::Interrupt;
use crate::runtime::together::JointStep;
use crate::support::error::Result;
use crate::support::memory;

pub(super) struct NativeCache {
    slots: Vec<Arc<KvSlot>>,
    joint: JointStep,
}

/// The keys and values of rows that wait.
pub(super) type Packed = Vec<PackedSlot>;

impl NativeCache {
    /// A cache that goes on with packed rows.
    pub fn unpack(graph: &Graph, packed: &Packed, rows: &RowMap, need: &Need) -> Result<Self> {
        let mut slots: Vec<Arc<KvSlot>> = memory::reserve("rows", rows.rows.len())?;
        for &row in &rows.rows {
            let mut slot = graph.slots().new_slot().ok_or_else(|| need.out_of_memory())?;
            packed[row].restore(&mut slot);
            slots.push(Arc::new(slot));
        }
        Ok(Self { slots, joint: JointStep::default() })
    }

    /// Packs the first `positions` positions of all rows, whose slots are freed with this cache. `None` when forks refer to
    /// them.
    pub fn pack(&mut self, positions: usize) -> Result<Option<Packed>> {
        let mut packed: Packed = memory::reserve("rows", self.slots.len())?;
        for slot in &mut self.slots {
            let Some(slot) = Arc::get_mut(slot) else { return Ok(None) };
            packed.push(PackedSlot::of(slot, positions)?);
        }
        Ok(Some(packed))
    }

    /// Takes over the origin's slots that nothing else refers to, and copies the others.
    pub fn new(
        graph: &Graph,
        frame: &Frame,
        origin: &[Arc<KvSlot>],
        rows: &RowMap,
        need: &Need,
        waiting: &mut Waiting,
    ) -> Result<Self> {
        // While the graph is locked, nothing writes into the slots that are copied.
        let _session = waiting.lock(graph);
        let slots = take_or_copy(origin, rows, graph.slots(), frame.rows).map_err(|()| need.out_of_memory())?;
        Ok(Self { slots, joint: JointStep::default() })
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
        let runs = self.slots.iter().zip(ids.chunks_exact(step.query));
        let runs = runs.map(|(slot, ids)| Run { slot, start: step.start, ids });
        self.joint.run(graph, frame.codes, runs, interrupt)?;
        waiting.add(self.joint.waited());
        Ok(())
    }

    pub fn logits(&self, frame: &Frame, step: Step) -> &[f32] {
        self.joint.logits(frame.rows * step.query)
    }

    pub fn slots(&self) -> &[Arc<KvSlot>] {
        &self.slots
    }
}

/// Slots for `count` rows that continue from an origin, or from nothing. The caller holds the graph's lock. An error means
/// that no memory is left; nothing changes then.
fn take_or_copy(
    origin: &[Arc<KvSlot>],
    rows: &RowMap,
    table: &SlotTable,
    count: usize,
) -> std::result::Result<Vec<Arc<KvSlot>>, ()> {
    let mut slots: Vec<Arc<KvSlot>> = memory::reserve("rows", count).map_err(drop)?;
    let mut taken = memory::filled("rows", origin.len(), false).map_err(drop)?;
    for row in 0..count {
        let source = rows.rows.get(row).and_then(|&row| Some((row, origin.get(row)?)));
        slots.push(match source {
            Some((row, slot)) if Arc::strong_count(slot) == 1 && !std::mem::replace(&mut taken[row], true) => {
                slot.clone()
            }
            Some((_, from)) => {
                let slot = table.new_slot().ok_or(())?;
                table.lock().copy(&slot, from, rows.positions);
                Arc::new(slot)
            }
            None => Arc::new(table.new_slot().ok_or(())?),
        });
    }
    Ok(slots)
}

//! The KV cache of form `native`: keys and values of one sequence, of all layers, in one piece of memory, reserved as a whole
//! and filled position by position.
//!
//! **Access.** Operators on several threads write and read that memory, so nothing touches it without the [`KvGuard`] of the
//! table that the slot belongs to: the guard holds the table's lock, and attention and copies take it by `&mut`.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use super::element::{Half, KvElement};
use super::memory;
use super::pieces::Pieces;
use super::simd::LANES;
use crate::plan::KvShape;
use crate::support::error::Result;
use crate::support::host;
use crate::support::memory::reserve;
use crate::support::sync::lock;

/// The layout of a [`KvSlot`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvLayout {
    pub layers: usize,
    /// Heads with keys and values of their own (`num_kv_heads`).
    pub kv_heads: usize,
    pub head_dim: usize,
    /// The most positions of a sequence.
    pub positions: usize,
    /// 16-bit floats instead of 32-bit ones.
    pub half: bool,
}

impl KvLayout {
    /// Positions of keys, and head dimensions of values, are padded to multiples of this.
    pub const ALIGNMENT: usize = LANES;

    /// Positions, rounded up to whole vectors.
    pub fn padded_positions(&self) -> usize {
        self.positions.next_multiple_of(LANES)
    }

    /// The index of dimension `d` of the key at `position`, within the keys of a head.
    pub fn key_index(&self, d: usize, position: usize) -> usize {
        (position / LANES * self.head_dim + d) * LANES + position % LANES
    }

    /// The head dimension, rounded up to whole vectors: the stride of values.
    pub fn padded_head_dim(&self) -> usize {
        self.head_dim.next_multiple_of(LANES)
    }

    fn keys_of_head(&self) -> usize {
        self.head_dim * self.padded_positions()
    }

    fn values_of_head(&self) -> usize {
        self.positions * self.padded_head_dim()
    }

    fn layer(&self) -> usize {
        self.kv_heads * (self.keys_of_head() + self.values_of_head())
    }

    /// Elements of a slot. None when they are more than can be addressed.
    pub(super) fn length(&self) -> Option<usize> {
        let layer = (self.head_dim.checked_mul(self.positions.checked_next_multiple_of(LANES)?)?)
            .checked_add(self.positions.checked_mul(self.head_dim.checked_next_multiple_of(LANES)?)?)?
            .checked_mul(self.kv_heads)?;
        layer.checked_mul(self.layers).filter(|length| length.checked_mul(self.element_bytes()).is_some())
    }

    /// Bytes of an element.
    pub(super) fn element_bytes(&self) -> usize {
        if self.half { size_of::<Half>() } else { size_of::<f32>() }
    }

    /// Bytes of a slot; `usize::MAX` when they are more than can be addressed.
    fn slot_bytes(&self) -> usize {
        self.length().map_or(usize::MAX, |length| length * self.element_bytes())
    }

    /// Where the elements of the first `positions` positions lie in a slot: pieces of contiguous ones, with their lengths.
    pub(super) fn pieces(self, positions: usize) -> impl Iterator<Item = (usize, usize)> {
        let whole = self.key_index(0, positions / LANES * LANES);
        let columns = if positions.is_multiple_of(LANES) { 0 } else { self.head_dim };
        (0..self.layers * self.kv_heads).flat_map(move |head| {
            let keys = head * (self.keys_of_head() + self.values_of_head());
            let rest = (0..columns).map(move |d| (keys + whole + d * LANES, positions % LANES));
            let values = (keys + self.keys_of_head(), positions * self.padded_head_dim());
            [(keys, whole)].into_iter().chain(rest).chain([values])
        })
    }

    /// Elements of the first `positions` positions of a slot.
    pub(super) fn packed_length(self, positions: usize) -> usize {
        self.layers * self.kv_heads * positions * (self.head_dim + self.padded_head_dim())
    }
}

impl KvLayout {
    /// Positions of a block of packed positions: the least group of the published models, so that few blocks are filled in part.
    const BLOCK: usize = 4;

    /// Elements of a block of packed positions.
    pub(super) fn block_length(self) -> usize {
        self.packed_length(Self::BLOCK.min(self.positions))
    }

    /// Bytes of a block of packed positions; `usize::MAX` when those of a slot are more than can be addressed.
    pub(super) fn block_bytes(self) -> usize {
        self.length().map_or(usize::MAX, |_| self.block_length() * self.element_bytes())
    }
}

impl From<KvShape> for KvLayout {
    fn from(shape: KvShape) -> Self {
        let KvShape { layers, heads, positions, head_width, half, .. } = shape;
        Self { layers, kv_heads: heads, head_dim: head_width, positions, half }
    }
}

impl std::fmt::Display for KvLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { layers, kv_heads, head_dim, positions, half } = self;
        let bits = if *half { 16 } else { 32 };
        write!(
            f,
            "{layers} layers, {kv_heads} KV heads of dimension {head_dim}, {positions} positions, {bits}-bit floats"
        )
    }
}

/// The KV cache of one sequence: of every layer and head its keys, then its values. Keys are stored as columns, in blocks of
/// 16 positions `[positions / 16, head_dim, 16]`, so that a query is compared with 16 positions at once and the blocks that are
/// read are contiguous; values are stored as rows, `[positions, padded head_dim]`.
#[derive(Debug)]
pub(crate) struct KvSlot {
    memory: NonNull<u8>,
    layout: KvLayout,
    /// Takes the memory back when the slot is dropped; identifies the table.
    pool: Weak<SlotPool>,
}

// SAFETY: a slot owns its memory.
unsafe impl Send for KvSlot {}
// SAFETY: the memory is only read or written by whoever holds the guard of the slot's table, or has the slot by `&mut`.
unsafe impl Sync for KvSlot {}

/// The memory of the slots of one graph, and of what is packed of them.
#[derive(Debug)]
pub(super) struct SlotPool {
    layout: KvLayout,
    slots: Pieces,
    /// Of [`PackedSlot`](super::packed::PackedSlot).
    pub blocks: Pieces,
}

impl KvSlot {
    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// The addresses of a head's keys, `[padded positions / 16, head_dim, 16]`, and of its values, `[positions, padded head_dim]`.
    /// Only for whoever has the guard of the slot's table.
    ///
    /// # Panics
    /// When `E` is not the layout's element.
    pub(super) fn head<E: KvElement>(&self, layer: usize, head: usize) -> (*mut E, *mut E) {
        let l = &self.layout;
        assert!(E::HALF == l.half, "KV slot: elements of another type");
        assert!(layer < l.layers && head < l.kv_heads, "KV slot: layer {layer}, head {head} of {l}");
        let keys = layer * l.layer() + head * (l.keys_of_head() + l.values_of_head());
        let values = keys + l.keys_of_head();
        let memory = self.memory.as_ptr().cast::<E>();
        // SAFETY: both lie within the memory, by the arithmetic of `length`.
        unsafe { (memory.add(keys), memory.add(values)) }
    }

    /// The bytes of its elements, [`KvLayout::length`] of them. Nobody else refers to them.
    pub(super) fn memory(&mut self) -> NonNull<u8> {
        self.memory
    }

    pub(super) fn pool(&self) -> &Weak<SlotPool> {
        &self.pool
    }
}

impl Drop for KvSlot {
    fn drop(&mut self) {
        if host::threads_are_gone() {
            // One of them may have held the lock.
            return;
        }
        // SAFETY: it is of this size, from these pieces or from the system, and is not used any more.
        unsafe {
            match self.pool.upgrade() {
                Some(pool) => pool.slots.free(self.memory),
                None => memory::free(self.memory, self.layout.slot_bytes()),
            }
        }
    }
}

/// Makes the slots of one graph, and holds those of the run in progress, where the graph's operators find them. Whoever runs the
/// graph sets them before and clears them after, under the session's lock. Clones are the same table.
#[derive(Debug, Clone)]
pub(crate) struct SlotTable {
    slots: Arc<Mutex<Vec<Arc<KvSlot>>>>,
    pool: Option<Arc<SlotPool>>,
}

/// Exclusive access to the memory of all slots of one table: while it lives, nobody else reads or writes them.
///
/// A run needs the guard inside its operators: whoever starts one must not hold it.
#[derive(Debug)]
pub(crate) struct KvGuard<'a> {
    table: &'a SlotTable,
    slots: MutexGuard<'a, Vec<Arc<KvSlot>>>,
}

impl SlotTable {
    /// A table of slots of this layout; without one, for a graph that has no KV cache.
    pub fn new(layout: Option<KvLayout>) -> Self {
        let pool = layout.map(|layout| SlotPool {
            layout,
            slots: Pieces::new(layout.slot_bytes()),
            blocks: Pieces::new(layout.block_bytes()),
        });
        Self { slots: Arc::default(), pool: pool.map(Arc::new) }
    }

    /// A table for another session of the same graph, which takes the slots of this one. Whoever runs it keeps all others from
    /// the slots of its run, by the guard of this table or otherwise.
    pub fn sibling(&self) -> Self {
        Self { slots: Arc::default(), pool: self.pool.clone() }
    }

    pub fn layout(&self) -> Option<KvLayout> {
        self.pool.as_ref().map(|pool| pool.layout)
    }

    /// Waits until nobody else has access to the slots' memory.
    pub fn lock(&self) -> KvGuard<'_> {
        KvGuard { table: self, slots: lock(&self.slots) }
    }

    /// A new slot of undefined content: positions are written before they are read. None when the system has no memory, or the
    /// table no layout.
    pub fn new_slot(&self) -> Option<KvSlot> {
        let pool = self.pool.as_ref()?;
        let memory = pool.slots.allocate()?;
        Some(KvSlot { memory, layout: pool.layout, pool: Arc::downgrade(pool) })
    }

    fn owns(&self, slot: &KvSlot) -> bool {
        self.pool.as_ref().is_some_and(|pool| Arc::as_ptr(pool) == slot.pool.as_ptr())
    }
}

impl KvGuard<'_> {
    /// The slots of the run in progress, in the order of its batch rows.
    pub fn slots(&self) -> &[Arc<KvSlot>] {
        &self.slots
    }

    /// Sets the slots of the next run, in the order of its batch rows.
    ///
    /// # Panics
    /// When a slot belongs to another table or occurs twice: operators write slots from several threads.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`](crate::Error::OutOfMemory); the run has no slots then.
    pub fn set(&mut self, slots: impl Iterator<Item = Arc<KvSlot>> + Clone) -> Result<()> {
        self.slots.clear();
        let count = slots.clone().count();
        let mut addresses: Vec<usize> = reserve("the slots of a run", count)?;
        if self.slots.capacity() < count {
            *self.slots = reserve("the slots of a run", count)?;
        }
        self.slots.extend(slots);
        addresses.extend(self.slots.iter().map(|slot| Arc::as_ptr(slot).addr()));
        addresses.sort_unstable();
        let sound =
            addresses.windows(2).all(|pair| pair[0] != pair[1]) && self.slots.iter().all(|slot| self.table.owns(slot));
        if !sound {
            self.slots.clear();
            panic!("KV slots of a run: one occurs twice or belongs to another graph");
        }
        Ok(())
    }

    /// Forgets the slots of the run.
    pub fn clear(&mut self) {
        self.slots.clear();
    }

    /// Copies the first `positions` positions of `source` to `target`.
    ///
    /// # Panics
    /// When a slot belongs to another table, both are the same, or `positions` is more than they have.
    pub fn copy(&mut self, target: &KvSlot, source: &KvSlot, positions: usize) {
        let l = target.layout;
        assert!(self.table.owns(target) && self.table.owns(source), "KV slots: copied between graphs");
        assert!(target.memory != source.memory && positions <= l.positions, "KV slots: {positions} positions of {l}");
        let size = l.element_bytes();
        for (at, length) in l.pieces(positions) {
            // SAFETY: within both slots, which are two of one table and so of one layout; the guard keeps others away.
            unsafe {
                target.memory.add(at * size).copy_from_nonoverlapping(source.memory.add(at * size), length * size);
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::packed::PackedSlot;
    use super::super::pieces::MOST_SPARE_BYTES;
    use super::*;

    #[test]
    fn copy_takes_positions_up_to_a_limit_and_no_further() {
        check_copies(|number| number as f32);
        check_copies(|number| Half(number as u16));
    }

    fn check_copies<E: KvElement + PartialEq + std::fmt::Debug>(element: impl Fn(usize) -> E) {
        let layout = KvLayout { layers: 2, kv_heads: 3, head_dim: 5, positions: 37, half: E::HALF };
        let number =
            |layer: usize, head: usize, d: usize, position: usize| ((layer * 3 + head) * 5 + d) * 37 + position + 1;
        let all = || {
            let heads = (0..2).flat_map(|layer| (0..3).map(move |head| (layer, head)));
            heads.flat_map(|(layer, head)| {
                (0..5).flat_map(move |d| (0..37).map(move |position| (layer, head, d, position)))
            })
        };
        for copied in [4, 16, 20, 32, 37] {
            let table = SlotTable::new(Some(layout));
            let (a, b) = (table.new_slot().unwrap(), table.new_slot().unwrap());
            let mut guard = table.lock();
            for (layer, head, d, position) in all() {
                let (keys, values) = a.head::<E>(layer, head);
                // SAFETY: within the head; the guard is held.
                unsafe {
                    *keys.add(layout.key_index(d, position)) = element(number(layer, head, d, position));
                    *values.add(position * layout.padded_head_dim() + d) =
                        element(2000 + number(layer, head, d, position));
                }
            }
            guard.copy(&b, &a, copied);
            let (mut a, mut c) = (a, table.new_slot().unwrap());
            let packed = PackedSlot::of(&mut a, copied).unwrap();
            packed.restore(&mut c);
            assert_eq!(packed.bytes(), (copied.div_ceil(4) * layout.block_bytes()) as u64);
            for (layer, head, d, position) in all() {
                for (how, slot) in [("copied", &b), ("packed", &c)] {
                    let (keys, values) = slot.head::<E>(layer, head);
                    // SAFETY: as above.
                    let got = unsafe {
                        (*keys.add(layout.key_index(d, position)), *values.add(position * layout.padded_head_dim() + d))
                    };
                    let of = number(layer, head, d, position);
                    let expected =
                        if position < copied { (element(of), element(2000 + of)) } else { Default::default() };
                    assert_eq!(got, expected, "{copied} {how}, position {position}");
                }
            }
        }
    }

    #[test]
    fn memory_of_dropped_slots_is_reused_up_to_a_limit() {
        let layout = KvLayout { layers: 4, kv_heads: 8, head_dim: 64, positions: 1024, half: false };
        let table = SlotTable::new(Some(layout));
        let slots: Vec<KvSlot> = (0..6).map(|_| table.new_slot().unwrap()).collect();
        let addresses: Vec<_> = slots.iter().map(|slot| slot.memory).collect();
        drop(slots);
        let kept = MOST_SPARE_BYTES / layout.slot_bytes() as u64;
        assert_eq!((kept, table.pool.as_ref().unwrap().slots.spares()), (4, 4));
        assert!(addresses.contains(&table.new_slot().unwrap().memory));
        // The table goes first.
        let slot = table.new_slot().unwrap();
        drop(table);
        drop(slot);
    }

    #[test]
    fn blocks_that_one_packed_slot_gave_up_serve_another_of_more_positions() {
        let table = SlotTable::new(Some(KvLayout { layers: 2, kv_heads: 3, head_dim: 5, positions: 37, half: false }));
        let blocks = || table.pool.as_ref().unwrap().blocks.spares();
        let mut slot = table.new_slot().unwrap();
        drop([4, 4, 4].map(|positions| PackedSlot::of(&mut slot, positions).unwrap()));
        assert_eq!(blocks(), 3);
        let larger = PackedSlot::of(&mut slot, 12).unwrap();
        assert_eq!(blocks(), 0);
        // The table goes first.
        drop((table, slot, larger));
    }

    #[test]
    fn slots_beyond_the_address_space_are_none() {
        let layout = KvLayout { layers: usize::MAX / 2, kv_heads: 9, head_dim: 64, positions: 128, half: false };
        assert!(SlotTable::new(Some(layout)).new_slot().is_none());
        assert_eq!(layout.slot_bytes(), usize::MAX);
    }

    #[test]
    fn slot_bytes_are_those_of_the_plan() {
        for half in [false, true] {
            let shape = KvShape { layers: 2, heads: 3, positions: 37, head_width: 5, half, alignment: LANES };
            assert_eq!(KvLayout::from(shape).slot_bytes() as u64, shape.bytes(1));
        }
    }

    #[test]
    fn guard_refuses_slots_of_another_table_and_slots_twice() {
        let layout = KvLayout { layers: 1, kv_heads: 1, head_dim: 4, positions: 8, half: false };
        let (table, other) = (SlotTable::new(Some(layout)), SlotTable::new(Some(layout)));
        let (own, foreign) = (Arc::new(table.new_slot().unwrap()), Arc::new(other.new_slot().unwrap()));
        let panics = |body: &mut dyn FnMut()| {
            std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_err() && table.lock().slots().is_empty()
        };
        assert!(panics(&mut || table.lock().set([foreign.clone()].into_iter()).unwrap()));
        assert!(panics(&mut || table.lock().set([own.clone(), own.clone()].into_iter()).unwrap()));
        assert!(panics(&mut || table.lock().copy(&own, &foreign, 4)));
        assert!(panics(&mut || table.lock().copy(&own, &own, 4)));
        table.lock().set([own.clone()].into_iter()).unwrap();
        assert_eq!(table.clone().lock().slots().len(), 1);
    }
}

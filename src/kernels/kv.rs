//! Keys and values of one row of a batch, of all layers, in one piece of memory that grows with nothing: it is reserved
//! whole and filled position by position.

use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::memory;
use super::simd::LANES;
use crate::support::sync::lock;

/// The shape of what is kept for a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct KvLayout {
    pub layers: usize,
    /// Heads that have keys of their own.
    pub heads: usize,
    /// Width of a head.
    pub width: usize,
    pub positions: usize,
}

impl KvLayout {
    /// Positions, rounded up to whole vectors.
    pub fn stride(&self) -> usize {
        self.positions.next_multiple_of(LANES)
    }

    /// Where number `d` of the key at `place` is kept, within the keys of a head.
    pub fn key_at(&self, d: usize, place: usize) -> usize {
        (place / LANES * self.width + d) * LANES + place % LANES
    }

    /// A value's width in memory.
    pub fn padded(&self) -> usize {
        self.width.next_multiple_of(LANES)
    }

    fn keys_of_head(&self) -> usize {
        self.width * self.stride()
    }

    fn values_of_head(&self) -> usize {
        self.positions * self.padded()
    }

    fn layer(&self) -> usize {
        self.heads * (self.keys_of_head() + self.values_of_head())
    }

    /// Numbers of a row. None when they are more than can be addressed.
    fn length(&self) -> Option<usize> {
        let layer = (self.width.checked_mul(self.positions.checked_next_multiple_of(LANES)?)?)
            .checked_add(self.positions.checked_mul(self.width.checked_next_multiple_of(LANES)?)?)?
            .checked_mul(self.heads)?;
        layer.checked_mul(self.layers).filter(|length| length.checked_mul(size_of::<f32>()).is_some())
    }

    /// Bytes of a row, saturating.
    pub fn bytes(&self) -> u64 {
        self.length().map_or(u64::MAX, |length| (length * size_of::<f32>()) as u64)
    }
}

impl std::fmt::Display for KvLayout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { layers, heads, width, positions } = self;
        write!(f, "{layers} layers of {heads} heads of width {width} for {positions} tokens")
    }
}

/// What one row keeps: of every layer and head its keys, then its values. Keys are kept as columns, so that 16 positions are
/// compared at once, in blocks of 16 positions `[positions / 16, width, 16]`, so that those that are looked at lie together;
/// a value is a row.
pub(crate) struct KvSlot {
    layout: KvLayout,
    memory: NonNull<f32>,
    /// Who takes the memory when it is not needed any more.
    spares: Weak<Spares>,
}

// SAFETY: it owns its memory. Whoever reads or writes it holds the lock of the graph that it belongs to (see `head`).
unsafe impl Send for KvSlot {}
// SAFETY: as above.
unsafe impl Sync for KvSlot {}

/// Memory of rows that are gone, for the next ones: what the system gives must be cleared page by page, which takes a
/// small model as long as a step.
struct Spares {
    layout: KvLayout,
    rows: Mutex<Vec<Spare>>,
}

struct Spare(NonNull<f32>);

// SAFETY: nobody else refers to it.
unsafe impl Send for Spare {}

/// So many bytes of spare rows are kept, until their graph is freed.
const SPARE: usize = 64 << 20;

impl Drop for Spares {
    fn drop(&mut self) {
        let rows = std::mem::take(self.rows.get_mut().unwrap_or_else(PoisonError::into_inner));
        rows.into_iter().for_each(|row| free(self.layout, row.0));
    }
}

fn free(layout: KvLayout, memory: NonNull<f32>) {
    let length = layout.length().expect("it was taken so");
    // SAFETY: it was taken with this length, and nobody refers to it any more.
    unsafe { memory::give_back(memory.cast(), length * size_of::<f32>()) }
}

impl KvSlot {
    /// Of no certain content: positions are written before they are read. None when the system gives no memory.
    fn new(spares: &Arc<Spares>) -> Option<Self> {
        let layout = spares.layout;
        let spare = lock(&spares.rows).pop();
        let memory = match spare {
            Some(Spare(memory)) => memory,
            None => memory::take(layout.length()? * size_of::<f32>())?.cast(),
        };
        Some(Self { layout, memory, spares: Arc::downgrade(spares) })
    }

    pub fn layout(&self) -> KvLayout {
        self.layout
    }

    /// Where the keys of a head begin, `[stride / 16, width, 16]`, and its values, `[positions, padded]`.
    ///
    /// Reading what nobody writes meanwhile, and writing what nobody else touches meanwhile, is sound.
    pub(super) fn head(&self, layer: usize, head: usize) -> (*mut f32, *mut f32) {
        let l = &self.layout;
        assert!(layer < l.layers && head < l.heads, "a head that is not there");
        let keys = layer * l.layer() + head * (l.keys_of_head() + l.values_of_head());
        let values = keys + l.keys_of_head();
        // SAFETY: both lie within the memory, by the arithmetic of `length`.
        unsafe { (self.memory.as_ptr().add(keys), self.memory.as_ptr().add(values)) }
    }

    /// Takes over the first `positions` positions of another row.
    ///
    /// # Safety
    /// Nobody writes these positions of `origin`, or touches `self`, meanwhile.
    pub unsafe fn copy_from(&self, origin: &Self, positions: usize) {
        let l = self.layout;
        assert!(l == origin.layout && positions <= l.positions, "a row of another shape");
        for (layer, head) in (0..l.layers).flat_map(|layer| (0..l.heads).map(move |head| (layer, head))) {
            let ((to, to_values), (from, from_values)) = (self.head(layer, head), origin.head(layer, head));
            // SAFETY: within both rows, which are two; the rest is the caller's promise.
            unsafe {
                let whole = l.key_at(0, positions / LANES * LANES);
                to.copy_from_nonoverlapping(from, whole);
                for at in (0..l.width).map(|d| whole + d * LANES) {
                    to.add(at).copy_from_nonoverlapping(from.add(at), positions % LANES);
                }
                to_values.copy_from_nonoverlapping(from_values, positions * l.padded());
            }
        }
    }
}

impl Drop for KvSlot {
    fn drop(&mut self) {
        if let Some(spares) = self.spares.upgrade() {
            let mut rows = lock(&spares.rows);
            if (rows.len() as u64 + 1) * self.layout.bytes() <= SPARE as u64 && rows.try_reserve(1).is_ok() {
                return rows.push(Spare(self.memory));
            }
        }
        free(self.layout, self.memory);
    }
}

/// The rows of the call in progress, where the graph's operators find them. Set and emptied by whoever runs the graph,
/// under the graph's lock.
#[derive(Clone)]
pub(crate) struct SlotTable {
    rows: Arc<Mutex<Vec<Arc<KvSlot>>>>,
    spares: Option<Arc<Spares>>,
}

impl SlotTable {
    /// For rows of this shape; without one, for a graph that keeps nothing.
    pub fn new(layout: Option<KvLayout>) -> Self {
        let spares = layout.map(|layout| Arc::new(Spares { layout, rows: Mutex::default() }));
        Self { rows: Arc::default(), spares }
    }

    pub fn layout(&self) -> Option<KvLayout> {
        self.spares.as_ref().map(|spares| spares.layout)
    }

    /// A row, of no certain content: positions are written before they are read. None when the system gives no memory.
    pub fn row(&self) -> Option<KvSlot> {
        KvSlot::new(self.spares.as_ref()?)
    }

    /// These rows, in this order. No row may be there twice.
    pub fn take(&self, rows: impl Iterator<Item = Arc<KvSlot>>) {
        let mut seats = lock(&self.rows);
        seats.clear();
        seats.extend(rows);
        let mut addresses: Vec<usize> = seats.iter().map(|row| Arc::as_ptr(row).addr()).collect();
        addresses.sort_unstable();
        // The operators write them from several threads.
        assert!(addresses.windows(2).all(|pair| pair[0] != pair[1]), "a row is there twice");
    }

    pub fn empty(&self) {
        lock(&self.rows).clear();
    }

    pub fn with<R>(&self, look: impl FnOnce(&[Arc<KvSlot>]) -> R) -> R {
        look(&lock(&self.rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_copied_up_to_a_position_and_no_further() {
        let layout = KvLayout { layers: 2, heads: 3, width: 5, positions: 37 };
        let number =
            |layer: usize, head: usize, d: usize, place: usize| (((layer * 3 + head) * 5 + d) * 37 + place + 1) as f32;
        let all = || {
            let heads = (0..2).flat_map(|layer| (0..3).map(move |head| (layer, head)));
            heads.flat_map(|(layer, head)| (0..5).flat_map(move |d| (0..37).map(move |place| (layer, head, d, place))))
        };
        for copied in [4, 16, 20, 32, 37] {
            let seats = SlotTable::new(Some(layout));
            let (a, b) = (seats.row().unwrap(), seats.row().unwrap());
            for (layer, head, d, place) in all() {
                let (keys, values) = a.head(layer, head);
                // SAFETY: within the head; nobody else is here.
                unsafe {
                    *keys.add(layout.key_at(d, place)) = number(layer, head, d, place);
                    *values.add(place * layout.padded() + d) = -number(layer, head, d, place);
                }
            }
            // SAFETY: nobody else is here.
            unsafe { b.copy_from(&a, copied) };
            for (layer, head, d, place) in all() {
                let (keys, values) = b.head(layer, head);
                // SAFETY: as above.
                let got = unsafe { (*keys.add(layout.key_at(d, place)), *values.add(place * layout.padded() + d)) };
                let kept = if place < copied { number(layer, head, d, place) } else { 0.0 };
                assert_eq!(got, (kept, -kept), "{copied} copied, place {place}");
            }
        }
    }

    #[test]
    fn memory_of_rows_that_are_gone_is_taken_again_up_to_a_limit() {
        let layout = KvLayout { layers: 4, heads: 8, width: 64, positions: 1024 };
        let seats = SlotTable::new(Some(layout));
        let rows: Vec<KvSlot> = (0..6).map(|_| seats.row().unwrap()).collect();
        let places: Vec<_> = rows.iter().map(|row| row.memory).collect();
        drop(rows);
        let kept = SPARE / layout.bytes() as usize;
        assert_eq!((kept, lock(&seats.spares.as_ref().unwrap().rows).len()), (4, 4));
        assert!(places.contains(&seats.row().unwrap().memory));
        // The graph goes first.
        let row = seats.row().unwrap();
        drop(seats);
        drop(row);
    }

    #[test]
    fn what_cannot_be_addressed_is_refused() {
        let layout = KvLayout { layers: usize::MAX / 2, heads: 9, width: 64, positions: 128 };
        assert!(SlotTable::new(Some(layout)).row().is_none());
        assert_eq!(layout.bytes(), u64::MAX);
    }
}

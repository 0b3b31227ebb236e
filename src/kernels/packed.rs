//! What a KV cache holds while its sequence waits: the positions that it has, in blocks of a few, so that the memory that one
//! gives up serves the others, however many positions those have.

use std::ptr::NonNull;
use std::sync::Weak;

use super::kv::{KvLayout, KvSlot, SlotPool};
use super::memory;
use crate::support::error::{Error, Result};
use crate::support::host;
use crate::support::memory::reserve;

/// The first positions of one slot. Their elements are in the order of [`KvLayout::pieces`], one block after the other.
#[derive(Debug)]
pub(crate) struct PackedSlot {
    blocks: Vec<NonNull<u8>>,
    layout: KvLayout,
    positions: usize,
    pool: Weak<SlotPool>,
}

// SAFETY: it owns its blocks.
unsafe impl Send for PackedSlot {}
// SAFETY: a shared reference only reads them.
unsafe impl Sync for PackedSlot {}

impl PackedSlot {
    /// Copies the first `positions` positions of a slot.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`].
    ///
    /// # Panics
    /// When it has fewer.
    pub fn of(slot: &mut KvSlot, positions: usize) -> Result<Self> {
        let (layout, pool) = (slot.layout(), slot.pool().clone());
        assert!(positions <= layout.positions, "KV slot: {positions} positions of {layout}");
        let count = layout.packed_length(positions).div_ceil(layout.block_length().max(1));
        let blocks = reserve("a KV cache", count)?;
        let mut packed = Self { blocks, layout, positions, pool };
        let pool = packed.pool.upgrade();
        for _ in 0..count {
            let bytes = layout.block_bytes();
            let block = pool.as_ref().map_or_else(|| memory::allocate(bytes), |pool| pool.blocks.allocate());
            let no_memory = || Error::OutOfMemory { what: "a KV cache".into(), bytes: bytes as u64 };
            packed.blocks.push(block.ok_or_else(no_memory)?);
        }
        for (at, block, length) in packed.pieces() {
            // SAFETY: both lie within the slot and the block, by the arithmetic of `length`, `pieces` and `block_length`; the slot
            // is exclusive, and the block is new.
            unsafe { block.copy_from_nonoverlapping(slot.memory().add(at), length) };
        }
        Ok(packed)
    }

    /// Copies the positions into a slot.
    ///
    /// # Panics
    /// When the slot has another layout.
    pub fn restore(&self, slot: &mut KvSlot) {
        assert!(slot.layout() == self.layout, "KV slot: {} instead of {}", slot.layout(), self.layout);
        for (at, block, length) in self.pieces() {
            // SAFETY: as in `of`.
            unsafe { slot.memory().add(at).copy_from_nonoverlapping(block, length) };
        }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> u64 {
        (self.blocks.len() * self.layout.block_bytes()) as u64
    }

    /// What is contiguous in both: the place in the slot, the one in a block, and the length, in bytes.
    fn pieces(&self) -> impl Iterator<Item = (usize, NonNull<u8>, usize)> {
        let (size, mut filled) = (self.layout.block_bytes().max(1), 0);
        let element = self.layout.element_bytes();
        self.layout.pieces(self.positions).flat_map(move |(at, length)| {
            let (at, length) = (at * element, length * element);
            let from = filled;
            filled += length;
            let cuts = (from / size..(from + length).div_ceil(size)).filter(move |_| length > 0);
            cuts.map(move |block| {
                let begin = from.max(block * size);
                let end = (from + length).min((block + 1) * size);
                // SAFETY: within the block.
                let place = unsafe { self.blocks[block].add(begin - block * size) };
                (at + begin - from, place, end - begin)
            })
        })
    }
}

impl Drop for PackedSlot {
    fn drop(&mut self) {
        if host::threads_are_gone() {
            // One of them may have held the lock.
            return;
        }
        let pool = self.pool.upgrade();
        for block in self.blocks.drain(..) {
            // SAFETY: it is of this size, from these pieces or from the system, and is not used any more.
            unsafe {
                match &pool {
                    Some(pool) => pool.blocks.free(block),
                    None => memory::free(block, self.layout.block_bytes()),
                }
            }
        }
    }
}

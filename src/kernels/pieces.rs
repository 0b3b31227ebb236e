//! Pieces of memory of one size, of which those that are freed serve the next: new memory from the system is cleared page by
//! page, which takes as long as a step of a small model.

use std::ptr::NonNull;
use std::sync::{Mutex, PoisonError};

use super::memory;
use crate::support::sync::lock;

/// At most this many bytes of spare pieces are kept, until all go.
pub(super) const MOST_SPARE_BYTES: u64 = 64 << 20;

#[derive(Debug)]
pub(super) struct Pieces {
    /// Of each piece.
    bytes: usize,
    spares: Mutex<Vec<Piece>>,
}

#[derive(Debug)]
struct Piece(NonNull<u8>);

// SAFETY: nothing else refers to it.
unsafe impl Send for Piece {}

impl Pieces {
    pub fn new(bytes: usize) -> Self {
        Self { bytes, spares: Mutex::default() }
    }

    /// A piece of undefined content. None when the system has no memory.
    pub fn allocate(&self) -> Option<NonNull<u8>> {
        let spare = lock(&self.spares).pop();
        spare.map_or_else(|| memory::allocate(self.bytes), |Piece(memory)| Some(memory))
    }

    /// Takes a piece back.
    ///
    /// # Safety
    /// It is from [`allocate`](Self::allocate) of these, and is not used any more.
    pub unsafe fn free(&self, piece: NonNull<u8>) {
        let mut spares = lock(&self.spares);
        if (spares.len() as u64 + 1) * self.bytes as u64 <= MOST_SPARE_BYTES && spares.try_reserve(1).is_ok() {
            spares.push(Piece(piece));
        } else {
            drop(spares);
            // SAFETY: the caller's promise.
            unsafe { memory::free(piece, self.bytes) };
        }
    }

    #[cfg(test)]
    pub fn spares(&self) -> usize {
        lock(&self.spares).len()
    }
}

impl Drop for Pieces {
    fn drop(&mut self) {
        for Piece(memory) in std::mem::take(self.spares.get_mut().unwrap_or_else(PoisonError::into_inner)) {
            // SAFETY: it was allocated with this size, and nothing refers to it.
            unsafe { memory::free(memory, self.bytes) };
        }
    }
}

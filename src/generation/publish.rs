//! How a generation shows others how far it is: one thread steps and publishes, any number of threads read.
//!
//! The tokens of all images stand in one [`Board`] that only grows: the stepper writes positions that no reader looks at
//! yet, then publishes a snapshot that says how many positions are readable. So a step costs as much as its new tokens,
//! and a reader holds the lock for the time of cloning an [`Arc`]. `tests/snapshot_order.rs` tries every order of a
//! stepper and readers.

use crate::support::sync::{Arc, AtomicU32, Mutex, Ordering, lock};

/// The newest snapshot of something.
pub(crate) struct Published<T>(Mutex<Arc<T>>);

impl<T> Published<T> {
    pub fn new(first: T) -> Self {
        Self(Mutex::new(Arc::new(first)))
    }

    /// Replaces the newest snapshot.
    pub fn publish(&self, next: T) {
        let next = Arc::new(next);
        let last = std::mem::replace(&mut *lock(&self.0), next);
        // Outside the lock: the last one may be the only owner of what it refers to.
        drop(last);
    }

    /// The newest snapshot. Never older than one that this thread saw before.
    pub fn newest(&self) -> Arc<T> {
        lock(&self.0).clone()
    }
}

/// Numbers `[image, position]` that are written once, image by image from the first position on. Relaxed accesses
/// suffice: [`Published`] orders a write before the snapshot that makes it readable.
pub(crate) struct Board {
    cells: Vec<AtomicU32>,
    positions: usize,
}

impl Board {
    /// Takes cells for `positions` positions of each image; their number is a multiple of `positions`.
    pub fn new(cells: Vec<AtomicU32>, positions: usize) -> Self {
        Self { cells, positions }
    }

    /// Writes `values` of an image from position `from` on.
    pub fn write(&self, image: usize, from: usize, values: impl Iterator<Item = u32>) {
        for (cell, value) in self.cells[image * self.positions + from..].iter().zip(values) {
            cell.store(value, Ordering::Relaxed);
        }
    }

    /// The first `count` values of an image.
    pub fn read(&self, image: usize, count: usize) -> impl Iterator<Item = u32> {
        let cells = self.cells[image * self.positions..][..count].iter();
        cells.map(|cell| cell.load(Ordering::Relaxed))
    }
}

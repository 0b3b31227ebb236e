//! Threads that share a piece of work, and the pointer through which they write disjoint parts of one buffer.

/// Threads that share a piece of work.
pub(crate) trait Pool {
    /// Calls `task` once with each number below `count`, on any thread, and returns when all calls are done.
    fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync));

    /// The number of threads, at least one.
    fn threads(&self) -> usize;
}

/// The calling thread alone.
pub(crate) struct SingleThread;

impl Pool for SingleThread {
    fn each(&self, count: usize, task: &(dyn Fn(usize) + Sync)) {
        (0..count).for_each(task);
    }

    fn threads(&self) -> usize {
        1
    }
}

/// A pointer that several threads use; each use must make sure that no two of them write the same element.
#[derive(Debug, Clone, Copy)]
pub(super) struct SharedPointer<T>(pub *mut T);

// SAFETY: it is an address; each use states why the elements that it reads and writes are its own.
unsafe impl<T> Send for SharedPointer<T> {}
// SAFETY: as above.
unsafe impl<T> Sync for SharedPointer<T> {}

impl<T> SharedPointer<T> {
    /// The address of element `offset`. (A method, so that closures capture the wrapper and not the raw pointer in it.)
    pub fn at(&self, offset: usize) -> *mut T {
        self.0.wrapping_add(offset)
    }
}

//! Large pieces of memory from the system: zero; in huge pages, committed as they are touched, where available. (General
//! allocators clear them by hand; with small pages a slot of a large model costs thousands of page faults.) A piece that is
//! smaller than a huge page is committed at once, in one call in place of a page fault for each of its pages.

use std::ptr::NonNull;

/// Less than the huge pages of x86-64 and most others.
#[cfg(target_os = "linux")]
const HUGE_PAGE: usize = 2 << 20;

/// Allocates `bytes` zeros (at least one page). None when the system has no memory.
#[cfg(unix)]
pub(super) fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    let (read_write, private) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: an anonymous mapping at an address that the system chooses.
    let memory = unsafe { libc::mmap(std::ptr::null_mut(), bytes.max(1), read_write, private, -1, 0) };
    if memory == libc::MAP_FAILED {
        return None;
    }
    #[cfg(target_os = "linux")]
    // SAFETY: the mapping just made; it is advice, and may be refused.
    unsafe {
        let advice = if bytes < HUGE_PAGE { libc::MADV_POPULATE_WRITE } else { libc::MADV_HUGEPAGE };
        libc::madvise(memory, bytes.max(1), advice);
    }
    NonNull::new(memory.cast())
}

/// Prefaults the pages of these numbers that are mapped from a file. Page faults of several threads in the middle of a GEMM take ten
/// times as long. No effect where the system has no such call.
pub(crate) fn prefault<T>(bytes: &[T]) {
    #[cfg(target_os = "linux")]
    {
        // SAFETY: it returns a number.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096).max(1);
        let from = bytes.as_ptr().addr() / page * page;
        let length = bytes.as_ptr().addr() + size_of_val(bytes) - from;
        let memory = bytes.as_ptr().map_addr(|_| from).cast_mut().cast();
        // SAFETY: the pages are read as any reader would; memory that is not mapped is an error, which is ignored.
        unsafe { libc::madvise(memory, length, libc::MADV_POPULATE_READ) };
    }
    #[cfg(not(target_os = "linux"))]
    let _ = bytes;
}

/// Frees what [`allocate`] returned.
///
/// # Safety
/// It was allocated with this length, and is not used any more.
#[cfg(unix)]
pub(super) unsafe fn free(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(memory.as_ptr().cast(), bytes.max(1)) };
}

#[cfg(not(unix))]
fn layout(bytes: usize) -> Option<std::alloc::Layout> {
    std::alloc::Layout::from_size_align(bytes.max(1), 64).ok()
}

/// Allocates `bytes` zeros (at least one). None when the system has no memory.
#[cfg(not(unix))]
pub(super) fn allocate(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { std::alloc::alloc_zeroed(layout(bytes)?) })
}

/// Frees what [`allocate`] returned.
///
/// # Safety
/// It was allocated with this length, and is not used any more.
#[cfg(not(unix))]
pub(super) unsafe fn free(memory: NonNull<u8>, bytes: usize) {
    // SAFETY: the caller's promise.
    unsafe { std::alloc::dealloc(memory.as_ptr(), layout(bytes).expect("it was allocated with this layout")) }
}

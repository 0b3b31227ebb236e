//! What macOS and iOS add to Unix.

use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

pub(super) fn available_memory() -> Option<u64> {
    // SAFETY: an all-zero struct is valid, and the call fills at most the words that it is told; sysconf only returns a number.
    let (statistics, page) = unsafe {
        let mut statistics: libc::vm_statistics64 = std::mem::zeroed();
        let mut words = libc::HOST_VM_INFO64_COUNT;
        #[allow(deprecated, reason = "the crate that it moved to has nothing else for us")]
        let host = libc::mach_host_self();
        let into = (&raw mut statistics).cast();
        let got = libc::host_statistics64(host, libc::HOST_VM_INFO64, into, &raw mut words) == libc::KERN_SUCCESS;
        (got.then_some(statistics)?, libc::sysconf(libc::_SC_PAGESIZE))
    };
    // What the kernel takes first when memory is asked for.
    let pages = u64::from(statistics.free_count) + u64::from(statistics.inactive_count);
    Some(pages.saturating_mul(u64::try_from(page).ok()?))
}

pub(super) fn exchange(a: &Path, b: &Path) -> io::Result<()> {
    let text = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let (a, b) = (text(a)?, text(b)?);
    // SAFETY: two C strings that live until the call returns.
    match unsafe { libc::renamex_np(a.as_ptr(), b.as_ptr(), libc::RENAME_SWAP) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

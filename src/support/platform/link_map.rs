//! Where glibc found a library: the link map of its handle.

use std::ffi::{CStr, CString, c_char};
use std::path::PathBuf;

use super::path_from_bytes;

/// The public head of glibc's `struct link_map`.
#[repr(C)]
struct LinkMap {
    address: usize,
    name: *const c_char,
}

pub(super) fn find_library(name: &str) -> Option<PathBuf> {
    let name = CString::new(name).ok()?;
    // SAFETY: dlopen of a name; the link map belongs to the handle, which is never closed.
    unsafe {
        let handle = libc::dlopen(name.as_ptr(), libc::RTLD_LAZY | libc::RTLD_LOCAL);
        if handle.is_null() {
            return None;
        }
        let mut map: *const LinkMap = std::ptr::null();
        if libc::dlinfo(handle, libc::RTLD_DI_LINKMAP, (&raw mut map).cast()) != 0
            || map.is_null()
            || (*map).name.is_null()
        {
            return None;
        }
        path_from_bytes(CStr::from_ptr((*map).name))?.canonicalize().ok()
    }
}

//! Our own file, and how libraries are loaded.

use std::ffi::{OsString, c_void};
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};

#[cfg(feature = "load-runtime")]
use libloading::os::windows::{
    LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_WITH_ALTERED_SEARCH_PATH, Library,
};
use windows_sys::Win32::Foundation::{HMODULE, MAX_PATH};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN,
    GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT, GetModuleFileNameW, GetModuleHandleExW,
};

/// The longest path that the system knows, in UTF-16 units.
const LONGEST_PATH: usize = 1 << 15;

/// The module that holds this address.
fn module_of(address: *const c_void, flag: u32) -> Option<HMODULE> {
    let mut module: HMODULE = std::ptr::null_mut();
    // SAFETY: the call looks the address up, which may be any, and writes one handle.
    let found = unsafe {
        let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | flag;
        GetModuleHandleExW(flags, address.cast(), &raw mut module)
    };
    (found != 0).then_some(module)
}

pub(in super::super) fn file_of(address: *const c_void) -> Option<PathBuf> {
    let module = module_of(address, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT)?;
    let mut name = vec![0; MAX_PATH as usize];
    loop {
        let room = u32::try_from(name.len()).ok()?;
        // SAFETY: the call writes at most `room` units.
        let length = unsafe { GetModuleFileNameW(module, name.as_mut_ptr(), room) } as usize;
        if length == 0 {
            return None;
        }
        if length < name.len() {
            return Some(PathBuf::from(OsString::from_wide(&name[..length])));
        }
        // It was cut.
        if name.len() >= LONGEST_PATH {
            return None;
        }
        name.resize(LONGEST_PATH, 0);
    }
}

pub(in super::super) fn stay_loaded() {
    let _ = module_of(stay_loaded as *const c_void, GET_MODULE_HANDLE_EX_FLAG_PIN);
}

#[cfg(feature = "load-runtime")]
pub(in super::super) unsafe fn load_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    let beside = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
    // SAFETY: the caller's promise. With the second flags what it needs is searched in PATH too, where CUDA is.
    let loaded = unsafe {
        Library::load_with_flags(path, beside)
            .or_else(|error| Library::load_with_flags(path, LOAD_WITH_ALTERED_SEARCH_PATH).map_err(|_| error))
    };
    loaded.map(Into::into)
}

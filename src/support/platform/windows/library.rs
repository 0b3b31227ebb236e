//! Our own file, and how libraries are loaded.

use std::ffi::{OsString, c_void};
use std::os::windows::ffi::OsStringExt;
use std::path::{Path, PathBuf};

use libloading::os::windows::{
    LOAD_LIBRARY_SEARCH_DEFAULT_DIRS, LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR, LOAD_WITH_ALTERED_SEARCH_PATH, Library,
};
use windows_sys::Win32::Foundation::{HMODULE, MAX_PATH};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT,
    GetModuleFileNameW, GetModuleHandleExW,
};

/// The longest path that the system knows, in UTF-16 units.
const LONGEST_PATH: usize = 1 << 15;

/// The module that holds this code.
fn own_module(flag: u32) -> Option<HMODULE> {
    let here: fn(u32) -> Option<HMODULE> = own_module;
    let mut module: HMODULE = std::ptr::null_mut();
    // SAFETY: the address is one of our own code, and the call writes one handle.
    let found = unsafe {
        let flags = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | flag;
        GetModuleHandleExW(flags, (here as *const c_void).cast(), &raw mut module)
    };
    (found != 0).then_some(module)
}

pub(in super::super) fn own_file() -> Option<PathBuf> {
    let module = own_module(GET_MODULE_HANDLE_EX_FLAG_UNCHANGED_REFCOUNT)?;
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
    let _ = own_module(GET_MODULE_HANDLE_EX_FLAG_PIN);
}

pub(in super::super) unsafe fn load_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    let beside = LOAD_LIBRARY_SEARCH_DLL_LOAD_DIR | LOAD_LIBRARY_SEARCH_DEFAULT_DIRS;
    // SAFETY: the caller's promise. With the second flags what it needs is searched in PATH too, where CUDA is.
    let loaded = unsafe {
        Library::load_with_flags(path, beside)
            .or_else(|error| Library::load_with_flags(path, LOAD_WITH_ALTERED_SEARCH_PATH).map_err(|_| error))
    };
    loaded.map(Into::into)
}

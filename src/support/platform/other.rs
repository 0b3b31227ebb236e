//! Systems that are neither Unix nor Windows: what the standard library offers everywhere.

use std::ffi::c_void;
use std::fs::{File, Metadata};
use std::io;
use std::path::{Path, PathBuf};

pub(super) fn file_of(_address: *const c_void) -> Option<PathBuf> {
    None
}

pub(super) fn stay_loaded() {}

#[cfg(feature = "load-runtime")]
pub(super) unsafe fn load_library(path: &Path) -> Result<libloading::Library, libloading::Error> {
    // SAFETY: the caller's promise.
    unsafe { libloading::Library::new(path) }
}

pub(super) fn canonical(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

pub(super) fn at_exit(_handler: extern "C" fn()) {}

pub(super) fn at_fork_in_child(_handler: extern "C" fn()) {}

pub(super) fn disable_cancellation() -> i32 {
    0
}

pub(super) fn restore_cancellation(_before: i32) {}

pub(super) fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

pub(super) fn is_open_file_name(_path: &Path) -> bool {
    false
}

pub(super) fn open_for_reading(path: &Path, _follow: bool) -> io::Result<File> {
    File::open(path)
}

pub(super) fn create_new(path: &Path, _private: bool) -> io::Result<File> {
    File::create_new(path)
}

pub(super) fn take_permissions(_file: &File, _from: &Metadata) -> io::Result<()> {
    Ok(())
}

pub(super) fn kind_of_file(_metadata: &Metadata) -> &'static str {
    "a device"
}

pub(super) fn read_exact_at(_file: &File, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(super) fn is_same_file(ours: &Metadata, theirs: &Metadata) -> bool {
    let both = |metadata: &Metadata| (metadata.len(), metadata.modified().ok());
    both(ours) == both(theirs)
}

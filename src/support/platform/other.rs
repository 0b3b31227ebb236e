//! Systems that are neither Unix nor Windows: what the standard library offers everywhere.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

pub(super) fn own_file() -> Option<PathBuf> {
    None
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

pub(super) fn is_device_path(_path: &Path) -> bool {
    false
}

pub(super) fn read_exact_at(_file: &File, _buffer: &mut [u8], _offset: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

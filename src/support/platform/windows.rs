//! Windows.

use std::fs::File;
use std::io;
use std::os::windows::fs::FileExt;
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

pub(super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

//! Files and paths.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io;
use std::os::windows::ffi::OsStrExt;
use std::os::windows::fs::FileExt;
use std::path::{Component, Path, PathBuf, Prefix};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE, MAX_PATH};

pub(in super::super) fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// The system's own form is `\\?\C:\folder`, which people do not know and some programs do not take. It stays where it is
/// needed: for a path that is long, or that has a name with another meaning otherwise (`NUL`, or a dot at its end).
pub(in super::super) fn canonical(path: &Path) -> io::Result<PathBuf> {
    let full = path.canonicalize()?;
    Ok(plain(&full).unwrap_or(full))
}

fn plain(full: &Path) -> Option<PathBuf> {
    let mut components = full.components();
    let Component::Prefix(prefix) = components.next()? else { return None };
    let mut plain = match prefix.kind() {
        Prefix::VerbatimDisk(disk) => OsString::from(format!("{}:", char::from(disk))),
        Prefix::VerbatimUNC(server, share) => {
            let mut plain = OsString::from(r"\\");
            plain.push(server);
            plain.push(r"\");
            plain.push(share);
            plain
        }
        _ => return None,
    };
    plain.push(components.as_path());
    // Some programs know no longer paths; a folder needs room for a name of 8.3 characters.
    let is_short = plain.encode_wide().count() < MAX_PATH as usize - 12;
    let means_the_same = is_short && std::path::absolute(&plain).is_ok_and(|absolute| absolute.as_os_str() == plain);
    means_the_same.then(|| plain.into())
}

/// A device: `NUL`, `\\.\pipe\name`. Which names are devices in any folder depends on the version of Windows.
pub(in super::super) fn is_open_file_name(path: &Path) -> bool {
    let absolute = std::path::absolute(path).unwrap_or_default();
    match absolute.components().next() {
        Some(Component::Prefix(prefix)) => matches!(prefix.kind(), Prefix::DeviceNS(_)),
        _ => false,
    }
}

pub(in super::super) fn open_for_reading(path: &Path, _follow: bool) -> io::Result<File> {
    File::open(path)
}

pub(in super::super) fn create_new(path: &Path, _private: bool) -> io::Result<File> {
    File::create_new(path)
}

pub(in super::super) fn take_permissions(_file: &File, _from: &Metadata) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn kind_of_file(_metadata: &Metadata) -> &'static str {
    "a device"
}

/// A program that looks at each new file (a virus scanner, an indexer, an asset importer) holds the target open for a moment
/// such that it cannot be replaced.
pub(in super::super) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    const HELD: [u32; 3] = [ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE];
    /// Waits of 1, 2, 4 … milliseconds: half a second in all.
    const WAITS: u32 = 9;
    for wait in 0..WAITS {
        match std::fs::rename(from, to) {
            Err(error) if !to.is_dir() && HELD.iter().any(|&held| error.raw_os_error() == Some(held as i32)) => {}
            done => return done,
        }
        std::thread::sleep(Duration::from_millis(1 << wait));
    }
    std::fs::rename(from, to)
}

pub(in super::super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
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

pub(in super::super) fn is_same_file(ours: &Metadata, theirs: &Metadata) -> bool {
    let both = |metadata: &Metadata| (metadata.len(), metadata.modified().ok());
    both(ours) == both(theirs)
}

//! Checks the files of a bundle against the lengths and hashes in its manifest.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::source::Source;
use super::types::FileEntry;
use crate::support::error::{Error, Result};
use crate::support::hex::hex;

/// Files up to this length are hashed whenever a bundle is opened; larger ones on request.
const HASHED_AT_OPEN: u64 = 32 << 20;

/// How thoroughly to check.
pub(super) enum Depth<'a> {
    /// Every length, and the hash of small files.
    Open,
    /// Every length and every hash, with progress (bytes done, bytes in all).
    Everything(Box<dyn FnMut(u64, u64) + 'a>),
}

/// Checks every file of the manifest.
pub(super) fn check(source: &Source, files: &[FileEntry], mut depth: Depth<'_>) -> Result<()> {
    let total = total_length(files.iter().map(|file| file.length));
    let mut done = 0u64;
    for entry in files {
        let length = source.length(&entry.path).map_err(|error| match error {
            Error::NotFound { .. } => Error::bundle(source.name(), format!("{} is missing", entry.path)),
            other => other,
        })?;
        check_length(source, entry, length)?;
        let found = match &mut depth {
            Depth::Open if entry.length > HASHED_AT_OPEN => continue,
            Depth::Open => sha256(source, &entry.path, |_| Ok(()))?,
            Depth::Everything(progress) => {
                let mut read = done;
                let found = sha256(source, &entry.path, |block| {
                    read = read.saturating_add(block.len() as u64);
                    progress(read, total);
                    Ok(())
                })?;
                done = done.saturating_add(entry.length);
                found
            }
        };
        check_hash(source, entry, &found)?;
    }
    Ok(())
}

/// Copies the first `length` bytes of a file into the folder `target`. The whole file is read and checked against the
/// manifest. `progress` is called with the bytes read so far and stops the copy by returning false. Returns the SHA-256
/// of the copy.
pub(super) fn copy(
    source: &Source,
    entry: &FileEntry,
    target: &Path,
    length: u64,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<String> {
    let copy = target.join(&entry.path);
    let mut file = File::create_new(&copy).map_err(|error| Error::writing(&copy, error))?;
    let mut copied = Sha256::new();
    let mut read = 0u64;
    checked(source, entry, |block| {
        let left = usize::try_from(length.saturating_sub(read)).unwrap_or(usize::MAX);
        let wanted = &block[..block.len().min(left)];
        file.write_all(wanted).map_err(|error| Error::writing(&copy, error))?;
        copied.update(wanted);
        read = read.saturating_add(block.len() as u64);
        if progress(read) { Ok(()) } else { Err(Error::Cancelled) }
    })?;
    file.sync_all().map_err(|error| Error::writing(&copy, error))?;
    Ok(hex(copied.finalize()))
}

/// Writes a file that must not exist yet.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| Error::writing(path, error))
}

/// The sum of lengths from a manifest; saturates.
pub(super) fn total_length(lengths: impl Iterator<Item = u64>) -> u64 {
    lengths.fold(0, u64::saturating_add)
}

pub(super) fn check_length(source: &Source, entry: &FileEntry, length: u64) -> Result<()> {
    if length == entry.length {
        return Ok(());
    }
    let reason = format!("{} has {length} bytes, the manifest says {}", entry.path, entry.length);
    Err(Error::bundle(source.name(), reason))
}

pub(super) fn check_hash(source: &Source, entry: &FileEntry, found: &str) -> Result<()> {
    if found == entry.sha256 {
        return Ok(());
    }
    let reason = format!("{} has SHA-256 {found}, the manifest says {}", entry.path, entry.sha256);
    Err(Error::bundle(source.name(), reason))
}

/// Reads a whole file, each block of which is handed to `each`, and checks it against the manifest.
pub(super) fn checked(source: &Source, entry: &FileEntry, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
    let mut read = 0u64;
    let found = sha256(source, &entry.path, |block| {
        read = read.saturating_add(block.len() as u64);
        each(block)
    })?;
    check_length(source, entry, read)?;
    check_hash(source, entry, &found)
}

/// The SHA-256 of a file, each block of which is also handed to `each`.
fn sha256(source: &Source, name: &str, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<String> {
    let mut hash = Sha256::new();
    source.blocks(name, |block| {
        hash.update(block);
        each(block)
    })?;
    Ok(hex(hash.finalize()))
}

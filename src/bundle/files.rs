//! Are the files of a bundle the files that its manifest names?

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::support::error::{Error, Result};
use crate::support::hex::hex;

/// Files up to this length are hashed on every opening; larger ones on request.
const HASHED_AT_OPEN: u64 = 32 << 20;

/// One file of a bundle, as its manifest names it.
#[derive(Debug, Clone, Deserialize)]
pub struct FileEntry {
    /// Its plain name.
    pub path: String,
    /// Its exact length in bytes.
    pub length: u64,
    /// Its SHA-256, 64 hex digits.
    pub sha256: String,
    /// Of a weight file: how many of its first bytes are all that the decoder reads.
    #[serde(default)]
    pub decoder: Option<u64>,
}

/// How closely to look.
pub(super) enum Depth<'a> {
    /// Every length, and the hash of small files.
    Open,
    /// Every hash, with progress (bytes done, bytes in all).
    Everything(Box<dyn FnMut(u64, u64) + 'a>),
}

pub(super) fn check(folder: &Path, files: &[FileEntry], mut depth: Depth<'_>) -> Result<()> {
    let total = files.iter().fold(0u64, |sum, file| sum.saturating_add(file.length));
    let mut done = 0;
    for entry in files {
        let path = folder.join(&entry.path);
        let metadata = match std::fs::metadata(&path) {
            Ok(metadata) if metadata.is_file() => metadata,
            Ok(_) => return Err(Error::bundle(folder, format!("{} is not a file", entry.path))),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::bundle(folder, format!("{} is missing", entry.path)));
            }
            Err(error) => return Err(Error::reading(&path, error)),
        };
        check_length(folder, entry, metadata.len())?;
        let found = match &mut depth {
            Depth::Open if entry.length > HASHED_AT_OPEN => continue,
            Depth::Open => sha256(&path, |_| {})?,
            Depth::Everything(progress) => {
                let found = sha256(&path, |read| progress(done + read, total))?;
                done += entry.length;
                found
            }
        };
        check_hash(folder, entry, &found)?;
    }
    Ok(())
}

/// Copies the first `length` bytes of a file into the folder `target`, and reads all of it: what is copied was what the
/// manifest says. `progress` is told the bytes read so far and may stop it. Gives the SHA-256 of the copy.
pub(super) fn copy(
    folder: &Path,
    entry: &FileEntry,
    target: &Path,
    length: u64,
    mut progress: impl FnMut(u64) -> bool,
) -> Result<String> {
    let (path, copy) = (folder.join(&entry.path), target.join(&entry.path));
    let mut file = File::create_new(&copy).map_err(|error| Error::writing(&copy, error))?;
    let mut kept = Sha256::new();
    let mut read = 0;
    let found = each_block(&path, |block| {
        let left = usize::try_from(length.saturating_sub(read)).unwrap_or(usize::MAX);
        let wanted = &block[..block.len().min(left)];
        file.write_all(wanted).map_err(|error| Error::writing(&copy, error))?;
        kept.update(wanted);
        read += block.len() as u64;
        if progress(read) { Ok(()) } else { Err(Error::Cancelled) }
    })?;
    check_length(folder, entry, read)?;
    check_hash(folder, entry, &found)?;
    file.sync_all().map_err(|error| Error::writing(&copy, error))?;
    Ok(hex(kept.finalize()))
}

/// Writes a file that is not there yet.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    let written = File::create_new(path).and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    written.map_err(|error| Error::writing(path, error))
}

fn check_length(folder: &Path, entry: &FileEntry, length: u64) -> Result<()> {
    if length == entry.length {
        return Ok(());
    }
    let reason = format!("{} has {length} bytes, the manifest says {}", entry.path, entry.length);
    Err(Error::bundle(folder, reason))
}

fn check_hash(folder: &Path, entry: &FileEntry, found: &str) -> Result<()> {
    if found == entry.sha256 {
        return Ok(());
    }
    let reason = format!("{} has SHA-256 {found}, the manifest says {}", entry.path, entry.sha256);
    Err(Error::bundle(folder, reason))
}

fn sha256(path: &Path, mut progress: impl FnMut(u64)) -> Result<String> {
    let mut read = 0;
    each_block(path, |block| {
        read += block.len() as u64;
        progress(read);
        Ok(())
    })
}

/// Reads a whole file block by block; gives its SHA-256.
fn each_block(path: &Path, mut look: impl FnMut(&[u8]) -> Result<()>) -> Result<String> {
    let fail = |error| Error::reading(path, error);
    let mut file = File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        let count = file.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            return Ok(hex(hash.finalize()));
        }
        hash.update(&buffer[..count]);
        look(&buffer[..count])?;
    }
}

//! Are the files of a bundle the files that its manifest names?

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

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
        if metadata.len() != entry.length {
            return Err(Error::bundle(
                folder,
                format!("{} has {} bytes, the manifest says {}", entry.path, metadata.len(), entry.length),
            ));
        }
        let found = match &mut depth {
            Depth::Open if entry.length > HASHED_AT_OPEN => continue,
            Depth::Open => sha256(&path, |_| {})?,
            Depth::Everything(progress) => {
                let found = sha256(&path, |read| progress(done + read, total))?;
                done += entry.length;
                found
            }
        };
        if found != entry.sha256 {
            return Err(Error::bundle(
                folder,
                format!("{} has SHA-256 {found}, the manifest says {}", entry.path, entry.sha256),
            ));
        }
    }
    Ok(())
}

fn sha256(path: &Path, mut progress: impl FnMut(u64)) -> Result<String> {
    let fail = |error| Error::reading(path, error);
    let mut file = File::open(path).map_err(fail)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    let mut read = 0;
    loop {
        let count = file.read(&mut buffer).map_err(fail)?;
        if count == 0 {
            break;
        }
        hash.update(&buffer[..count]);
        read += count as u64;
        progress(read);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

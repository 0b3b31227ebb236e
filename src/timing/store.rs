//! The calibration file: latencies that were measured on this machine, kept in the user's cache directory for later
//! processes. A file holds for one key; what the key says is the caller's business.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::latency::{Shape, Table};
use crate::support::error::{Error, Result};
use crate::support::files::{read, write_file};
use crate::support::hex::hex;
use crate::support::log;

const FORMAT: u32 = 1;
/// A calibration file is a few kilobytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Rows or pictures of an entry: twice the largest batch that a calibration measures, because of guidance.
const MAX_ROWS: usize = 2 * 4096;
/// One hour. No step takes as long.
const MAX_NANOSECONDS: u64 = 3_600_000_000_000;

#[derive(Serialize, Deserialize)]
struct File {
    format: u32,
    key: String,
    entries: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Entry {
    Step { rows: usize, query: usize, nanoseconds: u64 },
    Decode { pictures: usize, tokens: usize, nanoseconds: u64 },
}

/// What an entry of the file measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measured {
    /// A step of a batch of `rows` rows with `query` positions each.
    Step { rows: usize, query: usize },
    /// A decode of `pictures` prefixes of `tokens` tokens.
    Decode { pictures: usize, tokens: usize },
}

/// The calibration file of `key`; None when this user has no cache directory.
pub(crate) fn path(key: &str) -> Option<PathBuf> {
    let name = format!("calibration-{}.json", short_hash(key));
    Some(dirs::cache_dir()?.join("detailflow").join(name))
}

/// The latencies that the file of `key` holds. `shape` gives the shape of an entry, None for an entry to ignore.
///
/// Returns None when there is no such file, or when it is damaged or holds for another key.
pub(crate) fn load(key: &str, shape: impl Fn(Measured) -> Option<Shape>) -> Option<Table> {
    let path = path(key)?;
    let file: File = serde_json::from_slice(&read(&path, MAX_FILE_BYTES).ok()?).ok()?;
    if file.format != FORMAT || file.key != key {
        return None;
    }
    log::info(|| format!("calibration {}", path.display()));
    // An entry that no calibration writes would lead the estimates astray, as far as to infinity.
    let known = |entry: &Entry| {
        let (measured, rows, nanoseconds) = match *entry {
            Entry::Step { rows, query, nanoseconds } => (Measured::Step { rows, query }, rows, nanoseconds),
            Entry::Decode { pictures, tokens, nanoseconds } => {
                (Measured::Decode { pictures, tokens }, pictures, nanoseconds)
            }
        };
        let in_range = (1..=MAX_ROWS).contains(&rows) && (1..=MAX_NANOSECONDS).contains(&nanoseconds);
        in_range.then(|| shape(measured)).flatten().map(|shape| (shape, Duration::from_nanos(nanoseconds)))
    };
    Some(file.entries.iter().filter_map(known).collect())
}

/// Writes the calibration file `path` of `key`, and its folder where there is none.
///
/// # Errors
/// [`Error::Io`] when the folder or the file cannot be written.
pub(crate) fn save(path: &Path, key: &str, table: &Table) -> Result<()> {
    let entries = table.iter().filter_map(|(&shape, &time)| entry(shape, time)).collect();
    let file = File { format: FORMAT, key: key.to_owned(), entries };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(|error| Error::writing(folder, error))?;
    }
    let text = serde_json::to_string_pretty(&file).expect("numbers and a string always serialize");
    write_file(path, (text + "\n").as_bytes())
}

/// The first 8 bytes of the SHA-256 of `bytes`, in hexadecimals.
pub(crate) fn short_hash(bytes: impl AsRef<[u8]>) -> String {
    hex(&Sha256::digest(bytes)[..8])
}

fn entry(shape: Shape, time: Duration) -> Option<Entry> {
    let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    Some(match shape {
        Shape::Step { rows, query } => Entry::Step { rows, query, nanoseconds },
        Shape::Decode { pictures, tokens, .. } => Entry::Decode { pictures, tokens, nanoseconds },
        Shape::Begin { .. } => return None,
    })
}

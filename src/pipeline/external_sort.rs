//! Sorts more entries than memory should hold: sorted runs in a temporary folder, merged at the end.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::PathBuf;

use crate::support::error::{Error, Result};
use crate::support::files::NewFolder;
use crate::support::memory::reserve;

/// A hash and a number.
pub(super) type Entry = (u128, u64);
/// Bytes of an entry in memory and on disk: one is packed, so that alignment takes nothing.
const BYTES: usize = 24;
/// Runs that are merged at a time.
const MOST_RUNS: usize = 128;

/// Entries to be sorted.
#[derive(Debug)]
pub(super) struct Sorter {
    /// Packed entries, so that each takes 24 bytes.
    buffer: Vec<[u64; 3]>,
    most: usize,
    folder: Option<NewFolder>,
    runs: Vec<PathBuf>,
    written: usize,
}

impl Sorter {
    /// One that keeps up to `bytes` in memory.
    pub fn new(bytes: usize) -> Self {
        Self { buffer: Vec::new(), most: (bytes / BYTES).max(1), folder: None, runs: Vec::new(), written: 0 }
    }

    /// Takes an entry.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`], or [`Error::Io`] if a run cannot be written.
    pub fn push(&mut self, (hash, number): Entry) -> Result<()> {
        if self.buffer.len() == self.most {
            self.spill()?;
        }
        if self.buffer.capacity() == self.buffer.len() {
            // Not beyond the limit, which doubling might be.
            let more = self.buffer.len().clamp(1 << 10, 1 << 20).min(self.most - self.buffer.len());
            self.buffer
                .try_reserve_exact(more)
                .map_err(|_| Error::OutOfMemory { what: "names".into(), bytes: (more * BYTES) as u64 })?;
        }
        self.buffer.push([(hash >> 64) as u64, hash as u64, number]);
        Ok(())
    }

    fn next_run(&mut self) -> Result<PathBuf> {
        let folder = match &self.folder {
            Some(folder) => folder,
            None => self.folder.insert(NewFolder::create(&std::env::temp_dir().join("dflow-names"))?),
        };
        self.written += 1;
        Ok(folder.path().join(format!("{}", self.written)))
    }

    fn spill(&mut self) -> Result<()> {
        let path = self.next_run()?;
        self.buffer.sort_unstable();
        let mut run = Run::create(path)?;
        for entry in &self.buffer {
            run.put(*entry)?;
        }
        self.buffer.clear();
        self.runs.push(run.finish()?);
        Ok(())
    }

    /// Gives all entries in order.
    ///
    /// # Errors
    /// [`Error::Io`] if a run cannot be written or read; those of `take`.
    pub fn finish(mut self, mut take: impl FnMut(Entry) -> Result<()>) -> Result<()> {
        let unpack = |[high, low, number]: [u64; 3]| (u128::from(high) << 64 | u128::from(low), number);
        if self.runs.is_empty() {
            self.buffer.sort_unstable();
            return self.buffer.iter().try_for_each(|entry| take(unpack(*entry)));
        }
        self.spill()?;
        self.buffer = Vec::new();
        while self.runs.len() > MOST_RUNS {
            let some: Vec<PathBuf> = self.runs.drain(..MOST_RUNS).collect();
            let mut run = Run::create(self.next_run()?)?;
            merge(&some, |entry| run.put(entry))?;
            self.runs.push(run.finish()?);
            for path in some {
                // What stays goes with the folder.
                let _ = std::fs::remove_file(path);
            }
        }
        merge(&self.runs, |entry| take(unpack(entry)))
    }
}

/// A sorted run being written.
struct Run {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Run {
    fn create(path: PathBuf) -> Result<Self> {
        match File::create_new(&path) {
            Ok(file) => Ok(Self { path, file: BufWriter::with_capacity(1 << 16, file) }),
            Err(error) => Err(Error::writing(&path, error)),
        }
    }

    fn put(&mut self, entry: [u64; 3]) -> Result<()> {
        for part in entry {
            self.file.write_all(&part.to_le_bytes()).map_err(|error| Error::writing(&self.path, error))?;
        }
        Ok(())
    }

    fn finish(mut self) -> Result<PathBuf> {
        self.file.flush().map_err(|error| Error::writing(&self.path, error))?;
        Ok(self.path)
    }
}

fn merge(paths: &[PathBuf], mut take: impl FnMut([u64; 3]) -> Result<()>) -> Result<()> {
    let mut files = reserve("names", paths.len())?;
    let mut heap = BinaryHeap::new();
    for (at, path) in paths.iter().enumerate() {
        let file = File::open(path).map_err(|error| Error::reading(path, error))?;
        let mut file = BufReader::with_capacity(1 << 16, file);
        if let Some(entry) = next(&mut file).map_err(|error| Error::reading(path, error))? {
            heap.push(Reverse((entry, at)));
        }
        files.push(file);
    }
    while let Some(Reverse((entry, at))) = heap.pop() {
        take(entry)?;
        if let Some(entry) = next(&mut files[at]).map_err(|error| Error::reading(&paths[at], error))? {
            heap.push(Reverse((entry, at)));
        }
    }
    Ok(())
}

fn next(file: &mut impl Read) -> std::io::Result<Option<[u64; 3]>> {
    let mut entry = [0; 3];
    for (at, part) in entry.iter_mut().enumerate() {
        let mut bytes = [0; 8];
        match file.read_exact(&mut bytes) {
            Ok(()) => *part = u64::from_le_bytes(bytes),
            Err(error) if at == 0 && error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(Some(entry))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sorter_gives_the_same_order_in_memory_and_by_runs() {
        let mut state = 7u64;
        let entries: Vec<Entry> = (0..20_000)
            .map(|number| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (u128::from(state >> 40) << 60, number)
            })
            .collect();
        let mut wanted = entries.clone();
        wanted.sort_unstable();
        // In memory, by 3 runs, and by more runs than are merged at a time.
        for most in [20_000, 8_000, 100] {
            let mut sorter = Sorter::new(most * BYTES);
            entries.iter().for_each(|entry| sorter.push(*entry).unwrap());
            assert!(sorter.buffer.capacity() <= most.max(1 << 10), "{}", sorter.buffer.capacity());
            let folder = sorter.folder.as_ref().map(|folder| folder.path().to_owned());
            let mut found = Vec::new();
            let taken = sorter.finish(|entry| {
                found.push(entry);
                Ok(())
            });
            taken.unwrap();
            assert!(found == wanted, "{most}");
            assert!(folder.is_none_or(|folder| !folder.exists()), "the runs are removed");
        }
    }
}

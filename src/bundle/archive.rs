//! The files of a single-file bundle, wherever its bytes are: in a file, in memory, behind callbacks.

use std::fmt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use super::zip::{self, Entry};
use crate::support::block::{Block, BlockPart};
use crate::support::crc32::Crc32;
use crate::support::error::{Error, Result};
use crate::support::files::open;
use crate::support::memory::filled;
use crate::support::platform::{self, is_same_file};
use crate::support::read_at::{Called, ReadAt};
use crate::support::sync::lock;

/// Bytes read at once.
const PART: usize = 1 << 18;

/// A single-file bundle.
pub(super) struct Archive {
    name: PathBuf,
    bytes: Bytes,
    entries: Vec<Entry>,
}

enum Bytes {
    /// A file, open, with its folder and its name in it: ONNX Runtime maps it by these.
    File {
        file: File,
        folder: PathBuf,
        name: Option<String>,
    },
    Block(Block),
    /// None when it may not be read any more.
    Reader(Mutex<Option<Arc<dyn ReadAt + Send + Sync>>>),
}

/// Where ONNX Runtime finds the part of a mapped file that is an entry.
pub(super) struct MappedEntry<'a> {
    pub folder: &'a str,
    pub file: &'a str,
    pub at: u64,
    pub length: u64,
}

impl Archive {
    /// A file. `path` is absolute.
    pub fn file(path: PathBuf) -> Result<Self> {
        let file = open(&path).map_err(|error| Error::reading(&path, error))?;
        // Where it really is: ONNX Runtime refuses weights that a link leads out of the folder for.
        let real = platform::canonical(&path).map_err(|error| Error::reading(&path, error))?;
        let folder = real.parent().unwrap_or(Path::new("")).to_owned();
        let name = real.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        Self::new(path, Bytes::File { file, folder, name })
    }

    /// A block of memory, which errors call `name`.
    pub fn block(block: Block, name: PathBuf) -> Result<Self> {
        Self::new(name, Bytes::Block(block))
    }

    /// Any source, which errors call `name`.
    pub fn reader(reader: Arc<dyn ReadAt + Send + Sync>, name: PathBuf) -> Result<Self> {
        Self::new(name, Bytes::Reader(Mutex::new(Some(reader))))
    }

    fn new(name: PathBuf, bytes: Bytes) -> Result<Self> {
        let mut archive = Self { name, bytes, entries: Vec::new() };
        let refuse = |why: String| Error::bundle(&archive.name, why);
        let fail = |error| archive.failed(error);
        archive.entries = archive.with(|source| zip::entries(source, refuse, fail))?;
        Ok(archive)
    }

    pub fn name(&self) -> &Path {
        &self.name
    }

    /// Runs `body` with the bytes.
    fn with<R>(&self, body: impl FnOnce(&dyn ReadAt) -> Result<R>) -> Result<R> {
        match &self.bytes {
            Bytes::File { file, .. } => body(file),
            Bytes::Block(block) => body(&block.bytes()),
            Bytes::Reader(reader) => {
                let reader = lock(reader).clone();
                let reader = reader.ok_or_else(|| {
                    Error::State(format!(
                        "{} was read while the model was opened, and is not read any more",
                        self.shown()
                    ))
                })?;
                body(&Called(reader))
            }
        }
    }

    fn shown(&self) -> std::path::Display<'_> {
        self.name.display()
    }

    /// What a failed read means: a file or a reader that is shorter than it said, or any other failure.
    fn failed(&self, error: std::io::Error) -> Error {
        // An error of ours comes through as it is.
        let error = match error.downcast::<Error>() {
            Ok(ours) => return ours,
            Err(other) => other,
        };
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return Error::bundle(&self.name, "it ends before its own size, or changed meanwhile");
        }
        Error::Io { what: "cannot read", path: self.name.clone(), source: error }
    }

    fn entry(&self, name: &str) -> Result<&Entry> {
        let found = self.entries.iter().find(|entry| entry.name == name);
        found.ok_or_else(|| Error::NotFound { what: "file", path: self.name.join(name) })
    }

    /// The length of the file `name`.
    pub fn length(&self, name: &str) -> Result<u64> {
        Ok(self.entry(name)?.length)
    }

    /// Reads the file `name` from start to end, block by block, and checks its CRC-32.
    pub fn blocks(&self, name: &str, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let entry = self.entry(name)?;
        let mut buffer = filled("a block of a file", PART, 0)?;
        let mut crc = Crc32::new();
        self.with(|source| {
            let mut done = 0u64;
            while done < entry.length {
                let left = usize::try_from(entry.length - done).unwrap_or(usize::MAX);
                let part = &mut buffer[..left.min(PART)];
                // Within the file: the directory was checked.
                source.read_exact_at(part, entry.at.saturating_add(done)).map_err(|error| self.failed(error))?;
                crc.update(part);
                each(part)?;
                done = done.saturating_add(part.len() as u64);
            }
            Ok(())
        })?;
        if crc.value() != entry.crc {
            let reason = format!("{name} has CRC-32 {:08x}, the zip file says {:08x}", crc.value(), entry.crc);
            return Err(Error::bundle(&self.name, reason));
        }
        Ok(())
    }

    /// The file `name` in the block of memory that it is in; `None` when it is not in memory.
    pub fn in_block(&self, name: &str) -> Result<Option<BlockPart>> {
        let Bytes::Block(block) = &self.bytes else { return Ok(None) };
        let entry = self.entry(name)?;
        let range = usize::try_from(entry.at).ok().zip(usize::try_from(entry.at.saturating_add(entry.length)).ok());
        // The directory was checked.
        Ok(range.and_then(|(start, end)| BlockPart::of(block.clone(), start..end)))
    }

    /// Where ONNX Runtime can map the file `name`; `None` where it cannot.
    pub fn mapped(&self, name: &str) -> Result<Option<MappedEntry<'_>>> {
        let entry = self.entry(name)?;
        Ok(match &self.bytes {
            Bytes::File { folder, name: Some(file), .. } => {
                folder.to_str().map(|folder| MappedEntry { folder, file, at: entry.at, length: entry.length })
            }
            _ => None,
        })
    }

    /// Whether the file is still the one that was opened, and not another that took its name.
    pub fn is_in_place(&self) -> bool {
        match &self.bytes {
            Bytes::File { file, folder, name: Some(name) } => is_same_file(file, &folder.join(name)),
            _ => false,
        }
    }

    /// Whether its bytes are in a file.
    pub fn is_file(&self) -> bool {
        matches!(self.bytes, Bytes::File { .. })
    }

    /// Whether its bytes come from a reader, which is to be used while a model is opened only.
    pub fn is_reader(&self) -> bool {
        matches!(self.bytes, Bytes::Reader(_))
    }

    /// Lets go of a reader: nothing reads it afterwards.
    pub fn detach(&self) {
        if let Bytes::Reader(reader) = &self.bytes {
            let reader = lock(reader).take();
            drop(reader);
        }
    }
}

impl fmt::Debug for Archive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Archive").field("name", &self.name).field("entries", &self.entries).finish_non_exhaustive()
    }
}

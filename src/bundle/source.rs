//! How the files of a bundle are reached: in a folder, or in a single file wherever its bytes are. The rest of the crate reads
//! bundles through this only, except ONNX Runtime, which maps weights from files.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::archive::{Archive, MappedEntry};
use super::names::FILE;
use crate::support::block::{Block, BlockPart};
use crate::support::error::{Error, Result};
use crate::support::files::{open, put_back, read};
use crate::support::memory::{filled, reserve};
use crate::support::read_at::ReadAt;

/// Bytes of a block of [`Source::blocks`].
const BLOCK: usize = 1 << 18;

/// The files of one bundle.
#[derive(Debug, Clone)]
pub(super) enum Source {
    Folder(PathBuf),
    Archive(Arc<Archive>),
}

impl Source {
    /// The bundle at `path`: a folder, the manifest in it, or a single file.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is nothing of this name; [`Error::Bundle`] if it is a file that is no bundle; [`Error::Io`].
    pub fn open(path: &Path) -> Result<Self> {
        put_back(path);
        let missing = |path: &Path| Error::NotFound { what: "bundle", path: path.to_owned() };
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => missing(path),
            _ => Error::reading(path, error),
        })?;
        // The working directory may change before the next file is read.
        let absolute = std::path::absolute(path).map_err(|error| Error::reading(path, error))?;
        if metadata.is_dir() {
            return Ok(Self::Folder(absolute));
        }
        match absolute.parent() {
            Some(folder) if absolute.file_name().is_some_and(|name| name == FILE) => {
                Ok(Self::Folder(folder.to_owned()))
            }
            _ => Ok(Self::Archive(Arc::new(Archive::file(absolute)?))),
        }
    }

    /// A single-file bundle in memory. Errors call it `name`.
    pub fn block(block: Block, name: PathBuf) -> Result<Self> {
        Ok(Self::Archive(Arc::new(Archive::block(block, name)?)))
    }

    /// A single-file bundle behind `reader`. Errors call it `name`.
    pub fn reader(reader: Arc<dyn ReadAt + Send + Sync>, name: PathBuf) -> Result<Self> {
        Ok(Self::Archive(Arc::new(Archive::reader(reader, name)?)))
    }

    /// What errors call the bundle.
    pub fn name(&self) -> &Path {
        match self {
            Self::Folder(folder) => folder,
            Self::Archive(archive) => archive.name(),
        }
    }

    /// Whether it is a folder or a file.
    pub fn is_on_disk(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Archive(archive) => archive.is_file(),
        }
    }

    /// Whether it is read by callbacks, which are to be used while a model is opened only.
    pub fn is_reader(&self) -> bool {
        matches!(self, Self::Archive(archive) if archive.is_reader())
    }

    /// Lets go of the reader: nothing reads it afterwards.
    pub fn detach(&self) {
        if let Self::Archive(archive) = self {
            archive.detach();
        }
    }

    /// The length of the file `name` in bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file, [`Error::Bundle`] if it is not a regular file, [`Error::Io`].
    pub fn length(&self, name: &str) -> Result<u64> {
        let folder = match self {
            Self::Archive(archive) => return archive.length(name),
            Self::Folder(folder) => folder,
        };
        let path = folder.join(name);
        let metadata = std::fs::metadata(&path).map_err(|error| Error::reading(&path, error))?;
        if !metadata.is_file() {
            return Err(Error::bundle(folder, format!("{name} is not a file")));
        }
        Ok(metadata.len())
    }

    /// The content of the file `name`, of at most `most` bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::OutOfMemory`]; [`Error::Format`] if it is longer.
    pub fn read(&self, name: &str, most: u64) -> Result<Vec<u8>> {
        let archive = match self {
            Self::Folder(folder) => return read(&folder.join(name), most),
            Self::Archive(archive) => archive,
        };
        let length = archive.length(name)?;
        if length > most {
            let text = format!("the file is longer than the {most} bytes that are allowed");
            return Err(Error::format(&archive.name().join(name), text));
        }
        let mut bytes = reserve(&format!("the file {name}"), usize::try_from(length).unwrap_or(usize::MAX))?;
        archive.blocks(name, |block| {
            bytes.extend_from_slice(block);
            Ok(())
        })?;
        Ok(bytes)
    }

    /// Reads the file `name` from start to end, block by block.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], and what `each` returns.
    pub fn blocks(&self, name: &str, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let folder = match self {
            Self::Archive(archive) => return archive.blocks(name, each),
            Self::Folder(folder) => folder,
        };
        let path = folder.join(name);
        let fail = |error| Error::reading(&path, error);
        let mut file = open(&path).map_err(fail)?;
        let mut buffer = filled("a block of a file", BLOCK, 0)?;
        loop {
            match file.read(&mut buffer).map_err(fail)? {
                0 => return Ok(()),
                count => each(&buffer[..count])?,
            }
        }
    }

    /// The path of the file `name`; `None` where it is no file of its own.
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        match self {
            Self::Folder(folder) => Some(folder.join(name)),
            Self::Archive(_) => None,
        }
    }

    /// The file `name` in the block of memory that the bundle is in; `None` when it is not in memory.
    pub fn in_block(&self, name: &str) -> Result<Option<BlockPart>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Archive(archive) => archive.in_block(name),
        }
    }

    /// Where ONNX Runtime can map the file `name` in the single file that holds it; `None` where it cannot.
    pub fn mapped(&self, name: &str) -> Result<Option<MappedEntry<'_>>> {
        match self {
            Self::Folder(_) => Ok(None),
            Self::Archive(archive) => archive.mapped(name),
        }
    }

    /// Whether what is at the path of a single file is still what was opened.
    pub fn is_in_place(&self) -> bool {
        match self {
            Self::Folder(_) => true,
            Self::Archive(archive) => archive.is_in_place(),
        }
    }
}

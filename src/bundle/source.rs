//! How the files of a bundle are reached. The rest of the crate reads bundles through this only, except ONNX Runtime,
//! which takes the path of a graph and maps the weights beside it.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::support::error::{Error, Result};

/// Bytes of a block of [`Source::blocks`].
const BLOCK: usize = 1 << 18;

/// The files of one bundle: those of a folder.
#[derive(Debug, Clone)]
pub(super) struct Source {
    folder: PathBuf,
}

impl Source {
    /// The files of a folder.
    ///
    /// # Errors
    /// [`Error::NotFound`] if it is not a folder.
    pub fn folder(folder: &Path) -> Result<Self> {
        if !folder.is_dir() {
            return Err(Error::NotFound { what: "bundle", path: folder.to_owned() });
        }
        // The working directory may change before the next file is read.
        let folder = std::path::absolute(folder).map_err(|error| Error::reading(folder, error))?;
        Ok(Self { folder })
    }

    /// What errors call the bundle.
    pub fn name(&self) -> &Path {
        &self.folder
    }

    /// The length of the file `name` in bytes.
    ///
    /// # Errors
    /// [`Error::NotFound`] if there is no such file, [`Error::Bundle`] if it is not a regular file, [`Error::Io`].
    pub fn length(&self, name: &str) -> Result<u64> {
        let path = self.path(name);
        let metadata = std::fs::metadata(&path).map_err(|error| Error::reading(&path, error))?;
        if !metadata.is_file() {
            return Err(Error::bundle(&self.folder, format!("{name} is not a file")));
        }
        Ok(metadata.len())
    }

    /// The content of the file `name`, which must be small.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`].
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        std::fs::read(&path).map_err(|error| Error::reading(&path, error))
    }

    /// Reads the file `name` from start to end, block by block.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], and what `each` returns.
    pub fn blocks(&self, name: &str, mut each: impl FnMut(&[u8]) -> Result<()>) -> Result<()> {
        let path = self.path(name);
        let fail = |error| Error::reading(&path, error);
        let mut file = File::open(&path).map_err(fail)?;
        let mut buffer = vec![0; BLOCK];
        loop {
            match file.read(&mut buffer).map_err(fail)? {
                0 => return Ok(()),
                count => each(&buffer[..count])?,
            }
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

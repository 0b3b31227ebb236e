//! Bytes with random access, which a pack or a single-file bundle is read from.

use std::fs::File;
use std::io::{Error, ErrorKind, Result};

use crate::support::{host, platform};

/// A source of bytes with random access: a file, memory, an entry of an archive. Reads take an offset and share no
/// position, so any number of threads may read at once.
///
/// An implementation is not trusted: what it says of its size, and what it reads, are checked like the content of a file.
pub trait ReadAt {
    /// The size in bytes.
    ///
    /// # Errors
    /// Those of the operating system.
    fn size(&self) -> Result<u64>;

    /// Fills `buffer` with the bytes from `offset` on.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] if there are too few bytes, and those of the operating system.
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()>;
}

impl ReadAt for File {
    fn size(&self) -> Result<u64> {
        let metadata = self.metadata()?;
        if metadata.is_file() {
            return Ok(metadata.len());
        }
        Err(Error::new(ErrorKind::InvalidInput, "not a regular file"))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        platform::read_exact_at(self, buffer, offset)
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> Result<u64> {
        Ok(self.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let start = usize::try_from(offset).ok();
        let end = start.and_then(|start| start.checked_add(buffer.len()));
        let bytes = start.zip(end).and_then(|(start, end)| self.get(start..end)).ok_or(ErrorKind::UnexpectedEof)?;
        buffer.copy_from_slice(bytes);
        Ok(())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> Result<u64> {
        self[..].size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self[..].read_exact_at(buffer, offset)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for &R {
    fn size(&self) -> Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for Box<R> {
    fn size(&self) -> Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

impl<R: ReadAt + ?Sized> ReadAt for std::sync::Arc<R> {
    fn size(&self) -> Result<u64> {
        (**self).size()
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        (**self).read_exact_at(buffer, offset)
    }
}

/// A reader of the host, which runs in the host's float environment.
#[derive(Debug)]
pub(crate) struct Called<R>(pub R);

impl<R: ReadAt> ReadAt for Called<R> {
    fn size(&self) -> Result<u64> {
        host::call_back(|| self.0.size())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        host::call_back(|| self.0.read_exact_at(buffer, offset))
    }
}

//! A bundle as a single file, and back. The bytes of the file depend on the bundle alone.

use std::io::{Seek, SeekFrom};
use std::path::Path;

use super::Bundle;
use super::check::{self, total_length};
use super::manifest::LARGEST_MANIFEST;
use super::names::FILE;
use super::source::Source;
use super::target::{check_file, check_folder};
use super::zip_writer::{LOCAL_CRC, ZipWriter};
use crate::support::crc32::Crc32;
use crate::support::error::{Error, Result};
use crate::support::files::{NewFile, NewFolder};
use crate::support::host;

impl Bundle {
    /// Writes the bundle as the single file `target` (`.dflow`), which opens like the folder: [`open`](Self::open),
    /// [`from_memory`](Self::from_memory), [`from_reader`](Self::from_reader). It is a zip file with the files of the bundle,
    /// uncompressed and aligned, so that weights are used where the file is mapped. Every byte is checked against the manifest.
    ///
    /// The file is written under a temporary name beside `target` and replaces it when complete; after an error `target` is
    /// unchanged. `progress` is called with the bytes read so far and their total, and cancels by returning false.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: `target` is not a place for a file, or is this bundle itself.
    /// - [`Error::Bundle`]: a file is not what the manifest says.
    /// - [`Error::Io`]: the operating system cannot read or write.
    /// - [`Error::Cancelled`]: `progress` returned false.
    pub fn pack(&self, target: impl AsRef<Path>, mut progress: impl FnMut(u64, u64) -> bool) -> Result<Self> {
        let _host = host::enter();
        let target = target.as_ref();
        self.write_packed(target, &mut progress)?;
        Ok(Self { source: Source::open(target)?, ..self.clone() })
    }

    fn write_packed(&self, target: &Path, progress: &mut dyn FnMut(u64, u64) -> bool) -> Result<()> {
        check_file(self, target)?;
        let mut file = NewFile::create(target)?;
        if !file.can_seek() {
            return Err(Error::Invalid(format!("{} is not a file that can be written at any place", target.display())));
        }
        let mut zip = ZipWriter::new();
        let manifest = self.source.read(FILE, LARGEST_MANIFEST)?;
        let mut crc = Crc32::new();
        crc.update(&manifest);
        file.write(&zip.header(FILE, manifest.len() as u64, crc.value())?)?;
        file.write(&manifest)?;
        let total = total_length(self.files.iter().map(|file| file.length));
        let mut done = 0u64;
        for entry in &self.files {
            let header = zip.header(&entry.path, entry.length, 0)?;
            let at = zip.begins();
            file.write(&header)?;
            let mut crc = Crc32::new();
            let mut read = 0u64;
            check::checked(&self.source, entry, |block| {
                read = read.saturating_add(block.len() as u64);
                if read > entry.length {
                    return check::check_length(&self.source, entry, read);
                }
                crc.update(block);
                file.write(block)?;
                let go_on = host::call_back(|| progress(done.saturating_add(read), total));
                if go_on { Ok(()) } else { Err(Error::Cancelled) }
            })?;
            done = done.saturating_add(entry.length);
            zip.set_crc(crc.value());
            let fail = |error| Error::writing(target, error);
            let end = file.file().stream_position().map_err(fail)?;
            file.file().seek(SeekFrom::Start(at.saturating_add(LOCAL_CRC))).map_err(fail)?;
            file.write(&crc.value().to_le_bytes())?;
            file.file().seek(SeekFrom::Start(end)).map_err(fail)?;
        }
        file.write(&zip.directory()?)?;
        file.finish()
    }

    /// Writes the bundle as the folder `target`: the files of the manifest, each checked. The opposite of
    /// [`pack`](Self::pack).
    ///
    /// The folder is written under a temporary name beside `target` and takes its place when complete, as that of
    /// [`strip`](Self::strip); after an error `target` is unchanged. `progress` is called with the bytes read so far and their
    /// total, and cancels by returning false.
    ///
    /// # Errors
    /// - [`Error::Invalid`]: `target` exists and is neither an empty folder nor a bundle, or is this bundle itself or a folder
    ///   above it.
    /// - [`Error::Bundle`]: a file is not what the manifest says.
    /// - [`Error::Io`]: the operating system cannot read or write.
    /// - [`Error::Cancelled`]: `progress` returned false.
    pub fn unpack(&self, target: impl AsRef<Path>, mut progress: impl FnMut(u64, u64) -> bool) -> Result<Self> {
        let _host = host::enter();
        let target = target.as_ref();
        check_folder(self, target)?;
        let folder = NewFolder::create(target)?;
        let total = total_length(self.files.iter().map(|file| file.length));
        let mut done = 0u64;
        for entry in &self.files {
            check::copy(&self.source, entry, folder.path(), entry.length, |read| {
                host::call_back(|| progress(done.saturating_add(read), total))
            })?;
            done = done.saturating_add(entry.length);
        }
        let manifest = self.source.read(FILE, LARGEST_MANIFEST)?;
        check::write(&folder.path().join(FILE), &manifest)?;
        // Checks what was written before it is moved into place.
        let unpacked = Self::open(folder.path())?;
        folder.finish()?;
        Ok(Self { source: Source::open(target)?, ..unpacked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::zip::{ALIGNMENT, entries};

    #[test]
    fn zip_of_entries_beyond_4_gib_is_read_as_it_was_written() {
        /// Bytes that are zero but for the parts that were written.
        struct Sparse(Vec<(u64, Vec<u8>)>, u64);
        impl crate::support::read_at::ReadAt for Sparse {
            fn size(&self) -> std::io::Result<u64> {
                Ok(self.1)
            }
            fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
                buffer.fill(0);
                for (index, byte) in (offset..).zip(buffer) {
                    for (at, part) in &self.0 {
                        if let Some(found) = index.checked_sub(*at).and_then(|index| part.get(index as usize)) {
                            *byte = *found;
                        }
                    }
                }
                Ok(())
            }
        }
        let mut zip = ZipWriter::new();
        let mut parts = Vec::new();
        let files = [("detailflow.json", 10), ("a.bin", 5 << 30), ("b.bin", 3), ("c.bin", (1 << 32) - 1)];
        for (name, length) in files {
            let header = zip.header(name, length, 7).unwrap();
            parts.push((zip.begins(), header));
        }
        let (at, directory) = (zip.end(), zip.directory().unwrap());
        let size = at + directory.len() as u64;
        parts.push((at, directory));
        let fail = |error: std::io::Error| Error::reading(Path::new("zip"), error);
        let refuse = |why: String| Error::bundle(Path::new("zip"), why);
        let read = entries(&Sparse(parts, size), refuse, fail).unwrap();
        let found: Vec<(&str, u64)> = read.iter().map(|entry| (entry.name.as_str(), entry.length)).collect();
        assert_eq!(found, files);
        assert!(read.iter().all(|entry| entry.at % ALIGNMENT == 0 && entry.crc == 7));
        assert!(read[2].at > 5 << 30);
    }
}

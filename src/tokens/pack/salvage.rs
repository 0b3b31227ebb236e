//! Recovery of a damaged pack: finds the entries without index and footer.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::dft::{self, Damage, Dft, Soundness};
use super::layout::{HEAD, HEAD_MAGIC, Head, LONGEST_NAME, check_name};
use super::writer::PackWriter;
use crate::support::error::{Error, Result};
use crate::support::files::open;
use crate::support::memory::filled;
use crate::support::read_at::ReadAt;

/// Bytes that are read at once.
const STEP: usize = 1 << 16;
/// Bytes of a token file that are decoded first, more as long as they are sound. They hold the header and any mix: with less
/// of it than those, `Dft::decode` fails.
const FIRST: usize = dft::LONGEST_START;

/// An iterator over the entries of a damaged pack: scans the file from start to end and yields every entry that it
/// recognizes; also token files embedded in any other file. It reads in small parts, so the file may be of any size.
#[derive(Debug)]
pub struct Salvage<R = File> {
    source: R,
    path: PathBuf,
    size: u64,
    /// Offset of what to look at next.
    at: u64,
    /// What was read last, from the offset `start` on.
    window: Vec<u8>,
    start: u64,
}

/// A sequence found by [`Salvage`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Byte offset of the entry.
    pub at: u64,
    /// Its number, if its header is undamaged.
    pub number: Option<u32>,
    /// Its name, if its header is undamaged and has one.
    pub name: Option<String>,
    /// The longest sound prefix of the sequence, at least one token.
    pub dft: Dft,
    /// How much of the sequence is sound.
    pub soundness: Soundness,
}

/// The result of [`salvage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salvaged {
    /// Number of entries that were found and written.
    pub entries: u32,
    /// How many of them were shortened to their sound prefix.
    pub shortened: u32,
}

impl Salvage {
    /// Starts at the beginning of the file `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open(path).map_err(|error| Error::reading(path, error))?;
        Self::from_source(file, path)
    }
}

impl<R: ReadAt> Salvage<R> {
    /// Starts at the beginning of any source. Errors call it `name`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn from_source(source: R, name: impl Into<PathBuf>) -> Result<Self> {
        let path = name.into();
        let size = source.size().map_err(|error| Error::reading(&path, error))?;
        Ok(Self { source, path, size, at: 0, window: Vec::new(), start: 0 })
    }

    /// Writes what it finds from here on as a new pack `target`, as [`salvage`] does.
    ///
    /// # Errors
    /// As [`salvage`].
    pub fn write(self, target: impl AsRef<Path>) -> Result<Salvaged> {
        let path = self.path.clone();
        let mut pack = PackWriter::create(target)?;
        let mut shortened = 0;
        for found in self {
            let Found { name, dft, soundness, .. } = found?;
            let name = name.filter(|name| !pack.contains(name) && check_name(name).is_ok());
            pack.add(name.as_deref(), &dft)?;
            shortened += u32::from(soundness.sound < soundness.promised);
        }
        if pack.is_empty() {
            return Err(Error::format(&path, "no entry of it is sound"));
        }
        let entries = pack.len();
        pack.finish()?;
        Ok(Salvaged { entries, shortened })
    }

    /// The bytes from `at` on: at least `needed`, or all that are left.
    fn look(&mut self, needed: usize) -> Result<&[u8]> {
        let left = self.size.saturating_sub(self.at);
        let needed = left.min(needed as u64) as usize;
        let skip = usize::try_from(self.at.saturating_sub(self.start)).unwrap_or(usize::MAX);
        if self.window.len() < skip.saturating_add(needed) {
            let length = left.min(needed.max(STEP) as u64) as usize;
            self.window = filled("a part of a pack", length, 0)?;
            self.start = self.at;
            let read = self.source.read_exact_at(&mut self.window, self.start);
            read.map_err(|error| Error::reading(&self.path, error))?;
            return Ok(&self.window);
        }
        Ok(&self.window[skip..])
    }

    /// The next entry.
    fn find(&mut self) -> Result<Option<Found>> {
        const LETTERS: usize = dft::MAGIC.len();
        loop {
            let bytes = self.look(LETTERS)?;
            if bytes.len() < LETTERS {
                return Ok(None);
            }
            let (found, length) = (bytes.windows(LETTERS).position(|letters| letters == dft::MAGIC), bytes.len());
            // The letters may straddle the end of what was read.
            self.at = self.at.saturating_add(found.unwrap_or(length - LETTERS + 1) as u64);
            if found.is_none() {
                continue;
            }
            let (found, length) = self.entry()?;
            self.at = self.at.saturating_add(length as u64);
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// The entry at `at`, if there is one, and how many bytes to skip.
    fn entry(&mut self) -> Result<(Option<Found>, usize)> {
        let at = self.at;
        let bytes = self.look(HEAD + LONGEST_NAME)?;
        let head = Head::decode(bytes).map(|(head, name)| (head, name.to_owned()));
        if head.is_none() && bytes.starts_with(&HEAD_MAGIC) {
            return Ok((None, 1));
        }
        let start = head.as_ref().map_or(0, |(_, name)| HEAD + name.len());
        let size = match &head {
            Some((head, _)) => head.size as usize,
            // A token file whose entry header is lost.
            None => {
                let bytes = self.look(FIRST)?;
                match Dft::decode(&bytes[..bytes.len().min(FIRST)]) {
                    Ok((dft, soundness)) => dft.file_size(soundness.promised),
                    Err(_) => return Ok((None, 1)),
                }
            }
        };
        let end = start.saturating_add(size);
        // A header may promise much: no more is read than is sound, so that the work is in proportion to the file.
        let mut wanted = start.saturating_add(FIRST);
        let (dft, soundness) = loop {
            let bytes = self.look(wanted.min(end))?;
            let complete = wanted >= end || bytes.len() < wanted;
            let bytes = &bytes[start.min(bytes.len())..wanted.min(end).min(bytes.len())];
            match Dft::decode(bytes) {
                Ok((_, Soundness { damage: Some(Damage::Cut { .. }), .. })) if !complete => {
                    wanted = wanted.saturating_mul(2);
                }
                Ok(decoded) => break decoded,
                Err(_) => return Ok((None, start.max(1))),
            }
        };
        // After damage the next entry may begin anywhere, but not in what is sound.
        let sound = dft.file_size(soundness.sound);
        let length = if soundness.is_sound() { end } else { start.saturating_add(sound) };
        let (number, name) = head.map_or((None, None), |(head, name)| (Some(head.number), Some(name)));
        let name = name.filter(|name| !name.is_empty());
        let found = Found { at, number, name, dft, soundness };
        Ok((Some(found).filter(|_| soundness.sound > 0), length))
    }
}

impl<R: ReadAt> Iterator for Salvage<R> {
    type Item = Result<Found>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.find();
        if found.is_err() {
            // Ends the iteration rather than fail for ever.
            self.at = self.size;
        }
        found.transpose()
    }
}

/// Writes what [`Salvage`] finds in the pack `path` as a new pack `target`, damaged sequences shortened to their sound
/// prefixes. If two entries have the same name, the second loses it.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], or [`Error::Format`] if no entry is left. No file is written then.
pub fn salvage(path: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<Salvaged> {
    Salvage::open(path)?.write(target)
}

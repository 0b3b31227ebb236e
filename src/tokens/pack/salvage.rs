//! What is left of a damaged pack: entries are found by themselves, without index and footer.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::dft::{self, Damage, Dft, Soundness};
use super::layout::{HEAD, HEAD_MAGIC, Head, LONGEST_NAME, check_name};
use super::source::ReadAt;
use super::writer::PackWriter;
use crate::support::error::{Error, Result};
use crate::support::memory::filled;

/// Bytes that are read at once.
const STEP: usize = 1 << 16;

/// Reads a pack from front to end and finds the entries that are there, whatever else is damaged or cut off; also the
/// token files within anything else. Each as it comes: the file may be of any size.
#[derive(Debug)]
pub struct Salvage<R = File> {
    source: R,
    path: PathBuf,
    size: u64,
    /// Where to look next.
    at: u64,
    /// What was read, from `start` on.
    window: Vec<u8>,
    start: u64,
}

/// A sequence that [`Salvage`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The byte at which it begins.
    pub at: u64,
    /// Its number, if its head is sound.
    pub number: Option<u32>,
    /// Its name, if its head is sound and has one.
    pub name: Option<String>,
    /// The sequence: its longest sound prefix, at least a token.
    pub dft: Dft,
    /// How much of it is sound.
    pub soundness: Soundness,
}

/// What [`salvage`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Salvaged {
    /// Entries that were found and written.
    pub entries: u32,
    /// Those of them of which only a prefix was sound.
    pub shortened: u32,
}

impl Salvage {
    /// Begins with the file `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`] or [`Error::Io`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = File::open(path).map_err(|error| Error::reading(path, error))?;
        Self::from_source(file, path)
    }
}

impl<R: ReadAt> Salvage<R> {
    /// Begins with what lies elsewhere. Errors call it `name`.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn from_source(source: R, name: impl Into<PathBuf>) -> Result<Self> {
        let path = name.into();
        let size = source.size().map_err(|error| Error::reading(&path, error))?;
        Ok(Self { source, path, size, at: 0, window: Vec::new(), start: 0 })
    }

    /// What there is from `at` on: at least `needed` bytes, unless it ends before.
    fn look(&mut self, needed: usize) -> Result<&[u8]> {
        let left = self.size.saturating_sub(self.at);
        let needed = left.min(needed as u64) as usize;
        let skip = (self.at - self.start) as usize;
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
            // The letters may lie across the end of what was read.
            self.at += found.unwrap_or(length - LETTERS + 1) as u64;
            if found.is_none() {
                continue;
            }
            let (found, length) = self.entry()?;
            self.at += length as u64;
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// What is at `at`, and how many bytes of it need not be looked at again.
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
            // A file whose head is lost. What is no file, or has another format, is no entry.
            None => match Dft::decode(&bytes[..bytes.len().min(dft::HEADER)]) {
                Ok((_, Soundness { damage: Some(Damage::Cut { whole, .. }), .. })) => whole,
                _ => return Ok((None, 1)),
            },
        };
        let bytes = self.look(start + size)?;
        let bytes = &bytes[start.min(bytes.len())..(start + size).min(bytes.len())];
        let Ok((dft, soundness)) = Dft::decode(bytes) else { return Ok((None, start.max(1))) };
        // Past what is sound; what comes after damage may begin anywhere.
        let length = start + if soundness.is_sound() { size } else { dft::HEADER };
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
            // What could not be read once is not tried for ever.
            self.at = self.size;
        }
        found.transpose()
    }
}

/// Writes what is left of the pack `path` as a new pack `target`: sound sequences, of damaged ones their sound
/// prefixes. A name that two have is the first one's.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], or [`Error::Format`] when nothing is left; no file is written then.
pub fn salvage(path: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<Salvaged> {
    let path = path.as_ref();
    let mut pack = PackWriter::create(target)?;
    let mut shortened = 0;
    for found in Salvage::open(path)? {
        let Found { name, dft, soundness, .. } = found?;
        let name = name.filter(|name| !pack.contains(name) && check_name(name).is_ok());
        pack.add(name.as_deref(), &dft)?;
        shortened += u32::from(soundness.sound < soundness.promised);
    }
    if pack.is_empty() {
        return Err(Error::format(path, "no entry of it is sound"));
    }
    let entries = pack.len();
    pack.finish()?;
    Ok(Salvaged { entries, shortened })
}

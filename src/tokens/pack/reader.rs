//! Reading a pack: the footer when it is opened, then only what is asked for.

use std::fs::File;
use std::path::{Path, PathBuf};

use super::super::dft::{Dft, Soundness};
use super::layout::{FOOTER, Footer, HEAD, Head, MAGIC, NameRecord, Place, RECORD, hash};
use crate::support::error::{Error, Result};
use crate::support::files::open;
use crate::support::memory::filled;
use crate::support::read_at::ReadAt;

/// Name records that are read at once: 1 KiB.
const BLOCK: u32 = 64;
/// Steps of interpolation search before it falls back to bisection. Hashes are evenly spread, so two nearly always
/// suffice.
const GUESSES: usize = 4;

/// An open pack. It holds none of its entries in memory, and any number of threads may read it at once.
///
/// Opening reads 40 bytes. Reading an entry by number takes two reads, 16 bytes and the entry itself; by name about three
/// more of 1 KiB each in a pack of a million entries.
///
/// ```no_run
/// # use detailflow::tokens::Pack;
/// # fn main() -> detailflow::Result<()> {
/// let pack = Pack::open("sprites.dftpack")?;
/// if let Some(number) = pack.find("potion")? {
///     let entry = pack.get(number)?;
///     println!("{} tokens, {}", entry.dft.tokens.len(), entry.soundness);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Pack<R = File> {
    source: R,
    path: PathBuf,
    footer: Footer,
}

/// One sequence of a pack.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 0.
    pub number: u32,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// The longest sound prefix of the sequence.
    pub dft: Dft,
    /// How much of the sequence is sound.
    pub soundness: Soundness,
}

impl Pack {
    /// Opens the file `path`.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], or [`Error::Format`] if it is not a pack, has another format version, is
    /// truncated, or its footer is damaged: then [`Salvage`](super::Salvage) recovers its entries.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let file = open(path).map_err(|error| Error::reading(path, error))?;
        Self::from_source(file, path)
    }
}

impl<R: ReadAt> Pack<R> {
    /// Opens a pack from any source: memory, an archive. Errors call it `name`.
    ///
    /// # Errors
    /// As [`open`](Pack::open).
    pub fn from_source(source: R, name: impl Into<PathBuf>) -> Result<Self> {
        let path = name.into();
        let fail = |error| Error::reading(&path, error);
        let length = source.size().map_err(fail)?;
        let mut magic = [0; MAGIC.len()];
        if length < MAGIC.len() as u64 {
            return Err(Error::format(&path, "not a pack of token files"));
        }
        source.read_exact_at(&mut magic, 0).map_err(fail)?;
        let (letters, format) = magic.split_at(MAGIC.len() - 1);
        if letters != &MAGIC[..MAGIC.len() - 1] {
            return Err(Error::format(&path, "not a pack of token files"));
        }
        if format[0] != MAGIC[MAGIC.len() - 1] {
            let text = format!("pack of format {}; this version reads format {}", format[0], MAGIC[MAGIC.len() - 1]);
            return Err(Error::format(&path, text));
        }
        let damaged = || {
            Error::format(
                &path,
                "truncated or damaged: it does not end with the footer of a pack; its entries can be salvaged",
            )
        };
        let end = length.checked_sub(FOOTER as u64).ok_or_else(damaged)?;
        let mut footer = [0; FOOTER];
        source.read_exact_at(&mut footer, end).map_err(fail)?;
        let footer = Footer::decode(&footer, length).ok_or_else(damaged)?;
        Ok(Self { source, path, footer })
    }

    /// Number of entries.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.footer.entries
    }

    /// Whether there are no entries.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.footer.entries == 0
    }

    /// Reads the entry `number`, from 0. Of a damaged entry it returns the longest sound prefix.
    ///
    /// # Errors
    /// [`Error::Invalid`] if there is no such entry, [`Error::Format`] if its index record or its header is damaged,
    /// [`Error::Io`], [`Error::OutOfMemory`].
    pub fn get(&self, number: u32) -> Result<Entry> {
        let (bytes, start) = self.read(number)?;
        let (dft, soundness) = Dft::decode(&bytes[start..]).map_err(|error| match error {
            Error::Tokens(reason) => self.damaged(format!("entry {number}: {reason}")),
            other => other,
        })?;
        let name = std::str::from_utf8(&bytes[HEAD..start]).expect("the head was decoded").to_owned();
        Ok(Entry { number, name: Some(name).filter(|name| !name.is_empty()), dft, soundness })
    }

    /// Reads the bytes of the `.dft` that is entry `number`, unchecked.
    ///
    /// # Errors
    /// As [`get`](Self::get), except that the header of the `.dft` is not checked.
    pub fn encoded(&self, number: u32) -> Result<Vec<u8>> {
        let (mut bytes, start) = self.read(number)?;
        bytes.drain(..start);
        Ok(bytes)
    }

    /// Reads the name of entry `number`, if it has one.
    ///
    /// # Errors
    /// As [`get`](Self::get).
    pub fn name(&self, number: u32) -> Result<Option<String>> {
        let place = self.place(number)?;
        let mut bytes = filled("a name", HEAD + usize::from(place.name), 0)?;
        self.fill(&mut bytes, place.at)?;
        let name = self.check_head(number, place, &bytes)?;
        Ok(Some(name.to_owned()).filter(|name| !name.is_empty()))
    }

    /// Finds the number of the entry with this name, if there is one.
    ///
    /// # Errors
    /// [`Error::Format`] if a name record is damaged that could be that of this name, [`Error::Io`].
    pub fn find(&self, name: &str) -> Result<Option<u32>> {
        let hash = hash(name);
        let Some(found) = self.search(hash)? else { return Ok(None) };
        Ok((self.name(found)?.as_deref() == Some(name)).then_some(found))
    }

    /// The number of the entry whose name has this hash.
    fn search(&self, hash: u64) -> Result<Option<u32>> {
        // The records that may have it, and the hashes between which theirs lie.
        let (mut low, mut high) = (0, self.footer.named);
        let (mut least, mut most) = (0, u64::MAX);
        let mut guesses = 0;
        while high - low > BLOCK {
            let middle = if guesses < GUESSES {
                let share = (hash - least) as f64 / ((most - least) as f64).max(1.0);
                low + ((f64::from(high - low) * share) as u32).min(high - low)
            } else {
                low + (high - low) / 2
            };
            guesses += 1;
            let start = middle.saturating_sub(BLOCK / 2).clamp(low, high - BLOCK);
            let records = self.names(start, BLOCK)?;
            let mut sound = (start..).zip(&records).filter_map(|(at, record)| Some((at, (*record)?.hash)));
            let Some((first, first_hash)) = sound.next() else { return Err(self.damaged_names(start)) };
            let (last, last_hash) = sound.last().unwrap_or((first, first_hash));
            if hash < first_hash {
                (high, most) = (first, first_hash);
            } else if hash > last_hash {
                (low, least) = (last + 1, last_hash);
            } else {
                (low, high) = (first, last + 1);
            }
        }
        let records = self.names(low, high - low)?;
        if let Some(found) = records.iter().flatten().find(|record| record.hash == hash) {
            let there = found.number < self.footer.entries;
            return if there { Ok(Some(found.number)) } else { Err(self.damaged_names(low)) };
        }
        match records.iter().position(Option::is_none) {
            Some(at) => Err(self.damaged_names(low + at as u32)),
            None => Ok(None),
        }
    }

    /// `count` name records from `start` on, `None` for a damaged one.
    fn names(&self, start: u32, count: u32) -> Result<Vec<Option<NameRecord>>> {
        let mut bytes = [0; RECORD * BLOCK as usize];
        let bytes = &mut bytes[..RECORD * count as usize];
        self.fill(bytes, self.footer.names().saturating_add(RECORD as u64 * u64::from(start)))?;
        let (records, _) = bytes.as_chunks::<RECORD>();
        Ok((start..).zip(records).map(|(at, record)| NameRecord::decode(at, record)).collect())
    }

    /// The bytes of an entry, whose header was checked, and the offset of its `.dft` in them.
    fn read(&self, number: u32) -> Result<(Vec<u8>, usize)> {
        let place = self.place(number)?;
        let mut bytes = filled("an entry of a pack", place.length(), 0)?;
        self.fill(&mut bytes, place.at)?;
        let name = self.check_head(number, place, &bytes)?;
        let start = HEAD + name.len();
        Ok((bytes, start))
    }

    fn place(&self, number: u32) -> Result<Place> {
        let Footer { index, entries, .. } = self.footer;
        if number >= entries {
            let path = self.path.display();
            return Err(Error::Invalid(format!("entry {number} is out of range: {path} has {entries}")));
        }
        let mut record = [0; RECORD];
        self.fill(&mut record, index.saturating_add(RECORD as u64 * u64::from(number)))?;
        let place = Place::decode(number, &record)
            .ok_or_else(|| self.damaged(format!("the index record of entry {number} is damaged")))?;
        let end = place.at.checked_add(place.length() as u64);
        if place.at < MAGIC.len() as u64 || end.is_none_or(|end| end > index) {
            return Err(self.damaged(format!("the index places entry {number} outside the entries")));
        }
        Ok(place)
    }

    /// The name in the header of an entry, if the header is the one that the index promises.
    fn check_head<'a>(&self, number: u32, place: Place, bytes: &'a [u8]) -> Result<&'a str> {
        let wanted = Head { number, size: place.size, name: place.name };
        match Head::decode(bytes) {
            Some((head, name)) if head == wanted => Ok(name),
            _ => Err(self.damaged(format!("the header of entry {number} in the pack is damaged"))),
        }
    }

    fn fill(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.source.read_exact_at(buffer, offset).map_err(|error| Error::reading(&self.path, error))
    }

    fn damaged(&self, reason: String) -> Error {
        Error::format(&self.path, reason)
    }

    fn damaged_names(&self, at: u32) -> Error {
        self.damaged(format!("name record {at} is damaged: whether the name exists is unknown"))
    }
}

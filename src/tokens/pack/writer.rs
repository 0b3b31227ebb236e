//! Writing a pack: one entry after the other, then the index and the names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::dft::{self, Dft};
use super::layout::{FOOTER, Footer, Head, MAGIC, MOST_ENTRIES, NameRecord, Place, RECORD, check_name, hash};
use crate::support::error::{Error, Result};
use crate::support::files::NewFile;
use crate::support::memory::reserve;

/// How much is gathered before it is written.
const BUFFER: usize = 1 << 16;

/// A pack on its way into a file. The file appears whole when it is finished, or not at all. What is kept in memory is
/// 16 bytes for each entry and about 30 for each name.
///
/// ```no_run
/// # use detailflow::tokens::{Dft, PackWriter};
/// # fn main() -> detailflow::Result<()> {
/// let mut pack = PackWriter::create("sprites.dftpack")?;
/// for name in ["potion", "wand"] {
///     let (dft, _) = Dft::open(format!("{name}.dft"))?;
///     pack.add(Some(name), &dft)?;
/// }
/// pack.finish()?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PackWriter {
    path: PathBuf,
    file: NewFile,
    waiting: Vec<u8>,
    /// Bytes so far, those that wait included.
    written: u64,
    places: Vec<Place>,
    /// By their hashes.
    names: HashMap<u64, u32>,
    /// A write failed: nobody knows how far it went.
    broken: bool,
}

impl PackWriter {
    /// Begins a pack that will be the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be written there.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // Room for the largest entry beyond it.
        let mut waiting = reserve("a pack", BUFFER + dft::LARGEST)?;
        waiting.extend(MAGIC);
        Ok(Self {
            path: path.to_owned(),
            file: NewFile::create(path)?,
            waiting,
            written: MAGIC.len() as u64,
            places: Vec::new(),
            names: HashMap::new(),
            broken: false,
        })
    }

    /// Appends a sequence, and tells its number: they count from 0. A name is 1 to 255 bytes without control
    /// characters, and no other entry's.
    ///
    /// # Errors
    /// [`Error::Invalid`] when there is no file of these tokens, or the name is none or taken; [`Error::OutOfMemory`];
    /// [`Error::Io`], after which nothing more can be added. After every other error the pack is as it was.
    pub fn add(&mut self, name: Option<&str>, dft: &Dft) -> Result<u32> {
        self.append(name, &dft.encode()?)
    }

    /// Appends the bytes of a `.dft`.
    ///
    /// # Errors
    /// As [`add`](Self::add), and [`Error::Tokens`] when they are damaged.
    pub fn add_encoded(&mut self, name: Option<&str>, bytes: &[u8]) -> Result<u32> {
        let (_, soundness) = Dft::decode(bytes)?;
        if !soundness.is_sound() {
            return Err(Error::Tokens(soundness.to_string()));
        }
        self.append(name, bytes)
    }

    /// How many entries there are.
    pub fn len(&self) -> u32 {
        self.places.len() as u32
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether an entry has this name.
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(&hash(name))
    }

    /// Writes the index, and puts the file in its place.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::OutOfMemory`]; what was there before is left then.
    pub fn finish(mut self) -> Result<()> {
        self.check()?;
        let mut names: Vec<NameRecord> = reserve("the names of a pack", self.names.len())?;
        names.extend(self.names.iter().map(|(&hash, &number)| NameRecord { hash, number }));
        names.sort_unstable();
        let footer = Footer { index: self.written, entries: self.len(), named: names.len() as u32 };
        for number in 0..footer.entries {
            let record = self.places[number as usize].encode(number);
            self.put(&record)?;
        }
        for (at, name) in (0..).zip(names) {
            self.put(&name.encode(at))?;
        }
        self.put(&footer.encode())?;
        debug_assert_eq!(self.written, footer.length());
        self.flush()?;
        self.file.finish()
    }

    fn append(&mut self, name: Option<&str>, bytes: &[u8]) -> Result<u32> {
        self.check()?;
        name.map(check_name).transpose()?;
        let number = self.len();
        // One less than could be counted, and room for what comes at the end: offsets never overflow.
        let end = self.written.saturating_add((bytes.len() + 2 * RECORD + FOOTER) as u64);
        if u64::from(number) >= MOST_ENTRIES || end >= 1 << 62 {
            return Err(Error::Invalid(format!("{} is full: {number} entries", self.path.display())));
        }
        let name_hash = name.map(hash);
        if let Some(taken) = name_hash.and_then(|hash| self.names.get(&hash)) {
            return Err(Error::Invalid(format!(
                "the name \"{}\" is entry {taken}'s already",
                name.unwrap_or_default()
            )));
        }
        let name = name.unwrap_or_default();
        // By doubling, as vectors grow; in memory that may be refused.
        let refused = |_| Error::OutOfMemory { what: "the index of a pack".into(), bytes: u64::from(number) * 2 * 16 };
        self.places.try_reserve(1).map_err(refused)?;
        self.names.try_reserve(1).map_err(refused)?;

        let place = Place { at: self.written, size: bytes.len() as u32, name: name.len() as u8 };
        let head = Head { number, size: place.size, name: place.name };
        self.put(&head.encode(name))?;
        self.put(name.as_bytes())?;
        self.put(bytes)?;
        self.places.push(place);
        if let Some(hash) = name_hash {
            self.names.insert(hash, number);
        }
        Ok(number)
    }

    fn check(&self) -> Result<()> {
        if self.broken {
            return Err(Error::State(format!("{}: an earlier write failed", self.path.display())));
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.written += bytes.len() as u64;
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write(&self.waiting).inspect_err(|_| self.broken = true)?;
        self.waiting.clear();
        Ok(())
    }
}

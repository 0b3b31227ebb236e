//! Writing a pack: one entry after another, then the index and the names.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::super::dft::{self, Dft};
use super::layout::{FOOTER, Footer, Head, MAGIC, MOST_ENTRIES, NameRecord, Place, RECORD, check_name, hash};
use crate::support::error::{Error, Result};
use crate::support::files::NewFile;
use crate::support::memory::reserve;

/// Bytes that are buffered before they are written.
const BUFFER: usize = 1 << 16;

/// Writes a pack. The file appears atomically when it is finished. Memory: 16 bytes for each entry and about 30 for each
/// name.
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
    /// Bytes so far, the buffered ones included.
    written: u64,
    places: Vec<Place>,
    /// Entry numbers by the hash of the name.
    names: HashMap<u64, u32>,
    /// A write failed, so how much was written is unknown.
    broken: bool,
}

impl PackWriter {
    /// Starts a pack that will become the file `path`.
    ///
    /// # Errors
    /// [`Error::Io`] if it cannot be written there, [`Error::OutOfMemory`].
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        // The pack is renamed when it is finished, and the working directory may change before.
        let file = match std::path::absolute(path) {
            Ok(absolute) => NewFile::create(&absolute)?,
            Err(_) => NewFile::create(path)?,
        };
        // Room for the largest entry beyond the buffer.
        let mut waiting = reserve("a pack", BUFFER + dft::LARGEST)?;
        waiting.extend(MAGIC);
        Ok(Self {
            path: path.to_owned(),
            file,
            waiting,
            written: MAGIC.len() as u64,
            places: Vec::new(),
            names: HashMap::new(),
            broken: false,
        })
    }

    /// Appends a sequence and returns its number; numbers count from 0. A name is unique, 1 to 255 bytes without control
    /// characters.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a token file cannot hold the sequence, or the name is not allowed or taken;
    /// [`Error::OutOfMemory`]; [`Error::Io`], after which nothing can be added ([`Error::State`]). After any other error
    /// the pack is unchanged.
    pub fn add(&mut self, name: Option<&str>, dft: &Dft) -> Result<u32> {
        self.append(name, &dft.encode()?)
    }

    /// Appends the bytes of a `.dft`.
    ///
    /// # Errors
    /// As [`add`](Self::add), and [`Error::Tokens`] if the bytes are damaged.
    pub fn add_encoded(&mut self, name: Option<&str>, bytes: &[u8]) -> Result<u32> {
        let (_, soundness) = Dft::decode(bytes)?;
        if !soundness.is_sound() {
            return Err(Error::Tokens(soundness.to_string()));
        }
        self.append(name, bytes)
    }

    /// Number of entries so far.
    #[must_use]
    pub fn len(&self) -> u32 {
        self.places.len() as u32
    }

    /// Whether there are no entries yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Whether an entry has this name.
    #[must_use]
    pub fn contains(&self, name: &str) -> bool {
        self.names.contains_key(&hash(name))
    }

    /// Writes the index and moves the file into place.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::OutOfMemory`]; an earlier file at the path is left unchanged then.
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
        debug_assert_eq!(Some(self.written), footer.length());
        self.flush()?;
        self.file.finish()
    }

    fn append(&mut self, name: Option<&str>, bytes: &[u8]) -> Result<u32> {
        self.check()?;
        name.map(check_name).transpose()?;
        let number = self.len();
        // Bounds that leave room for index and footer, so that offsets never overflow.
        let end = self.written.saturating_add(bytes.len() as u64).saturating_add((2 * RECORD + FOOTER) as u64);
        if u64::from(number) >= MOST_ENTRIES || end >= 1 << 62 {
            return Err(Error::Invalid(format!("{} is full: {number} entries", self.path.display())));
        }
        let name_hash = name.map(hash);
        if let Some(taken) = name_hash.and_then(|hash| self.names.get(&hash)) {
            return Err(Error::Invalid(format!("the name \"{}\" is taken by entry {taken}", name.unwrap_or_default())));
        }
        let name = name.unwrap_or_default();
        // The vectors grow by doubling.
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
        self.written = self.written.saturating_add(bytes.len() as u64);
        self.waiting.extend_from_slice(bytes);
        if self.waiting.len() >= BUFFER { self.flush() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        self.file.write(&self.waiting).inspect_err(|_| self.broken = true)?;
        self.waiting.clear();
        Ok(())
    }
}

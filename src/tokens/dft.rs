//! `.dft`: one token sequence, packed to the bit. A header of 32 bytes, then group by group the codes and a check over
//! everything before it.

use std::fmt;
use std::path::Path;

use super::TokenImage;
use super::bits::{pack, packed, unpack};
use super::crc::Crc16;
use super::geometry::{Geometry, MOST_TOKENS, TokenizerId};
use crate::bundle::Bundle;
use crate::support::error::{Error, Result};
use crate::support::files::write_file;
use crate::support::memory::reserve;

/// The first bytes of every format.
pub(super) const MAGIC: [u8; 3] = *b"DFT";
const FORMAT: u8 = 1;
/// Bytes of the header.
pub(super) const HEADER: usize = 32;
/// Bytes of a check.
pub(super) const CHECK: usize = 2;
/// Where in the header its own check is.
const HEADER_CHECK: usize = HEADER - CHECK;

const BITS: u8 = 0x1F;
const HAS_CLASS: u8 = 0x20;
const HAS_SEED: u8 = 0x40;

/// The largest index of a class that the header has room for.
const MOST_CLASS: u32 = u16::MAX as u32;

/// Bytes of the largest file that there can be: single tokens of 20 bits.
pub(super) const LARGEST: usize = HEADER + MOST_TOKENS * (3 + CHECK);

/// One token sequence, with what is needed to decode it, and to draw it again.
///
/// ```no_run
/// use detailflow::{Model, ModelOptions, tokens::Dft};
/// # fn main() -> detailflow::Result<()> {
/// let model = Model::open_default(&ModelOptions::default())?;
/// let (dft, soundness) = Dft::open("potion.dft")?;
/// if !soundness.is_sound() {
///     eprintln!("potion.dft: {soundness}");
/// }
/// dft.check_bundle(model.bundle())?;
/// model.decode(&dft.tokens)?.save("potion.png")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dft {
    /// The tokenizer that the tokens belong to.
    pub tokenizer: TokenizerId,
    /// How they are grouped and packed.
    pub geometry: Geometry,
    /// Index of the class that they were drawn for; none for a picture that was encoded.
    pub class: Option<u32>,
    /// The seed that they were drawn from; none for a picture that was encoded.
    pub seed: Option<u64>,
    /// The tokens, coarse to fine: all of them, or a prefix.
    pub tokens: Vec<u32>,
}

/// How much of a file is as it was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soundness {
    /// Tokens that can be trusted: a prefix. 0 when the first group is gone already.
    pub sound: usize,
    /// Tokens that the header promises.
    pub promised: usize,
    /// What is wrong; none when nothing is.
    pub damage: Option<Damage>,
}

/// What is wrong with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// It ends before its last group does.
    Cut {
        /// Its bytes.
        size: usize,
        /// The bytes that it should have.
        whole: usize,
    },
    /// A group is not what was written.
    Group {
        /// Its number, from 0.
        index: usize,
        /// The byte at which it begins.
        at: usize,
    },
    /// All tokens are sound, and something follows that is not of the file.
    Surplus {
        /// Bytes of it.
        bytes: usize,
    },
}

impl Soundness {
    /// Whether the file is as it was written.
    pub fn is_sound(&self) -> bool {
        self.damage.is_none()
    }
}

impl fmt::Display for Soundness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.damage {
            None => write!(f, "sound, ")?,
            Some(Damage::Cut { size, whole }) => write!(f, "cut off after {size} of {whole} bytes: ")?,
            Some(Damage::Group { index, at }) => write!(f, "damaged in group {index}, which begins at byte {at}: ")?,
            Some(Damage::Surplus { bytes }) => write!(f, "{bytes} bytes too many at its end: ")?,
        }
        match (self.sound, self.promised) {
            (0, promised) => write!(f, "none of {promised} tokens is sound"),
            (sound, promised) if sound < promised => write!(f, "the first {sound} of {promised} tokens are sound"),
            (_, promised) => write!(f, "all {promised} tokens are sound"),
        }
    }
}

impl Dft {
    /// The tokens of one picture of `bundle`.
    ///
    /// # Errors
    /// [`Error::Invalid`] when they are not a prefix of the bundle's, one is not of its codebook, there is no such
    /// class, or a token file has no room for the bundle's numbers.
    pub fn new(bundle: &Bundle, class: Option<u32>, seed: Option<u64>, tokens: Vec<u32>) -> Result<Self> {
        let dft =
            Self { tokenizer: bundle.tokenizer_id().parse()?, geometry: Geometry::of(bundle), class, seed, tokens };
        dft.check()?;
        dft.check_bundle(bundle)?;
        Ok(dft)
    }

    /// The same picture, of a JSON file of `bundle`'s tokens.
    ///
    /// # Errors
    /// As [`new`](Self::new), and when the bundle has no class of that name.
    pub fn from_image(bundle: &Bundle, image: &TokenImage) -> Result<Self> {
        let class = image.class.as_deref().map(|name| bundle.class(name)).transpose()?;
        Self::new(bundle, class, image.seed, image.tokens.clone())
    }

    /// Whether the tokens belong to `bundle`: its tokenizer, and what follows from it.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming both when not.
    pub fn check_bundle(&self, bundle: &Bundle) -> Result<()> {
        let theirs: TokenizerId = bundle.tokenizer_id().parse()?;
        let geometry = Geometry::of(bundle);
        if self.tokenizer != theirs {
            return Err(foreign(&self.tokenizer.to_string(), bundle));
        }
        if self.geometry != geometry {
            return Err(Error::Invalid(format!(
                "these are {}; the bundle {} has {geometry}",
                self.geometry,
                bundle.name()
            )));
        }
        // A bundle that only decodes may name no classes; then any number will do.
        if let Some(class) = self.class.filter(|_| !bundle.classes().is_empty()) {
            bundle.check_class(class)?;
        }
        match self.tokens.iter().position(|&token| token as usize >= bundle.codes()) {
            Some(at) => Err(Error::Invalid(format!(
                "token {at} is {}; the codebook of {} has 0 to {}",
                self.tokens[at],
                bundle.name(),
                bundle.codes() - 1
            ))),
            None => Ok(()),
        }
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// [`Error::Invalid`] when the tokens are not a prefix of the geometry, one has more than its bits, or a number is
    /// larger than the header has room for.
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let Geometry { group, bits, .. } = self.geometry;
        let mut bytes = reserve("a token file", self.geometry.file_size(self.tokens.len()))?;
        bytes.extend(self.header());
        let mut check = Crc16::of(&bytes);
        bytes.extend(check.bytes());
        for tokens in self.tokens.chunks(group) {
            let start = bytes.len();
            pack(tokens, bits, &mut bytes);
            check = check.and(&bytes[start..]);
            bytes.extend(check.bytes());
        }
        Ok(bytes)
    }

    /// Reads a file's bytes: the tokens of its longest sound prefix, and how much that is. No flipped bit, no changed
    /// byte and no cut makes a token other than it was.
    ///
    /// # Errors
    /// [`Error::Tokens`] when it is no token file, one of another format, or its header is damaged: then nothing in it
    /// can be trusted.
    pub fn decode(bytes: &[u8]) -> Result<(Self, Soundness)> {
        let (mut dft, promised, mut check) = Self::read_header(bytes)?;
        let Geometry { group, bits, .. } = dft.geometry;
        let whole = dft.geometry.file_size(promised);
        dft.tokens = reserve("tokens", promised)?;
        let mut at = HEADER;
        let mut damage = None;
        while dft.tokens.len() < promised && damage.is_none() {
            let count = group.min(promised - dft.tokens.len());
            let end = at + packed(count, bits);
            let Some(stored) = bytes.get(end..end + CHECK) else {
                damage = Some(Damage::Cut { size: bytes.len(), whole });
                break;
            };
            check = check.and(&bytes[at..end]);
            if stored != check.bytes() || !unpack(&bytes[at..end], count, bits, &mut dft.tokens) {
                damage = Some(Damage::Group { index: dft.tokens.len() / group, at });
            }
            at = end + CHECK;
        }
        if damage.is_none() && bytes.len() > whole {
            damage = Some(Damage::Surplus { bytes: bytes.len() - whole });
        }
        let sound = dft.tokens.len();
        Ok((dft, Soundness { sound, promised, damage }))
    }

    /// Reads the file `path`; see [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], or [`Error::Format`] where `decode` gives [`Error::Tokens`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Soundness)> {
        use std::io::Read;
        let path = path.as_ref();
        let file = std::fs::File::open(path).map_err(|error| Error::reading(path, error))?;
        // No more than can be of use: what is named may be anything.
        let mut bytes = Vec::new();
        file.take(LARGEST as u64 + 1).read_to_end(&mut bytes).map_err(|error| Error::reading(path, error))?;
        Self::decode(&bytes).map_err(|error| match error {
            Error::Tokens(reason) => Error::format(path, reason),
            other => other,
        })
    }

    /// Writes the file `path`; it appears whole or not at all.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_file(path.as_ref(), &self.encode()?)
    }

    /// Whether a file can be made of it.
    fn check(&self) -> Result<()> {
        let Geometry { tokens: all, group, causal, bits } = self.geometry;
        let count = self.tokens.len();
        if let Some(fault) = self.geometry.fault() {
            return Err(Error::Invalid(format!("a token file cannot hold these: {fault}")));
        }
        if !self.geometry.is_prefix(count) {
            return Err(Error::Invalid(format!(
                "{count} tokens are not a prefix: that is 1 to {causal} tokens, or a multiple of {group} up to {all}"
            )));
        }
        if let Some(class) = self.class.filter(|&class| class > MOST_CLASS) {
            return Err(Error::Invalid(format!("a token file cannot hold class {class}: the last is {MOST_CLASS}")));
        }
        match self.tokens.iter().position(|&token| token >> bits != 0) {
            Some(at) => Err(Error::Invalid(format!("token {at} is {}: more than {bits} bits", self.tokens[at]))),
            None => Ok(()),
        }
    }

    /// The header without its check. Everything fits: it was checked.
    fn header(&self) -> [u8; HEADER_CHECK] {
        let Geometry { tokens, group, causal, bits } = self.geometry;
        let class = self.class.map_or(0, |_| HAS_CLASS);
        let seed = self.seed.map_or(0, |_| HAS_SEED);
        let mut header = [0; HEADER_CHECK];
        header[..3].copy_from_slice(&MAGIC);
        header[3] = FORMAT;
        header[4..12].copy_from_slice(&self.tokenizer.0);
        header[12..20].copy_from_slice(&self.seed.unwrap_or(0).to_le_bytes());
        header[20..22].copy_from_slice(&(tokens as u16).to_le_bytes());
        header[22..24].copy_from_slice(&(causal as u16).to_le_bytes());
        header[24..26].copy_from_slice(&(self.tokens.len() as u16).to_le_bytes());
        header[26] = group as u8;
        header[27] = bits as u8 | class | seed;
        header[28..30].copy_from_slice(&(self.class.unwrap_or(0) as u16).to_le_bytes());
        header
    }

    /// What the header says, how many tokens it promises, and the check so far.
    fn read_header(bytes: &[u8]) -> Result<(Self, usize, Crc16)> {
        let refuse = |reason: &str| Err(Error::Tokens(reason.to_owned()));
        if !bytes.starts_with(&MAGIC) {
            return refuse("not a token file");
        }
        let Some((header, _)) = bytes.split_first_chunk::<HEADER>() else {
            return refuse("cut off within the header: no token is sound");
        };
        let (fields, stored) = header.split_at(HEADER_CHECK);
        let check = Crc16::of(fields);
        if stored != check.bytes() {
            return refuse("the header is damaged: no token can be trusted");
        }
        if fields[3] != FORMAT {
            return Err(Error::Tokens(format!(
                "token file of format {}; this version reads format {FORMAT}",
                fields[3]
            )));
        }
        let small = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
        let (flags, class) = (fields[27], small(28));
        let seed = u64::from_le_bytes(fields[12..20].try_into().expect("eight bytes"));
        let geometry = Geometry {
            tokens: small(20).into(),
            group: fields[26].into(),
            causal: small(22).into(),
            bits: (flags & BITS).into(),
        };
        let promised = usize::from(small(24));
        // Sound, so this is not damage but another writer's fault.
        if let Some(fault) = geometry.fault() {
            return Err(Error::Tokens(format!("the header contradicts itself: {fault}")));
        }
        if !geometry.is_prefix(promised) {
            return Err(Error::Tokens(format!("the header contradicts itself: {promised} tokens are no prefix")));
        }
        let (has_class, has_seed) = (flags & HAS_CLASS != 0, flags & HAS_SEED != 0);
        if flags & !(BITS | HAS_CLASS | HAS_SEED) != 0 || (!has_class && class != 0) || (!has_seed && seed != 0) {
            return refuse("the header contradicts itself: a bit that should be zero is not");
        }
        let dft = Self {
            tokenizer: TokenizerId(fields[4..12].try_into().expect("eight bytes")),
            geometry,
            class: has_class.then(|| class.into()),
            seed: has_seed.then_some(seed),
            tokens: Vec::new(),
        };
        Ok((dft, promised, check))
    }
}

/// Tokens of the tokenizer `id` where `bundle`'s should be.
pub(super) fn foreign(id: &str, bundle: &Bundle) -> Error {
    Error::Invalid(format!(
        "these tokens belong to tokenizer {id}, the bundle {} has {}",
        bundle.name(),
        bundle.tokenizer_id()
    ))
}

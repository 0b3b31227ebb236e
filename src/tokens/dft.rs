//! `.dft`: one token sequence, packed to the bit. A 32-byte header, the mix if it has one, then for each group its codes and a CRC over
//! everything before it.

use std::fmt;
use std::path::Path;

use super::bits::{pack, packed, unpack};
use super::crc::Crc16;
use super::geometry::{Geometry, MOST_TOKENS, TokenizerId};
use crate::plan::Mix;
use crate::support::error::{Error, Result};
use crate::support::files::{read_start, write_file};
use crate::support::memory::reserve;

/// The first bytes of a token file of any format version.
pub(super) const MAGIC: [u8; 3] = *b"DFT";
const FORMAT: u8 = 1;
/// Bytes of the header.
pub(super) const HEADER: usize = 32;
/// Bytes of a CRC.
pub(super) const CHECK: usize = 2;
/// Offset of the header's own CRC.
const HEADER_CHECK: usize = HEADER - CHECK;

const BITS: u8 = 0x1F;
const HAS_CLASS: u8 = 0x20;
const HAS_SEED: u8 = 0x40;
const HAS_MIX: u8 = 0x80;

/// The largest class index that the header can hold.
const MOST_CLASS: u32 = u16::MAX as u32;

/// Bytes of the length of a mix.
const MIX_LENGTH: usize = 2;
/// Bytes of the longest text of a mix.
const LONGEST_MIX: usize = 1 << 14;

/// Bytes of the header and the longest mix: what is before the first group.
pub(super) const LONGEST_START: usize = HEADER + MIX_LENGTH + LONGEST_MIX + CHECK;

/// Bytes of the largest possible file: the longest mix, groups of a single token of 20 bits.
pub(super) const LARGEST: usize = LONGEST_START + MOST_TOKENS * (3 + CHECK);

/// One token sequence, with what is needed to decode it and to generate it again. [`Bundle::dft`](crate::Bundle::dft)
/// makes one for a model's tokens.
///
/// ```no_run
/// use detailflow::{Model, ModelOptions, tokens::Dft};
/// # fn main() -> detailflow::Result<()> {
/// let model = Model::open_default(&ModelOptions::default())?;
/// let (dft, soundness) = Dft::open("potion.dft")?;
/// if !soundness.is_sound() {
///     eprintln!("potion.dft: {soundness}");
/// }
/// model.bundle().check_dft(&dft)?;
/// model.decode(&dft.tokens)?.save("potion.png")?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dft {
    /// The tokenizer that the tokens belong to.
    pub tokenizer: TokenizerId,
    /// How the tokens are grouped and packed.
    pub geometry: Geometry,
    /// Index of the class, 0 to 65,535; of a mix that of its main class; `None` for a picture that was encoded.
    pub class: Option<u32>,
    /// The classes, of a picture of several or one that avoids some.
    pub mix: Option<Mix>,
    /// The seed; `None` for a picture that was encoded.
    pub seed: Option<u64>,
    /// The tokens, coarse to fine: all N of them, or a prefix.
    pub tokens: Vec<u32>,
}

/// How much of a token file is undamaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Soundness {
    /// How many tokens can be trusted: a prefix; 0 if the first group is damaged already.
    pub sound: usize,
    /// How many tokens the file had according to its header.
    pub promised: usize,
    /// The first damage; `None` if the file is undamaged.
    pub damage: Option<Damage>,
}

/// How a token file is damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Damage {
    /// The file is truncated.
    Cut {
        /// Its size in bytes.
        size: usize,
        /// The size that it should have.
        whole: usize,
    },
    /// The CRC of a group does not match.
    Group {
        /// Index of the group, from 0.
        index: usize,
        /// Byte offset of the group.
        at: usize,
    },
    /// All tokens are sound, but bytes follow the last group.
    Surplus {
        /// How many bytes.
        bytes: usize,
    },
}

impl Soundness {
    /// Whether the file is undamaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damage.is_none()
    }
}

impl Geometry {
    /// Bytes of a file of `tokens` tokens. The geometry must have passed [`Dft::check`] or come from a decoded file.
    pub(crate) fn file_size(&self, tokens: usize) -> usize {
        let whole_groups = tokens.checked_div(self.group).unwrap_or(0);
        let rest = tokens.checked_rem(self.group).unwrap_or(0);
        let group = |tokens| packed(tokens, self.bits).saturating_add(CHECK);
        let last = if rest > 0 { group(rest) } else { 0 };
        whole_groups.saturating_mul(group(self.group)).saturating_add(HEADER).saturating_add(last)
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
    /// Checks that a token file can hold this sequence.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the geometry does not fit the header, the tokens are not a prefix of the geometry, a class is above
    /// 65,535, the mix is one class alone, the class is not the main one of the mix, the mix takes more than 16 KiB as text, or a
    /// token has more bits than the geometry says.
    pub fn check(&self) -> Result<()> {
        let Geometry { tokens: all, group, causal, bits } = self.geometry;
        let count = self.tokens.len();
        if let Some(fault) = self.geometry.fault() {
            return Err(Error::Invalid(format!("a token file cannot hold this sequence: {fault}")));
        }
        if !self.geometry.is_prefix(count) {
            return Err(Error::Invalid(format!(
                "{count} tokens are not a prefix: a prefix is 1 to {causal} tokens, or a multiple of {group} up to {all}"
            )));
        }
        if let Some(class) = self.class.filter(|&class| class > MOST_CLASS) {
            return Err(Error::Invalid(format!("class {class} is out of range: a token file holds 0 to {MOST_CLASS}")));
        }
        if let Some(mix) = &self.mix {
            let all = mix.classes().iter().chain(mix.avoid()).map(|&(class, _)| class);
            if let Some(class) = all.filter(|&class| class != Mix::NO_CLASS).find(|&class| class > MOST_CLASS) {
                return Err(Error::Invalid(format!(
                    "class {class} is out of range: a token file holds 0 to {MOST_CLASS}"
                )));
            }
            if let Some(class) = mix.as_class() {
                return Err(Error::Invalid(format!(
                    "the mix is one class alone, {class}: a token file holds it without"
                )));
            }
            if self.class != Some(mix.main_class()) {
                let text = format!("the class of a mix is its main class, {}, not {:?}", mix.main_class(), self.class);
                return Err(Error::Invalid(text));
            }
            let length = mix.to_text().len();
            if length > LONGEST_MIX {
                return Err(Error::Invalid(format!(
                    "a mix of {length} bytes as text is too long: a token file holds {LONGEST_MIX}"
                )));
            }
        }
        match self.tokens.iter().position(|&token| token >> bits != 0) {
            Some(at) => Err(Error::Invalid(format!("token {at} is {}: more than {bits} bits", self.tokens[at]))),
            None => Ok(()),
        }
    }

    /// Encodes the sequence as the bytes of a `.dft` file.
    ///
    /// # Errors
    /// As [`check`](Self::check), and [`Error::OutOfMemory`].
    pub fn encode(&self) -> Result<Vec<u8>> {
        self.check()?;
        let Geometry { group, bits, .. } = self.geometry;
        let mut bytes = reserve("a token file", self.file_size(self.tokens.len()))?;
        bytes.extend(self.header());
        let mut check = Crc16::of(&bytes);
        bytes.extend(check.bytes());
        if let Some(mix) = &self.mix {
            let (text, start) = (mix.to_text(), bytes.len());
            bytes.extend((text.len() as u16).to_le_bytes());
            bytes.extend(text.as_bytes());
            check = check.and(&bytes[start..]);
            bytes.extend(check.bytes());
        }
        for tokens in self.tokens.chunks(group) {
            let start = bytes.len();
            pack(tokens, bits, &mut bytes);
            check = check.and(&bytes[start..]);
            bytes.extend(check.bytes());
        }
        Ok(bytes)
    }

    /// Decodes the bytes of a `.dft` file: the tokens of its longest sound prefix, and how many those are. A flipped
    /// bit, a changed byte or a truncation never changes the value of a returned token.
    ///
    /// # Errors
    /// [`Error::Tokens`] if the bytes are not a token file, have another format version, or the header is damaged (then
    /// no token can be trusted); [`Error::OutOfMemory`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Soundness)> {
        let (mut dft, promised, mut check, mut at) = Self::read_header(bytes)?;
        let Geometry { group, bits, .. } = dft.geometry;
        let whole = dft.file_size(promised);
        // No more than the bytes can hold, whatever the header promises.
        let held = bytes.len().saturating_mul(8) / (bits as usize).max(1);
        dft.tokens = reserve("tokens", promised.min(held))?;
        let mut damage = None;
        while dft.tokens.len() < promised && damage.is_none() {
            let count = group.min(promised - dft.tokens.len());
            let end = at.saturating_add(packed(count, bits));
            let next = end.saturating_add(CHECK);
            let Some(stored) = bytes.get(end..next) else {
                damage = Some(Damage::Cut { size: bytes.len(), whole });
                break;
            };
            check = check.and(&bytes[at..end]);
            if stored != check.bytes() || !unpack(&bytes[at..end], count, bits, &mut dft.tokens) {
                damage = Some(Damage::Group { index: dft.tokens.len() / group, at });
            }
            at = next;
        }
        if damage.is_none() && bytes.len() > whole {
            damage = Some(Damage::Surplus { bytes: bytes.len() - whole });
        }
        let sound = dft.tokens.len();
        Ok((dft, Soundness { sound, promised, damage }))
    }

    /// Bytes of a file of the first `tokens` of its tokens. The geometry must have passed [`check`](Self::check) or come from
    /// a decoded file.
    pub(crate) fn file_size(&self, tokens: usize) -> usize {
        let mix = self.mix.as_ref().map_or(0, |mix| MIX_LENGTH + mix.to_text().len() + CHECK);
        self.geometry.file_size(tokens).saturating_add(mix)
    }

    /// Reads the file `path`; see [`decode`](Self::decode).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::OutOfMemory`], or [`Error::Format`] where `decode` returns
    /// [`Error::Tokens`].
    pub fn open(path: impl AsRef<Path>) -> Result<(Self, Soundness)> {
        let path = path.as_ref();
        // One byte more than the largest token file is enough to see that something follows it.
        Self::decode(&read_start(path, LARGEST as u64 + 1)?).map_err(|error| match error {
            Error::Tokens(reason) => Error::format(path, reason),
            other => other,
        })
    }

    /// Writes the file `path` atomically.
    ///
    /// # Errors
    /// As [`encode`](Self::encode), and [`Error::Io`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        write_file(path.as_ref(), &self.encode()?)
    }

    /// The header without its CRC, of a sequence that passed [`check`](Self::check).
    fn header(&self) -> [u8; HEADER_CHECK] {
        let Geometry { tokens, group, causal, bits } = self.geometry;
        let class = self.class.map_or(0, |_| HAS_CLASS);
        let seed = self.seed.map_or(0, |_| HAS_SEED);
        let mix = self.mix.as_ref().map_or(0, |_| HAS_MIX);
        let mut header = [0; HEADER_CHECK];
        header[..3].copy_from_slice(&MAGIC);
        header[3] = FORMAT;
        header[4..12].copy_from_slice(&self.tokenizer.0);
        header[12..20].copy_from_slice(&self.seed.unwrap_or(0).to_le_bytes());
        header[20..22].copy_from_slice(&(tokens as u16).to_le_bytes());
        header[22..24].copy_from_slice(&(causal as u16).to_le_bytes());
        header[24..26].copy_from_slice(&(self.tokens.len() as u16).to_le_bytes());
        header[26] = group as u8;
        header[27] = bits as u8 | class | seed | mix;
        header[28..30].copy_from_slice(&(self.class.unwrap_or(0) as u16).to_le_bytes());
        header
    }

    /// What the header and the mix say, how many tokens they promise, the CRC so far, and where the first group begins.
    fn read_header(bytes: &[u8]) -> Result<(Self, usize, Crc16, usize)> {
        let refuse = |reason: &str| Err(Error::Tokens(reason.to_owned()));
        if !bytes.starts_with(&MAGIC) {
            return refuse("not a token file");
        }
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
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
        // The CRC matches, so this is not damage but a mistake of the writer.
        if let Some(fault) = geometry.fault() {
            return Err(Error::Tokens(format!("the header contradicts itself: {fault}")));
        }
        if !geometry.is_prefix(promised) {
            return Err(Error::Tokens(format!("the header contradicts itself: {promised} tokens are no prefix")));
        }
        let (has_class, has_seed) = (flags & HAS_CLASS != 0, flags & HAS_SEED != 0);
        let has_mix = flags & HAS_MIX != 0;
        if (!has_class && (class != 0 || has_mix)) || (!has_seed && seed != 0) {
            return refuse("the header contradicts itself: a bit that should be zero is not");
        }
        let (mut mix, mut check, mut start) = (None, check, HEADER);
        if has_mix {
            let cut = || Error::Tokens("cut off within the mix of classes: no token is sound".into());
            let (length, _) = rest.split_first_chunk::<MIX_LENGTH>().ok_or_else(cut)?;
            let end = MIX_LENGTH + usize::from(u16::from_le_bytes(*length));
            let (text, stored) = rest.get(..end).zip(rest.get(end..end + CHECK)).ok_or_else(cut)?;
            check = check.and(text);
            if stored != check.bytes() {
                return refuse("the mix of classes is damaged: no token can be trusted");
            }
            let text = std::str::from_utf8(&text[MIX_LENGTH..]).ok().filter(|text| text.len() <= LONGEST_MIX);
            let read = text.and_then(|text| Mix::from_text(text).ok().filter(|mix| mix.to_text() == text));
            mix = read.filter(|mix| mix.main_class() == u32::from(class) && mix.as_class().is_none());
            if mix.is_none() {
                return refuse("the header contradicts itself: its mix of classes is none, or not as it is written");
            }
            start += end + CHECK;
        }
        let dft = Self {
            tokenizer: TokenizerId(fields[4..12].try_into().expect("eight bytes")),
            geometry,
            class: has_class.then(|| class.into()),
            mix,
            seed: has_seed.then_some(seed),
            tokens: Vec::new(),
        };
        Ok((dft, promised, check, start))
    }
}

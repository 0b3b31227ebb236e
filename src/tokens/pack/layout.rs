//! The byte layout of a pack. Numbers are little-endian. Each part has a CRC of its own; that of a record also covers the
//! record's index, so that no record can be taken for another.

use sha2::{Digest, Sha256};

use super::super::crc::Crc16;
use super::super::dft;
use crate::support::error::{Error, Result};

/// The first bytes of a pack of any format version.
pub(in super::super) const LETTERS: &[u8] = b"DFTPACK";
/// The first bytes of a pack: [`LETTERS`] and the format version, 1.
pub(super) const MAGIC: [u8; 8] = *b"DFTPACK\x01";
/// The first bytes of an entry's header.
pub(super) const HEAD_MAGIC: [u8; 4] = *b"DFTe";
const END_MAGIC: [u8; 6] = *b"DFTEND";

/// Bytes of an entry's header without its name, of a record of the index or of the names, and of the footer.
pub(super) const HEAD: usize = 16;
pub(super) const RECORD: usize = 16;
pub(super) const FOOTER: usize = 32;
/// The longest name, in bytes.
pub(super) const LONGEST_NAME: usize = u8::MAX as usize;
/// The most entries.
pub(super) const MOST_ENTRIES: u64 = u32::MAX as u64;

/// Bytes of a record without its CRC.
const FIELDS: usize = RECORD - 2;

/// The header of an entry; the name and then the token file follow it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Head {
    /// Its number.
    pub number: u32,
    /// Bytes of its token file.
    pub size: u32,
    /// Bytes of its name; 0 is none.
    pub name: u8,
}

impl Head {
    pub fn encode(self, name: &str) -> [u8; HEAD] {
        let mut bytes = [0; HEAD];
        bytes[..4].copy_from_slice(&HEAD_MAGIC);
        bytes[4..8].copy_from_slice(&self.number.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.size.to_le_bytes());
        bytes[12] = self.name;
        let check = Crc16::of(&bytes[..FIELDS]).and(name.as_bytes());
        bytes[FIELDS..].copy_from_slice(&check.bytes());
        bytes
    }

    /// The header and the name at the start of `bytes`, if they are undamaged and complete.
    pub fn decode(bytes: &[u8]) -> Option<(Self, &str)> {
        let head = bytes.first_chunk::<HEAD>().filter(|head| head.starts_with(&HEAD_MAGIC) && head[13] == 0)?;
        let found = Self { number: number(head, 4), size: number(head, 8), name: head[12] };
        let name = bytes.get(HEAD..HEAD + usize::from(found.name))?;
        let check = Crc16::of(&head[..FIELDS]).and(name);
        let sound = head[FIELDS..] == check.bytes() && found.size as usize <= dft::LARGEST;
        Some((found, std::str::from_utf8(name).ok()?)).filter(|_| sound)
    }
}

/// A record of the index: the position of an entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    /// Offset of its header.
    pub at: u64,
    /// Bytes of its token file.
    pub size: u32,
    /// Bytes of its name; 0 is none.
    pub name: u8,
}

impl Place {
    /// Bytes of header, name and token file.
    pub fn length(self) -> usize {
        HEAD.saturating_add(usize::from(self.name)).saturating_add(self.size as usize)
    }

    pub fn encode(self, number: u32) -> [u8; RECORD] {
        let mut fields = [0; FIELDS];
        fields[..8].copy_from_slice(&self.at.to_le_bytes());
        fields[8..12].copy_from_slice(&self.size.to_le_bytes());
        fields[12] = self.name;
        record(number, fields)
    }

    /// The record of the entry `number`, if it is undamaged.
    pub fn decode(number: u32, bytes: &[u8; RECORD]) -> Option<Self> {
        let fields = fields(number, bytes)?;
        Some(Self { at: long(&fields, 0), size: self::number(&fields, 8), name: fields[12] })
            .filter(|place| fields[13] == 0 && place.size as usize <= dft::LARGEST)
    }
}

/// A record of the names: the entry whose name has this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NameRecord {
    /// The sort key.
    pub hash: u64,
    /// The entry's number.
    pub number: u32,
}

impl NameRecord {
    /// The record at index `at`.
    pub fn encode(self, at: u32) -> [u8; RECORD] {
        let mut fields = [0; FIELDS];
        fields[..8].copy_from_slice(&self.hash.to_le_bytes());
        fields[8..12].copy_from_slice(&self.number.to_le_bytes());
        record(at, fields)
    }

    /// The record at index `at`, if it is undamaged.
    pub fn decode(at: u32, bytes: &[u8; RECORD]) -> Option<Self> {
        let fields = fields(at, bytes)?;
        Some(Self { hash: long(&fields, 0), number: number(&fields, 8) }).filter(|_| fields[12..] == [0, 0])
    }
}

/// The sort key of a name: the first eight bytes of its SHA-256, as a little-endian number.
pub(super) fn hash(name: &str) -> u64 {
    long(&Sha256::digest(name.as_bytes()), 0)
}

/// The footer of a pack.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Footer {
    /// Offset of the index, which is the end of the entries.
    pub index: u64,
    /// Number of entries.
    pub entries: u32,
    /// Number of entries that have a name.
    pub named: u32,
}

impl Footer {
    /// Offset of the names. Saturates; that of a decoded footer lies within the pack.
    pub fn names(self) -> u64 {
        self.index.saturating_add(RECORD as u64 * u64::from(self.entries))
    }

    /// Bytes of the whole pack; `None` if that is more than 64 bits can count.
    pub fn length(self) -> Option<u64> {
        let names = self.index.checked_add(RECORD as u64 * u64::from(self.entries))?;
        names.checked_add(RECORD as u64 * u64::from(self.named) + FOOTER as u64)
    }

    pub fn encode(self) -> [u8; FOOTER] {
        let mut bytes = [0; FOOTER];
        bytes[..8].copy_from_slice(&self.index.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.entries.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.named.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.length().unwrap_or(u64::MAX).to_le_bytes());
        bytes[24..30].copy_from_slice(&END_MAGIC);
        let check = Crc16::of(&bytes[..30]);
        bytes[30..].copy_from_slice(&check.bytes());
        bytes
    }

    /// The footer of a pack of `length` bytes, if it is undamaged and fits that length.
    pub fn decode(bytes: &[u8; FOOTER], length: u64) -> Option<Self> {
        let found = Self { index: long(bytes, 0), entries: number(bytes, 8), named: number(bytes, 12) };
        let sound = bytes[30..] == Crc16::of(&bytes[..30]).bytes()
            && bytes[24..30] == END_MAGIC
            && (MAGIC.len() as u64..=length).contains(&found.index)
            && found.named <= found.entries
            && found.length() == Some(length)
            && long(bytes, 16) == length;
        sound.then_some(found)
    }
}

/// Checks the name of an entry: 1 to 255 bytes without control characters.
///
/// # Errors
/// [`Error::Invalid`] otherwise.
pub(super) fn check_name(name: &str) -> Result<()> {
    let shown = name.escape_debug();
    if !(1..=LONGEST_NAME).contains(&name.len()) {
        return Err(Error::Invalid(format!(
            "the name \"{shown}\" has {} bytes; 1 to {LONGEST_NAME} are allowed",
            name.len()
        )));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::Invalid(format!("the name \"{shown}\" has a control character; none is allowed")));
    }
    Ok(())
}

/// Fields with their CRC, which covers the index of the record first.
fn record(place: u32, fields: [u8; FIELDS]) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    bytes[..FIELDS].copy_from_slice(&fields);
    bytes[FIELDS..].copy_from_slice(&Crc16::of(&place.to_le_bytes()).and(&fields).bytes());
    bytes
}

fn fields(place: u32, bytes: &[u8; RECORD]) -> Option<[u8; FIELDS]> {
    let (fields, check) = bytes.split_first_chunk::<FIELDS>()?;
    (check == Crc16::of(&place.to_le_bytes()).and(fields).bytes()).then_some(*fields)
}

fn number(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every changed byte makes `sound` return false.
    fn every_change_is_detected<const N: usize>(bytes: [u8; N], sound: impl Fn(&[u8; N]) -> bool) {
        assert!(sound(&bytes));
        for at in 0..N {
            for change in 1..=255 {
                let mut damaged = bytes;
                damaged[at] ^= change;
                assert!(!sound(&damaged), "byte {at} changed by {change:#04x}");
            }
        }
    }

    #[test]
    fn decode_detects_every_changed_byte_of_each_part() {
        let head = Head { number: 7, size: 272, name: 4 };
        let mut bytes = [0; HEAD + 4];
        bytes[..HEAD].copy_from_slice(&head.encode("wand"));
        bytes[HEAD..].copy_from_slice(b"wand");
        assert_eq!(Head::decode(&bytes), Some((head, "wand")));
        assert_eq!(Head::decode(&bytes[..HEAD + 3]), None);
        every_change_is_detected(bytes, |bytes| Head::decode(bytes).is_some());

        let place = Place { at: 1 << 40, size: 272, name: 4 };
        assert_eq!(Place::decode(9, &place.encode(9)), Some(place));
        assert_eq!(Place::decode(8, &place.encode(9)), None, "the record of another entry");
        every_change_is_detected(place.encode(9), |bytes| Place::decode(9, bytes).is_some());

        let name = NameRecord { hash: hash("wand"), number: 3 };
        assert_eq!(NameRecord::decode(5, &name.encode(5)), Some(name));
        assert_eq!(NameRecord::decode(4, &name.encode(5)), None);
        every_change_is_detected(name.encode(5), |bytes| NameRecord::decode(5, bytes).is_some());

        let footer = Footer { index: 1000, entries: 3, named: 2 };
        let length = 1000 + 5 * 16 + 32;
        assert_eq!(footer.length(), Some(length));
        assert_eq!(Footer::decode(&footer.encode(), length), Some(footer));
        assert_eq!(Footer::decode(&footer.encode(), length + 1), None);
        every_change_is_detected(footer.encode(), |bytes| Footer::decode(bytes, length).is_some());
    }

    #[test]
    fn footer_decode_refuses_contradictions_and_overflowing_offsets() {
        let whole = |footer: Footer| Footer::decode(&footer.encode(), footer.length().unwrap());
        assert!(whole(Footer { index: 8, entries: 0, named: 0 }).is_some());
        assert!(whole(Footer { index: 7, entries: 0, named: 0 }).is_none(), "an index within the magic");
        assert!(whole(Footer { index: 8, entries: 1, named: 2 }).is_none(), "more names than entries");
        let mut bytes = Footer { index: 8, entries: 0, named: 0 }.encode();
        bytes[..8].copy_from_slice(&u64::MAX.to_le_bytes());
        let check = Crc16::of(&bytes[..30]).bytes();
        bytes[30..].copy_from_slice(&check);
        assert!(Footer::decode(&bytes, 40).is_none(), "an index beyond every file");
        // A source of the caller may claim any size; the sums of these must not wrap.
        for index in [u64::MAX, u64::MAX - 31, u64::MAX - 47, u64::MAX - 48] {
            let footer = Footer { index, entries: u32::MAX, named: u32::MAX };
            assert_eq!(footer.length(), None);
            for length in [u64::MAX, index, 40, footer.names()] {
                assert!(Footer::decode(&footer.encode(), length).is_none(), "{index} in {length}");
            }
        }
    }

    #[test]
    fn check_name_accepts_1_to_255_bytes_without_control_characters() {
        assert!(check_name("knights/01 – Löwe").is_ok());
        assert!(check_name(&"n".repeat(255)).is_ok());
        for name in ["", &"n".repeat(256), "two\nlines", "zero\0"] {
            assert!(matches!(check_name(name), Err(Error::Invalid(_))), "{name:?}");
        }
    }
}

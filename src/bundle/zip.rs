//! The zip file of a single-file bundle, read: its directory, checked before anything of it is believed. The format is a
//! subset of zip (`onnx/BUNDLE.md`): entries are stored, do not overlap, and their data begins at multiples of 4096, so that
//! weights can be used where the file is mapped.

use std::collections::HashSet;

use super::names::is_plain_name;
use crate::support::error::{Error, Result};
use crate::support::memory::{filled, reserve};
use crate::support::read_at::ReadAt;

/// Where the data of an entry may begin: multiples of this.
pub(super) const ALIGNMENT: u64 = 4096;
/// A bundle has a few dozen files.
const MOST_ENTRIES: u64 = 4096;
/// The longest directory that is read.
const LONGEST_DIRECTORY: u64 = 1 << 20;

pub(super) const LOCAL: u32 = 0x0403_4B50;
pub(super) const CENTRAL: u32 = 0x0201_4B50;
pub(super) const END: u32 = 0x0605_4B50;
pub(super) const END_64: u32 = 0x0606_4B50;
pub(super) const LOCATOR_64: u32 = 0x0706_4B50;
/// Lengths of the records, without names and extra fields.
pub(super) const LOCAL_LENGTH: usize = 30;
pub(super) const CENTRAL_LENGTH: usize = 46;
pub(super) const END_LENGTH: usize = 22;
pub(super) const END_64_LENGTH: usize = 56;
pub(super) const LOCATOR_64_LENGTH: usize = 20;
/// The extra field with 64-bit lengths and offsets.
pub(super) const EXTRA_64: u16 = 1;
/// The flag for a name in UTF-8, the only one that is allowed.
pub(super) const UTF_8: u16 = 1 << 11;

/// A file within the zip file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    /// The offset of its data.
    pub at: u64,
    pub length: u64,
    pub crc: u32,
}

/// Why a file is refused: the rest of a sentence about it.
type Refused = String;

/// Reads the directory of a zip file. Of each entry its local header is read too.
///
/// # Errors
/// [`Error::Bundle`] if it is no zip file, or not of the subset; `refuse` makes it. What `source` returns, by `fail`.
pub(super) fn entries(
    source: &dyn ReadAt,
    refuse: impl Fn(Refused) -> Error,
    fail: impl Fn(std::io::Error) -> Error,
) -> Result<Vec<Entry>> {
    let size = source.size().map_err(&fail)?;
    let read = |at: u64, length: usize| -> Result<Vec<u8>> {
        let mut bytes = filled("the directory of a zip file", length, 0)?;
        source.read_exact_at(&mut bytes, at).map_err(&fail)?;
        Ok(bytes)
    };
    let Directory { at, length, count } = directory(size, &read, &refuse)?;
    let bytes = read(at, length)?;
    let mut rest = &bytes[..];
    let mut entries = reserve("the files of a bundle", count)?;
    let mut names = HashSet::new();
    // What each entry takes of the file.
    let mut parts: Vec<(u64, u64)> = reserve("the files of a bundle", count)?;
    for index in 0..count {
        let central = Central::take(&mut rest).map_err(|why| refuse(format!("entry {index} {why}")))?;
        let name = central.name.clone();
        let wrong = |why: Refused| refuse(format!("entry {name} {why}"));
        if !names.insert(central.name.clone()) {
            return Err(wrong("is there twice".into()));
        }
        // The header and the name; the extra fields move the data to a multiple.
        let fixed = LOCAL_LENGTH.saturating_add(central.name.len());
        if central.local.checked_add(fixed as u64).is_none_or(|end| end > at) {
            return Err(wrong("lies outside the file".into()));
        }
        let header = read(central.local, fixed)?;
        let data = central.check_local(&header).map_err(wrong)?;
        let end = data.checked_add(central.length).filter(|&end| end <= at);
        let end = end.ok_or_else(|| wrong("lies outside the file".into()))?;
        if !data.is_multiple_of(ALIGNMENT) {
            let text =
                format!("begins at byte {data}, which is no multiple of {ALIGNMENT}; dflow bundle pack aligns it");
            return Err(wrong(text));
        }
        parts.push((central.local, end));
        entries.push(Entry { name: central.name, at: data, length: central.length, crc: central.crc });
    }
    if !rest.is_empty() {
        return Err(refuse("the directory of the zip file is longer than its entries".into()));
    }
    parts.sort_unstable();
    if parts.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(refuse("entries of the zip file overlap".into()));
    }
    Ok(entries)
}

/// Where the directory is.
struct Directory {
    at: u64,
    length: usize,
    count: usize,
}

fn directory(
    size: u64,
    read: &impl Fn(u64, usize) -> Result<Vec<u8>>,
    refuse: &impl Fn(Refused) -> Error,
) -> Result<Directory> {
    let not_one = || refuse("it is no single-file bundle: it does not end as a zip file does (it may be cut)".into());
    let end_at = size.checked_sub(END_LENGTH as u64).ok_or_else(not_one)?;
    let end = read(end_at, END_LENGTH)?;
    let end = Fields(&end);
    if end.u32(0) != END {
        return Err(not_one());
    }
    let several = || refuse("it is a part of a zip file of several parts".into());
    if end.u16(4) != 0 && end.u16(4) != u16::MAX || end.u16(6) != 0 && end.u16(6) != u16::MAX {
        return Err(several());
    }
    let (mut count, mut length, mut at) = (u64::from(end.u16(10)), u64::from(end.u32(12)), u64::from(end.u32(16)));
    let mut listed = u64::from(end.u16(8));
    let mut directory_end = end_at;
    if count == u64::from(u16::MAX) || length == u64::from(u32::MAX) || at == u64::from(u32::MAX) {
        let damaged = || refuse("the 64-bit end of the zip file is damaged".into());
        let locator_at = end_at.checked_sub(LOCATOR_64_LENGTH as u64).ok_or_else(damaged)?;
        let locator = read(locator_at, LOCATOR_64_LENGTH)?;
        let locator = Fields(&locator);
        let end_64_at = locator.u64(8);
        let fits = end_64_at.checked_add(END_64_LENGTH as u64) == Some(locator_at);
        if locator.u32(0) != LOCATOR_64 || !fits {
            return Err(damaged());
        }
        let end_64 = read(end_64_at, END_64_LENGTH)?;
        let end_64 = Fields(&end_64);
        if end_64.u32(0) != END_64 || end_64.u64(4) != END_64_LENGTH as u64 - 12 {
            return Err(damaged());
        }
        if end_64.u32(16) != 0 || end_64.u32(20) != 0 {
            return Err(several());
        }
        (listed, count, length, at) = (end_64.u64(24), end_64.u64(32), end_64.u64(40), end_64.u64(48));
        directory_end = end_64_at;
    }
    if listed != count {
        return Err(several());
    }
    if count > MOST_ENTRIES || length > LONGEST_DIRECTORY {
        return Err(refuse(format!("its zip file has {count} entries; a bundle has at most {MOST_ENTRIES}")));
    }
    if at.checked_add(length) != Some(directory_end) {
        return Err(refuse("the directory of the zip file is not where its end says".into()));
    }
    // Both are small.
    Ok(Directory { at, length: length as usize, count: count as usize })
}

/// What the directory says of an entry.
struct Central {
    name: String,
    flags: u16,
    crc: u32,
    length: u64,
    /// The offset of the local header.
    local: u64,
}

impl Central {
    fn take(rest: &mut &[u8]) -> Result<Self, Refused> {
        let cut = || "of the zip file's directory is damaged".to_owned();
        let (head, after) = rest.split_at_checked(CENTRAL_LENGTH).ok_or_else(cut)?;
        let head = Fields(head);
        if head.u32(0) != CENTRAL {
            return Err(cut());
        }
        let (name, after) = after.split_at_checked(usize::from(head.u16(28))).ok_or_else(cut)?;
        let (extra, after) = after.split_at_checked(usize::from(head.u16(30))).ok_or_else(cut)?;
        let (_, after) = after.split_at_checked(usize::from(head.u16(32))).ok_or_else(cut)?;
        *rest = after;
        let name = std::str::from_utf8(name).ok().filter(|name| is_plain_name(name));
        let name = name.ok_or_else(|| "has a name that is no plain file name".to_owned())?;
        let (flags, method) = (head.u16(8), head.u16(10));
        check_kind(flags, method).map_err(|why| format!("({name}) {why}"))?;
        let (mut packed, mut length, mut local) =
            (u64::from(head.u32(20)), u64::from(head.u32(24)), u64::from(head.u32(42)));
        let mut wide = Wide::find(extra);
        // In this order, each only where the field of 32 bits is full.
        for value in [&mut length, &mut packed, &mut local] {
            if *value == u64::from(u32::MAX) {
                *value = wide.next().ok_or_else(cut)?;
            }
        }
        if packed != length {
            return Err(format!("({name}) has two lengths: {packed} and {length}"));
        }
        if !matches!(head.u16(34), 0 | u16::MAX) {
            return Err(format!("({name}) lies in another part of the zip file"));
        }
        Ok(Self { name: name.to_owned(), flags, crc: head.u32(16), length, local })
    }

    /// Checks the local header, and returns the offset of the data.
    fn check_local(&self, header: &[u8]) -> Result<u64, Refused> {
        let (head, name) = header.split_at(LOCAL_LENGTH);
        let head = Fields(head);
        let contradicts = |what: &str| Err(format!("has another {what} in its header than in the directory"));
        if head.u32(0) != LOCAL {
            return Err("has no header where the directory says".into());
        }
        if usize::from(head.u16(26)) != self.name.len() || name != self.name.as_bytes() {
            return contradicts("name");
        }
        if head.u16(6) != self.flags || head.u16(8) != 0 {
            return contradicts("kind");
        }
        if head.u32(14) != self.crc {
            return contradicts("CRC-32");
        }
        // Of a large entry both lengths are in an extra field, which the directory has too.
        let narrow = u32::try_from(self.length).unwrap_or(u32::MAX);
        if [head.u32(18), head.u32(22)].iter().any(|&length| length != narrow && length != u32::MAX) {
            return contradicts("length");
        }
        let before = LOCAL_LENGTH + self.name.len() + usize::from(head.u16(28));
        self.local.checked_add(before as u64).ok_or_else(|| "lies outside the file".into())
    }
}

fn check_kind(flags: u16, method: u16) -> Result<(), Refused> {
    const ENCRYPTED: u16 = 1 | 1 << 6 | 1 << 13;
    const LENGTHS_BEHIND: u16 = 1 << 3;
    if flags & ENCRYPTED != 0 {
        return Err("is encrypted".into());
    }
    if method != 0 {
        return Err("is compressed; entries are stored; dflow bundle pack writes such a file".into());
    }
    if flags & LENGTHS_BEHIND != 0 {
        return Err("has its lengths behind its data; dflow bundle pack writes them before".into());
    }
    if flags & !UTF_8 != 0 { Err(format!("has the unknown flags {flags:#x}")) } else { Ok(()) }
}

/// The numbers of the extra field for 64 bits.
struct Wide<'a>(&'a [u8]);

impl<'a> Wide<'a> {
    fn find(mut extra: &'a [u8]) -> Self {
        while let Some((head, rest)) = extra.split_at_checked(4) {
            let head = Fields(head);
            let Some((field, rest)) = rest.split_at_checked(usize::from(head.u16(2))) else { break };
            if head.u16(0) == EXTRA_64 {
                return Self(field);
            }
            extra = rest;
        }
        Self(&[])
    }

    fn next(&mut self) -> Option<u64> {
        let (number, rest) = self.0.split_at_checked(8)?;
        self.0 = rest;
        Some(Fields(number).u64(0))
    }
}

/// Little-endian numbers of a record, whose length was checked.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn get<const COUNT: usize>(&self, at: usize) -> [u8; COUNT] {
        self.0[at..at + COUNT].try_into().expect("a range of this length")
    }

    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.get(at))
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.get(at))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.get(at))
    }
}

//! The zip file of a single-file bundle, written: headers and directory, from names, lengths and CRCs alone.

use super::zip::{ALIGNMENT, CENTRAL, END, END_64, END_64_LENGTH, EXTRA_64, LOCAL, LOCAL_LENGTH, LOCATOR_64, UTF_8};
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// The offset of the CRC-32 in a local header.
pub(super) const LOCAL_CRC: u64 = 14;
/// Midnight of 1 January 1980, the first date that there is.
const DATE: u16 = 0x0021;
/// The extra field that pads, as Android's zipalign writes it: the alignment, then zeros.
const EXTRA_PADDING: u16 = 0xD935;
/// The version of the format that is needed to read: 2.0, and 4.5 for 64-bit lengths.
const NEEDED: [u16; 2] = [20, 45];
/// Made on Unix, so that the permissions below are meant.
const MADE_BY: u16 = 3 << 8 | 45;
/// A regular file, rw-r--r--.
const PERMISSIONS: u32 = 0o100_644 << 16;

struct Written {
    name: String,
    length: u64,
    crc: u32,
    local: u64,
}

/// Makes the parts of a zip file that lie between the files. The caller writes header and data of each in turn.
pub(super) struct ZipWriter {
    entries: Vec<Written>,
    /// Where the next header begins.
    end: u64,
}

impl ZipWriter {
    pub fn new() -> Self {
        Self { entries: Vec::new(), end: 0 }
    }

    /// The header of the next file, padded so that the data behind it are aligned.
    pub fn header(&mut self, name: &str, length: u64, crc: u32) -> Result<Vec<u8>> {
        let local = self.end;
        let (short, needed) = narrow(length);
        let mut wide = Vec::new();
        if short == u32::MAX {
            put_wide(&mut wide, &[length, length]);
        }
        let name_length =
            u16::try_from(name.len()).map_err(|_| Error::Invalid(format!("the name {name} is too long")))?;
        // The padding has at least its own head and the alignment.
        const LEAST: u64 = 6;
        let before = local.saturating_add((LOCAL_LENGTH + name.len() + wide.len()) as u64).saturating_add(LEAST);
        let zeros = before.next_multiple_of(ALIGNMENT) - before;
        let mut header = reserve("a header", LOCAL_LENGTH + name.len() + wide.len() + (LEAST + zeros) as usize)?;
        put32(&mut header, LOCAL);
        put16(&mut header, &[needed, flags(name), 0, 0, DATE]);
        put32(&mut header, crc);
        put32(&mut header, short);
        put32(&mut header, short);
        put16(&mut header, &[name_length, wide.len() as u16 + (LEAST + zeros) as u16]);
        header.extend_from_slice(name.as_bytes());
        header.extend_from_slice(&wide);
        put16(&mut header, &[EXTRA_PADDING, (LEAST + zeros) as u16 - 4, ALIGNMENT as u16]);
        // There is room.
        header.extend(std::iter::repeat_n(0, zeros as usize));
        self.end = before.saturating_add(zeros).saturating_add(length);
        self.entries.push(Written { name: name.to_owned(), length, crc, local });
        Ok(header)
    }

    /// Where the header of the last file begins.
    pub fn begins(&self) -> u64 {
        self.entries.last().map_or(0, |entry| entry.local)
    }

    /// Where the last file ends.
    #[cfg(test)]
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Sets the CRC-32 of the last file, which its header has at [`LOCAL_CRC`].
    pub fn set_crc(&mut self, crc: u32) {
        if let Some(entry) = self.entries.last_mut() {
            entry.crc = crc;
        }
    }

    /// What follows the last file.
    pub fn directory(self) -> Result<Vec<u8>> {
        let mut bytes = reserve("the directory of a zip file", 0)?;
        for Written { name, length, crc, local } in &self.entries {
            let ((short, mut needed), (short_local, local_needed)) = (narrow(*length), narrow(*local));
            needed = needed.max(local_needed);
            let mut wide = Vec::new();
            if needed == NEEDED[1] {
                let lengths = if short == u32::MAX { &[*length, *length][..] } else { &[] };
                let places = if short_local == u32::MAX { &[*local][..] } else { &[] };
                put_wide(&mut wide, &[lengths, places].concat());
            }
            put32(&mut bytes, CENTRAL);
            put16(&mut bytes, &[MADE_BY, needed, flags(name), 0, 0, DATE]);
            put32(&mut bytes, *crc);
            put32(&mut bytes, short);
            put32(&mut bytes, short);
            put16(&mut bytes, &[name.len() as u16, wide.len() as u16, 0, 0, 0]);
            put32(&mut bytes, PERMISSIONS);
            put32(&mut bytes, short_local);
            bytes.extend_from_slice(name.as_bytes());
            bytes.extend_from_slice(&wide);
        }
        let (count, length) = (self.entries.len() as u64, bytes.len() as u64);
        let (short_at, _) = narrow(self.end);
        let short_count = u16::try_from(count).unwrap_or(u16::MAX);
        if short_at == u32::MAX || short_count == u16::MAX {
            let end_64 = self.end.saturating_add(length);
            put32(&mut bytes, END_64);
            put64(&mut bytes, END_64_LENGTH as u64 - 12);
            put16(&mut bytes, &[MADE_BY, NEEDED[1]]);
            put32(&mut bytes, 0);
            put32(&mut bytes, 0);
            [count, count, length, self.end].into_iter().for_each(|value| put64(&mut bytes, value));
            put32(&mut bytes, LOCATOR_64);
            put32(&mut bytes, 0);
            put64(&mut bytes, end_64);
            put32(&mut bytes, 1);
        }
        put32(&mut bytes, END);
        put16(&mut bytes, &[0, 0, short_count, short_count]);
        put32(&mut bytes, narrow(length).0);
        put32(&mut bytes, short_at);
        put16(&mut bytes, &[0]);
        Ok(bytes)
    }
}

/// A length or offset in 32 bits, full where it needs 64, and the version of the format that it needs.
fn narrow(value: u64) -> (u32, u16) {
    match u32::try_from(value) {
        Ok(short) if short < u32::MAX => (short, NEEDED[0]),
        _ => (u32::MAX, NEEDED[1]),
    }
}

fn flags(name: &str) -> u16 {
    if name.is_ascii() { 0 } else { UTF_8 }
}

fn put_wide(bytes: &mut Vec<u8>, values: &[u64]) {
    put16(bytes, &[EXTRA_64, values.len() as u16 * 8]);
    values.iter().for_each(|&value| put64(bytes, value));
}

fn put16(bytes: &mut Vec<u8>, values: &[u16]) {
    values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
}

fn put32(bytes: &mut Vec<u8>, value: u32) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

fn put64(bytes: &mut Vec<u8>, value: u64) {
    bytes.extend_from_slice(&value.to_le_bytes());
}

//! Files of frames: a length, a CRC-32 and that many bytes, one frame after another. What a killed process left at the end is
//! told from what it had finished.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom};
use std::path::Path;

use crate::support::crc32::Crc32;
use crate::support::error::{Error, Result};
use crate::support::memory::reserve;

/// Bytes before the body of a frame.
pub(super) const HEAD: usize = 8;
/// The longest body.
const LONGEST: u32 = 1 << 24;

/// The CRC of some bytes.
pub(super) fn crc(bytes: &[u8]) -> u32 {
    let mut crc = Crc32::new();
    crc.update(bytes);
    crc.value()
}

/// Appends a frame with the body that `write` appends.
pub(super) fn append(frames: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = frames.len();
    frames.extend([0; HEAD]);
    write(frames);
    let (head, body) = frames[begin..].split_at_mut(HEAD);
    head[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
    head[4..].copy_from_slice(&crc(body).to_le_bytes());
}

/// Reads frames in the order of the file.
pub(super) struct Frames {
    file: BufReader<File>,
    at: u64,
    end: u64,
}

impl Frames {
    /// From the start of `path` up to `end`, or to the end of the file.
    pub fn open(path: &Path, end: Option<u64>) -> Result<Self> {
        let fail = |error| Error::reading(path, error);
        let file = File::open(path).map_err(fail)?;
        let length = file.metadata().map_err(fail)?.len();
        Ok(Self { file: BufReader::with_capacity(1 << 16, file), at: 0, end: end.unwrap_or(length).min(length) })
    }

    /// Whether a frame may begin at `at`: the file had this offset when it was opened.
    pub fn covers(&self, at: u64) -> bool {
        at < self.end
    }

    /// Goes on with the frame at `at`.
    pub fn seek(&mut self, at: u64) -> std::io::Result<()> {
        if at != self.at {
            // Within the buffer where possible.
            self.file.seek_relative(at.wrapping_sub(self.at) as i64)?;
            self.at = at;
        }
        Ok(())
    }

    /// Reads the next frame into `body` and returns its offset; `None` at the end, and at a frame that is not whole.
    pub fn next(&mut self, body: &mut Vec<u8>) -> std::io::Result<Option<u64>> {
        let begin = self.at;
        let mut head = [0; HEAD];
        if self.end - begin < HEAD as u64 || !filled(self.file.read_exact(&mut head))? {
            return Ok(None);
        }
        let word = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four bytes"));
        let (length, wanted) = (word(0), word(4));
        if length > LONGEST || u64::from(length) > self.end - begin - HEAD as u64 {
            return Ok(None);
        }
        body.clear();
        if body.capacity() < length as usize {
            *body = reserve("a record", length as usize).map_err(|_| ErrorKind::OutOfMemory)?;
        }
        body.resize(length as usize, 0);
        if !filled(self.file.read_exact(body))? || crc(body) != wanted {
            return Ok(None);
        }
        self.at = begin + HEAD as u64 + u64::from(length);
        Ok(Some(begin))
    }

    /// Where the next frame begins: the end of those that were read.
    pub fn position(&self) -> u64 {
        self.at
    }
}

/// Whether a buffer was filled; false at the end of the file.
fn filled(read: std::io::Result<()>) -> std::io::Result<bool> {
    match read {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Cuts a file to its first `length` bytes and moves to its end.
pub(super) fn cut(file: &mut File, length: u64) -> std::io::Result<()> {
    file.set_len(length)?;
    file.seek(SeekFrom::Start(length)).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_end_at_the_first_that_is_not_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("frames");
        let bodies = [&b"first"[..], b"", b"the third"];
        let mut bytes = Vec::new();
        let mut ends = vec![0];
        for body in bodies {
            append(&mut bytes, |to| to.extend_from_slice(body));
            ends.push(bytes.len());
        }
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            let mut frames = Frames::open(&path, None).unwrap();
            let (mut body, mut found) = (Vec::new(), Vec::new());
            while frames.next(&mut body).unwrap().is_some() {
                found.push(body.clone());
            }
            (found, frames.position() as usize)
        };
        for length in 0..=bytes.len() {
            let whole = ends.iter().filter(|&&end| end <= length).count() - 1;
            let (found, end) = read(&bytes[..length]);
            assert_eq!((found, end), (bodies[..whole].iter().map(|body| body.to_vec()).collect(), ends[whole]));
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 0x10;
            let whole = ends.iter().filter(|&&end| end <= at).count() - 1;
            assert_eq!(read(&damaged).0.len(), whole, "byte {at}");
        }
        std::fs::write(&path, &bytes).unwrap();
        let mut frames = Frames::open(&path, None).unwrap();
        let mut body = Vec::new();
        frames.seek(ends[2] as u64).unwrap();
        frames.next(&mut body).unwrap().unwrap();
        assert_eq!(body, b"the third");
        frames.seek(0).unwrap();
        frames.next(&mut body).unwrap().unwrap();
        assert_eq!(body, b"first");
    }
}

//! The spool, and the journal that says how much of it counts.
//!
//! Pictures are committed in groups: their files are renamed, their records appended to the spool, both are synced, and only
//! then the journal gets a record with the end and the CRC of the group. So a group of which the journal has a record is on
//! the disk, and what comes after the last one is cut off.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::frames::{self, Frames};
use crate::support::crc32::Crc32;
use crate::support::error::{Error, Result};
use crate::support::platform;

/// The name of the spool.
pub(super) const SPOOL: &str = "spool";
const JOURNAL: &str = "journal";

/// A record of the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Group {
    /// Counts from 0.
    number: u64,
    /// The end of the group in the spool.
    end: u64,
    /// CRC of its bytes there.
    crc: u32,
}

impl Group {
    fn encode(self, journal: &mut Vec<u8>) {
        frames::append(journal, |to| {
            to.extend(self.number.to_le_bytes());
            to.extend(self.end.to_le_bytes());
            to.extend(self.crc.to_le_bytes());
        });
    }

    fn decode(body: &[u8]) -> Option<Self> {
        let bytes: &[u8; 20] = body.try_into().ok()?;
        let long = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let crc = u32::from_le_bytes(bytes[16..].try_into().expect("four bytes"));
        Some(Self { number: long(0), end: long(8), crc })
    }
}

/// How far a journal and its spool agree: ends of both, and how many groups.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Extent {
    groups: u64,
    journal: u64,
    spool: u64,
}

/// Reads what is committed in `folder`: calls `record` with the offset and the body of each record of the spool.
///
/// # Errors
/// [`Error::Io`]; those of `record`.
pub(super) fn read(folder: &Path, mut record: impl FnMut(u64, &[u8]) -> Result<()>) -> Result<()> {
    extent(folder, &mut record).map(|_| ())
}

fn extent(folder: &Path, record: &mut dyn FnMut(u64, &[u8]) -> Result<()>) -> Result<Extent> {
    let (journal, spool) = (folder.join(JOURNAL), folder.join(SPOOL));
    let mut found = Extent::default();
    let (mut groups, mut records) = match (Frames::open(&journal, None), Frames::open(&spool, None)) {
        (Ok(groups), Ok(records)) => (groups, records),
        (Err(Error::NotFound { .. }), _) | (_, Err(Error::NotFound { .. })) => return Ok(found),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let (mut body, mut bodies, mut places) = (Vec::new(), Vec::new(), Vec::new());
    while groups.next(&mut body).map_err(|error| Error::reading(&journal, error))?.is_some() {
        let Some(group) = Group::decode(&body).filter(|group| group.number == found.groups) else { break };
        let mut crc = Crc32::new();
        bodies.clear();
        places.clear();
        while records.position() < group.end {
            let Some(at) = records.next(&mut body).map_err(|error| Error::reading(&spool, error))? else { break };
            frames::append(&mut bodies, |to| to.extend_from_slice(&body));
            places.push((at, body.len()));
        }
        crc.update(&bodies);
        // Damage of the disk: this group and those after it are made again.
        if records.position() != group.end || crc.value() != group.crc {
            break;
        }
        let mut from = 0;
        for &(at, length) in &places {
            from += frames::HEAD;
            record(at, &bodies[from..from + length])?;
            from += length;
        }
        found = Extent { groups: found.groups + 1, journal: groups.position(), spool: group.end };
    }
    Ok(found)
}

/// Appends groups.
#[derive(Debug)]
pub(super) struct Journal {
    spool: File,
    journal: File,
    spool_path: PathBuf,
    journal_path: PathBuf,
    extent: Extent,
}

impl Journal {
    /// Opens the spool and the journal in `folder`, and cuts off what is not committed.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn open(folder: &Path) -> Result<Self> {
        let extent = extent(folder, &mut |_, _| Ok(()))?;
        let open = |path: &Path, length| {
            let options = File::options().create(true).truncate(false).write(true).open(path);
            let cut = options.and_then(|mut file| frames::cut(&mut file, length).map(|()| file));
            cut.map_err(|error| Error::writing(path, error))
        };
        let (spool_path, journal_path) = (folder.join(SPOOL), folder.join(JOURNAL));
        // The journal first: no group of it may be beyond the spool.
        let journal = open(&journal_path, extent.journal)?;
        let spool = open(&spool_path, extent.spool)?;
        Ok(Self { spool, journal, spool_path, journal_path, extent })
    }

    /// Commits a group, whose files have been renamed: appends its records, frames of a spool, syncs all, and notes it.
    ///
    /// # Errors
    /// [`Error::Io`]; then nothing more can be committed.
    pub fn commit(&mut self, records: &[u8]) -> Result<()> {
        let fail = |path: &Path, error| Error::writing(path, error);
        self.spool.write_all(records).map_err(|error| fail(&self.spool_path, error))?;
        let synced = match platform::sync_file_system(&self.spool) {
            // Files were synced one by one.
            Err(error) if error.kind() == std::io::ErrorKind::Unsupported => self.spool.sync_all(),
            synced => synced,
        };
        synced.map_err(|error| fail(&self.spool_path, error))?;
        let end = self.extent.spool + records.len() as u64;
        let mut frame = Vec::new();
        Group { number: self.extent.groups, end, crc: frames::crc(records) }.encode(&mut frame);
        // It need not be on the disk: without it, the group is made again.
        self.journal.write_all(&frame).map_err(|error| fail(&self.journal_path, error))?;
        let journal = self.extent.journal + frame.len() as u64;
        self.extent = Extent { groups: self.extent.groups + 1, journal, spool: end };
        Ok(())
    }

    /// Syncs the journal, at the end of a run.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn finish(self) -> Result<()> {
        self.journal.sync_all().map_err(|error| Error::writing(&self.journal_path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::super::record::{Fate, Record};
    use super::*;

    fn group(numbers: std::ops::Range<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        for number in numbers {
            let fate = Fate::Written { files: 1, bytes: number };
            let tokens = vec![number as u32; 3];
            Record { number, fate, tokens, log_probability: None, measure: vec![] }.append(&mut bytes);
        }
        bytes
    }

    fn numbers(folder: &Path) -> Vec<u64> {
        let mut numbers = Vec::new();
        read(folder, |_, body| {
            numbers.push(Record::decode(body).unwrap().number);
            Ok(())
        })
        .unwrap();
        numbers
    }

    #[test]
    fn journal_torn_anywhere_keeps_whole_groups_and_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let [journal, spool] = [JOURNAL, SPOOL].map(|name| folder.path().join(name));
        assert_eq!(numbers(folder.path()), [0u64; 0]);
        let mut writer = Journal::open(folder.path()).unwrap();
        let mut ends = vec![(0, 0)];
        for numbers in [0..3, 3..4, 4..9] {
            writer.commit(&group(numbers)).unwrap();
            ends.push((std::fs::metadata(&journal).unwrap().len(), std::fs::metadata(&spool).unwrap().len()));
        }
        writer.finish().unwrap();
        let whole = [journal.clone(), spool.clone()].map(|path| std::fs::read(path).unwrap());
        let counts = [0, 3, 4, 9];
        for (file, lengths) in [(0, whole[0].len()), (1, whole[1].len())] {
            for length in 0..=lengths {
                std::fs::write(&journal, &whole[0][..if file == 0 { length } else { whole[0].len() }]).unwrap();
                std::fs::write(&spool, &whole[1][..if file == 1 { length } else { whole[1].len() }]).unwrap();
                let end = |ends: &&(u64, u64)| if file == 0 { ends.0 } else { ends.1 } <= length as u64;
                let kept = ends.iter().filter(end).count() - 1;
                assert_eq!(numbers(folder.path()), (0..counts[kept]).collect::<Vec<_>>(), "file {file} to {length}");
                let mut writer = Journal::open(folder.path()).unwrap();
                writer.commit(&group(counts[kept]..11)).unwrap();
                assert_eq!(numbers(folder.path()), (0..11).collect::<Vec<_>>());
            }
        }
        // A damaged byte of the spool costs its group and those after it.
        for at in 0..whole[1].len() {
            std::fs::write(&journal, &whole[0]).unwrap();
            let mut damaged = whole[1].clone();
            damaged[at] ^= 1;
            std::fs::write(&spool, damaged).unwrap();
            let kept = ends.iter().filter(|ends| ends.1 <= at as u64).count() - 1;
            assert_eq!(numbers(folder.path()).len() as u64, counts[kept], "byte {at}");
        }
    }
}

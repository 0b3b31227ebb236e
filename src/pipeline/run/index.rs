//! Where the record of each picture is: 8 bytes a picture.

use super::record::Kind;
use crate::support::error::{Error, Result};
use crate::support::memory::filled;

/// Bits of an offset, and of the number of a spool.
const OFFSET: u32 = 44;
const SPOOL: u32 = 16;
const PRESENT: u64 = 1 << 63;
/// The most spools, and so the most parts of a job.
pub(super) const MOST_SPOOLS: usize = 1 << SPOOL;

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Which spool.
    pub spool: usize,
    /// Offset of its frame.
    pub offset: u64,
    /// What it says.
    pub kind: Kind,
}

/// The latest record of each picture.
#[derive(Debug)]
pub(super) struct Index(Vec<u64>);

impl Index {
    /// Of a job of so many pictures.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`]; [`Error::Invalid`] where the job is too large for this machine.
    pub fn new(pictures: u64) -> Result<Self> {
        let count = usize::try_from(pictures)
            .map_err(|_| Error::Invalid(format!("a job of {pictures} pictures is too large for this machine")))?;
        filled("the index of a job", count, 0).map(Self)
    }

    /// The record of a picture.
    pub fn get(&self, number: u64) -> Option<Place> {
        let entry = *self.0.get(usize::try_from(number).ok()?)?;
        let kind = Kind::from_byte((entry >> (OFFSET + SPOOL)) as u8 & 3)?;
        let spool = (entry >> OFFSET) as usize % MOST_SPOOLS;
        (entry & PRESENT != 0).then_some(Place { spool, offset: entry & ((1 << OFFSET) - 1), kind })
    }

    /// Notes a record; one that settles the picture is not replaced by one that does not. False if there is no such picture, or
    /// no such place.
    pub fn set(&mut self, number: u64, place: Place) -> bool {
        if place.offset >> OFFSET != 0 || place.spool >= MOST_SPOOLS {
            return false;
        }
        if self.get(number).is_some_and(|old| old.kind.is_settled() && !place.kind.is_settled()) {
            return true;
        }
        let entry = usize::try_from(number).ok().and_then(|at| self.0.get_mut(at));
        let Some(entry) = entry else { return false };
        *entry = PRESENT | (place.kind as u64) << (OFFSET + SPOOL) | (place.spool as u64) << OFFSET | place.offset;
        true
    }

    /// Whether a picture needs no more work.
    pub fn is_settled(&self, number: u64) -> bool {
        self.get(number).is_some_and(|place| place.kind.is_settled())
    }

    /// The numbers of the pictures that have a record, in order, with its place.
    pub fn iter(&self) -> impl Iterator<Item = (u64, Place)> {
        (0..self.0.len() as u64).filter_map(|number| Some((number, self.get(number)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_keeps_the_record_that_settles_a_picture() {
        let mut index = Index::new(3).unwrap();
        let place = |spool, offset, kind| Place { spool, offset, kind };
        assert_eq!(index.get(0), None);
        assert!(index.set(0, place(0, 0, Kind::NotWritten)) && !index.is_settled(0));
        assert!(index.set(0, place(65_535, (1 << 44) - 1, Kind::Written)) && index.is_settled(0));
        assert!(index.set(0, place(1, 9, Kind::NotDrawn)));
        assert_eq!(index.get(0), Some(place(65_535, (1 << 44) - 1, Kind::Written)));
        assert!(index.set(2, place(1, 9, Kind::Dropped)));
        assert_eq!(index.iter().map(|(number, _)| number).collect::<Vec<_>>(), [0, 2]);
        assert!(!index.set(3, place(0, 0, Kind::Written)));
        assert!(!index.set(1, place(0, 1 << 44, Kind::Written)) && !index.set(1, place(1 << 16, 0, Kind::Written)));
    }
}

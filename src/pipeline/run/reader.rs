//! Reading records of spools.

use std::path::PathBuf;

use super::frames::Frames;
use super::index::Place;
use super::record::Record;
use crate::support::error::{Error, Result};

/// Reads committed records.
pub(super) struct Reader {
    paths: Vec<PathBuf>,
    /// One for each spool, opened when it is needed.
    spools: Vec<Option<Frames>>,
    body: Vec<u8>,
}

impl Reader {
    /// Of these spools, as [`Place::spool`] counts them.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        let spools = paths.iter().map(|_| None).collect();
        Self { paths, spools, body: Vec::new() }
    }

    /// Reads a record. Those of one spool in the order of their offsets are read with few calls.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] if there is no such record.
    pub fn read(&mut self, place: Place) -> Result<Record> {
        let path = &self.paths[place.spool];
        let spool = match &mut self.spools[place.spool] {
            Some(spool) if spool.covers(place.offset) => spool,
            // It has grown since.
            spool => spool.insert(Frames::open(path, None)?),
        };
        let fail = |error| Error::reading(path, error);
        spool.seek(place.offset).map_err(fail)?;
        let whole = spool.next(&mut self.body).map_err(fail)?.is_some();
        let record = Some(()).filter(|()| whole).and_then(|()| Record::decode(&self.body));
        record.ok_or_else(|| Error::format(path, "a record was damaged after it was written"))
    }
}

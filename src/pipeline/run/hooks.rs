//! What a run asks of the other parts of a job: the files of a picture, and which pictures are kept.

use std::path::PathBuf;

use crate::pipeline::plan::{Picture, Row};
use crate::pixels::Image;
use crate::support::error::Result;

/// A file of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PictureFile {
    /// Its path below the folder of the job.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// A picture that was drawn.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawn {
    /// Its tokens, up to the last level of its row.
    pub tokens: Vec<u32>,
    /// How many of them were given: what the row starts with.
    pub kept: usize,
    /// The mean log-probability of its tokens, where the job asks for it.
    pub log_probability: Option<f32>,
    /// An image for each level of its row, coarse to fine.
    pub images: Vec<Image>,
}

/// Encodes pictures as files. Called by several threads at once.
pub trait Encode: Sync {
    /// The files of a picture. Their bytes depend on the job and the picture alone.
    ///
    /// # Errors
    /// Why it cannot be encoded; the picture is listed as failed then.
    fn files(&self, picture: &Picture<'_>, drawn: &Drawn) -> Result<Vec<PictureFile>>;
}

/// What selection says of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is written.
    Keep,
    /// It is not, for this reason.
    Drop(String),
    /// It is decided when the group is complete.
    Later,
}

/// Selects pictures, among those of a group.
pub trait Selection: Sync {
    /// Whether the groups of this row are selected from.
    fn selects(&self, row: &Row) -> bool;

    /// What [`Choice`] needs to know of a picture. It is kept in the spool.
    ///
    /// # Errors
    /// Why it cannot be measured; the picture is listed as failed then.
    fn measure(&self, picture: &Picture<'_>, drawn: &Drawn) -> Result<Vec<u8>>;

    /// Begins a group of this row.
    fn begin(&self, row: &Row) -> Box<dyn Choice>;
}

/// Selection among the pictures of one group, which are given in the order of their numbers.
pub trait Choice {
    /// Takes the next picture.
    fn take(&mut self, picture: &Picture<'_>, measure: &[u8]) -> Verdict;

    /// Takes the next picture, which an earlier run has decided: the verdict is the one that [`take`](Self::take), or
    /// [`finish`](Self::finish), gave then.
    fn replay(&mut self, picture: &Picture<'_>, measure: &[u8], kept: bool);

    /// The group is complete: decides the pictures whose verdict was [`Verdict::Later`], each once, with their numbers.
    fn finish(&mut self) -> Vec<(u64, Verdict)>;
}

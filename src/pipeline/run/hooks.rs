//! What a run asks of the other parts of a job: the files of a picture.

use std::path::PathBuf;

use crate::pipeline::plan::Picture;
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

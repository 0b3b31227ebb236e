//! What pictures begin with: tokens of a token file, or a picture file. Files are opened when the job is checked.

use std::collections::HashMap;
use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use image::{ImageFormat, ImageReader};
use sha2::{Digest, Sha256};

use super::types::{EntryName, Redetail, Vary};
use crate::bundle::Bundle;
use crate::pipeline::plan::Start;
use crate::pixels::{LARGEST_FILE_PIXELS, LARGEST_FILE_SIDE};
use crate::plan::Mix;
use crate::support::error::{Error, Result};
use crate::support::files::read;
use crate::tokens::{AnyTokens, open_any};

/// Token files that are kept open.
const MOST_OPEN: usize = 32;
/// Bytes of the largest picture file.
const LARGEST: u64 = 1 << 30;

/// The files that a job names, relative to the folder of the job file.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    open: HashMap<PathBuf, Rc<AnyTokens>>,
}

impl Files {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: HashMap::new() }
    }

    /// Where a file is.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// The tokens that a variation keeps, and the class and the mix of its entry.
    ///
    /// # Errors
    /// Those of the file; [`Error::Invalid`] if it has no such entry, the tokens are damaged or those of another tokenizer, or
    /// do not reach the level.
    pub fn vary(&mut self, vary: &Vary, bundle: &Bundle) -> Result<(Start, Option<u32>, Option<Mix>)> {
        let path = self.folder.join(&vary.tokens);
        let file = match self.open.get(&path) {
            Some(file) => file.clone(),
            None => {
                if self.open.len() >= MOST_OPEN {
                    self.open.clear();
                }
                let file = Rc::new(open_any(&path)?);
                self.open.insert(path.clone(), file.clone());
                file
            }
        };
        let place = path.display();
        let refuse = |text: String| Error::Invalid(format!("{place}: {text}"));
        let out_of_range =
            |count: usize| move |index| format!("there is no picture {index}; allowed are 0 to {}", count.max(1) - 1);
        let dft = match (&*file, &vary.entry) {
            (AnyTokens::Pack(pack), entry) => {
                let number = match entry {
                    Some(EntryName::Name(name)) => pack.find(name)?.ok_or_else(|| {
                        refuse(format!("the pack has no entry \"{name}\"; `dflow unpack --list` shows the names"))
                    })?,
                    Some(EntryName::Index(index)) => *index,
                    None => 0,
                };
                if number >= pack.len() {
                    return Err(refuse(out_of_range(pack.len() as usize)(number)));
                }
                let entry = pack.get(number)?;
                if !entry.soundness.is_sound() {
                    return Err(refuse(format!("entry {number}: {}; repair it first", entry.soundness)));
                }
                entry.dft
            }
            (_, Some(EntryName::Name(name))) => {
                return Err(refuse(format!(
                    "only a pack has entries by name, such as \"{name}\"; allowed is an index"
                )));
            }
            (AnyTokens::Dft(dft, soundness), entry) => match entry {
                Some(EntryName::Index(index)) if *index > 0 => return Err(refuse(out_of_range(1)(*index))),
                _ if !soundness.is_sound() => return Err(refuse(format!("{soundness}; repair it first"))),
                _ => dft.clone(),
            },
            (AnyTokens::Json(file), entry) => {
                bundle.check_token_file(file).map_err(|error| refuse(error.to_string()))?;
                let index = if let Some(EntryName::Index(index)) = entry { *index } else { 0 };
                let image =
                    file.images.get(index as usize).ok_or_else(|| refuse(out_of_range(file.images.len())(index)))?;
                bundle.dft_from_image(image).map_err(|error| refuse(error.to_string()))?
            }
        };
        let kept = || {
            bundle.check_dft(&dft)?;
            let kept = match vary.keep {
                Some(size) => bundle.level_tokens(&dft.tokens, size)?,
                None => &dft.tokens,
            };
            bundle.check_prefix(kept).map(|_| kept.to_vec())
        };
        let kept = kept().map_err(|error| refuse(error.to_string()))?;
        Ok((Start::Tokens(kept), dft.class, dft.mix))
    }

    /// A picture whose coarse structure is kept, and the hash of the file.
    ///
    /// # Errors
    /// Those of the file; [`Error::Invalid`] if the bundle has no encoder or no such level, [`Error::Format`] if it is no
    /// picture.
    pub fn redetail(&self, redetail: &Redetail, bundle: &Bundle) -> Result<(Start, [u8; 32])> {
        if !bundle.can_encode() {
            return Err(bundle.cannot("encode a picture"));
        }
        bundle.ladder().level_or_error(redetail.keep)?;
        let (path, hash) = self.picture(&redetail.image)?;
        Ok((Start::Picture { path, keep: redetail.keep }, hash))
    }

    /// Where a picture file is, and its hash. Its header is read.
    ///
    /// # Errors
    /// Those of the file; [`Error::Format`] if it is no picture that can be read.
    pub fn picture(&self, path: &Path) -> Result<(PathBuf, [u8; 32])> {
        let path = self.folder.join(path);
        let bytes = read(&path, LARGEST)?;
        let format = image::guess_format(&bytes).ok().or_else(|| ImageFormat::from_path(&path).ok());
        // The decoders are those of other crates: one that panics on a damaged file is an error of the file.
        let sides = catch_unwind(AssertUnwindSafe(|| {
            let format = format.ok_or_else(|| "its format is none of those that are known".to_owned())?;
            let reader = ImageReader::with_format(Cursor::new(&bytes), format);
            reader.into_dimensions().map_err(|error| error.to_string())
        }));
        let reason = match sides.unwrap_or_else(|panic| Err(Error::from_panic(&*panic).to_string())) {
            Err(reason) => reason,
            Ok((width, height)) => {
                let pixels = u64::from(width) * u64::from(height);
                if pixels > 0 && width.max(height) <= LARGEST_FILE_SIDE && pixels <= LARGEST_FILE_PIXELS {
                    return Ok((path, Sha256::digest(&bytes).into()));
                }
                format!(
                    "it has {width} x {height} pixels; allowed are 1 to {LARGEST_FILE_SIDE} per side and {LARGEST_FILE_PIXELS} in all"
                )
            }
        };
        Err(Error::format(&path, format!("not a picture that can be read: {reason}")))
    }
}

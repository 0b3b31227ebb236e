//! The files of a picture of a job: its levels by name, format and options, with its provenance and tokens.

use std::path::{Path, PathBuf};

use super::output::{self, OutputFormat, OutputOptions};
use super::plan::Picture;
use super::provenance::{self, Head, Written, sidecar_path};
use super::run::{Drawn, Encode, PictureFile};
use super::settings::{self, ProvenanceMode, Settings, TokenOutput};
use crate::model::Model;
use crate::pixels::{FileFormat, Finish, Image};
use crate::plan::Level;
use crate::support::error::{Error, Result};

/// Encodes the files of the pictures of a job.
#[derive(Debug)]
pub struct PictureFiles<'a> {
    model: &'a Model,
    options: OutputOptions,
    /// `None` where nothing is to be done.
    finish: Option<Finish>,
    provenance: ProvenanceMode,
    tokens: TokenOutput,
}

impl<'a> PictureFiles<'a> {
    /// Of pictures of `model`, as `settings` say.
    #[must_use]
    pub fn new(model: &'a Model, settings: &Settings) -> Self {
        let settings::Output { alpha, mips, compression, scale, provenance, tokens, .. } = settings.output;
        let options = OutputOptions { alpha, mips, compression, scale };
        let finish = Some(&settings.finish).filter(|finish| !finish.is_off()).cloned();
        Self { model, options, finish, provenance, tokens }
    }

    /// The paths of the picture files, one for each level of the row, coarse to fine.
    #[must_use]
    pub fn paths(&self, picture: &Picture<'_>) -> Vec<PathBuf> {
        let classes = self.model.bundle().classes();
        picture.row.levels.iter().map(|&level| PathBuf::from(picture.path(classes, level))).collect()
    }

    /// Whether colour is multiplied with alpha.
    #[must_use]
    pub fn is_premultiplied(&self) -> bool {
        self.options.alpha == output::AlphaMode::Premultiplied
    }

    /// The factor by which pictures are enlarged.
    #[must_use]
    pub fn scale(&self) -> u32 {
        self.options.scale
    }

    /// An image as its files have it: finished as the job says.
    ///
    /// # Errors
    /// Those of [`Finish::image`].
    pub(super) fn finished(&self, image: Image) -> Result<Image> {
        match &self.finish {
            Some(finish) => finish.image(&image),
            None => Ok(image),
        }
    }

    /// Whether the file `path` holds pixels of 8 bits without loss, of such an alpha and enlarged by `scale`.
    pub(super) fn holds_pixels(&self, path: &Path, premultiplied: bool, scale: u32) -> bool {
        let lossless = match OutputFormat::from_path(path) {
            Ok(OutputFormat::Picture(format)) => format != FileFormat::Jpeg,
            _ => false,
        };
        lossless && premultiplied == self.is_premultiplied() && scale == self.options.scale
    }

    /// What a file of a picture is made from.
    ///
    /// # Errors
    /// [`Error::Invalid`] if its extension is not that of a format.
    pub fn head(&self, picture: &Picture<'_>, level: Level, kept: usize, path: &Path) -> Result<Head> {
        let format = OutputFormat::from_path(path)?;
        let mut head = Head::new(self.model, picture.image, &picture.row.guidance, &picture.row.sampling)?;
        head.set_mix(self.model.bundle(), picture.mix()?.as_ref());
        head.level = level.size;
        head.kept = kept.min(level.tokens) as u32;
        head.finish = self.finish.clone();
        head.output = Written::new(format, &self.options);
        Ok(head)
    }
}

impl Encode for PictureFiles<'_> {
    fn files(&self, picture: &Picture<'_>, drawn: &Drawn) -> Result<Vec<PictureFile>> {
        let mut files = Vec::new();
        for ((level, image), path) in picture.row.levels.iter().zip(&drawn.images).zip(self.paths(picture)) {
            let tokens = drawn
                .tokens
                .get(..level.tokens)
                .ok_or_else(|| Error::Internal(format!("picture {} has too few tokens", picture.number)))?;
            let format = OutputFormat::from_path(&path)?;
            let mut bytes = if self.options.mips {
                let pictures = output::decode(self.model, tokens, &self.options, self.finish.as_ref())?;
                output::encode(&pictures, &self.options, format)?
            } else {
                let finished = self.finish.as_ref().map(|finish| finish.image(image)).transpose()?;
                output::encode(std::slice::from_ref(finished.as_ref().unwrap_or(image)), &self.options, format)?
            };
            if self.provenance != ProvenanceMode::None {
                let embedded = self.provenance == ProvenanceMode::Embedded;
                let head = || Ok(self.head(picture, *level, drawn.kept, &path)?.to_json());
                if !embedded {
                    let bytes = provenance::sidecar(&head()?, tokens).into_bytes();
                    files.push(PictureFile { path: sidecar_path(&path), bytes });
                } else if format == OutputFormat::Picture(FileFormat::Png) {
                    bytes = provenance::embed(&bytes, &head()?, tokens)?;
                }
            }
            files.push(PictureFile { path, bytes });
        }
        if self.tokens == TokenOutput::Files
            && let Some(last) = files.last()
        {
            let bytes = picture.dft(self.model.bundle(), drawn.tokens.clone())?.encode()?;
            let mut path = last.path.clone().into_os_string();
            path.push(".dft");
            files.push(PictureFile { path: path.into(), bytes });
        }
        Ok(files)
    }
}

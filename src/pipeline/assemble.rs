//! What is made of all pictures of a job together: atlases and the page. Pixels come from the files that were just written where
//! these hold them without loss, which is much faster than decoding tokens again.

use std::path::Path;

use super::atlas;
use super::files::PictureFiles;
use super::names::PictureNames;
use super::page;
use super::plan::{Picture, Plan};
use super::run::{Fate, Record, Session};
use super::settings::{Atlas, AtlasFormat};
use crate::model::Model;
use crate::pixels::{Canvas, Image, PixelFormat};
use crate::plan::Level;
use crate::support::error::{Error, Result};

/// The pictures of a job that were written.
#[derive(Clone, Copy)]
pub struct Assembly<'a> {
    /// The folder of the job.
    pub out: &'a Path,
    /// The job.
    pub plan: &'a Plan,
    /// What its files are.
    pub files: &'a PictureFiles<'a>,
    /// Decodes what files do not tell.
    pub model: &'a Model,
    /// What was written.
    pub session: &'a Session<'a>,
}

impl std::fmt::Debug for Assembly<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Assembly").field("out", &self.out).finish_non_exhaustive()
    }
}

impl Assembly<'_> {
    /// Writes the atlas: `atlas-0.png` and so on, and what describes it.
    ///
    /// # Errors
    /// Those of [`atlas::write`], and of decoding.
    pub fn write_atlas(&self, settings: &Atlas) -> Result<()> {
        let options = atlas::Options {
            page_size: settings.size,
            padding: settings.padding,
            extrude: settings.extrude,
            power_of_two: settings.power_of_two,
            premultiplied: self.files.is_premultiplied(),
            formats: settings.formats.iter().map(|&format| layout(format)).collect(),
            pivot: settings.pivot,
            nine_slice: settings.nine_slice,
            ..atlas::Options::default()
        };
        let names = PictureNames::new(self.plan, self.classes());
        let sprite = |record: Result<Record>| -> Result<Option<atlas::Sprite>> {
            let record = record?;
            let picture = self.plan.picture(record.number);
            let level = match settings.level {
                Some(size) => picture.row.levels.iter().find(|level| level.size == size),
                None => picture.row.levels.last(),
            };
            let Some(&level) = level else { return Ok(None) };
            let (side, pixels) = self.pixels(&record, &picture, level, options.premultiplied, self.files.scale())?;
            let tags = picture.row.tags.to_vec();
            let (class, seed) = (self.class(&picture).to_owned(), Some(picture.image.seed));
            Ok(Some(atlas::Sprite { name: names.name(&picture), class, seed, tags, side, pixels }))
        };
        atlas::write(self.out, &options, self.written().filter_map(|record| sprite(record).transpose())).map(|_| ())
    }

    /// Writes the page: `index.html` and so on. `identity` is that of the job, `name` what the page is titled.
    ///
    /// # Errors
    /// Those of [`page::write`], and of decoding.
    pub fn write_page(&self, identity: &str, name: &str) -> Result<()> {
        let pictures = self.written().filter(Result::is_ok).count() as u64;
        let item = |record: Result<Record>| self.item(&record?);
        page::write(self.out, page::Job { identity, name, pictures }, self.written().map(item)).map(|_| ())
    }

    fn item(&self, record: &Record) -> Result<page::Item> {
        let picture = self.plan.picture(record.number);
        let row = picture.row;
        let mut thumbnails = Vec::new();
        for &level in &row.levels {
            let (side, pixels) = if level.size <= page::LARGEST_THUMBNAIL {
                self.pixels(record, &picture, level, false, 1)?
            } else {
                let small = self.decode(record, level)?.downscale(page::LARGEST_THUMBNAIL)?;
                (small.size(), small.to_vec(PixelFormat::Rgba8)?)
            };
            thumbnails.push(page::Thumbnail { level: level.size, side, pixels });
        }
        let gradual = if row.guidance.gradual { " gradual" } else { "" };
        let mut parameters = String::new();
        if let Some(mix) = picture.mix()? {
            let (classes, avoid) = self.model.bundle().mix_text(&mix);
            parameters += &format!("mix {classes}\n");
            parameters += &if avoid.is_empty() { avoid } else { format!("avoid {avoid}\n") };
        }
        parameters += &format!(
            "guidance {}{gradual}\ntemperature {}\ntop-k {}\ntop-p {}",
            row.guidance.scale, row.sampling.temperature, row.sampling.top_k, row.sampling.top_p
        );
        Ok(page::Item {
            number: record.number,
            class: self.class(&picture).to_owned(),
            seed: picture.image.seed,
            row: row.number,
            tags: row.tags.to_vec(),
            parameters,
            files: row.levels.iter().map(|&level| (level.size, picture.path(self.classes(), level))).collect(),
            tokens: record.tokens.clone(),
            log_probability: record.log_probability.map(|mean| mean * record.tokens.len() as f32),
            thumbnails,
        })
    }

    fn written(&self) -> impl Iterator<Item = Result<Record>> {
        self.session
            .records()
            .filter(|record| record.as_ref().map_or(true, |record| matches!(record.fate, Fate::Written { .. })))
    }

    fn classes(&self) -> &[String] {
        self.model.bundle().classes()
    }

    fn class(&self, picture: &Picture<'_>) -> &str {
        self.classes().get(picture.image.class as usize).map_or("", String::as_str)
    }

    fn decode(&self, record: &Record, level: Level) -> Result<Image> {
        let tokens = record.tokens.get(..level.tokens);
        let few = || Error::Internal(format!("picture {} has too few tokens", record.number));
        self.files.finished(self.model.decode(tokens.ok_or_else(few)?)?)
    }

    /// RGBA8 pixels of a level, enlarged by `scale`, and their side.
    fn pixels(
        &self,
        record: &Record,
        picture: &Picture<'_>,
        level: Level,
        premultiplied: bool,
        scale: u32,
    ) -> Result<(u32, Vec<u8>)> {
        let side = level.size.saturating_mul(scale);
        let path = picture.path(self.classes(), level);
        if self.files.holds_pixels(Path::new(&path), premultiplied, scale)
            && let Ok(found) = image::open(self.out.join(&path))
            && (found.width(), found.height()) == (side, side)
        {
            return Ok((side, found.into_rgba8().into_raw()));
        }
        let format = if premultiplied { PixelFormat::Rgba8Premultiplied } else { PixelFormat::Rgba8 };
        let stride = (side as usize).saturating_mul(format.bytes());
        let mut pixels = vec![0; stride.saturating_mul(side as usize)];
        Canvas::new(format, side, side, &mut pixels, stride)?.put(&self.decode(record, level)?, 0, 0, scale)?;
        Ok((side, pixels))
    }
}

fn layout(format: AtlasFormat) -> atlas::Format {
    match format {
        AtlasFormat::Texturepacker => atlas::Format::TexturePacker,
        AtlasFormat::Love => atlas::Format::Love,
        AtlasFormat::Phaser => atlas::Format::Phaser,
        AtlasFormat::Godot => atlas::Format::Godot,
    }
}

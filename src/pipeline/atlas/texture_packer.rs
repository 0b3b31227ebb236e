//! "JSON (Hash)" and "JSON (Array)" of TexturePacker: a file for each page.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::metadata::{Frame, Maker, Metadata, Page, Size, json};
use super::options::Options;
use crate::pipeline::text_file::TextFile;
use crate::support::error::Result;

/// How the frames of a page are written.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Frames {
    /// An object by name.
    Hash,
    /// A list in which each has a `filename`.
    Array,
}

/// What is said of a page.
#[derive(Serialize)]
struct Meta<'a> {
    #[serde(flatten)]
    maker: Maker,
    image: &'a str,
    format: &'static str,
    size: Size,
    scale: &'static str,
    /// Whether colour is premultiplied with alpha; an addition of ours.
    premultiplied: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    related_multi_packs: Vec<String>,
}

pub(super) struct Writer {
    folder: PathBuf,
    frames: Frames,
    /// The file of the first page, which waits for the number of pages; its image and size.
    first: Option<(TextFile, String, u32, u32)>,
    pages: u32,
    files: Vec<PathBuf>,
}

impl Writer {
    pub fn new(folder: &Path, frames: Frames) -> Self {
        Self { folder: folder.to_owned(), frames, first: None, pages: 0, files: Vec::new() }
    }

    fn name(&self, page: u32, options: &Options) -> String {
        let kind = if self.frames == Frames::Array { ".array" } else { "" };
        format!("{}-{page}{kind}.json", options.name)
    }
}

impl Metadata for Writer {
    fn page(&mut self, page: &Page, options: &Options) -> Result<()> {
        let mut file = TextFile::create(self.folder.join(self.name(page.number, options)))?;
        let (open, close) = if self.frames == Frames::Hash { ("{", "}") } else { ("[", "]") };
        file.push(&format!("{{\"frames\": {open}\n"))?;
        for (at, placed) in page.sprites.iter().enumerate() {
            let mut frame = Frame::new(placed, options);
            let name = &placed.sprite.name;
            let key = if self.frames == Frames::Hash {
                json(name)? + ": "
            } else {
                frame.filename = Some(name);
                String::new()
            };
            let comma = if at + 1 < page.sprites.len() { "," } else { "" };
            file.push(&format!("{key}{}{comma}\n", json(&frame)?))?;
        }
        file.push(&format!("{close},\n"))?;
        self.pages += 1;
        if page.number == 0 {
            self.first = Some((file, page.image.to_owned(), page.width, page.height));
            return Ok(());
        }
        self.files.push(end(file, page.image, page.width, page.height, options, Vec::new())?);
        Ok(())
    }

    fn finish(mut self: Box<Self>, options: &Options) -> Result<Vec<PathBuf>> {
        let related = (1..self.pages).map(|page| self.name(page, options)).collect();
        if let Some((file, image, width, height)) = self.first.take() {
            self.files.insert(0, end(file, &image, width, height, options, related)?);
        }
        Ok(self.files)
    }
}

/// Writes what is said of a page, after its frames.
fn end(
    mut file: TextFile,
    image: &str,
    width: u32,
    height: u32,
    options: &Options,
    related_multi_packs: Vec<String>,
) -> Result<PathBuf> {
    let meta = Meta {
        maker: Maker::THIS,
        image,
        format: "RGBA8888",
        size: Size { w: width, h: height },
        scale: "1",
        premultiplied: options.premultiplied,
        related_multi_packs,
    };
    file.push(&format!("\"meta\": {}}}\n", json(&meta)?))?;
    file.finish()
}

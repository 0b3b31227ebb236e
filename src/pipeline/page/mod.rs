//! A page to look at the pictures of a job: `index.html`, and `index-2.html` … for each further 10,000 pictures. It is opened from
//! disk: all data are in it, its thumbnails are sheets in the folder `index_files` beside it, and nothing is fetched.
//!
//! The pictures of one page, its sheets and its text are written as they come: memory does not grow with the job.

mod data;
mod sheets;

use std::path::{Path, PathBuf};

use crate::pipeline::text_file::TextFile;
use crate::support::error::{Error, Result};
use data::{Dictionaries, Head, PART};
use sheets::Sheets;

/// Pictures on one page.
pub const PICTURES: u64 = 10_000;
/// The most pixels per side of a thumbnail. Larger pictures are given downscaled.
pub const LARGEST_THUMBNAIL: u32 = 128;
/// The folder of the sheets, beside the page.
const FOLDER: &str = "index_files";

const HTML: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
/// The parts of the script, in their order.
const SCRIPTS: [&str; 6] = [
    include_str!("data.js"),
    include_str!("filters.js"),
    include_str!("picks.js"),
    include_str!("grid.js"),
    include_str!("details.js"),
    include_str!("page.js"),
];

/// What all pages of a job say.
#[derive(Debug, Clone, Copy)]
pub struct Job<'a> {
    /// The identity of the job, which a list of picks names.
    pub identity: &'a str,
    /// What the page is titled: the name of the job file.
    pub name: &'a str,
    /// How many pictures there will be.
    pub pictures: u64,
}

/// One picture of a level, as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thumbnail {
    /// The level, in pixels per side: what the slider says.
    pub level: u32,
    /// Pixels per side of the thumbnail, 1 to [`LARGEST_THUMBNAIL`], the same for all thumbnails of a level.
    pub side: u32,
    /// `side` x `side` pixels RGBA8 with straight alpha, rows without gaps.
    pub pixels: Vec<u8>,
}

/// One picture of a job.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    /// Its number in the job.
    pub number: u64,
    /// The name of its class.
    pub class: String,
    /// Its seed.
    pub seed: u64,
    /// The number of its row in the job file, as a reader counts it.
    pub row: u32,
    /// The tags of its row.
    pub tags: Vec<String>,
    /// Everything else that it was made with, a setting a line: `guidance 1.5`. Pictures of a row usually have the same text.
    pub parameters: String,
    /// The files that were written, coarse to fine: level in pixels per side, and path from the folder of the page, with `/`.
    pub files: Vec<(u32, String)>,
    /// All its tokens.
    pub tokens: Vec<u32>,
    /// The sum of the log-probabilities of its tokens, if known.
    pub log_probability: Option<f32>,
    /// Its thumbnails, coarse to fine, each level once. Where one lacks a level that others have, the page shows the next coarser.
    pub thumbnails: Vec<Thumbnail>,
}

/// Writes the pages of a job into `folder`, which must exist, from its pictures in their order. Each file replaces an older one
/// atomically. Returns the pages.
///
/// # Errors
/// [`Error::Invalid`] when there are more or fewer items than [`Job::pictures`], a thumbnail has another side than the ones of its
/// level before it or is not as [`Thumbnail`] demands; [`Error::Io`] and [`Error::OutOfMemory`]; the first error among `items`.
/// Pages that were complete stay.
pub fn write(folder: &Path, job: Job, items: impl IntoIterator<Item = Result<Item>>) -> Result<Vec<PathBuf>> {
    let files = folder.join(FOLDER);
    std::fs::create_dir_all(&files).map_err(|error| Error::writing(&files, error))?;
    let pages = job.pictures.div_ceil(PICTURES).max(1);
    let mut written = Vec::new();
    let mut items = items.into_iter();
    for page in 1..=pages {
        let wanted = (job.pictures - (page - 1) * PICTURES).min(PICTURES);
        written.push(write_page(folder, job, page, pages, wanted, &mut items)?);
    }
    match items.next() {
        None => Ok(written),
        Some(Err(error)) => Err(error),
        Some(Ok(_)) => {
            Err(Error::Invalid(format!("the page of job {}: more than {} pictures", job.name, job.pictures)))
        }
    }
}

/// The name of a page, from 1.
fn file_name(page: u64) -> String {
    if page == 1 { "index.html".to_owned() } else { format!("index-{page}.html") }
}

/// Writes one page with the next `wanted` items.
fn write_page(
    folder: &Path,
    job: Job,
    page: u64,
    pages: u64,
    wanted: u64,
    items: &mut impl Iterator<Item = Result<Item>>,
) -> Result<PathBuf> {
    let mut file = TextFile::create(folder.join(file_name(page)))?;
    // The template holds a mark where each part goes.
    let (before, after) = HTML.split_once("<!-- data -->\n").unwrap_or((HTML, ""));
    let title = data::html(job.name);
    file.push(
        &before.replace("<!-- style -->", &format!("<style>\n{STYLE}</style>")).replace("<!-- name -->", &title),
    )?;
    let mut sheets = Sheets::new(folder.join(FOLDER), page, wanted);
    let mut dictionaries = Dictionaries::default();
    for at in 0..wanted {
        let Some(item) = items.next().transpose()? else {
            let found = (page - 1) * PICTURES + at;
            let text = format!("the page of job {}: {found} pictures, {} were announced", job.name, job.pictures);
            return Err(Error::Invalid(text));
        };
        let shown = sheets.add(&item)?;
        let line = dictionaries.line(&item, shown)?;
        let begins = at.is_multiple_of(PART);
        let ends = (at + 1).is_multiple_of(PART) || at + 1 == wanted;
        file.push(if begins { "<script type=\"application/json\" class=\"part\">[\n" } else { "" })?;
        file.push(&line)?;
        file.push(if ends { "\n]</script>\n" } else { ",\n" })?;
    }
    let levels = sheets.finish()?;
    let head = Head {
        job: job.identity,
        name: job.name,
        pictures: job.pictures,
        page,
        pages: (1..=pages).map(file_name).collect(),
        levels,
        dictionaries,
    };
    file.push(&format!("<script type=\"application/json\" id=\"head\">{}</script>\n", data::script(&head)?))?;
    file.push(&format!("<script>\n\"use strict\";\n{{\n{}}}\n</script>\n", SCRIPTS.join("\n")))?;
    file.push(after)?;
    file.finish()
}

#[cfg(test)]
mod tests;

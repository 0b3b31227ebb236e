//! Reads a job file and checks it against a bundle.

use std::io::{self, BufReader, Read};
use std::path::Path;

use super::checker::{CheckedRows, Checker};
use super::problem::Problem;
use super::{csv, jsonl, toml};
use crate::bundle::Bundle;
use crate::pipeline::collisions::{self, Collision};
use crate::pipeline::identity::Identity;
use crate::pipeline::plan::Plan;
use crate::pipeline::settings::Settings;
use crate::pixels::Finish;
use crate::support::error::{Error, Result};
use crate::support::files::open;
use crate::support::hex::hex;
use crate::support::memory::reserve;
use crate::support::text::{printable, without_mark};

/// Bytes of the longest job file in JSONL or CSV.
const LONGEST: u64 = 1 << 30;
/// First bytes that tell the encoding of a text.
const START: usize = 4;

/// A format of job files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JobFormat {
    /// TOML: all settings and rows; at most 64 MiB.
    Toml,
    /// JSON Lines: a row on each line; at most 1 GiB.
    Jsonl,
    /// CSV: a header with the names of columns, then a row on each line; at most 1 GiB.
    Csv,
}

impl JobFormat {
    /// The format that the extension of `path` stands for: `toml`, `jsonl` (`ndjson`), `csv`; `-`, standard input, is JSON Lines.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other extension; the message lists these.
    pub fn from_path(path: &Path) -> Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Jsonl);
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        match extension.to_ascii_lowercase().as_str() {
            "toml" => Ok(Self::Toml),
            "jsonl" | "ndjson" => Ok(Self::Jsonl),
            "csv" => Ok(Self::Csv),
            _ => Err(Error::Invalid(format!(
                "{}: its extension is not that of a job file; allowed are toml, jsonl and csv, and - for JSON Lines on standard \
                 input",
                printable(&path.to_string_lossy())
            ))),
        }
    }
}

/// A job file that was checked against a bundle.
#[derive(Debug)]
pub struct Checked {
    /// The rows that are right. They keep their numbers in the file.
    pub plan: Plan,
    /// What the file says beside its rows.
    pub settings: Settings,
    /// Everything that is wrong, by line.
    pub problems: Vec<Problem>,
    /// SHA-256 of everything that decides tokens, names and bytes, the bundle included, as 64 hex digits: jobs that say the same
    /// have the same, however they are written. Rows that are left out do not count.
    pub identity: String,
    /// Rows of the file.
    pub rows: u64,
    /// The identity but for finishing.
    unfinished: String,
}

impl Checked {
    /// Whether the job cannot run: something is wrong with the whole of it, or, if `strict`, with any row.
    #[must_use]
    pub fn stops(&self, strict: bool) -> bool {
        self.problems.iter().any(|problem| strict || problem.row.is_none())
    }

    /// Has pictures finished in another way than the job and the bundle say; the identity becomes another, too.
    pub fn set_finish(&mut self, finish: Finish) {
        self.identity = if finish.is_off() {
            self.unfinished.clone()
        } else {
            let mut identity = Identity::new("finished job 1");
            identity.text(&self.unfinished);
            identity.text(&serde_json::to_string(&finish).unwrap_or_default());
            hex(identity.finish())
        };
        self.settings.finish = finish;
    }

    /// Adds a problem for each file that the job, called `name`, would write twice: the first 20 of them. Unless the pattern of
    /// the names shows that they all differ, it takes about a microsecond a picture and, beyond 64 MiB of memory, 24 bytes a
    /// picture in the system's temporary folder.
    ///
    /// # Errors
    /// [`Error::Io`] if the temporary folder cannot be used, [`Error::OutOfMemory`].
    pub fn check_names(&mut self, name: &Path, bundle: &Bundle) -> Result<()> {
        let Self { plan, settings, problems, .. } = self;
        let collisions = collisions::find(plan, settings, bundle.classes())?;
        problems.extend(collisions.first.iter().map(|collision| explain(collision, plan, name)));
        if collisions.count > collisions.first.len() as u64 {
            let text = format!("{} names of files are used twice in all; the first are listed", collisions.count);
            problems.push(Problem { file: name.into(), line: 0, row: None, field: "output".into(), text });
        }
        Ok(())
    }

    /// Rows that are left out because something is wrong with them.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.rows.saturating_sub(self.plan.rows().len() as u64)
    }
}

/// Reads the job file `path` and checks all of it against `bundle`: settings, rows, the files that they name. `-` is standard
/// input. Files that the job names are relative to its folder.
///
/// Memory: at most about 200 bytes a row, where rows share their settings, as most do; 24 more for each further class of a row,
/// 8 for each seed of a list. Problems come on top. JSONL and CSV are read in a stream, TOML is held whole, as text and as a tree.
///
/// # Errors
/// What is wrong with the content is in [`Checked::problems`]. [`Error::NotFound`], [`Error::Io`] if the file cannot be read;
/// [`Error::Format`] if it is too long or no UTF-8 text; [`Error::Invalid`] for an unknown extension; [`Error::State`] if the
/// bundle cannot generate.
pub fn check_job(path: &Path, bundle: &Bundle) -> Result<Checked> {
    let format = JobFormat::from_path(path)?;
    if path.as_os_str() == "-" {
        return check_job_from(io::stdin().lock(), format, Path::new("standard input"), Path::new(""), bundle);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let file = open(path).map_err(|error| Error::reading(path, error))?;
    check_job_from(file, format, path, folder, bundle)
}

/// As [`check_job`], of a job that `source` gives. Problems call it `name`; files that it names are relative to `folder`.
///
/// # Errors
/// As [`check_job`], but that nothing is looked for.
pub fn check_job_from(
    source: impl Read,
    format: JobFormat,
    name: &Path,
    folder: &Path,
    bundle: &Bundle,
) -> Result<Checked> {
    let mut checked = check_rows_from(source, format, name, folder, bundle)?;
    checked.check_names(name, bundle)?;
    Ok(checked)
}

/// As [`check_job_from`], without [`Checked::check_names`]: what takes the time of the rows alone, however many pictures they
/// have.
///
/// # Errors
/// As [`check_job_from`].
pub fn check_rows_from(
    source: impl Read,
    format: JobFormat,
    name: &Path,
    folder: &Path,
    bundle: &Bundle,
) -> Result<Checked> {
    bundle.check_can_generate()?;
    let mut checker = Checker::new(name, folder, bundle);
    let longest = if format == JobFormat::Toml { toml::LONGEST } else { LONGEST };
    let mut source = Bounded { source, left: longest, too_long: false };
    let read = read(&mut source, format, name, &mut checker);
    if source.too_long {
        return Err(Error::format(name, format!("the job file is longer than the {longest} bytes that are allowed")));
    }
    read?;
    let CheckedRows { rows, settings, problems, identity, read } = checker.finish();
    let finish = settings.finish.clone();
    let plan = Plan::new(rows);
    let mut checked = Checked { plan, settings, problems, identity: String::new(), rows: read, unfinished: identity };
    checked.set_finish(finish);
    Ok(checked)
}

fn explain(collision: &Collision, plan: &Plan, file: &Path) -> Problem {
    let row = |number| plan.picture(number).row;
    let (second, name) = (row(collision.second), &collision.name);
    let other = match collision.first.map(row) {
        Some(first) if first.number != second.number => format!("of the row in line {}", first.line),
        _ => "of the same row".to_owned(),
    };
    let text = match (collision.first, collision.folder) {
        (None, _) => format!("the name {name} is one of the run's own; choose another"),
        (Some(_), true) => format!("{name} would be a file and a folder, the other {other}; choose another name"),
        (Some(_), false) => format!(
            "the file {name} is also one {other}; add {{class}}, {{seed}}, {{level}}, {{row}} or {{number}} to the name"
        ),
    };
    Problem { file: file.into(), line: second.line, row: None, field: "output".into(), text }
}

fn read(source: &mut impl Read, format: JobFormat, name: &Path, checker: &mut Checker<'_>) -> Result<()> {
    let fail = |error| Error::reading(name, error);
    let mut start = Vec::new();
    source.by_ref().take(START as u64).read_to_end(&mut start).map_err(fail)?;
    let start = without_mark(&start).map_err(|reason| Error::format(name, reason))?;
    let mut source = start.chain(source);
    match format {
        JobFormat::Toml => {
            let mut bytes = reserve("a job file", 1 << 16)?;
            source.read_to_end(&mut bytes).map_err(fail)?;
            let text = std::str::from_utf8(&bytes).map_err(|error| {
                let line = bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count() + 1;
                Error::format(name, format!("line {line}: the text is not UTF-8"))
            })?;
            toml::read(text, checker);
            Ok(())
        }
        JobFormat::Jsonl => jsonl::read(&mut BufReader::new(source), checker).map_err(fail),
        JobFormat::Csv => csv::read(source, checker).map_err(fail),
    }
}

/// Fails beyond a number of bytes.
struct Bounded<R> {
    source: R,
    left: u64,
    too_long: bool,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        match self.left.checked_sub(count as u64) {
            Some(left) => self.left = left,
            None => {
                self.too_long = true;
                return Err(io::ErrorKind::FileTooLarge.into());
            }
        }
        Ok(count)
    }
}

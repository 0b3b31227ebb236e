//! What a job has become: `tokens.dftpack`, and `report.json` with totals, rows, failures and drops. Both depend on the job and its
//! records alone, however many runs it took; times are in `timings.json`.

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use serde_json::json;

use super::names::PictureNames;
use super::plan::Plan;
use super::run::{Counts, Fate, Outcome, Record, Session, Stage};
use crate::VERSION;
use crate::bundle::Bundle;
use crate::support::error::{Error, Result};
use crate::support::files::{NewFile, write_file};
use crate::tokens::PackWriter;

/// The most rows of which a report has counts each.
const MOST_ROWS: usize = 10_000;

/// What a report says beside what is in the records.
#[derive(Debug, Clone, Copy)]
pub struct ReportHead<'a> {
    /// The name of the job file.
    pub job: &'a str,
    /// The bundle.
    pub bundle: &'a Bundle,
    /// The precision of its weights.
    pub precision: &'a str,
    /// Rows that were left out, and other problems of the job file.
    pub problems: &'a [String],
}

/// Counts of a row.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct RowCounts {
    pictures: u64,
    written: u64,
    dropped: u64,
    failed: u64,
}

/// Writes `out/tokens.dftpack`: the tokens of every picture that was written, in the order of their numbers.
///
/// # Errors
/// [`Error::Io`]; [`Error::Invalid`] where a pack has no room.
pub fn write_pack(out: &Path, plan: &Plan, bundle: &Bundle, session: &Session<'_>) -> Result<()> {
    let names = PictureNames::new(plan, bundle.classes());
    let mut pack = PackWriter::create(out.join("tokens.dftpack"))?;
    for record in session.records() {
        let Record { number, fate, tokens, .. } = record?;
        if matches!(fate, Fate::Written { .. }) {
            let picture = plan.picture(number);
            let dft = picture.dft(bundle, tokens)?;
            pack.add(Some(&names.name(&picture)), &dft)?;
        }
    }
    pack.finish()
}

/// Writes `out/report.json`.
///
/// # Errors
/// [`Error::Io`].
pub fn write_report(out: &Path, plan: &Plan, head: &ReportHead<'_>, session: &Session<'_>) -> Result<Counts> {
    let mut rows = vec![RowCounts::default(); plan.rows().len()];
    for group in plan.groups() {
        rows[group.row as usize].pictures += group.count;
    }
    let (mut counts, mut files) = (Counts::default(), 0);
    for record in session.records() {
        let Record { number, fate, .. } = record?;
        let row = &mut rows[plan.groups()[plan.picture(number).group].row as usize];
        match &fate {
            Fate::Written { files: written, .. } => {
                row.written += 1;
                files += u64::from(*written);
            }
            Fate::Dropped(_) => row.dropped += 1,
            Fate::NotDrawn(_) | Fate::NotWritten(_) => row.failed += 1,
        }
        counts.add(&fate);
    }
    let path = out.join("report.json");
    let mut file = NewFile::create(&path)?;
    let mut text = BufWriter::with_capacity(1 << 16, file.file());
    let mut write = |counts: &Counts| -> Result<()> {
        let fail = |error| Error::writing(&path, error);
        let bundle = json!({
            "name": head.bundle.name(),
            "license": head.bundle.license(),
            "manifest": head.bundle.manifest_sha256(),
            "precision": head.precision,
        });
        writeln!(text, "{{\n\"format\": 1,\n\"library\": {},\n\"job\": {},", json!(VERSION), json!(head.job))
            .and_then(|()| writeln!(text, "\"bundle\": {bundle},\n\"problems\": {},", json!(head.problems)))
            .and_then(|()| {
                let Counts { written, dropped, failed, bytes } = counts;
                let left = plan.pictures() - counts.pictures();
                writeln!(
                    text,
                    "\"pictures\": {}, \"written\": {written}, \"dropped\": {dropped}, \"failed\": {failed}, \"left\": {left},\n\
                     \"files\": {files}, \"bytes\": {bytes},",
                    plan.pictures()
                )
            })
            .map_err(fail)?;
        if rows.len() <= MOST_ROWS {
            let rows = plan.rows().iter().zip(&rows).map(|(row, counts)| {
                Ok(json!({"row": row.number, "line": row.line, "tags": &*row.tags, "counts": counts}))
            });
            list(&mut text, "rows", rows, &path)?;
        }
        let classes = head.bundle.classes();
        let of = |record: Result<Record>, dropped: bool| -> Result<Option<serde_json::Value>> {
            let record = record?;
            let (reason, files) = match &record.fate {
                Fate::Dropped(reason) if dropped => (reason, Vec::new()),
                Fate::NotDrawn(reason) | Fate::NotWritten(reason) if !dropped => {
                    let picture = plan.picture(record.number);
                    (reason, picture.row.levels.iter().map(|&level| picture.path(classes, level)).collect())
                }
                _ => return Ok(None),
            };
            let picture = plan.picture(record.number);
            let class = classes.get(picture.image.class as usize);
            let mut line = json!({
                "number": record.number,
                "row": picture.row.number,
                "class": class,
                "seed": picture.image.seed,
                "reason": reason,
            });
            if !dropped {
                line["files"] = json!(files);
            }
            Ok(Some(line))
        };
        for (name, dropped) in [("failures", false), ("drops", true)] {
            let lines = session.unwritten().filter_map(|record| of(record, dropped).transpose());
            list(&mut text, name, lines, &path)?;
        }
        writeln!(text, "\"end\": true\n}}").and_then(|()| text.flush()).map_err(fail)
    };
    write(&counts)?;
    drop(text);
    file.finish()?;
    Ok(counts)
}

/// Writes a list of a report, an item a line.
fn list(
    text: &mut impl Write,
    name: &str,
    items: impl Iterator<Item = Result<serde_json::Value>>,
    path: &Path,
) -> Result<()> {
    let fail = |error| Error::writing(path, error);
    write!(text, "\"{name}\": [").map_err(fail)?;
    for (at, item) in items.enumerate() {
        write!(text, "{}{}", if at == 0 { "\n" } else { ",\n" }, item?).map_err(fail)?;
    }
    writeln!(text, "\n],").map_err(fail)
}

/// How a run was set up, for `timings.json`.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RunSetup {
    /// Models that draw at once.
    pub lanes: usize,
    /// Threads of each.
    pub threads: usize,
    /// Threads that encode and write.
    pub writers: usize,
    /// The most memory that the process had, in bytes, where the system tells.
    pub peak_memory: Option<u64>,
}

/// Writes `out/timings.json`: what a run took, and the share of each stage in the time of its threads.
///
/// # Errors
/// [`Error::Io`].
pub fn write_timings(out: &Path, outcome: &Outcome, setup: &RunSetup) -> Result<()> {
    let counts = outcome.progress.counts;
    let seconds = outcome.progress.time.as_secs_f64();
    let busy: Duration = outcome.stages.iter().filter(|(stage, _)| *stage != Stage::Idle).map(|(_, time)| *time).sum();
    let stages: serde_json::Map<String, serde_json::Value> = outcome
        .stages
        .iter()
        .map(|(stage, time)| {
            let share = time.as_secs_f64() / busy.as_secs_f64().max(1e-9);
            (stage.name().to_owned(), json!({"seconds": rounded(time.as_secs_f64()), "share": rounded(share)}))
        })
        .collect();
    let text = json!({
        "seconds": rounded(seconds),
        "pictures": counts.pictures(),
        "pictures_per_second": rounded(counts.pictures() as f64 / seconds.max(1e-9)),
        "setup": setup,
        "stages": stages,
    });
    write_file(&out.join("timings.json"), format!("{text:#}\n").as_bytes())
}

/// To thousandths.
fn rounded(value: f64) -> f64 {
    (value * 1e3).round() / 1e3
}

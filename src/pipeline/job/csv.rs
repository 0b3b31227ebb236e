//! Rows in CSV: a header with the names of columns, and a row on each line.

use std::cell::Cell;
use std::io::{Error, Read, Result};

use csv::{ByteRecord, ReaderBuilder, Trim};

use super::raw::{LONGEST_LINE, Lines, RawRow, Sink, Wrong};
use super::types::{ClassName, Classes, Every, LevelField, RowFields, SeedField, Setting, allowed};

/// The columns, in the order in which errors list them.
const COLUMNS: [&str; 12] =
    ["class", "count", "seed", "guidance", "temperature", "top_k", "top_p", "level", "output", "tags", "mix", "avoid"];
/// Bytes that are read ahead of the record.
const AHEAD: u64 = 1 << 20;

/// Fails when a record is too long: a quote that is not closed would take the rest of the file into memory.
struct Bounded<'a, R> {
    source: R,
    read: u64,
    allowed: &'a Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        if self.read >= self.allowed.get() {
            return Err(Error::other(TooLong));
        }
        let count = self.source.read(buffer)?;
        self.read += count as u64;
        Ok(count)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the record is too long")]
struct TooLong;

/// Reads rows to the end, one record in memory at a time.
///
/// # Errors
/// Those of `source`.
pub(super) fn read(source: impl Read, sink: &mut impl Sink) -> Result<()> {
    let allowed = Cell::new(LONGEST_LINE + AHEAD);
    let source = Bounded { source, read: 0, allowed: &allowed };
    let mut reader = ReaderBuilder::new().has_headers(false).flexible(true).trim(Trim::All).from_reader(source);
    let mut record = ByteRecord::new();
    let mut columns: Option<Vec<usize>> = None;
    let mut number = 0;
    loop {
        let place = reader.position().clone();
        allowed.set(place.byte() + LONGEST_LINE + AHEAD);
        match reader.read_byte_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(error) => {
                let error = match error.into_kind() {
                    csv::ErrorKind::Io(error) => error,
                    other => return Err(Error::other(format!("{other:?}"))),
                };
                if error.get_ref().is_none_or(|inner| !inner.is::<TooLong>()) {
                    return Err(error);
                }
                let text = format!(
                    "the record is longer than the {LONGEST_LINE} bytes that are allowed: is a quote not closed?"
                );
                sink.wrong(Wrong { line: place.line(), row: None, field: "".into(), text });
                return Ok(());
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        // A line of blanks alone.
        if record.len() == 1 && record[0].is_empty() {
            continue;
        }
        match &columns {
            None => match header(&record) {
                Ok(found) => columns = Some(found),
                Err((field, text)) => {
                    sink.wrong(Wrong { line, row: None, field: field.into(), text });
                    return Ok(());
                }
            },
            Some(columns) => {
                row(number, line, columns, &record, sink);
                number += 1;
            }
        }
    }
}

/// Which column each cell is.
fn header(record: &ByteRecord) -> std::result::Result<Vec<usize>, (String, String)> {
    let mut found = Vec::new();
    for cell in record {
        let name = String::from_utf8_lossy(cell).into_owned();
        let Some(at) = COLUMNS.iter().position(|column| *column == name) else {
            let text =
                format!("unknown column; allowed are {}, separated by commas, in the first line", COLUMNS.join(", "));
            return Err((name, text));
        };
        if found.contains(&at) {
            return Err((name, "the column is there twice".to_owned()));
        }
        found.push(at);
    }
    Ok(found)
}

fn row(number: u64, line: u64, columns: &[usize], record: &ByteRecord, sink: &mut impl Sink) {
    let wrong = |field: &str, text: String| Wrong { line, row: Some(number), field: field.to_owned().into(), text };
    if record.len() != columns.len() {
        let text = format!("the row has {} cells; the header has {}", record.len(), columns.len());
        return sink.wrong(wrong("", text));
    }
    let (mut fields, mut failed) = (RowFields::default(), Vec::new());
    for (&column, cell) in columns.iter().zip(record) {
        let name = COLUMNS[column];
        let read = match std::str::from_utf8(cell) {
            Ok("") => continue,
            Ok(text) => fill(&mut fields, name, text)
                .ok_or_else(|| format!("\"{text}\" is not allowed; allowed is {}", cell_allowed(name))),
            Err(_) => Err("the text is not UTF-8".to_owned()),
        };
        if let Err(text) = read {
            sink.wrong(wrong(name, text));
            failed.push(name.to_owned());
        }
    }
    sink.row(RawRow { number, line, fields, lines: Lines::new(), failed });
}

/// What a cell may hold.
fn cell_allowed(column: &str) -> String {
    let allowed = allowed(column).unwrap_or("any text");
    if allowed.contains("list") { format!("{allowed}; a list is separated by ;") } else { allowed.to_owned() }
}

/// Sets the field of a column.
fn fill(fields: &mut RowFields, column: &str, text: &str) -> Option<()> {
    let setting = || Some(Setting::Curve(text.to_owned()));
    match column {
        "class" => {
            let mut names = split(text).map(|name| ClassName::Name(name.to_owned()));
            fields.class = Some(match text.contains(';') {
                true => Classes::List(names.collect()),
                false => Classes::One(names.next()?),
            });
        }
        "count" => fields.count = Some(text.parse().ok()?),
        "seed" => {
            fields.seed = Some(match text.contains(';') {
                true => SeedField::List(split(text).map(|seed| seed.parse().ok()).collect::<Option<_>>()?),
                false => SeedField::Text(text.to_owned()),
            });
        }
        "guidance" => fields.guidance = setting(),
        "temperature" => fields.temperature = setting(),
        "top_k" => fields.top_k = setting(),
        "top_p" => fields.top_p = setting(),
        "level" => {
            fields.level = Some(match text {
                "all" => LevelField::All(Every::All),
                _ if text.contains(';') => {
                    LevelField::List(split(text).map(|level| level.parse().ok()).collect::<Option<_>>()?)
                }
                _ => LevelField::One(text.parse().ok()?),
            });
        }
        "output" => fields.output = Some(text.to_owned()),
        "mix" => fields.mix = Some(text.to_owned()),
        "avoid" => fields.avoid = Some(text.to_owned()),
        _ => fields.tags = Some(split(text).map(str::to_owned).collect()),
    }
    Some(())
}

/// The items of a list; one may end with a separator.
fn split(text: &str) -> impl Iterator<Item = &str> {
    text.split(';').map(str::trim).filter(|item| !item.is_empty())
}

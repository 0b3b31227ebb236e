//! Rows in JSON Lines: an object on each line.

use std::io::{BufRead, Read, Result};

use serde_json::Value;

use super::raw::{LONGEST_LINE, Lines, RawRow, Sink, Wrong, read_fields};
use super::types::RowFields;

/// Reads rows to the end, one line in memory at a time.
///
/// # Errors
/// Those of `source`.
pub(super) fn read(source: &mut impl BufRead, sink: &mut impl Sink) -> Result<()> {
    let mut text = Vec::new();
    let mut number = 0;
    for line in 1.. {
        text.clear();
        if source.by_ref().take(LONGEST_LINE + 1).read_until(b'\n', &mut text)? == 0 {
            break;
        }
        let wrong = |text: String| Wrong { line, row: Some(number), field: "".into(), text };
        if text.len() as u64 > LONGEST_LINE {
            sink.wrong(wrong(format!("the line is longer than the {LONGEST_LINE} bytes that are allowed")));
            if text.last() != Some(&b'\n') {
                source.skip_until(b'\n')?;
            }
        } else if text.trim_ascii().is_empty() {
            continue;
        } else {
            match parse(&text) {
                Ok(Line::Row(fields)) => {
                    sink.row(RawRow { number, line, fields, lines: Lines::new(), failed: Vec::new() });
                }
                Ok(Line::Wrong(fields, problems)) => {
                    let mut failed = Vec::new();
                    for (field, text) in problems {
                        failed.push(field.clone());
                        sink.wrong(Wrong { line, row: Some(number), field: field.into(), text });
                    }
                    sink.row(RawRow { number, line, fields, lines: Lines::new(), failed });
                }
                Err(text) => sink.wrong(wrong(text)),
            }
        }
        number += 1;
    }
    Ok(())
}

const NO_OBJECT: &str = "a row must be an object such as {\"class\": \"potion\", \"count\": 100}";

enum Line {
    Row(RowFields),
    /// Fields that are not allowed, and the others.
    Wrong(RowFields, Vec<(String, String)>),
}

fn parse(text: &[u8]) -> std::result::Result<Line, String> {
    let text = text.trim_ascii_end();
    let read = serde_json::from_slice(text);
    // To serde a list of values is a struct too.
    let is_object = text.trim_ascii_start().starts_with(b"{");
    let error = match read {
        Ok(fields) if is_object => return Ok(Line::Row(fields)),
        Ok(_) => return Err(NO_OBJECT.to_owned()),
        Err(error) => error,
    };
    let fields = match serde_json::from_slice(text) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => return Err(NO_OBJECT.to_owned()),
        Err(error) => return Err(format!("the line is not JSON: {} at column {}", plain(&error), error.column())),
    };
    let mut problems = Vec::new();
    let read = read_fields("", fields, |field, text| problems.push((field.to_owned(), text)));
    // A field that is there twice is one in a tree of values.
    if problems.is_empty() {
        return Err(plain(&error));
    }
    Ok(Line::Wrong(read, problems))
}

/// The text of an error without its place.
fn plain(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.as_str(), |(text, _)| text).replace('`', "")
}

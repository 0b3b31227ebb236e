//! What the readers of job files give: rows and settings whose fields have the right types, with the lines that they stand in.

use std::borrow::Cow;

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::types::{FinishChoice, PageChoice, RowFields, allowed};
use crate::pipeline::select::SelectSettings;
use crate::pipeline::settings::{Atlas, Output};

/// Bytes of the longest line or record of JSONL and CSV.
pub(super) const LONGEST_LINE: u64 = 16 << 20;

/// Lines of fields.
pub(super) type Lines = Vec<(String, u64)>;

/// One row as a file has it.
#[derive(Debug, Default)]
pub(super) struct RawRow {
    /// Its number in the file, from 0.
    pub number: u64,
    /// Where it begins.
    pub line: u64,
    /// Its fields, without those that failed.
    pub fields: RowFields,
    /// Lines of its fields, where they differ from `line`.
    pub lines: Lines,
    /// Fields with a problem that was reported.
    pub failed: Vec<String>,
}

/// What a job file says beside its rows.
#[derive(Debug, Default)]
pub(super) struct RawHead {
    pub output: Output,
    pub atlas: Option<Atlas>,
    pub select: Option<SelectSettings>,
    pub page: PageChoice,
    pub finish: FinishChoice,
    pub defaults: RowFields,
    /// Lines of fields by path, `output.scale`, and of tables.
    pub lines: Lines,
}

/// A field or text that is not allowed.
#[derive(Debug)]
pub(super) struct Wrong {
    pub line: u64,
    /// `None` where it is the whole job that is wrong.
    pub row: Option<u64>,
    pub field: Cow<'static, str>,
    pub text: String,
}

/// What takes them.
pub(super) trait Sink {
    /// Takes a problem.
    fn wrong(&mut self, wrong: Wrong);
    /// Takes the settings, before the first row, if the file has any.
    fn head(&mut self, head: RawHead);
    /// Takes the next row.
    fn row(&mut self, row: RawRow);
}

/// The line of a field.
pub(super) fn line_of(lines: &Lines, field: &str, otherwise: u64) -> u64 {
    lines.iter().find(|(name, _)| name == field).map_or(otherwise, |(_, line)| *line)
}

/// Reads a table field by field, all of them optional: `wrong` takes each that is not allowed, by its name, and the others stay.
/// `section` is what comes before the names of fields: `output.`.
pub(super) fn read_fields<T: DeserializeOwned + Default>(
    section: &str,
    fields: Map<String, Value>,
    mut wrong: impl FnMut(&str, String),
) -> T {
    let whole = Value::Object(fields);
    let error = match T::deserialize(&whole) {
        Ok(read) => return read,
        Err(error) => error,
    };
    let Value::Object(fields) = whole else { return T::default() };
    let mut kept = Map::new();
    let count = fields.len();
    for (name, value) in fields {
        let one = Value::Object(Map::from_iter([(name.clone(), value)]));
        match T::deserialize(&one) {
            Ok(_) => kept.extend(if let Value::Object(one) = one { one } else { Map::new() }),
            Err(error) => wrong(&name, explain(&format!("{section}{name}"), &one[&name], &error.to_string())),
        }
    }
    if kept.len() == count {
        wrong("", error.to_string());
        return T::default();
    }
    T::deserialize(&Value::Object(kept)).unwrap_or_default()
}

/// Why `value` is not allowed at `place`.
pub(super) fn explain(place: &str, value: &Value, error: &str) -> String {
    if let Some((name, names)) = error.strip_prefix("unknown field `").and_then(|rest| rest.split_once("`, expected "))
    {
        let names = names.trim_start_matches("one of ").replace('`', "");
        let own = place.rsplit('.').next() == Some(name);
        return if own {
            format!("unknown field; allowed are {names}")
        } else {
            format!("unknown field {name}; allowed are {names}")
        };
    }
    match allowed(place) {
        Some(allowed) if value.is_object() => format!("{error}; allowed is {allowed}"),
        Some(allowed) => format!("{} is not allowed; allowed is {allowed}", short(value)),
        None => error.replace('`', ""),
    }
}

/// A value as text of a bounded length.
fn short(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    match text.char_indices().nth(MOST) {
        Some((at, _)) => format!("{} …", &text[..at]),
        None => text,
    }
}

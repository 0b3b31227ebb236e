//! Job files in TOML: all settings and rows, with the line of every field.

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::raw::{Lines, RawHead, RawRow, Sink, Wrong, explain, line_of, read_fields};
use super::types::{FinishChoice, PageChoice};

/// Bytes of the longest job file in TOML.
pub(super) const LONGEST: u64 = 64 << 20;

/// The tables of a job file.
const TABLES: &str = "output, finish, atlas, select, page, defaults and row";

/// Where lines begin.
struct Text<'a> {
    text: &'a str,
    breaks: Vec<usize>,
}

impl<'a> Text<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, breaks: text.bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(at, _)| at).collect() }
    }

    /// The line of a byte, from 1.
    fn line(&self, at: usize) -> u64 {
        self.breaks.partition_point(|&end| end < at.min(self.text.len())) as u64 + 1
    }
}

/// Reads a whole file.
pub(super) fn read(text: &str, sink: &mut impl Sink) {
    let place = Text::new(text);
    let table = match DeTable::parse(text) {
        Ok(table) => table.into_inner(),
        Err(error) => {
            let line = place.line(error.span().map_or(0, |span| span.start));
            let text = format!("the file is not TOML: {}", error.message());
            return sink.wrong(Wrong { line, row: None, field: "".into(), text });
        }
    };
    let mut head = RawHead::default();
    let mut rows = None;
    for (key, value) in table {
        let line = place.line(key.span().start);
        let name = key.into_inner();
        match (&*name, value.into_inner()) {
            ("row", value) => rows = Some((line, value)),
            ("page", DeValue::Table(table)) => {
                head.page = PageChoice::With(section("page", table, &place, &mut head.lines, sink));
            }
            ("page", value) => match page(value) {
                Ok(page) => head.page = page,
                Err(text) => sink.wrong(Wrong { line, row: None, field: "page".into(), text }),
            },
            ("finish", DeValue::Table(table)) => {
                head.finish = FinishChoice::With(section("finish", table, &place, &mut head.lines, sink));
            }
            ("finish", DeValue::Boolean(on)) => head.finish = FinishChoice::On(on),
            ("output", DeValue::Table(table)) => head.output = section("output", table, &place, &mut head.lines, sink),
            ("atlas", DeValue::Table(table)) => {
                head.atlas = Some(section("atlas", table, &place, &mut head.lines, sink));
            }
            ("select", DeValue::Table(table)) => {
                head.select = Some(section("select", table, &place, &mut head.lines, sink));
            }
            ("defaults", DeValue::Table(table)) => {
                head.defaults = section("defaults", table, &place, &mut head.lines, sink);
            }
            (known, _) => {
                let text = match known {
                    "finish" => "it must be true, false, or a table, [finish]".to_owned(),
                    "output" | "atlas" | "select" | "defaults" => format!("it must be a table, [{known}]"),
                    _ => format!("unknown field; allowed are {TABLES}"),
                };
                sink.wrong(Wrong { line, row: None, field: known.to_owned().into(), text });
            }
        }
        head.lines.push((name.into_owned(), line));
    }
    sink.head(head);
    let Some((line, rows)) = rows else { return };
    let DeValue::Array(rows) = rows else {
        let text = "rows must be tables, [[row]]".to_owned();
        return sink.wrong(Wrong { line, row: None, field: "row".into(), text });
    };
    for (number, row) in (0..).zip(rows) {
        read_row(number, row, &place, sink);
    }
}

fn page(value: DeValue<'_>) -> Result<PageChoice, String> {
    let value = convert(value)?;
    PageChoice::deserialize(&value).map_err(|error| explain("page", &value, &error.to_string()))
}

/// Reads a table of settings.
fn section<T: DeserializeOwned + Default>(
    name: &str,
    table: DeTable<'_>,
    place: &Text<'_>,
    lines: &mut Lines,
    sink: &mut impl Sink,
) -> T {
    let field = |key: &str| format!("{name}.{key}");
    let mut found = Lines::new();
    let fields = fields(table, place, &mut found, |key, line, text| {
        sink.wrong(Wrong { line, row: None, field: field(key).into(), text });
    });
    // The fields of `defaults` are those of a row.
    let path = if name == "defaults" { String::new() } else { field("") };
    let read = read_fields(&path, fields, |key, text| {
        sink.wrong(Wrong { line: line_of(&found, key, 0), row: None, field: field(key).into(), text });
    });
    lines.extend(found.into_iter().map(|(key, line)| (field(&key), line)));
    read
}

fn read_row(number: u64, row: Spanned<DeValue<'_>>, place: &Text<'_>, sink: &mut impl Sink) {
    let line = place.line(row.span().start);
    let DeValue::Table(table) = row.into_inner() else {
        let text = "a row must be a table, [[row]]".to_owned();
        return sink.wrong(Wrong { line, row: Some(number), field: "".into(), text });
    };
    let (mut lines, mut failed) = (Lines::new(), Vec::new());
    let mut wrong = |key: &str, line, text| {
        sink.wrong(Wrong { line, row: Some(number), field: key.to_owned().into(), text });
        failed.push(key.to_owned());
    };
    let fields = fields(table, place, &mut lines, &mut wrong);
    let fields = read_fields("", fields, |key, text| wrong(key, line_of(&lines, key, line), text));
    sink.row(RawRow { number, line, fields, lines, failed });
}

/// The fields of a table, without those whose values no job file has; `wrong` takes these.
fn fields(
    table: DeTable<'_>,
    place: &Text<'_>,
    lines: &mut Lines,
    mut wrong: impl FnMut(&str, u64, String),
) -> Map<String, Value> {
    let mut fields = Map::new();
    for (key, value) in table {
        let line = place.line(key.span().start);
        let key = key.into_inner().into_owned();
        match convert(value.into_inner()) {
            Ok(value) => {
                lines.push((key.clone(), line));
                fields.insert(key, value);
            }
            Err(text) => wrong(&key, line, text),
        }
    }
    fields
}

/// A value as JSON. Integers are exact up to 64 bits without a sign.
fn convert(value: DeValue<'_>) -> Result<Value, String> {
    Ok(match value {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Boolean(value) => Value::Bool(value),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            match (u64::from_str_radix(digits, radix), i64::from_str_radix(digits, radix)) {
                (Ok(number), _) => number.into(),
                (_, Ok(number)) => number.into(),
                _ => return Err(format!("{number} is out of range; allowed are 64-bit integers")),
            }
        }
        DeValue::Float(number) => match number.as_str().parse().ok().and_then(Number::from_f64) {
            Some(number) => Value::Number(number),
            None => return Err(format!("{number} is not allowed; allowed are finite numbers")),
        },
        DeValue::Datetime(_) => return Err("a date is not allowed".to_owned()),
        DeValue::Array(values) => {
            Value::Array(values.into_iter().map(|value| convert(value.into_inner())).collect::<Result<_, _>>()?)
        }
        DeValue::Table(table) => {
            let fields =
                table.into_iter().map(|(key, value)| Ok((key.into_inner().into_owned(), convert(value.into_inner())?)));
            Value::Object(fields.collect::<Result<_, String>>()?)
        }
    })
}

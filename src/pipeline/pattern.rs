//! Names of files with fields: `{class}/{seed:06}_{level}.png`.
//!
//! What is put in for a field is made safe for file names on every system, so that a job gives the same names everywhere.

use std::borrow::Borrow;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use crate::pixels::FileFormat;
use crate::support::error::{Error, Result};

/// A field of a file name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// The name of the class.
    Class,
    /// The seed.
    Seed,
    /// The level, in pixels per side.
    Level,
    /// The number of the row in the job file, from 0.
    Row,
    /// The number of the picture in the job, from 0.
    Number,
    /// The first tag of the row.
    Tag,
    /// The index of the picture in its command, from 0.
    Index,
    /// The size in pixels per side.
    Size,
}

impl Field {
    /// The fields of a job's names.
    pub const OF_JOB: [Self; 6] = [Self::Class, Self::Seed, Self::Level, Self::Row, Self::Number, Self::Tag];

    const ALL: [(&str, Self); 8] = [
        ("class", Self::Class),
        ("seed", Self::Seed),
        ("level", Self::Level),
        ("row", Self::Row),
        ("number", Self::Number),
        ("tag", Self::Tag),
        ("index", Self::Index),
        ("size", Self::Size),
    ];

    fn is_number(self) -> bool {
        !matches!(self, Self::Class | Self::Tag)
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(_, field)| field == self).map_or("", |(name, _)| name);
        write!(f, "{{{name}}}")
    }
}

/// What the fields of one name stand for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Values<'a> {
    /// The name of the class; `picture` without.
    pub class: Option<&'a str>,
    /// The seed; `none` without.
    pub seed: Option<u64>,
    /// Pixels per side, for `{level}` and `{size}`.
    pub size: u32,
    /// The number of the row.
    pub row: u32,
    /// The number of the picture, for `{number}` and `{index}`.
    pub number: u64,
    /// The tag; `untagged` without.
    pub tag: Option<&'a str>,
}

/// A file name with fields. Numbers may have a least number of digits, `{seed:05}`; `{{` is a brace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pattern(Arc<str>);

#[derive(Clone, Copy)]
enum Part<'a> {
    Text(&'a str),
    /// A field, and the least number of digits of a number.
    Field(Field, usize),
}

impl Pattern {
    /// Reads the fields of `text`, which must be among `allowed`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for any other field, a width of a field that is not a number, or a brace that is not closed; the message lists
    /// what is allowed.
    pub fn parse(text: &str, allowed: &[Field]) -> Result<Self> {
        for part in parts(text) {
            if let Part::Field(field, _) = part.map_err(|wrong| wrong.explain(text, allowed))?
                && !allowed.contains(&field)
            {
                return Err(Wrong::Field(&field.to_string()).explain(text, allowed));
            }
        }
        Ok(Self(text.into()))
    }

    /// Reads a name of a job: fields of [`Field::OF_JOB`], a path below the output folder that every system can have, and the
    /// extension of a format that can be written.
    ///
    /// # Errors
    /// [`Error::Invalid`], which says what is allowed.
    pub fn of_job(text: &str) -> Result<Self> {
        let pattern = Self::parse(text, &Field::OF_JOB)?;
        let refuse = |what: &str| {
            Err(Error::Invalid(format!(
                "\"{text}\": {what}; allowed is a path below the output folder such as \"{{class}}/{{seed:06}}.png\""
            )))
        };
        // A letter for each field: what is left is the text that is the same in all names.
        let letters: String = parts(text)
            .filter_map(std::result::Result::ok)
            .map(|part| if let Part::Text(text) = part { text } else { "x" })
            .collect();
        if letters.len() > LONGEST {
            return refuse(&format!("the name is longer than {LONGEST} bytes"));
        }
        if letters.starts_with('/') {
            return refuse("an absolute path");
        }
        if let Some(c) = letters.chars().find(|&c| c != '/' && is_unsafe(c)) {
            return refuse(&format!("the character {c:?} is not allowed in file names on every system"));
        }
        for name in letters.split('/') {
            if name.is_empty() {
                return refuse("a folder or file without a name");
            }
            if name.ends_with(['.', ' ']) || name.starts_with(' ') {
                return refuse(
                    "a folder or file whose name is `.` or `..`, ends with a dot or has a space at its start or end",
                );
            }
            if is_reserved(name.split('.').next().unwrap_or(name)) {
                return refuse(&format!("{name} is the name of a device on Windows"));
            }
        }
        if letters.split('/').next().is_some_and(|name| name.to_lowercase().starts_with(".dflow-batch")) {
            return refuse("the folder .dflow-batch is that of the journal");
        }
        check_extension(&letters).map_err(|what| Error::Invalid(format!("\"{text}\": {what}")))?;
        Ok(pattern)
    }

    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn parts(&self) -> impl Iterator<Item = Part<'_>> {
        // Each part was read before.
        parts(&self.0).filter_map(std::result::Result::ok)
    }

    /// Whether names depend on `wanted`.
    #[must_use]
    pub fn has(&self, wanted: Field) -> bool {
        self.parts().any(|part| matches!(part, Part::Field(field, _) if field == wanted))
    }

    /// Whether there is any field.
    #[must_use]
    pub fn has_fields(&self) -> bool {
        self.parts().any(|part| matches!(part, Part::Field(..)))
    }

    /// The numbers that can be read back from the end of a name, since a constant text that ends with no digit is before each of
    /// them; and the fields before these, from the left.
    pub(super) fn trailing_numbers(&self) -> (Vec<Field>, Vec<Field>) {
        let mut parts: Vec<Part<'_>> = self.parts().collect();
        let mut numbers = Vec::new();
        while let Some(part) = parts.pop() {
            let Part::Field(field, _) = part else { continue };
            let delimited = match parts.last() {
                None => true,
                Some(Part::Text(text)) => !text.ends_with(|c: char| c.is_ascii_digit()),
                Some(Part::Field(..)) => false,
            };
            if !field.is_number() || !delimited {
                parts.push(part);
                break;
            }
            numbers.push(field);
        }
        let field = |part| if let Part::Field(field, _) = part { Some(field) } else { None };
        (numbers, parts.into_iter().filter_map(field).collect())
    }

    /// The name with these values. A class or tag never makes a folder, and no folder or file that has a field is named as a
    /// Windows device: `con.png` becomes `con_.png`.
    #[must_use]
    pub fn fill(&self, values: &Values<'_>) -> String {
        use std::fmt::Write;

        let mut name = String::new();
        // Whether each folder or file of the path has a field.
        let mut filled = vec![false];
        for part in self.parts() {
            match part {
                Part::Text(text) => filled.extend(text.matches('/').map(|_| false)),
                Part::Field(..) => filled.last_mut().into_iter().for_each(|last| *last = true),
            }
            // Writing to a string cannot fail.
            let _ = match part {
                Part::Text(text) => name.write_str(text),
                Part::Field(Field::Class, _) => name.write_str(&safe_name(values.class.unwrap_or("picture"))),
                Part::Field(Field::Tag, _) => name.write_str(&safe_name(values.tag.unwrap_or("untagged"))),
                Part::Field(Field::Seed, width) => match values.seed {
                    Some(seed) => write!(name, "{seed:0width$}"),
                    None => name.write_str("none"),
                },
                Part::Field(Field::Level | Field::Size, width) => write!(name, "{:0width$}", values.size),
                Part::Field(Field::Row, width) => write!(name, "{:0width$}", values.row),
                Part::Field(Field::Number | Field::Index, width) => write!(name, "{:0width$}", values.number),
            };
        }
        without_devices(name, &filled)
    }
}

/// A pattern equals its text, for look-ups.
impl Borrow<str> for Pattern {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bytes of the longest pattern of a job.
const LONGEST: usize = 1000;

/// What is wrong with a pattern.
enum Wrong<'a> {
    Unclosed(&'a str),
    Field(&'a str),
    Width(&'a str),
}

impl Wrong<'_> {
    fn explain(&self, text: &str, allowed: &[Field]) -> Error {
        Error::Invalid(match self {
            Self::Unclosed(rest) => {
                format!("{text}: {rest} has no closing brace; a brace in a name is written {{{{")
            }
            Self::Field(field) => {
                let names: Vec<String> = allowed.iter().map(ToString::to_string).collect();
                let names = match &names[..] {
                    [before @ .., last] if !before.is_empty() => format!("{} and {last}", before.join(", ")),
                    _ => names.concat(),
                };
                format!(
                    "{text}: unknown field {field}; allowed are {names}, lower case, and a brace in a name is written {{{{"
                )
            }
            Self::Width(field) => {
                format!("{text}: {field}: only a number has a width, 01 to 020 digits, as in {{seed:05}}")
            }
        })
    }
}

/// The parts of a pattern, up to the first that is wrong.
fn parts(text: &str) -> impl Iterator<Item = Result<Part<'_>, Wrong<'_>>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let part = next_part(rest);
        rest = part.as_ref().map_or("", |(_, after)| after);
        Some(part.map(|(part, _)| part))
    })
}

/// The first part of `text`, which is not empty, and what follows.
fn next_part(text: &str) -> Result<(Part<'_>, &str), Wrong<'_>> {
    let Some(at) = text.find(['{', '}']) else { return Ok((Part::Text(text), "")) };
    if at > 0 {
        return Ok((Part::Text(&text[..at]), &text[at..]));
    }
    if let Some(after) = text.strip_prefix("{{").or(text.strip_prefix("}}")).or(text.strip_prefix('}')) {
        return Ok((Part::Text(&text[..1]), after));
    }
    let end = text.find('}').ok_or(Wrong::Unclosed(text))?;
    let (whole, inner, after) = (&text[..=end], &text[1..end], &text[end + 1..]);
    let (name, width) = inner.split_once(':').map_or((inner, None), |(name, width)| (name, Some(width)));
    let (_, field) = *Field::ALL.iter().find(|(known, _)| *known == name).ok_or(Wrong::Field(whole))?;
    let digits = |width: &str| match width.strip_prefix('0')?.parse() {
        Ok(digits @ 1..=20) if field.is_number() && !width.contains('+') => Some(digits),
        _ => None,
    };
    let width = width.map_or(Some(0), digits).ok_or(Wrong::Width(whole))?;
    Ok((Part::Field(field, width), after))
}

/// Whether a character cannot be in file names on every system, `/` included.
fn is_unsafe(c: char) -> bool {
    c.is_control() || "/\\:*?\"<>|".contains(c)
}

/// `name` as a part of a file name on any system: a class named "lamp/torch" must not name a folder, and no name ends with a dot
/// or a space, which Windows drops.
#[must_use]
pub fn safe_name(name: &str) -> String {
    // A name of dots alone is a folder.
    let dots = name.chars().all(|c| c == '.');
    let mut safe = name.replace(|c: char| is_unsafe(c) || dots, "_");
    if safe.starts_with(' ') {
        safe.replace_range(..1, "_");
    }
    if safe.ends_with(['.', ' ']) {
        safe.pop();
        safe.push('_');
    }
    if safe.is_empty() { "_".to_owned() } else { safe }
}

/// Whether Windows takes a name, without what follows its first dot, for a device.
fn is_reserved(stem: &str) -> bool {
    let stem = stem.trim_end();
    let port = |start: &str| {
        stem.get(..3).is_some_and(|name| name.eq_ignore_ascii_case(start))
            && matches!(
                stem.get(3..),
                Some("0" | "1" | "2" | "3" | "4" | "5" | "6" | "7" | "8" | "9" | "¹" | "²" | "³")
            )
    };
    ["con", "prn", "aux", "nul", "conin$", "conout$"].iter().any(|name| stem.eq_ignore_ascii_case(name))
        || port("com")
        || port("lpt")
}

/// `path` with `_` after each name that is a device and was made of a field.
fn without_devices(path: String, filled: &[bool]) -> String {
    let stem = |name: &str| name.split('.').next().unwrap_or(name).len();
    if !path.split('/').any(|name| is_reserved(&name[..stem(name)])) {
        return path;
    }
    let names = path.split('/').zip(filled).map(|(name, filled)| match name.split_at(stem(name)) {
        (device, rest) if *filled && is_reserved(device) => format!("{device}_{rest}"),
        _ => name.to_owned(),
    });
    names.collect::<Vec<_>>().join("/")
}

/// Formats beside those of [`FileFormat`].
const TEXTURES: [&str; 3] = ["exr", "dds", "ktx2"];

fn check_extension(path: &str) -> Result<(), String> {
    let extension = Path::new(path).extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if FileFormat::from_path(path).is_ok() || TEXTURES.iter().any(|known| extension.eq_ignore_ascii_case(known)) {
        return Ok(());
    }
    Err(format!(
        "the extension \"{extension}\" is not that of a format that can be written; allowed are png, webp, qoi, tga, bmp, jpg, \
         tiff, exr, dds and ktx2"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIPS: [Field; 4] = [Field::Class, Field::Seed, Field::Index, Field::Size];
    const LEVELS: [Field; 4] = [Field::Class, Field::Seed, Field::Index, Field::Level];

    fn filled(pattern: &str, allowed: &[Field], values: Values<'_>) -> String {
        Pattern::parse(pattern, allowed).unwrap_or_else(|error| panic!("{pattern}: {error}")).fill(&values)
    }

    #[test]
    fn pattern_fields_are_expanded_once() {
        let torch = Values { class: Some("lamp/torch"), seed: Some(7), number: 3, size: 16, ..Values::default() };
        assert_eq!(filled("out/{class}_{seed}_{index}.png", &LEVELS, torch), "out/lamp_torch_7_3.png");
        assert_eq!(filled("{size}-{index}.png", &MIPS, torch), "16-3.png");
        assert_eq!(filled("{seed:05}-{index:02}-{level:04}.png", &LEVELS, torch), "00007-03-0016.png");
        assert_eq!(filled("{{seed}}-{seed}}.png", &LEVELS, torch), "{seed}-7}.png");
        let odd = Values { class: Some("{index}"), ..Values::default() };
        assert_eq!(filled("{class}-{seed:03}.png", &LEVELS, odd), "{index}-none.png");
        let up = Values { class: Some(".."), ..Values::default() };
        assert_eq!(filled("{class}/a.png", &LEVELS, up), "__/a.png");
        let row = Values { row: 4, number: 5, tag: Some("boss "), ..Values::default() };
        assert_eq!(filled("{row:02}{number}{tag}.png", &Field::OF_JOB, row), "045boss_.png");
    }

    #[test]
    fn pattern_with_unknown_fields_is_refused() {
        for pattern in [
            "{Seed}.png",
            "{x}.png",
            "{}.png",
            "{size}.png",
            "{seed",
            "{seed.png",
            "{seed:}.png",
            "{seed:5}.png",
            "{seed:0}.png",
            "{seed:021}.png",
            "{seed:0x}.png",
            "{seed:0+5}.png",
            "{class:05}.png",
            "{ seed}.png",
        ] {
            assert!(matches!(Pattern::parse(pattern, &LEVELS), Err(Error::Invalid(_))), "{pattern}");
        }
        let error = Pattern::parse("{x}.png", &LEVELS).unwrap_err().to_string();
        assert!(error.contains("allowed are {class}, {seed}, {index} and {level}"), "{error}");
    }

    #[test]
    fn job_pattern_stays_below_the_output_folder_on_every_system() {
        for (pattern, word) in [
            ("/a/{seed}.png", "absolute"),
            ("../{seed}.png", "`..`"),
            ("a/../{seed}.png", "`..`"),
            ("a/./{seed}.png", "`.`"),
            ("a//{seed}.png", "without a name"),
            ("{class}/", "without a name"),
            ("", "without a name"),
            ("C:{seed}.png", "':'"),
            ("a\\{seed}.png", "'\\\\'"),
            ("a\u{1}.png", "'\\u{1}'"),
            ("{class}./{seed}.png", "ends with a dot"),
            ("nul/{seed}.png", "device"),
            ("Com1.{seed}.png", "device"),
            (".dflow-batch/{seed}.png", "journal"),
            ("{seed}.gif", "png, webp"),
            ("{seed}", "extension"),
            ("{seed}.{class}", "extension"),
            ("{index}.png", "allowed are {class}"),
        ] {
            let error = Pattern::of_job(pattern).expect_err(pattern).to_string();
            assert!(error.contains(word), "{pattern}: {error}");
        }
        for pattern in ["{class}/{seed:06}_{level}.PNG", "a.b/c d/{{x}}{number}.ktx2", "{tag}/{row}.exr", "{class}.dds"]
        {
            assert!(Pattern::of_job(pattern).is_ok(), "{pattern}");
        }
    }

    #[test]
    fn trailing_numbers_are_those_that_can_be_read_back() {
        use Field::{Class, Level, Number, Row, Seed};
        for (pattern, numbers, before) in [
            ("{class}/{seed:06}_{level}.png", &[Level, Seed][..], &[Class][..]),
            ("{number}.png", &[Number], &[]),
            ("a{row}-{seed}0.png", &[Seed, Row], &[]),
            ("{row}{seed}.png", &[], &[Row, Seed]),
            ("{seed}1{row}.png", &[], &[Seed, Row]),
            ("{seed}-{class}.png", &[], &[Seed, Class]),
            ("{class}{seed}.png", &[], &[Class, Seed]),
            ("a.png", &[], &[]),
        ] {
            let found = Pattern::of_job(pattern).unwrap().trailing_numbers();
            assert_eq!(found, (numbers.to_vec(), before.to_vec()), "{pattern}");
        }
    }

    #[test]
    fn names_of_devices_and_folders_get_an_underscore() {
        let fill = |pattern: &str, class| filled(pattern, &LEVELS, Values { class: Some(class), ..Values::default() });
        assert_eq!(fill("{class}/{class}.png", "CON"), "CON_/CON_.png");
        assert_eq!(fill("c{class}.png", "on"), "con_.png");
        assert_eq!(fill("{class}.png", "lpt9.x"), "lpt9_.x.png");
        // What a person wrote stays.
        assert_eq!(fill("con/aux-{class}/nul.png", "a"), "con/aux-a/nul.png");
        assert_eq!(fill("{class}/a.png", "console"), "console/a.png");
        assert_eq!(fill("{class}/a.png", ""), "_/a.png");
        assert_eq!(fill("{class}/a.png", " a. "), "_a._/a.png");
        assert_eq!(fill("{class}/a.png", "a:b*\n"), "a_b__/a.png");
    }
}

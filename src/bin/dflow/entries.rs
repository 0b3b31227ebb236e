//! `--entry` and `--entries`: some of the pictures of a token file.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use clap::Args;
use detailflow::Error;

use crate::source::Source;
use crate::{Failure, stream};

/// The most bytes of a list of entries.
const LARGEST_LIST: u64 = 256 << 20;

#[derive(Args)]
pub struct EntryArgs {
    /// Only this entry, by name or number; may be repeated. A name with * or ? is a pattern. Pictures of a JSON file are named
    /// class-seed
    #[arg(long, value_name = "ENTRY")]
    entry: Vec<String>,
    /// Only the entries of this file, - for standard input: names, numbers or patterns, one a line
    #[arg(long, value_name = "FILE")]
    entries: Option<PathBuf>,
}

impl EntryArgs {
    /// Whether any entry is named.
    pub fn any(&self) -> bool {
        !self.entry.is_empty() || self.entries.is_some()
    }

    /// The numbers of the entries in the order in which they are named, each once; all of them if none is named.
    pub fn of(&self, source: &Source, place: &Path) -> Result<Vec<u32>, Failure> {
        if !self.any() {
            return Ok((0..source.len()).collect());
        }
        let mut wanted = self.entry.clone();
        if let Some(list) = &self.entries {
            let text = read_list(list)?;
            wanted.extend(text.lines().map(str::trim_end).filter(|line| !line.is_empty()).map(str::to_owned));
        }
        let (mut numbers, mut seen) = (Vec::new(), HashSet::new());
        for entry in &wanted {
            for number in numbers_of(source, entry, place)? {
                if seen.insert(number) {
                    numbers.push(number);
                }
            }
        }
        Ok(numbers)
    }
}

fn read_list(path: &Path) -> Result<String, Failure> {
    let bytes = if stream::is_std(path) {
        stream::read()?
    } else {
        let fail = |source: std::io::Error| match source.kind() {
            std::io::ErrorKind::NotFound => Error::NotFound { what: "file", path: path.to_owned() },
            _ => Error::Io { what: "cannot read", path: path.to_owned(), source },
        };
        let length = std::fs::metadata(path).map_err(fail)?.len();
        if length > LARGEST_LIST {
            let reason = format!("longer than the {LARGEST_LIST} bytes that are allowed");
            return Err(Error::Format { path: path.to_owned(), reason }.into());
        }
        std::fs::read(path).map_err(fail)?
    };
    let refuse = |_| Error::Format { path: path.to_owned(), reason: "not UTF-8 text".to_owned() };
    Ok(String::from_utf8(bytes).map_err(refuse)?)
}

/// The entry of this name; else of this number; else those whose names match.
fn numbers_of(source: &Source, entry: &str, place: &Path) -> Result<Vec<u32>, Failure> {
    if let Some(number) = source.find(entry)? {
        return Ok(vec![number]);
    }
    if let Some(number) = entry.parse().ok().filter(|&number| number < source.len()) {
        return Ok(vec![number]);
    }
    let (place, count) = (place.display(), source.len());
    if entry.contains(['*', '?']) {
        let mut found = Vec::new();
        for number in 0..count {
            if source.name(number)?.is_some_and(|name| matches(entry.as_bytes(), name.as_bytes())) {
                found.push(number);
            }
        }
        if found.is_empty() {
            let text = format!("{place} has no entry whose name matches \"{entry}\"");
            return Err(Failure::Usage(Error::Invalid(text)));
        }
        return Ok(found);
    }
    Err(Failure::Usage(Error::Invalid(format!(
        "{place} has no entry \"{entry}\": it is neither the name of an entry nor a number below {count}"
    ))))
}

/// Whether `name` matches `pattern`, where `*` is any text and `?` one byte.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    // After the last `*`, and the part of the name that it takes so far.
    let mut star: Option<(usize, usize)> = None;
    while of < name.len() {
        match pattern.get(at) {
            Some(b'*') => {
                star = Some((at + 1, of));
                at += 1;
            }
            Some(&byte) if byte == b'?' || byte == name[of] => (at, of) = (at + 1, of + 1),
            _ => {
                let Some((after, taken)) = star else { return false };
                star = Some((after, taken + 1));
                (at, of) = (after, taken + 1);
            }
        }
    }
    pattern[at..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_match_whole_names() {
        let cases = [
            ("*", "", true),
            ("potion-*", "potion-17", true),
            ("potion-*", "a potion-17", false),
            ("*-1?", "wand-17", true),
            ("*-1?", "wand-1", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b-d", false),
            ("?", "", false),
            ("***", "x", true),
            ("ab", "ab", true),
        ];
        for (pattern, name, wanted) in cases {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), wanted, "{pattern} {name}");
        }
    }
}

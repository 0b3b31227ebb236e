//! Parts of a job: `--filter` expressions, and picks that the page saved.

use std::path::Path;

use serde::Deserialize;

use super::plan::{Picture, Row};
use crate::bundle::Bundle;
use crate::support::error::{Error, Result};
use crate::support::files::read;
use crate::support::json::parse;

/// Bytes of the largest file of picks.
const LARGEST: u64 = 256 << 20;
/// Memory that parsing takes, in lengths of the text: 8 bytes for each "0,", while the list doubles.
const GROWTH: usize = 12;

/// Numbers from the first to the last, both included.
type Range = (u64, u64);

/// Which pictures of a job are wanted, by conditions that must all hold.
///
/// As text: conditions `KEY=VALUE,VALUE` separated by spaces, each key once, such as `class=potion,wand tag=boss seed=10-20`.
/// Keys are `class` (names or indices), `tag`, `row`, `seed` and `number` (numbers and ranges, both ends included). A value with
/// a space or comma is quoted: `class="little blue heron"`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Filter {
    classes: Option<Vec<u32>>,
    tags: Option<Vec<String>>,
    rows: Option<Vec<Range>>,
    seeds: Option<Vec<Range>>,
    numbers: Option<Vec<Range>>,
}

impl Filter {
    /// Reads an expression; classes are those of `bundle`.
    ///
    /// # Errors
    /// [`Error::Invalid`], which says what is allowed.
    pub fn parse(text: &str, bundle: &Bundle) -> Result<Self> {
        let mut filter = Self::default();
        let mut rest = text.trim_start();
        if rest.is_empty() {
            return Err(Error::Invalid(format!("filter: it is empty; {ALLOWED}")));
        }
        while !rest.is_empty() {
            let end = rest.find(|c: char| c == '=' || c.is_whitespace()).unwrap_or(rest.len());
            let key = &rest[..end];
            let Some(after) = rest[end..].strip_prefix('=') else {
                return Err(Error::Invalid(format!("filter: \"{key}\" has no values; {ALLOWED}")));
            };
            let (values, after) = values(after).map_err(|what| Error::Invalid(format!("filter: {key}: {what}")))?;
            rest = after.trim_start();
            let ranges = || values.iter().map(|value| range(key, value)).collect::<Result<Vec<Range>>>();
            let twice = match key {
                "class" => {
                    let classes = values.iter().map(|name| bundle.class(name)).collect::<Result<_>>();
                    let classes = classes.map_err(|error| Error::Invalid(format!("filter: {error}")))?;
                    filter.classes.replace(classes).is_some()
                }
                "row" => filter.rows.replace(ranges()?).is_some(),
                "seed" => filter.seeds.replace(ranges()?).is_some(),
                "number" => filter.numbers.replace(ranges()?).is_some(),
                "tag" => filter.tags.replace(values).is_some(),
                _ => return Err(Error::Invalid(format!("filter: \"{key}\" is no key; {ALLOWED}"))),
            };
            if twice {
                return Err(Error::Invalid(format!(
                    "filter: {key} is there twice; allowed is once, with values separated by commas"
                )));
            }
        }
        Ok(filter)
    }

    /// Whether it is about whole groups: no condition on seeds or numbers.
    #[must_use]
    pub fn is_of_groups(&self) -> bool {
        self.seeds.is_none() && self.numbers.is_none()
    }

    /// Whether pictures of a class of a row may be wanted; all of them are if it [is of groups](Self::is_of_groups).
    #[must_use]
    pub fn has_group(&self, row: &Row, class: u32) -> bool {
        self.classes.as_ref().is_none_or(|classes| classes.contains(&class))
            && self.tags.as_ref().is_none_or(|tags| row.tags.iter().any(|tag| tags.contains(tag)))
            && holds(self.rows.as_ref(), u64::from(row.number))
    }

    /// Whether a picture is wanted.
    #[must_use]
    pub fn has(&self, picture: &Picture<'_>) -> bool {
        self.has_group(picture.row, picture.image.class)
            && holds(self.seeds.as_ref(), picture.image.seed)
            && holds(self.numbers.as_ref(), picture.number)
    }
}

/// What errors say is allowed.
const ALLOWED: &str = "allowed are class, tag, row, seed and number, as in class=potion,wand tag=boss seed=10-20";

fn holds(ranges: Option<&Vec<Range>>, number: u64) -> bool {
    ranges.is_none_or(|ranges| ranges.iter().any(|(first, last)| (*first..=*last).contains(&number)))
}

fn range(key: &str, text: &str) -> Result<Range> {
    let number = |text: &str| text.parse::<u64>().ok().filter(|_| text.bytes().all(|digit| digit.is_ascii_digit()));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok((first, last)),
        _ => Err(Error::Invalid(format!(
            "filter: {key}: \"{text}\" is not allowed; allowed are numbers from 0 on and ranges such as 10-20"
        ))),
    }
}

/// The values of a condition at the start of `text`, and what follows.
fn values(text: &str) -> Result<(Vec<String>, &str), &'static str> {
    let mut values = Vec::new();
    let mut rest = text;
    loop {
        let value;
        if let Some(quoted) = rest.strip_prefix('"') {
            (value, rest) = quoted.split_once('"').ok_or("a quote is not closed")?;
        } else {
            (value, rest) = rest.split_at(rest.find(|c: char| c == ',' || c.is_whitespace()).unwrap_or(rest.len()));
        }
        if value.is_empty() {
            return Err("a value is empty; values are separated by single commas");
        }
        values.push(value.to_owned());
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.is_empty() || rest.starts_with(char::is_whitespace) => return Ok((values, rest)),
            None => return Err("a comma or space must follow a quote"),
        }
    }
}

/// Pictures of a job that a person picked on its page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picks {
    /// In order, each once.
    numbers: Vec<u64>,
}

/// `{"format": 1, "job": IDENTITY, "picks": [NUMBER …]}`
#[derive(Deserialize)]
struct PicksFile {
    job: String,
    picks: Vec<u64>,
}

impl Picks {
    /// Reads the file `path` that the page of the job with this identity saved; the job has `pictures` pictures.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Io`], [`Error::OutOfMemory`]; [`Error::Format`] if it is no list of picks, is longer than
    /// 256 MiB, is of another job, or has a picture that the job has not.
    pub fn open(path: &Path, identity: &str, pictures: u64) -> Result<Self> {
        let refuse = |reason: String| Error::format(path, reason);
        let parsed = parse::<PicksFile>(&path.display().to_string(), &read(path, LARGEST)?, 1, GROWTH)?;
        let PicksFile { job, picks: mut numbers } =
            parsed.map_err(|reason| refuse(format!("not a list of picks: it{reason}")))?;
        if job != identity {
            return Err(refuse(format!(
                "the picks are of the job {job}, not of this one, {identity}: the job file, a file that it names or the bundle has \
                 changed"
            )));
        }
        numbers.sort_unstable();
        numbers.dedup();
        match numbers.last() {
            Some(&last) if last >= pictures => {
                Err(refuse(format!("there is no picture {last}; the job has {pictures}, numbered from 0")))
            }
            _ => Ok(Self { numbers }),
        }
    }

    /// The numbers of the pictures, in order.
    #[must_use]
    pub fn numbers(&self) -> &[u64] {
        &self.numbers
    }

    /// Whether a picture was picked.
    #[must_use]
    pub fn has(&self, number: u64) -> bool {
        self.numbers.binary_search(&number).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::job::{JobFormat, check_job_from};
    use crate::pipeline::plan::Plan;

    fn bundle() -> Bundle {
        Bundle::open(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/small")).unwrap()
    }

    /// Numbers 0-2 are class 0 of row 0, 3-5 class 1 of row 0, 6-8 class 2 of row 1, 9 class 0 of row 2.
    fn plan() -> Plan {
        let job = "class,seed,tags\n0;1,10-12,boss;red\n2,11-13,little boss\n0,5,\n";
        check_job_from(job.as_bytes(), JobFormat::Csv, Path::new("job"), Path::new(""), &bundle()).unwrap().plan
    }

    fn chosen(filter: &str) -> Vec<u64> {
        let (plan, filter) =
            (plan(), Filter::parse(filter, &bundle()).unwrap_or_else(|error| panic!("{filter}: {error}")));
        let numbers: Vec<u64> = (0..plan.pictures()).filter(|&number| filter.has(&plan.picture(number))).collect();
        for group in plan.groups() {
            let row = &plan.rows()[group.row as usize];
            let in_group = numbers.iter().filter(|number| (group.first..group.first + group.count).contains(number));
            let count = in_group.count() as u64;
            assert!(filter.has_group(row, group.class) || count == 0);
            assert!(!filter.is_of_groups() || count == 0 || count == group.count);
        }
        numbers
    }

    #[test]
    fn filter_chooses_pictures_for_which_all_conditions_hold() {
        assert_eq!(chosen("class=0"), [0, 1, 2, 9]);
        assert_eq!(chosen("class=\"class 1\",2"), [3, 4, 5, 6, 7, 8]);
        assert_eq!(chosen("  tag=boss   seed=11-99,10 "), [0, 1, 2, 3, 4, 5]);
        assert_eq!(chosen("tag=\"little boss\",red row=1-2"), [6, 7, 8]);
        assert_eq!(chosen("seed=11"), [1, 4, 6]);
        assert_eq!(chosen("number=0,5-7,9 row=0,2"), [0, 5, 9]);
        assert_eq!(chosen("class=0 tag=none"), [0; 0]);
    }

    #[test]
    fn filter_errors_say_what_is_allowed() {
        for (text, word) in [
            ("", "allowed are class, tag, row"),
            ("potion", "\"potion\" has no values; allowed are class"),
            ("colour=red", "\"colour\" is no key; allowed are class"),
            ("=red", "\"\" is no key"),
            ("class=clas", "did you mean class 0"),
            ("seed=x", "ranges such as 10-20"),
            ("seed=9-3", "ranges such as 10-20"),
            ("row=+3", "numbers from 0 on"),
            ("row=", "a value is empty"),
            ("row=1,,2", "a value is empty"),
            ("row=1, 2", "a value is empty"),
            ("tag=\"a", "a quote is not closed"),
            ("tag=\"a\"b", "must follow a quote"),
            ("row=1 row=2", "row is there twice"),
        ] {
            let error = Filter::parse(text, &bundle()).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }

    #[test]
    fn picks_are_of_one_job() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("picks.json");
        let open = |text: &str| {
            std::fs::write(&path, text).unwrap();
            Picks::open(&path, "aa", 10)
        };
        let picks = open("{\"format\": 1, \"job\": \"aa\", \"picks\": [7, 0, 7, 9]}").unwrap();
        assert_eq!(picks.numbers(), [0, 7, 9]);
        assert!(picks.has(7) && !picks.has(8));
        for (text, word) in [
            ("{\"format\": 1, \"job\": \"bb\", \"picks\": []}", "of the job bb, not of this one, aa"),
            ("{\"format\": 1, \"job\": \"aa\", \"picks\": [10]}", "no picture 10; the job has 10"),
            ("{\"format\": 1, \"job\": \"aa\", \"picks\": [-1]}", "picks[0]"),
            ("{\"format\": 2, \"job\": \"aa\", \"picks\": []}", "of format 2"),
            ("{\"format\": 1, \"picks\": []}", "missing field `job`"),
            ("[]", "not a list of picks"),
        ] {
            let error = open(text).expect_err(text).to_string();
            assert!(error.contains(word), "{text}: {error}");
        }
    }
}

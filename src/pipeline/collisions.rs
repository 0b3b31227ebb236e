//! Finds files of a job that would be written twice, before the first picture is generated.
//!
//! Names are compared as file systems do that ignore case. A file must not be a folder of another either, nor one of the files
//! that the run itself writes. All names are hashed and sorted outside of memory, unless the pattern shows that they differ.

use std::collections::{BinaryHeap, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::external_sort::Sorter;
use super::pattern::Field;
use super::plan::{Picture, Plan, Seeds};
use super::settings::{ProvenanceMode, Settings, TokenOutput};
use crate::support::error::Result;

/// Memory for the names; beyond it they are sorted in a temporary folder.
const MEMORY: usize = 64 << 20;
/// Collisions that are reported.
const MOST: usize = 20;
/// Folders that are remembered as noted.
const MOST_FOLDERS: usize = 1 << 16;

/// Names at the top of the output folder that the run itself uses.
const OWN: [&str; 6] = ["index.html", "index_files", "report.json", "timings.json", "tokens.dftpack", ".dflow-batch"];
/// How the files of atlases begin.
const ATLAS: &str = "atlas";

/// What a name is of a picture, in the bits above its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    File,
    Sidecar,
    Tokens,
    Folder,
}

const KINDS: [Kind; 4] = [Kind::File, Kind::Sidecar, Kind::Tokens, Kind::Folder];
/// Bits of a picture's number.
const NUMBER: u32 = 60;

/// A name that is used twice.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Collision {
    /// The later picture.
    pub second: u64,
    /// The earlier picture; `None` for a name of the run's own.
    pub first: Option<u64>,
    /// The name, of the later picture.
    pub name: String,
    /// Whether it is a folder of one and a file of the other.
    pub folder: bool,
}

/// What was found: the first collisions by number, and how many there are.
#[derive(Debug, Default)]
pub(super) struct Collisions {
    pub first: Vec<Collision>,
    pub count: u64,
}

/// Finds the files of `plan` that would be written twice; `classes` are the names of the bundle's classes.
///
/// # Errors
/// [`Error::Io`](crate::Error::Io) if the temporary folder cannot be used, [`Error::OutOfMemory`](crate::Error::OutOfMemory).
pub(super) fn find(plan: &Plan, settings: &Settings, classes: &[String]) -> Result<Collisions> {
    find_within(plan, settings, classes, MEMORY)
}

fn find_within(plan: &Plan, settings: &Settings, classes: &[String], memory: usize) -> Result<Collisions> {
    let mut found = Found::default();
    let names = Names { plan, settings, classes };
    if names.differ() {
        // Names differ within a group in numbers alone, which the names of the run do not have.
        for group in plan.groups() {
            names.own(&plan.picture(group.first), &mut found);
        }
        return Ok(found.finish());
    }
    let mut sorter = Sorter::new(memory);
    let mut folders: HashSet<u128> = HashSet::new();
    for number in 0..plan.pictures() {
        let picture = plan.picture(number);
        names.own(&picture, &mut found);
        names.each(&picture, |kind, path| {
            let hash = hash(path);
            if kind == Kind::Folder {
                if folders.len() >= MOST_FOLDERS {
                    folders.clear();
                }
                if !folders.insert(hash) {
                    return Ok(());
                }
            }
            sorter.push((hash, (kind as u64) << NUMBER | number))
        })?;
    }
    // Entries of one name, smallest first: files, and then at most one folder counts.
    let mut last: Option<(u128, Kind, u64)> = None;
    let mut reported = false;
    sorter.finish(|(hash, number)| {
        let (kind, number) = (KINDS[(number >> NUMBER) as usize], number & ((1 << NUMBER) - 1));
        match last {
            Some((other, before, first)) if other == hash => {
                // Two folders of a name are one.
                if !reported && (kind != Kind::Folder || before != Kind::Folder) {
                    reported = true;
                    let (first, second) = (first.min(number), first.max(number));
                    let name = names.with_hash(second, hash);
                    found.add(Collision { second, first: Some(first), name, folder: kind == Kind::Folder });
                }
            }
            _ => {
                last = Some((hash, kind, number));
                reported = false;
            }
        }
        Ok(())
    })?;
    Ok(found.finish())
}

/// The collisions so far: the first ones, the last of them on top.
#[derive(Debug, Default)]
struct Found {
    first: BinaryHeap<Collision>,
    count: u64,
}

impl Found {
    fn add(&mut self, collision: Collision) {
        self.count += 1;
        self.first.push(collision);
        if self.first.len() > MOST {
            self.first.pop();
        }
    }

    fn finish(self) -> Collisions {
        Collisions { first: self.first.into_sorted_vec(), count: self.count }
    }
}

struct Names<'a> {
    plan: &'a Plan,
    settings: &'a Settings,
    classes: &'a [String],
}

impl Names<'_> {
    /// Gives every name of a picture, and the folders that it is in.
    fn each(&self, picture: &Picture<'_>, mut take: impl FnMut(Kind, &str) -> Result<()>) -> Result<()> {
        let levels = &picture.row.levels;
        for (at, level) in levels.iter().enumerate() {
            let path = picture.path(self.classes, *level);
            take(Kind::File, &path)?;
            if self.settings.output.provenance == ProvenanceMode::Sidecar {
                take(Kind::Sidecar, &format!("{path}.json"))?;
            }
            if self.settings.output.tokens == TokenOutput::Files && at + 1 == levels.len() {
                take(Kind::Tokens, &format!("{path}.dft"))?;
            }
            for (slash, _) in path.match_indices('/') {
                take(Kind::Folder, &path[..slash])?;
            }
        }
        Ok(())
    }

    /// The name of a picture that has this hash.
    fn with_hash(&self, number: u64, wanted: u128) -> String {
        let mut name = String::new();
        let looked = self.each(&self.plan.picture(number), |_, path| {
            if hash(path) == wanted {
                path.clone_into(&mut name);
            }
            Ok(())
        });
        debug_assert!(looked.is_ok());
        name
    }

    /// Notes a picture with a name of the run's own.
    fn own(&self, picture: &Picture<'_>, found: &mut Found) {
        let Some(level) = picture.row.levels.last() else { return };
        let name = picture.path(self.classes, *level);
        let (top, below) = name.split_once('/').map_or((&*name, false), |(top, _)| (top, true));
        let top = fold(top);
        let atlas = self.settings.atlas.is_some() && !below && top.starts_with(ATLAS);
        let page = !below && top.starts_with("index-") && top.ends_with(".html");
        if atlas || page || OWN.contains(&&*top) {
            found.add(Collision { second: picture.number, first: None, name, folder: false });
        }
    }

    /// Whether it is plain that all names differ: all rows have one pattern, from whose end the numbers can be read back, and
    /// these tell pictures apart, together with the class.
    fn differ(&self) -> bool {
        let Some(first) = self.plan.rows().first() else { return true };
        let pattern = &first.output;
        if self.plan.rows().iter().any(|row| row.output != *pattern) {
            return false;
        }
        let (numbers, rest) = pattern.trailing_numbers();
        let several = self.plan.rows().iter().any(|row| row.levels.len() > 1);
        if several && !numbers.contains(&Field::Level) {
            return false;
        }
        if numbers.contains(&Field::Number) {
            return true;
        }
        if !numbers.contains(&Field::Seed) {
            return false;
        }
        let one_class = self.plan.rows().iter().all(|row| row.classes.len() == 1);
        if numbers.contains(&Field::Row) && one_class {
            return true;
        }
        // What is left of the numbers is the class, or nothing.
        let by_class = match rest[..] {
            [Field::Class] => {
                let mut folded = HashSet::new();
                // A device's name gets an underscore: `con` and `con_` are not told apart here.
                let plain = |name: &String| fold(&super::pattern::safe_name(name)).trim_end_matches('_').to_owned();
                if !self.classes.iter().all(|name| folded.insert(plain(name))) {
                    return false;
                }
                true
            }
            [] => false,
            _ => return false,
        };
        self.seeds_differ(by_class)
    }

    /// Whether no seed comes twice, for each class or in all.
    fn seeds_differ(&self, by_class: bool) -> bool {
        let mut ranges: HashMap<u32, Vec<(u64, u64)>> = HashMap::new();
        for row in self.plan.rows() {
            let Seeds::From { first, count } = row.seeds else { return false };
            for &class in &*row.classes {
                ranges.entry(if by_class { class } else { 0 }).or_default().push((first, first + (count - 1)));
            }
        }
        ranges.values_mut().all(|ranges| {
            ranges.sort_unstable();
            ranges.windows(2).all(|pair| pair[0].1 < pair[1].0)
        })
    }
}

/// A name as file systems see it that ignore case.
fn fold(name: &str) -> String {
    name.to_lowercase()
}

fn hash(path: &str) -> u128 {
    let hash = Sha256::digest(fold(path));
    let (first, _) = hash.as_slice().split_first_chunk().expect("SHA-256 has 32 bytes");
    u128::from_le_bytes(*first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::pattern::Pattern;
    use crate::pipeline::plan::{Row, RowMix, RowSettings, Start};
    use crate::pipeline::settings::{Atlas, Output};
    use crate::plan::{Guidance, Level};

    const LEVELS: [Level; 2] = [Level { size: 16, tokens: 4 }, Level { size: 32, tokens: 16 }];

    fn row(number: u32, classes: &[u32], seeds: Seeds, name: &str, levels: usize) -> Row {
        let settings = RowSettings {
            mix: RowMix::default(),
            guidance: Guidance::constant(1.0),
            sampling: crate::sample::Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 }.into(),
            start: Start::Empty,
            levels: LEVELS[2 - levels..].to_vec(),
            select: None,
        };
        let (line, output) = (u64::from(number) + 1, Pattern::of_job(name).unwrap());
        Row { number, line, classes: classes.into(), seeds, settings: settings.into(), output, tags: [].into() }
    }

    fn from(first: u64, count: u64) -> Seeds {
        Seeds::From { first, count }
    }

    fn classes() -> Vec<String> {
        ["a", "B", "b?", "con", "con_", "index.html"].map(str::to_owned).into()
    }

    /// Whether the names are plainly different, and the collisions: first, second, name.
    fn found(rows: Vec<Row>, settings: &Settings) -> (bool, Vec<(Option<u64>, u64, String)>) {
        let (plan, classes) = (Plan::new(rows), classes());
        let plain = Names { plan: &plan, settings, classes: &classes }.differ();
        let found = find(&plan, settings, &classes).unwrap();
        // The same by sorted runs.
        let again = find_within(&plan, settings, &classes, 100).unwrap();
        assert_eq!((&found.first, found.count), (&again.first, again.count));
        (plain, found.first.into_iter().map(|c| (c.first, c.second, c.name)).collect())
    }

    #[track_caller]
    fn assert_found(rows: Vec<Row>, plain: bool, wanted: &[(Option<u64>, u64, &str)]) {
        let (found_plain, found) = found(rows, &Settings::default());
        let found: Vec<_> = found.iter().map(|(first, second, name)| (*first, *second, &**name)).collect();
        assert_eq!((found_plain, &found[..]), (plain, wanted));
    }

    #[test]
    fn names_that_plainly_differ_are_not_sorted() {
        assert_found(vec![row(0, &[0, 1], from(0, 9), "{class}/{seed:03}.png", 1)], false, &[]);
        assert_found(vec![row(0, &[0, 1], from(0, 9), "{number}.png", 1)], true, &[]);
        assert_found(vec![row(0, &[0, 1], from(0, 9), "{class}{number}.png", 1)], false, &[]);
        let name = "{seed}.png";
        assert_found(vec![row(0, &[0], from(0, 9), name, 1), row(1, &[1], from(9, 2), name, 1)], true, &[]);
        assert_found(
            vec![row(0, &[0], from(0, 9), name, 1), row(1, &[1], from(8, 2), name, 1)],
            false,
            &[(Some(8), 9, "8.png")],
        );
        assert_found(vec![row(0, &[0], from(0, 9), "{row}-{seed}.png", 1)], true, &[]);
        assert_found(
            vec![row(0, &[0], from(0, 2), "{number}.png", 2)],
            false,
            &[(Some(0), 0, "0.png"), (Some(1), 1, "1.png")],
        );
        assert_found(vec![row(0, &[0], from(0, 2), "{number}_{level}.png", 2)], true, &[]);
    }

    #[test]
    fn classes_that_differ_as_folders_are_enough() {
        let plan = Plan::new(vec![
            row(0, &[0, 1], from(0, 9), "{class}/{seed}.png", 1),
            row(1, &[1], from(9, 9), "{class}/{seed}.png", 1),
        ]);
        let settings = Settings::default();
        for (classes, plain) in
            [(["a", "b"], true), (["a", "A"], false), (["con", "con_"], false), (["a?", "a*"], false)]
        {
            let classes = classes.map(str::to_owned);
            assert_eq!(Names { plan: &plan, settings: &settings, classes: &classes }.differ(), plain, "{classes:?}");
        }
    }

    #[test]
    fn names_that_differ_in_case_or_as_folders_collide() {
        assert_found(
            vec![row(0, &[0], from(0, 1), "x/A.png", 1), row(1, &[0], from(0, 1), "X/a.PNG", 1)],
            false,
            &[(Some(0), 1, "X/a.PNG")],
        );
        assert_found(
            vec![
                row(0, &[0], from(0, 1), "x/a.png/b.png", 1),
                row(1, &[0], from(0, 1), "x/A.png", 1),
                row(2, &[0], from(0, 1), "x/c.png", 1),
            ],
            false,
            &[(Some(0), 1, "x/A.png")],
        );
        assert_found(vec![row(0, &[3, 4], from(0, 1), "{class}.png", 1)], false, &[(Some(0), 1, "con_.png")]);
        // Three of a name are one collision.
        assert_found(vec![row(0, &[0], from(0, 3), "a.png", 1)], false, &[(Some(0), 1, "a.png")]);
    }

    #[test]
    fn names_of_the_run_are_its_own() {
        assert_found(
            vec![row(0, &[5], from(7, 2), "{class}/{seed}.png", 1)],
            false,
            &[(None, 0, "index.html/7.png"), (None, 1, "index.html/8.png")],
        );
        let rows = || vec![row(0, &[0], from(0, 1), "Atlas-{number}.png", 1)];
        assert_found(rows(), true, &[]);
        let settings = Settings { atlas: Some(Atlas::default()), ..Settings::default() };
        assert_eq!(found(rows(), &settings), (true, vec![(None, 0, "Atlas-0.png".to_owned())]));
    }

    #[test]
    fn files_beside_pictures_collide_with_folders_alone() {
        let one = |number, name: &str| row(number, &[0], from(0, 1), name, 1);
        for (output, name) in [
            (Output { provenance: ProvenanceMode::Sidecar, ..Output::default() }, "a.png.json"),
            (Output { tokens: TokenOutput::Files, ..Output::default() }, "a.png.dft"),
        ] {
            let settings = Settings { output, ..Settings::default() };
            let rows = vec![one(0, "a.png"), one(1, "a.webp")];
            assert_eq!(found(rows, &settings), (false, vec![]));
            let below = format!("{name}/b.png");
            let rows = || vec![one(0, "a.png"), one(1, &below)];
            assert_found(rows(), false, &[]);
            assert_eq!(found(rows(), &settings), (false, vec![(Some(0), 1, name.to_owned())]));
        }
    }

    #[test]
    fn only_the_first_collisions_are_kept_and_all_are_counted() {
        let (name, other) = ("x{seed}.png", "X{seed}.png");
        let plan = Plan::new(vec![row(0, &[0], from(0, 50), name, 1), row(1, &[0], from(0, 50), other, 1)]);
        let found = find(&plan, &Settings::default(), &classes()).unwrap();
        assert_eq!((found.first.len(), found.count), (MOST, 50));
        assert_eq!(found.first.iter().map(|c| c.second).collect::<Vec<_>>(), (50..70).collect::<Vec<_>>());
    }
}

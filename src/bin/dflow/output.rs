//! Output files: one picture, one contact sheet, or one file per picture or level.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use detailflow::pixels::FileFormat;
use detailflow::{Error, Image};

use crate::Failure;
use crate::sheet::{self, Label};

const FIELDS: [&str; 3] = ["{class}", "{seed}", "{index}"];
const LEVEL: &str = "{level}";
/// Used by `mips`.
pub const SIZE: &str = "{size}";

/// The output files, planned and checked before the work begins.
pub struct Output {
    labels: Vec<Label>,
    /// The path, if it contains fields.
    pattern: Option<String>,
    target: Target,
    added: usize,
    written: Vec<PathBuf>,
}

enum Target {
    /// One file per picture, written as soon as it is added.
    Each(Vec<PathBuf>),
    /// One file per picture and level, written as levels are reached; ordered by picture, then by level.
    Levels(Vec<u32>, Vec<PathBuf>),
    /// One contact sheet of all pictures, written at the end.
    Sheet(PathBuf, Vec<Image>),
}

impl Output {
    /// Plans pictures with these labels, to `path` or a default name; `levels` are the sizes in pixels that `{level}` expands
    /// to, empty where the command has no levels.
    pub fn plan(path: Option<&Path>, labels: Vec<Label>, levels: &[u32]) -> Result<Self, Failure> {
        let default = if labels.len() == 1 { "{class}-{seed}.png" } else { "sheet.png" };
        let path = path.unwrap_or(Path::new(default));
        let pattern = path.to_str().filter(|text| FIELDS.iter().chain([&LEVEL]).any(|field| text.contains(field)));
        let target = match pattern {
            Some(pattern) => {
                let by_level = pattern.contains(LEVEL);
                if by_level && levels.is_empty() {
                    let text =
                        format!("{pattern}: the field {LEVEL} is allowed only in commands that generate pictures");
                    return Err(Failure::Usage(Error::Invalid(text)));
                }
                let sizes = if by_level { levels } else { &[0] };
                let names = |(index, label)| sizes.iter().map(move |&size| (index, label, size));
                let paths = plan_each(pattern, LEVEL, labels.iter().enumerate().flat_map(names))?;
                if by_level { Target::Levels(sizes.to_vec(), paths) } else { Target::Each(paths) }
            }
            None => {
                check_file(path)?;
                let path = path.to_owned();
                if labels.len() == 1 { Target::Each(vec![path]) } else { Target::Sheet(path, Vec::new()) }
            }
        };
        let pattern = pattern.map(str::to_owned);
        Ok(Self { labels, pattern, target, added: 0, written: Vec::new() })
    }

    /// Every file that will be written.
    pub fn paths(&self) -> &[PathBuf] {
        match &self.target {
            Target::Each(paths) | Target::Levels(_, paths) => paths,
            Target::Sheet(path, _) => std::slice::from_ref(path),
        }
    }

    /// Replaces the planned label of picture `index`, for example by the seed that was selected.
    pub fn relabel(&mut self, index: usize, label: Label) {
        if let Some(pattern) = &self.pattern {
            let names = |size: u32| fill(pattern, index, &label, (LEVEL, size));
            match &mut self.target {
                Target::Each(paths) => paths[index] = names(0),
                Target::Levels(sizes, paths) => {
                    let first = index * sizes.len();
                    sizes.iter().enumerate().for_each(|(at, &size)| paths[first + at] = names(size));
                }
                Target::Sheet(..) => {}
            }
        }
        self.labels[index] = label;
    }

    /// Adds the next picture.
    pub fn add(&mut self, image: Image) -> Result<(), Failure> {
        match &mut self.target {
            Target::Each(paths) => {
                image.save(&paths[self.added])?;
                self.written.push(paths[self.added].clone());
            }
            Target::Sheet(_, images) => images.push(image),
            Target::Levels(..) => return self.add_level(self.added, image.size(), image),
        }
        self.added += 1;
        Ok(())
    }

    /// Whether the output has one file per level.
    pub fn by_level(&self) -> bool {
        matches!(self.target, Target::Levels(..))
    }

    /// Adds picture `index` at the level of `size` pixels.
    pub fn add_level(&mut self, index: usize, size: u32, image: Image) -> Result<(), Failure> {
        if let Target::Levels(sizes, paths) = &self.target
            && let Some(at) = sizes.iter().position(|&other| other == size)
        {
            let path = &paths[index * sizes.len() + at];
            image.save(path)?;
            self.written.push(path.clone());
        }
        Ok(())
    }

    /// Writes what is not written yet and returns the paths of all files written since the last call.
    pub fn finish(&mut self) -> Result<Vec<PathBuf>, Failure> {
        if let Target::Sheet(path, images) = &self.target
            && !images.is_empty()
        {
            sheet::save(path, images, &self.labels)?;
            self.written.push(path.clone());
        }
        Ok(std::mem::take(&mut self.written))
    }
}

/// One path per picture by the fields in `pattern`: index, label, and the size for the field `sized`.
pub fn plan_each<'a>(
    pattern: &str,
    sized: &'static str,
    pictures: impl Iterator<Item = (usize, &'a Label, u32)>,
) -> Result<Vec<PathBuf>, Failure> {
    let paths: Vec<PathBuf> = pictures.map(|(index, label, size)| fill(pattern, index, label, (sized, size))).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = paths.iter().find(|path| !seen.insert(*path)) {
        let twice = twice.display();
        let text = format!(
            "{pattern}: more than one picture would be written to {twice}; add {{class}}, {{seed}} or {{index}}"
        );
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    paths.iter().try_for_each(|path| check_file(path))?;
    Ok(paths)
}

/// Checks that the extension is a picture format and that the folder exists.
fn check_file(path: &Path) -> Result<(), Failure> {
    FileFormat::from_path(path).map_err(Failure::Usage)?;
    check_folder(path)
}

/// Checks that the folder of `path` exists, before any work is done.
pub fn check_folder(path: &Path) -> Result<(), Failure> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Failure::Failed(Error::NotFound { what: "folder", path: folder.to_owned() }))
        }
        _ => Ok(()),
    }
}

/// `name` without characters that file names cannot have: a class named "lamp/torch" must not name a folder.
pub fn safe(name: &str) -> String {
    name.replace(|c: char| c.is_control() || "/\\:*?\"<>|".contains(c), "_")
}

fn fill(pattern: &str, index: usize, (class, seed): &Label, (sized, size): (&'static str, u32)) -> PathBuf {
    let fields = [FIELDS[0], FIELDS[1], FIELDS[2], sized];
    let values = [
        class.as_deref().map_or("picture".to_owned(), safe),
        seed.map_or("none".to_owned(), |seed| seed.to_string()),
        index.to_string(),
        size.to_string(),
    ];
    // From left to right, so that inserted text is not expanded again.
    let mut name = String::new();
    let mut rest = pattern;
    while let Some((at, field)) = (0..fields.len()).filter_map(|field| Some((rest.find(fields[field])?, field))).min() {
        name.push_str(&rest[..at]);
        name.push_str(&values[field]);
        rest = &rest[at + fields[field].len()..];
    }
    PathBuf::from(name + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pattern_fields_are_expanded_once() {
        let label = (Some("lamp/torch".to_owned()), Some(7));
        assert_eq!(
            fill("out/{class}_{seed}_{index}.png", 3, &label, (LEVEL, 0)),
            PathBuf::from("out/lamp_torch_7_3.png")
        );
        assert_eq!(fill("{size}-{level}{index}.png", 3, &label, (SIZE, 16)), PathBuf::from("16-{level}3.png"));
        let odd = (Some("{index}".to_owned()), None);
        assert_eq!(fill("{class}-{seed}{x}.png", 3, &odd, (LEVEL, 0)), PathBuf::from("{index}-none{x}.png"));
    }

    #[test]
    fn output_plan_refuses_one_path_for_two_pictures() {
        let labels = vec![(Some("a".to_owned()), Some(1)), (Some("a".to_owned()), Some(2))];
        assert!(matches!(Output::plan(Some(Path::new("{class}.png")), labels.clone(), &[]), Err(Failure::Usage(_))));
        assert!(Output::plan(Some(Path::new("{class}{seed}.png")), labels, &[]).is_ok());
    }
}

//! Where pictures go: one file, one contact sheet, or a file each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use detailflow::{Error, Image, pixels};

use crate::Failure;
use crate::sheet::{self, Label};

const FIELDS: [&str; 3] = ["{class}", "{seed}", "{index}"];

/// What was planned before the work began, so that a mistake shows at once and not after it.
pub struct Output {
    labels: Vec<Label>,
    target: Target,
    added: usize,
    written: Vec<PathBuf>,
}

enum Target {
    /// A file each, written as they come.
    Each(Vec<PathBuf>),
    /// One sheet of all, written at the end.
    Sheet(PathBuf, Vec<Image>),
}

impl Output {
    /// Pictures with these labels, to `path` (or to a name of our own).
    pub fn plan(path: Option<&Path>, labels: Vec<Label>) -> Result<Self, Failure> {
        let default = if labels.len() == 1 { "{class}-{seed}.png" } else { "sheet.png" };
        let path = path.unwrap_or(Path::new(default));
        let pattern = path.to_str().filter(|text| FIELDS.iter().any(|field| text.contains(field)));
        let target = match pattern {
            Some(pattern) => {
                let names = labels.iter().enumerate().map(|(index, label)| fill(pattern, index, label));
                let paths: Vec<PathBuf> = names.collect();
                let mut seen = HashSet::new();
                if let Some(twice) = paths.iter().find(|path| !seen.insert(*path)) {
                    let twice = twice.display();
                    let text = format!(
                        "{pattern} names {twice} for more than one picture; add {{class}}, {{seed}} or {{index}}"
                    );
                    return Err(Failure::Usage(Error::Invalid(text)));
                }
                Target::Each(paths)
            }
            None if labels.len() == 1 => Target::Each(vec![path.to_owned()]),
            None => Target::Sheet(path.to_owned(), Vec::new()),
        };
        let planned = Self { labels, target, added: 0, written: Vec::new() };
        for path in planned.paths() {
            pixels::check_ending(path).map_err(Failure::Usage)?;
            check_folder(path)?;
        }
        Ok(planned)
    }

    /// Every file that will be written.
    pub fn paths(&self) -> &[PathBuf] {
        match &self.target {
            Target::Each(paths) => paths,
            Target::Sheet(path, _) => std::slice::from_ref(path),
        }
    }

    /// The next picture.
    pub fn add(&mut self, image: Image) -> Result<(), Failure> {
        match &mut self.target {
            Target::Each(paths) => {
                image.save(&paths[self.added])?;
                self.written.push(paths[self.added].clone());
            }
            Target::Sheet(_, images) => images.push(image),
        }
        self.added += 1;
        Ok(())
    }

    /// Writes what is left and tells which files there are.
    pub fn finish(mut self) -> Result<Vec<PathBuf>, Failure> {
        if let Target::Sheet(path, images) = &self.target {
            sheet::save(path, images, &self.labels)?;
            self.written.push(path.clone());
        }
        Ok(self.written)
    }
}

/// A file into a folder that is not there fails: better before the work than after it.
pub fn check_folder(path: &Path) -> Result<(), Failure> {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() && !folder.is_dir() => {
            Err(Failure::Failed(Error::NotFound { what: "folder", path: folder.to_owned() }))
        }
        _ => Ok(()),
    }
}

fn fill(pattern: &str, index: usize, (class, seed): &Label) -> PathBuf {
    // A class named "lamp/torch" must not name a folder.
    let safe = |name: &str| name.replace(['/', '\\', ':', '*', '?', '"', '<', '>', '|', '\0'], "_");
    let values = [
        class.as_deref().map_or("picture".to_owned(), safe),
        seed.map_or("none".to_owned(), |seed| seed.to_string()),
        index.to_string(),
    ];
    // From left to right, so that what was filled in is not filled in again.
    let mut name = String::new();
    let mut rest = pattern;
    while let Some((at, field)) = (0..3).filter_map(|field| Some((rest.find(FIELDS[field])?, field))).min() {
        name.push_str(&rest[..at]);
        name.push_str(&values[field]);
        rest = &rest[at + FIELDS[field].len()..];
    }
    PathBuf::from(name + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let label = (Some("lamp/torch".to_owned()), Some(7));
        assert_eq!(fill("out/{class}_{seed}_{index}.png", 3, &label), PathBuf::from("out/lamp_torch_7_3.png"));
        let odd = (Some("{index}".to_owned()), None);
        assert_eq!(fill("{class}-{seed}{x}.png", 3, &odd), PathBuf::from("{index}-none{x}.png"));
    }

    #[test]
    fn two_pictures_never_get_one_name() {
        let labels = vec![(Some("a".to_owned()), Some(1)), (Some("a".to_owned()), Some(2))];
        assert!(matches!(Output::plan(Some(Path::new("{class}.png")), labels.clone()), Err(Failure::Usage(_))));
        assert!(Output::plan(Some(Path::new("{class}{seed}.png")), labels).is_ok());
    }
}

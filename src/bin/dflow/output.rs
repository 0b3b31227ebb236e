//! Where pictures go: one file, one contact sheet, or a file each.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use detailflow::{Error, Image};

use crate::Failure;
use crate::sheet::{self, Label};

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
        let pattern = path.unwrap_or(Path::new(default)).to_string_lossy().into_owned();
        let each = labels.len() == 1 || ["{class}", "{seed}", "{index}"].iter().any(|field| pattern.contains(field));
        let target = if each {
            let paths: Vec<PathBuf> =
                labels.iter().enumerate().map(|(index, label)| fill(&pattern, index, label)).collect();
            let mut seen = HashSet::new();
            if let Some(twice) = paths.iter().find(|path| !seen.insert(*path)) {
                let text = format!(
                    "{pattern} names {} for more than one picture; add {{class}}, {{seed}} or {{index}}",
                    twice.display()
                );
                return Err(Failure::Usage(Error::Invalid(text)));
            }
            paths.iter().try_for_each(|path| check_folder(path))?;
            Target::Each(paths)
        } else {
            check_folder(Path::new(&pattern))?;
            Target::Sheet(PathBuf::from(pattern), Vec::new())
        };
        Ok(Self { labels, target, added: 0, written: Vec::new() })
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
    let class = class.as_deref().map_or("picture".to_owned(), safe);
    let seed = seed.map_or("none".to_owned(), |seed| seed.to_string());
    PathBuf::from(pattern.replace("{class}", &class).replace("{seed}", &seed).replace("{index}", &index.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_filled_in() {
        let label = (Some("lamp/torch".to_owned()), Some(7));
        assert_eq!(fill("out/{class}_{seed}_{index}.png", 3, &label), PathBuf::from("out/lamp_torch_7_3.png"));
    }

    #[test]
    fn two_pictures_never_get_one_name() {
        let labels = vec![(Some("a".to_owned()), Some(1)), (Some("a".to_owned()), Some(2))];
        assert!(matches!(Output::plan(Some(Path::new("{class}.png")), labels.clone()), Err(Failure::Usage(_))));
        assert!(Output::plan(Some(Path::new("{class}{seed}.png")), labels).is_ok());
    }
}

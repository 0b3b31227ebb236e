//! Output files: one picture, one contact sheet, or one file per picture or level.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use detailflow::pipeline::provenance::{Record, embed};
use detailflow::pipeline::{Field, Pattern, Values};
use detailflow::pixels::FileFormat;
use detailflow::{Error, Image, write_file};

use crate::sheet::{self, Label};
use crate::{Failure, stream};

/// The fields of file names; the last is the size in pixels, under the name that a command has for it.
const fn fields(size: Field) -> [Field; 4] {
    [Field::Class, Field::Seed, Field::Index, size]
}

/// Reads the fields of `path`: `{class}`, `{seed}`, `{index}` and `size`. `None` for a path that is not UTF-8, which has none.
pub fn parse(path: &Path, size: Field) -> Result<Option<Pattern>, Failure> {
    match path.to_str() {
        Some(text) => Pattern::parse(text, &fields(size)).map(Some).map_err(Failure::Usage),
        None if path.to_string_lossy().contains('{') => {
            Err(Failure::Usage(Error::Invalid(format!("{}: a file name with fields must be UTF-8", path.display()))))
        }
        None => Ok(None),
    }
}

fn fill(pattern: &Pattern, index: usize, (class, seed): &Label, size: u32) -> PathBuf {
    let values = Values { class: class.as_deref(), seed: *seed, size, number: index as u64, ..Values::default() };
    PathBuf::from(pattern.fill(&values))
}

/// One path for each picture: index, label, size.
pub fn plan_paths<'a>(
    pattern: &Pattern,
    pictures: impl Iterator<Item = (usize, &'a Label, u32)>,
) -> Result<Vec<PathBuf>, Failure> {
    let paths: Vec<PathBuf> = pictures.map(|(index, label, size)| fill(pattern, index, label, size)).collect();
    let mut seen = HashSet::new();
    if let Some(twice) = paths.iter().find(|path| !seen.insert(*path)) {
        let twice = twice.display();
        let text = format!(
            "{pattern}: more than one picture would be written to {twice}; add {{class}}, {{seed}} or {{index}}"
        );
        return Err(Failure::Usage(Error::Invalid(text)));
    }
    for path in &paths {
        FileFormat::from_path(path).map_err(Failure::Usage)?;
        // Folders are created with the first file in them.
        if let Some(file) = path.ancestors().skip(1).find(|above| above.exists()).filter(|above| !above.is_dir()) {
            let source = std::io::ErrorKind::NotADirectory.into();
            return Err(Error::Io { what: "cannot create a folder in", path: file.to_owned(), source }.into());
        }
    }
    Ok(paths)
}

/// A picture, and what it was made from if that is to be written into its file.
pub struct Drawn {
    pub image: Image,
    pub record: Option<Record>,
}

impl Drawn {
    /// Writes the picture file, or as `format` to standard output; with the record if it is PNG.
    fn save(&self, path: &Path, format: FileFormat) -> Result<(), Failure> {
        let format = if stream::is_std(path) { format } else { FileFormat::from_path(path)? };
        let Some(record) = self.record.as_ref().filter(|_| format == FileFormat::Png) else {
            return Ok(stream::save_image(&self.image, path, format)?);
        };
        let png = embed(&self.image.encode(format)?, &record.head.to_json(), &record.tokens)?;
        let saved = if stream::is_std(path) { stream::write(&png) } else { write_file(path, &png) };
        Ok(saved?)
    }
}

impl From<Image> for Drawn {
    fn from(image: Image) -> Self {
        Self { image, record: None }
    }
}

/// Creates the folders of a path with fields where they are missing.
fn create_folders(path: &Path) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let what = "cannot create the folder";
        std::fs::create_dir_all(folder).map_err(|source| Error::Io { what, path: folder.to_owned(), source })?;
    }
    Ok(())
}

/// Writes a picture whose path has fields, and its folders where they are missing.
pub fn save_in_folder(image: &Image, path: &Path) -> Result<(), Failure> {
    create_folders(path)?;
    Ok(image.save(path)?)
}

/// The output files, planned and checked before the work begins.
pub struct Output {
    labels: Vec<Label>,
    /// The path, if it contains fields.
    pattern: Option<Pattern>,
    target: Target,
    /// The format of what goes to standard output.
    format: FileFormat,
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
    /// to, empty where the command has no levels; `format` is that of `--format`. Takes standard output for `-`.
    pub fn plan(
        path: Option<&Path>,
        labels: Vec<Label>,
        levels: &[u32],
        format: Option<&str>,
    ) -> Result<Self, Failure> {
        let default = if labels.len() == 1 { "{class}-{seed}.png" } else { "sheet.png" };
        let named = path.unwrap_or(Path::new(default));
        let pattern = parse(named, Field::Level)?;
        // Without fields, but braces that are written twice.
        let plain = pattern.as_ref().map_or(named.to_owned(), |pattern| fill(pattern, 0, &(None, None), 0));
        let pattern = pattern.filter(Pattern::has_fields);
        let target = match &pattern {
            Some(pattern) => {
                let by_level = pattern.has(Field::Level);
                if by_level && levels.is_empty() {
                    let text = format!(
                        "{}: the field {} is allowed only in commands that generate pictures",
                        named.display(),
                        Field::Level
                    );
                    return Err(Failure::Usage(Error::Invalid(text)));
                }
                let sizes = if by_level { levels } else { &[0] };
                let names = |(index, label)| sizes.iter().map(move |&size| (index, label, size));
                let paths = plan_paths(pattern, labels.iter().enumerate().flat_map(names))?;
                if by_level { Target::Levels(sizes.to_vec(), paths) } else { Target::Each(paths) }
            }
            None => {
                if stream::is_std(&plain) {
                    stream::claim(true)?;
                } else {
                    check_file(&plain)?;
                }
                if labels.len() == 1 { Target::Each(vec![plain]) } else { Target::Sheet(plain, Vec::new()) }
            }
        };
        let format = if path.is_some_and(stream::is_std) {
            stream::picture_format(format)?
        } else {
            stream::no_format(format)?;
            FileFormat::Png
        };
        Ok(Self { labels, pattern, target, format, added: 0, written: Vec::new() })
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
            let names = |size: u32| fill(pattern, index, &label, size);
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
    pub fn add(&mut self, drawn: impl Into<Drawn>) -> Result<(), Failure> {
        let drawn = drawn.into();
        match &mut self.target {
            Target::Each(paths) => {
                let path = &paths[self.added];
                if self.pattern.is_some() {
                    create_folders(path)?;
                }
                drawn.save(path, self.format)?;
                self.written.push(paths[self.added].clone());
            }
            Target::Sheet(_, images) => images.push(drawn.image),
            Target::Levels(..) => return self.add_level(self.added, &drawn),
        }
        self.added += 1;
        Ok(())
    }

    /// Whether pictures are written as soon as they are added.
    pub fn at_once(&self) -> bool {
        !matches!(self.target, Target::Sheet(..))
    }

    /// Whether the output has one file per level.
    pub fn by_level(&self) -> bool {
        matches!(self.target, Target::Levels(..))
    }

    /// Adds picture `index` at a level.
    pub fn add_level(&mut self, index: usize, drawn: &Drawn) -> Result<(), Failure> {
        if let Target::Levels(sizes, paths) = &self.target
            && let Some(at) = sizes.iter().position(|&other| other == drawn.image.size())
        {
            let path = &paths[index * sizes.len() + at];
            create_folders(path)?;
            drawn.save(path, self.format)?;
            self.written.push(path.clone());
        }
        Ok(())
    }

    /// Writes what is not written yet and returns the paths of all files written since the last call.
    pub fn finish(&mut self) -> Result<Vec<PathBuf>, Failure> {
        if let Target::Sheet(path, images) = &self.target
            && !images.is_empty()
        {
            self.written.extend(sheet::save(path, self.format, images, &self.labels)?);
        }
        Ok(std::mem::take(&mut self.written))
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_plan_refuses_one_path_for_two_pictures() {
        let labels = vec![(Some("a".to_owned()), Some(1)), (Some("a".to_owned()), Some(2))];
        assert!(matches!(
            Output::plan(Some(Path::new("{class}.png")), labels.clone(), &[], None),
            Err(Failure::Usage(_))
        ));
        assert!(Output::plan(Some(Path::new("{class}{seed}.png")), labels, &[], None).is_ok());
    }
}

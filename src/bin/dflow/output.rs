//! Output files: one picture, one contact sheet, or one file per picture or level.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use detailflow::pixels::FileFormat;
use detailflow::{Error, Image};

use crate::sheet::{self, Label};
use crate::{Failure, stream};

/// Field of commands that write a file per level.
const LEVEL: &str = "level";
/// Field of `mips`.
pub const SIZE: &str = "size";

/// A path with fields, such as `out/{class}-{seed:05}.png`.
pub struct Pattern {
    text: String,
    parts: Vec<Part>,
}

enum Part {
    Text(String),
    /// A field, and the least number of digits of a number.
    Field(Field, usize),
}

#[derive(Clone, Copy, PartialEq)]
enum Field {
    Class,
    Seed,
    Index,
    /// The size in pixels.
    Size,
}

impl Pattern {
    /// Reads the fields of `path`: `{class}`, `{seed}`, `{index}`, and `{NAME}` where `sized` is NAME. Numbers may have a
    /// least number of digits, `{seed:05}`; `{{` is a brace.
    pub fn parse(path: &Path, sized: &str) -> Result<Self, Failure> {
        let refuse = |what: String| Failure::Usage(Error::Invalid(format!("{}: {what}", path.display())));
        let Some(text) = path.to_str() else {
            let parts = Vec::new();
            return match path.to_string_lossy().contains('{') {
                true => Err(refuse("a file name with fields must be UTF-8".to_owned())),
                false => Ok(Self { text: String::new(), parts }),
            };
        };
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            plain.push_str(&rest[..at]);
            rest = &rest[at..];
            if let Some(after) = rest.strip_prefix("{{").or(rest.strip_prefix("}}")) {
                plain.push_str(&rest[..1]);
                rest = after;
            } else if let Some(after) = rest.strip_prefix('}') {
                plain.push('}');
                rest = after;
            } else {
                let Some(end) = rest.find('}') else {
                    return Err(refuse(format!("{rest} has no closing brace; a brace in a name is written {{{{")));
                };
                let field = &rest[..=end];
                let (name, width) = match rest[1..end].split_once(':') {
                    Some((name, width)) => (name, Some(width)),
                    None => (&rest[1..end], None),
                };
                let kind = match name {
                    "class" => Field::Class,
                    "seed" => Field::Seed,
                    "index" => Field::Index,
                    _ if name == sized => Field::Size,
                    _ => {
                        return Err(refuse(format!(
                            "unknown field {field}; allowed are {{class}}, {{seed}}, {{index}} and {{{sized}}}, lower case, \
                             and a brace in a name is written {{{{"
                        )));
                    }
                };
                let digits = |width: &str| match width.strip_prefix('0')?.parse() {
                    Ok(digits @ 1..=20) if kind != Field::Class && !width.contains('+') => Some(digits),
                    _ => None,
                };
                let width = match width.map(digits) {
                    None => 0,
                    Some(Some(width)) => width,
                    Some(None) => {
                        return Err(refuse(format!(
                            "{field}: only a number has a width, 01 to 020 digits, as in {{seed:05}}"
                        )));
                    }
                };
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Field(kind, width));
                rest = &rest[end + 1..];
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        Ok(Self { text: text.to_owned(), parts })
    }

    fn has(&self, wanted: Field) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(field, _) if *field == wanted))
    }

    /// Whether the path depends on the size.
    pub fn has_size(&self) -> bool {
        self.has(Field::Size)
    }

    /// Whether there is any field.
    fn has_fields(&self) -> bool {
        self.parts.iter().any(|part| matches!(part, Part::Field(..)))
    }

    fn fill(&self, index: usize, (class, seed): &Label, size: u32) -> PathBuf {
        let mut name = String::new();
        for part in &self.parts {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Field(Field::Class, _) => name.push_str(&class.as_deref().map_or("picture".to_owned(), safe)),
                Part::Field(Field::Seed, width) => {
                    name.push_str(&seed.map_or("none".to_owned(), |seed| format!("{seed:0width$}")));
                }
                Part::Field(Field::Index, width) => name.push_str(&format!("{index:0width$}")),
                Part::Field(Field::Size, width) => name.push_str(&format!("{size:0width$}")),
            }
        }
        PathBuf::from(name)
    }

    /// One path for each picture: index, label, size.
    pub fn plan<'a>(&self, pictures: impl Iterator<Item = (usize, &'a Label, u32)>) -> Result<Vec<PathBuf>, Failure> {
        let paths: Vec<PathBuf> = pictures.map(|(index, label, size)| self.fill(index, label, size)).collect();
        let mut seen = HashSet::new();
        if let Some(twice) = paths.iter().find(|path| !seen.insert(*path)) {
            let (pattern, twice) = (&self.text, twice.display());
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
}

/// Writes a picture whose path has fields, and its folders where they are missing.
pub fn save_in_folder(image: &Image, path: &Path) -> Result<(), Failure> {
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        let what = "cannot create the folder";
        std::fs::create_dir_all(folder).map_err(|source| Error::Io { what, path: folder.to_owned(), source })?;
    }
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
        let pattern = Pattern::parse(named, LEVEL)?;
        // Without fields, but braces that are written twice.
        let plain = if pattern.parts.is_empty() { named.to_owned() } else { pattern.fill(0, &(None, None), 0) };
        let pattern = Some(pattern).filter(Pattern::has_fields);
        let target = match &pattern {
            Some(pattern) => {
                let by_level = pattern.has_size();
                if by_level && levels.is_empty() {
                    let text = format!(
                        "{}: the field {{{LEVEL}}} is allowed only in commands that generate pictures",
                        named.display()
                    );
                    return Err(Failure::Usage(Error::Invalid(text)));
                }
                let sizes = if by_level { levels } else { &[0] };
                let names = |(index, label)| sizes.iter().map(move |&size| (index, label, size));
                let paths = pattern.plan(labels.iter().enumerate().flat_map(names))?;
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
            let names = |size: u32| pattern.fill(index, &label, size);
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
                let path = &paths[self.added];
                if self.pattern.is_some() {
                    save_in_folder(&image, path)?;
                } else {
                    stream::save_image(&image, path, self.format)?;
                }
                self.written.push(paths[self.added].clone());
            }
            Target::Sheet(_, images) => images.push(image),
            Target::Levels(..) => return self.add_level(self.added, image.size(), image),
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

    /// Adds picture `index` at the level of `size` pixels.
    pub fn add_level(&mut self, index: usize, size: u32, image: Image) -> Result<(), Failure> {
        if let Target::Levels(sizes, paths) = &self.target
            && let Some(at) = sizes.iter().position(|&other| other == size)
        {
            let path = &paths[index * sizes.len() + at];
            save_in_folder(&image, path)?;
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

/// `name` without characters that file names cannot have: a class named "lamp/torch" must not name a folder.
pub fn safe(name: &str) -> String {
    // A name of dots alone is a folder.
    let dots = name.chars().all(|c| c == '.');
    name.replace(|c: char| c.is_control() || "/\\:*?\"<>|".contains(c) || dots, "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(pattern: &str, sized: &str, label: Label, size: u32) -> PathBuf {
        Pattern::parse(Path::new(pattern), sized).unwrap_or_else(|_| panic!("{pattern}")).fill(3, &label, size)
    }

    #[test]
    fn pattern_fields_are_expanded_once() {
        let label = || (Some("lamp/torch".to_owned()), Some(7));
        let path = filled("out/{class}_{seed}_{index}.png", LEVEL, label(), 0);
        assert_eq!(path, Path::new("out/lamp_torch_7_3.png"));
        assert_eq!(filled("{size}-{index}.png", SIZE, label(), 16), Path::new("16-3.png"));
        assert_eq!(filled("{seed:05}-{index:02}-{level:04}.png", LEVEL, label(), 16), Path::new("00007-03-0016.png"));
        assert_eq!(filled("{{seed}}-{seed}}.png", LEVEL, label(), 16), Path::new("{seed}-7}.png"));
        let odd = (Some("{index}".to_owned()), None);
        assert_eq!(filled("{class}-{seed:03}.png", LEVEL, odd, 0), Path::new("{index}-none.png"));
        assert_eq!(filled("{class}/a.png", LEVEL, (Some("..".to_owned()), None), 0), Path::new("__/a.png"));
    }

    #[test]
    fn pattern_with_unknown_fields_is_wrong_usage() {
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
            let error = Pattern::parse(Path::new(pattern), LEVEL).err();
            assert!(matches!(error, Some(Failure::Usage(_))), "{pattern}");
        }
    }

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

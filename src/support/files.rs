//! Files and folders that appear whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::error::{Error, Result};
use crate::support::platform::is_device_path;

/// Writes a whole file or leaves what was there: nobody meets half of it.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NewFile::create(path)?;
    file.write(bytes)?;
    file.finish()
}

/// A file on its way: written into a neighbour of its place, and renamed when it is finished. Until then, and when it
/// is dropped, what was there is left. A link to a file stays a link. What is no file (a pipe, /dev/stdout) is written
/// as it is.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    /// The neighbour, and the place that it is for; none once it is there.
    part: Option<(PathBuf, PathBuf)>,
}

impl NewFile {
    pub fn create(path: &Path) -> Result<Self> {
        let fail = |error| Error::writing(path, error);
        if path.file_name().is_none() {
            return Err(Error::Invalid(format!("{} names no file", path.display())));
        }
        let Some(place) = place(path) else {
            return Ok(Self { path: path.to_owned(), file: File::create(path).map_err(fail)?, part: None });
        };
        // Two processes, or two threads of one, may write the same file: the last one wins, neither meets the other's
        // half.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = place.with_file_name(format!(".{}.{number}.part", std::process::id()));
        // Whatever stands there is not ours to overwrite, and no link is followed.
        let file = File::create_new(&part).map_err(fail)?;
        Ok(Self { path: path.to_owned(), file, part: Some((part, place)) })
    }

    /// The next bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::writing(&self.path, error))
    }

    /// Puts it in its place.
    pub fn finish(mut self) -> Result<()> {
        let Some((part, place)) = &self.part else { return Ok(()) };
        let moved = self.file.sync_all().and_then(|()| std::fs::rename(part, place));
        moved.map_err(|error| Error::writing(&self.path, error))?;
        self.part = None;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.part {
            let _ = std::fs::remove_file(part);
        }
    }
}

/// A folder on its way: filled beside its place, and renamed when it is finished; a folder that is there already makes
/// way. Until then, and when it is dropped, what was there is left.
#[derive(Debug)]
pub(crate) struct NewFolder {
    place: PathBuf,
    part: PathBuf,
    finished: bool,
}

impl NewFolder {
    pub fn create(place: &Path) -> Result<Self> {
        if place.file_name().is_none() {
            return Err(Error::Invalid(format!("{} names no folder", place.display())));
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = place.with_file_name(format!(".{}.{number}.folder", std::process::id()));
        std::fs::create_dir(&part).map_err(|error| Error::writing(place, error))?;
        Ok(Self { place: place.to_owned(), part, finished: false })
    }

    /// Where to write until it is finished.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Puts it in its place.
    pub fn finish(mut self) -> Result<()> {
        let fail = |error| Error::writing(&self.place, error);
        if std::fs::symlink_metadata(&self.place).is_err() {
            std::fs::rename(&self.part, &self.place).map_err(fail)?;
        } else {
            // The old one is kept aside until the new one stands.
            let old = self.part.with_extension("old");
            std::fs::rename(&self.place, &old).map_err(fail)?;
            if let Err(error) = std::fs::rename(&self.part, &self.place) {
                let _ = std::fs::rename(&old, &self.place);
                return Err(fail(error));
            }
            let _ = std::fs::remove_dir_all(&old);
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        if !self.finished {
            let _ = std::fs::remove_dir_all(&self.part);
        }
    }
}

/// The file to replace, or none when `path` is to be written through.
fn place(path: &Path) -> Option<PathBuf> {
    match std::fs::symlink_metadata(path) {
        // Nothing there yet, or no way to tell: creating it will say what is wrong.
        Err(_) => Some(path.to_owned()),
        Ok(_) if is_device_path(path) => None,
        Ok(metadata) if metadata.is_file() => Some(path.to_owned()),
        Ok(metadata) if metadata.is_symlink() && !is_device_path(&std::fs::read_link(path).ok()?) => {
            path.canonicalize().ok().filter(|real| real.is_file() && !is_device_path(real))
        }
        Ok(_) => None,
    }
}

/// The checkouts that `folder` may be a build folder of: target/release, target/release/deps and
/// target/TRIPLE/release are two or three folders below one.
pub(crate) fn checkouts(folder: &Path) -> impl Iterator<Item = &Path> {
    folder.ancestors().skip(1).take(4).filter(|above| above.join("Cargo.toml").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writers_of_one_file_do_not_meet() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::thread::scope(|scope| {
            for letter in b'a'..b'i' {
                let path = &path;
                scope.spawn(move || (0..20).for_each(|_| write_file(path, &[letter; 5000]).unwrap()));
            }
        });
        let text = std::fs::read(&path).unwrap();
        assert!(text.len() == 5000 && text.iter().all(|&letter| letter == text[0]));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[cfg(unix)]
    #[test]
    fn links_stay_links() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real"), folder.path().join("link"));
        std::fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink("real", &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(std::fs::read(&real).unwrap(), b"new");
        let null = folder.path().join("null");
        std::os::unix::fs::symlink("/dev/null", &null).unwrap();
        write_file(&null, b"gone").unwrap();
        assert!(std::fs::symlink_metadata(&null).unwrap().is_symlink());
    }

    #[test]
    fn a_name_as_long_as_may_be() {
        let folder = tempfile::tempdir().unwrap();
        write_file(&folder.path().join("n".repeat(250)), b"text").unwrap();
    }

    #[test]
    fn a_file_that_is_not_finished_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"ne").unwrap();
        file.write(b"w").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_failure_leaves_what_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let taken = folder.path().join("taken");
        std::fs::create_dir(&taken).unwrap();
        std::fs::write(taken.join("inside"), "x").unwrap();
        assert!(write_file(&taken, b"text").is_err());
        assert!(write_file(&folder.path().join("nowhere/file"), b"text").is_err());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(taken.join("inside").exists());
    }
}

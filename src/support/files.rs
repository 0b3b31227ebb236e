//! Files and folders that are replaced atomically.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::support::platform::is_device_path;

/// Writes a file atomically: on failure the old content stays, and no reader sees a part of the new.
///
/// # Errors
/// [`Error::Invalid`] when `path` has no file name; [`Error::Io`] or [`Error::NotFound`] when it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NewFile::create(path)?;
    file.write(bytes)?;
    file.finish()
}

/// A file being written: a temporary file beside the target, renamed by [`finish`](Self::finish). Until then, and when it is
/// dropped unfinished, the old file stays. A symbolic link to a file stays a link. A target that is not a regular file (a pipe,
/// /dev/stdout) is written directly.
#[derive(Debug)]
pub(crate) struct NewFile {
    path: PathBuf,
    file: File,
    /// The temporary file and the target; none when written directly or finished.
    part: Option<(PathBuf, PathBuf)>,
}

impl NewFile {
    pub fn create(path: &Path) -> Result<Self> {
        let fail = |error| Error::writing(path, error);
        if path.file_name().is_none() {
            return Err(Error::Invalid(format!("{} has no file name", path.display())));
        }
        let Some(target) = target(path) else {
            return Ok(Self { path: path.to_owned(), file: File::create(path).map_err(fail)?, part: None });
        };
        // Two processes or threads may write the same target: each has a temporary file of its own, and the last one wins.
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = target.with_file_name(format!(".{}.{number}.part", std::process::id()));
        // An existing file of that name is not overwritten, and no link is followed.
        let file = File::create_new(&part).map_err(fail)?;
        Ok(Self { path: path.to_owned(), file, part: Some((part, target)) })
    }

    /// Appends bytes.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file.write_all(bytes).map_err(|error| Error::writing(&self.path, error))
    }

    /// Replaces the target.
    ///
    /// # Errors
    /// [`Error::Io`]; the old file stays.
    pub fn finish(mut self) -> Result<()> {
        let Some((part, target)) = &self.part else { return Ok(()) };
        let moved = self.file.sync_all().and_then(|()| std::fs::rename(part, target));
        moved.map_err(|error| Error::writing(&self.path, error))?;
        self.part = None;
        Ok(())
    }
}

impl NewFile {
    /// The file itself, for a writer that goes back and forth; a failure of it is reported as [`Error::writing`].
    pub fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Whether it is a file whose first byte is the next one to be written, rather than a pipe.
    #[cfg(feature = "image-files")]
    pub fn can_seek(&mut self) -> bool {
        std::io::Seek::stream_position(&mut self.file).is_ok_and(|at| at == 0)
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some((part, _)) = &self.part {
            let _ = std::fs::remove_file(part);
        }
    }
}

/// A folder being filled: a temporary folder beside the target, renamed by [`finish`](Self::finish), which replaces an existing
/// one. Until then, and when it is dropped unfinished, the old folder stays.
#[derive(Debug)]
pub(crate) struct NewFolder {
    target: PathBuf,
    part: PathBuf,
    finished: bool,
}

impl NewFolder {
    pub fn create(target: &Path) -> Result<Self> {
        if target.file_name().is_none() {
            return Err(Error::Invalid(format!("{} has no folder name", target.display())));
        }
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let part = target.with_file_name(format!(".{}.{number}.folder", std::process::id()));
        std::fs::create_dir(&part).map_err(|error| Error::writing(target, error))?;
        Ok(Self { target: target.to_owned(), part, finished: false })
    }

    /// The temporary folder.
    pub fn path(&self) -> &Path {
        &self.part
    }

    /// Replaces the target.
    ///
    /// # Errors
    /// [`Error::Io`]; the old folder stays.
    pub fn finish(mut self) -> Result<()> {
        let fail = |error| Error::writing(&self.target, error);
        if std::fs::symlink_metadata(&self.target).is_err() {
            std::fs::rename(&self.part, &self.target).map_err(fail)?;
        } else {
            // The old folder is renamed and only removed once the new one is in place.
            let old = self.part.with_extension("old");
            std::fs::rename(&self.target, &old).map_err(fail)?;
            if let Err(error) = std::fs::rename(&self.part, &self.target) {
                let _ = std::fs::rename(&old, &self.target);
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

/// The file to replace; none when `path` must be written directly.
fn target(path: &Path) -> Option<PathBuf> {
    match std::fs::symlink_metadata(path) {
        // It does not exist, or cannot be examined: creating it reports what is wrong.
        Err(_) => Some(path.to_owned()),
        Ok(_) if is_device_path(path) => None,
        Ok(metadata) if metadata.is_file() => Some(path.to_owned()),
        Ok(metadata) if metadata.is_symlink() && !is_device_path(&std::fs::read_link(path).ok()?) => {
            path.canonicalize().ok().filter(|real| real.is_file() && !is_device_path(real))
        }
        Ok(_) => None,
    }
}

/// The content of a regular file; its memory is reserved first.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], [`Error::Format`] if it is not a regular file, [`Error::OutOfMemory`].
pub(crate) fn read_file(path: &Path) -> Result<Vec<u8>> {
    read_start(path, u64::MAX)
}

/// The first bytes of a regular file, up to `most`.
///
/// # Errors
/// As [`read_file`].
pub(crate) fn read_start(path: &Path, most: u64) -> Result<Vec<u8>> {
    let fail = |error| Error::reading(path, error);
    // Before it is opened, which waits at a pipe.
    let metadata = std::fs::metadata(path).map_err(fail)?;
    if !metadata.is_file() {
        return Err(Error::format(path, "not a regular file"));
    }
    let length = metadata.len().min(most);
    let mut bytes = reserve(&path.display().to_string(), usize::try_from(length).unwrap_or(usize::MAX))?;
    File::open(path).and_then(|file| file.take(length).read_to_end(&mut bytes)).map_err(fail)?;
    Ok(bytes)
}

/// Checkouts of this project that `folder` may be a build folder of: target/release, target/release/deps and
/// target/TRIPLE/release are two or three folders below one.
pub(crate) fn checkouts(folder: &Path) -> impl Iterator<Item = &Path> {
    folder.ancestors().skip(1).take(4).filter(|above| above.join("Cargo.toml").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn write_file_by_several_threads_is_atomic() {
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
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[cfg(unix)]
    #[test]
    fn write_file_keeps_symbolic_links() {
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
    fn write_file_with_the_longest_name_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        write_file(&folder.path().join("n".repeat(250)), b"text").unwrap();
    }

    #[test]
    fn new_file_dropped_unfinished_keeps_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"new").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        drop(file);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"ne").unwrap();
        file.write(b"w").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn write_file_that_fails_keeps_the_target() {
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

//! Regular files that are read, and files and folders that are replaced atomically.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use crate::support::error::{Error, Result};
use crate::support::memory::reserve;
use crate::support::{platform, temporary};

/// Opens a regular file for reading. Anything else (a FIFO, a device, a folder), also behind a symbolic link, is an error at
/// once: reading it might wait for ever or never end.
///
/// # Errors
/// The system's, and [`ErrorKind::InvalidInput`] if it is no regular file.
pub(crate) fn open(path: &Path) -> io::Result<File> {
    // Opening a device may already do something to it.
    check_regular(&std::fs::metadata(path)?)?;
    let file = platform::open_for_reading(path, true)?;
    // It may have been replaced meanwhile.
    check_regular(&file.metadata()?)?;
    Ok(file)
}

fn check_regular(metadata: &Metadata) -> io::Result<()> {
    if metadata.is_file() {
        return Ok(());
    }
    let kind = platform::kind_of_file(metadata);
    Err(io::Error::new(ErrorKind::InvalidInput, format!("it is {kind}, not a regular file")))
}

/// Reads a regular file of at most `most` bytes.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], [`Error::OutOfMemory`]; [`Error::Format`] if it is longer.
pub(crate) fn read(path: &Path, most: u64) -> Result<Vec<u8>> {
    let fail = |error| Error::reading(path, error);
    let file = open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len();
    let too_long = || Error::format(path, format!("the file is longer than the {most} bytes that are allowed"));
    if length > most {
        return Err(too_long());
    }
    // Files of the system say that they have no bytes, and any other may grow meanwhile: one byte more shows the end.
    let size = usize::try_from(length.max(1 << 12)).unwrap_or(usize::MAX).saturating_add(1);
    let mut bytes = reserve(&format!("the file {}", path.display()), size)?;
    file.take(most.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > most { Err(too_long()) } else { Ok(bytes) }
}

/// The first bytes of a regular file, up to `most`.
///
/// # Errors
/// [`Error::NotFound`], [`Error::Io`], [`Error::OutOfMemory`].
pub(crate) fn read_start(path: &Path, most: u64) -> Result<Vec<u8>> {
    let fail = |error| Error::reading(path, error);
    let file = open(path).map_err(fail)?;
    let length = file.metadata().map_err(fail)?.len().min(most);
    let mut bytes = reserve(&format!("the file {}", path.display()), usize::try_from(length).unwrap_or(usize::MAX))?;
    file.take(length).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Writes a file atomically: on failure the old content stays, and no reader sees a part of the new. The permissions of an
/// existing file are kept.
///
/// # Errors
/// [`Error::Invalid`] when `path` has no file name; [`Error::Io`] or [`Error::NotFound`] when it cannot be written.
pub fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = NewFile::create(path)?;
    file.write(bytes)?;
    file.finish()
}

/// A file being written: a temporary file beside the target, renamed by [`finish`](Self::finish). Until then, and when it is
/// dropped unfinished, the old file stays. A symbolic link to a file stays a link. A target that is not a regular file (a FIFO,
/// a device), or is named as an open file of this process (/dev/stdout) or as a device (NUL), is written through: nothing of
/// it is removed.
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
        let target = match target(path).map_err(fail)? {
            Target::Through => {
                let file = platform::open_for_appending(path).map_err(fail)?;
                return Ok(Self { path: path.to_owned(), file, part: None });
            }
            Target::Replaced(target) => target,
        };
        // Two processes or threads may write the same target: each has a temporary file of its own, and the last one wins.
        let old = std::fs::metadata(&target).ok();
        let (part, file) = temporary::create_file(&target, old.is_some()).map_err(fail)?;
        let new = Self { path: path.to_owned(), file, part: Some((part, target)) };
        if let Some(old) = old {
            platform::take_permissions(&new.file, &old).map_err(fail)?;
        }
        Ok(new)
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
        let moved = self.file.sync_all().and_then(|()| platform::replace(part, target));
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

/// A folder being filled: a temporary folder beside the target, which replaces it in [`finish`](Self::finish). Until then, and
/// when it is dropped unfinished, the old folder stays.
///
/// Where the system can exchange two folders, the target has its old or its new content at every moment, also if the process
/// is killed. Elsewhere the old folder is renamed first; if the process is killed before the new one has its name,
/// [`put_back`] restores the old one.
#[derive(Debug)]
pub(crate) struct NewFolder {
    target: PathBuf,
    part: PathBuf,
    finished: bool,
    /// Keeps others from taking the temporary folder for abandoned.
    _lock: Option<File>,
}

impl NewFolder {
    pub fn create(target: &Path) -> Result<Self> {
        if target.file_name().is_none() {
            return Err(Error::Invalid(format!("{} has no folder name", target.display())));
        }
        put_back(target);
        let (part, lock) = temporary::create_folder(target).map_err(|error| Error::writing(target, error))?;
        Ok(Self { target: target.to_owned(), part, finished: false, _lock: lock })
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
        match std::fs::symlink_metadata(&self.target) {
            Err(_) => std::fs::rename(&self.part, &self.target).map_err(fail)?,
            Ok(old) => {
                // Some systems and file systems have no permissions of folders.
                let _ = std::fs::set_permissions(&self.part, old.permissions());
                if platform::exchange(&self.part, &self.target).is_ok() {
                    let _ = std::fs::remove_dir_all(&self.part);
                } else {
                    self.replace_by_two_renames().map_err(fail)?;
                }
            }
        }
        self.finished = true;
        Ok(())
    }

    /// Where folders cannot be exchanged: the old folder is kept aside until the new one has its name.
    fn replace_by_two_renames(&self) -> io::Result<()> {
        let aside = aside(&self.target)?;
        // Of an earlier replacement, which was complete but for this: the target exists.
        let _ = std::fs::remove_dir_all(&aside);
        std::fs::rename(&self.target, &aside)?;
        if let Err(error) = std::fs::rename(&self.part, &self.target) {
            let _ = std::fs::rename(&aside, &self.target);
            return Err(error);
        }
        let _ = std::fs::remove_dir_all(&aside);
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

/// Where the old folder is while the new one takes its name.
fn aside(target: &Path) -> io::Result<PathBuf> {
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().ok_or(ErrorKind::InvalidFilename)?);
    name.push(".detailflow-old");
    Ok(target.with_file_name(name))
}

/// Gives the folder `target` its old content back if the process that was replacing it was killed in between. No effect if
/// `target` exists.
pub(crate) fn put_back(target: &Path) {
    let missing = matches!(std::fs::symlink_metadata(target), Err(error) if error.kind() == ErrorKind::NotFound);
    if let (true, Ok(aside)) = (missing, aside(target))
        && aside.is_dir()
    {
        // Another process may have done it, or be about to.
        let _ = std::fs::rename(aside, target);
    }
}

/// How a file is written.
enum Target {
    /// This file is replaced, or created.
    Replaced(PathBuf),
    /// What is there gets the bytes.
    Through,
}

/// Follows symbolic links to what is to be written.
fn target(path: &Path) -> io::Result<Target> {
    const MOST_LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        if platform::is_open_file_name(&path) {
            return Ok(Target::Through);
        }
        match std::fs::symlink_metadata(&path) {
            // It does not exist, or cannot be examined: creating it reports what is wrong.
            Err(_) => return Ok(Target::Replaced(path)),
            Ok(metadata) if metadata.is_symlink() => {
                let link = std::fs::read_link(&path)?;
                path = path.parent().map_or_else(|| link.clone(), |folder| folder.join(&link));
            }
            Ok(metadata) if metadata.is_file() => return Ok(Target::Replaced(path)),
            Ok(_) => return Ok(Target::Through),
        }
    }
    Err(io::Error::other("too many levels of symbolic links"))
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

    #[cfg(unix)]
    #[test]
    fn open_and_read_refuse_what_is_no_regular_file() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
        let zero = folder.path().join("zero");
        std::os::unix::fs::symlink("/dev/zero", &zero).unwrap();
        for (path, kind) in [(&*fifo, "a FIFO"), (&zero, "a device"), (folder.path(), "a folder")] {
            let error = read(path, 100).unwrap_err().to_string();
            assert!(error.contains(kind) && error.contains(path.to_str().unwrap()), "{error}");
        }
        let file = folder.path().join("file");
        std::fs::write(&file, [7; 101]).unwrap();
        let error = read(&file, 100).unwrap_err();
        assert!(matches!(&error, Error::Format { reason, .. } if reason.contains("100 bytes")), "{error}");
        assert_eq!(read(&file, 101).unwrap(), [7; 101]);
        assert!(matches!(read(&folder.path().join("none"), 1), Err(Error::NotFound { .. })));
    }

    #[cfg(unix)]
    #[test]
    fn write_file_keeps_permissions_and_follows_the_umask_otherwise() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (old, new, other) = (folder.path().join("old"), folder.path().join("new"), folder.path().join("other"));
        std::fs::write(&other, "").unwrap();
        std::fs::write(&old, "secret").unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        for wanted in [0o600, 0o664, 0o444] {
            std::fs::set_permissions(&old, std::fs::Permissions::from_mode(wanted)).unwrap();
            write_file(&old, b"new").unwrap();
            assert_eq!(mode(&old), wanted);
        }
        write_file(&new, b"new").unwrap();
        assert_eq!(mode(&new), mode(&other));
    }

    /// A memory file system is written like any other: the old file stays until the new one is complete.
    #[cfg(target_os = "linux")]
    #[test]
    fn new_file_in_dev_shm_keeps_the_old_file() {
        let Ok(folder) = tempfile::tempdir_in("/dev/shm") else { return };
        let path = folder.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let mut file = NewFile::create(&path).unwrap();
        file.write(b"n").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        file.write(b"ew").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"new");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn write_file_appends_to_an_open_file_of_the_process() {
        use std::os::fd::AsRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        std::fs::write(&path, "before ").unwrap();
        let open = File::options().append(true).open(&path).unwrap();
        let link = folder.path().join("stdout");
        std::os::unix::fs::symlink(format!("/proc/self/fd/{}", open.as_raw_fd()), &link).unwrap();
        write_file(&link, b"after").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"before after");
    }

    #[cfg(unix)]
    #[test]
    fn write_file_through_a_dangling_link_creates_its_target() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("real", &link).unwrap();
        write_file(&link, b"new").unwrap();
        assert!(link.is_symlink());
        assert_eq!(std::fs::read(folder.path().join("real")).unwrap(), b"new");
        let around = folder.path().join("around");
        std::os::unix::fs::symlink("around", &around).unwrap();
        let error = write_file(&around, b"new").unwrap_err().to_string();
        assert!(error.contains("around") && error.contains("links"), "{error}");
    }

    /// What a killed process of the same ID left behind, as it always has in a container, is in nobody's way.
    #[test]
    fn write_file_beside_leftovers_of_a_killed_process_succeeds() {
        let folder = tempfile::tempdir().unwrap();
        for number in 0..2000 {
            std::fs::write(folder.path().join(format!(".{}.{number}.part", std::process::id())), "").unwrap();
        }
        write_file(&folder.path().join("file"), b"text").unwrap();
        std::fs::create_dir(folder.path().join(format!(".{}.0.folder", std::process::id()))).unwrap();
        NewFolder::create(&folder.path().join("folder")).unwrap().finish().unwrap();
    }

    #[test]
    fn new_folder_replaced_by_two_renames_is_put_back_if_killed_between() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("bundle");
        std::fs::create_dir(&target).unwrap();
        std::fs::write(target.join("old"), "").unwrap();
        // As a process leaves it that is killed between the two renames.
        std::fs::rename(&target, aside(&target).unwrap()).unwrap();
        put_back(&target);
        assert!(target.join("old").exists());
        let new = NewFolder::create(&target).unwrap();
        std::fs::write(new.path().join("new"), "").unwrap();
        new.replace_by_two_renames().unwrap();
        std::mem::forget(new);
        assert!(target.join("new").exists() && !target.join("old").exists());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        // Killed before the old folder was removed: the new one stays.
        std::fs::create_dir(aside(&target).unwrap()).unwrap();
        put_back(&target);
        assert!(target.join("new").exists());
        let again = NewFolder::create(&target).unwrap();
        again.replace_by_two_renames().unwrap();
        std::mem::forget(again);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
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

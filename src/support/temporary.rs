//! Temporary files and folders beside the one that they will replace: their names, and the removal of those that a killed
//! process left behind.
//!
//! A name is random and never taken from another process. While its writer lives, a temporary file or folder is locked. One
//! that can be locked and has not changed for a day has no living writer and is removed by the next writer in its folder. Where
//! the system or the file system has no such locks, the name says so, and nobody removes it.

use std::collections::HashSet;
use std::fs::{File, TryLockError};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime};

use super::platform;

/// The first characters of every temporary name.
const PREFIX: &str = ".detailflow-";
const LOCKED: [&str; 2] = [".part", ".folder"];
const UNLOCKED: [&str; 2] = [".part-unlocked", ".folder-unlocked"];
const FILE: usize = 0;
const FOLDER: usize = 1;
/// Names that are tried before giving up.
const TRIES: usize = 100;
/// How long an unlocked file has not changed when it is removed. A lock may be invisible on another machine that writes to
/// the same network folder.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);
/// Entries of a folder that are looked at.
const MOST_ENTRIES: usize = 1 << 16;
/// Folders that are remembered as cleaned.
const MOST_FOLDERS: usize = 1 << 10;

/// Creates a temporary file beside `target`, open for writing. `private` gives it to the owner alone until its permissions are
/// set.
pub(super) fn create_file(target: &Path, private: bool) -> io::Result<(PathBuf, File)> {
    let (path, file) = create(target, FILE, |path| platform::create_new(path, private).map(Some))?;
    let file = file.expect("a file was opened when it was created");
    Ok((path, file))
}

/// Creates a temporary folder beside `target`, with its lock where there is one.
pub(super) fn create_folder(target: &Path) -> io::Result<(PathBuf, Option<File>)> {
    create(target, FOLDER, |path| {
        std::fs::create_dir(path)?;
        // Some systems do not open folders.
        Ok(platform::open_for_reading(path, false).ok())
    })
}

fn create(
    target: &Path,
    kind: usize,
    make: impl Fn(&Path) -> io::Result<Option<File>>,
) -> io::Result<(PathBuf, Option<File>)> {
    let mut suffix = LOCKED[kind];
    for _ in 0..TRIES {
        let path = target.with_file_name(format!("{PREFIX}{:016x}{suffix}", random()));
        let handle = match make(&path) {
            Ok(handle) => handle,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
            Err(error) => return Err(error),
        };
        if suffix == UNLOCKED[kind] {
            return Ok((path, handle));
        }
        match handle.as_ref().map(File::try_lock) {
            Some(Ok(())) => {
                let now = handle.as_ref().and_then(|handle| handle.metadata().ok()?.modified().ok());
                clean_once(target, now);
                return Ok((path, handle));
            }
            // Another process took it for abandoned between the two calls, however unlikely that is.
            Some(Err(TryLockError::WouldBlock)) => {}
            Some(Err(TryLockError::Error(_))) | None => suffix = UNLOCKED[kind],
        }
        drop(handle);
        let _ = if kind == FILE { std::fs::remove_file(&path) } else { std::fs::remove_dir(&path) };
    }
    Err(io::Error::other(format!("no unused temporary name was found after {TRIES} tries")))
}

/// A number that no other process or thread takes. The keys of a `RandomState` are random; a forked child has its parent's,
/// which the process ID tells apart.
fn random() -> u64 {
    let mut hasher = RandomState::new().build_hasher();
    hasher.write_u32(std::process::id());
    hasher.finish()
}

/// Cleans the folder of `target` if this process has not done it yet. `now` is the present time by the clock of the file system.
fn clean_once(target: &Path, now: Option<SystemTime>) {
    static CLEANED: Mutex<Option<HashSet<PathBuf>>> = Mutex::new(None);
    let folder = match target.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let (Some(now), Ok(folder)) = (now, platform::canonical(folder)) else { return };
    // Another thread is cleaning, or was in the process that this one was forked from.
    let Ok(mut cleaned) = CLEANED.try_lock() else { return };
    let cleaned = cleaned.get_or_insert_default();
    if cleaned.len() >= MOST_FOLDERS {
        cleaned.clear();
    }
    if cleaned.insert(folder.clone()) {
        clean(&folder, now);
    }
}

/// Removes what killed processes left in `folder`, whatever its age: for a folder that this process alone writes to.
#[cfg_attr(not(feature = "pipeline"), allow(dead_code, reason = "only a pipeline owns a folder"))]
pub(crate) fn clear(folder: &Path) {
    clean(folder, SystemTime::now() + 2 * ABANDONED);
}

/// Removes what killed processes left in `folder`.
fn clean(folder: &Path, now: SystemTime) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.take(MOST_ENTRIES).flatten() {
        if let Some(kind) = entry.file_name().to_str().and_then(kind_of) {
            // What cannot be removed stays.
            let _ = remove_abandoned(&entry.path(), kind, now);
        }
    }
}

/// Whether `name` is one that [`create`] gives to a file or a folder that is locked.
fn kind_of(name: &str) -> Option<usize> {
    let (digits, suffix) = name.strip_prefix(PREFIX)?.split_at_checked(16)?;
    let random = digits.bytes().all(|digit| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit));
    LOCKED.iter().position(|&known| random && known == suffix)
}

fn remove_abandoned(path: &Path, kind: usize, now: SystemTime) -> io::Result<()> {
    let abandoned = |metadata: &std::fs::Metadata| -> io::Result<bool> {
        let fits = if kind == FILE { metadata.is_file() } else { metadata.is_dir() };
        Ok(fits && now.duration_since(metadata.modified()?).is_ok_and(|age| age >= ABANDONED))
    };
    if !abandoned(&std::fs::symlink_metadata(path)?)? {
        return Ok(());
    }
    let handle = platform::open_for_reading(path, false)?;
    if !abandoned(&handle.metadata()?)? || handle.try_lock().is_err() {
        return Ok(());
    }
    if kind == FILE { std::fs::remove_file(path) } else { std::fs::remove_dir_all(path) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kind_of_knows_only_our_locked_names() {
        assert_eq!(kind_of(".detailflow-0123456789abcdef.part"), Some(FILE));
        assert_eq!(kind_of(".detailflow-0123456789abcdef.folder"), Some(FOLDER));
        for name in [
            ".detailflow-0123456789abcdef.part-unlocked",
            ".detailflow-0123456789abcdeF.part",
            ".detailflow-0123456789abcde.part",
            "detailflow-0123456789abcdef.part",
            ".detailflow-0123456789abcdé.part",
            ".12.3.part",
        ] {
            assert_eq!(kind_of(name), None, "{name}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn clean_removes_only_what_is_old_and_unlocked() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("file");
        let (living, lock) = create_file(&target, false).unwrap();
        let (living_folder, folder_lock) = create_folder(&target).unwrap();
        assert!(folder_lock.is_some());
        let dead: Vec<PathBuf> =
            [".detailflow-00000000000000aa.part", ".detailflow-00000000000000aa.folder", ".7.1.part", "file"]
                .map(|name| folder.path().join(name))
                .into();
        std::fs::write(&dead[0], "x").unwrap();
        std::fs::create_dir(&dead[1]).unwrap();
        std::fs::write(dead[1].join("inside"), "x").unwrap();
        std::fs::write(&dead[2], "x").unwrap();
        std::fs::write(&dead[3], "x").unwrap();
        // A link of such a name is not followed.
        let link = folder.path().join(".detailflow-00000000000000ab.part");
        std::os::unix::fs::symlink("file", &link).unwrap();

        let now = SystemTime::now();
        clean(folder.path(), now);
        assert!(dead.iter().all(|path| path.exists()), "what changed lately is left alone");
        clean(folder.path(), now + ABANDONED + Duration::from_secs(60));
        let there: Vec<bool> = dead.iter().map(|path| path.exists()).collect();
        assert_eq!(there, [false, false, true, true]);
        assert!(living.exists() && living_folder.exists() && link.is_symlink());
        drop((lock, folder_lock));
        clean(folder.path(), now + ABANDONED + Duration::from_secs(60));
        assert!(!living.exists() && !living_folder.exists());
    }
}

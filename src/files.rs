//! Files that appear whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Writes a whole file or leaves what was there: into a neighbour first, then renamed. A link to a file stays a
/// link. What is no file (a pipe, /dev/stdout) is written as it is.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error| Error::writing(path, error);
    if path.file_name().is_none() {
        return Err(Error::Invalid(format!("{} names no file", path.display())));
    }
    let Some(place) = place(path) else { return std::fs::write(path, bytes).map_err(fail) };
    // Two processes, or two threads of one, may write the same file: the last one wins, neither meets the other's
    // half.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let part = place.with_file_name(format!(".{}.{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let written = std::fs::File::create(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&part, &place));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&part);
        fail(error)
    })
}

/// The file to replace, or none when `path` is to be written through.
fn place(path: &Path) -> Option<PathBuf> {
    let system = |path: &Path| path.starts_with("/dev") || path.starts_with("/proc");
    match std::fs::symlink_metadata(path) {
        // Nothing there yet, or no way to tell: creating it will say what is wrong.
        Err(_) => Some(path.to_owned()),
        Ok(_) if system(path) => None,
        Ok(metadata) if metadata.is_file() => Some(path.to_owned()),
        Ok(metadata) if metadata.is_symlink() && !system(&std::fs::read_link(path).ok()?) => {
            path.canonicalize().ok().filter(|real| real.is_file() && !system(real))
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

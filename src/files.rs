//! Files that appear whole or not at all.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// Writes a whole file or leaves what was there: into a neighbour first, then renamed.
pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    let fail = |error| Error::io("cannot write", path, error);
    let name = path.file_name().ok_or_else(|| Error::Invalid(format!("{} names no file", path.display())))?;
    // Things that are not files (a pipe, /dev/stdout) cannot be renamed over.
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return std::fs::write(path, bytes).map_err(fail);
    }
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    // Two processes, or two threads of one, may write the same file: the last one wins, neither meets the other's half.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    hidden.push(format!(".{}.{}.part", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    let part = path.with_file_name(hidden);
    let written = std::fs::File::create(&part)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
        .and_then(|()| std::fs::rename(&part, path));
    written.map_err(|error| {
        let _ = std::fs::remove_file(&part);
        fail(error)
    })
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

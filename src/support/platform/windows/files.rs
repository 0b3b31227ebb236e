//! Files and paths.

use std::fs::{File, Metadata};
use std::io;
use std::os::windows::fs::FileExt;
use std::path::{Component, Path, PathBuf, Prefix};
use std::time::Duration;

use windows_sys::Win32::Foundation::{ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE, MAX_PATH};

pub(in super::super) fn path_from_bytes(bytes: &[u8]) -> Option<PathBuf> {
    std::str::from_utf8(bytes).ok().map(PathBuf::from)
}

/// The system's own form is `\\?\C:\folder`, which people do not know and some programs do not take. It stays where it is
/// needed: for a path that is long, or that has a name with another meaning otherwise (`NUL`, or a dot at its end).
pub(in super::super) fn canonical(path: &Path) -> io::Result<PathBuf> {
    let full = path.canonicalize()?;
    Ok(plain(&full).unwrap_or(full))
}

fn plain(full: &Path) -> Option<PathBuf> {
    let mut components = full.components();
    let mut plain = match components.next()? {
        Component::Prefix(prefix) => match prefix.kind() {
            Prefix::VerbatimDisk(disk) => format!("{}:", char::from(disk)),
            Prefix::VerbatimUNC(server, share) => format!(r"\\{}\{}", server.to_str()?, share.to_str()?),
            _ => return None,
        },
        _ => return None,
    };
    for component in components {
        match component {
            Component::RootDir => plain.push('\\'),
            Component::Normal(name) => {
                let name = name.to_str()?;
                if name.ends_with(['.', ' ']) || is_device_name(name) || name.contains('/') {
                    return None;
                }
                if !plain.ends_with('\\') {
                    plain.push('\\');
                }
                plain.push_str(name);
            }
            _ => return None,
        }
    }
    (plain.encode_utf16().count() < MAX_PATH as usize - 12).then(|| plain.into())
}

/// Whether a name in any folder means a device, as `NUL` and `con.txt` do.
fn is_device_name(name: &str) -> bool {
    let stem = name.split(['.', ':']).next().unwrap_or_default().trim_end().to_ascii_uppercase();
    let numbered = |word: &str| {
        let digit = stem.strip_prefix(word).and_then(|rest| rest.strip_prefix(['1', '2', '3', '4', '5', '6', '7', '8', '9']));
        digit.is_some_and(str::is_empty)
    };
    ["CON", "PRN", "AUX", "NUL", "CONIN$", "CONOUT$"].contains(&&*stem) || numbered("COM") || numbered("LPT")
}

/// A device: `NUL`, `\\.\pipe\name`.
pub(in super::super) fn is_open_file_name(path: &Path) -> bool {
    match path.components().next() {
        Some(Component::Prefix(prefix)) if matches!(prefix.kind(), Prefix::DeviceNS(_)) => return true,
        // There a name is a name.
        Some(Component::Prefix(prefix)) if prefix.kind().is_verbatim() => return false,
        _ => {}
    }
    path.file_name().is_some_and(|name| name.to_str().is_some_and(is_device_name))
}

pub(in super::super) fn open_for_reading(path: &Path, _follow: bool) -> io::Result<File> {
    File::open(path)
}

pub(in super::super) fn create_new(path: &Path, _private: bool) -> io::Result<File> {
    File::create_new(path)
}

pub(in super::super) fn take_permissions(_file: &File, _from: &Metadata) -> io::Result<()> {
    Ok(())
}

pub(in super::super) fn kind_of_file(_metadata: &Metadata) -> &'static str {
    "a device"
}

/// A program that looks at each new file (a virus scanner, an indexer, an asset importer) holds the target open for a moment
/// such that it cannot be replaced.
pub(in super::super) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    const HELD: [u32; 3] = [ERROR_ACCESS_DENIED, ERROR_SHARING_VIOLATION, ERROR_USER_MAPPED_FILE];
    /// Waits of 1, 2, 4 … milliseconds: half a second in all.
    const WAITS: u32 = 9;
    for wait in 0..WAITS {
        match std::fs::rename(from, to) {
            Err(error) if !to.is_dir() && HELD.iter().any(|&held| error.raw_os_error() == Some(held as i32)) => {}
            done => return done,
        }
        std::thread::sleep(Duration::from_millis(1 << wait));
    }
    std::fs::rename(from, to)
}

pub(in super::super) fn read_exact_at(file: &File, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
    while !buffer.is_empty() {
        match file.seek_read(buffer, offset) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => {
                buffer = &mut buffer[count..];
                offset += count as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

pub(in super::super) fn is_same_file(ours: &Metadata, theirs: &Metadata) -> bool {
    let both = |metadata: &Metadata| (metadata.len(), metadata.modified().ok());
    both(ours) == both(theirs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_path_means_the_same_file() {
        let plain = |path: &str| plain(Path::new(path)).map(|path| path.to_str().unwrap().to_owned());
        assert_eq!(plain(r"\\?\C:\Spiele\ä 画\x.dll").unwrap(), r"C:\Spiele\ä 画\x.dll");
        assert_eq!(plain(r"\\?\C:\").unwrap(), r"C:\");
        assert_eq!(plain(r"\\?\UNC\server\share\x").unwrap(), r"\\server\share\x");
        for path in [r"C:\x", r"\\?\C:\nul\x", r"\\?\C:\x.", r"\\?\C:\x \y", r"\\?\Volume{1}\x", r"\\.\pipe\x"] {
            assert_eq!(plain(path), None, "{path}");
        }
        assert_eq!(plain(&format!(r"\\?\C:\{}", "long\\".repeat(60))), None);
    }

    #[test]
    fn device_names_are_told_from_files() {
        for path in ["NUL", "nul", r"C:\folder\Nul", "NUL.png", "con", "COM1", "lpt9.txt", r"\\.\pipe\x", r"\\.\NUL"] {
            assert!(is_open_file_name(Path::new(path)), "{path}");
        }
        for path in ["null", "COM", "COM10", "folder/x.png", r"\\?\C:\nul", "", "connect.png"] {
            assert!(!is_open_file_name(Path::new(path)), "{path}");
        }
    }

    #[test]
    fn replace_waits_for_a_program_that_holds_the_target() {
        use std::os::windows::fs::OpenOptionsExt;
        let folder = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| folder.path().join(name));
        std::fs::write(&from, "new").unwrap();
        std::fs::write(&to, "old").unwrap();
        let held = File::options().read(true).share_mode(0).open(&to).unwrap();
        std::thread::scope(|scope| {
            let replacing = scope.spawn(|| replace(&from, &to));
            std::thread::sleep(Duration::from_millis(20));
            drop(held);
            replacing.join().unwrap().unwrap();
        });
        assert_eq!(std::fs::read(&to).unwrap(), b"new");
        // One that is held for long is an error, and the old file stays.
        std::fs::write(&from, "newer").unwrap();
        let held = File::options().read(true).share_mode(0).open(&to).unwrap();
        assert!(replace(&from, &to).is_err());
        drop(held);
        assert_eq!(std::fs::read(&to).unwrap(), b"new");
    }
}

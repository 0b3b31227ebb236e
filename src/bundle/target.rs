//! Whether a bundle may be written to a place: nothing but a bundle is replaced, and not the one that is read.

use std::path::Path;

use super::Bundle;
use super::names::FILE;
use super::source::Source;
use crate::support::error::{Error, Result};
use crate::support::platform;

/// Checks that a single file can be written to `target`: it is not the bundle that is read, and no folder.
pub(super) fn check_file(bundle: &Bundle, target: &Path) -> Result<()> {
    let Ok(real) = platform::canonical(target) else { return Ok(()) };
    let refuse = |what: &str| Err(Error::Invalid(format!("{} {what}", target.display())));
    if real.is_dir() {
        return refuse("is a folder; name a file, such as model.dflow");
    }
    match bundle.source.is_on_disk().then(|| platform::canonical(bundle.path())) {
        Some(Ok(own)) if real.starts_with(&own) => {
            refuse("is the bundle itself or lies in its folder; choose another file")
        }
        _ => Ok(()),
    }
}

/// Checks that the folder `target` can be written: it must not hold anything but a bundle, and not be the bundle that is read.
pub(super) fn check_folder(source: &Bundle, target: &Path) -> Result<()> {
    let refuse = |what: &str| Err(Error::Invalid(format!("{} {what}", target.display())));
    match std::fs::symlink_metadata(target) {
        // It does not exist, or is inaccessible, which creating it will report.
        Err(_) => return Ok(()),
        Ok(metadata) if !metadata.is_dir() => return refuse("exists and is not a folder"),
        Ok(_) => {}
    }
    let real = |path: &Path| platform::canonical(path).map_err(|error| Error::reading(path, error));
    if source.source.is_on_disk() && real(source.path())?.starts_with(real(target)?) {
        return refuse("is the bundle itself or a folder above it; choose another folder");
    }
    let inside: Vec<_> = std::fs::read_dir(target)
        .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
        .map_err(|error| Error::reading(target, error))?;
    if inside.is_empty() {
        return Ok(());
    }
    // It will be replaced, so it must hold nothing but the files of a bundle.
    let Ok(bundle) = Source::open(target).and_then(Bundle::read) else {
        return refuse("exists and is not a bundle; it is left unchanged");
    };
    let own = |name: &std::ffi::OsStr| name == FILE || bundle.files.iter().any(|file| name == file.path.as_str());
    if let Some(other) = inside.iter().find(|entry| !own(&entry.file_name())) {
        let name = other.file_name();
        return refuse(&format!("holds {} beside a bundle; it is left unchanged", name.display()));
    }
    Ok(())
}

//! Names of files in a bundle.

use std::path::Path;

/// The name of the manifest.
pub(super) const FILE: &str = "detailflow.json";

/// Whether it is the name of a file in the bundle, without any folder.
pub(super) fn is_plain_name(name: &str) -> bool {
    Path::new(name).file_name().is_some_and(|file| file == name) && !name.contains(['/', '\\', ':', '\0'])
}

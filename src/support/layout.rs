//! Where the parts of the library lie, seen from the folder of one of its files: in a game, installed, in a checkout.

use std::env::consts::ARCH;
use std::path::{Path, PathBuf};

/// The folders to look for ONNX Runtime in, for a file of ours in `folder`. `detailflow/runtime` is where `make install` puts it
/// below LIBDIR, and comes before `folder` itself, which may be the system's, with an ONNX Runtime that is too old. An
/// executable in `bin` looks below the prefix that it is installed in.
pub(crate) fn runtime_folders(folder: &Path) -> Vec<PathBuf> {
    const INSTALLED: &str = "detailflow/runtime";
    let mut folders = vec![folder.join("runtime"), folder.join(INSTALLED), folder.to_owned()];
    if let Some(above) = folder.parent() {
        if folder.ends_with("bin") {
            let libraries = [format!("lib/{ARCH}-linux-gnu"), "lib64".into(), "lib".into()];
            folders.extend(libraries.map(|libraries| above.join(libraries).join(INSTALLED)));
        }
        folders.push(above.join("runtime"));
    }
    folders
}

/// The folders to look for the default bundle in, for a file of ours in `folder`.
pub(crate) fn bundle_folders(folder: &Path) -> Vec<PathBuf> {
    const INSTALLED: &str = "share/detailflow";
    let mut folders = vec![folder.join("detailflow")];
    folders.extend(folder.parent().map(|above| above.join(INSTALLED)));
    folders.extend(prefix_of_multiarch(folder).map(|prefix| prefix.join(INSTALLED)));
    folders
}

/// PREFIX, of a folder PREFIX/lib/x86_64-linux-gnu. Any other folder is not searched two levels up: what lies there need not
/// belong to us.
fn prefix_of_multiarch(folder: &Path) -> Option<&Path> {
    let name = folder.file_name()?.to_str()?;
    let above = folder.parent().filter(|above| above.ends_with("lib"))?;
    if name.contains("-linux-") { above.parent() } else { None }
}

/// Checkouts of this project that `folder` may be a build folder of: target/release, target/release/deps and
/// target/TRIPLE/release are two or three folders below one.
pub(crate) fn checkouts(folder: &Path) -> impl Iterator<Item = &Path> {
    folder.ancestors().skip(1).take(4).filter(|above| above.join("Cargo.toml").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `make install` lays out for PREFIX=/usr and LIBDIR=/usr/lib/ARCH-linux-gnu, /usr/lib64 or /usr/lib.
    #[test]
    fn installed_folders_are_found_from_library_and_command() {
        let multiarch = format!("/usr/lib/{ARCH}-linux-gnu");
        for libraries in [multiarch.as_str(), "/usr/lib64", "/usr/lib"] {
            let runtime = Path::new(libraries).join("detailflow/runtime");
            for folder in [Path::new(libraries), Path::new("/usr/bin")] {
                assert!(runtime_folders(folder).contains(&runtime), "{folder:?}");
                assert!(bundle_folders(folder).contains(&PathBuf::from("/usr/share/detailflow")), "{folder:?}");
            }
        }
    }

    #[test]
    fn other_folders_are_not_searched_two_levels_up() {
        for folder in ["/home/me/game", "/usr/lib/game", "/home/x86_64-linux-gnu/game", "/home/x86_64-linux-gnu"] {
            let folders = [runtime_folders(Path::new(folder)), bundle_folders(Path::new(folder))].concat();
            let above = Path::new(folder).parent().unwrap();
            assert!(folders.iter().all(|found| found.starts_with(above)), "{folders:?}");
        }
    }
}

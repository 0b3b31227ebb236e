//! Where the parts of the library lie, seen from the folder of one of its files: in a game, installed, in a checkout.

use std::path::{Path, PathBuf};

/// The folders to look for ONNX Runtime in, for a file of ours in `folder`. `detailflow/runtime` is where `make install` puts it
/// below LIBDIR, and comes before `folder` itself, which may be the system's, with an ONNX Runtime that is too old. An
/// executable in `bin` looks below the prefix that it is installed in.
#[cfg(any(test, feature = "load-runtime"))]
pub(crate) fn runtime_folders(folder: &Path) -> Vec<PathBuf> {
    const INSTALLED: &str = "detailflow/runtime";
    let mut folders = vec![folder.join("runtime"), folder.join(INSTALLED), folder.to_owned()];
    if let Some(above) = folder.parent() {
        if folder.ends_with("bin") {
            let libraries = [format!("lib/{}-linux-gnu", std::env::consts::ARCH), "lib64".into(), "lib".into()];
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

/// This crate as the compiler was given it: "" when it is built in its own checkout, a folder below the workspace that it is a
/// member of, and absolute when a project elsewhere depends on it by path.
fn source() -> &'static Path {
    Path::new(file!()).ancestors().nth(3).unwrap_or(Path::new(""))
}

/// The checkout of this project that a program depends on by path, when `folder` is in the build folder of that program's own
/// project. Only a program in a build folder of Cargo has one: a shipped program must not look into a folder that has this
/// name by chance.
pub(crate) fn checkout_of_dependency(folder: &Path) -> Option<PathBuf> {
    checkout_at(folder, source())
}

fn checkout_at(folder: &Path, source: &Path) -> Option<PathBuf> {
    // Cargo writes the one when it makes a build folder, the other into each.
    let made_by_cargo =
        |above: &&Path| ["CACHEDIR.TAG", ".rustc_info.json"].iter().any(|name| above.join(name).is_file());
    // With `--target` there are two of them, one in the other.
    let above = folder.ancestors().skip(1).take(4).filter(made_by_cargo);
    let mut checkouts = above.filter_map(|build| Some(build.parent()?.join(source)));
    checkouts.find(|checkout| checkout.join("Cargo.toml").is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checkout_of_dependency_is_found_from_build_folders_only() {
        let folder = tempfile::tempdir().unwrap();
        let (game, library) = (folder.path().join("game"), folder.path().join("library"));
        for made in [game.join("target/release/deps"), game.join("vendor/library"), library.clone()] {
            std::fs::create_dir_all(made).unwrap();
        }
        for checkout in [&library, &game.join("vendor/library")] {
            std::fs::write(checkout.join("Cargo.toml"), "").unwrap();
        }
        let beside = [game.join("target/release"), game.join("target/release/deps")];
        for anchor in &beside {
            assert_eq!(checkout_at(anchor, &library), None, "no folder of Cargo");
        }
        std::fs::write(game.join("target/.rustc_info.json"), "").unwrap();
        for anchor in &beside {
            assert_eq!(checkout_at(anchor, &library), Some(library.clone()));
            assert_eq!(checkout_at(anchor, Path::new("vendor/library")), Some(game.join("vendor/library")));
            assert_eq!(checkout_at(anchor, &folder.path().join("gone")), None);
        }
        let triple = game.join("target/x86_64-unknown-linux-gnu");
        std::fs::create_dir_all(triple.join("release")).unwrap();
        std::fs::write(triple.join("CACHEDIR.TAG"), "").unwrap();
        for source in [library.as_path(), Path::new("vendor/library")] {
            assert_eq!(checkout_at(&triple.join("release"), source), Some(game.join(source)));
        }
        assert_eq!(checkout_at(&game, &library), None, "a shipped program");
        assert!(source().join("src/support/layout.rs").is_file(), "{}", source().display());
    }

    /// What `make install` lays out for PREFIX=/usr and LIBDIR=/usr/lib/ARCH-linux-gnu, /usr/lib64 or /usr/lib.
    #[test]
    fn installed_folders_are_found_from_library_and_command() {
        let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
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

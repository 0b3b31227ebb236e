//! Finds the default bundle. The working directory is not searched: the result must not depend on it.

use std::path::{Path, PathBuf};

use crate::support::error::{Error, Result};
use crate::support::layout::{bundle_folders, checkout_of_dependency, checkouts};
use crate::support::platform;

/// The folder in the environment variable `DETAILFLOW_BUNDLE`; otherwise the first that exists for each folder of
/// `anchors` (that of our library, that of the executable): `detailflow/` in it, `../share/detailflow` (of a
/// folder `lib/x86_64-linux-gnu` also `../../share/detailflow`), and `onnx/bundles/sprites` of the checkout that it was built
/// in; at last the same of the checkout that a Rust program in its build folder depends on by path.
///
/// # Errors
/// [`Error::NoBundle`] if there is none; the message lists the folders.
pub(crate) fn find(anchors: &[PathBuf]) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("DETAILFLOW_BUNDLE").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    let shipped = |checkout: &Path| checkout.join("onnx").join("bundles").join("sprites");
    let beside =
        anchors.iter().flat_map(|anchor| bundle_folders(anchor).into_iter().chain(checkouts(anchor).map(shipped)));
    let dependency =
        anchors.iter().filter_map(|anchor| checkout_of_dependency(anchor)).map(|checkout| shipped(&checkout));
    let mut tried: Vec<PathBuf> = Vec::new();
    for candidate in beside.chain(dependency) {
        if is_bundle(&candidate) {
            return Ok(platform::canonical(&candidate).unwrap_or(candidate));
        }
        if !tried.contains(&candidate) {
            tried.push(candidate);
        }
    }
    let folders: String = tried.iter().map(|path| format!("\n  {}", path.display())).collect();
    Err(Error::NoBundle(format!("no bundle was given (by path or DETAILFLOW_BUNDLE) and none was found at:{folders}")))
}

fn is_bundle(folder: &Path) -> bool {
    folder.join("detailflow.json").is_file()
}

//! Which bundle is meant when none is named. Never one in the working directory: what runs must not depend on where
//! it is run from.

use std::path::{Path, PathBuf};

use crate::support::error::{Error, Result};
use crate::support::files::checkouts;

/// `DETAILFLOW_BUNDLE`; else, for each folder of `anchors` (our library's, the executable's): `detailflow/` beside
/// it, `../share/detailflow`, and the `onnx/bundles/sprites` of the checkout it was built in.
pub(crate) fn find(anchors: &[PathBuf]) -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("DETAILFLOW_BUNDLE").filter(|value| !value.is_empty()) {
        return Ok(PathBuf::from(named));
    }
    let mut tried: Vec<PathBuf> = Vec::new();
    for anchor in anchors {
        let beside = [anchor.join("detailflow"), anchor.join("../share/detailflow")];
        let checkout = checkouts(anchor).map(|checkout| checkout.join("onnx/bundles/sprites"));
        for candidate in beside.into_iter().chain(checkout) {
            if is_bundle(&candidate) {
                return Ok(candidate.canonicalize().unwrap_or(candidate));
            }
            if !tried.contains(&candidate) {
                tried.push(candidate);
            }
        }
    }
    let places: String = tried.iter().map(|path| format!("\n  {}", path.display())).collect();
    Err(Error::NoBundle(format!("no bundle was named (a path, or DETAILFLOW_BUNDLE), and there is none at:{places}")))
}

fn is_bundle(folder: &Path) -> bool {
    folder.join("detailflow.json").is_file()
}

//! What several tests need: where things are, and a copy of the small bundle to damage.

#![allow(dead_code)] // Each test uses a part of it.

use std::path::{Path, PathBuf};

use detailflow::{Model, ModelOptions};

/// A file or folder below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Opens a bundle with one thread; ONNX Runtime comes from the checkout's `target/runtime`, where `make` puts it.
pub fn open(bundle: &Path, precision: &str, form: &str) -> Model {
    let options =
        ModelOptions { precision: Some(precision.into()), form: Some(form.into()), threads: 1, ..Default::default() };
    Model::open(bundle, &options).unwrap_or_else(|error| panic!("{}: {error}", bundle.display()))
}

/// The smallest bundle: 32 px, RGBA, 16 tokens in groups of 4.
pub fn small() -> PathBuf {
    data("small")
}

/// A copy of a bundle that a test may damage.
pub fn copy(bundle: &Path) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(bundle).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), folder.path().join(entry.file_name())).unwrap();
    }
    folder
}

/// Changes the manifest of a copied bundle.
pub fn edit_manifest(bundle: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let path = bundle.join("detailflow.json");
    let mut manifest = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    edit(&mut manifest);
    std::fs::write(&path, serde_json::to_vec(&manifest).unwrap()).unwrap();
}

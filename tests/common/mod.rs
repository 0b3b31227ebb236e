//! What several tests need: where things are, and a copy of the small bundle to damage.

#![allow(dead_code)] // Each test uses a part of it.

use std::path::{Path, PathBuf};

use detailflow::{Model, ModelOptions};
use sha2::Digest;

/// A file or folder below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Opens a bundle with one thread; ONNX Runtime comes from the checkout's `target/runtime`, where `make` puts it.
pub fn open(bundle: &Path, precision: &str, form: &str) -> Model {
    let options = ModelOptions::new().with_precision(precision).with_form(form.parse().unwrap()).with_threads(1);
    Model::open(bundle, &options).unwrap_or_else(|error| panic!("{}: {error}", bundle.display()))
}

/// The smallest bundle: 32 px, RGBA, 16 tokens in groups of 4.
pub fn small() -> PathBuf {
    data("small")
}

/// The precisions and forms of the small bundle that everything must hold for.
pub const FORMS: [(&str, &str); 8] = [
    ("fp32", "native"),
    ("fp32", "mha"),
    ("fp32", "plain"),
    ("fp32", "fixed"),
    ("int8", "native"),
    ("int8", "mha"),
    ("int8", "plain"),
    ("int8", "fixed"),
];

/// The small bundle in each of them.
pub fn models() -> impl Iterator<Item = Model> {
    FORMS.into_iter().map(|(precision, form)| open(&small(), precision, form))
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

/// Makes the embedding of a class of the copied small bundle no number, in fp32.
pub fn spoil_class(bundle: &Path, class: u64) {
    let manifest = std::fs::read(bundle.join("detailflow.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    spoil_embedding(bundle, manifest["ids"]["class"].as_u64().unwrap() + class);
}

/// The same of a row of the table: tokens come first.
pub fn spoil_embedding(bundle: &Path, row: u64) {
    let graph = std::fs::read(bundle.join("ar.fp32.fixed.onnx")).unwrap();
    let find = |word: &[u8], from: usize| {
        from + graph[from..].windows(word.len()).position(|found| found == word).expect("the graph has it") + word.len()
    };
    // "offset", the number of a field, a length, and decimal digits.
    let at = find(b"offset", find(b"ar.embeddings", find(b"ar.embeddings", 0))) + 2;
    let digits: String = graph[at..].iter().take_while(|c| c.is_ascii_digit()).map(|&c| c as char).collect();
    let manifest: serde_json::Value =
        serde_json::from_slice(&std::fs::read(bundle.join("detailflow.json")).unwrap()).unwrap();
    let number = |block: &str, key: &str| manifest[block][key].as_u64().unwrap();
    let (width, row) = (4 * number("ar", "width") as usize, row as usize);
    let path = bundle.join("weights.fp32.bin");
    let mut weights = std::fs::read(&path).unwrap();
    let from = digits.parse::<usize>().unwrap() + row * width;
    weights[from..from + width].as_chunks_mut::<4>().0.iter_mut().for_each(|value| *value = f32::NAN.to_le_bytes());
    std::fs::write(&path, &weights).unwrap();
    let hash: String = sha2::Sha256::digest(&weights).iter().map(|byte| format!("{byte:02x}")).collect();
    edit_manifest(bundle, |m| {
        let mut files = m["files"].as_array_mut().unwrap().iter_mut();
        files.find(|file| file["path"] == "weights.fp32.bin").unwrap()["sha256"] = hash.into();
    });
}

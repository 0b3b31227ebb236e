//! Helpers of several tests: paths, models of the small bundle, requests and their tokens, the `dflow` command, pseudo-random
//! numbers, and copies of a bundle that a test may damage.

#![allow(dead_code, reason = "each test uses a part of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use detailflow::{Generation, Guidance, ImageRequest, Model, ModelOptions, Request, Sampling};
use sha2::Digest;

/// The checkout, or what has its layout on another machine: `DETAILFLOW_TEST_ROOT` (`make gpu-kit`).
pub fn root() -> PathBuf {
    elsewhere().unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into())
}

/// The folder that a test program has been moved to.
pub fn elsewhere() -> Option<PathBuf> {
    std::env::var_os("DETAILFLOW_TEST_ROOT").map(PathBuf::from)
}

/// A file or folder below `tests/data`.
pub fn data(name: &str) -> PathBuf {
    root().join("tests/data").join(name)
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

/// The precisions and forms of the small bundle: a test of the numbers runs in each of them.
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

/// The small bundle in each of [`FORMS`].
pub fn models() -> impl Iterator<Item = Model> {
    FORMS.into_iter().map(|(precision, form)| open(&small(), precision, form))
}

/// Samples from all codes at temperature 1.
pub const WILD: Sampling = Sampling { temperature: 1.0, top_k: 0, top_p: 1.0 };

/// A request for these classes and seeds, at guidance 2 and [`WILD`].
pub fn request(model: &Model, images: &[(u32, u64)]) -> Request {
    let mut request = Request::new(model);
    request.set_guidance(Guidance::constant(2.0)).unwrap();
    request.set_sampling(WILD).unwrap();
    request.set_count(images.len() as u32).unwrap();
    for (index, &(class, seed)) in images.iter().enumerate() {
        request.set_image(index, ImageRequest { class, seed }).unwrap();
    }
    request
}

/// The generation of a request, after its last step.
pub fn finished(request: &Request) -> Generation {
    let mut generation = Generation::new(request).unwrap();
    generation.finish().unwrap();
    generation
}

/// The tokens of each image of a generation.
pub fn all_tokens(generation: &Generation) -> Vec<Vec<u32>> {
    (0..generation.images().len()).map(|index| generation.tokens(index).unwrap().to_vec()).collect()
}

/// The tokens that a request samples.
pub fn sample(request: &Request) -> Vec<Vec<u32>> {
    all_tokens(&finished(request))
}

/// The path of the `dflow` command of this build. Tests that call it need the feature `cli`.
pub fn dflow_path() -> &'static str {
    static MOVED: OnceLock<Option<String>> = OnceLock::new();
    if let Some(moved) =
        MOVED.get_or_init(|| elsewhere().map(|root| format!("{}/target/release/dflow", root.display())))
    {
        return moved;
    }
    let path: Option<&str> = option_env!("CARGO_BIN_EXE_dflow");
    path.expect("tests of `dflow` need the feature `cli`")
}

/// The `dflow` command in `folder`, with the small bundle unless an argument names another.
pub fn dflow(folder: &Path) -> Command {
    let mut command = Command::new(dflow_path());
    command.env("DETAILFLOW_BUNDLE", small()).current_dir(folder);
    command
}

/// Runs `dflow ARGUMENTS` in `folder`.
pub fn run_dflow(folder: &Path, arguments: &[&str]) -> Output {
    dflow(folder).args(arguments).output().unwrap()
}

/// Pseudo-random numbers, the same in every run (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ z >> 31
    }

    /// One of `0..end`.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }
}

/// Random tokens of a complete image.
pub fn random_tokens(model: &Model, seed: u64) -> Vec<u32> {
    let (bundle, mut random) = (model.bundle(), Random(seed));
    (0..bundle.tokens()).map(|_| random.below(bundle.codes()) as u32).collect()
}

/// The content of every file below a folder, without files and folders of these names.
pub fn tree(folder: &Path, without: &[&str]) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(next).unwrap() {
            let path = entry.unwrap().path();
            if without.iter().any(|name| path.file_name().unwrap() == *name) {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
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

/// Replaces the fp32 embedding of a class in a copy of the small bundle by NaN.
pub fn spoil_class(bundle: &Path, class: u64) {
    let manifest = std::fs::read(bundle.join("detailflow.json")).unwrap();
    let manifest: serde_json::Value = serde_json::from_slice(&manifest).unwrap();
    spoil_embedding(bundle, manifest["ids"]["class"].as_u64().unwrap() + class);
}

/// Replaces one row of the fp32 embedding table by NaN. The rows of tokens come first, then those of classes.
pub fn spoil_embedding(bundle: &Path, row: u64) {
    let graph = std::fs::read(bundle.join("ar.fp32.fixed.onnx")).unwrap();
    let find = |word: &[u8], from: usize| {
        from + graph[from..].windows(word.len()).position(|found| found == word).expect("the graph has it") + word.len()
    };
    // In the protobuf: "offset", a field tag, a length, decimal digits.
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

/// Gives the files of a copied bundle the lengths and hashes that they have.
pub fn list_again(bundle: &Path) {
    edit_manifest(bundle, |m| {
        for file in m["files"].as_array_mut().unwrap() {
            let bytes = std::fs::read(bundle.join(file["path"].as_str().unwrap())).unwrap();
            let hash: String = sha2::Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
            file["length"] = bytes.len().into();
            file["sha256"] = hash.into();
        }
    });
}

/// Replaces a word in a file of a copied bundle by one of the same length, wherever it occurs.
pub fn replace_in(bundle: &Path, file: &str, word: &str, by: &str) {
    assert_eq!(word.len(), by.len());
    let path = bundle.join(file);
    let mut bytes = std::fs::read(&path).unwrap();
    let found: Vec<usize> =
        bytes.windows(word.len()).enumerate().filter(|(_, at)| *at == word.as_bytes()).map(|(at, _)| at).collect();
    assert!(!found.is_empty(), "{file} does not contain {word}");
    found.into_iter().for_each(|at| bytes[at..at + by.len()].copy_from_slice(by.as_bytes()));
    std::fs::write(path, bytes).unwrap();
    list_again(bundle);
}
